"""JSON for programs: comparisons, their samples, and scores. The same figures as on the pages."""

from typing import Any

from django.http import HttpRequest, JsonResponse

from accounts.access import ApiError, ProjectRequest, api_view
from evals.models import Comparison
from evals.queries.progress import comparison_status
from evals.queries.report import CandidateFigures, ComparisonReport, GraderFigures, Pair, comparison_report
from evals.queries.scores import sample_documents, score_document, score_rows

DEFAULT_LIMIT, MAX_LIMIT = 50, 500


@api_view()
def comparison_list(request: ProjectRequest) -> JsonResponse:
    """GET /api/comparisons?limit=&cursor=: the project's comparisons, newest first."""
    limit, cursor = read_limit(request), read_cursor(request)
    rows = (
        Comparison.objects.filter(project=request.project).select_related("dataset_revision__dataset").order_by("-pk")
    )
    if cursor is not None:
        rows = rows.filter(pk__lt=cursor)
    page = list(rows.prefetch_related("runs")[: limit + 1])
    data = [
        {
            "id": row.pk,
            "name": row.name,
            "status": comparison_status([run.status for run in row.runs.all()]),
            "dataset": dataset_document(row),
            "trials": row.trials,
            "candidates": len(row.runs.all()),
            "created_at": row.created_at.isoformat(),
        }
        for row in page[:limit]
    ]
    return JsonResponse({"data": data, "next_cursor": str(page[limit - 1].pk) if len(page) > limit else None})


@api_view()
def comparison_detail(request: ProjectRequest, pk: int) -> JsonResponse:
    """GET /api/comparisons/{id}: the whole report."""
    return JsonResponse(report_document(comparison_report(find_comparison(request, pk))))


@api_view()
def comparison_samples(request: ProjectRequest, pk: int) -> JsonResponse:
    """GET /api/comparisons/{id}/samples?limit=&cursor=: every sample with its scores."""
    comparison = find_comparison(request, pk)
    limit, cursor = read_limit(request), read_cursor(request)
    found = list(sample_documents(comparison, after=cursor or 0, limit=limit + 1, with_content=False))
    next_cursor = str(found[limit - 1]["id"]) if len(found) > limit else None
    return JsonResponse({"data": found[:limit], "next_cursor": next_cursor})


@api_view()
def score_list(request: ProjectRequest) -> JsonResponse:
    """GET /api/scores?trace=&run=&grader=&limit=&cursor=: current score rows; `all=1` adds those that were replaced."""
    limit, cursor = read_limit(request), read_cursor(request)
    rows = score_rows(
        request.project,
        trace=read_text(request, "trace"),
        run=read_text(request, "run"),
        grader=read_text(request, "grader"),
        is_current=None if request.GET.get("all") == "1" else True,
    )
    page = list(rows.filter(pk__gt=cursor or 0)[: limit + 1])
    next_cursor = str(page[limit - 1].pk) if len(page) > limit else None
    return JsonResponse({"data": [score_document(score) for score in page[:limit]], "next_cursor": next_cursor})


# Reading a request -----------------------------------------------------------------------------------------------


def find_comparison(request: ProjectRequest, pk: int) -> Comparison:
    rows = Comparison.objects.filter(project=request.project, pk=min(pk, 2**63 - 1)).select_related(
        "dataset_revision__dataset"
    )
    comparison = rows.first()
    if comparison is None:
        raise ApiError(404, f"There is no comparison {pk} in this project.")
    return comparison


def read_limit(request: HttpRequest) -> int:
    text = request.GET.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_LIMIT):
        raise ApiError(400, f"limit must be 1 to {MAX_LIMIT}, not {text[:40]!r}.", param="limit")
    return int(text)


def read_cursor(request: HttpRequest) -> int | None:
    text = request.GET.get("cursor", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ApiError(400, "cursor must be the next_cursor of an earlier answer.", param="cursor")
    return int(text)


def read_text(request: HttpRequest, name: str) -> str:
    value = request.GET.get(name, "")
    if "\x00" in value:
        raise ApiError(400, f"{name} holds a NUL character.", param=name)
    return value


# Rendering -------------------------------------------------------------------------------------------------------


def dataset_document(comparison: Comparison) -> dict[str, Any]:
    revision = comparison.dataset_revision
    return {
        "name": revision.dataset.name,
        "slug": revision.dataset.slug,
        "revision": revision.number,
        "item_count": revision.item_count,
    }


def report_document(report: ComparisonReport) -> dict[str, Any]:
    """Return a comparison's report as JSON."""
    spending = report.progress.spending
    return {
        "id": report.comparison.pk,
        "name": report.comparison.name,
        "status": report.status,
        "is_final": report.is_final,
        "dataset": dataset_document(report.comparison),
        "trials": report.trials,
        "baseline": report.baseline,
        "verdict": report.verdict.text,
        "warnings": report.warnings,
        "stop_reason": report.comparison.stop_reason or None,
        "created_at": report.comparison.created_at.isoformat(),
        "cost_usd": spending.known_usd,
        "unsure_cost_usd": spending.unsure_usd,
        "candidates": [candidate_document(candidate) for candidate in report.candidates],
        "pairs": [pair_document(pair) for pair in report.pairs],
    }


def candidate_document(candidate: CandidateFigures) -> dict[str, Any]:
    counts = candidate.samples
    return {
        "key": candidate.letter,
        "label": candidate.label,
        "kind": candidate.kind,
        "model": candidate.model or None,
        "answered_by": candidate.answered_by or None,
        "is_imported": candidate.is_imported,
        "is_scripted": candidate.is_scripted,
        "run": candidate.run.public_id,
        "status": candidate.status,
        "status_reason": candidate.run.status_reason or None,
        "samples": {
            "total": counts.total,
            "ok": counts.done - candidate.skipped,
            "failed": counts.failed,
            "skipped": candidate.skipped,
            "pending": counts.pending + counts.answered,
            "cancelled": counts.cancelled,
        },
        "cost_usd": candidate.cost_usd,
        "cost_per_sample_usd": candidate.cost_per_sample_usd,
        "judge_cost_usd": candidate.judge_cost_usd,
        "latency_ms": {"p50": candidate.p50_ms, "p95": candidate.p95_ms},
        "usage": {"input_tokens": candidate.input_tokens, "output_tokens": candidate.output_tokens},
        "graders": [grader_document(entry) for entry in candidate.graders],
    }


def grader_document(entry: GraderFigures) -> dict[str, Any]:
    return {
        "name": entry.grader.name,
        "kind": entry.grader.kind,
        "version": entry.grader.version,
        "rater": entry.grader.rater,
        "answered_by": entry.grader.answered_by or None,
        "is_scripted": entry.grader.is_scripted,
        "scale": list(entry.grader.scale),
        "pass_threshold": entry.grader.pass_threshold,
        "n": entry.n,
        "n_items": entry.items,
        "mean": entry.mean,
        "ci_low": entry.ci_low,
        "ci_high": entry.ci_high,
        "passes": entry.passes,
        "pass_n": entry.pass_n,
        "pass_rate": entry.pass_rate,
        "pass_rate_low": entry.pass_low,
        "pass_rate_high": entry.pass_high,
        "pass_hat_k": entry.pass_hat_k,
        "pass_at_k": entry.pass_at_k,
        "failed": entry.failed,
        "skipped": entry.skipped,
        "waiting": entry.waiting,
        "criteria": [
            {
                "key": part.key,
                "name": part.name,
                "n": part.n,
                "mean": part.mean,
                "ci_low": part.ci_low,
                "ci_high": part.ci_high,
            }
            for part in entry.criteria
        ],
    }


def pair_document(pair: Pair) -> dict[str, Any]:
    difference = pair.difference
    return {
        "a": pair.a,
        "b": pair.b,
        "grader": pair.grader.name,
        "n_items": difference.items,
        "difference": difference.value,
        "ci_low": difference.low,
        "ci_high": difference.high,
        "p_value": difference.p_value,
        "p_value_adjusted": difference.p_adjusted,
        "better": difference.better,
        "worse": difference.worse,
        "equal": difference.equal,
        "verdict": pair.verdict.text,
    }
