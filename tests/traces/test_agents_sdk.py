import json

import pytest

from traces.agents_sdk import decode_agents
from traces.conventions import rebuild_attributes
from traces.otlp import DecodeError

TRACE_ID, SPAN_ID = "trace_" + "a" * 32, "span_" + "b" * 24


def make_item(data, **overrides):
    return {
        "object": "trace.span",
        "id": SPAN_ID,
        "trace_id": TRACE_ID,
        "parent_id": None,
        "started_at": "2026-11-21T03:23:49.165167+00:00",
        "ended_at": "2026-11-21T03:23:49.265167Z",
        "span_data": data,
        "error": None,
        **overrides,
    }


def decode(*items):
    return decode_agents(json.dumps({"data": items}).encode())


def record_of(data, **overrides):
    (record,) = decode(make_item(data, **overrides)).records
    return record


def test_ids_stay_text_and_times_are_exact_to_the_microsecond():
    record = record_of({"type": "custom", "name": "mine", "data": {}})

    assert (record.trace_id, record.span_id, record.parent_span_id) == (TRACE_ID, SPAN_ID, "")
    assert record.start_ns == 1795231429165167000
    assert record.end_ns - record.start_ns == 100_000_000
    assert (record.kind, record.status, record.name) == ("chain", "ok", "mine")


def test_a_span_without_end_is_not_over():
    record = record_of({"type": "agent", "name": "a"}, ended_at=None)

    assert (record.end_ns, record.status) == (None, "unset")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"type": "agent", "name": "a", "tools": ["t"]}, "agent"),
        ({"type": "function", "name": "f", "input": "{}", "output": "x"}, "tool"),
        ({"type": "handoff", "from_agent": "a", "to_agent": "b"}, "handoff"),
        ({"type": "guardrail", "name": "g", "triggered": True}, "guardrail"),
        ({"type": "mcp_tools", "server": "s", "result": ["t"]}, "chain"),
        ({"type": "transcription", "model": "w", "input": {"data": "AAAA"}, "output": "hi"}, "unknown"),
        ({"type": "brand_new", "thing": 1}, "unknown"),
        ({}, "unknown"),
        (None, "unknown"),
        ("text", "unknown"),
    ],
)
def test_every_type_is_kept_with_all_that_was_sent(data, kind):
    record = record_of(data)

    assert record.kind == kind
    sent = {f"span_data.{name}": value for name, value in (data if isinstance(data, dict) else {}).items()}
    assert rebuild_attributes(record).items() >= sent.items()


def test_a_generation_repeats_no_message_in_its_attributes_and_gives_them_back():
    call = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}}
    sent = [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "there"},
    ]
    usage = {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 3}}
    record = record_of(
        {"type": "generation", "input": sent, "output": [{"content": "There."}], "model": "m", "usage": usage}
    )

    assert [one["role"] for one in record.input_messages] == ["system", "user", "assistant", "tool"]
    assert record.output_messages == [{"role": "assistant", "content": "There."}]
    assert (record.usage.input_tokens, record.usage.cached_input_tokens) == (9, 3)
    assert "span_data.input" not in record.attributes
    assert rebuild_attributes(record)["span_data.input"] == sent


def test_a_response_has_no_content_unless_an_exporter_adds_it():
    bare = record_of({"type": "response", "response_id": "resp_1", "usage": {"input_tokens": 1, "output_tokens": 2}})
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    full = record_of({"type": "response", "response_id": "resp_1", "input": "Hi", "output": [item]})

    assert (bare.content_recorded, bare.model, bare.usage.output_tokens) == (False, "", 2)
    assert full.content_recorded is True
    assert full.output_messages == [{"role": "assistant", "content": [item]}]


def test_an_error_says_its_cause():
    error = {"message": "Error running tool", "data": {"error": "no such order"}}
    record = record_of({"type": "function", "name": "f"}, error=error)

    assert (record.status, record.error_message, record.status_message) == (
        "error",
        "no such order",
        "Error running tool",
    )
    assert record_of({"type": "agent", "name": "a"}, error="odd").error_message == "odd"
    assert record_of({"type": "agent", "name": "a"}, error={}).status == "error"


def test_valid_items_are_kept_beside_invalid_ones():
    deep = json.loads("[" * 200 + "]" * 200)
    decoded = decode(
        5,
        {"object": "invoice"},
        {"object": "trace", "id": ""},
        {"object": "trace", "id": "t" * 129},
        make_item({}, id=None),
        make_item({"type": "custom", "data": deep}),
        {"object": "trace", "id": TRACE_ID, "workflow_name": "w", "group_id": None, "metadata": None},
        make_item({"type": "agent", "name": "a"}),
    )

    assert (len(decoded.heads), len(decoded.records), len(decoded.rejected)) == (1, 1, 6)
    assert decoded.rejected[-1].startswith("data[5]")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"data": {}}', b"\xff", b"[" * 5000])
def test_a_body_that_is_none_is_refused(body):
    with pytest.raises(DecodeError):
        decode_agents(body)
