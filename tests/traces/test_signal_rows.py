"""Signals as rows: pending with each change, found after ingest, taken back when the run no longer shows them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import make_span
from traces import signal_rows
from traces.models import ReadingSettings, Signal, SignalCheck, Trace, TraceTerm
from traces.services import ingest_spans
from traces.signals import VERSION

T = 1_780_000_000_000_000_000
ID = "5f" * 16
pytestmark = pytest.mark.django_db


def make_records(result, *, parent_end=T + 10**9):
    root = make_span(trace_id=ID, span_id="root", start_ns=T, end_ns=parent_end)
    call = {"id": "c1", "name": "track", "arguments": {"parcel": 9}}
    llm = make_span(trace_id=ID, span_id="llm", parent_span_id="root", kind="llm", name="chat", start_ns=T + 1, end_ns=T + 5,
                    input_messages=[{"role": "user", "content": "Where is parcel 9?"}],
                    output_messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])  # fmt: skip
    tool = make_span(trace_id=ID, span_id="tool", parent_span_id="root", kind="tool", name="track", start_ns=T + 6, end_ns=T + 9,
                     tool={"name": "track", "call_id": "c1", "arguments": {"parcel": 9}, "result": result})  # fmt: skip
    return [root, llm, tool]


def later(**by):
    return timezone.now() + timedelta(**by)


def terms():
    return sorted(TraceTerm.objects.filter(key="signal").values_list("value", flat=True))


def test_a_hidden_error_becomes_a_row_and_a_term_and_no_error(project):
    ingest_spans(project, make_records({"error": "carrier timeout"}))
    assert Signal.objects.count() == 0  # ingest itself looks at nothing
    assert signal_rows.check_due() == 0  # it has not settled yet
    assert signal_rows.check_due(now=later(seconds=11)) == 1
    signal = Signal.objects.get()
    assert (signal.detector, signal.span_id, signal.version) == ("hidden_error", "tool", VERSION)
    assert "carrier timeout" in signal.reason
    assert terms() == ["hidden_error"]
    trace = Trace.objects.get()
    assert (trace.status, trace.error_count) == ("ok", 0)
    check = SignalCheck.objects.get()
    assert not check.is_pending
    assert "bad_arguments" in check.blind


def test_a_changed_trace_is_looked_at_again_and_a_wrong_suspicion_goes(project):
    ingest_spans(project, make_records({"error": "carrier timeout"}))
    signal_rows.check_due(now=later(seconds=11))
    assert terms() == ["hidden_error"]
    fixed = make_records({"state": "on its way"})
    ingest_spans(project, fixed)
    assert SignalCheck.objects.get().is_pending
    signal_rows.check_due(now=later(seconds=11))
    assert (terms(), Signal.objects.count()) == ([], 0)
    ingest_spans(project, fixed)  # the same again changes nothing
    assert not SignalCheck.objects.get().is_pending


def test_a_look_that_was_overtaken_does_not_count_as_done(project):
    ingest_spans(project, make_records("fine"))
    check = SignalCheck.objects.select_related("trace").get()
    ingest_spans(project, make_records({"error": "x"}))
    signal_rows.look_at(check)
    again = SignalCheck.objects.get()
    assert again.is_pending
    assert again.due_at < later(seconds=60)


def test_a_look_is_done_by_one_worker_and_again_after_its_lease(project):
    ingest_spans(project, make_records({"error": "x"}))
    check = SignalCheck.objects.select_related("trace").get()
    SignalCheck.objects.update(due_at=later(seconds=300))  # another worker took it
    assert signal_rows.look_at(check) == 0
    assert signal_rows.check_due(now=later(seconds=301)) == 1


def test_a_trace_that_keeps_changing_keeps_its_time(project):
    ingest_spans(project, make_records("one"))
    due = SignalCheck.objects.get().due_at
    ingest_spans(project, make_records("two"))
    check = SignalCheck.objects.get()
    assert (check.due_at, check.changes) == (due, 2)


def test_older_detectors_looks_are_done_again(project):
    ingest_spans(project, make_records({"error": "x"}))
    signal_rows.check_due(now=later(seconds=11))
    SignalCheck.objects.update(version=VERSION - 1)
    Signal.objects.all().delete()
    assert signal_rows.mark_outdated() == 1
    assert signal_rows.check_due() == 1
    assert signal_rows.mark_outdated() == 0
    assert Signal.objects.count() == 1


def test_an_open_span_is_looked_at_again_when_nothing_came(project):
    ingest_spans(project, make_records("fine", parent_end=None))
    signal_rows.check_due(now=later(seconds=11))
    check = SignalCheck.objects.get()
    assert check.is_pending
    assert terms() == []
    SignalCheck.objects.update(changed_at=later(seconds=-901))
    signal_rows.check_due(now=later(seconds=902))
    assert terms() == ["unfinished"]
    assert not SignalCheck.objects.get().is_pending


def test_budgets_of_the_project(project):
    ReadingSettings.objects.create(project=project, budgets={"tool_call_count": 0})
    ingest_spans(project, make_records("fine"))
    signal_rows.check_due(now=later(seconds=11))
    assert terms() == ["budget"]


def test_terms_written_anew_leave_those_of_signals_and_people(project):
    ingest_spans(project, make_records({"error": "x"}))
    signal_rows.check_due(now=later(seconds=11))
    trace = Trace.objects.get()
    signal_rows.set_terms(trace, "person_tag", ["odd"])
    changed = make_records({"error": "x"})
    changed[1].model, changed[0].status = "other", "error"
    changed[2].tool["name"] = "trace_parcel"  # takes back what the old version said: the terms are worked out anew
    ingest_spans(project, changed)
    kept = set(TraceTerm.objects.values_list("key", "value"))
    assert {("signal", "hidden_error"), ("person_tag", "odd")} <= kept
    assert ("tool", "track") not in kept


def test_a_deleted_trace_takes_its_signals_with_it(project):
    ingest_spans(project, make_records({"error": "x"}))
    check = SignalCheck.objects.select_related("trace").get()
    Trace.objects.all().delete()
    assert signal_rows.look_at(check) == 0
    assert Signal.objects.count() == 0
