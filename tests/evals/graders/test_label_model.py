import pytest

from evals.graders import BadConfig, grader_kind
from evals.graders.base import Surroundings
from tests.evals.graders.graded import FakeJudge, grade

CONFIG = {
    "model": "judge-1",
    "input": [{"role": "user", "content": "Is it right? {{ sample.output_text }}"}],
    "labels": ["Right", "Partly", "wrong"],
    "passing_labels": ["Right", "Partly"],
}


def judged(*answers, config=CONFIG):
    fake = FakeJudge(*answers)
    return fake, grade("label_model", config, surroundings=Surroundings(ask=fake))


@pytest.mark.parametrize(
    ("said", "label", "value"),
    [
        ({"steps": [], "result": "Right"}, "Right", 1.0),
        ({"result": "wrong"}, "wrong", 0.0),
        ({"result": " partly "}, "Partly", 1.0),
        ("WRONG", "wrong", 0.0),
        ("Right.", "Right", 1.0),
        ('"Right"', "Right", 1.0),
        ('The answer: {"result": "Partly"}', "Partly", 1.0),
    ],
)
def test_the_label_is_chosen_and_passes_where_it_is_a_passing_one(said, label, value):
    _, result = judged(said)
    assert (result.state, result.label, result.value, result.passed) == ("ok", label, value, bool(value))


def test_the_exact_label_comes_before_one_that_differs_in_case():
    config = {**CONFIG, "labels": ["a", "A"], "passing_labels": ["A"]}
    assert judged({"result": "A"}, config=config)[1].label == "A"


def test_the_schema_allows_the_labels_only():
    fake, _ = judged({"result": "Right"})
    schema = fake.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["result"] == {"type": "string", "enum": ["Right", "Partly", "wrong"]}


@pytest.mark.parametrize("said", [{"result": "perhaps"}, "It is right, I think", {"result": None}, {"result": 3}, ""])
def test_an_answer_outside_the_labels_is_asked_for_once_more_and_then_failed(said):
    fake, result = judged(said)
    assert (result.state, result.value, result.problem, len(fake.asked)) == ("failed", None, "judge_answer", 2)
    assert "none of the labels Right, Partly, wrong" in result.reason


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"labels": []}, "labels"),
        ({"labels": ["a", "a"], "passing_labels": ["a"]}, "labels"),
        ({"labels": ["a", ""], "passing_labels": ["a"]}, "labels[1]"),
        ({"passing_labels": []}, "passing_labels"),
        ({"passing_labels": ["great"]}, "passing_labels"),
        ({"passing_labels": "Right"}, "passing_labels"),
        ({"range": [0, 1]}, "range"),
    ],
)
def test_settings_that_cannot_be_used_name_their_place(change, param):
    with pytest.raises(BadConfig) as caught:
        grader_kind("label_model").validate({**CONFIG, **change})
    assert caught.value.param == param
