"""Real payloads of SDKs: every fact of expected.json that can be decided without a database."""

import importlib.util
import json
from collections import defaultdict
from dataclasses import asdict

import pytest

from traces import otlp
from traces.conventions import rebuild_attributes
from traces.conversation import conversation
from traces.otlp import apply_logs, decode_logs, decode_traces
from traces.spans import SpanRecord
from traces.steps import steps

SDKS = [
    "catalyst", "mlflow", "openinference-openai", "openinference-openai-agents", "openllmetry", "openllmetry-legacy",
    "otel-genai-openai", "otel-openai-v2-legacy", "vercel-ai-sdk-6",
]  # fmt: skip
BODIES = [
    ("openinference-openai", "traces.pb"),
    ("openinference-openai", "traces.json"),
    ("otel-genai-openai", "traces.pb"),
    ("otel-genai-openai", "traces.json"),
    ("otel-genai-openai", "events.traces.pb"),
    ("catalyst", "traces.wire.json"),
    ("mlflow", "native.pb"),
    ("mlflow", "genai.json"),
    ("mlflow", "lost-root.pb"),
    ("openinference-openai-agents", "traces.pb"),
    ("openllmetry", "traces.pb"),
    ("openllmetry-legacy", "traces.json"),
    ("otel-openai-v2-legacy", "traces.pb"),
    ("vercel-ai-sdk-6", "traces.pb"),
    ("vercel-ai-sdk-6", "traces.wire.json"),
]
# Names that tell that a side's messages are kept twice.
SOURCES = (
    "llm.input_messages", "gen_ai.input.messages", "gen_ai.prompt", "gen_ai.completion", "mlflow.spanInputs", "ai.prompt.messages",
)  # fmt: skip


@pytest.fixture(scope="module")
def checker(shared):
    spec = importlib.util.spec_from_file_location("check_fixtures", shared / "tools/check_fixtures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def content_type(name: str) -> str:
    return "application/x-protobuf" if name.endswith(".pb") else "application/json"


def read_case(folder, case, *, as_json: bool) -> dict[str, list[SpanRecord]]:
    records, logs = {}, defaultdict(list)
    for request in case["requests"]:
        name = request["decoded"] if as_json and "decoded" in request else request["file"]
        body = (folder / name).read_bytes()
        if request["signal"] == "logs":
            decoded = decode_logs(body, content_type(name))
            for log in decoded.logs:
                logs[log.trace_id, log.span_id].append(log)
        else:
            decoded = decode_traces(body, content_type(name))
            for record in decoded.records:
                records[record.trace_id, record.span_id] = record
        assert decoded.rejected == []
    traces = defaultdict(list)
    for key, record in records.items():
        traces[record.trace_id].append(apply_logs(record, logs[key]))
    return traces


def as_document(record: SpanRecord) -> dict:
    """A span as the read API shows it, as far as check_fixtures.py looks."""
    document = asdict(record)
    document["parent_span_id"] = record.parent_span_id or None
    document["attributes"] = rebuild_attributes(record)
    document["error"] = (
        {"type": record.error_type, "message": record.error_message} if record.status == "error" else None
    )
    return document


@pytest.mark.parametrize("as_json", [False, True], ids=["as sent", "as JSON"])
@pytest.mark.parametrize("sdk", SDKS)
def test_every_span_of_a_captured_run_shows_what_it_must(shared, checker, sdk, as_json):
    folder = shared / "fixtures/otlp" / sdk
    report = checker.Report(verbose=False)
    for case in json.loads((folder / "expected.json").read_text())["cases"]:
        traces = read_case(folder, case, as_json=as_json)
        for want in case["traces"]:
            records = traces[want["trace_id"]]
            assert len(records) == want["span_count"]
            documents = [as_document(record) for record in records]
            depth_of = checker.depths(documents)
            found = {document["span_id"]: document for document in documents}
            for span in want["spans"]:
                checker.check_span(report, f"{case['case']}/{span['name']}", span, found[span["span_id"]], depth_of)
            kinds = [record.kind for record in records]
            assert kinds.count("llm") == want["llm_calls"]
            assert kinds.count("tool") == want["tool_calls"]
            assert sum(record.status == "error" for record in records) == want["error_spans"]
            for field in ("session_id", "user_id"):
                if field in want:
                    assert {getattr(record, field) for record in records} - {""} == {want[field]} - {None}
    assert report.failures == []
    assert report.facts > 100


def as_json_value(value):
    """A value with JSON texts unfolded, so that equal as JSON is equal."""
    if isinstance(value, dict):
        return {key: as_json_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json_value(item) for item in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return as_json_value(json.loads(value))
        except ValueError:
            return value
    return value


@pytest.mark.parametrize(("sdk", "name"), BODIES)
def test_attributes_that_moved_come_back_equal_as_json(shared, sdk, name):
    body = (shared / "fixtures/otlp" / sdk / name).read_bytes()
    spans = otlp.proto_spans(body) if name.endswith(".pb") else otlp.json_spans(otlp.read_json(body))
    raws = [read() for _, read in spans]
    records = decode_traces(body, content_type(name)).records
    assert len(raws) == len(records)
    for raw, record in zip(raws, records, strict=True):
        assert as_json_value(rebuild_attributes(record)) == as_json_value(raw.attributes)
        assert record.unrecognised == []


@pytest.mark.parametrize(("sdk", "name"), BODIES)
def test_a_model_calls_messages_are_not_kept_twice(shared, sdk, name):
    body = (shared / "fixtures/otlp" / sdk / name).read_bytes()
    calls = [record for record in decode_traces(body, content_type(name)).records if record.kind == "llm"]
    for record in calls:
        kept = [name for name in record.attributes if name.startswith(SOURCES) and not name.endswith(".finish_reason")]
        assert kept == []
        assert record.input is None


@pytest.mark.parametrize("sdk", SDKS)
def test_the_conversation_of_a_refund_run_reads_as_it_was_lived(shared, sdk):
    folder = shared / "fixtures/otlp" / sdk
    case = json.loads((folder / "expected.json").read_text())["cases"][0]
    records = read_case(folder, case, as_json=False)[case["traces"][0]["trace_id"]]
    entries = conversation(records)
    assert [entry["role"] for entry in entries] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert [call["name"] for call in entries[2]["tool_calls"]] == ["get_order", "lookup_policy"]
    assert "Trail shoes" in entries[3]["content"]
    assert entries[5]["content"].startswith("Yes. Order A-1001")
    tools = {record.span_id for record in records if record.kind == "tool" and record.tool["result"] is not None}
    assert not tools or {entries[3]["span_id"], entries[4]["span_id"]} == tools
    types = [step["type"] for step in steps(records)]
    assert types == ["message", "tool_call", "tool_call", "tool_result", "tool_result", "message"]


@pytest.mark.parametrize("sdk", SDKS)
def test_the_conversation_of_a_session_does_not_repeat_its_history(shared, sdk):
    folder = shared / "fixtures/otlp" / sdk
    case = json.loads((folder / "expected.json").read_text())["cases"][0]
    traces = read_case(folder, case, as_json=False)
    session = [record for want in case["traces"][:2] for record in traces[want["trace_id"]]]
    entries = conversation(session)
    assert [entry["content"] for entry in entries if entry["role"] == "user"] == [
        "I want a refund for order A-1001. Can I get one?",
        "Great. How long will it take?",
    ]
    assert len(entries) == 8


@pytest.mark.parametrize("sdk", SDKS)
def test_a_failed_tool_shows_its_error_in_the_conversation(shared, sdk):
    folder = shared / "fixtures/otlp" / sdk
    case = json.loads((folder / "expected.json").read_text())["cases"][0]
    records = read_case(folder, case, as_json=False)[case["traces"][2]["trace_id"]]
    [result] = [entry for entry in conversation(records) if entry["role"] == "tool"]
    assert result["is_error"]
    told = "redacted" if sdk == "openinference-openai-agents" else "order X-9999 not found"
    assert told in result["error"]


def test_logs_before_the_spans_and_after_them_give_the_same(shared):
    folder = shared / "fixtures/otlp/otel-genai-openai"
    case = json.loads((folder / "expected.json").read_text())["cases"][1]
    logs = [
        log
        for request in case["requests"]
        if request["signal"] == "logs"
        for log in decode_logs((folder / request["file"]).read_bytes(), "application/x-protobuf").logs
    ]
    for record in decode_traces((folder / "events.traces.pb").read_bytes(), "application/x-protobuf").records:
        mine = [log for log in logs if log.span_id == record.span_id]
        at_once = apply_logs(record, mine)
        bit_by_bit = record
        for count in range(len(mine) + 1):
            bit_by_bit = apply_logs(bit_by_bit, mine[:count])
        assert bit_by_bit == at_once
        assert apply_logs(at_once, mine) == at_once
        if record.kind == "llm":
            assert at_once.input_messages
            assert at_once.content_recorded
        else:
            assert not at_once.content_recorded
