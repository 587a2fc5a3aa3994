import json

import pytest

from evals.graders.base import JudgeUnavailable, SampleInput, Surroundings
from evals.graders.evidence import find_quotes
from rubrics.standard import CriterionText, LevelText, Standard
from tests.evals.graders.graded import FakeJudge, grade

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
