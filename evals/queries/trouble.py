"""What failed in a comparison, and why: the reasons counted, the most common first, each with a sample to look at."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Min

from evals.models import Comparison, Sample, SampleStatus, Score, ScoreState

MAX_REASONS = 3
MAX_TEXTS = 2_000  # different texts that are read, the most common ones
VARYING = re.compile(r"\b(?=\w*\d)[\w.-]+")  # numbers, ids and what holds digits


@dataclass(frozen=True)
class Reason:
    """Why samples failed: one of the texts, how many have it but for numbers and ids, and the first of them."""

    text: str
    count: int
    item_pk: int
    trial: int


@dataclass(frozen=True)
class Trouble:
    """`failed` samples have no answer; on `broken` ones, which have one, a grader failed. `more` reasons are not listed."""

    failed: int
    broken: int
    total: int
    reasons: list[Reason]
    more: int

    @property
    def is_all(self) -> bool:
        return self.failed + self.broken >= self.total

    @property
    def headline(self) -> str:
        """Say how many failed: 6 of 40 samples failed."""
        parts = []
        if self.failed:
            parts.append(f"{of_all(self.failed, self.total)} failed and {has(self.failed)} no answer")
        if self.broken:
            said = of_all(self.broken, self.total) if not self.failed else f"{self.broken:,} more"
            parts.append(f"on {said} a grader failed")
        text = "; ".join(parts)
        return f"{text[:1].upper()}{text[1:]}."


def has(count: int) -> str:
    return "has" if count == 1 else "have"


def of_all(count: int, total: int) -> str:
    """Say a count of samples: all 6 samples, 2 of 6 samples, the only sample."""
    if count == total:
        return "the only sample" if total == 1 else f"all {total:,} samples"
    return f"{count:,} of {total:,} samples"


def find_trouble(comparison: Comparison, *, total: int) -> Trouble | None:
    """Return what failed, or None where nothing did."""
    failed = Sample.objects.filter(run__comparison=comparison, status=SampleStatus.FAILED)
    broken = Score.objects.filter(
        run__comparison=comparison,
        is_current=True,
        criterion="",
        state=ScoreState.FAILED,
        sample__status=SampleStatus.DONE,
    )
    failed_count, broken_count = failed.count(), broken.values("sample").distinct().count()
    if not failed_count and not broken_count:
        return None
    errors = failed.order_by().values_list("error").annotate(count=Count("pk"), first=Min("pk")).order_by("-count")
    graders = (
        broken.order_by()
        .values_list("reason", "grader_version__grader__name")
        .annotate(count=Count("pk"), first=Min("sample"))
        .order_by("-count")
    )
    found: dict[str, tuple[str, int, int]] = {}
    add(found, ((text or "No reason was given.", count, first) for text, count, first in errors[:MAX_TEXTS]))
    add(found, ((f"{name}: {text}", count, first) for text, name, count, first in graders[:MAX_TEXTS]))
    ranked = sorted(found.values(), key=lambda entry: -entry[1])
    places = {
        pk: (item, trial)
        for pk, item, trial in Sample.objects.filter(
            pk__in=[first for _, _, first in ranked[:MAX_REASONS]]
        ).values_list("pk", "item", "trial")
    }
    reasons = [Reason(text, count, *places[first]) for text, count, first in ranked[:MAX_REASONS]]
    return Trouble(failed_count, broken_count, total, reasons, max(0, len(ranked) - MAX_REASONS))


def add(found: dict[str, tuple[str, int, int]], rows: Iterable[tuple[str, int, int]]) -> None:
    """Count texts that differ in numbers and ids only as one, under the most common of them."""
    for text, count, first in rows:
        key = VARYING.sub("#", text)
        shown, before, at = found.get(key, (text, 0, first))
        found[key] = (shown, before + count, min(at, first))
