"""Each detector on a run that shows its failure, and on its nearest harmless neighbours."""

import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from tests.factories import make_span
from traces.acts import read_run
from traces.conversation import conversation
from traces.result_errors import error_in
from traces.signals import DETECTORS, VERSION, Limits, blind_spots, find_signals
from traces.span_panel import describe_span
from traces.turns import build_turns

T = 1_780_000_000_000_000_000
ORDER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_order",
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "string"}},
            "required": ["id"],
            "additionalProperties": False,
        },
    },
}


def make_run(*steps, tools=None, **root):
    """Make a run from steps: ("user", text), ("agent", text) or (tool name, arguments, result[, status])."""
    trace_id, records, said = "ab" * 16, [], []
    records.append(make_span(trace_id=trace_id, span_id="root", name="agent", start_ns=T, end_ns=T + 10**12, **root))
    for number, step in enumerate(steps, 1):
        base = {
            "trace_id": trace_id,
            "parent_span_id": "root",
            "start_ns": T + number * 10**9,
            "end_ns": T + number * 10**9 + 10**8,
        }
        if step[0] == "user":
            said.append({"role": "user", "content": step[1]})
            records.append(
                make_span(span_id=f"s{number}", kind="event", name="user", output_messages=said[-1:], **base)
            )
        elif step[0] == "agent":
            answer = {"role": "assistant", "content": step[1]}
            records.append(make_span(span_id=f"s{number}", kind="llm", name="chat", input_messages=list(said),
                                     output_messages=[answer], available_tools=tools, **base))  # fmt: skip
            said.append(answer)
        else:
            name, arguments, result, *rest = step
            call = {"id": f"c{number}", "name": name, "arguments": arguments}
            answer = {"role": "assistant", "content": None, "tool_calls": [call]}
            records.append(make_span(span_id=f"l{number}", kind="llm", name="chat", input_messages=list(said),
                                     output_messages=[answer], available_tools=tools, **base))  # fmt: skip
            base["start_ns"] += 5
            if result is not ...:
                tool = {"name": name, "call_id": f"c{number}", "arguments": arguments, "result": result}
                status = rest[0] if rest else "ok"
                records.append(
                    make_span(span_id=f"s{number}", kind="tool", name=name, status=status, tool=tool, **base)
                )
                said += [answer, {"role": "tool", "tool_call_id": f"c{number}", "content": str(result)}]
            else:
                said.append(answer)
    return read_run(records)


def found(run, name, **limits):
    return find_signals(run, Limits(**limits)).get(name, [])


LOOKED = (
    "get_order",
    {"id": "A1"},
    {
        "id": "A1",
        "state": "delivered",
        "total": 129.5,
        "carrier": "Nordpost",
        "items": ["lamp", "desk"],
        "city": "Graz",
    },
)
ASKED = ("user", "Please cancel my order A1.")


@pytest.mark.parametrize(
    "result",
    [
        {"error": "carrier timeout"},
        '{"error": {"code": 17, "message": "no"}}',
        {"isError": True, "content": [{"type": "text", "text": "No such file"}]},
        {"content": [{"type": "text", "text": "Error: not found"}]},
        {"success": False, "message": "The card was declined"},
        {"status": "failed"},
        {"status_code": 503},
        "Error: user not found",
        "ValueError: bad date",
        "Traceback (most recent call last):\n  File x\nKeyError: 'a'",
        "exitcode: 1 (execution failed)\nCode output: nope",
        "HTTP 404 Not Found",
        "Tool execution failed",
    ],
)  # fmt: skip
def test_hidden_error_in_fields_and_text(result):
    assert error_in(result)


@pytest.mark.parametrize(
    "result",
    [
        {"error": None, "total": 3},
        {"errors": [], "ok": True},
        {"error": "none"},
        {"status": "delivered", "code": 404},
        {"error_rate": 0.2, "status": "open"},
        "The error report was filed yesterday.",
        "No errors were found.",
        "Errors 0, warnings 3",
        '[{"name": "Failure is an option", "type": "book"}]',
        "Failed deliveries this month: 3",
        "",
        None,
        42,
        "exitcode: 0 (execution succeeded)\nCode output: KeyError is raised for a missing key",
    ],
)  # fmt: skip
def test_hidden_error_leaves_results_that_speak_of_errors(result):
    assert not error_in(result)


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ({"error": "none"}, "ok"),
        ({"failed": True}, "warn"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'a'", "warn"),
        ("Error codes are listed below.", "ok"),
    ],
)
def test_the_card_the_panel_and_the_signal_say_the_same_of_a_result(result, state):
    run = make_run(ASKED, ("get_order", {"id": "A1"}, result), ("agent", "Done."))
    (card,) = [
        call
        for turn in build_turns(conversation(run.records), run.records)
        for block in turn.blocks
        for call in block.calls
    ]
    panel = describe_span(next(record for record in run.records if record.kind == "tool"))
    assert card.state == state
    assert bool(panel.suspicion) == bool(found(run, "hidden_error")) == (state == "warn")


def test_hidden_error_is_at_the_tools_own_span_and_never_beside_a_reported_one():
    quiet = make_run(ASKED, ("get_order", {"id": "A1"}, {"error": "timeout"}), ("agent", "I will look again."))
    (one,) = found(quiet, "hidden_error")
    assert one.span_id == "s2"
    assert "error: timeout" in one.reason
    loud = make_run(ASKED, ("get_order", {"id": "A1"}, {"error": "timeout"}, "error"), ("agent", "I will look again."))
    assert not found(loud, "hidden_error")


def test_unmade_action_needs_a_claim_without_a_deed():
    lie = make_run(ASKED, LOOKED, ("agent", "Good news! I have cancelled your order."))
    (one,) = found(lie, "unmade_action")
    assert one.span_id == "s3"
    assert "I have cancelled your order" in one.reason
    assert not found(
        make_run(ASKED, LOOKED, ("cancel_order", {"id": "A1"}, "done"), ("agent", "I have cancelled your order.")),
        "unmade_action",
    )
    failed = make_run(
        ASKED, ("cancel_order", {"id": "A1"}, {"error": "too late"}), ("agent", "I've cancelled your order.")
    )
    (one,) = found(failed, "unmade_action")
    assert "cancel_order failed" in one.reason
    assert one.others == ("s2",)


@pytest.mark.parametrize(
    "words",
    [
        "Once I have cancelled your order, you will get a mail.",
        "Would you like me to cancel it?",
        "I can cancel the order for you.",
        "I see that your order was cancelled last week.",
        "I have not cancelled anything yet.",
        "If I cancelled it now, you would lose the discount.",
    ],
)
def test_unmade_action_leaves_offers_conditions_and_reports(words):
    assert not found(make_run(ASKED, LOOKED, ("agent", words)), "unmade_action")


def test_unmade_action_says_nothing_where_a_tool_can_do_anything():
    assert not found(
        make_run(ASKED, ("run_python", {"code": "shop.cancel(1)"}, "1"), ("agent", "I have cancelled your order.")),
        "unmade_action",
    )


def test_repeated_call_counts_equal_results_only():
    twice = make_run(ASKED, LOOKED, LOOKED, ("agent", "It was delivered."))
    (one,) = found(twice, "repeated_call")
    assert one.span_id == "s3"
    assert one.others == ("s2",)
    assert "twice" in one.reason
    changed = ("get_order", {"id": "A1"}, {"state": "cancelled"})
    assert not found(make_run(ASKED, LOOKED, changed), "repeated_call")
    assert not found(make_run(ASKED, LOOKED, ("cancel_order", {"id": "A1"}, "ok"), LOOKED), "repeated_call")
    assert not found(make_run(ASKED, LOOKED, ("get_order", {"id": "A2"}, LOOKED[2])), "repeated_call")


def test_repeated_call_of_equal_json_written_otherwise():
    again = ("get_order", '{ "id":"A1" }', LOOKED[2])
    assert found(make_run(ASKED, LOOKED, again), "repeated_call")


def test_loop_needs_three_rounds():
    pair = [("get_order", {"id": "A1"}, "busy"), ("wait", {"s": 1}, "waited")]
    (one,) = found(make_run(ASKED, *pair, *pair, *pair), "loop")
    assert "3 times in a row: get_order and wait" in one.reason
    assert not found(make_run(ASKED, *pair, *pair), "loop")
    words = ("agent", "I am sorry, I cannot find that order in our system.")
    assert found(make_run(words, ("user", "a"), words, ("user", "b"), words), "loop")
    assert not found(
        make_run(("agent", "Done."), ("user", "a"), ("agent", "Done."), ("user", "b"), ("agent", "Done.")), "loop"
    )


def test_ignored_result():
    answer = "I am afraid that I am not able to help with this matter today, so please write to somebody else, who may well know more."
    (one,) = found(make_run(ASKED, LOOKED, ("agent", answer)), "ignored_result")
    assert one.span_id == "s2"
    assert not found(make_run(ASKED, LOOKED, ("agent", answer + " It is in Graz.")), "ignored_result")
    assert not found(make_run(ASKED, LOOKED, ("agent", "Sorry.")), "ignored_result")  # too little to tell


def test_bad_arguments_against_the_schema_of_the_call():
    (one,) = found(make_run(ASKED, ("get_order", {"id": 7}, "x"), tools=[ORDER_TOOL]), "bad_arguments")
    assert "id: 7 is not of type 'string'" in one.reason
    assert found(make_run(ASKED, ("get_order", {"id": "A1", "x": 1}, "x"), tools=[ORDER_TOOL]), "bad_arguments")
    assert found(make_run(ASKED, ("get_order", "{not json", "x"), tools=[ORDER_TOOL]), "bad_arguments")
    (one,) = found(make_run(ASKED, ("drop_table", {}, "x"), tools=[ORDER_TOOL]), "bad_arguments")
    assert "not among the 1 tools" in one.reason
    assert not found(make_run(ASKED, LOOKED, tools=[ORDER_TOOL]), "bad_arguments")
    broken = {"name": "get_order", "input_schema": {"type": "object", "properties": {"id": {"$ref": "#/nowhere"}}}}
    assert not found(make_run(ASKED, LOOKED, tools=[broken]), "bad_arguments")


def test_budget_of_the_project_and_of_the_run():
    run = make_run(ASKED, ("agent", "Yes."))
    (one,) = found(run, "budget", budgets={"cost_usd": 0.01}, figures={"cost_usd": 0.02})
    assert one.span_id == "root"
    assert "$0.0200" in one.reason
    assert "$0.0100" in one.reason
    assert not found(run, "budget", budgets={"cost_usd": 0.01}, figures={"cost_usd": 0.01})
    assert not found(run, "budget", budgets={"cost_usd": 0.01}, figures={"cost_usd": None})
    assert "budget" in blind_spots(run)
    own = make_run(ASKED, metadata={"max_turns": 2})
    assert found(own, "budget", figures={"llm_call_count": 3})


def test_unfinished_message_call_answer_and_span():
    assert found(make_run(ASKED, ("agent", "One moment."), ("user", "Are you still there?")), "unfinished")
    assert not found(make_run(ASKED, ("agent", "Done."), ("user", "Thank you, bye!")), "unfinished")
    assert not found(make_run(ASKED, ("agent", "Done."), ("user", "That is perfect. ###STOP###")), "unfinished")
    assert found(make_run(ASKED, ("get_order", {"id": "A1"}, ...), ("agent", "Hm.")), "unfinished")
    assert not found(
        make_run(ASKED, ("transfer_to_human", {}, ...), ("agent", "A colleague will take over.")), "unfinished"
    )
    cut = make_run(ASKED, ("agent", "It is"))
    cut.records[-1].attributes["gen_ai.response.finish_reasons"] = ["length"]
    (one,) = found(cut, "unfinished")
    assert "token limit" in one.reason
    partial = make_run(ASKED, ("agent", "Yes."), attributes={"agent.outcome": "partial", "agent.finalized": False})
    (one,) = found(partial, "unfinished")
    assert one.span_id == "root"
    still = make_run(ASKED, ("agent", "Yes."))
    still.records[0].end_ns = None
    assert not found(still, "unfinished")  # it may still be running
    assert found(still, "unfinished", quiet_s=3600)


def test_a_run_without_calls_is_said_to_show_none():
    blind = blind_spots(make_run(ASKED, ("agent", "Hello.")))
    assert {"hidden_error", "unmade_action", "repeated_call", "bad_arguments"} <= blind.keys()
    assert "loop" not in blind
    assert "which tools were offered" in blind_spots(make_run(ASKED, LOOKED))["bad_arguments"]


def test_an_empty_run_and_a_clean_one_have_no_signals():
    assert find_signals(read_run([])) == {}
    clean = make_run(
        ASKED, LOOKED, ("agent", "It was delivered to Graz by Nordpost, so it cannot be cancelled."), tools=[ORDER_TOOL]
    )
    assert find_signals(clean) == {}


def test_every_detector_is_registered_under_its_name_with_words():
    assert all(
        name == one.name and one.label and one.help.endswith(".") and one.version > 0 for name, one in DETECTORS.items()
    )
    assert VERSION > 0


def test_calls_whose_arguments_were_not_recorded_are_never_the_same():
    blank = ("terminal", None, "exitcode: 0")
    run = make_run(ASKED, blank, blank, blank)
    assert not found(run, "repeated_call")
    assert not found(run, "loop")


def test_a_message_that_a_log_repeats_after_its_answer_is_not_left_open():
    assert not found(make_run(("user", "Is it?"), ("agent", "Yes."), ("user", "Is it?")), "unfinished")


def test_detectors_keep_to_little_memory_on_a_run_of_thousands_of_calls():
    steps = [("user", "Audit every order.")]
    for number in range(3_000):
        steps.append(("get_order", {"id": f"A-{number}"}, {"status": f"state{number}", "total": f"{number}.00"}))
        steps.append(("agent", f"Order A-{number} has state{number} and costs {number}.00 in all."))
    run = read_run(make_run(*steps).records)
    tracemalloc.start()
    find_signals(run, Limits())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60_000_000  # bytes; a set of words for each act would take gigabytes


def test_a_run_of_ten_thousand_calls_is_looked_at_in_seconds():
    import time

    from traces.acts import Act, Run

    acts = []
    for n in range(10_000):
        result = {
            "id": f"A{n}",
            "city": f"town{n}",
            "total": n,
            "carrier": "Nordpost",
            "items": [f"thing{n}", "desk"],
            "note": "said before",
        }
        acts.append(
            Act("call", f"s{n}", name="get_order", arguments={"id": f"A{n}"}, result=result, has_result=True, place=n)
        )
        acts.append(Act("message", f"m{n}", role="assistant", text=f"It is in town{n}, with thing{n} in it."))
    started = time.perf_counter()
    find_signals(Run(acts, []))
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {}, "$ref": "#"},
        {"$defs": {}, "$ref": "file:///etc/hostname"},
        {"properties": {"id": {"pattern": "^(a|aa)+$"}}},
        {"properties": {}, "patternProperties": {"^(a|aa)+$": {}}, "additionalProperties": False},
    ],
)
def test_a_schema_that_cannot_be_applied_gives_no_suspicion_and_stops_no_other(schema):
    tool = {"name": "get_order", "parameters": {"type": "object", **schema}}
    word = "a" * 60 + "!"
    steps = [("get_order", {"id": word, word: number}, '{"error": "down"}') for number in range(9)]
    begun = time.monotonic()
    signals = find_signals(make_run(ASKED, *steps, tools=[tool]))
    assert time.monotonic() - begun < 10
    assert "hidden_error" in signals
    assert "bad_arguments" not in signals


def test_a_schema_nested_too_deeply_gives_no_suspicion():
    deep = {"type": "string"}
    for _ in range(400):
        deep = {"type": "object", "properties": {"a": deep}}
    run = make_run(ASKED, LOOKED, tools=[{"name": "get_order", "parameters": deep}])
    assert "bad_arguments" not in find_signals(run)


def test_a_tool_schema_makes_no_server_be_asked():
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        schema = {"type": "object", "$defs": {}, "$ref": f"http://127.0.0.1:{server.server_port}/schema.json"}
        find_signals(make_run(ASKED, LOOKED, tools=[{"name": "get_order", "parameters": schema}]))
        server.shutdown()
    assert asked == []
