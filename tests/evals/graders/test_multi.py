import pytest

from evals.graders import BadConfig, build_grader, grader_kind, judge_of
from evals.graders.base import Surroundings
from tests.evals.graders.graded import FakeJudge, grade

EXACT = {
    "type": "string_check",
    "name": "exact",
    "input": "{{ item.a }}",
    "reference": "{{ item.b }}",
    "operation": "eq",
}
ALIKE = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{ item.a }}",
    "reference": "{{ item.b }}",
    "evaluation_metric": "gleu",
}
CODE = {"type": "python", "source": "def grade(sample, item):\n    return item['n']"}
JUDGE = {"type": "score_model", "name": "judge", "model": "judge-1", "input": [{"role": "user", "content": "Mark it."}]}


def multi(graders, formula, item, **fields):
    return grade(
        "multi", {"graders": graders, "calculate_output": formula, **fields.pop("config", {})}, item=item, **fields
    )


def test_the_formula_makes_one_score_and_its_parts_are_kept():
    result = multi({"e": EXACT, "c": CODE}, "0.5 * e + c / 4", {"a": "x", "b": "x", "n": 1})
    assert (result.state, result.value, result.passed, result.rater) == ("ok", 0.75, True, "code")
    assert [(part.criterion, part.value) for part in result.criteria] == [("e", 1.0), ("c", 1.0)]
    assert "0.5 * e + c / 4 = 0.75" in result.explanation


@pytest.mark.parametrize("graders", [{"exact": EXACT, "alike": ALIKE}, [EXACT, ALIKE]])
def test_graders_come_by_name_or_as_a_list(graders):
    assert multi(graders, "min(exact, alike)", {"a": "x", "b": "y"}).value == 0


def test_one_grader_alone_is_known_by_its_own_name():
    assert multi(EXACT, "1 - exact", {"a": "x", "b": "y"}).value == 1


def test_the_threshold_is_a_half_where_nothing_is_said():
    item = {"n": 0.4}
    assert multi({"c": CODE}, "c", item).passed is False
    assert multi({"c": CODE}, "c", item, config={"pass_threshold": 0.4}).passed is True


@pytest.mark.parametrize(
    ("formula", "says"), [("1 / (c - c)", "zero"), ("log(c - 9)", "not a real number"), ("exp(9999 * c)", "too large")]
)
def test_a_formula_without_a_value_is_failed_with_the_scores_it_had(formula, says):
    result = multi({"c": CODE}, formula, {"n": 1})
    assert (result.state, result.value, result.problem) == ("failed", None, "formula_error")
    assert says in result.reason
    assert "c 1" in result.reason


def test_a_part_that_breaks_fails_the_whole_with_its_name():
    result = multi({"c": CODE, "e": EXACT}, "c + e", {"a": "x", "b": "x"})
    assert (result.state, result.problem) == ("failed", "python_error")
    assert "“c” has no score: grade() failed: KeyError" in result.reason
    assert [part.value for part in result.criteria] == [None, 1.0]


def test_a_part_that_lacks_a_variable_skips_the_whole():
    assert multi({"e": EXACT}, "e", {"a": "x"}).state == "skipped"


def test_a_part_that_the_formula_does_not_name_may_break():
    assert multi({"c": CODE, "e": EXACT}, "e", {"a": "x", "b": "x"}).value == 1


def test_a_judge_within_makes_it_a_judge():
    fake = FakeJudge("0.5")
    result = multi([EXACT, JUDGE], "exact + judge", {"a": "x", "b": "x"}, surroundings=Surroundings(ask=fake))
    assert (result.value, result.rater, result.cost_usd, len(fake.asked)) == (1.5, "judge-1", 0.001, 1)
    settings = grader_kind("multi").validate({"graders": [EXACT, JUDGE], "calculate_output": "exact + judge"})
    grader = build_grader("multi", settings)
    assert (grader.is_judge, grader.models, judge_of("multi", settings)) == (True, ("judge-1",), "judge-1")


@pytest.mark.parametrize(
    ("config", "param", "says"),
    [
        ({"graders": {"e": EXACT}, "calculate_output": "e + f"}, "calculate_output", "names 'f'"),
        ({"graders": {"e": EXACT}, "calculate_output": "e +"}, "calculate_output", "The end"),
        ({"graders": {"e": EXACT}, "calculate_output": "eval(e)"}, "calculate_output", "no function 'eval'"),
        ({"graders": {}, "calculate_output": "1"}, "graders", "1 to 20"),
        ({"graders": "e", "calculate_output": "1"}, "graders", "object"),
        ({"graders": [EXACT, EXACT], "calculate_output": "exact"}, "graders[1]", "Two graders"),
        ({"graders": [{**EXACT, "name": "my check"}], "calculate_output": "1"}, "graders[0]", "letters"),
        ({"graders": {"m": {"type": "multi"}}, "calculate_output": "m"}, "graders.m.type", "within a multi"),
        ({"graders": {"m": {"type": "rubric"}}, "calculate_output": "m"}, "graders.m.type", "within a multi"),
        (
            {"graders": {"e": {**EXACT, "operation": "is"}}, "calculate_output": "e"},
            "graders.e.operation",
            "is not one of",
        ),
        ({"graders": {"e": EXACT}}, "calculate_output", "missing"),
    ],
)
def test_settings_that_cannot_be_used_name_their_place(config, param, says):
    with pytest.raises(BadConfig, match=says.replace("(", "\\(")) as caught:
        grader_kind("multi").validate(config)
    assert caught.value.param == param


def test_the_openai_door_holds_for_the_parts_too():
    part = {**EXACT, "operation": "contains"}
    with pytest.raises(BadConfig, match="`like`"):
        grader_kind("multi").validate({"graders": {"e": part}, "calculate_output": "e"}, door="openai")
