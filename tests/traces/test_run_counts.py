"""The counts of traces by hour and status follow every change of a trace, and say the same as counting the traces."""

import random
from collections import Counter

import pytest
from django.db import connection

from tests.factories import make_project, make_span, make_trace
from traces import run_counts
from traces.count_schema import HOUR_NS, statements
from traces.deletion import delete_traces
from traces.models import Trace, TraceCount
from traces.run_counts import count_traces
from traces.services import ingest_spans

START = 490_000 * HOUR_NS


def kept(project) -> Counter:
    """Return the counts as they are kept, by hour and status."""
    found: Counter = Counter()
    for hour, status, count in TraceCount.objects.filter(project=project).values_list("hour", "status", "count"):
        found[hour, status] += count
    return +found


def real(project) -> Counter:
    rows = Trace.objects.filter(project=project).values_list("sort_ns", "status")
    return Counter((sort_ns // HOUR_NS, status) for sort_ns, status in rows)


def make_many(project, count: int = 60) -> None:
    chance = random.Random(3)
    for number in range(count):
        start = START + chance.randrange(30 * HOUR_NS)
        make_trace(
            project, name=str(number), start_ns=start, sort_ns=start, status=chance.choice(["ok", "error", "unset"])
        )


def test_counts_follow_traces_that_come_change_move_and_go(project):
    make_many(project)
    assert kept(project) == real(project)
    Trace.objects.filter(status="unset").update(status="ok")
    assert kept(project) == real(project)
    moved = Trace.objects.filter(status="error").first()
    Trace.objects.filter(pk=moved.pk).update(sort_ns=moved.sort_ns - 5 * HOUR_NS, name="moved")
    assert kept(project) == real(project)
    delete_traces(Trace.objects.filter(project=project, sort_ns__gte=START + 10 * HOUR_NS), what="test")
    assert kept(project) == real(project)
    assert 0 < kept(project).total() < 60


def test_counts_follow_ingest_of_spans_in_any_order(project):
    child = make_span(
        trace_id="a", span_id="2", parent_span_id="1", start_ns=START + HOUR_NS, end_ns=START + HOUR_NS + 5
    )
    root = make_span(trace_id="a", span_id="1", status="error", start_ns=START, end_ns=START + 2 * HOUR_NS)
    ingest_spans(project, [child])
    assert kept(project) == real(project)
    ingest_spans(project, [root])
    assert kept(project) == real(project) == Counter({(START // HOUR_NS, "error"): 1})


def test_hours_before_the_first_bucket_are_not_counted_into_it(project):
    for hour in (1, 3, 4, 9):
        make_trace(
            project, name=str(hour), start_ns=START + hour * HOUR_NS, sort_ns=START + hour * HOUR_NS, status="ok"
        )
    found = count_traces(
        project, low_ns=None, high_ns=None, statuses=None, start_ns=START + 5 * HOUR_NS, step_ns=4 * HOUR_NS
    )
    assert found == Counter({(-1, "ok"): 3, (1, "ok"): 1})


def test_hours_are_summed_up_by_the_database(project, django_assert_num_queries):
    make_many(project)
    with django_assert_num_queries(1) as asked:
        count_traces(project, low_ns=None, high_ns=None, statuses=None, start_ns=START, step_ns=30 * HOUR_NS)
    with connection.cursor() as cursor:
        cursor.execute(asked.captured_queries[0]["sql"])
        assert len(cursor.fetchall()) == 3  # a row for each status


@pytest.mark.parametrize("statuses", [None, ["error"], ["ok", "unset"]])
@pytest.mark.parametrize("step_ns", [HOUR_NS, 4 * HOUR_NS, HOUR_NS // 2, 7 * HOUR_NS + 1])
def test_count_traces_is_what_counting_them_gives(project, step_ns, statuses):
    make_many(project)
    make_trace(make_project(slug="other"), start_ns=START, sort_ns=START)
    low, high = START + HOUR_NS // 3, START + 20 * HOUR_NS + 77
    bounds = [(None, None), (low, None), (None, high), (low, high), (START, START + 20 * HOUR_NS), (low, low + 9)]
    for since, before in bounds:
        start = START // step_ns * step_ns
        wanted = Counter(
            ((sort_ns - start) // step_ns, status)
            for sort_ns, status in Trace.objects.filter(project=project).values_list("sort_ns", "status")
            if (since is None or sort_ns >= since) and (before is None or sort_ns < before)
            if statuses is None or status in statuses
        )
        found = count_traces(project, low_ns=since, high_ns=before, statuses=statuses, start_ns=start, step_ns=step_ns)
        assert found == wanted, (since, before)


def test_tidy_sums_up_and_changes_no_count(project, monkeypatch):
    monkeypatch.setattr(run_counts, "summed_to", {})
    make_many(project)
    before = kept(project)
    run_counts.tidy()
    assert kept(project) == before
    assert TraceCount.objects.count() == len(before)
    make_many(project, 5)
    run_counts.tidy()
    run_counts.tidy()
    assert kept(project) == real(project)
    assert TraceCount.objects.count() == len(kept(project))


def test_traces_that_were_there_before_the_counts_are_counted(project):
    make_many(project)
    wanted = real(project)
    TraceCount.objects.all().delete()
    with connection.cursor() as cursor:
        for statement in statements(connection.vendor, fill=True):
            cursor.execute(statement)
    assert kept(project) == wanted
    Trace.objects.filter(status="ok").delete()
    assert kept(project) == real(project)
