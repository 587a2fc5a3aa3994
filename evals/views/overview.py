"""The overview: what is here, and what to do next."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from accounts.models import Project
from evals import overview_words
from evals.queries import overview as overview_queries
from evals.queries.comparison_pages import ComparisonRow, comparison_rows


@require_GET
@project_page()
def overview(request: ProjectRequest) -> HttpResponse:
    """Say in words what the project holds, with the list behind every figure."""
    found = overview_queries.overview(request.project)
    days = overview_queries.DAYS
    rows = comparison_rows(found.comparisons)
    context = {
        "overview": found,
        "window": days,
        "headline": overview_words.headline(found.now, total=found.total, days=days, agents=found.agent_count),
        "change": overview_words.change(found.now, found.before, days=days),
        "recovered": overview_words.recovered_runs(found.now),
        "low": overview_words.low_scores(found.low, found.scored),
        "samples_apart": overview_words.samples_apart(found.samples),
        "older_said": overview_words.count(found.older, "older run"),
        "comparison_rows": rows,
        "suggestions": [] if found.next_step else suggestions(request.project, found, rows),
        "bars": overview_queries.bars(found.days),
        "all_query": overview_queries.NOT_SAMPLES,
        "rubrics_said": overview_words.count(found.rubric_count, "rubric"),
        "datasets_said": overview_words.count(found.dataset_count, "dataset")
        + (f" with {overview_words.count(found.item_count, 'item')}" if found.dataset_count else ""),
        "comparisons_said": overview_words.count(found.comparison_count, "comparison"),
    }
    return render(request, "evals/overview.html", context)


@dataclass(frozen=True)
class Suggestion:
    """One thing that would help now: a sentence and a link."""

    text: str
    url: str
    action: str


def suggestions(project: Project, found: overview_queries.Overview, rows: list[ComparisonRow]) -> list[Suggestion]:
    """Return what to do in a project that has been through the loop once: what waits, what failed, what was never compared."""
    result = []
    for row in rows:
        if row.status in ("paused", "failed"):
            address = reverse("evals:comparison", args=[project.slug, row.comparison.pk])
            said = "is paused" if row.status == "paused" else "could not go on"
            result.append(Suggestion(f"{row.comparison.name} {said}.", address, "Look at it and go on"))
    if found.now.errors:
        address = f"{reverse('traces:trace_list', args=[project.slug])}?{urlencode({'range': 'all', 'q': found.now.error_query})}"
        failed = overview_words.count(found.now.errors, "run")
        result.append(
            Suggestion(f"{failed} ended in an error: the next dataset is there.", address, "Read them and choose")
        )
    fresh = overview_queries.dataset_without_comparison(project)
    if fresh is not None:
        address = reverse("evals:dataset", args=[project.slug, fresh.slug])
        result.append(Suggestion(f"Nothing was compared on {fresh.name} yet.", address, "Open it"))
    return result[:3]
