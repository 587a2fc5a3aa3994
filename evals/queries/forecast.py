"""What a comparison on its way will come to in money and time, from the calls that it made; nothing where too little is known."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db.models import Count, Max, Min, Sum
from django.utils import timezone

from evals.graders import judge_of
from evals.models import Comparison, Run, Sample
from providers.models import Call, CallState

RECENT = timedelta(seconds=60)
FEWEST = 5  # samples of a kind whose mean says what the others will cost
FEWEST_CALLS = 3  # that say how fast it goes


@dataclass(frozen=True)
class Work:
    """One run: the states of its samples, and whether a model is asked for its answers."""

    run: int
    asks: bool
    pending: int
    answered: int
    done: int


@dataclass
class Asked:
    """Answered calls of one sort: how many, for how many samples, and the cost of the priced ones."""

    calls: int = 0
    samples: int = 0
    usd: float | None = None


@dataclass(frozen=True)
class Ahead:
    """What is left to ask: of each run the answers, and of all runs the samples to judge and the calls that each takes."""

    answers: dict[int, int]
    judged: float
    calls_a_sample: float
    by_run: dict[int, Asked] = field(default_factory=dict)
    judge: Asked = field(default_factory=Asked)

    @property
    def calls(self) -> float:
        return sum(self.answers.values()) + self.judged * self.calls_a_sample


def what_is_ahead(comparison: Comparison, runs: Sequence[Work]) -> Ahead:
    """Count the calls still to be made. A sample in flight counts as one to come."""
    found = Call.objects.filter(job__in=[f"run:{row.run}" for row in runs], state=CallState.ANSWERED)
    rows = found.values("job", "purpose").annotate(
        calls=Count("pk"), samples=Count("subject", distinct=True), usd=Sum("cost_usd")
    )
    answers: dict[int, Asked] = {row.run: Asked() for row in runs}
    judge = Asked()
    for row in rows:
        run = int(row["job"].removeprefix("run:"))
        if row["purpose"] == "judge":
            judge.calls += row["calls"]
            judge.samples += row["samples"]
            judge.usd = judge.usd if row["usd"] is None else (judge.usd or 0.0) + row["usd"]
        else:
            answers[run] = Asked(row["calls"], row["samples"], row["usd"])
    placed = comparison.eval.eval_graders.select_related("grader_version__grader")
    judges = sum(bool(judge_of(place.grader_version.grader.kind, place.grader_version.config)) for place in placed)
    done = sum(row.done for row in runs)
    still = sum(row.pending + row.answered for row in runs)
    # A gate spares the judge: the share of the samples that were judged says how many of the others will be.
    share = min(1.0, judge.samples / done) if judge.samples and done >= FEWEST else 1.0
    begun = max(0, judge.samples - done)  # judged in part or in whole, and not done
    return Ahead(
        answers={row.run: row.pending if row.asks else 0 for row in runs},
        judged=max(0.0, share * (still - begun)) if judges or judge.calls else 0.0,
        calls_a_sample=judge.calls / judge.samples if judge.samples else float(max(1, judges)),
        by_run=answers,
        judge=judge,
    )


def expected_usd(ahead: Ahead, *, known_usd: float) -> float | None:
    """Return what it will come to; None where a candidate or the judges were asked too seldom, or their price is not known."""
    rest = 0.0
    for run, left in ahead.answers.items():
        asked = ahead.by_run[run]
        if not left:
            continue
        if asked.samples < FEWEST or asked.usd is None:
            return None
        rest += left * asked.usd / asked.samples
    if ahead.judged >= 0.5:
        if ahead.judge.samples < FEWEST or ahead.judge.usd is None:
            return None
        rest += ahead.judged * ahead.judge.usd / ahead.judge.samples
    return known_usd + rest


def seconds_left(comparison: Comparison, ahead: Ahead, *, samples: int) -> float | None:
    """Return the time left at the pace of the last minute's calls, else of all since it last went on; None before a few are answered.

    Where no model is asked, the pace is that of the samples; `samples` are those that are not over.
    """
    now = timezone.now()
    times = Run.objects.filter(comparison=comparison).aggregate(started=Min("started_at"), resumed=Max("resumed_at"))
    if times["started"] is None:
        return None
    begun = max(times["started"], times["resumed"] or times["started"])  # a pause says nothing of the pace
    for since in (max(begun, now - RECENT), begun):
        if ahead.calls >= 0.5:
            calls = Call.objects.filter(job__in=[f"run:{run}" for run in ahead.answers], state=CallState.ANSWERED)
            left, count = ahead.calls, calls.filter(ended_at__gte=since).count()
        else:
            left = float(samples)
            count = Sample.objects.filter(run__comparison=comparison, finished_at__gte=since).count()
        elapsed = (now - since).total_seconds()
        if count >= FEWEST_CALLS and elapsed > 0:
            return left * elapsed / count
    return None
