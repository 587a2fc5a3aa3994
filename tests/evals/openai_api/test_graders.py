"""The grader endpoints: one grader on one answer, and whether a grader is one."""

import json

import pytest

from tests.evals.openai_api.test_evals import refused

pytestmark = pytest.mark.django_db(transaction=True)
CHECK = {
    "type": "string_check",
    "name": "g",
    "input": "{{sample.output_text}}",
    "reference": "{{item.r}}",
    "operation": "eq",
}
ASK = [{"role": "user", "content": "{{sample.output_text}}"}]
SCORE = {"type": "score_model", "name": "s", "model": "judge", "input": ASK, "range": [0, 10]}
RAISED = {"python_grader_runtime_error", "python_grader_runtime_error_details"}
LABEL = {
    "type": "label_model",
    "name": "l",
    "model": "judge",
    "input": ASK,
    "labels": ["good", "bad"],
    "passing_labels": ["good"],
}


def python(source):
    return {"type": "python", "name": "p", "source": source, "image_tag": "2025-05-08"}


def run(api, grader, answer="yes", item=None):
    given = {} if item is None else {"item": item}
    return api.fine_tuning.alpha.graders.run(grader=grader, model_sample=answer, **given)


def flags(result):
    return {name for name, value in result.metadata.errors.to_dict().items() if value not in (False, None)}


def test_a_string_check_answers_its_reward_and_every_error_key(api):
    result = run(api, CHECK, "yes", {"r": "yes"})
    assert result.reward == 1.0
    assert (result.metadata.name, result.metadata.type) == ("g", "string_check")
    assert len(result.metadata.errors.to_dict()) == 14
    assert flags(result) == set()
    assert result.sub_rewards == {}
    assert result.to_dict()["model_grader_token_usage_per_model"] == {}
    assert run(api, CHECK, "no", {"r": "yes"}).reward == 0.0


def test_json_in_the_answer_is_there_as_output_json(api):
    source = "def grade(sample, item):\n    return sample['output_json']['n'] * item['by']"
    assert run(api, python(source), '{"n": 3}', {"by": 2}).reward == 6.0


@pytest.mark.parametrize(
    ("grader", "answer", "wanted"),
    [
        (CHECK, "yes", {"invalid_variable_error"}),
        (python("def grade(sample, item):\n    return 1 / 0"), "yes", RAISED),
        (python("def grade(sample, item):\n    return 'x'"), "yes", RAISED),
        (SCORE, "no number", {"model_grader_parse_error"}),
        (
            {"type": "multi", "name": "m", "graders": {"a": {**CHECK, "name": "a", "reference": "x"}}, "calculate_output": "1 / a"},
            "yes",
            {"formula_parse_error"},
        ),
    ],
)  # fmt: skip
def test_a_grader_that_fails_answers_200_with_reward_0_and_its_flag(api, grader, answer, wanted):
    result = run(api, grader, answer)
    assert result.reward == 0.0
    assert flags(result) == wanted


def test_a_judge_that_cannot_be_reached_is_flagged_with_what_it_said(api, server):
    server.mode = "bad_request"
    result = run(api, SCORE, "7")
    assert flags(result) == {"model_grader_server_error", "model_grader_server_error_details"}
    assert "Invalid value" in result.metadata.errors.model_grader_server_error_details


def test_model_graders_answer_the_model_and_its_tokens(api, server):
    result = run(api, SCORE, json.dumps({"steps": [], "result": 7}))
    assert result.reward == 7.0
    assert result.metadata.sampled_model_name == "judge"
    usage = result.to_dict(warnings=False)["model_grader_token_usage_per_model"]["judge"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert result.to_dict(warnings=False)["metadata"]["token_usage"] == usage
    assert run(api, LABEL, json.dumps({"steps": [], "result": "bad"})).reward == 0.0


@pytest.mark.parametrize("form", ["object", "list"])
def test_a_multi_answers_the_rewards_of_its_parts(api, form):
    parts = {
        "a": {**CHECK, "name": "a", "reference": "yes"},
        "b": {"type": "python", "source": "def grade(sample, item):\n    return 0.5", "name": "b"},
    }
    graders = parts if form == "object" else list(parts.values())
    multi = {"type": "multi", "name": "m", "graders": graders, "calculate_output": "2 * a + b"}
    result = run(api, multi)
    assert result.reward == 2.5
    assert result.sub_rewards == {"a": 1.0, "b": 0.5}


@pytest.mark.parametrize(
    "grader",
    [
        CHECK,
        {"type": "python", "source": "def grade(sample, item):\n    return 1"},
        SCORE,
        LABEL,
        {"type": "text_similarity", "name": "t", "input": "a", "reference": "b", "evaluation_metric": "bleu"},
    ],
)
def test_validate_gives_a_grader_back_as_it_was_sent(api, grader):
    answer = api.fine_tuning.alpha.graders.with_raw_response.validate(grader=grader)
    assert answer.http_response.json() == {"grader": grader}


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        (None, "grader"),
        ({"type": "string"}, "grader.type"),
        ({**CHECK, "operation": "neq"}, "grader.operation"),
        (python("def grade(sample):\n    return 1"), "grader.source"),
        (python("def score(sample, item):\n    return 1"), "grader.source"),
        ({**SCORE, "model": "gone-1"}, "grader.model"),
        ({**SCORE, "range": [1, 0]}, "grader.range"),
        ({**LABEL, "passing_labels": ["fine"]}, "grader.passing_labels"),
    ],
)
def test_validate_refuses_what_is_no_grader_with_its_place(api, grader, param):
    assert refused(api.fine_tuning.alpha.graders.validate, grader=grader).startswith(param)


def test_a_run_without_an_answer_is_refused(api):
    assert refused(api.post, "/fine_tuning/alpha/graders/run", cast_to=object, body={"grader": CHECK}) == "model_sample"
