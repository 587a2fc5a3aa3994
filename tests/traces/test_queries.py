"""Reads of one trace: what was stored comes back, the shapes of the read API, and a number of queries that does not grow."""

import dataclasses
import time
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_span
from traces import queries
from traces.models import Trace
from traces.otlp import decode_traces
from traces.services import ingest_spans
from traces.spans import SpanRecord, Usage

SUMMARY = {
    "trace_id", "name", "project", "source", "status", "start_time", "start_ns", "duration_ms", "agent_id", "agent_name", "session_id",
    "session_ids", "user_id", "task", "environment", "release", "version", "workflow_name", "prompt", "models", "tags", "metadata",
    "missing_root", "span_count", "error_count", "llm_call_count", "tool_call_count", "usage", "input", "output",
}  # fmt: skip
USAGE = {
    "input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "total_tokens", "cost_usd",
    "cost_source",
}  # fmt: skip
SPAN = {
    "span_id", "parent_span_id", "name", "display_name", "kind", "start_ns", "duration_ms", "status", "status_message", "error", "model",
    "provider", "usage", "agent_id", "agent_name", "session_id", "tool", "input_messages", "output_messages", "input", "output",
    "content_recorded", "available_tools", "attributes", "events",
}  # fmt: skip


@pytest.fixture
def no_parts():
    """Leave out what rooms above put into the document."""
    before = dict(queries.document_parts)
    queries.document_parts.clear()
    yield
    queries.document_parts.clear()
    queries.document_parts.update(before)


def make_runs(size: int) -> list[SpanRecord]:
    """Make one run: a root, and model calls and tools under it that go on with one thread of ten messages at most."""
    root = make_span(trace_id="a" * 32, span_id="f" * 16)
    spans = [root]
    for number in range(size - 1):
        thread = [{"role": "user", "content": f"{number // 10} {n}"} for n in range(number % 10 + 1)]
        spans.append(
            make_span(
                trace_id=root.trace_id,
                span_id=f"{number:016x}",
                parent_span_id=root.span_id,
                kind="llm" if number % 2 else "tool",
                usage=Usage(10, 5) if number % 2 else Usage(),
                input_messages=thread if number % 2 else [],
                output_messages=[{"role": "assistant", "content": f"answer {number}"}] if number % 2 else [],
                tool=None if number % 2 else {"name": "get", "call_id": "", "arguments": {"n": number}, "result": "r"},
                attributes={"n": number, "text": "x" * 200},
                origin={"resource": {"service.name": "test"}, "scope": {"name": "s", "version": "1"}},
            )
        )
    return spans


@pytest.mark.django_db
def test_records_come_back_as_they_were_sent(project, shared):
    """Every captured payload that we decode: all fields of each span but a cost that was worked out here."""
    for path in sorted((shared / "fixtures/otlp").glob("*/*traces*.pb")):
        sent = decode_traces(path.read_bytes(), "application/x-protobuf").records
        wanted = {(one.trace_id, one.span_id): dataclasses.asdict(one) for one in sent}
        ingest_spans(project, sent)
        for trace in Trace.objects.filter(trace_id__in={one.trace_id for one in sent}):
            for record in queries.span_records(trace):
                found = dataclasses.asdict(record)
                if found["usage"]["cost_source"] == "priced":
                    found["usage"] |= {"cost_usd": None, "cost_source": ""}
                expected = wanted[record.trace_id, record.span_id] | {"position": found["position"]}
                assert found == expected, path


@pytest.mark.django_db
def test_document_has_the_shapes_of_the_read_api(project, no_parts):
    root = make_span(session_id="s-1", agent_name="refunds", agent_id="a-1", tags=["x"], metadata={"plan": "pro"})
    root.prompt = {"name": "support", "version": "2"}
    call = make_span(
        trace_id=root.trace_id, parent_span_id=root.span_id, kind="llm", model="gpt-4o-mini", provider="openai",
        usage=Usage(10, 5, 2), input_messages=[{"role": "user", "content": "hello"}],
        output_messages=[
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "name": "get", "arguments": {"a": 1}}]}
        ],
        available_tools=[{"name": "get"}], events=[{"name": "e", "time_ns": 2**60, "attributes": {}}],
    )  # fmt: skip
    tool = make_span(
        trace_id=root.trace_id, parent_span_id=call.span_id, kind="tool", status="error", error_type="ValueError",
        error_message="no order", tool={"name": "get", "call_id": "c", "arguments": {"a": 1}, "result": None},
    )  # fmt: skip
    ingest_spans(project, [tool, call, root])
    document = orjson.loads(orjson.dumps(queries.trace_document(Trace.objects.get())))
    assert set(document) >= SUMMARY | {"spans", "conversation", "steps", "scores"}
    assert set(document["usage"]) >= USAGE
    assert all(set(span) >= SPAN for span in document["spans"])
    first, second, third = document["spans"]
    assert [first["name"], second["kind"], third["kind"]] == ["support-agent", "llm", "tool"]
    assert (first["parent_span_id"], second["parent_span_id"], second["session_id"]) == (None, root.span_id, "s-1")
    assert (first["start_ns"], second["events"][0]["time_ns"]) == (str(root.start_ns), str(2**60))
    assert (first["error"], third["error"]) == (None, {"type": "ValueError", "message": "no order"})
    assert third["tool"] == {"name": "get", "call_id": "c", "arguments": {"a": 1}, "result": None}
    assert second["output_messages"][0]["tool_calls"] == [{"id": "c", "name": "get", "arguments": {"a": 1}}]
    assert second["input_messages"][0]["span_id"] == call.span_id
    assert document["prompt"] == {"name": "support", "version": "2"}
    assert (document["session_ids"], document["models"], document["tags"]) == (["s-1"], ["gpt-4o-mini"], ["x"])
    assert document["start_time"].startswith("2026-")


@pytest.mark.django_db
@pytest.mark.parametrize("size", [3, 400])
def test_document_takes_three_queries_whatever_the_size(project, no_parts, size, django_assert_num_queries):
    ingest_spans(project, make_runs(size))
    trace = Trace.objects.select_related("project").get()
    with django_assert_num_queries(3):
        assert len(queries.trace_document(trace)["spans"]) == size


@pytest.mark.django_db
def test_light_spans_load_no_payload(project):
    ingest_spans(project, make_runs(50))
    trace = Trace.objects.get()
    with CaptureQueriesContext(connection) as captured:
        spans = list(queries.light_spans(trace))
    assert len(spans) == 50
    assert len(captured) == 1
    assert "payload" not in captured[0]["sql"]


@pytest.mark.django_db
def test_ten_thousand_spans_are_read_in_time(project):
    """About a second on an idle core; CPU time, with room for a slow machine."""
    spans = make_runs(10_000)
    for start in range(0, len(spans), 1000):
        ingest_spans(project, spans[start : start + 1000])
    trace = Trace.objects.get()
    begun = time.process_time()
    records = queries.span_records(trace)
    assert time.process_time() - begun < 4
    assert len(records) == 10_000


@pytest.mark.django_db
def test_sessions_are_inherited_from_the_nearest_ancestor(project):
    root = make_span(span_id="1" * 16)
    first = make_span(trace_id=root.trace_id, span_id="2" * 16, parent_span_id=root.span_id, session_id="s-1")
    second = make_span(trace_id=root.trace_id, span_id="3" * 16, parent_span_id=root.span_id, session_id="s-2")
    below = make_span(trace_id=root.trace_id, span_id="4" * 16, parent_span_id=second.span_id)
    orphan = make_span(trace_id=root.trace_id, span_id="5" * 16, parent_span_id="9" * 16)
    found = queries.inherited_sessions([root, first, second, below, orphan], "s-1")
    assert list(found.values()) == ["s-1", "s-1", "s-2", "s-2", "s-1"]


def test_sessions_of_spans_in_a_circle_end():
    one = make_span(span_id="1" * 16, parent_span_id="2" * 16)
    two = make_span(span_id="2" * 16, parent_span_id="1" * 16)
    assert queries.inherited_sessions([one, two], "s") == {one.span_id: "s", two.span_id: "s"}


@pytest.mark.django_db
def test_spans_without_times_come_in_order_of_position(project):
    spans = [
        make_span(trace_id="a" * 32, span_id=f"{9 - n:016x}", start_ns=None, end_ns=None, position=n) for n in range(5)
    ]
    ingest_spans(project, list(reversed(spans)))
    trace = Trace.objects.get()
    assert [record.position for record in queries.span_records(trace)] == [0, 1, 2, 3, 4]
    assert [span.position for span in queries.light_spans(trace)] == [0, 1, 2, 3, 4]
    assert (trace.start_ns, trace.duration_ms) == (None, None)
    summary: dict[str, Any] = queries.trace_summary(trace)
    assert (summary["start_time"], summary["start_ns"], summary["duration_ms"]) == (None, None, None)


@pytest.mark.django_db
def test_one_span_is_read_alone(project):
    ingest_spans(project, make_runs(5))
    trace = Trace.objects.get()
    record = queries.span_record(trace, f"{3:016x}")
    assert record is not None
    assert record.attributes["n"] == 3
    assert queries.span_record(trace, "nothing") is None


@pytest.mark.django_db
def test_a_room_above_adds_its_part(project, no_parts):
    ingest_spans(project, make_runs(1))
    queries.register_document_part("scores", lambda trace: [{"trace": trace.trace_id}])
    assert queries.trace_document(Trace.objects.get())["scores"] == [{"trace": "a" * 32}]


@pytest.mark.parametrize("time_ns", [0, 1, 2**62, -1, 253402300800 * 10**9])
def test_times_of_any_year_are_written(time_ns):
    text = queries.iso_time(time_ns)
    assert text is None or text.endswith("+00:00")


def test_a_run_whose_calls_repeat_millions_of_messages_is_read_in_little_memory_and_whole(project, no_parts):
    calls = 2_000  # the last call's input has 3,999 messages, all calls together 4 million
    thread, spans = [], []
    for number in range(calls):
        thread = [*thread, {"role": "user", "content": f"ask {number}"}]
        answer = {"role": "assistant", "content": f"answer {number}"}
        spans.append(
            make_span(
                trace_id="a" * 32, span_id=f"{number:016x}", kind="llm", start_ns=number + 1, end_ns=number + 2,
                input_messages=thread, output_messages=[answer],
            )
        )  # fmt: skip
        thread = [*thread, answer]
    for start in range(0, calls, 100):
        ingest_spans(project, spans[start : start + 100], source="ingest")
    trace = Trace.objects.get()
    records = queries.span_records(trace)
    assert sum(len(record.input_messages) for record in records) < 60 * calls
    assert {len(record.input_messages) + record.earlier_messages for record in records} == set(range(1, 2 * calls, 2))
    document = queries.trace_document(trace)
    said = [message["content"] for message in document["conversation"]]
    assert said == [text for number in range(calls) for text in (f"ask {number}", f"answer {number}")]
    assert document["spans"][-1]["input_messages_omitted"] == 2 * calls - 1 - queries.KEPT_MESSAGES
    alone = queries.span_record(trace, f"{calls - 1:016x}")
    assert alone is not None
    assert len(alone.input_messages) == 2 * calls - 1
