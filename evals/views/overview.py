"""The overview: what is here, and what to do next."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from evals import overview_words
from evals.queries import overview as overview_queries
from evals.queries.comparison_pages import comparison_rows


@require_GET
@project_page()
def overview(request: ProjectRequest) -> HttpResponse:
    """Say in words what the project holds, with the list behind every figure."""
    found = overview_queries.overview(request.project)
    days = overview_queries.DAYS
    context = {
        "overview": found,
        "window": days,
        "headline": overview_words.headline(found.now, total=found.total, days=days, agents=found.agent_count),
        "change": overview_words.change(found.now, found.before, days=days),
        "silent": overview_words.silent_failures(found.now),
        "comparison_rows": comparison_rows(found.comparisons),
        "bars": overview_queries.bars(found.days),
        "all_query": overview_queries.NOT_SAMPLES,
        "rubrics_said": overview_words.count(found.rubric_count, "rubric"),
        "datasets_said": overview_words.count(found.dataset_count, "dataset")
        + (f" with {overview_words.count(found.item_count, 'item')}" if found.dataset_count else ""),
        "comparisons_said": overview_words.count(found.comparison_count, "comparison"),
    }
    return render(request, "evals/overview.html", context)
