"""Evals, runs, output items and files as the OpenAI API answers them."""

import json
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from evals.candidates import BadItem, messages_for
from evals.chat import NotAMessage
from evals.given import given_answer, given_thread
from evals.models import (
    Candidate,
    CandidateKind,
    Eval,
    EvalGrader,
    File,
    Item,
    Run,
    RunStatus,
    Sample,
    SampleStatus,
    Score,
    ScoreState,
)
from evals.openai_api.criteria import answered, criterion_id_at
from evals.openai_api.schemas import LOG_SCHEMA, wrapped_schema
from evals.queries import revision_items
from evals.queries.openai_runs import RunFigures
from evals.templating import MissingVariable

STATUSES = {
    RunStatus.QUEUED: "queued",
    RunStatus.RUNNING: "in_progress",
    RunStatus.PAUSED: "in_progress",
    RunStatus.FINISHED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "canceled",
}
DEFAULTS: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "seed": 42, "max_completion_tokens": None}
MAX_ECHOED = 1_000  # rows that are answered with a run, which is polled: the others are in its output items
MAX_ECHOED_TEXT = 4_000_000  # characters of JSON of these rows
MAX_REMEMBERED_TEXT = 250_000  # of a run whose rows are kept in memory
MAX_REMEMBERED = 50  # runs
# Rows by key and id of their run: an imported id may be in two projects.
remembered: dict[tuple[int, str], list[dict[str, Any]]] = {}


def seconds(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())


# Evals -----------------------------------------------------------------------------------------------------------


def eval_document(chosen: Eval, graders: list[EvalGrader]) -> dict[str, Any]:
    """Return an eval."""
    return {
        "id": chosen.public_id,
        "object": "eval",
        "created_at": seconds(chosen.created_at),
        "name": chosen.name,
        "metadata": chosen.metadata,
        "data_source_config": source_config_document(chosen),
        "testing_criteria": [criterion_document(chosen, row) for row in graders],
    }


def source_config_document(chosen: Eval) -> dict[str, Any]:
    """Return an eval's `data_source_config` as it is answered; one made in the pages is `custom`, with a sample."""
    config = chosen.source_config
    kind = config.get("type", "custom")
    if kind == "custom":
        with_sample = bool(config.get("include_sample_schema", not config))
        schema = chosen.item_schema or {"type": "object"}
        return {"type": kind, "schema": wrapped_schema(schema, with_sample=with_sample)}
    return {"type": kind, "metadata": config.get("metadata", {}), "schema": LOG_SCHEMA}


def criterion_id_of(chosen: Eval, row: EvalGrader) -> str:
    """Return the id of a criterion, as results name it."""
    name = row.grader_version.grader.name
    return row.criterion_id or criterion_id_at(name, chosen.public_id, row.position)


def criterion_document(chosen: Eval, row: EvalGrader) -> dict[str, Any]:
    """Return a criterion: as it was sent, or made from the grader's settings."""
    criterion_id = criterion_id_of(chosen, row)
    if row.criterion is not None:
        return {**row.criterion, "id": criterion_id}
    version = row.grader_version
    document = {
        "type": version.grader.kind,
        "name": version.grader.name,
        **answered(version.config),
        "id": criterion_id,
    }
    if version.rubric_version is not None:
        document |= {"rubric": version.rubric_version.rubric.slug, "version": version.rubric_version.number}
    if version.pass_threshold is not None:
        document.setdefault("pass_threshold", version.pass_threshold)
    return document


# Runs ------------------------------------------------------------------------------------------------------------


def run_document(request: HttpRequest, run: Run, figures: RunFigures, graders: list[EvalGrader]) -> dict[str, Any]:
    """Return a run. Its `eval`, `candidate` and `project` must be at hand."""
    is_over = run.status in (RunStatus.FINISHED, RunStatus.CANCELLED, RunStatus.FAILED)
    results = [
        {
            "testing_criteria": criterion_id_of(run.eval, row),
            "passed": figures.by_grader.get(row.grader_version_id, (0, 0))[0],
            "failed": figures.by_grader.get(row.grader_version_id, (0, 0))[1],
        }
        for row in graders
    ]
    failed = run.status == RunStatus.FAILED
    document = {
        "id": run.public_id,
        "object": "eval.run",
        "eval_id": run.eval.public_id,
        "created_at": seconds(run.created_at),
        "name": run.name,
        "metadata": run.metadata,
        "status": STATUSES[RunStatus(run.status)],
        "model": run.candidate.model or None,
        "data_source": data_source_document(run),
        "report_url": report_url(request, run),
        "result_counts": {
            "total": figures.total,
            "passed": figures.passed,
            "failed": figures.failed,
            "errored": figures.errored,
        },
        "per_model_usage": [with_old_names(entry, run.aliases) for entry in figures.usage] or None,
        "per_testing_criteria_results": results if figures.total or is_over else None,
        "error": {"code": run.error_code or "run_failed", "message": run.status_reason} if failed else None,
    }
    return {**document, **imported_part(run)}


def with_old_names(usage: dict[str, Any], aliases: dict[str, str]) -> dict[str, Any]:
    """Return what a model answered, with the old names that it was asked by where there are any."""
    names = [old_name for old_name, model in sorted(aliases.items()) if model == usage["model_name"]]
    return {**usage, "asked_as": names} if names else usage


def imported_part(run: Run) -> dict[str, Any]:
    """Return what an imported run says of itself; its page is ours, and name and metadata are as they are now."""
    told = (run.imported or {}).get("run") or {}
    return {name: value for name, value in told.items() if name != "report_url"}


def report_url(request: HttpRequest, run: Run) -> str:
    """Return the address of the run's page."""
    if run.comparison_id is None:
        path = reverse("evals:comparison_list", args=[run.project.slug])
    else:
        path = reverse("evals:comparison", args=[run.project.slug, run.comparison_id])
    return request.build_absolute_uri(path)


def data_source_document(run: Run) -> dict[str, Any]:
    """Return a run's data source as it was sent; one made in the pages as the `jsonl` or `completions` source that would do the same."""
    data: dict[str, Any] = dict(run.data_source) or data_source_of_page(run)
    source = dict(data.get("source") or {})
    if source.get("type") == "file_content" and "content" not in source:
        source["content"] = echoed_rows(run)
    return {**data, "source": source}


def echoed_rows(run: Run) -> list[dict[str, Any]]:
    """Return the first rows of a run, as many as fit into an answer that is asked for again and again.

    Rows of a run never change: those that are short stay in the memory of this process.
    """
    known = remembered.get((run.pk, run.public_id))
    if known is not None:
        return known
    rows: list[dict[str, Any]] = []
    size = 0
    for item in revision_items(run.dataset_revision).only("content", "sample")[:MAX_ECHOED].iterator(chunk_size=100):
        row = row_document(item)
        size += len(json.dumps(row))
        if size > MAX_ECHOED_TEXT:
            break
        rows.append(row)
    if size <= MAX_REMEMBERED_TEXT:
        if len(remembered) >= MAX_REMEMBERED:
            remembered.clear()
        remembered[run.pk, run.public_id] = rows
    return rows


def row_document(item: Item) -> dict[str, Any]:
    return {"item": item.content, **({"sample": item.sample} if item.sample is not None else {})}


def data_source_of_page(run: Run) -> dict[str, Any]:
    candidate = run.candidate
    source = {"type": "file_content"}
    if candidate.kind != CandidateKind.MODEL:
        return {"type": "jsonl", "source": source}
    template = []
    if candidate.system_prompt.strip():
        template.append(page_message("system", candidate.system_prompt))
    if candidate.user_template.strip():
        template.append(page_message("user", candidate.user_template))
    messages: dict[str, Any] = {"type": "template", "template": template}
    if not template:
        messages = {"type": "item_reference", "item_reference": "item.messages"}
    return {
        "type": "completions",
        "source": source,
        "model": candidate.model,
        "input_messages": messages,
        "sampling_params": candidate.sampling or None,
    }


def page_message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": {"type": "input_text", "text": text}}


# Output items ----------------------------------------------------------------------------------------------------


def item_document(
    run: Run, sample: Sample, graders: list[EvalGrader], scores: dict[int, list[Score]], *, stride: int
) -> dict[str, Any]:
    """Return an output item: a sample with what every criterion said of it, in the order of the criteria.

    An imported one is answered as it was received.
    """
    if sample.imported is not None:
        ids = {"id": sample.public_id, "run_id": run.public_id, "eval_id": run.eval.public_id}
        received = {"datasource_item": sample.item.content, **sample.imported}
        return {"object": "eval.run.output_item", **ids, **received}
    results = []
    for row in graders:
        words = [score for score in scores.get(row.grader_version_id, []) if not score.criterion]
        if words:
            results.append(result_document(criterion_id_of(run.eval, row), row.grader_version.grader.kind, words[0]))
    return {
        "id": sample.public_id,
        "object": "eval.run.output_item",
        "created_at": seconds(sample.finished_at),
        "run_id": run.public_id,
        "eval_id": run.eval.public_id,
        "status": outcome_of(sample, results),
        "datasource_item_id": sample.item.position + (sample.trial - 1) * stride,
        "datasource_item": sample.item.content,
        "results": results,
        "sample": sample_document(run.candidate, sample),
    }


def outcome_of(sample: Sample, results: list[dict[str, Any]]) -> str:
    """Return `pass`, `fail` or `error`. Nothing graded is never a pass."""
    if sample.status == SampleStatus.FAILED:
        return "error"
    return "pass" if results and all(result["passed"] for result in results) else "fail"


def result_document(criterion_id: str, kind: str, score: Score) -> dict[str, Any]:
    """Return one criterion's result. A grader that gave no verdict is answered as score 0 with its error."""
    document: dict[str, Any] = {
        "name": criterion_id,
        "type": kind,
        "passed": score.passed is True,
        "score": score.value if score.value is not None else 0.0,
        "sample": call_document(score.call) if score.call else None,
    }
    if score.state != ScoreState.OK:
        code = f"{score.problem}: " if score.problem else ""
        document["error"] = f"{code}{score.reason}"
    if score.label:
        document["label"] = score.label
    if score.explanation:
        document["reason"] = score.explanation
    return document


def call_document(call: dict[str, Any]) -> dict[str, Any]:
    """Return a judge's call in the shape of a sample."""
    usage, sampling = call.get("usage") or {}, call.get("sampling") or {}
    text = call.get("text")
    return sample_of(
        input=[plain_message(message) for message in call.get("messages") or [] if isinstance(message, dict)],
        output=[plain_message({"role": "assistant", "content": text})] if text is not None else [],
        finish_reason=call.get("finish_reason") or None,
        model=call.get("model") or None,
        usage=usage_document(usage.get("input_tokens"), usage.get("output_tokens"), usage.get("cached_input_tokens")),
        sampling=sampling,
    )


def sample_document(candidate: Candidate, sample: Sample) -> dict[str, Any]:
    """Return what was asked and answered for a row. A row that brought its own sample has no input."""
    output = sample.output or {}
    message = {name: value for name, value in output.items() if name not in ("finish_reason", "model", "cached_tokens")}
    given = candidate.kind == CandidateKind.GIVEN
    if given and sample.output is None and sample.item.sample:
        message = given_answer(sample.item.sample)
    is_answered = sample.status != SampleStatus.FAILED and not (
        given and not sample.output_text and not message.get("tool_calls")
    )
    return sample_of(
        input=input_messages(candidate, sample.item),
        output=[plain_message(message)] if is_answered and message else [],
        finish_reason=output.get("finish_reason"),
        model=output.get("model") or (None if given else candidate.model or None),
        usage=usage_document(sample.input_tokens, sample.output_tokens, output.get("cached_tokens")),
        sampling=candidate.sampling,
        error={"code": "sampling_error", "message": sample.error} if sample.status == SampleStatus.FAILED else None,
    )


def input_messages(candidate: Candidate, item: Item) -> list[dict[str, Any]]:
    """Return the messages that were sent for an item: they follow from candidate and item."""
    if candidate.kind == CandidateKind.GIVEN:
        return [plain_message(entry) for entry in given_thread(item.sample) if isinstance(entry, dict)]
    if candidate.kind != CandidateKind.MODEL:
        return []
    try:
        return [plain_message(message) for message in messages_for(candidate, item.content)]
    except (MissingVariable, NotAMessage, BadItem):
        return []


def sample_of(
    *,
    input: list[dict[str, Any]],
    output: list[dict[str, Any]],
    finish_reason: Any,
    model: Any,
    usage: dict[str, Any] | None,
    sampling: dict[str, Any],
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a sample with all its keys. Parameters that were not sent are said at their defaults."""
    said = {name: sampling.get(name, default) for name, default in DEFAULTS.items()}
    if said["max_completion_tokens"] is None:
        said["max_completion_tokens"] = sampling.get("max_tokens")
    return {
        "input": input,
        "output": output,
        "finish_reason": finish_reason,
        "model": model,
        "usage": usage,
        "error": error,
        **said,
    }


def usage_document(given: int | None, made: int | None, cached: int | None) -> dict[str, Any] | None:
    """Return tokens as they are answered; None where none are known."""
    if given is None and made is None:
        return None
    return {
        "total_tokens": (given or 0) + (made or 0),
        "prompt_tokens": given or 0,
        "completion_tokens": made or 0,
        "cached_tokens": cached or 0,
    }


def plain_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with all its keys, null where it has none."""
    return {
        "role": message.get("role") or "assistant",
        "content": message.get("content"),
        "tool_calls": message.get("tool_calls"),
        "tool_call_id": message.get("tool_call_id"),
        "function_call": message.get("function_call"),
    }


# Files -----------------------------------------------------------------------------------------------------------


def file_document(file: File) -> dict[str, Any]:
    """Return a file."""
    return {
        "id": file.public_id,
        "object": "file",
        "bytes": file.byte_count,
        "created_at": seconds(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": seconds(file.expires_at),
    }
