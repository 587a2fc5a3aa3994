"""A conversation as turns."""

import pytest

from tests.factories import make_span
from traces.conversation import conversation
from traces.result_errors import error_in
from traces.spans import Usage
from traces.turns import MAX_CALLS, PAGE_WEIGHT, build_turns, cut_blocks, cut_page, find_block

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
def test_what_a_result_says_of_its_failure(result, reason):
    assert error_in(result) == reason


# Pages -----------------------------------------------------------------------------------------------------------


def all_pieces(turns):
    """Every block of every turn, by anchor and path."""
    return [(turn.anchor, block.path) for turn in turns for block in turn.blocks]


def test_pages_of_a_long_conversation_hold_every_block_once_and_in_order():
    turns = turns_of(make_records(turns=90))
    seen, page = [], cut_page(turns)
    while True:
        assert sum(block.weight for turn in page.turns for block in turn.blocks) <= PAGE_WEIGHT
        seen += all_pieces(page.turns)
        if page.later is None:
            break
        page = cut_page(turns, *page.later)
    assert seen == all_pieces(turns)


def test_page_before_a_place_ends_there():
    turns = turns_of(make_records(turns=90))
    later = cut_page(turns, "turn-60")
    before = cut_page(turns, *later.earlier, is_before=True)
    assert before.turns[-1].anchor == "turn-59"
    assert before.later == ("turn-60", 0)
    assert cut_page(turns, "turn-no", 7).turns[0].anchor == "turn-0"


def make_sub(calls):
    """Messages of one turn: a customer, and a sub-agent that makes some calls."""
    sub = {"role": "assistant", "is_sub_agent": True, "agent_name": "checker", "trace_id": "t"}
    asked = [
        {
            **sub,
            "content": f"Step {number}",
            "span_id": f"s{number}",
            "tool_calls": [{"name": "look", "arguments": {"n": number}}],
        }
        for number in range(calls)
    ]
    return [{"role": "user", "content": "Hello", "trace_id": "t", "span_id": "a"}, *asked]


def test_turn_of_one_long_block_after_the_other_goes_on_over_pages():
    messages = [make_sub(0)[0]] + [message for _ in range(150) for message in (make_sub(12)[1:], {"role": "assistant", "content": "x"})
                                   for message in (message if isinstance(message, list) else [message])]  # fmt: skip
    turns = build_turns(messages, [])
    first = cut_page(turns)
    second = cut_page(turns, *first.later)
    assert [turn.first for turn in (first.turns[0], second.turns[0])] == [0, len(first.turns[0].blocks)]
    assert second.turns[0].anchor == first.turns[0].anchor


def test_long_sub_agent_is_folded_and_found_by_its_path():
    (turn,) = build_turns(make_sub(200), [])
    sub = turn.blocks[1]
    assert (sub.is_folded, sub.weight, sub.pieces) == (True, 1, 400)
    assert find_block([turn], turn.anchor, sub.path) is sub
    assert find_block([turn], turn.anchor, "9") is None
    assert find_block([turn], turn.anchor, "x.1") is None
    blocks, later = cut_blocks(sub.blocks, 0)
    assert len(blocks) == later == PAGE_WEIGHT
    short = build_turns(make_sub(3), [])[0].blocks[1]
    assert not short.is_folded


def test_sub_agent_has_the_time_and_the_cost_of_its_own_spans():
    records = [make_span(trace_id="t", span_id=f"s{number}", kind="llm", start_ns=T + number * SECOND, end_ns=T + (number + 1) * SECOND,
                         usage=Usage(10, 5, cost_usd=0.25)) for number in range(4)]  # fmt: skip
    (turn,) = build_turns(make_sub(4), records)
    figures = turn.blocks[1].figures
    assert (figures.duration_ms, figures.tokens, figures.cost_usd) == (4000, 60, 1.0)


def make_calls(*arguments, results=()):
    calls = [{"id": f"c{number}", "name": "look", "arguments": one} for number, one in enumerate(arguments)]
    answers = [
        {"role": "tool", "tool_call_id": f"c{number}", "content": text, "trace_id": "t", "span_id": "s"}
        for number, text in enumerate(results)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls, "trace_id": "t", "span_id": "s"}, *answers]


def test_same_call_again_is_folded_under_the_first_with_the_worst_state():
    messages = make_calls(
        {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}, {"a": 1, "b": 2}, results=("fine", '{"error": "no"}', "ok", "ok")
    )
    (block,) = build_turns(messages, [])[0].blocks
    assert [1 + len(call.again) for call in block.calls] == [2, 1, 1]
    assert (block.calls[0].state, block.calls[0].worst, block.failed, block.call_count) == ("ok", "warn", 1, 4)


def test_very_many_calls_of_one_answer_are_cut_into_blocks():
    blocks = build_turns(make_calls(*({"n": number} for number in range(MAX_CALLS * 2 + 1))), [])[0].blocks
    assert [len(block.calls) for block in blocks] == [MAX_CALLS, MAX_CALLS, 1]


def test_values_of_a_call_have_the_places_where_they_lie():
    call = turns_of(make_records(turns=1))[1].blocks[1].calls[0]
    assert call.arguments_at == ("ab" * 16, "ask-0", "/output_messages/0/tool_calls/0/arguments")
    assert call.result_at == ("ab" * 16, "tool-0", "/tool/result")
