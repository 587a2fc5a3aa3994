import gzip
import io
import json

import pytest

from tests.traces.otlp_bodies import TRACE_ID, otlp_body, otlp_span
from traces.conventions import rebuild_attributes
from traces.conversation import conversation
from traces.formats import BadLine, read_traces
from traces.formats.native import write_trace
from traces.formats.otlp_writer import write_request
from traces.otlp import decode_trace_document, decode_traces
from traces.steps import steps

STEPS = {
    "trace_id": "run-1",
    "input": "Where is order 7?",
    "steps": [
        {"type": "reasoning", "content": "I have to look it up."},
        {"type": "tool_call", "name": "get_order", "arguments": {"id": 7}},
        {"type": "tool_result", "name": "get_order", "output": {"state": "sent"}},
    ],
    "output": "It was sent.",
}
CHAT = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Order 7?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_order", "arguments": '{"id": 7}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"state": "sent"}'},
        {"role": "assistant", "content": "Sent."},
    ]
}


def read(*documents, name="runs.jsonl", **options):
    body = "\n".join(found if isinstance(found, str) else json.dumps(found) for found in documents).encode()
    return list(read_traces(io.BytesIO(body), name=name, **options))


def test_a_run_in_steps_reads_back_as_the_same_steps():
    [run] = read(STEPS)
    assert run.records[0].trace_id == "run-1"
    found = [
        (step["type"], step["name"], step["arguments"], step["output"], step["content"]) for step in steps(run.records)
    ]
    assert found == [
        ("message", None, None, None, "Where is order 7?"),
        ("reasoning", None, None, None, "I have to look it up."),
        ("tool_call", "get_order", {"id": 7}, None, None),
        ("tool_result", "get_order", None, {"state": "sent"}, None),
        ("message", None, None, None, "It was sent."),
    ]


def test_steps_without_times_invent_none():
    [run] = read(STEPS)
    assert {(record.start_ns, record.end_ns) for record in run.records} == {(None, None)}
    assert [record.position for record in run.records] == [0, 1, 2]


def test_a_call_without_result_shows_no_result():
    document = {**STEPS, "steps": STEPS["steps"][:2]}
    assert [step["type"] for step in steps(read(document)[0].records)] == [
        "message",
        "reasoning",
        "tool_call",
        "message",
    ]


def test_parallel_calls_get_the_results_of_their_ids():
    calls = [{"type": "tool_call", "id": key, "name": "f", "arguments": {"n": key}} for key in "ab"]
    results = [{"type": "tool_result", "id": key, "output": key.upper(), "error": key == "a"} for key in "ba"]
    [run] = read({**STEPS, "steps": calls + results})
    tools = [record for record in run.records if record.kind == "tool"]
    assert [(record.tool["arguments"]["n"], record.tool["result"], record.status) for record in tools] == [
        ("a", "A", "error"),
        ("b", "B", "ok"),
    ]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"trace_id": "x", "steps": [{"type": "thought"}]}, "step 1 has the type 'thought'"),
        ({"trace_id": "x", "steps": ["text"]}, "step 1 has the type None"),
        ({"trace_id": "x", "steps": [], "scores": {"tone": "good"}}, "the score 'tone' has no number"),
        ({"hello": 1}, "an object with hello"),
        ("{broken", "not JSON"),
        ("[" * 3000, "nests too deep"),
        ("17", "a int"),
        ({"messages": []}, "an object with messages"),
        ({"task_id": 1, "reward": 1, "traj": [1]}, "traj is not a list of messages"),
        ({"format": "markbook.trace", "version": 9}, "version 9"),
        (
            {"format": "markbook.trace", "version": 1, "trace_id": "x", "spans": [{"span_id": "a", "tags": "t"}]},
            "span 1 has a tags",
        ),
        ({"resourceSpans": 3}, "resourceSpans is a number"),
    ],
)
def test_a_bad_line_is_named_by_number_with_the_reason_and_the_others_are_kept(document, reason):
    first, bad, last = read(STEPS, document, {**STEPS, "trace_id": "run-2"})
    assert (first.records[0].trace_id, last.records[0].trace_id) == ("run-1", "run-2")
    assert isinstance(bad, BadLine)
    assert bad.place == "line 2"
    assert reason in bad.reason


def test_a_bad_first_line_is_named_and_the_others_are_kept():
    bad, good = read("{broken", STEPS)
    assert (bad.place, good.records[0].trace_id) == ("line 1", "run-1")


def test_one_bad_line_among_a_hundred_leaves_99():
    lines = [{**STEPS, "trace_id": f"run-{number}"} for number in range(100)]
    found = read(*lines[:41], "nonsense", *lines[42:])
    assert [line.place for line in found if isinstance(line, BadLine)] == ["line 42"]
    assert len(found) == 100


def test_a_whole_json_file_of_many_lines_is_read_as_one_document():
    found = list(read_traces(io.BytesIO(json.dumps([STEPS, {**STEPS, "trace_id": "run-2"}], indent=2).encode())))
    assert [run.place for run in found] == ["item 1", "item 2"]


def test_a_broken_document_of_many_lines_is_one_bad_line():
    [bad] = list(read_traces(io.BytesIO(json.dumps(STEPS, indent=2).encode()[:-3])))
    assert isinstance(bad, BadLine)


def test_gzip_is_known_by_its_content_not_its_name():
    body = gzip.compress(json.dumps(STEPS).encode())
    assert len(list(read_traces(io.BytesIO(body), name="plain.jsonl"))) == 1


def test_blank_lines_a_byte_order_mark_and_bad_utf8_are_no_obstacle():
    body = b"\n\n\xef\xbb\xbf" + json.dumps(STEPS).encode().replace(b"sent.", b"s\xffnt.") + b"\n\n"
    [run] = list(read_traces(io.BytesIO(body)))
    assert run.records[0].output == "It was s\ufffdnt."


def test_an_empty_file_holds_nothing():
    assert list(read_traces(io.BytesIO(b"\n \n"))) == []


def test_an_unknown_format_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="known are markbook"):
        read(STEPS, format_name="csv")


def test_a_forced_format_refuses_documents_of_others():
    [bad] = read(CHAT, format_name="steps")
    assert bad.reason.startswith("this is no steps")


@pytest.mark.parametrize("document", [CHAT, CHAT["messages"]])
def test_a_chat_becomes_calls_and_tools_and_its_thread_reads_back(document):
    [run] = read(document)
    assert [record.kind for record in run.records] == ["agent", "event", "event", "llm", "tool", "llm"]
    entries = conversation(run.records)
    assert [entry["role"] for entry in entries] == ["system", "user", "assistant", "tool", "assistant"]
    assert entries[2]["tool_calls"] == [{"id": "c1", "name": "get_order", "arguments": {"id": 7}}]
    assert run.records[0].input == "Order 7?"
    assert run.records[0].output == "Sent."


def test_the_older_function_call_form_is_read():
    messages = [
        {"role": "user", "content": "7?"},
        {"role": "assistant", "content": None, "function_call": {"name": "get", "arguments": '{"id": 7}'}},
        {"role": "function", "name": "get", "content": "sent"},
        {"role": "assistant", "content": "Sent."},
    ]
    [run] = read({"messages": messages})
    assert [record.name for record in run.records if record.kind == "tool"] == ["get"]
    assert [entry["role"] for entry in conversation(run.records)] == ["user", "assistant", "tool", "assistant"]


def test_the_same_file_gives_the_same_ids_and_equal_runs_in_it_get_ids_of_their_own():
    first, second = read(CHAT, CHAT), read(CHAT, CHAT)
    ids = [run.records[0].trace_id for run in first]
    assert ids == [run.records[0].trace_id for run in second]
    assert len(set(ids)) == 2


def test_otlp_lines_are_read_trace_by_trace_with_bad_spans_reported():
    other = otlp_span(traceId="ff" * 16)
    body = otlp_body(otlp_span({"a": 1}), other, otlp_span(spanId="bad"))
    found = read(body.decode(), name="otel.json")
    assert [run.records[0].trace_id for run in found if not isinstance(run, BadLine)] == [TRACE_ID, "ff" * 16]
    [bad] = [line for line in found if isinstance(line, BadLine)]
    assert "span id 'bad'" in bad.reason


def test_our_own_export_reads_back_as_equal_records_and_scores():
    attributes = {
        "openinference.span.kind": "LLM",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Hi",
        "llm.token_count.prompt": 5,
        "other": [1, {"deep": None}],
    }
    records = decode_traces(
        otlp_body(otlp_span(attributes), resource={"service.name": "shop"}), "application/json"
    ).records
    score = {
        "name": "tone",
        "value": 4.0,
        "passed": True,
        "label": "good",
        "explanation": "x",
        "rater": "kim",
        "scale": [1, 5],
    }
    line = json.loads(json.dumps(write_trace(records, name="n", project="p", scores=[score])))
    assert line["spans"][0]["attributes"] == attributes
    [run] = read(line)
    assert run.records == records
    [found] = run.scores
    assert (found.name, found.value, found.passed, found.rater, found.scale) == ("tone", 4.0, True, "kim", (1.0, 5.0))


def test_otlp_export_of_a_decoded_span_decodes_to_the_same():
    attributes = {
        "openinference.span.kind": "TOOL",
        "tool.name": "f",
        "input.value": '{"a": 1}',
        "output.value": "x",
        "n": 2**60,
    }
    span = otlp_span(attributes, events=[{"name": "e", "timeUnixNano": "5", "attributes": []}], parentSpanId="11" * 8)
    records = decode_traces(otlp_body(span, resource={"service.name": "shop"}), "application/json").records
    again = decode_trace_document(json.loads(json.dumps(write_request(records))))
    assert again.records == records


def test_otlp_export_of_an_imported_run_keeps_thread_tools_and_task():
    [run] = read({**CHAT, "task": "t-1", "model": "m-1"})
    again = decode_trace_document(json.loads(json.dumps(write_request(run.records)))).records
    assert [record.kind for record in again] == ["agent", "event", "event", "llm", "tool", "llm"]
    assert again[0].task == "t-1"
    assert again[3].model == "m-1"
    thread = [(entry["role"], entry["content"]) for entry in conversation(run.records)]
    assert [(entry["role"], entry["content"]) for entry in conversation(again)] == thread


TAU2 = "data/tau2-retail-trials/gpt-4o_retail_policy-{}_3trials.json"


@pytest.mark.parametrize(
    ("version", "messages", "tool_calls", "successes", "agent_cost", "user_cost"),
    [
        ("tudor-gpt4o", 1631, 505, 43, 5.3860, 0.6542),
        ("tudor-gpt5mini", 1546, 465, 50, 10.1324, 0.6225),
        ("chloe-gpt4o", 1558, 487, 39, 5.3749, 0.6225),
        ("chloe-gpt5mini", 1484, 444, 46, 7.8488, 0.6005),
    ],
)
def test_tau2_files_give_the_figures_of_their_table(
    shared, version, messages, tool_calls, successes, agent_cost, user_cost
):
    path = shared / TAU2.format(version)
    with path.open("rb") as stream:
        runs = list(read_traces(stream, name=str(path)))
    assert len(runs) == 60
    threads = [conversation(run.records) for run in runs]
    assert sum(map(len, threads)) == messages
    assert sum(len(entry["tool_calls"]) for thread in threads for entry in thread) == tool_calls
    assert sum(record.kind == "tool" for run in runs for record in run.records) == tool_calls
    rewards = [score for run in runs for score in run.scores if score.name == "reward"]
    assert sum(score.passed is True for score in rewards) == successes
    cost = sum(record.usage.cost_usd or 0 for run in runs for record in run.records)
    assert round(cost, 4) == agent_cost
    assert round(sum(run.records[0].metadata["user_cost_usd"] for run in runs), 4) == user_cost
    assert len({(run.records[0].task, run.records[0].metadata["trial"]) for run in runs}) == 60
    for thread in threads:
        answered = {entry["tool_call_id"] for entry in thread if entry["role"] == "tool"}
        assert answered == {call["id"] for entry in thread for call in entry["tool_calls"]}


@pytest.mark.parametrize(
    ("name", "model", "messages", "tool_calls", "mean", "successes"),
    [
        ("gpt-4.1-mini_retail_1trial_tasks0-69", "gpt-4.1-mini", 2284, 536, 0.7571, 53),
        ("grok-3_retail_fractional-reward_1trial_tasks0-69", "grok-3", 2222, 527, 0.6504, 0),
    ],
)
def test_tau1_files_keep_fractional_rewards_and_invent_no_times(
    shared, name, model, messages, tool_calls, mean, successes
):
    path = shared / f"data/tau1-retail/{name}.json"
    with path.open("rb") as stream:
        runs = list(read_traces(stream, name=str(path)))
    assert len(runs) == 70
    assert sum(len(conversation(run.records)) for run in runs) == messages
    assert sum(record.kind == "tool" for run in runs for record in run.records) == tool_calls
    rewards = [score.value for run in runs for score in run.scores]
    assert round(sum(rewards) / 70, 4) == mean
    assert sum(score.passed is True for run in runs for score in run.scores) == successes
    assert all(record.start_ns is None and record.end_ns is None for run in runs for record in run.records)
    assert {record.model for run in runs for record in run.records if record.kind == "llm"} == {model}


def test_imported_records_rebuild_their_attributes_unchanged():
    [run] = read({**CHAT, "metadata": {"plan": "pro"}})
    assert all(rebuild_attributes(record) == record.attributes for record in run.records)
