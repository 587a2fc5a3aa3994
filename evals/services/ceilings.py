"""What a comparison may cost: how much it has cost, and the stop where that is all of it."""

import time
from dataclasses import dataclass, field

from django.db import transaction

from evals.models import Comparison, Run, RunStatus
from evals.queries.progress import spending
from evals.services.jobs import Job
from evals.services.outcomes import DatabaseThread

BOOK_LATE_S = 2.0  # an ended call is in the book by then


@dataclass
class Ledger:
    """What the comparison has cost: as the book says, plus what was added here since. Only a reason to look: the book decides."""

    job: str
    comparison_id: int | None
    ceiling_usd: float | None
    read_usd: float = 0.0
    added: list[tuple[float, float]] = field(default_factory=list)  # (when, US dollars)

    @property
    def is_over(self) -> bool:
        if self.ceiling_usd is None:
            return False
        return self.read_usd + sum(cost for _, cost in self.added) >= self.ceiling_usd

    def add(self, cost_usd: float | None) -> None:
        if cost_usd and self.ceiling_usd is not None:
            self.added.append((time.monotonic(), cost_usd))

    async def read(self, database: DatabaseThread) -> None:
        """Read the sum of all calls again. The book is a moment late, so what ended just before is counted beside it."""
        begun = time.monotonic()
        spent = await database(spending, self.comparison_id)
        self.read_usd = spent.total_usd
        self.added = [(when, cost) for when, cost in self.added if when >= begun - BOOK_LATE_S]


def ledger_of(job: Job) -> Ledger:
    """Return the ledger of a run's comparison; runs without one have no ceiling."""
    comparison = job.comparison
    return Ledger(
        job=f"run:{job.run.pk}",
        comparison_id=comparison.pk if comparison else None,
        ceiling_usd=comparison.ceiling_usd if comparison else None,
    )


@transaction.atomic
def stop_at_ceiling(run_id: int) -> bool:
    """Pause the comparison of a run that has spent its ceiling, with the figures as the reason. False where it may go on."""
    run = Run.objects.select_related("comparison").get(pk=run_id)
    if run.comparison is None:
        return False
    comparison = Comparison.objects.select_for_update().get(pk=run.comparison.pk)
    spent = spending(comparison.pk)
    if comparison.ceiling_usd is None or spent.total_usd < comparison.ceiling_usd:
        return False  # raised meanwhile
    maybe = (
        f", of which ${spent.unsure_usd:.4f} for {spent.unsure_calls} calls that may have been charged"
        if spent.unsure_calls
        else ""
    )
    reason = (
        f"Stopped at the ceiling of ${comparison.ceiling_usd:,.2f}: ${spent.total_usd:,.4f} spent{maybe}. "
        f"{spent.done_samples:,} of {spent.all_samples:,} samples are done. Raise the ceiling to go on."
    )
    Comparison.objects.filter(pk=comparison.pk).update(stop_reason=reason)
    Run.objects.filter(comparison=comparison, status__in=RunStatus.active()).update(
        status=RunStatus.PAUSED, status_reason=reason
    )
    return True
