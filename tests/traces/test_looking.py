"""Whatever way a query is read (by keys, by an index, along the list in stretches), the pages hold the same traces in the same order."""

import random
from datetime import UTC, datetime

import pytest

from tests.factories import make_trace
from traces import few, list_queries, search
from traces.filters import filtered
from traces.list_queries import looking
from traces.text_queries import Clock

START = 1_780_000_000_000_000_000
QUERIES = (
    "",
    "agent:a",
    "agent:a*",
    "agent:*x*y*",
    "agent:id-1",
    "status:error",
    "status:error agent:a",
    "-status:error",
    "tool:t1",
    "tool:t*",
    "tool:t1,t2 agent:b,c",
    "has:tool -tool:t2",
    "duration:>3s",
    "duration:1s..4s tool:t1",
    "tokens:<50",
    "has:cost",
    "-has:cost",
    "errors:>0",
    "has:error tool:t1",
    "release:r1",
    "release:none",
    "name:run-1*",
    "id:{first}*",
    "has:session",
    "(agent:a status:error) OR tool:t2",
    "after:2026-05-28T20:27:00Z tool:t1",
    "before:2026-05-28T20:27:00Z -agent:a",
)
SORTS = [sign + name for name in list_queries.SORTS for sign in ("", "-")]


@pytest.fixture
def many(project):
    chance = random.Random(11)
    for number in range(45):
        agent = chance.choice(["a", "b", "c", "axy", ""])
        make_trace(
            project,
            name=f"run-{number}",
            trace_id=f"{number * 7919:032x}",
            agent_name=agent,
            agent_id=f"id-{number % 3}",
            status=chance.choice(["ok", "ok", "error", "unset"]),
            error_count=chance.choice([0, 0, 1]),
            start_ns=START + chance.randrange(40) * 10**9,
            duration_ms=chance.choice([None, 500.0, 2000.0, 3500.0, 9000.0]),
            total_tokens=chance.choice([None, 10, 60]),
            cost_usd=chance.choice([None, None, 0.1, 0.2]),
            span_count=chance.choice([1, 1, 2]),
            release=chance.choice(["r1", "r2"]),
            session_id=chance.choice(["", "s"]),
            terms={"tool": chance.sample(["t1", "t2", "u"], chance.randrange(3))},
        )
    return project


def walk(project, text, *, sort, limit=7):
    """Return all pages: the traces' names, and whether some page was cut."""
    names, after, is_cut = [], "", False
    while True:
        page = list_queries.trace_page(project, text, sort=sort, after=after, limit=limit)
        names += [trace.name for trace in page]
        is_cut |= page.is_cut
        after = page.next_key
        if not after:
            return names, is_cut, page


def expected(project, text, *, sort):
    column, sign = looking.SORTS[sort.lstrip("-")], -1 if sort.startswith("-") else 1
    rows = [(getattr(one, column), one.pk, one.name) for one in filtered(project, search.parse(text))]
    with_value = sorted((row for row in rows if row[0] is not None), key=lambda row: (sign * row[0], sign * row[1]))
    return [
        row[2] for row in [*with_value, *sorted((row for row in rows if row[0] is None), key=lambda r: sign * r[1])]
    ]


@pytest.mark.parametrize(
    ("most_few", "passed", "seconds"), [(10_000, 2_000, 60.0), (0, 4, 60.0), (5, 4, -1.0), (0, 4, -1.0)]
)
def test_every_way_of_reading_gives_the_same_pages(many, monkeypatch, most_few, passed, seconds):
    wanted = {
        (text, sort): expected(many, text.replace("{first}", "0" * 28), sort=sort) for text in QUERIES for sort in SORTS
    }
    monkeypatch.setattr(few, "FEW", most_few)
    monkeypatch.setattr(looking, "PASSED", passed)
    monkeypatch.setattr("traces.list_queries.pages.Clock", lambda: Clock(seconds))
    cut = 0
    for (text, sort), names in wanted.items():
        found, is_cut, last = walk(many, text.replace("{first}", "0" * 28), sort=sort)
        assert found == names, (text, sort)
        cut += is_cut
        back = []
        while last.previous_key and seconds > 0:
            last = list_queries.trace_page(
                many, text.replace("{first}", "0" * 28), sort=sort, before=last.previous_key, limit=7
            )
            back = [trace.name for trace in last] + back
        assert not back or names[: len(back)] == back, (text, sort)
    assert bool(cut) == (seconds < 0)


@pytest.mark.parametrize("seconds", [60.0, -1.0])
def test_figures_of_what_was_found_along_the_list(many, monkeypatch, seconds):
    monkeypatch.setattr(few, "FEW", 0)
    monkeypatch.setattr(looking, "PASSED", 20)
    monkeypatch.setattr("traces.list_queries.figures.Clock", lambda in_s: Clock(seconds))
    query = search.parse("release:r1")
    summary = list_queries.trace_summary(many, query, since_ns=None, now=datetime.now(UTC))
    every = expected(many, "release:r1", sort="-started")
    newest = [name for name in expected(many, "", sort="-started")[:20] if name in every]
    assert summary.figures.is_least == (seconds < 0)
    assert summary.figures.total == summary.looked_at == len(newest if seconds < 0 else every)
    agents = next(facet for facet in summary.facets if facet.key == "agent")
    assert agents.is_partial == (seconds < 0)
    assert sum(value.count for value in [*agents.values, *agents.rest]) == summary.looked_at
