"""Pages of comparisons: the list; one comparison with verdict, table, plots, matrix and drawer; its controls and files."""

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from accounts.access import ProjectRequest, project_page
from accounts.models import Role
from evals import exports, queries, services, tasks
from evals.models import Comparison
from evals.overview_words import count
from evals.queries import comparison_pages, dataset_pages
from evals.queries.matrix import PAGE, Matrix
from evals.queries.report import ComparisonReport, GraderHead

MAX_INPUT = 60_000  # characters of an item that the drawer shows


def find_comparison(request: ProjectRequest, pk: int) -> Comparison:
    found = Comparison.objects.filter(project=request.project).select_related(
        "dataset_revision__dataset", "eval", "created_by"
    )
    return get_object_or_404(found, pk=pk)


def number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 18 else None


@require_GET
@project_page()
def comparison_list(request: ProjectRequest) -> HttpResponse:
    rows, older = comparison_pages.comparison_page(request.project, before=number(request.GET.get("before")))
    return render(
        request, "evals/comparison_list.html", {"rows": rows, "older": older, "is_first": not request.GET.get("before")}
    )


@require_GET
@project_page()
def comparison(request: ProjectRequest, pk: int) -> HttpResponse:
    """Show a comparison; a fragment of it for htmx: the matrix, the drawer, or the progress, which refreshes the page when done."""
    found = find_comparison(request, pk)
    target = request.htmx.target if request.wants_partial else None
    if target == "drawer":
        return render(request, "evals/_sample_drawer.html", drawer_context(request, found))
    if target == "progress":
        return progress(request, found)
    report = queries.comparison_report(found)
    context = page_context(request, found, report)
    if target == "samples":
        return render(request, "evals/_matrix.html", context)
    if report.is_final:
        context |= chart_context(report, context["grader"])
    if request.GET.get("sample"):
        context |= drawer_context(request, found)
    return render(request, "evals/comparison.html", context)


def chart_context(report: ComparisonReport, grader: GraderHead | None) -> dict[str, Any]:
    """Return the plots; those against cost and against latency share a panel."""
    found = comparison_pages.charts(report, grader) if grader else []
    by_id = {chart.id: chart for chart in found}
    shares = {"against-cost", "against-latency"} <= set(by_id)
    return {
        "charts": found,
        "has_cost_chart": "against-cost" in by_id,
        "latency_chart": by_id.get("against-latency"),
        "panel_count": len(found) - shares,
    }


def progress(request: ProjectRequest, found: Comparison) -> HttpResponse:
    report = queries.comparison_report(found)
    if not report.progress.is_active:
        return HttpResponseClientRefresh()
    return render(request, "evals/_progress.html", page_context(request, found, report) | {"is_swap": True})


def page_context(request: ProjectRequest, found: Comparison, report: ComparisonReport) -> dict[str, Any]:
    """Return what every part of the page shows."""
    wanted = number(request.GET.get("grader"))
    grader = next((head for head in report.graders if head.pk == wanted), report.primary)
    matrix = read_matrix(request, found, is_final=report.is_final)
    return {
        "comparison": found,
        "report": report,
        "grader": grader,
        "matrix": matrix,
        "table": comparison_pages.score_table(report, grader) if grader else None,
        "cards": comparison_pages.cards(report, grader) if grader else [],
        "may_change": request.role.allows(Role.ENGINEER),
        "can_retry": not report.progress.is_active and comparison_pages.has_failures(found),
        "verdict": split_verdict(report),
        "trouble": report.trouble,
        "spent": spent_words(report),
        "facts": progress_facts(report),
        "reasons": run_reasons(report),
        "poll_s": 2 if report.progress.counts.total <= 2_000 else 5 if report.progress.counts.total <= 20_000 else 15,
        "bucket_kept": kept(request, ("grader", "show", "sort", "pair")),
        "filters": filter_links(matrix),
        "next_ceiling": round((found.ceiling_usd or 0) * 2, 4),
    }


def read_matrix(request: ProjectRequest, found: Comparison, *, is_final: bool) -> Matrix:
    """Return the matrix that the address asks for; while scores arrive it keeps the order of the dataset."""
    return queries.comparison_matrix(
        found,
        grader=number(request.GET.get("grader")),
        show=request.GET.get("show", "all"),
        bucket=request.GET.get("bucket", ""),
        sort=request.GET.get("sort", "spread" if is_final else "position"),
        pair=request.GET.get("pair", ""),
        after=number(request.GET.get("after")),
        limit=PAGE,
    )


def kept(request: HttpRequest, keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return the parts of the address that a form must send along."""
    return [(key, request.GET[key]) for key in keys if request.GET.get(key)]


def filter_links(matrix: Matrix) -> list[tuple[str, str, int]]:
    """Return the filters of the matrix: name, words, and how many items each leaves."""
    words = {
        "all": "All",
        "differ": "Where they differ",
        "failures": "Failures",
        "errors": "Errors",
        "open": "Waiting",
    }
    shown = [(name, words[name], matrix.counts[name]) for name in words]
    return [
        entry for entry in shown if entry[0] in ("all", "differ", "failures") or entry[2] or entry[0] == matrix.show
    ]


def split_verdict(report: ComparisonReport) -> dict[str, str]:
    """Return the verdict with its first letter apart, so that the page can draw the candidate's mark there."""
    sentence = report.verdict.sentence
    first, _, rest = sentence.partition(" ")
    is_letter = first in report.by_letter
    return {
        "letter": first if is_letter else "",
        "rest": rest if is_letter else sentence,
        "trade_off": report.verdict.trade_off,
        "advice": report.verdict.advice,
    }


def left_words(seconds: float | None) -> str:
    """Say how long it will take."""
    if seconds is None:
        return ""
    if seconds < 60:
        return "Less than a minute left"
    minutes = round(seconds / 60)
    return f"About {minutes} min left" if minutes < 100 else f"About {round(minutes / 60)} h left"


def progress_facts(report: ComparisonReport) -> list[str]:
    """Return what stands beside the bar: time left, money, the limit."""
    ceiling = report.progress.ceiling_usd
    limit = "" if ceiling is None else f"stops at ${ceiling:,.2f}" if ceiling >= 0.01 else f"stops at ${ceiling:.4f}"
    return [fact for fact in (left_words(report.progress.seconds_left), spent_words(report), limit) if fact]


def run_reasons(report: ComparisonReport) -> list[tuple[str, str]]:
    """Return why runs stand still, each reason once with the letters of its candidates; that of the whole comparison stands apart."""
    found: dict[str, list[str]] = {}
    for candidate in report.candidates:
        reason = candidate.run.status_reason
        if reason and reason != report.progress.stop_reason:
            found.setdefault(reason, []).append(candidate.letter)
    return [(", ".join(letters), reason) for reason, letters in found.items()]


def spent_words(report: ComparisonReport) -> str:
    """Say what it has cost, and while it runs what it may come to, where that is known: $1.46 spent of about $3.40."""
    spent = report.progress.spending.total_usd
    if spent == 0:
        return ""
    said = f"${spent:,.2f}" if spent >= 0.005 else "less than $0.01"
    if report.is_final:
        return said
    whole = report.progress.expected_usd
    return f"{said} spent so far" if whole is None else f"{said} spent of about ${whole:,.2f}"


def drawer_context(request: ProjectRequest, found: Comparison) -> dict[str, Any]:
    """Return what the drawer shows: one item and trial of two candidates (or with `against` two trials of one), and the items before
    and after it in the matrix.
    """
    item = number(request.GET.get("sample"))
    trial = number(request.GET.get("trial")) or 1
    detail = queries.sample_detail(found, item, trial=trial) if item else None
    if detail is None:
        raise Http404("This comparison has no such sample.")
    is_final = not found.runs.filter(status__in=["queued", "running"]).exists()
    matrix = read_matrix(request, found, is_final=is_final)
    other = number(request.GET.get("against")) or 0
    if other == trial:
        other = 2 if trial == 1 else 1
    against = queries.sample_detail(found, detail.item.pk, trial=other) if 0 < other <= found.trials else None
    shown = comparison_pages.versus(
        found, detail, pair=request.GET.get("versus", ""), grader=matrix.grader, against=against
    )
    content = detail.item.content
    order = matrix.order
    place = order.index(detail.item.pk) if detail.item.pk in order else None
    return {
        "comparison": found,
        "detail": detail,
        "versus": shown,
        "versus_key": ",".join(side.sample.letter for side in shown.sides),
        "matrix_grader": matrix.grader,
        "versus_kept": kept(request, ("grader", "show", "bucket", "sort", "pair", "after", "sample", "trial")),
        "item_input": dataset_pages.input_text(content)[:MAX_INPUT],
        "item_reference": dataset_pages.reference_text(content)[:MAX_INPUT],
        "item_raw": json.dumps(content, ensure_ascii=False, indent=2)[:MAX_INPUT],
        "place": None if place is None else place + 1,
        "place_count": len(order),
        "previous_sample": order[place - 1] if place else None,
        "next_sample": order[place + 1] if place is not None and place + 1 < len(order) else None,
        "previous_trial": trial - 1 if trial > 1 else None,
        "next_trial": trial + 1 if trial < found.trials else None,
        "trial_numbers": range(1, found.trials + 1),
        "against": other if shown.is_trials else None,
        "other_trial": 2 if trial == 1 else 1,
    }


# Controls --------------------------------------------------------------------------------------------------------


@require_POST
@project_page(Role.ENGINEER)
def comparison_steer(request: ProjectRequest, pk: int) -> HttpResponse:
    """Pause, resume, cancel, or retry what failed."""
    found = find_comparison(request, pk)
    action = request.POST.get("action", "")
    if action == "pause":
        services.pause_comparison(found)
        said = "Paused. Calls in flight are finished and kept."
    elif action == "resume":
        said = resume(found, request.POST.get("ceiling_usd", ""))
    elif action == "cancel":
        services.cancel_comparison(found)
        said = "Stopped. What was answered and scored is kept."
    elif action == "retry":
        said = f"{count(services.retry_failed(found), 'sample')} will be tried again."
    else:
        raise Http404(f"A comparison cannot be told {action!r}.")
    if action in ("resume", "retry"):
        tasks.look.delay_on_commit()
    messages.success(request, said)
    return redirect("evals:comparison", request.project.slug, found.pk)


def resume(found: Comparison, ceiling: str) -> str:
    """Let a paused comparison go on, with a new ceiling where one was typed. Returns what to say."""
    try:
        wanted = float(ceiling) if ceiling.strip() else None
        services.resume_comparison(found, ceiling_usd=wanted)
    except ValueError as error:
        return (
            str(error) if isinstance(error, services.BadComparison) else f"{ceiling[:20]!r} is not an amount of money."
        )
    return "Running again."


# Files -----------------------------------------------------------------------------------------------------------


@require_GET
@project_page()
def comparison_csv(request: ProjectRequest, pk: int) -> StreamingHttpResponse:
    """Stream every sample with its scores as CSV."""
    return as_file(find_comparison(request, pk), exports.csv_lines, "csv", "text/csv")


@require_GET
@project_page()
def comparison_jsonl(request: ProjectRequest, pk: int) -> StreamingHttpResponse:
    """Stream every sample with its scores as JSONL."""
    return as_file(find_comparison(request, pk), exports.jsonl_lines, "jsonl", "application/x-ndjson")


def as_file(found: Comparison, lines: Any, ending: str, kind: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse((line.encode() for line in lines(found)), content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="comparison-{found.pk}.{ending}"'
    return response
