"""Whatever way a query is read (by keys, by an index, along the list in stretches), the pages hold the same traces in the same order."""

import random
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection

from tests.factories import make_trace
from traces import few, list_queries, search
from traces.filters import filtered
from traces.list_queries import looking
from traces.models import Trace, TraceTerm
from traces.text_queries import Clock, TooLate

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
@pytest.mark.parametrize(("most_few", "text"), [(0, "release:r1"), (10_000, "tool:t1"), (0, "tool:t1")])
def test_figures_of_what_was_found_in_time(many, monkeypatch, most_few, text, seconds):
    monkeypatch.setattr(few, "FEW", most_few)
    monkeypatch.setattr(looking, "PASSED", 20)
    monkeypatch.setattr(looking, "READ", 3)
    monkeypatch.setattr("traces.list_queries.figures.Clock", lambda _: Clock(seconds))
    summary = list_queries.trace_summary(many, search.parse(text), since_ns=None, now=datetime.now(UTC))
    every = expected(many, text, sort="-started")
    passed = [name for name in expected(many, "", sort="-started")[:20] if name in every]
    newest = every if seconds > 0 else every[:3] if most_few else passed
    assert summary.figures.is_least == (seconds < 0)
    assert summary.figures.total == summary.looked_at == len(newest)
    traces = Trace.objects.filter(name__in=newest)
    facets = {facet.key: facet for facet in summary.facets}
    for key in ("status", "tool"):
        if key in text:
            continue  # counted without the query's own condition
        counted = {one.value: one.count for one in [*facets[key].values, *facets[key].rest] if one.value}
        assert facets[key].is_partial == (seconds < 0)
        own = Counter(
            TraceTerm.objects.filter(trace__in=traces, key=key).values_list("value", flat=True)
            if key == "tool"
            else traces.values_list("status", flat=True)
        )
        assert counted == own


def test_figures_of_all_time_count_all_however_little_time_there_is(many, monkeypatch):
    monkeypatch.setattr(looking, "READ", 3)
    monkeypatch.setattr("traces.list_queries.figures.Clock", lambda _: Clock(-1.0))
    summary = list_queries.trace_summary(many, search.parse(""), since_ns=None, now=datetime.now(UTC))
    assert (summary.figures.total, summary.figures.is_least, summary.looked_at) == (45, False, 3)
    assert summary.figures.is_partial
    assert all(facet.is_partial for facet in summary.facets)


def test_next_stretch_is_as_long_as_fits_into_the_time_that_is_left():
    clock = Clock(1.0)
    assert 700 <= clock.fitting(1_000, 1.0, most=10_000) <= 800
    assert clock.fitting(1_000, 0.001, most=100_000) == 4_000
    assert clock.fitting(1_000, 0.001, most=1_500) == 1_500
    assert clock.fitting(1_000, 20.0, most=10_000) == 0
    assert Clock(-1.0).fitting(1_000, 0.001, most=10_000) == 0
    assert 0.4 < clock.part(0.5).left <= 0.5


ENDLESS = "WITH RECURSIVE step(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step) SELECT max(n) FROM step"


@pytest.mark.django_db(transaction=True)
def test_a_statement_that_takes_too_long_is_ended_and_the_next_one_is_not():
    with pytest.raises(TooLate), Clock(0.02).bounding(), connection.cursor() as cursor:
        cursor.execute(ENDLESS)
    with connection.cursor() as cursor:
        cursor.execute(ENDLESS.replace("FROM step)", "FROM step WHERE n < 100000)"))
        assert cursor.fetchone() == (100_000,)
        if connection.vendor == "postgresql":
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="PostgreSQL ends no statement within a transaction, as that would end it too"
)
def test_a_transaction_goes_on_after_a_read_that_is_ended(many):
    Trace.objects.filter(name="run-1").update(release="kept")
    with pytest.raises(TooLate), Clock(0.02).bounding(), connection.cursor() as cursor:
        cursor.execute(ENDLESS)
    assert Trace.objects.filter(release="kept").count() == 1


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a setting of SQLite")
def test_a_page_of_the_file_is_read_alone_and_not_with_all_around_it(db):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA mmap_size")
        assert cursor.fetchone() in [(0,), None]  # None: a database in memory has no file


@pytest.mark.django_db(transaction=True)
def test_another_failure_within_the_time_stays_what_it_is():
    with pytest.raises(DatabaseError, match="no_such"), Clock(5.0).bounding(), connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such")


@pytest.mark.parametrize("text", ["release:r1", "status:error", "has:cost"])
def test_a_stretch_that_is_ended_is_as_if_it_had_not_been_read(many, monkeypatch, text):
    class Ended(Clock):
        """Ends all but the first stretch."""

        def part(self, share):
            return self

        @contextmanager
        def bounding(self):
            raise TooLate
            yield

    wanted = expected(many, text, sort="-started")
    monkeypatch.setattr(few, "FEW", 0)
    for name in ("READ", "PASSED"):
        monkeypatch.setattr(looking, name, 3)
    monkeypatch.setattr("traces.list_queries.pages.Clock", lambda: Ended(60.0))
    monkeypatch.setattr("traces.list_queries.figures.Clock", lambda _: Ended(60.0))
    assert walk(many, text, sort="-started")[0] == wanted
    summary = list_queries.trace_summary(many, search.parse(text), since_ns=None, now=datetime.now(UTC))
    assert summary.figures.is_partial
    assert 0 <= summary.looked_at <= 3
