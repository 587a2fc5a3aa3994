"""How far a comparison is, what it has cost, and how long it will take."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Avg, Count, Q, Sum
from django.utils import timezone

from evals.models import CandidateKind, Comparison, Run, RunStatus, Sample, SampleStatus
from evals.queries.forecast import Work, expected_usd, seconds_left, what_is_ahead
from providers.models import Call, CallState


@dataclass(frozen=True)
class Spending:
    """What the calls of a comparison cost. `unsure_usd` is an estimate for calls in flight or left by a dead worker."""

    known_usd: float
    unsure_usd: float
    unsure_calls: int
    unpriced_calls: int  # answered or cut off, at a price that is not known
    done_samples: int
    all_samples: int

    @property
    def total_usd(self) -> float:
        return self.known_usd + self.unsure_usd


def spending(comparison_id: int | None) -> Spending:
    """Return what a comparison has cost so far.

    A call that may have been charged counts as the mean of the answered ones of its model and purpose; where there are none, as the
    dearest mean of its model in the project's book, or of the other calls here, whichever is more.
    """
    runs = list(Run.objects.filter(comparison=comparison_id).values_list("pk", "project")) if comparison_id else []
    calls = Call.objects.filter(job__in=[f"run:{pk}" for pk, _ in runs])
    rows = list(
        calls.values("model", "purpose").annotate(
            usd=Sum("cost_usd"),
            mean=Avg("cost_usd", filter=Q(state=CallState.ANSWERED)),
            unsure=Count("pk", filter=Q(state__in=[CallState.UNKNOWN, CallState.STARTED])),
            unpriced=Count("pk", filter=Q(state=CallState.ANSWERED, cost_usd=None)),
        )
    )
    unknown = {row["model"] for row in rows if row["unsure"] and row["mean"] is None}
    dearest = dearest_means(runs[0][1], unknown) if unknown else {}
    peer = max((row["mean"] for row in rows if row["mean"] is not None), default=None)
    known = unsure = 0.0
    unsure_calls = unpriced = 0
    for row in rows:
        each = row["mean"]
        if each is None:
            each = max((mean for mean in (dearest.get(row["model"]), peer) if mean is not None), default=None)
        known += row["usd"] or 0.0
        unsure += row["unsure"] * (each or 0.0)
        unsure_calls += row["unsure"]
        unpriced += row["unpriced"] + (row["unsure"] if each is None else 0)
    counts = Sample.objects.filter(run__in=[pk for pk, _ in runs]).aggregate(
        all=Count("pk"), done=Count("pk", filter=Q(status=SampleStatus.DONE))
    )
    return Spending(known, unsure, unsure_calls, unpriced, counts["done"], counts["all"])


def dearest_means(project: int, models: set[str]) -> dict[str, float]:
    """Return the mean cost of each model's answered calls in a project, of the purpose for which it is dearest."""
    answered = Call.objects.filter(project=project, model__in=models, state=CallState.ANSWERED).exclude(cost_usd=None)
    found: dict[str, float] = {}
    for row in answered.values("model", "purpose").annotate(mean=Avg("cost_usd")):
        found[row["model"]] = max(found.get(row["model"], 0.0), row["mean"])
    return found


@dataclass(frozen=True)
class Counts:
    """Samples by state. `working` are leased right now."""

    total: int = 0
    pending: int = 0
    answered: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    working: int = 0

    @property
    def over(self) -> int:
        return self.done + self.failed + self.cancelled

    @property
    def share(self) -> float:
        return self.over / self.total if self.total else 1.0


@dataclass(frozen=True)
class RunProgress:
    """One run of a comparison."""

    run: Run
    counts: Counts
    cost_usd: float | None


@dataclass(frozen=True)
class Progress:
    """A comparison on its way. `seconds_left` is None where too little is known, or nothing runs.

    `expected_usd` is what it will come to; None where too little is known.
    """

    status: str
    counts: Counts
    runs: list[RunProgress]
    spending: Spending
    ceiling_usd: float | None
    stop_reason: str
    seconds_left: float | None
    is_active: bool
    expected_usd: float | None = None


def comparison_status(statuses: Sequence[str]) -> str:
    """Return the one state of a comparison from those of its runs."""
    for status in (RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.QUEUED, RunStatus.FAILED):
        if status in statuses:
            if status == RunStatus.QUEUED and set(statuses) != {RunStatus.QUEUED}:
                return RunStatus.RUNNING.value
            if status == RunStatus.PAUSED and RunStatus.QUEUED in statuses:
                return RunStatus.RUNNING.value
            return str(status)
    if statuses and all(status == RunStatus.CANCELLED for status in statuses):
        return RunStatus.CANCELLED.value
    return RunStatus.CANCELLED.value if RunStatus.CANCELLED in statuses else RunStatus.FINISHED.value


def sample_counts(comparison: Comparison) -> dict[int, Counts]:
    """Return the counts of each run of a comparison."""
    now = timezone.now()
    rows = (
        Sample.objects.filter(run__comparison=comparison)
        .values("run", "status")
        .annotate(count=Count("pk"), working=Count("pk", filter=Q(leased_until__gt=now)))
    )
    numbers: dict[int, dict[str, int]] = {}
    for row in rows:
        run = numbers.setdefault(row["run"], {"total": 0, "working": 0})
        run[row["status"]] = row["count"]
        run["total"] += row["count"]
        run["working"] += row["working"]
    return {run: Counts(**values) for run, values in numbers.items()}


def add_counts(counts: Sequence[Counts]) -> Counts:
    names = ("total", "pending", "answered", "done", "failed", "cancelled", "working")
    return Counts(**{name: sum(getattr(count, name) for count in counts) for name in names})


def comparison_progress(comparison: Comparison) -> Progress:
    """Return how far a comparison is, per run and in all."""
    runs = list(comparison.runs.select_related("candidate").order_by("position", "pk"))
    counts = sample_counts(comparison)
    costs = run_costs([run.pk for run in runs])
    rows = [RunProgress(run, counts.get(run.pk, Counts()), costs.get(run.pk)) for run in runs]
    total = add_counts([row.counts for row in rows])
    statuses = [run.status for run in runs]
    is_active = any(status in RunStatus.active() for status in statuses)
    spent = spending(comparison.pk)
    left, expected = None, None
    if total.pending or total.answered:
        ahead = what_is_ahead(comparison, [work_of(row) for row in rows])
        expected = expected_usd(ahead, known_usd=spent.known_usd)
        left = seconds_left(comparison, ahead, samples=total.pending + total.answered) if is_active else None
    return Progress(
        status=comparison_status(statuses),
        counts=total,
        runs=rows,
        spending=spent,
        ceiling_usd=comparison.ceiling_usd,
        stop_reason=comparison.stop_reason,
        seconds_left=left,
        is_active=is_active,
        expected_usd=None if expected is None else max(expected, spent.total_usd),
    )


def work_of(row: RunProgress) -> Work:
    asks = row.run.candidate.kind == CandidateKind.MODEL
    return Work(row.run.pk, asks, row.counts.pending, row.counts.answered, row.counts.done)


def run_costs(runs: Sequence[int]) -> dict[int, float]:
    """Return what the calls of each run cost, judges included; runs without a priced call are absent."""
    rows = Call.objects.filter(job__in=[f"run:{pk}" for pk in runs]).values("job").annotate(usd=Sum("cost_usd"))
    return {int(row["job"].removeprefix("run:")): row["usd"] for row in rows if row["usd"] is not None}
