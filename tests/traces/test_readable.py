import json

import pytest

from tests.traces.otlp_bodies import otlp_body, otlp_span
from traces import summary
from traces.otlp import decode_traces
from traces.readable import call_text, readable_text
from traces.storable import clean_text
from traces.summary import NO_TOKENS, UsageRow, preview

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is it?"}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Where is it?", "Where is it?"),
        ({"question": "Where is it?", "history": TURNS[:1], "model": "m"}, "Where is it?"),
        ({"args": ["Where is it?", TURNS[:1]], "kwargs": {}}, "Where is it?"),
        ({"args": [], "kwargs": {"question": "Where is it?"}}, "Where is it?"),
        ({"messages": TURNS}, "Where is it?"),
        (TURNS, "Where is it?"),
        ({"choices": [{"message": {"role": "assistant", "content": "Here."}}], "model": "m"}, "Here."),
        ([{"type": "text", "text": "Here."}, {"type": "image"}], "Here."),
        ({"anything": {"answer": "Here."}}, "Here."),
        ({"order_id": 7, "ok": True}, '{"order_id":7,"ok":true}'),
        (None, ""),
        ([], "[]"),
    ],
)
def test_the_words_of_a_value_are_its_text(value, text):
    assert readable_text(value) == text


def test_tool_calls_are_told_as_calls():
    calls = [{"name": "get_order", "arguments": {"order_id": "A-1", "n": 2}}, {"name": "stop", "arguments": ""}]
    assert call_text({"role": "assistant", "tool_calls": calls}) == "get_order(order_id: A-1, n: 2), stop()"


def facts(attributes, **overrides):
    [record] = decode_traces(otlp_body(otlp_span(attributes, **overrides)), "application/json").records
    return summary.read_facts(record, UsageRow(NO_TOKENS, None, ""))


def test_a_preview_is_what_was_asked_rather_than_json():
    found = facts(
        {"openinference.span.kind": "AGENT", "input.value": json.dumps({"question": "Where is it?", "history": TURNS})}
    )
    assert found.input == "Where is it?"


def test_a_span_that_its_sender_calls_the_root_ranks_as_one():
    flag = {"langfuse.observation.type": "span", "langfuse.internal.as_root": True}
    assert facts(flag, parentSpanId="1122334455667788").rank[0] == 0
    assert facts({}, parentSpanId="1122334455667788").rank[0] == 1


def test_a_name_that_was_told_goes_before_one_after_the_span():
    told = facts({"openinference.span.kind": "AGENT", "agent.name": "desk"}, name="desk")
    assert told.agent_rank < facts({"openinference.span.kind": "AGENT"}, name="Refund chat").agent_rank


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", " a b ", "a  b", "a\nb", "a\u00a0b", "a" * 600, "ab " * 400, "a" * 499 + "  b" + "c" * 500, "a\x00b", "a\ud800b",
     "a" * 499 + " " + "b" * 300, "a" * 500 + " ", " " * 700 + "late", "é ü " * 200],
)  # fmt: skip
def test_a_preview_is_the_start_on_one_line(text):
    whole = clean_text(" ".join(text.split()))
    assert preview(text) == whole[:500]
