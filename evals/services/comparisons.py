"""Comparisons: rows that say what is to be done. Workers find the open ones; nothing here asks a model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Project, User
from evals.graders.base import digest_of
from evals.models import (
    Candidate,
    CandidateKind,
    Comparison,
    Dataset,
    DatasetRevision,
    Eval,
    EvalGrader,
    GraderVersion,
    Run,
    RunStatus,
    Sample,
    SampleStatus,
    Score,
    ScoreState,
    sample_public_id,
)
from evals.queries.datasets import revision_items
from evals.queries.variables import lacking, templates_of
from evals.services.graders import GraderSpec, ensure_grader_version

BATCH = 1000
MAX_SAMPLES = 1_000_000
SAMPLING = {
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning_effort",
    "stop",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "verbosity",
    "tools",
}


class BadComparison(ValueError):
    """A comparison that cannot be made or changed; `param` names the place, the text says why and what to do."""

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True)
class CandidateSpec:
    """What to compare. `model` is needed by the kind `model` only; an empty label is made from it."""

    model: str = ""
    kind: str = CandidateKind.MODEL
    label: str = ""
    system_prompt: str = ""
    user_template: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    input_messages: dict[str, Any] = field(default_factory=dict)  # as sent to /v1, in place of the two templates


def ensure_candidate(project: Project, spec: CandidateSpec) -> Candidate:
    """Return the candidate row of a spec; the same spec gives the same row. Raises BadComparison."""
    if spec.kind not in CandidateKind.values:
        raise BadComparison(
            f"There is no candidate of kind {spec.kind!r}; there are {', '.join(CandidateKind.values)}.", param="kind"
        )
    if spec.kind == CandidateKind.MODEL and not spec.model.strip():
        raise BadComparison("A candidate that asks a model needs the model's name.", param="model")
    unknown = sorted(set(spec.sampling) - SAMPLING)
    if unknown:
        raise BadComparison(
            f"There is no sampling setting {unknown[0]!r}; there are {', '.join(sorted(SAMPLING))}.", param="sampling"
        )
    names = {
        CandidateKind.RECORDED: "Recorded",
        CandidateKind.GIVEN: "Given with the rows",
        CandidateKind.NOTHING: "Does nothing",
    }
    label = (spec.label.strip() or names.get(CandidateKind(spec.kind), spec.model.strip()))[:120]
    is_model = spec.kind == CandidateKind.MODEL
    fields = {
        "kind": spec.kind,
        "model": spec.model.strip()[:200] if is_model else "",
        "system_prompt": spec.system_prompt if is_model else "",
        "user_template": spec.user_template if is_model else "",
        "sampling": spec.sampling if is_model else {},
        **({"input_messages": spec.input_messages} if is_model and spec.input_messages else {}),
    }
    candidate, _ = Candidate.objects.get_or_create(
        project=project, digest=digest_of(fields), label=label, defaults=fields
    )
    return candidate


@transaction.atomic
def ensure_eval(
    project: Project,
    *,
    name: str,
    graders: Sequence[tuple[GraderVersion, bool]],
    item_schema: dict[str, Any] | None = None,
) -> Eval:
    """Create an eval: graders in order, each with whether it is a gate."""
    created = Eval.objects.create(project=project, name=name[:200], item_schema=item_schema or {})
    EvalGrader.objects.bulk_create(
        EvalGrader(eval=created, grader_version=version, position=position, is_gate=is_gate)
        for position, (version, is_gate) in enumerate(graders)
    )
    return created


@transaction.atomic
def create_comparison(
    project: Project,
    *,
    name: str,
    revision: DatasetRevision,
    candidates: Sequence[CandidateSpec],
    graders: Sequence[GraderSpec] = (),
    eval: Eval | None = None,
    trials: int = 1,
    ceiling_usd: float | None = None,
    user: User | None = None,
) -> Comparison:
    """Create a comparison with its runs and samples, all waiting for a worker. The first candidate is the baseline.

    Graders are given as specs, or as an `eval` that has them. The caller wakes a worker (`tasks.look`) or pumps the runs itself.
    Raises BadComparison or evals.graders.BadConfig; then nothing is written.
    """
    check_comparison(project, revision, candidates, trials, ceiling_usd)
    if not Dataset.objects.select_for_update().filter(pk=revision.dataset_id).exists():  # as `delete_dataset` does
        raise BadComparison("The dataset was deleted.", param="revision")
    if not revision.dataset.is_implicit:  # rows of /v1 come as they are; there each result says what it lacks
        check_variables(revision, candidates, [spec.config for spec in graders] if eval is None else settings_of(eval))
    if eval is None:
        versions: dict[GraderVersion, bool] = {}
        for spec in graders:
            version = ensure_grader_version(project, spec)
            versions[version] = versions.get(version, False) or spec.is_gate
        if not versions:
            raise BadComparison("Choose at least one grader; without one there is nothing to compare.", param="graders")
        eval = ensure_eval(project, name=name, graders=list(versions.items()))
    elif eval.project_id != project.pk or not eval.eval_graders.exists():
        raise BadComparison(f"The eval “{eval.name}” has no grader here.", param="eval")
    rows = [ensure_candidate(project, spec) for spec in candidates]
    for place, row in enumerate(rows):
        if row in rows[:place]:
            raise BadComparison(
                f"“{row.label}” is there twice; change its label, prompt or sampling.", param=f"candidates[{place}]"
            )
    comparison = Comparison.objects.create(
        project=project,
        name=name.strip()[:200] or "Comparison",
        eval=eval,
        dataset_revision=revision,
        trials=trials,
        ceiling_usd=ceiling_usd,
        created_by=user,
    )
    items = list(revision_items(revision).values_list("pk", flat=True))
    for position, candidate in enumerate(rows):
        run = Run.objects.create(
            project=project,
            name=candidate.label,
            eval=eval,
            comparison=comparison,
            candidate=candidate,
            dataset_revision=revision,
            position=position,
            trials=trials,
        )
        # Trial by trial, so that an unfinished run has seen every item before it sees one twice.
        insert_samples(run, ((item, trial) for trial in range(1, trials + 1) for item in items))
    return comparison


def insert_samples(run: Run, attempts: Iterable[tuple[int, int]]) -> None:
    """Write a run's samples, given as item and trial, all waiting.

    Rows are written as they are: with a model for each the database would stay locked ten times as long.
    """
    row = Sample(project_id=run.project_id, run=run)
    own = ("public_id", "item", "trial")
    fields = [field for field in Sample._meta.concrete_fields if not field.primary_key and field.name not in own]
    shared = [field.get_db_prep_save(getattr(row, field.attname), connection) for field in fields]
    names = [*own[:1], "item_id", "trial", *(str(field.column) for field in fields)]
    columns = ", ".join(connection.ops.quote_name(name) for name in names)
    places = ", ".join(["%s"] * len(names))
    statement = f"INSERT INTO {Sample._meta.db_table} ({columns}) VALUES ({places})"  # noqa: S608
    source = iter(attempts)
    with connection.cursor() as cursor:
        while batch := list(islice(source, BATCH)):
            cursor.executemany(statement, [[sample_public_id(), item, trial, *shared] for item, trial in batch])


def check_comparison(
    project: Project,
    revision: DatasetRevision,
    candidates: Sequence[CandidateSpec],
    trials: int,
    ceiling_usd: float | None,
) -> None:
    """Raise BadComparison for what cannot be run."""
    if revision.dataset.project_id != project.pk:
        raise BadComparison("The dataset belongs to another project.", param="revision")
    if not candidates:
        raise BadComparison("Choose at least one candidate.", param="candidates")
    if not 1 <= trials <= 100:
        raise BadComparison(f"Trials must be 1 to 100, not {trials}.", param="trials")
    if ceiling_usd is not None and not 0 < ceiling_usd < 1e9:
        raise BadComparison(f"The ceiling must be more than 0 dollars, not {ceiling_usd}.", param="ceiling_usd")
    if revision.item_count == 0:
        raise BadComparison(f"{revision} has no items; add some first.", param="revision")
    samples = revision.item_count * trials * len(candidates)
    if samples > MAX_SAMPLES:
        raise BadComparison(
            f"This would be {samples:,} samples; at most {MAX_SAMPLES:,} fit in one comparison.", param="trials"
        )


def check_variables(
    revision: DatasetRevision, candidates: Sequence[CandidateSpec], configs: Sequence[dict[str, Any]]
) -> None:
    """Raise BadComparison for a prompt or grader with a variable that no item has: each sample would fail on it, or have no score."""
    texts = [
        (f"candidates[{place}].{name}", getattr(spec, name))
        for place, spec in enumerate(candidates)
        if spec.kind == CandidateKind.MODEL and not spec.input_messages
        for name in ("system_prompt", "user_template")
    ]
    for place, config in enumerate(configs):
        texts += templates_of(config, f"graders[{place}]")
    lack = next(iter(lacking(revision, texts)), None)
    if lack is not None and lack.is_everywhere:
        raise BadComparison(lack.words, param=lack.param)


def settings_of(eval: Eval) -> list[dict[str, Any]]:
    """Return the settings of an eval's graders, in its order."""
    placed = EvalGrader.objects.filter(eval=eval).order_by("position", "id")
    return list(placed.values_list("grader_version__config", flat=True))


# States ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def pause_comparison(comparison: Comparison, *, reason: str = "Paused by hand.") -> int:
    """Pause the runs that are active; calls in flight are finished and kept. Returns how many runs were paused."""
    runs = Run.objects.filter(comparison=comparison, status__in=RunStatus.active())
    return runs.update(status=RunStatus.PAUSED, status_reason=reason)


@transaction.atomic
def resume_comparison(comparison: Comparison, *, ceiling_usd: float | None = None) -> int:
    """Let paused runs go on, with a new ceiling where one is given. Returns how many runs are active again."""
    Comparison.objects.select_for_update().get(pk=comparison.pk)
    changes: dict[str, Any] = {"stop_reason": ""}
    if ceiling_usd is not None:
        if not 0 < ceiling_usd < 1e9:
            raise BadComparison(f"The ceiling must be more than 0 dollars, not {ceiling_usd}.", param="ceiling_usd")
        changes["ceiling_usd"] = ceiling_usd
    Comparison.objects.filter(pk=comparison.pk).update(**changes)
    for name, value in changes.items():
        setattr(comparison, name, value)
    runs = Run.objects.filter(
        comparison=comparison, status__in=[RunStatus.PAUSED, RunStatus.FAILED], imported__isnull=True
    )
    return runs.update(status=RunStatus.QUEUED, status_reason="", finished_at=None, resumed_at=timezone.now())


@transaction.atomic
def cancel_comparison(comparison: Comparison) -> int:
    """Cancel every run that is not over. What was answered and graded stays; nothing is added after this."""
    return sum(cancel_run(run) for run in Run.objects.filter(comparison=comparison).order_by("pk"))


@transaction.atomic
def cancel_run(run: Run) -> bool:
    """Cancel a run and its open samples; False where it was over already."""
    over = [RunStatus.FINISHED, RunStatus.CANCELLED]
    changed = (
        Run.objects.filter(pk=run.pk)
        .exclude(status__in=over)
        .update(status=RunStatus.CANCELLED, status_reason="Cancelled by hand.", finished_at=timezone.now())
    )
    if changed:
        open_samples = Sample.objects.filter(run=run, status__in=SampleStatus.open())
        open_samples.update(status=SampleStatus.CANCELLED, leased_by="", leased_until=None, finished_at=timezone.now())
    return bool(changed)


@transaction.atomic
def retry_failed(comparison: Comparison) -> int:
    """Put failed samples, and those that a grader failed on, back to work. Returns how many samples.

    Answers that are there are kept; only graders without a verdict grade again. Runs that were over become active.
    """
    Comparison.objects.select_for_update().get(pk=comparison.pk)
    broken = Score.objects.filter(
        run__comparison=comparison,
        run__imported__isnull=True,
        is_current=True,
        criterion="",
        state=ScoreState.FAILED,
        sample__status=SampleStatus.DONE,
    )
    samples = Sample.objects.filter(run__comparison=comparison, run__imported__isnull=True)
    samples = samples.exclude(run__status=RunStatus.CANCELLED)
    ungraded = list(samples.filter(pk__in=broken.values("sample")).values_list("pk", "run"))
    failed = list(samples.filter(status=SampleStatus.FAILED).values_list("pk", "run"))
    for pairs, status in ((ungraded, SampleStatus.ANSWERED), (failed, SampleStatus.PENDING)):
        for start in range(0, len(pairs), BATCH):
            Sample.objects.filter(pk__in=[pk for pk, _ in pairs[start : start + BATCH]]).update(
                status=status, error="", finished_at=None, leased_by="", leased_until=None
            )
    runs = {run for _, run in ungraded + failed}
    idle = Q(status=RunStatus.FINISHED) | Q(status=RunStatus.FAILED) | Q(status=RunStatus.PAUSED)
    Run.objects.filter(idle, pk__in=runs).update(
        status=RunStatus.QUEUED, status_reason="", finished_at=None, resumed_at=timezone.now()
    )
    if runs:
        Comparison.objects.filter(pk=comparison.pk).update(stop_reason="")
    return len(ungraded) + len(failed)
