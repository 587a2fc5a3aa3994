import json

import pytest

from evals.graders import BadConfig, grader_kind
from evals.graders.base import Answered, JudgeUnavailable, Surroundings
from tests.evals.graders.graded import FakeJudge, grade

INPUT = [
    {"role": "system", "content": "You grade from 1 to 7."},
    {"role": "user", "content": "Question: {{ item.question }}\nAnswer: {{ sample.output_text }}"},
]
CONFIG = {"model": "judge-1", "input": INPUT, "range": [1, 7], "pass_threshold": 5.5}


def judged(*answers, item=None, config=None, **surroundings):
    fake = FakeJudge(*answers)
    given = {"question": "Where is it?"} if item is None else item
    return fake, grade("score_model", config or CONFIG, item=given, surroundings=Surroundings(ask=fake, **surroundings))


def answer(result, **fields):
    return {"steps": [{"description": "Facts", "conclusion": "Right."}], "result": result, **fields}


def test_the_number_is_the_score_and_the_steps_explain_it():
    fake, result = judged(answer(6))
    assert (result.state, result.value, result.passed, result.rater) == ("ok", 6.0, True, "judge-1")
    assert result.explanation == "Facts: Right."
    assert (result.cost_usd, result.duration_ms) == (0.001, 20.0)
    assert fake.asked[0]["messages"] == [
        INPUT[0],
        {"role": "user", "content": "Question: Where is it?\nAnswer: Your refund of 20 € is on its way."},
    ]


def test_the_judge_is_asked_by_a_strict_schema_at_temperature_0():
    fake, _ = judged(answer(6))
    form = fake.asked[0]["response_format"]["json_schema"]
    assert form["strict"] is True
    assert list(form["schema"]["properties"]) == ["steps", "result"]
    assert fake.asked[0]["sampling"] == {"temperature": 0.0}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"temperature": 0.7, "seed": 3, "top_p": None}, {"temperature": 0.7, "seed": 3}),
        ({"max_completions_tokens": 99}, {"max_completion_tokens": 99, "temperature": 0.0}),
        ({"max_completion_tokens": 99}, {"max_completion_tokens": 99, "temperature": 0.0}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ],
)
def test_sampling_parameters_are_sent_as_they_are_given(given, sent):
    fake, _ = judged(answer(6), config={**CONFIG, "sampling_params": given})
    assert fake.asked[0]["sampling"] == sent


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (answer("5"), 5),
        (answer(99), 7),
        (answer(-3), 1),
        ("4", 4),
        (" 4.5\n", 4.5),
        ('"6"', 6),
        ("```json\n" + json.dumps(answer(3)) + "\n```", 3),
        ("Let me see. " + json.dumps(answer(2)) + " Done.", 2),
        (json.dumps(answer(2)) + "\n" + json.dumps(answer(6)), 6),
        ('{"note": "draft"} {"result": 5}', 5),
    ],
)
def test_answers_that_hold_a_number_are_read_and_cut_to_the_range(said, value):
    assert judged(said)[1].value == value


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(None), "no number: null"),
        ('{"result": 1e999}', "no number"),
        ('{"result": NaN}', "no number"),
        (answer(True), "no number: true"),
        (answer("good"), "no number: “good”"),
        ("I like it", "no number: “I like it”"),
        ("", "it is empty"),
        ("{}", "no number: null"),
        ("[1, 2]", "no number"),
    ],
)
def test_an_answer_without_a_number_is_asked_for_once_more_and_then_failed(said, reason):
    fake, result = judged(said)
    assert (result.state, result.value, result.passed, result.problem) == ("failed", None, None, "judge_answer")
    assert reason in result.reason
    assert len(fake.asked) == 2
    assert result.cost_usd == 0.002


def test_a_second_answer_that_fits_counts():
    fake, result = judged("hm", answer(5))
    assert (result.value, len(fake.asked), result.call["asked"]) == (5, 2, 2)


def test_an_answer_that_was_cut_off_says_so():
    assert "cut off" in judged(Answered("{", finish_reason="length"))[1].reason


def test_a_refusal_is_failed_as_such():
    _, result = judged(Answered("I cannot help with that.", refusal="I cannot help with that."))
    assert (result.state, result.problem) == ("failed", "judge_refusal")
    assert "I cannot help with that." in result.reason


def test_an_unavailable_judge_is_failed_with_its_message():
    _, result = judged(JudgeUnavailable("The provider answered 503 five times."))
    assert (result.state, result.problem) == ("failed", "judge_unavailable")
    assert result.reason == "The provider answered 503 five times."


def test_the_call_is_kept_with_what_was_asked_and_what_all_attempts_used():
    usage = {"input_tokens": 10, "output_tokens": 2, "cached_input_tokens": None}
    _, result = judged(
        Answered("hm", usage=usage), Answered("5", model="judge-1-2026", finish_reason="stop", usage=usage)
    )
    call = result.call
    assert (call["text"], call["model"], call["finish_reason"]) == ("5", "judge-1-2026", "stop")
    assert call["usage"] == {"input_tokens": 20, "output_tokens": 4, "cached_input_tokens": None}
    assert call["messages"][0] == INPUT[0]


def test_an_earlier_verdict_on_the_same_messages_is_taken_again_without_asking():
    _, first = judged(answer(6))

    async def find_earlier(digest):
        assert digest == first.input_digest
        return [first]

    fake, result = judged(answer(1), find_earlier=find_earlier)
    assert (fake.asked, result.value, result.cost_usd) == ([], 6.0, 0.0)


def test_a_missing_variable_is_skipped_and_nobody_is_asked():
    fake, result = judged(answer(6), item={})
    assert (result.state, result.problem, fake.asked) == ("skipped", "invalid_variable", [])


def test_parts_are_sent_in_chat_form_and_their_templates_filled_in():
    content = [
        {"type": "input_text", "text": "Look at {{ item.question }}"},
        {"type": "input_image", "image_url": "data:image/png;base64,{{ item.image }}", "detail": "low"},
    ]
    config = {**CONFIG, "input": [{"type": "message", "role": "user", "content": content}]}
    fake, _ = judged(answer(6), config=config, item={"question": "this", "image": "AAAA"})
    assert fake.asked[0]["messages"][0]["content"] == [
        {"type": "text", "text": "Look at this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
    ]


def test_a_lone_part_is_sent_as_plain_text():
    content = {"type": "input_text", "text": "Hello"}
    fake, _ = judged(answer(6), config={**CONFIG, "input": [{"role": "developer", "content": content}]})
    assert fake.asked[0]["messages"] == [{"role": "developer", "content": "Hello"}]


def test_the_range_is_0_to_1_and_its_middle_passes_where_nothing_is_said():
    settings = grader_kind("score_model").validate({"model": "m", "input": INPUT})
    assert (settings["range"], settings["pass_threshold"]) == ([0.0, 1.0], 0.5)
    wide = grader_kind("score_model").validate({"model": "m", "input": INPUT, "range": [1, 7]})
    assert wide["pass_threshold"] == 4


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": "Grade it"}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": "a\x00b"}]}, "input"),
        ({"range": [1, 1]}, "range"),
        ({"range": [0, float("inf")]}, "range"),
        ({"range": "0-1"}, "range"),
        ({"pass_threshold": 8}, "pass_threshold"),
        ({"sampling_params": {"top_k": 3}}, "sampling_params.top_k"),
        ({"sampling_params": {"temperature": 3}}, "sampling_params.temperature"),
        ({"sampling_params": []}, "sampling_params"),
    ],
)
def test_settings_that_cannot_be_used_name_their_place(change, param):
    with pytest.raises(BadConfig) as caught:
        grader_kind("score_model").validate({**CONFIG, **change})
    assert caught.value.param == param
