"""The grader endpoints: one grader on one answer, and whether a grader is one."""

import time
from typing import Any

from django.http import HttpResponseBase, JsonResponse

from accounts.access import ProjectRequest
from evals.given import sample_from_given
from evals.graders import base, build_grader
from evals.graders.base import GradeResult
from evals.openai_api.criteria import ReadCriterion, read_criterion
from evals.openai_api.documents import usage_document
from evals.openai_api.endpoints import check_models
from evals.openai_api.http import endpoint, read_json
from evals.openai_api.reading import BadRequest, optional_object, refuse_unstorable, required_object
from evals.services.trial import try_grader
from rubrics.models import RubricVersion
from rubrics.queries import standard_of, with_criteria

FLAGS = {
    base.INVALID_VARIABLE: "invalid_variable_error",
    base.PYTHON_ERROR: "python_grader_runtime_error",
    base.SANDBOX_ERROR: "python_grader_server_error",
    base.JUDGE_UNAVAILABLE: "model_grader_server_error",
    base.JUDGE_REFUSAL: "model_grader_refusal_error",
    base.JUDGE_ANSWER: "model_grader_parse_error",
    base.FORMULA_ERROR: "formula_parse_error",
}
ATTEMPTS = 3  # of a judge that does not answer
DETAILS = {
    base.PYTHON_ERROR: "python_grader_runtime_error_details",
    base.SANDBOX_ERROR: "python_grader_server_error_type",
    base.JUDGE_UNAVAILABLE: "model_grader_server_error_details",
}
NO_ERRORS: dict[str, Any] = {
    "formula_parse_error": False,
    "sample_parse_error": False,
    "truncated_observation_error": False,
    "unresponsive_reward_error": False,
    "invalid_variable_error": False,
    "other_error": False,
    "python_grader_server_error": False,
    "python_grader_server_error_type": None,
    "python_grader_runtime_error": False,
    "python_grader_runtime_error_details": None,
    "model_grader_server_error": False,
    "model_grader_refusal_error": False,
    "model_grader_parse_error": False,
    "model_grader_server_error_details": None,
}


@endpoint("POST")
def run(request: ProjectRequest) -> HttpResponseBase:
    """POST /v1/fine_tuning/alpha/graders/run. A grader that fails answers 200 with the reward 0 and its flag."""
    body = read_json(request)
    refuse_unstorable(body)
    found = read_grader(request, body)
    answer = body.get("model_sample")
    if not isinstance(answer, str):
        raise BadRequest("`model_sample` is required and must be a text.", param="model_sample")
    item = optional_object(body, "item")
    sample = sample_from_given({"output_text": answer})
    grader = build_grader(found.kind, found.checked, standard=standard_for(found.rubric_version))
    begun = time.perf_counter()
    result = try_grader(request.project, grader, sample, item, attempts=ATTEMPTS)
    return JsonResponse(answer_document(found, result, time.perf_counter() - begun))


@endpoint("POST")
def validate(request: ProjectRequest) -> HttpResponseBase:
    """POST /v1/fine_tuning/alpha/graders/validate. Python source is read, not run on anything."""
    body = read_json(request)
    refuse_unstorable(body)
    read_grader(request, body)
    return JsonResponse({"grader": body["grader"]})


def read_grader(request: ProjectRequest, body: dict[str, Any]) -> ReadCriterion:
    """Return the grader of a body, whose models somebody answers. Raises BadRequest."""
    sent = required_object(body, "grader")
    found = read_criterion(sent, "grader", request.project, needs_name=False, needs_threshold=False)
    check_models(request.project, found.models, "grader.model")
    return found


def standard_for(version: RubricVersion | None) -> Any:
    """Return a rubric version as its judge needs it."""
    if version is None:
        return None
    return standard_of(with_criteria(RubricVersion.objects.filter(pk=version.pk)).get())


def answer_document(found: ReadCriterion, result: GradeResult, took_s: float) -> dict[str, Any]:
    """Return what a grader gave, in the reference's form: all error keys are there, whatever happened."""
    parts = {part.criterion: part.value or 0.0 for part in result.criteria}
    calls = [part.call for part in (result, *result.criteria) if part.call]
    usage = usage_by_model(calls)
    return {
        "reward": result.value if result.value is not None else 0.0,
        "metadata": {
            "name": found.name,
            "type": found.kind,
            "execution_time": took_s,
            "scores": parts,
            "token_usage": added(list(usage.values())),
            "sampled_model_name": (calls[0].get("model") or found.models[0])
            if calls
            else next(iter(found.models), None),
            "errors": errors_of(result),
        },
        "sub_rewards": parts if found.kind == "multi" else {},
        "model_grader_token_usage_per_model": usage,
    }


def errors_of(result: GradeResult) -> dict[str, Any]:
    """Return which error a grader met, of those that the reference knows."""
    errors = dict(NO_ERRORS)
    if result.state == "ok":
        return errors
    errors[FLAGS.get(result.problem, "other_error")] = True
    if result.problem in DETAILS:
        errors[DETAILS[result.problem]] = result.reason
    return errors


def usage_by_model(calls: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the tokens of judges' calls by model."""
    found: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        usage = call.get("usage") or {}
        document = usage_document(
            usage.get("input_tokens"), usage.get("output_tokens"), usage.get("cached_input_tokens")
        )
        if document is not None and call.get("model"):
            found.setdefault(str(call["model"]), []).append(document)
    return {model: total for model, documents in found.items() if (total := added(documents)) is not None}


def added(documents: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return usages added up; None of none."""
    if not documents:
        return None
    return {name: sum(document[name] for document in documents) for name in documents[0]}
