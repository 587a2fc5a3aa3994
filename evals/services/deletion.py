"""Deleting datasets and projects: named before it happens, in short transactions, audited. Traces: `traces.deletion`."""

import logging
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import Project, User
from accounts.services import hide_project, write_audit
from evals.models import (
    Candidate,
    Comparison,
    Dataset,
    Eval,
    EvalGrader,
    File,
    Grader,
    GraderVersion,
    Grading,
    Item,
    Run,
    RunStatus,
    Sample,
    Score,
)
from providers.models import Call
from rubrics.models import Rubric
from traces.deletion import delete_traces, sweep_orphans
from traces.models import Trace
from traces.services import choose_store

log = logging.getLogger(__name__)
ROWS_AT_ONCE = 500
Line = tuple[str, int, str]


class StillRunning(Exception):
    """Something that is at work cannot be deleted; the text says what, and what to do."""


def delete_rows(rows: QuerySet[Any]) -> None:
    """Delete rows with what hangs on them, some at a time, each time in a transaction of its own."""
    while pks := list(rows.order_by("pk").values_list("pk", flat=True)[:ROWS_AT_ONCE]):
        with choose_store().in_turn(), transaction.atomic():
            rows.model._base_manager.filter(pk__in=pks).delete()


# Datasets --------------------------------------------------------------------------------------------------------


def runs_on(dataset: Dataset) -> QuerySet[Run]:
    return Run.objects.filter(Q(dataset_revision__dataset=dataset) | Q(comparison__dataset_revision__dataset=dataset))


def name_dataset_loss(dataset: Dataset) -> list[Line]:
    """Return what would go with a dataset, before anything does."""
    runs = runs_on(dataset)
    lines = [
        ("item, in all revisions", Item.objects.filter(dataset=dataset).count(), "deleted"),
        ("revision", dataset.revisions.count(), "deleted"),
        ("comparison", Comparison.objects.filter(dataset_revision__dataset=dataset).count(), "deleted with its runs"),
        ("sample", Sample.objects.filter(run__in=runs).count(), "deleted; its trace is kept"),
        ("score", Score.objects.filter(sample__run__in=runs, is_current=True).count(), "deleted"),
    ]
    return [line for line in lines if line[1]]


@transaction.atomic
def delete_dataset(dataset: Dataset, *, user: User | None = None) -> None:
    """Hide a dataset at once, so that no comparison of it begins or goes on; a worker deletes its rows and the comparisons over it.

    Raises StillRunning.
    """
    if not Dataset.objects.select_for_update().filter(pk=dataset.pk).exists():  # as `create_comparison` does
        return
    runs = runs_on(dataset)
    active = Comparison.objects.filter(runs__in=runs.filter(status__in=RunStatus.active())).order_by("pk").first()
    if active is not None or runs.filter(status__in=RunStatus.active()).exists():
        name = f"The comparison {active.name!r}" if active is not None else "A run"
        raise StillRunning(f"{name} is at work on this dataset; cancel it first, or wait until it is done.")
    loss = {what: count for what, count, _ in name_dataset_loss(dataset)}
    write_audit("dataset.delete", dataset.slug, project=dataset.project, user=user, loss=loss)
    runs.filter(status=RunStatus.PAUSED).update(status=RunStatus.CANCELLED)
    dataset.deleted_at, dataset.slug = timezone.now(), f"deleted-{dataset.pk}"
    dataset.save(update_fields=["deleted_at", "slug"])


def finish_dataset(dataset: Dataset) -> None:
    """Delete the rows of a dataset that is to go, and then itself."""
    runs = runs_on(dataset)
    runs.filter(status__in=(*RunStatus.active(), RunStatus.PAUSED)).update(
        status=RunStatus.CANCELLED
    )  # tried again meanwhile
    delete_rows(Sample.objects.filter(run__in=runs))
    delete_rows(runs)
    delete_rows(Comparison.objects.filter(dataset_revision__dataset=dataset))
    delete_rows(Item.objects.filter(dataset=dataset))
    delete_rows(Dataset.every.filter(pk=dataset.pk))


# Projects --------------------------------------------------------------------------------------------------------


def name_project_loss(project: Project) -> list[Line]:
    """Return what would go with a project, before anything does."""
    lines = [
        ("trace", Trace.objects.filter(project=project).count(), "deleted"),
        ("dataset", Dataset.objects.filter(project=project, is_implicit=False).count(), "deleted"),
        ("comparison", Comparison.objects.filter(project=project).count(), "deleted"),
        ("score", Score.objects.filter(project=project, is_current=True).count(), "deleted"),
        ("rubric", Rubric.objects.filter(project=project).count(), "deleted"),
        ("API key", project.api_keys.count(), "revoked at once"),
        ("member", project.memberships.count(), "no longer one; the account stays"),
    ]
    return [line for line in lines if line[1]]


def delete_project(project: Project, *, user: User | None = None) -> None:
    """Hide a project at once; a worker deletes its rows (`finish_deletions`)."""
    loss = {what: count for what, count, _ in name_project_loss(project)}
    Run.objects.filter(project=project, status__in=(*RunStatus.active(), RunStatus.PAUSED)).update(
        status=RunStatus.CANCELLED
    )
    Grading.objects.filter(project=project, status__in=RunStatus.active()).update(status=RunStatus.CANCELLED)
    hide_project(project, user=user, loss=loss)


def finish_deletions() -> None:
    """Delete the rows of datasets and projects that are to go. Killed, it goes on where it was; what cannot go holds up no other."""
    finishers: tuple[tuple[Any, Callable[[Any], None]], ...] = ((Dataset, finish_dataset), (Project, finish_project))
    for model, finish in finishers:
        for row in model.every.exclude(deleted_at=None).order_by("pk"):
            try:
                finish(row)
            except Exception:
                what = f"{model._meta.verbose_name} {row.pk}"
                log.exception("Rows of the deleted %s could not be deleted; trying again with the next look.", what)


def finish_project(project: Project) -> None:
    """Delete the rows of a project, and then itself."""
    for rows in (
        Score.objects.filter(project=project),
        Sample.objects.filter(project=project),
        Run.objects.filter(project=project),
        Comparison.objects.filter(project=project),
        EvalGrader.objects.filter(eval__project=project),
        Eval.objects.filter(project=project),
        Candidate.objects.filter(project=project),
        Grading.objects.filter(project=project),
        GraderVersion.objects.filter(grader__project=project),
        Grader.objects.filter(project=project),
        Item.objects.filter(dataset__project=project),
        Dataset.every.filter(project=project),
        File.objects.filter(project=project),
        Call.objects.filter(project=project),
    ):
        delete_rows(rows)
    delete_traces(Trace.objects.filter(project=project), what="all, with their project")
    sweep_orphans(project.pk)
    with choose_store().in_turn(), transaction.atomic():
        project.delete()
