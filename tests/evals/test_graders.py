import asyncio
import json
import time

import pytest

from evals.graders import BadConfig, build_grader, grader_kind
from evals.graders.base import Answered, JudgeUnavailable, SampleInput, Surroundings
from evals.graders.evidence import find_quotes
from evals.graders.python import LIMITS
from rubrics.standard import CriterionText, LevelText, Standard

SAMPLE = SampleInput(
    output_text="Your refund of 20 € is on its way.",
    messages=[
        {"role": "user", "content": "Where is my refund?", "span_id": "s1"},
        {"role": "assistant", "content": "Your refund of 20 € is on its way.", "span_id": "s2"},
    ],
    steps=[{"type": "tool_call", "name": "get_order", "arguments": {"id": "A-1"}, "span_id": "s3"}],
)


def grade(kind, config, *, sample=SAMPLE, item=None, standard=None, surroundings=None):
    settings = grader_kind(kind).validate(config)
    grader = build_grader(kind, settings, standard=standard)
    return asyncio.run(grader.grade(sample, item, surroundings or Surroundings()))


def python(source, **fields):
    return grade("python", {"source": source}, item={"x": 1}, **fields)


# string_check


@pytest.mark.parametrize(
    ("operation", "reference", "passes"),
    [
        ("eq", "Your refund of 20 € is on its way.", True),
        ("eq", "your refund of 20 € is on its way.", False),
        ("ne", "x", True),
        ("like", "refund", True),
        ("like", "Refund", False),
        ("ilike", "REFUND", True),
        ("like", "", True),
    ],
)
def test_string_check_operations(operation, reference, passes):
    result = grade(
        "string_check", {"input": "{{ sample.output_text }}", "reference": reference, "operation": operation}
    )
    assert (result.value, result.passed, result.state) == (float(passes), passes, "ok")


def test_string_check_compares_code_points_and_normalises_nothing():
    config = {"input": "{{ item.a }}", "reference": "{{ item.b }}", "operation": "eq"}
    assert grade("string_check", config, item={"a": "é", "b": "e\u0301"}).passed is False


def test_string_check_without_the_variable_is_skipped_and_says_which():
    result = grade(
        "string_check", {"input": "{{ sample.output_text }}", "reference": "{{ item.city }}"}, item={"input": "x"}
    )
    assert (result.state, result.value) == ("skipped", None)
    assert "item has no 'city'; it has input" in result.reason


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"input": "a", "reference": "b", "operation": "sounds_like"}, "operation"),
        ({"reference": "b"}, "input"),
        ({"input": "a", "reference": 3}, "reference"),
        ({"input": "a", "reference": "b", "case": True}, "case"),
        ({"input": "a\x00", "reference": "b"}, "input"),
    ],
)
def test_string_check_settings_that_cannot_be_used_name_their_place(config, param):
    with pytest.raises(BadConfig) as caught:
        grader_kind("string_check").validate(config)
    assert caught.value.param == param


# python


def test_python_number_passes_at_the_threshold():
    assert (
        python("def grade(sample, item):\n    return 0.5").passed,
        python("def grade(sample, item):\n    return 0.49").passed,
    ) == (True, False)


def test_python_dict_gives_score_passed_and_rationale_and_reads_steps():
    source = """
def grade(sample, item):
    calls = [step for step in sample["steps"] if step["type"] == "tool_call"]
    good = any(call["arguments"]["id"] == "A-1" for call in calls)
    return {"score": 0.3, "passed": good, "rationale": "looked up " + calls[0]["name"]}
"""
    result = python(source)
    assert (result.value, result.passed, result.explanation) == (0.3, True, "looked up get_order")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return open('/etc/passwd').read()", "PermissionError"),
        ("import os\n    return len(os.environ)", "os.environ"),
        ("import socket\n    return 1", "No module named 'socket'"),
        ("import subprocess\n    return 1", "No module named 'subprocess'"),
        ("raise ValueError('no city')", "ValueError: no city"),
        ("return 'good'", "returned 'good'"),
        ("return float('nan')", "finite number"),
        ("return float('inf')", "finite number"),
        ("return 10 ** 400", "finite number"),
        ("return None", "returned None"),
        ("return {'passed': True}", "without “score”"),
        ("return {'score': 1, 'passed': 'yes'}", "true or false"),
        ("return grade(sample, item)", "RecursionError"),
        ("x = 'a' * (10 ** 9)\n    return 1", "MB"),
        ("print('x' * 10 ** 7)\n    return 1", "printed more than"),
    ],
)
def test_python_code_that_breaks_or_reaches_out_is_failed_with_its_message(body, says):
    result = python(f"def grade(sample, item):\n    {body}")
    assert (result.state, result.value, result.passed) == ("failed", None, None)
    assert says in result.reason


def test_python_endless_loop_is_stopped_at_its_limit_and_the_next_call_works(monkeypatch):
    monkeypatch.setitem(LIMITS, "max_feed_duration_secs", 0.3)
    begun = time.perf_counter()
    assert "was stopped after" in python("def grade(sample, item):\n    while True:\n        pass").reason
    assert time.perf_counter() - begun < 3
    assert python("def grade(sample, item):\n    return True").value == 1.0


def test_python_score_none_is_skipped_with_the_rationale():
    result = python("def grade(sample, item):\n    return {'score': None, 'rationale': 'no order in this run'}")
    assert (result.state, result.reason) == ("skipped", "no order in this run")


def test_python_sample_with_half_a_character_is_graded_and_nothing_unstorable_comes_back():
    source = "def grade(sample, item):\n    return {'score': 1, 'rationale': sample['output_text']}"
    result = python(source, sample=SampleInput(output_text="a\ud800b\x00"))
    assert result.explanation == "a?b"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def grade(sample, item)\n    return 1", "cannot be read"),
        ("def mark(sample, item):\n    return 1", "must define"),
        ("def grade(sample):\n    return 1", "takes 1 parameters"),
        ("import numpy\ndef grade(sample, item):\n    return 1", "No module named 'numpy'"),
        ("def grade(sample, item):\n    yield 1", "yield"),
        ("   ", "empty"),
    ],
)
def test_python_source_that_cannot_work_is_refused_when_it_is_made(source, says):
    with pytest.raises(BadConfig) as caught:
        grader_kind("python").validate({"source": source})
    assert says in str(caught.value)


def test_a_thousand_python_grader_calls_take_under_two_seconds():
    settings = grader_kind("python").validate(
        {"source": "def grade(sample, item):\n    return len(sample['output_text']) > item['x']"}
    )
    grader = build_grader("python", settings)

    async def all_of_them():
        return await asyncio.gather(*(grader.grade(SAMPLE, {"x": n % 50}, Surroundings()) for n in range(1000)))

    begun = time.perf_counter()
    results = asyncio.run(all_of_them())
    assert time.perf_counter() - begun < 2
    assert sum(result.value for result in results) == 20 * 34


# rubric

LEVELS = (LevelText(1, "wrong"), LevelText(3, "partly"), LevelText(5, "right"))
STANDARD = Standard(
    "Correctness",
    1,
    pass_threshold=4,
    criteria=(CriterionText("facts", "Facts", levels=LEVELS), CriterionText("tone", "Tone", levels=LEVELS)),
)


def verdict(facts=5, tone=3, quotes=("refund of 20 €",)):
    return {
        "facts": {"evidence": list(quotes), "reason": "The sum is right.", "level": facts},
        "tone": {"evidence": [], "reason": "Curt.", "level": tone},
        "explanation": "Right, but curt.",
    }


class FakeJudge:
    """Answers in turn with the given texts or errors; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, **call):
        self.asked.append(call)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Answered(answer if isinstance(answer, str) else json.dumps(answer), 0.001, 20.0)


def judge(*answers, model="judge-1", **fields):
    fake = FakeJudge(*answers)
    config = {"judge": model}
    return fake, grade("rubric", config, standard=STANDARD, surroundings=Surroundings(ask=fake), **fields)


def test_rubric_gives_criteria_and_overall_with_quotes_found_in_their_span():
    fake, result = judge(verdict(quotes=["refund of 20 €", "never said"]))
    assert (result.state, result.value, result.passed, result.rater) == ("ok", 4.0, True, "judge-1")
    assert [(part.criterion, part.value, part.label) for part in result.criteria] == [
        ("facts", 5, "right"),
        ("tone", 3, "partly"),
    ]
    assert result.criteria[0].evidence == [
        {"quote": "refund of 20 €", "span_id": "s2", "found": True},
        {"quote": "never said", "span_id": None, "found": False},
    ]
    assert fake.asked[0]["sampling"] == {"temperature": 0.0}
    assert fake.asked[0]["response_format"]["json_schema"]["strict"] is True


def test_rubric_answer_in_a_fence_with_words_around_it_is_read():
    _, result = judge("Sure!\n```json\n" + json.dumps(verdict()) + "\n```\nDone.")
    assert result.value == 4.0


def test_rubric_answer_that_does_not_fit_is_asked_for_once_more():
    fake, result = judge("I cannot say.", verdict())
    assert (result.state, len(fake.asked), result.cost_usd) == ("ok", 2, 0.002)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "empty"),
        ("no json here", "not JSON: “no json here”"),
        ({"facts": {"level": 2}}, "level 2"),
        ('{"facts": {"level": 1e999}}', "inf"),
        ("[1, 2]", "list"),
    ],
)
def test_rubric_answer_that_never_fits_is_failed_and_says_what_was_wrong(answer, says):
    fake, result = judge(answer)
    assert (result.state, result.value, len(fake.asked)) == ("failed", None, 2)
    assert says in result.reason


def test_rubric_with_an_unavailable_judge_is_failed_with_its_message():
    _, result = judge(JudgeUnavailable("The provider answered 503 five times."))
    assert (result.state, result.reason) == ("failed", "The provider answered 503 five times.")


def test_rubric_earlier_verdict_on_the_same_input_is_taken_again_without_asking():
    _, first = judge(verdict())
    fake = FakeJudge(verdict())

    async def find_earlier(digest):
        assert digest == first.input_digest
        return [first, *first.criteria]

    result = grade(
        "rubric",
        {"judge": "judge-1"},
        standard=STANDARD,
        surroundings=Surroundings(ask=fake, find_earlier=find_earlier),
    )
    assert fake.asked == []
    assert (result.value, result.cost_usd, [part.value for part in result.criteria]) == (4.0, 0.0, [5, 3])


def test_rubric_against_a_reference_is_skipped_without_one():
    standard = Standard("Facts", 1, mode="adherence", criteria=STANDARD.criteria)
    result = grade(
        "rubric",
        {"judge": "j"},
        standard=standard,
        item={"input": "x"},
        surroundings=Surroundings(ask=FakeJudge(verdict())),
    )
    assert (result.state, result.rater) == ("skipped", "j")
    assert "no reference" in result.reason


def test_quotes_are_found_over_spaces_case_quotation_marks_and_left_out_words():
    sample = SampleInput(
        output_text="He said: “It’s  on\nits way — tomorrow”.",
        steps=[{"type": "tool_result", "output": {"n": 1}, "span_id": "t"}],
    )
    found = find_quotes(
        ['"it\'s on its way - tomorrow"', "He said … tomorrow", "tomorrow … He said", '{"n": 1}', "", "…"], sample
    )
    assert [entry["found"] for entry in found] == [True, True, False, True, False, False]
    assert found[3]["span_id"] == "t"


def test_an_unknown_kind_names_the_kinds_that_there_are():
    with pytest.raises(
        BadConfig, match="string_check, text_similarity, python, rubric, score_model, label_model, multi"
    ):
        grader_kind("vibes")
