"""A conversation as turns."""

import pytest

from tests.factories import make_span
from traces.conversation import conversation
from traces.spans import Usage
from traces.turns import build_turns, hidden_failure

T = 1_780_000_000_000_000_000
SECOND = 1_000_000_000


def make_records(turns=2, result='{"state": "shipped"}'):
    """Records of a chat in which each turn asks, looks an order up, and answers; history is repeated as models do."""
    trace_id = "ab" * 16
    records = [make_span(trace_id=trace_id, span_id="root", start_ns=T, end_ns=T + turns * 10 * SECOND)]
    history = [{"role": "system", "content": "You are a support agent."}]
    for turn in range(turns):
        at = T + turn * 10 * SECOND
        history = [*history, {"role": "user", "content": f"Where is order {turn}?"}]
        call = {"id": f"call-{turn}", "name": "get_order", "arguments": {"order_id": turn}}
        asked = {"role": "assistant", "content": None, "tool_calls": [call]}
        answer = {"role": "assistant", "content": f"Order {turn} is on its way."}
        common = {"trace_id": trace_id, "parent_span_id": "root"}
        records.append(
            make_span(**common, span_id=f"ask-{turn}", kind="llm", start_ns=at, end_ns=at + SECOND, usage=Usage(10, 5, cost_usd=0.5),
                      input_messages=history, output_messages=[asked])
        )  # fmt: skip
        records.append(
            make_span(**common, span_id=f"tool-{turn}", kind="tool", start_ns=at + SECOND, end_ns=at + 2 * SECOND,
                      tool={"name": "get_order", "call_id": f"call-{turn}", "arguments": {"order_id": turn}, "result": result})
        )  # fmt: skip
        history = [*history, asked, {"role": "tool", "tool_call_id": f"call-{turn}", "content": result}]
        records.append(
            make_span(**common, span_id=f"say-{turn}", kind="llm", start_ns=at + 2 * SECOND, end_ns=at + 3 * SECOND,
                      usage=Usage(20, 5, cost_usd=0.5), input_messages=history, output_messages=[answer])
        )  # fmt: skip
        history = [*history, answer]
    return records


def turns_of(records):
    return build_turns(conversation(records), records)


def test_turns_begin_with_the_customer_and_end_with_the_answer():
    turns = turns_of(make_records())
    assert [turn.anchor for turn in turns] == ["turn-0", "turn-1", "turn-2"]
    assert [[block.role or block.kind for block in turn.blocks] for turn in turns] == [
        ["system"],
        ["user", "calls", "assistant"],
        ["user", "calls", "assistant"],
    ]


def test_tool_call_has_its_arguments_result_time_and_span():
    call = turns_of(make_records())[1].blocks[1].calls[0]
    assert (call.name, call.arguments, call.result) == ("get_order", {"order_id": 0}, '{"state": "shipped"}')
    assert (call.key[1], call.duration_ms, call.state) == ("tool-0", 1000, "ok")


def test_turn_has_the_time_tokens_and_cost_of_its_own_spans():
    before, first, second = turns_of(make_records())
    assert (before.duration_ms, before.tokens, before.cost_usd) == (None, None, None)
    assert (first.duration_ms, first.tokens, first.cost_usd) == (3000, 40, 1.0)
    assert (second.duration_ms, second.tokens, second.cost_usd) == (3000, 40, 1.0)


def test_result_that_says_failed_makes_a_silent_failure():
    call = turns_of(make_records(result='{"error": "customer_not_found"}'))[1].blocks[1].calls[0]
    assert (call.state, call.reason) == ("warn", "error: customer_not_found")


def test_failed_tool_span_makes_an_error_and_says_why():
    records = make_records(turns=1)
    records[2].status, records[2].error_message = "error", "Timed out"
    call = turns_of(records)[1].blocks[1].calls[0]
    assert (call.state, call.reason) == ("error", "Timed out")


def test_tool_message_without_a_call_is_still_shown():
    message = {"role": "tool", "content": "42", "tool_call_id": "lost", "name": "sum", "trace_id": "t", "span_id": "s"}
    assert [call.name for call in build_turns([message], [])[0].blocks[0].calls] == ["sum"]


def test_sub_agent_is_folded_into_one_block():
    said = {"role": "user", "content": "Hello", "trace_id": "t", "span_id": "a"}
    sub = {
        "role": "user",
        "content": "Look this up",
        "trace_id": "t",
        "span_id": "b",
        "is_sub_agent": True,
        "agent_name": "researcher",
    }
    back = {
        "role": "assistant",
        "content": "Found",
        "trace_id": "t",
        "span_id": "b",
        "is_sub_agent": True,
        "agent_name": "researcher",
    }
    end = {"role": "assistant", "content": "Done", "trace_id": "t", "span_id": "c"}
    (turn,) = build_turns([said, sub, back, end], [])
    assert [block.kind for block in turn.blocks] == ["message", "sub", "message"]
    assert (turn.blocks[1].agent_name, len(turn.blocks[1].blocks)) == ("researcher", 2)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"ok": False}, "ok: false"),
        ('{"status": "failed"}', "status: failed"),
        ({"http_status": 404}, "http_status: 404"),
        ("Error: no such order", "Error: no such order"),
        ({"isError": True}, "isError: true"),
        ({"error": None, "state": "shipped"}, ""),
        ({"error": [], "status": 200}, ""),
        ("Errors are rare here", ""),
        ({"status": True}, ""),
        (None, ""),
        ([1, 2], ""),
        ("", ""),
    ],
)
def test_hidden_failure_names_what_says_so(result, reason):
    assert hidden_failure(result) == reason
