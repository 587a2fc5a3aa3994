"""What hangs on traces in this room, for their deletion: samples and items stay, a comparison keeps its scores."""

from collections.abc import Sequence
from typing import Any

from django.db.models import BigIntegerField, QuerySet
from django.db.models.functions import Coalesce

from evals.models import Item, Sample, Score
from traces.deletion import Dependents
from traces.models import Trace


def scores_by(way: str, pks: Any, *, of_samples: bool) -> QuerySet[Score]:
    """Return the scores that one column leads to, by that column's index: those of a comparison's samples, or those of recorded runs.

    An OR over several ways would read every score, and so may an index of the many scores without a sample: the sample is an expression.
    """
    sample = Coalesce("sample_id", 0, output_field=BigIntegerField())
    found = Score.objects.filter(**{way: pks}).order_by().alias(sample_or_none=sample)
    return found.exclude(sample_or_none=0) if of_samples else found.filter(sample_or_none=0)


def count_scores(traces: QuerySet[Trace], *, of_samples: bool) -> int:
    """Count the current scores that have one of these traces, or a span of one, as their target."""
    pks = traces.values("pk")
    scores = [scores_by(way, pks, of_samples=of_samples) for way in ("trace__in", "other_trace__in", "span__trace__in")]
    ways = [found.filter(is_current=True).values("pk") for found in scores]
    return ways[0].union(*ways[1:]).count()


def count(traces: QuerySet[Trace]) -> list[tuple[str, int, str]]:
    """Say what hangs on some traces, how many, and what becomes of it."""
    pks = traces.values("pk")
    return [
        ("score of a recorded run", count_scores(traces, of_samples=False), "deleted"),
        ("score of a comparison", count_scores(traces, of_samples=True), "kept, without a link to its trace"),
        ("sample of a comparison", Sample.objects.filter(trace__in=pks).count(), "kept, with its answer"),
        ("dataset item", Item.objects.filter(source_trace__in=pks).count(), "kept"),
    ]


def release(trace_pks: Sequence[int]) -> None:
    """Let go of traces that are about to be deleted. A score of a pair keeps the trace that stays."""
    pks = list(trace_pks)
    for way in ("trace__in", "other_trace__in"):
        scores_by(way, pks, of_samples=False).delete()
    Score.objects.filter(trace__in=pks).update(trace=None, span=None)
    Score.objects.filter(other_trace__in=pks).update(other_trace=None)
    Sample.objects.filter(trace__in=pks).update(trace=None)
    Item.objects.filter(source_trace__in=pks).update(source_trace=None)


def release_spans(span_pks: Sequence[int]) -> None:
    """Let go of spans that are about to be deleted."""
    pks = list(span_pks)
    scores_by("span__in", pks, of_samples=False).delete()
    Score.objects.filter(span__in=pks).update(span=None)


DEPENDENTS = Dependents(count, release, release_spans)
