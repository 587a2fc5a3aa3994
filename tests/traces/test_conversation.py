import sys
import time

import pytest

from tests.factories import make_span
from traces.acts import read_run
from traces.conversation import conversation
from traces.signals import find_signals
from traces.spans import Usage
from traces.steps import steps
from traces.turns import build_turns

TRACE = "ab" * 16


def span(number, parent=0, *, kind="llm", **overrides):
    start = 1_780_000_000_000_000_000 + number * 1_000_000_000
    values = {"start_ns": start, "end_ns": start + 500_000_000, "parent_span_id": sid(parent) if parent else ""}
    return make_span(
        **{"trace_id": TRACE, "span_id": sid(number), "kind": kind, "name": f"span {number}", **values, **overrides}
    )


def sid(number):
    return f"{number:016x}"


def user(text):
    return {"role": "user", "content": text}


def says(text, *calls):
    message = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [{"id": key, "name": name, "arguments": arguments} for key, name, arguments in calls]
    return message


def result(call_id, text):
    return {"role": "tool", "content": text, "tool_call_id": call_id}


def tool(number, parent, name, arguments, output, *, call_id=None, **overrides):
    found = {"name": name, "call_id": call_id, "arguments": arguments, "result": output}
    return span(number, parent, kind="tool", tool=found, **overrides)


def lines(entries):
    return [(entry["role"], entry["content"] or [call["name"] for call in entry["tool_calls"]]) for entry in entries]


def test_each_turn_adds_only_what_is_new():
    first, second = [user("a"), says("b")], [user("a"), says("b"), user("c"), says("d")]
    records = [
        span(1, kind="agent"),
        span(2, 1, input_messages=first[:1], output_messages=first[1:]),
        span(3, 1, input_messages=second[:3], output_messages=second[3:]),
    ]
    assert lines(conversation(records)) == [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]


def test_the_same_words_said_twice_stay_twice():
    thread = [user("yes"), says("Sure?"), user("yes"), says("Done.")]
    records = [
        span(1, input_messages=thread[:1], output_messages=thread[1:2]),
        span(2, input_messages=thread[:3], output_messages=thread[3:]),
    ]
    assert [entry["content"] for entry in conversation(records)] == ["yes", "Sure?", "yes", "Done."]


def test_a_history_in_another_grouping_is_the_same_history():
    calls = [("a", "f", {}), ("b", "g", {})]
    grouped = [user("x"), says("", *calls), result("a", "1"), result("b", "2")]
    apart = [user("x"), says(None, calls[0]), says(None, calls[1]), result("b", "2"), result("a", "1")]
    records = [
        span(1, input_messages=grouped[:1], output_messages=grouped[1:2]),
        span(2, input_messages=apart, output_messages=[says("done")]),
    ]
    assert [entry["role"] for entry in conversation(records)] == ["user", "assistant", "tool", "tool", "assistant"]


def test_a_calls_model_duration_and_usage_stand_at_its_answer():
    [_, answer] = conversation(
        [span(1, input_messages=[user("a")], output_messages=[says("b")], model="m", usage=Usage(input_tokens=3))]
    )
    assert (answer["model"], answer["duration_ms"], answer["usage"]["input_tokens"]) == ("m", 500.0, 3)
    assert answer["span_id"] == sid(1)


def test_results_come_from_tool_spans_where_the_messages_lack_them():
    records = [
        span(1, kind="agent", output="Done."),
        span(2, 1, input_messages=[user("a")], output_messages=[says(None, ("c1", "f", {"n": 1}))]),
        tool(3, 1, "f", {"n": 1}, {"ok": True}),
    ]
    entries = conversation(records)
    assert lines(entries) == [("user", "a"), ("assistant", ["f"]), ("tool", '{"ok":true}'), ("assistant", "Done.")]
    assert (entries[2]["tool_call_id"], entries[2]["span_id"]) == ("c1", sid(3))


def test_parallel_calls_of_one_tool_get_their_own_results_without_ids():
    calls = [("c1", "f", {"n": 1}), ("c2", "f", {"n": 2})]
    records = [
        span(1, input_messages=[user("a")], output_messages=[says(None, *calls)]),
        tool(2, 0, "f", {"n": 2}, "two"),
        tool(3, 0, "f", {"n": 1}, "one"),
    ]
    found = {entry["tool_call_id"]: entry["content"] for entry in conversation(records) if entry["role"] == "tool"}
    assert found == {"c1": "one", "c2": "two"}


def test_a_run_without_any_message_is_told_by_its_spans():
    records = [
        span(1, kind="agent", input={"question": "Where is it?", "depth": 3}, output="Here."),
        tool(2, 1, "find", {"id": 7}, "shelf 4", status="ok"),
        tool(3, 1, "find", {"id": 8}, None, status="error", error_message="gone"),
    ]
    entries = conversation(records)
    assert [entry["role"] for entry in entries] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert entries[0]["content"] == "Where is it?"
    assert (entries[4]["is_error"], entries[4]["content"]) == (True, "gone")
    assert [step["type"] for step in steps(records)] == [
        "message",
        "tool_call",
        "tool_result",
        "tool_call",
        "tool_result",
        "message",
    ]


def test_a_sub_agents_words_are_marked_and_do_not_mix_with_the_main_thread():
    records = [
        span(1, kind="agent", agent_name="main"),
        span(2, 1, input_messages=[user("a")], output_messages=[says(None, ("c", "ask_expert", {}))]),
        span(
            3, 1, kind="tool", tool={"name": "ask_expert", "call_id": "c", "arguments": {}, "result": "42"}, end_ns=None
        ),
        span(4, 3, kind="agent", agent_name="expert"),
        span(5, 4, input_messages=[user("a")], output_messages=[says("42")]),
        span(
            6,
            1,
            input_messages=[user("a"), says(None, ("c", "ask_expert", {})), result("c", "42")],
            output_messages=[says("It is 42.")],
        ),
    ]
    entries = conversation(records)
    main = [entry for entry in entries if not entry["is_sub_agent"]]
    assert lines(main) == [("user", "a"), ("assistant", ["ask_expert"]), ("tool", "42"), ("assistant", "It is 42.")]
    assert {entry["agent_name"] for entry in entries if entry["is_sub_agent"]} == {"expert"}
    assert lines([entry for entry in entries if entry["is_sub_agent"]]) == [("user", "a"), ("assistant", "42")]


def test_an_agent_inside_a_workflow_is_the_main_thread():
    records = [
        span(1, kind="agent", name="workflow"),
        span(2, 1, kind="chain"),
        span(3, 2, kind="agent", agent_name="triage"),
        span(4, 3, input_messages=[user("a")], output_messages=[says("b")]),
    ]
    assert not any(entry["is_sub_agent"] for entry in conversation(records))


def test_a_call_seen_by_two_instrumentations_is_told_once():
    both = {"input_messages": [user("a")], "output_messages": [says("b")]}
    assert lines(conversation([span(1, **both), span(2, 1, **both)])) == [("user", "a"), ("assistant", "b")]


def test_a_failed_call_is_an_entry_with_its_error():
    [_, failed] = conversation([span(1, input_messages=[user("a")], status="error", error_message="no such model")])
    assert (failed["role"], failed["content"], failed["is_error"], failed["error"]) == (
        "assistant",
        None,
        True,
        "no such model",
    )


def test_a_failed_agents_output_is_not_invented():
    records = [
        span(1, kind="agent", input="a", status="error"),
        span(2, 1, input_messages=[user("a")], output_messages=[says("b")]),
    ]
    assert lines(conversation(records)) == [("user", "a"), ("assistant", "b")]


def test_a_session_of_traces_is_one_thread():
    other = "cd" * 16
    records = [
        span(1, input_messages=[user("a")], output_messages=[says("b")]),
        span(2, input_messages=[user("a"), says("b"), user("c")], output_messages=[says("d")], trace_id=other),
    ]
    entries = conversation(records)
    assert [entry["content"] for entry in entries] == ["a", "b", "c", "d"]
    assert [entry["trace_id"] for entry in entries] == [TRACE, TRACE, other, other]


def test_spans_in_a_circle_and_without_times_are_read_in_their_order():
    records = [
        span(1, 2, start_ns=None, end_ns=None, position=2, input_messages=[user("b")]),
        span(2, 1, start_ns=None, end_ns=None, position=1, input_messages=[user("a")]),
    ]
    assert [entry["content"] for entry in conversation(records)] == ["a", "b"]


def test_reasoning_is_a_step_of_its_own_and_a_history_without_it_is_known():
    thought = {
        "role": "assistant",
        "content": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "b"}],
    }
    records = [
        span(1, input_messages=[user("a")], output_messages=[thought]),
        span(2, input_messages=[user("a"), says("b"), user("c")], output_messages=[says("d")]),
    ]
    found = [(step["type"], step["content"]) for step in steps(records)]
    assert found == [("message", "a"), ("reasoning", "Hm."), ("message", "b"), ("message", "c"), ("message", "d")]


def test_an_embedding_alone_is_no_conversation():
    assert conversation([span(1, kind="embedding", input="x", output=[1])]) == []


def test_no_spans_are_no_conversation():
    assert conversation([]) == []


def test_200_turns_are_read_within_a_second():
    thread, records = [], []
    for number in range(200):
        thread.append(user(f"question {number}"))
        records.append(span(number + 1, input_messages=list(thread), output_messages=[says(f"answer {number}")]))
        thread.append(records[-1].output_messages[0])
    started = time.monotonic()
    assert len(conversation(records)) == 400
    assert time.monotonic() - started < 1


def count_lines(work, records):
    """Return what `work` returns, and how many lines of the traces room it took: as the time, but the same on every machine."""
    lines = 0

    def watch(frame, event, _arg):
        nonlocal lines
        lines += event == "line"
        return watch if "/traces/" in frame.f_code.co_filename else None

    tracer = sys.gettrace()
    sys.settrace(watch)
    try:
        return work(records), lines
    finally:
        sys.settrace(tracer)


def test_thousands_of_tool_calls_and_deep_nesting_take_steps_that_grow_with_them():
    """Twice as much takes about twice as many lines; with a look at every call before, or every parent above, four times as many."""

    def lines_for(count):
        asked = [{"id": f"c{number}", "name": "look_up", "arguments": {"n": number}} for number in range(count)]
        records = [
            make_span(
                span_id="ask",
                kind="llm",
                start_ns=0,
                end_ns=1,
                output_messages=[{"role": "assistant", "content": None, "tool_calls": asked}],
            )
        ]
        records += [
            make_span(
                span_id=f"t{number}",
                parent_span_id=f"t{number - 1}" if number else "",
                kind="tool",
                start_ns=1 + number,
                end_ns=2 + number,
                tool={"name": "look_up", "call_id": None, "arguments": {"n": number}, "result": "x"},
            )
            for number in range(count)
        ]
        found, lines = count_lines(conversation, records)
        assert len(found) == count + 1
        return lines

    assert lines_for(2_000) < 2.2 * lines_for(1_000)


def test_what_the_run_was_asked_comes_first_where_only_sub_agents_have_messages():
    asked = [{"role": "user", "content": "Page 1: does the price differ?"}]
    records = [
        span(1, kind="agent", input="Check every page", output="One differs."),
        span(2, 1, kind="llm"),
        span(3, 1, kind="tool"),
        span(4, 3, kind="agent"),
        span(5, 4, input_messages=asked, output_messages=[{"role": "assistant", "content": "No."}]),
    ]
    found = [(entry["content"], entry["is_sub_agent"], entry["at"]) for entry in conversation(records)]
    assert found[0] == ("Check every page", False, "/input")
    assert found[1:3] == [
        ("Page 1: does the price differ?", True, "/input_messages/0"),
        ("No.", True, "/output_messages/0"),
    ]
    assert found[-1][0] == "One differs."


def test_question_stands_first_where_the_agent_itself_speaks_last():
    question = [{"role": "user", "content": "Check every page"}]
    records = [
        span(1, kind="agent", input="Check every page"),
        span(2, 1, kind="tool", tool={"name": "check", "arguments": {"page": 1}, "result": "same"}),
        span(3, 1, input_messages=question, output_messages=[{"role": "assistant", "content": "All the same."}]),
    ]
    found = [(entry["role"], entry["content"]) for entry in conversation(records)]
    assert found == [
        ("user", "Check every page"),
        ("assistant", None),
        ("tool", "same"),
        ("assistant", "All the same."),
    ]


# Ids that come again ---------------------------------------------------------------------------------------------


def run_with_one_id(*, tools, histories=True, trace_id=TRACE, first=1, orders=(1, 2), said=()):
    """A run whose model asks for `get_order` with the id `call_0` each time; `tools`: whether the tools left spans."""
    records, history, number = [], [user("Where?")], first
    common = {"trace_id": trace_id}
    for order in orders:
        asked = says(None, ("call_0", "get_order", {"id": order}))
        records.append(span(number, input_messages=[*said, *history], output_messages=[asked], **common))
        if tools:
            records.append(
                tool(number + 1, 0, "get_order", {"id": order}, f"order {order} shipped", call_id="call_0", **common)
            )
        history = [*history, asked, result("call_0", f"order {order} shipped")] if histories else history
        number += 2
    records.append(span(number, input_messages=[*said, *history], output_messages=[says("Both.")], **common))
    return records


@pytest.mark.parametrize(("tools", "histories"), [(True, True), (True, False), (False, True)])
def test_a_call_id_that_comes_again_has_its_own_result(tools, histories):
    records = run_with_one_id(tools=tools, histories=histories)
    entries = conversation(records)
    assert [entry["content"] for entry in entries if entry["role"] == "tool"] == ["order 1 shipped", "order 2 shipped"]
    calls = read_run(records).calls
    assert [(call.arguments["id"], call.result) for call in calls] == [(1, "order 1 shipped"), (2, "order 2 shipped")]
    assert [call.span_id for call in calls] == ([sid(2), sid(4)] if tools else [sid(1), sid(3)])
    assert "unfinished" not in find_signals(read_run([span(9, kind="agent"), *records]))
    shown = [call for turn in build_turns(entries, records) for block in turn.blocks for call in block.calls]
    assert [(call.arguments["id"], call.result) for call in shown] == [(1, "order 1 shipped"), (2, "order 2 shipped")]
    assert [call.key[1] for call in shown] == [call.span_id for call in calls]


def test_a_whole_history_told_once_more_brings_no_result_twice():
    records = run_with_one_id(tools=False)
    told = [{"role": "system", "content": "Be brief."}, *records[-1].input_messages]
    again = span(20, input_messages=told, output_messages=[says("Yes.")])
    results = [entry["content"] for entry in conversation([*records, again]) if entry["role"] == "tool"]
    assert results == ["order 1 shipped", "order 2 shipped"]


def test_runs_of_a_session_with_the_same_call_id_have_their_own_results():
    a = run_with_one_id(tools=False, orders=(1,))
    fresh = run_with_one_id(tools=False, orders=(2,), trace_id="cd" * 16, first=10)
    entries = conversation([*a, *fresh])
    found = [(entry["trace_id"], entry["content"]) for entry in entries if entry["role"] == "tool"]
    assert found == [(TRACE, "order 1 shipped"), ("cd" * 16, "order 2 shipped")]
    only_tools = [
        tool(number, 0, "get_order", {"id": number}, f"order {number} shipped", call_id="call_0", trace_id=trace_id)
        for number, trace_id in ((1, TRACE), (2, "cd" * 16))
    ]
    assert [entry["content"] for entry in conversation(only_tools) if entry["role"] == "tool"] == [
        "order 1 shipped",
        "order 2 shipped",
    ]


def test_calls_of_one_message_with_one_id_are_answered_in_their_order():
    asked = says(None, ("x", "f", {"n": 1}), ("x", "f", {"n": 2}))
    records = [
        span(1, input_messages=[user("a")], output_messages=[asked]),
        span(2, input_messages=[user("a"), asked, result("x", "one"), result("x", "two")], output_messages=[says("b")]),
    ]
    assert [(call.arguments["n"], call.result) for call in read_run(records).calls] == [(1, "one"), (2, "two")]


def test_a_call_that_its_tool_brought_along_is_not_open_where_a_message_asks_for_it_afterwards():
    asked = says("Let me look.", ("x", "f", {"n": 1}))
    records = [
        tool(1, 0, "f", {"n": 1}, "one", call_id="x"),
        span(2, input_messages=[user("a"), asked, result("x", "one")], output_messages=[says("b")]),
    ]
    entries = conversation(records)
    assert [entry["content"] for entry in entries if entry["role"] == "tool"] == ["one"]
    assert all(call.has_result for call in read_run(records).calls)


def test_thousands_of_calls_with_one_id_are_paired_in_steps_that_grow_with_them():
    """Four times as many calls take about four times as many lines of our code; with a look at every call before, 16 times."""

    def lines_for(count):
        records = run_with_one_id(tools=True, histories=False, orders=range(count))
        run, lines = count_lines(read_run, records)
        assert run.calls[-1].result == f"order {count - 1} shipped"
        return lines

    assert lines_for(1_600) < 5 * lines_for(400)
