"""Deletions that people ask for: small ones at once, large ones by the worker, killed ones taken up again."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, User
from tests.factories import make_span
from traces import asked_deletions, deletion
from traces.models import AskedDeletion, Span, Trace
from traces.services import ingest_spans

pytestmark = pytest.mark.django_db
SESSION = AskedDeletion.Kind.SESSION


def make_session(project, count, *, session="s1", first=1):
    ingest_spans(project, [make_span(trace_id=f"{first + n:032x}", session_id=session) for n in range(count)])


def test_a_small_deletion_is_done_in_the_request_and_leaves_no_row(client, project):
    make_session(project, 3)
    page = client.post(reverse("traces:delete_session", args=[project.slug, "s1"]), follow=True)
    assert "Deleted 3 traces with 3 spans." in page.content.decode()
    assert (Trace.objects.count(), AskedDeletion.objects.count()) == (0, 0)


def test_a_large_one_is_left_to_the_worker_and_its_page_says_so(client, project, monkeypatch):
    monkeypatch.setattr(asked_deletions, "AT_ONCE_TRACES", 2)
    make_session(project, 3)
    link = reverse("traces:delete_session", args=[project.slug, "s1"])
    assert "is being deleted" in client.post(link, follow=True).content.decode()
    assert Trace.objects.count() == 3
    client.post(link)
    assert AskedDeletion.objects.count() == 1  # asked again, it is the same
    page = client.get(link).content.decode()
    assert "This is being deleted since" in page
    assert ">Delete</button>" not in page
    make_session(project, 1, first=90)  # comes after it was asked for
    assert asked_deletions.finish_due() == 1
    assert [trace.trace_id for trace in Trace.objects.all()] == [f"{90:032x}"]
    assert AskedDeletion.objects.count() == 0
    assert AuditEntry.objects.get(action="traces.deleted").target == "session s1"


def test_one_trace_of_many_spans_is_large_too(project, monkeypatch):
    monkeypatch.setattr(asked_deletions, "AT_ONCE_SPANS", 4)
    ingest_spans(project, [make_span(trace_id="a" * 32, span_id=f"{n:016x}") for n in range(5)])
    assert asked_deletions.ask(project, AskedDeletion.Kind.TRACE, "a" * 32).taken_at is None


def test_what_was_killed_half_way_is_finished_and_only_once_nobody_is_at_it(project, monkeypatch):
    ann = User.objects.create_user("ann")
    ingest_spans(project, [make_span(trace_id="a" * 32, span_id=f"{n:016x}") for n in range(9)])
    asked = asked_deletions.ask(project, AskedDeletion.Kind.TRACE, "a" * 32, user=ann)
    monkeypatch.setattr(deletion, "SPANS_AT_ONCE", 4)

    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(deletion, "tell", die)
        with pytest.raises(Killed):
            asked_deletions.finish(asked)
    assert Span.objects.count() == 5
    assert Trace.objects.get().span_count == 9  # stale, so the row must not be lost
    assert asked_deletions.finish_due() == 0  # somebody may still be at it
    AskedDeletion.objects.update(taken_at=timezone.now() - asked_deletions.STALE - timedelta(seconds=1))
    assert asked_deletions.finish_due() == 1
    assert (Trace.objects.count(), Span.objects.count(), AskedDeletion.objects.count()) == (0, 0, 0)
    assert {entry.user for entry in AuditEntry.objects.filter(action="traces.deleted")} == {ann}


def test_one_that_cannot_go_holds_up_no_other_and_is_tried_again(project, monkeypatch, caplog):
    monkeypatch.setattr(asked_deletions, "AT_ONCE_TRACES", 0)
    make_session(project, 1, session="stuck")
    make_session(project, 1, session="free", first=2)
    stuck, _ = (asked_deletions.ask(project, SESSION, name) for name in ("stuck", "free"))
    delete_traces = asked_deletions.delete_traces

    def refuse(traces, *, what, **options):
        if what == "session stuck":
            raise RuntimeError("a row points at it")
        return delete_traces(traces, what=what, **options)

    monkeypatch.setattr(asked_deletions, "delete_traces", refuse)
    assert asked_deletions.finish_due() == 1
    assert [trace.session_id for trace in Trace.objects.all()] == ["stuck"]
    assert "The session stuck could not be deleted" in caplog.text
    monkeypatch.setattr(asked_deletions, "delete_traces", delete_traces)
    AskedDeletion.objects.filter(pk=stuck.pk).update(taken_at=timezone.now() - 2 * asked_deletions.STALE)
    assert asked_deletions.finish_due() == 1
    assert not Trace.objects.exists()
