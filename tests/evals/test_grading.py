import pytest

from evals.grading import sample_from_records, sample_from_trace
from tests.factories import make_project, make_span
from traces.models import Trace
from traces.services import ingest_spans

USER = {"role": "user", "content": "Where is A-1?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "name": "get_order", "arguments": {"id": "A-1"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": '{"status": "sent"}'}
ANSWER = {"role": "assistant", "content": "It was sent."}


def run_of(*calls, **root_fields):
    """Return a root and an llm span for each (input messages, output message)."""
    root = make_span(**root_fields)
    spans = [
        make_span(
            trace_id=root.trace_id,
            parent_span_id=root.span_id,
            kind="llm",
            model="m-1",
            start_ns=root.start_ns + number,
            input_messages=given,
            output_messages=[answer] if answer else [],
        )
        for number, (given, answer) in enumerate(calls, 1)
    ]
    return [root, *spans]


def test_the_last_answer_tool_calls_and_results_reach_the_grader():
    sample = sample_from_records(run_of(([USER], CALL), ([USER, CALL, RESULT], ANSWER)))
    assert (sample.input, sample.output_text, sample.model) == ("Where is A-1?", "It was sent.", "m-1")
    assert [(call["name"], call["arguments"]) for call in sample.tool_calls] == [("get_order", {"id": "A-1"})]
    assert [result["name"] for result in sample.tool_results] == ["get_order"]
    assert [step["type"] for step in sample.steps].count("tool_call") == 1
    assert sample.choices[0]["message"]["content"] == "It was sent."
    assert sample.duration_ms == 1000.0


def test_an_answer_given_as_history_is_not_the_agents_own_word():
    history = [USER, ANSWER, {"role": "user", "content": "And A-2?"}]
    empty = {"role": "assistant", "content": ""}
    assert sample_from_records(run_of((history, empty))).output_text == ""


def test_a_run_that_ends_with_a_call_has_that_call_as_its_output():
    sample = sample_from_records(run_of(([USER], CALL)))
    assert sample.output_text == ""
    assert sample.output_tools[0]["function"] == {"name": "get_order", "arguments": '{"id": "A-1"}'}


def test_a_trace_without_messages_is_graded_by_what_its_root_was_given_and_gave():
    sample = sample_from_records([make_span(input="hi", output={"status": "done"})])
    assert (sample.input, sample.output_json) == ("hi", {"status": "done"})


def test_an_answer_that_is_json_is_there_as_json_too_and_nothing_else_is():
    assert sample_from_records(run_of(([USER], {"role": "assistant", "content": '{"a": 1}'}))).as_dict()[
        "output_json"
    ] == {"a": 1}
    assert "output_json" not in sample_from_records(run_of(([USER], ANSWER))).as_dict()


def test_a_failed_run_shows_its_error():
    sample = sample_from_records([make_span(status="error", error_type="Timeout", error_message="too slow")])
    assert sample.error == {"type": "Timeout", "message": "too slow"}


def test_no_spans_at_all_is_an_empty_sample():
    assert sample_from_records([]).output_text == ""


@pytest.mark.django_db
def test_a_stored_trace_is_the_same_to_graders_as_its_records():
    records = run_of(([USER], CALL), ([USER, CALL, RESULT], ANSWER))
    trace = Trace.objects.get(pk=ingest_spans(make_project(), records).trace_pks[records[0].trace_id])
    assert sample_from_trace(trace).as_dict() == sample_from_records(records).as_dict()
