"""Changes of state in the evals room, one subject a file."""

from evals.services.comparisons import (
    BadComparison,
    CandidateSpec,
    cancel_comparison,
    cancel_run,
    create_comparison,
    ensure_candidate,
    ensure_eval,
    pause_comparison,
    resume_comparison,
    retry_failed,
)
from evals.services.datasets import (
    BadItems,
    NewItem,
    add_items,
    content_of_trace,
    create_dataset,
    dataset_from_traces,
    export_items,
    remove_items,
    replace_items,
)
from evals.services.graders import GraderSpec, ensure_grader_version, imported_grader, ready_grader
from evals.services.imports import ImportReport, import_file, project_by_slug
from evals.services.pump import pump_run
from evals.services.recorded import grade_traces
from evals.services.samples import claim_samples, finish_run, release_dead_leases, release_leases, renew_leases
from evals.services.scores import NewScore, record_scores

__all__ = [
    "BadComparison",
    "BadItems",
    "CandidateSpec",
    "GraderSpec",
    "ImportReport",
    "NewItem",
    "NewScore",
    "add_items",
    "cancel_comparison",
    "cancel_run",
    "claim_samples",
    "content_of_trace",
    "create_comparison",
    "create_dataset",
    "dataset_from_traces",
    "ensure_candidate",
    "ensure_eval",
    "ensure_grader_version",
    "export_items",
    "finish_run",
    "grade_traces",
    "import_file",
    "imported_grader",
    "pause_comparison",
    "project_by_slug",
    "pump_run",
    "ready_grader",
    "record_scores",
    "release_dead_leases",
    "release_leases",
    "remove_items",
    "renew_leases",
    "replace_items",
    "resume_comparison",
    "retry_failed",
]
