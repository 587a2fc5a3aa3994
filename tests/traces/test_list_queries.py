"""Pages by key, ranges, figures, facets and completions of the traces list."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_trace
from traces import list_queries, search
from traces.list_queries import CursorError, trace_page, trace_summary
from traces.search import parse

NOW = datetime(2026, 6, 17, 12, 0, tzinfo=UTC)
NOW_NS = search.whole_ns(NOW)
HOUR = 3600 * 10**9


def all_pages(project, *, sort: str, limit: int) -> list[list[str]]:
    pages, after = [], ""
    while True:
        page = trace_page(project, sort=sort, after=after, limit=limit)
        pages.append([trace.name for trace in page])
        if not page.next_key:
            return pages
        after = page.next_key


def make_varied(project) -> None:
    """Nine traces: equal values, missing values, and values of their own."""
    for number, (duration, tokens, cost) in enumerate(
        [(5.0, 10, None), (5.0, None, 0.1), (None, 20, 0.1), (1.5, 20, None), (None, None, None)] * 2
    ):
        make_trace(
            project,
            name=str(number),
            start_ns=NOW_NS - (number % 4) * HOUR,
            duration_ms=duration,
            total_tokens=tokens,
            cost_usd=cost,
            span_count=number % 3,
        )


@pytest.mark.parametrize("sort", [sign + name for name in list_queries.SORTS for sign in ("", "-")])
@pytest.mark.parametrize("limit", [1, 3, 4, 50])
def test_trace_page_walks_every_trace_once_in_order(project, sort, limit):
    make_varied(project)
    whole = trace_page(project, sort=sort, limit=50).rows
    column = list_queries.SORTS[sort.lstrip("-")]
    values = [getattr(trace, column) for trace in whole if getattr(trace, column) is not None]
    assert values == sorted(values, reverse=sort.startswith("-"))
    assert all(getattr(trace, column) is None for trace in whole[len(values) :])
    walked = [name for page in all_pages(project, sort=sort, limit=limit) for name in page]
    assert walked == [trace.name for trace in whole]


@pytest.mark.parametrize("sort", ["-started", "latency", "-cost"])
def test_trace_page_back_from_any_page_is_the_page_before(project, sort):
    make_varied(project)
    pages = all_pages(project, sort=sort, limit=3)
    after = ""
    for number, names in enumerate(pages):
        page = trace_page(project, sort=sort, after=after, limit=3)
        assert [trace.name for trace in page] == names
        if number:
            back = trace_page(project, sort=sort, before=page.previous_key, limit=3)
            assert [trace.name for trace in back] == pages[number - 1]
            assert bool(back.previous_key) == (number > 1)
        after = page.next_key


def test_trace_page_key_of_another_order_is_refused(project):
    make_varied(project)
    key = trace_page(project, sort="-started", limit=2).next_key
    with pytest.raises(CursorError, match="another order"):
        trace_page(project, sort="-cost", after=key)


@pytest.mark.parametrize(
    "key", ["x", "%%%", "bnVsbA", "WzEsMiwzXQ", "WyItc3RhcnRlZCIsMWUzMDAsMV0", "é", "WyItc3RhcnRlZCIse30sMV0"]
)
def test_trace_page_broken_key_is_refused(project, key):
    with pytest.raises(CursorError):
        trace_page(project, after=key)


def test_time_range_without_a_name_reaches_the_newest_trace(project):
    assert list_queries.time_range(project, "", now=NOW).name == "14d"
    make_trace(project, start_ns=NOW_NS - 400 * 24 * HOUR)
    assert list_queries.time_range(project, "", now=NOW).name == "all"
    make_trace(project, start_ns=NOW_NS - 20 * 24 * HOUR)
    assert list_queries.time_range(project, "", now=NOW).name == "30d"
    make_trace(project, start_ns=NOW_NS - HOUR)
    assert list_queries.time_range(project, "nonsense", now=NOW).name == "14d"
    assert list_queries.time_range(project, "1h", now=NOW).since_ns == NOW_NS - HOUR


def counts(summary, key: str) -> dict[str, int]:
    (facet,) = [facet for facet in summary.facets if facet.key == key]
    return {value.label: value.count for value in [*facet.values, *facet.rest]}


def make_shop(project) -> None:
    for agent, status, tools in [
        ("refund", "error", ["get_order", "refund"]),
        ("refund", "ok", ["get_order"]),
        ("billing", "ok", []),
        ("", "unset", ["get_order"]),
    ]:
        make_trace(project, agent_name=agent, status=status, start_ns=NOW_NS - HOUR, terms={"tool": tools})


def test_trace_summary_facets_respect_the_other_filters_but_not_their_own(project):
    make_shop(project)
    summary = trace_summary(project, parse("agent:refund"), since_ns=None, now=NOW)
    assert summary.figures.total == 2
    assert counts(summary, "agent") == {"refund": 2, "billing": 1, "None": 1}
    assert counts(summary, "status") == {"Completed": 1, "Error": 1}
    assert counts(summary, "tool") == {"get_order": 2, "refund": 1}
    both = trace_summary(project, parse("agent:refund tool:refund"), since_ns=None, now=NOW)
    assert counts(both, "agent") == {"refund": 1}
    assert counts(both, "tool") == {"get_order": 2, "refund": 1}


@pytest.mark.django_db
def test_a_run_that_was_sent_with_a_tag_and_given_it_by_a_person_counts_once(project):
    for number, terms in enumerate(({"tag": ["vip"], "person_tag": ["vip", "late"]}, {"person_tag": ["vip"]})):
        make_trace(project, name=f"run {number}", start_ns=NOW_NS - HOUR, terms=terms)
    summary = trace_summary(project, parse(""), since_ns=None, now=NOW)
    assert {value.label: value.count for facet in summary.facets if facet.key == "tag" for value in facet.values} == {
        "vip": 2,
        "late": 1,
    }


def test_trace_summary_every_facet_count_is_what_its_link_finds(project):
    make_shop(project)
    summary = trace_summary(project, parse("status:ok,error"), since_ns=None, now=NOW)
    for facet in summary.facets:
        for value in facet.values:
            if not value.is_on:
                found = len(trace_page(project, value.query).rows)
                held = summary.figures.total if facet.key == "status" else 0  # its link adds to those chosen
                assert found == value.count + held


def test_trace_summary_chosen_value_without_traces_stays_to_be_taken_away(project):
    make_shop(project)
    summary = trace_summary(project, parse("agent:gone"), since_ns=None, now=NOW)
    (agent,) = [facet for facet in summary.facets if facet.key == "agent"]
    (gone,) = [value for value in agent.values if value.value == "gone"]
    assert (gone.count, gone.is_on, gone.query) == (0, True, "")


def test_trace_summary_figures_leave_out_what_was_not_measured(project):
    for duration, cost in [(1000.0, 0.5), (2000.0, None), (9000.0, 0.25), (None, None)]:
        make_trace(project, duration_ms=duration, cost_usd=cost, start_ns=NOW_NS - HOUR)
    figures = trace_summary(project, parse(""), since_ns=None, now=NOW).figures
    assert (figures.p50_ms, figures.p95_ms, figures.timed) == (2000.0, 9000.0, 3)
    assert (figures.cost_usd, figures.costed, figures.cost_each_usd) == (0.75, 2, 0.375)


def test_runs_without_times_are_counted_and_in_no_bar(project):
    for _ in range(2):
        make_trace(project, start_ns=None, duration_ms=None, status="error", sort_ns=NOW_NS)
    figures = trace_summary(project, parse(""), since_ns=None, now=NOW).figures
    assert (figures.total, figures.errors, figures.untimed, figures.histogram) == (2, 2, 2, None)
    make_trace(project, start_ns=NOW_NS - 30 * HOUR)
    figures = trace_summary(project, parse(""), since_ns=None, now=NOW).figures
    assert (figures.total, figures.errors, figures.untimed) == (3, 2, 2)
    assert [bar.runs for bar in figures.histogram.bars] == [1]  # the day of the import is no day of a run


def test_trace_summary_of_nothing_has_no_figures(project):
    figures = trace_summary(project, parse("agent:x"), since_ns=NOW_NS, now=NOW).figures
    assert (figures.total, figures.error_share, figures.p95_ms, figures.cost_usd) == (0, None, None, None)


def test_histogram_counts_every_run_in_its_bucket(project):
    for hours in (0, 0, 5, 30):
        make_trace(project, start_ns=NOW_NS - hours * HOUR, status="error" if hours == 5 else "ok")
    histogram = trace_summary(project, parse(""), since_ns=NOW_NS - 48 * HOUR, now=NOW).figures.histogram
    found = {bar.start_ns: (bar.runs, bar.errors) for bar in histogram.bars if bar.runs}
    assert found == {NOW_NS: (2, 0), NOW_NS - 5 * HOUR: (1, 1), NOW_NS - 30 * HOUR: (1, 0)}
    assert "4 in all, 1 with errors" in histogram.summary


def test_beyond_the_cap_totals_are_exact_and_the_rest_is_said_to_be_partial(project, monkeypatch):
    monkeypatch.setattr(list_queries.figures, "CAP", 5)
    for number in range(12):
        make_trace(
            project,
            start_ns=NOW_NS - number * HOUR,
            status="error" if number >= 8 else "ok",
            agent_name="new" if number < 5 else "old",
            terms={"tool": ["new" if number < 5 else "old"]},
        )
    summary = trace_summary(project, parse(""), since_ns=None, now=NOW)
    assert (summary.figures.total, summary.figures.errors, summary.figures.is_partial) == (12, 4, True)
    assert sum(bar.runs for bar in summary.figures.histogram.bars) == 12
    assert counts(summary, "agent") == counts(summary, "tool") == {"new": 5}
    assert all(facet.is_partial for facet in summary.facets)


def test_completions_offer_keys_then_values_of_the_project(project):
    make_trace(project, agent_name="refund bot", terms={"tool": ["get_order"], "meta.plan": ["annual"]})
    make_trace(project, agent_name="billing", environment="production")

    def offered(text: str) -> list[str]:
        return [item.text for item in list_queries.completions(project, text)]

    assert "agent:" in offered("ag")
    assert "meta.plan:" in offered("pla")
    assert offered("agent:") == ["agent:billing ", 'agent:"refund bot" ']
    assert offered("agent:bot") == ['agent:"refund bot" ']
    assert offered("status:er") == ["status:error "]
    assert offered("x env:p") == ["x env:production "]
    assert offered("meta.plan:") == ["meta.plan:annual "]
    assert offered("tool:order") == ["tool:get_order "]
    assert offered("duration:") == ["duration:>5s "]
    assert offered("agent:\0") == []


def test_completions_show_nothing_of_another_project(project):
    from tests.factories import make_project

    make_trace(make_project(), agent_name="secret", terms={"tag": ["secret"], "meta.secret": ["x"]})
    assert list_queries.completions(project, "agent:") == list_queries.completions(project, "tag:") == []
    assert list_queries.completions(project, "secret") == []


def test_rows_show_a_long_input_cut_and_name_their_control_shortly(project):
    make_trace(project, input_preview="Where  is\nmy order? " * 24)
    (row,) = list_queries.list_rows(list_queries.trace_page(project))
    for text, most in ((row.title, 300), (row.label, 60)):
        assert re.fullmatch("Where is my order\\? Where.*…", text)
        assert most - 10 < len(text) <= most


def test_known_values_do_not_depend_on_the_number_of_traces(project):
    for number in range(30):
        make_trace(project, agent_name=f"agent {number % 3}")
    with CaptureQueriesContext(connection) as queries:
        assert list_queries.known_values(project, "agent") == ["agent 0", "agent 1", "agent 2"]
    assert len(queries) == 1


def test_likely_values_name_the_value_that_may_be_meant(project):
    make_trace(project, agent_name="support-agent")
    assert list_queries.likely_values(project, parse("agent:suport-agent")) == [
        ("agent", "suport-agent", "support-agent")
    ]


def test_arrivals_count_only_what_came_after_the_mark(project):
    assert list_queries.arrival_mark(project) == 0
    make_trace(project, received_at=NOW - timedelta(hours=1))
    mark = list_queries.arrival_mark(project)
    assert list_queries.arrivals(project, since=mark).count == 0
    newest = make_trace(project)
    arrival = list_queries.arrivals(project, since=mark)
    assert (arrival.count, arrival.trace_id) == (1, newest.trace_id)


def test_mark_says_nothing_of_other_projects(project):
    from tests.factories import make_project

    own = make_trace(project)
    make_trace(make_project(slug="other"))
    assert list_queries.arrival_mark(project) == own.pk


def test_count_fresh_counts_what_the_whole_query_asks_for(project):
    for agent in ("a", "b", "c"):
        make_trace(project, agent_name=agent)
    for text, count in (("agent:a OR agent:b", 2), ("(agent:a OR agent:b) -agent:a", 1), ("agent:c words", 1), ("", 3)):
        assert list_queries.count_fresh(project, parse(text), since=0) == count
    for text in ("agent:a OR words", "-(words OR agent:c)", "(agent:b OR (agent:a words))"):
        assert list_queries.count_fresh(project, parse(text), since=0) is None
