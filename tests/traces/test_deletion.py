"""Deleting traces: what only they hold goes, what others hold stays, and ingest goes on beside it."""

import io
import threading
import time
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone

from accounts.models import AuditEntry
from tests.factories import make_project, make_span
from tests.traces.test_services import make_run, rows_of
from traces import deletion
from traces.models import (
    Body,
    LogRecord,
    MessageNode,
    SearchPending,
    SearchText,
    Span,
    SpanPayload,
    Trace,
    TraceTerm,
    TraceTexts,
)
from traces.otlp import LogItem
from traces.services import Batch, ingest_logs, ingest_spans
from traces.text_index import index_pending

HELD = (Trace, Span, SpanPayload, MessageNode, Body, TraceTerm, SearchText, TraceTexts, SearchPending, LogRecord)


def counts() -> dict[str, int]:
    return {model.__name__: model.objects.count() for model in HELD}


def chat(trace_id: str, *said: str, span_id: str = "", **overrides):
    """A model call whose input is a thread of messages."""
    messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n, text in enumerate(said)]
    return make_span(
        trace_id=trace_id,
        span_id=span_id or trace_id[:16],
        kind="llm",
        input_messages=messages[:-1],
        output_messages=messages[-1:],
        **overrides,
    )


def delete(*trace_ids: str) -> tuple[int, int]:
    return deletion.delete_traces(Trace.objects.filter(trace_id__in=trace_ids), what="test")


@pytest.mark.django_db
def test_after_a_deletion_the_rows_are_those_of_the_traces_that_are_left():
    project = make_project()
    stays = [make_run("b" * 32, seed=2), [chat("c" * 32, "hello", "hi", "bye", "so long")]]
    for records in stays:
        ingest_spans(project, records)
    index_pending()
    rows, before = rows_of(project), counts()
    ingest_spans(project, [*make_run("a" * 32, seed=1), chat("d" * 32, "hello", "hi", "and", "more")])
    index_pending()
    assert counts()["Body"] > before["Body"]
    assert delete("a" * 32, "d" * 32) == (2, 31)
    assert rows_of(project) == rows
    assert counts() == before


@pytest.mark.django_db
def test_nothing_is_left_of_the_last_trace():
    project = make_project()
    said = [f"word {number}" for number in range(300)]
    ingest_spans(project, [chat("a" * 32, *said), chat("a" * 32, *said[:100], span_id="b" * 16)])
    ingest_logs(project, [LogItem("a" * 32, "c" * 16, 1, "gen_ai.choice", {"x": 1}, {"y": 2})])
    index_pending()
    assert counts()["SearchText"] > 0
    assert delete("a" * 32) == (1, 2)
    assert set(counts().values()) == {0}
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM traces_searchindex")
            assert cursor.fetchone() == (0,)


@pytest.mark.django_db
def test_what_many_traces_share_is_not_read_row_by_row():
    project = make_project()
    for number in range(1, 121):
        trace_id = f"{number:032x}"
        ingest_spans(project, [chat(trace_id, "You are a clerk.", f"answer {number}")])
    most = []

    def count_rows(execute, sql, params, many, context):
        if sql.lstrip().startswith(("SELECT", "WITH")):
            execute(f"SELECT count(*) FROM ({sql}) AS found", params, many, context)
            most.append(context["cursor"].fetchone()[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count_rows):
        assert delete(f"{1:032x}", f"{2:032x}") == (2, 2)
    assert 1 <= max(most) < 20
    assert MessageNode.objects.filter(depth=1).count() == 1
    assert delete(*(f"{number:032x}" for number in range(3, 121))) == (118, 118)
    assert Body.objects.count() == MessageNode.objects.count() == 0


@pytest.mark.django_db
def test_thread_that_another_goes_on_from_stays_up_to_there():
    project = make_project()
    ingest_spans(project, [chat("a" * 32, "one", "two", "three", "four")])
    ingest_spans(project, [chat("b" * 32, "one", "two", "other", "end")])
    ingest_spans(project, [chat("c" * 32, "one", "two", "third", "end")])
    delete("a" * 32, "c" * 32)
    assert MessageNode.objects.count() == 4
    delete("b" * 32)
    assert MessageNode.objects.count() == Body.objects.count() == 0


@pytest.mark.django_db
def test_large_trace_goes_in_several_transactions(monkeypatch):
    monkeypatch.setattr(deletion, "SPANS_AT_ONCE", 10)
    project = make_project()
    ingest_spans(project, make_run("a" * 32, seed=3, size=45))
    ingest_spans(project, make_run("b" * 32, seed=4, size=8))
    heard = []
    traces = Trace.objects.filter(project=project)
    assert deletion.delete_traces(traces, what="all", report=lambda *now: heard.append(now)) == (2, 53)
    assert len(heard) > 4
    assert heard[-1] == (2, 53)
    assert Span.objects.count() == Body.objects.count() == 0


@pytest.mark.django_db
def test_trace_of_another_project_keeps_its_own_bodies():
    mine, other = make_project(), make_project(slug="other")
    for project in (mine, other):
        ingest_spans(project, [chat("a" * 32, "the same", "words")])
    rows = rows_of(other)
    deletion.delete_traces(Trace.objects.filter(project=mine), what="mine")
    assert rows_of(other) == rows
    assert Body.objects.filter(project=mine).count() == 0


@pytest.mark.django_db
def test_same_trace_sent_again_after_its_deletion_is_there_as_the_first_time():
    project = make_project()
    ingest_spans(project, make_run("a" * 32, seed=5))
    rows = rows_of(project)
    delete("a" * 32)
    ingest_spans(project, make_run("a" * 32, seed=5))
    assert rows_of(project) == rows


@pytest.mark.django_db(transaction=True)
def test_ingest_of_the_same_trace_goes_on_beside_its_deletion():
    project = make_project()
    errors, done = [], threading.Event()

    def send(seed: int) -> None:
        try:
            while not done.is_set():
                ingest_spans(project, [chat("a" * 32, "hello", "hi", f"more {seed}"), *make_run("b" * 32, seed=seed)])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send, args=(seed,), daemon=True) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    gone = 0
    while (took := time.monotonic() - began) < 4 or (gone <= 2 and took < 60):  # longer on a slow machine
        gone += delete("a" * 32, "b" * 32)[0]
    done.set()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert gone > 2
    delete("a" * 32, "b" * 32)
    deletion.sweep_orphans(project.pk)
    assert Span.objects.count() == Body.objects.count() == MessageNode.objects.count() == TraceTerm.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_sweep_leaves_what_a_writer_is_about_to_point_at(monkeypatch):
    project = make_project()
    shared = {"origin": {"scope": {"name": "sdk"}}, "available_tools": [{"name": "search"}]}
    ingest_spans(project, [chat("a" * 32, "hello", "hi", "bye", **shared)])
    found, errors = threading.Event(), []
    insert_spans = Batch.insert_spans

    def insert_late(batch, spans, links):
        found.set()  # bodies and nodes are looked up, and those of the trace that goes are among them
        time.sleep(1)
        insert_spans(batch, spans, links)

    def send() -> None:
        try:
            ingest_spans(project, [chat("b" * 32, "hello", "hi", "bye", **shared)])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    monkeypatch.setattr(Batch, "insert_spans", insert_late)
    writer = threading.Thread(target=send, daemon=True)
    writer.start()
    assert found.wait(30)
    delete("a" * 32)
    writer.join(30)
    assert errors == []
    payload = SpanPayload.objects.get()
    assert MessageNode.objects.filter(pk__in=[payload.input_node_id, payload.output_node_id]).count() == 2
    assert Body.objects.filter(pk__in=[payload.origin_id, payload.tools_id]).count() == 2
    assert not MessageNode.objects.exclude(body__in=Body.objects.all()).exists()
    assert not MessageNode.objects.filter(parent__isnull=False).exclude(parent__in=MessageNode.objects.all()).exists()


@pytest.mark.django_db
def test_messages_that_a_newer_version_of_a_span_no_longer_has_are_swept():
    project = make_project()
    ingest_spans(project, [chat("a" * 32, "one", "two", "three"), chat("b" * 32, "one", "two")])
    ingest_spans(project, [chat("a" * 32, "one", "other")])
    assert Body.objects.count() == 4
    rows = rows_of(project)
    deletion.sweep_orphans(project.pk)
    said = sorted(bytes(body.content).decode() for body in Body.objects.all())
    assert [text.split('"content":"')[1].rstrip('"}') for text in said] == ["other", "two", "one"]
    assert rows_of(project) == rows


def old_ns(days: int) -> int:
    return int((timezone.now() - timedelta(days=days)).timestamp()) * 1_000_000_000


def run_command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("delete_traces", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_command_names_asks_and_deletes_what_is_old_with_an_audit_entry(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    project = make_project(slug="shop")
    for trace_id, days in (("a" * 32, 40), ("b" * 32, 1)):
        ingest_spans(project, [chat(trace_id, "hello", trace_id, start_ns=old_ns(days), end_ns=old_ns(days) + 5)])
    with pytest.raises(CommandError, match="add --yes"):
        run_command("--older-than", "30d")
    assert Trace.objects.count() == 2
    out = run_command("--older-than", "30d", "--project", "shop", "--yes")
    assert "In the project shop, 1 traces with 1 spans are older than 30d." in out
    assert "Deleted 1 traces with 1 spans." in out
    assert [trace.trace_id for trace in Trace.objects.all()] == ["b" * 32]
    entries = AuditEntry.objects.filter(project=project, action__startswith="traces.").order_by("pk")
    assert [(entry.action, entry.target) for entry in entries] == [
        ("traces.delete", "older than 30d"),
        ("traces.deleted", "older than 30d"),
    ]
    assert entries[1].detail == {"traces": 1, "spans": 1}


@pytest.mark.django_db
@pytest.mark.parametrize("arguments", [("--older-than", "soon"), ("--older-than", "3d", "--project", "nobody")])
def test_command_refuses_what_it_cannot_read_with_code_2(arguments):
    with pytest.raises(CommandError) as caught:
        run_command(*arguments, "--yes")
    assert caught.value.returncode == 2


@pytest.mark.django_db(transaction=True)
def test_bytes_come_back():
    project = make_project()
    for number in range(4):
        said = [f"{number} {n} " + "x y z " * 400 for n in range(100)]
        ingest_spans(project, [chat(f"{number}" * 32, *said)])
    deletion.delete_traces(Trace.objects.all(), what="all")
    if connection.vendor == "postgresql":
        list(deletion.give_back())  # how much lies at the tables' ends is not ours to say
        assert counts()["Body"] == 0
        return
    assert sum(deletion.give_back()) > 500_000
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA freelist_count")
        assert cursor.fetchone() == (0,)
