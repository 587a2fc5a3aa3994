"""Samples that come with a row: what follows from them, and what stays missing."""

import pytest

from evals.given import complete, given_answer, sample_from_given
from evals.graders.base import SampleInput
from evals.templating import MissingVariable, render

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_text_and_tool_calls_follow_from_choices():
    message = {"role": "assistant", "content": "hello", "tool_calls": [CALL]}
    found = complete({"choices": [{"index": 0, "message": message}]})
    assert found["output_text"] == "hello"
    assert found["output_tools"] == [CALL]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"output_text": "a", "choices": [{"message": {"content": "b"}}]}, "a"),
        ({"output": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "a"),
        ({"output": [{"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}]}, "a"),
        ({"choices": [{"message": {"content": None, "tool_calls": [CALL]}}]}, ""),
        ({"steps": [{"type": "message", "role": "assistant", "content": "a"}, {"type": "tool_call", "name": "f"}]}, "a"),
    ],
)  # fmt: skip
def test_the_text_comes_from_where_it_is_said(given, text):
    assert complete(given)["output_text"] == text


@pytest.mark.parametrize(
    "given",
    [
        {"model": "m"},
        {"output_text": 5},
        {"choices": []},
        {"choices": ["x"]},
        {"choices": [{"message": "x"}]},
        {"output": "x"},
        {"steps": "x"},
        {"steps": [5, {"type": "message", "role": "user", "content": "q"}]},
    ],
)
def test_what_nothing_supplies_stays_missing(given):
    found = complete(given)
    assert "output_text" not in found
    with pytest.raises(MissingVariable):
        render("{{ sample.output_text }}", sample=found)


def test_choices_and_json_follow_from_a_text():
    found = complete({"output_text": '{"a": [1]}'})
    assert found["output_json"] == {"a": [1]}
    assert found["choices"][0]["message"]["content"] == '{"a": [1]}'
    assert "output_json" not in complete({"output_text": "plain"})


@pytest.mark.parametrize("given", [None, {}])
def test_without_a_sample_every_reference_fails_and_the_stored_answer_is_empty(given):
    assert sample_from_given(given).as_dict() == {}
    assert given_answer(given) == {"role": "assistant", "content": ""}


def test_a_given_sample_goes_before_the_recorded_trace_and_the_rest_of_it_stays():
    recorded = SampleInput(output_text="recorded", steps=[{"type": "message", "content": "x"}], trace_id="t", model="m")
    found = sample_from_given({"output_text": "given", "mine": 1}, recorded).as_dict()
    assert (found["output_text"], found["mine"], found["trace_id"], found["model"]) == ("given", 1, "t", "m")
    assert found["steps"] == [{"type": "message", "content": "x"}]
    assert sample_from_given(None, SampleInput(output_text="recorded")).as_dict()["output_text"] == "recorded"
