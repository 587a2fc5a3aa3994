"""A run as the pump needs it: read once, with its graders ready to score."""

from dataclasses import dataclass

from django.utils import timezone

from accounts.models import Project
from evals.graders.base import Grader
from evals.models import Candidate, CandidateKind, Comparison, EvalGrader, GraderVersion, Run, RunStatus
from evals.services.graders import ready_grader
from providers.client import ProviderError
from providers.registry import aliases_of, resolve

FREE_CONCURRENCY = 32  # samples at once where no model answers them


@dataclass(frozen=True)
class GraderInUse:
    """A grader of the run, ready to score."""

    version: GraderVersion
    grader: Grader
    is_gate: bool


@dataclass
class Job:
    """A run as the pump needs it: plain values, read once."""

    run: Run
    project: Project
    candidate: Candidate
    comparison: Comparison | None
    graders: list[GraderInUse]
    concurrency: int
    aliases: dict[str, str]  # old names that its candidate or its judges have, each with the model that answers


def load_job(run_id: int) -> Job | None:
    """Return an active run ready to be worked on and mark it as running; None where it is not active.

    A run whose grader cannot be set up, or whose model no provider has, fails as a whole with the reason.
    """
    rows = Run.objects.select_related("project", "candidate", "comparison__dataset_revision")
    run = rows.filter(pk=run_id, status__in=RunStatus.active()).first()
    if run is None:
        return None
    Run.objects.filter(pk=run_id, status=RunStatus.QUEUED).update(status=RunStatus.RUNNING)
    Run.objects.filter(pk=run_id, started_at=None).update(started_at=timezone.now())
    try:
        graders = load_graders(run)
        concurrency = FREE_CONCURRENCY
        if run.candidate.kind == CandidateKind.MODEL:
            concurrency = resolve(run.project, run.candidate.model).concurrency
    except (ValueError, LookupError, ProviderError) as error:
        Run.objects.filter(pk=run_id, status__in=RunStatus.active()).update(
            status=RunStatus.FAILED, status_reason=str(error), finished_at=timezone.now()
        )
        return None
    aliases = aliases_for(run, graders)
    if not aliases.items() <= run.aliases.items():
        Run.objects.filter(pk=run_id).update(aliases={**run.aliases, **aliases})
    return Job(run, run.project, run.candidate, run.comparison, graders, max(1, concurrency), aliases)


def aliases_for(run: Run, graders: list[GraderInUse]) -> dict[str, str]:
    """Return the old names among the models that a run asks, each with the model that answers in its place."""
    known = aliases_of(run.project)
    asked = {run.candidate.model, *(model for entry in graders for model in entry.grader.models)}
    return {name: model for name, model in known.items() if name in asked}


def load_graders(run: Run) -> list[GraderInUse]:
    """Return the run's graders in the order they work: gates first, code before judges, then as the eval has them."""
    rows = EvalGrader.objects.filter(eval=run.eval_id).select_related(
        "grader_version__grader", "grader_version__rubric_version"
    )
    graders = [GraderInUse(row.grader_version, ready_grader(row.grader_version), row.is_gate) for row in rows]
    return sorted(graders, key=lambda entry: (bool(entry.grader.models), not entry.is_gate))
