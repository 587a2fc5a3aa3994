"""What hangs on traces in this room, for their deletion: samples and items stay, a comparison keeps its scores."""

from collections.abc import Sequence

from django.db.models import Q, QuerySet

from evals.models import Item, Sample, Score
from traces.deletion import Dependents
from traces.models import Trace


def on_traces(pks: object) -> Q:
    """Return the scores that have one of these traces, or a span of one, as their target."""
    return Q(trace__in=pks) | Q(other_trace__in=pks) | Q(span__trace__in=pks)


def count(traces: QuerySet[Trace]) -> list[tuple[str, int, str]]:
    """Say what hangs on some traces, how many, and what becomes of it."""
    pks = traces.values("pk")
    scores = Score.objects.filter(on_traces(pks), is_current=True)
    return [
        ("score of a recorded run", scores.filter(sample=None).count(), "deleted"),
        ("score of a comparison", scores.exclude(sample=None).count(), "kept, without a link to its trace"),
        ("sample of a comparison", Sample.objects.filter(trace__in=pks).count(), "kept, with its answer"),
        ("dataset item", Item.objects.filter(source_trace__in=pks).count(), "kept"),
    ]


def release(trace_pks: Sequence[int]) -> None:
    """Let go of traces that are about to be deleted."""
    pks = list(trace_pks)
    Score.objects.filter(on_traces(pks), sample=None).delete()
    Score.objects.filter(on_traces(pks)).update(trace=None, span=None, other_trace=None)
    Sample.objects.filter(trace__in=pks).update(trace=None)
    Item.objects.filter(source_trace__in=pks).update(source_trace=None)


DEPENDENTS = Dependents(count, release)
