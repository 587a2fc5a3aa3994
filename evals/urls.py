"""Addresses of overview, datasets and comparisons. Every page lies under /p/<project>; programs talk to /api."""

from django.urls import include, path

from evals import api
from evals.views import comparisons, datasets, delete, gradings, launch, overview, trace_exports, trace_scores

app_name = "evals"
urlpatterns = [
    # Programs
    path("", include("evals.openai_api.urls")),
    path("api/comparisons", api.comparison_list, name="api_comparison_list"),
    path("api/comparisons/<int:pk>", api.comparison_detail, name="api_comparison"),
    path("api/comparisons/<int:pk>/samples", api.comparison_samples, name="api_comparison_samples"),
    path("api/scores", api.score_list, name="api_score_list"),
    # Fragments on pages of the traces room, which owns every address below /traces
    path("p/<slug:project_slug>/scores", trace_scores.trace_list_scores, name="trace_list_scores"),
    path("p/<slug:project_slug>/scores/<text:trace_id>", trace_scores.trace_score_fragment, name="trace_scores"),
    path("p/<slug:project_slug>/export-traces", trace_exports.export_traces, name="export_traces"),
    path("p/<slug:project_slug>/grade-traces", gradings.grade_traces, name="grade_traces"),
    path("p/<slug:project_slug>/gradings/<int:pk>", gradings.grading, name="grading"),
    path("p/<slug:project_slug>/gradings/<int:pk>/cancel", gradings.cancel, name="cancel_grading"),
    # Overview
    path("p/<slug:project_slug>", overview.overview, name="project"),
    path("p/<slug:project_slug>/overview", overview.overview, name="overview"),
    # Datasets
    path("p/<slug:project_slug>/datasets", datasets.dataset_list, name="dataset_list"),
    path("p/<slug:project_slug>/new-dataset", datasets.dataset_new, name="dataset_new"),
    path("p/<slug:project_slug>/dataset-from-traces", datasets.dataset_from_traces, name="dataset_from_traces"),
    path("p/<slug:project_slug>/dataset-picker", datasets.dataset_picker, name="dataset_picker"),
    path("p/<slug:project_slug>/datasets/<slug:dataset_slug>", datasets.dataset, name="dataset"),
    path(
        "p/<slug:project_slug>/datasets/<slug:dataset_slug>/revisions",
        datasets.dataset_revisions,
        name="dataset_revisions",
    ),
    path(
        "p/<slug:project_slug>/datasets/<slug:dataset_slug>/export.jsonl",
        datasets.dataset_export,
        name="dataset_export",
    ),
    path("p/<slug:project_slug>/settings/delete", delete.delete_project, name="delete_project"),
    path("p/<slug:project_slug>/datasets/<slug:dataset_slug>/delete", delete.delete_dataset, name="delete_dataset"),
    path("p/<slug:project_slug>/datasets/<slug:dataset_slug>/add", datasets.dataset_item_new, name="dataset_item_new"),
    path("p/<slug:project_slug>/datasets/<slug:dataset_slug>/import", datasets.dataset_import, name="dataset_import"),
    path(
        "p/<slug:project_slug>/datasets/<slug:dataset_slug>/items/<int:pk>", datasets.dataset_item, name="dataset_item"
    ),
    path(
        "p/<slug:project_slug>/datasets/<slug:dataset_slug>/items/<int:pk>/remove",
        datasets.dataset_item_remove,
        name="dataset_item_remove",
    ),
    # Comparisons
    path("p/<slug:project_slug>/comparisons", comparisons.comparison_list, name="comparison_list"),
    path("p/<slug:project_slug>/comparisons/new", launch.comparison_new, name="comparison_new"),
    path("p/<slug:project_slug>/comparisons/<int:pk>", comparisons.comparison, name="comparison"),
    path("p/<slug:project_slug>/comparisons/<int:pk>/steer", comparisons.comparison_steer, name="comparison_steer"),
    path("p/<slug:project_slug>/comparisons/<int:pk>/export.csv", comparisons.comparison_csv, name="comparison_csv"),
    path(
        "p/<slug:project_slug>/comparisons/<int:pk>/export.jsonl", comparisons.comparison_jsonl, name="comparison_jsonl"
    ),
]
