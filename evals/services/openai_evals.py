"""Evals and runs as the OpenAI API makes them: rows of the same tables as the pages. Each run is a comparison of one candidate."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import Project
from evals.graders.base import BadConfig
from evals.models import (
    Comparison,
    Dataset,
    DatasetRevision,
    Eval,
    EvalGrader,
    Grader,
    GraderVersion,
    Run,
    RunStatus,
)
from evals.services.comparisons import CandidateSpec, cancel_run, create_comparison, ensure_candidate
from evals.services.graders import GraderSpec, ensure_grader_version
from evals.services.rows import RowValues, StoredRows, drop_unused_rows, forget_rows, settle_rows, store_rows

MAX_GRADER_NAME = 120
NO_ROWS = "no_rows"


@dataclass(frozen=True)
class CriterionSpec:
    """A testing criterion to keep: its grader, and itself as it is answered under its id."""

    grader: GraderSpec
    criterion_id: str
    criterion: dict[str, Any]


@transaction.atomic
def create_openai_eval(
    project: Project,
    *,
    name: str,
    criteria: Sequence[CriterionSpec],
    item_schema: dict[str, Any],
    source_config: dict[str, Any],
    metadata: dict[str, str],
) -> Eval:
    """Create an eval with its criteria in order. Two criteria with one name stay two. Raises BadConfig."""
    created = Eval.objects.create(
        project=project, name=name, item_schema=item_schema, source_config=source_config, metadata=metadata
    )
    used: set[int] = set()
    for position, spec in enumerate(criteria):
        version = free_version(project, spec.grader, used)
        used.add(version.grader_id)
        EvalGrader.objects.create(
            eval=created,
            grader_version=version,
            position=position,
            criterion_id=spec.criterion_id,
            criterion=spec.criterion,
        )
    return created


def free_version(project: Project, spec: GraderSpec, used: set[int]) -> GraderVersion:
    """Return the grader version of a criterion. Where its name belongs to another kind, or to a criterion before it, it gets a number.

    Graders have one kind a name in a project, while every eval of the API may call its criteria as it likes.
    """
    base = " ".join(spec.name.split())[: MAX_GRADER_NAME - 20] or spec.kind
    for number in range(1, 1000):
        name = base if number == 1 else f"{base} {number}"
        taken = Grader.objects.filter(project=project, name=name).first()
        if taken is not None and (taken.kind != spec.kind or taken.pk in used):
            continue
        return ensure_grader_version(project, GraderSpec(**{**vars(spec), "name": name}))
    raise BadConfig(f"There are too many graders called {base!r} in this project.", param="name")


@transaction.atomic
def update_openai_eval(chosen: Eval, *, name: str | None, metadata: dict[str, str] | None) -> Eval:
    """Change an eval's name and metadata; None keeps what is there."""
    chosen.name = chosen.name if name is None else name
    chosen.metadata = chosen.metadata if metadata is None else metadata
    chosen.updated_at = timezone.now()
    chosen.save(update_fields=["name", "metadata", "updated_at"])
    return chosen


def create_openai_run(
    chosen: Eval,
    *,
    name: str,
    metadata: dict[str, str],
    data_source: dict[str, Any],
    candidate: CandidateSpec,
    rows: Callable[[], Iterable[RowValues]],
) -> Run:
    """Create a run with its rows, waiting for a worker. Without a single row it has failed already, and says so.

    Raises BadComparison, or whatever reading the rows raises; then nothing is written.
    """
    while True:
        stored = store_rows(chosen.project, rows, name=f"Rows of {chosen.name}")
        run = None
        try:
            run = make_run(chosen, name, metadata, data_source, candidate, stored)
        finally:
            if run is None and stored is not None:
                forget_rows(stored)
        if run is not None:
            return run


@transaction.atomic
def make_run(
    chosen: Eval,
    name: str,
    metadata: dict[str, str],
    data_source: dict[str, Any],
    candidate: CandidateSpec,
    stored: StoredRows | None,
) -> Run | None:
    """Make the rows of a run in one transaction. None where its stored rows were dropped meanwhile."""
    title = f"{chosen.name}: {name}" if name else chosen.name
    if stored is None:
        run = failed_run(chosen, title, candidate)
    else:
        revision = settle_rows(stored)
        if revision is None:
            return None
        comparison = create_comparison(
            chosen.project, name=title, revision=revision, candidates=[candidate], eval=chosen
        )
        run = comparison.runs.get()
    run.name, run.metadata, run.data_source = name, metadata, data_source
    run.save(update_fields=["name", "metadata", "data_source"])
    return run


def failed_run(chosen: Eval, title: str, candidate: CandidateSpec) -> Run:
    """Return a run that never started, since its source gave no row."""
    project = chosen.project
    empty, _ = Dataset.objects.get_or_create(
        project=project, is_implicit=True, rows_digest="none", defaults={"slug": "rows-none", "name": "No rows"}
    )
    revision, _ = DatasetRevision.objects.get_or_create(dataset=empty, number=1)
    comparison = Comparison.objects.create(
        project=project, name=title[:200], eval=chosen, dataset_revision=revision, trials=1
    )
    return Run.objects.create(
        project=project,
        name=title[:200],
        eval=chosen,
        comparison=comparison,
        candidate=ensure_candidate(project, candidate),
        dataset_revision=revision,
        status=RunStatus.FAILED,
        status_reason="No recorded request matches the filters of the data source.",
        error_code=NO_ROWS,
        finished_at=timezone.now(),
    )


@transaction.atomic
def delete_run(run: Run) -> None:
    """Delete a run with its samples and scores, and its comparison where it was the only run there. Its traces stay.

    It is cancelled first: a worker that is at it then has no say about its samples any more, and adds nothing while they go.
    """
    cancel_run(run)
    comparison, revision, project = run.comparison, run.dataset_revision_id, run.project
    run.delete()
    if comparison is not None and not comparison.runs.exists():
        comparison.delete()
    drop_unused_rows(project, [revision])


@transaction.atomic
def delete_eval(chosen: Eval) -> None:
    """Delete an eval with its runs, their comparisons, samples and scores. Graders and traces stay."""
    runs = Run.objects.filter(eval=chosen)
    for run in runs.filter(status__in=[*RunStatus.active(), RunStatus.PAUSED]):
        cancel_run(run)
    revisions = set(runs.values_list("dataset_revision", flat=True))
    runs.delete()
    Comparison.objects.filter(eval=chosen).delete()
    project = chosen.project
    chosen.delete()
    drop_unused_rows(project, revisions)
