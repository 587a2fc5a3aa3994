"""Reads of score rows: for programs, for a trace's page, for the traces list, and sample by sample for files."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from accounts.models import Project
from evals.models import Comparison, Run, Sample, Score
from evals.queries.report import letter_of
from providers.registry import is_scripted, shown_model
from traces.models import Trace

CHUNK = 500
SHOWN_IN_LIST = 3  # scores of a trace in the traces list


def score_document(score: Score) -> dict[str, Any]:
    """Return a score as JSON. Needs the grader, trace, span, sample and run loaded beside it."""
    version = score.grader_version
    return {
        "id": score.pk,
        "grader": version.grader.name,
        "kind": version.grader.kind,
        "grader_version": version.number,
        "criterion": score.criterion or None,
        "rater_kind": score.rater_kind,
        "rater": score.rater,
        "answered_by": score.answered_by or None,
        "repeat": score.repeat,
        "state": score.state,
        "value": score.value,
        "scale": [version.scale_min, version.scale_max],
        "label": score.label or None,
        "passed": score.passed,
        "explanation": score.explanation,
        "evidence": score.evidence,
        "reason": score.reason or None,
        "trace_id": score.trace.trace_id if score.trace else None,
        "span_id": score.span.span_id if score.span else None,
        "sample": score.sample.public_id if score.sample else None,
        "run": score.run.public_id if score.run else None,
        "duration_ms": score.duration_ms,
        "cost_usd": score.cost_usd,
        "created_at": score.created_at.isoformat(),
    }


def with_names(scores: QuerySet[Score]) -> QuerySet[Score]:
    """Load beside each score what `score_document` reads."""
    return scores.select_related("grader_version__grader", "trace", "span", "sample", "run")


def score_rows(
    project: Project, *, trace: str = "", run: str = "", grader: str = "", is_current: bool | None = True
) -> QuerySet[Score]:
    """Return the project's scores, narrowed to a trace id, a run (public id or number), a grader's name."""
    scores = Score.objects.filter(project=project)
    if is_current is not None:
        scores = scores.filter(is_current=is_current)
    if trace:
        scores = scores.filter(trace__trace_id=trace.lower()) | scores.filter(trace__trace_id=trace)
    if run:
        by_number = Q(run=int(run)) if run.isdecimal() and len(run) < 18 else Q(pk=None)
        scores = scores.filter(Q(run__public_id=run) | by_number)
    if grader:
        scores = scores.filter(grader_version__grader__name=grader)
    return with_names(scores).order_by("pk")


def trace_score_documents(trace: Trace) -> list[dict[str, Any]]:
    """Return the current scores of a trace: the `scores` part of its document."""
    return [
        score_document(score) for score in with_names(Score.objects.filter(trace=trace, is_current=True)).order_by("pk")
    ]


# A trace's page and the traces list ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A score with its place on its scale, for the pages. `parts` are a rubric's criteria, `where` says which comparison it is of."""

    score: Score
    name: str
    low: float
    high: float
    is_scripted: bool
    where: str
    parts: list["Shown"]

    @property
    def rater(self) -> str:
        return shown_model(self.score.rater, self.score.answered_by)


def shown(score: Score, parts: Iterable[Score] = ()) -> Shown:
    version = score.grader_version
    criteria = {}
    if version.rubric_version is not None and score.criterion == "":
        criteria = {criterion.key: criterion for criterion in version.rubric_version.criteria.all()}
    shown_parts = []
    for part in parts:
        criterion = criteria.get(part.criterion)
        levels = [level.value for level in criterion.levels.all()] if criterion else []
        low, high = (min(levels), max(levels)) if levels else (version.scale_min, version.scale_max)
        name = criterion.name if criterion else part.criterion
        shown_parts.append(Shown(part, name, low, high, False, "", []))
    run = score.run
    where = f"{run.comparison.name}, {run.name}" if run is not None and run.comparison is not None else ""
    scripted = is_scripted(score.answered_by or score.rater)
    return Shown(score, version.grader.name, version.scale_min, version.scale_max, scripted, where, shown_parts)


def trace_scores(trace: Trace, *, span_id: str = "") -> list[Shown]:
    """Return the current scores of a trace, each with its rubric's parts; of one span those given to it or quoting from it."""
    rows = Score.objects.filter(trace=trace, is_current=True).select_related(
        "grader_version__grader", "grader_version__rubric_version", "run__comparison", "sample", "span"
    )
    scores = list(rows.prefetch_related("grader_version__rubric_version__criteria__levels").order_by("pk"))
    parts: dict[tuple[str, int, str, int], list[Score]] = defaultdict(list)
    for score in scores:
        if score.criterion:
            parts[score.target, score.grader_version_id, score.rater, score.repeat].append(score)
    return [
        shown(score, parts[score.target, score.grader_version_id, score.rater, score.repeat])
        for score in scores
        if not score.criterion and (not span_id or is_about(score, span_id))
    ]


def is_about(score: Score, span_id: str) -> bool:
    """Say whether a score was given to a span, or quotes from it."""
    given = score.span is not None and score.span.span_id == span_id
    return given or any(isinstance(quote, dict) and quote.get("span_id") == span_id for quote in score.evidence)


@dataclass(frozen=True)
class ListScores:
    """The first overall scores of a trace, and how many more there are."""

    trace_pk: int
    scores: list[Shown]
    more: int


def list_scores(project: Project, traces: Sequence[int]) -> list[ListScores]:
    """Return the scores to show in the traces list, for each trace that was asked for: two queries."""
    rows = Score.objects.filter(project=project, trace__in=traces, is_current=True, criterion="", span=None)
    found: dict[int, dict[int, Score]] = defaultdict(dict)
    for score in rows.select_related("grader_version__grader", "run__comparison").order_by("pk"):
        found[score.trace_id or 0][score.grader_version.grader_id] = score  # of one grader the latest word
    return [
        ListScores(
            pk,
            [list_shown(score) for score in list(found[pk].values())[:SHOWN_IN_LIST]],
            max(0, len(found[pk]) - SHOWN_IN_LIST),
        )
        for pk in traces
    ]


def list_shown(score: Score) -> Shown:
    version = score.grader_version
    return Shown(
        score,
        version.grader.name,
        version.scale_min,
        version.scale_max,
        is_scripted(score.answered_by or score.rater),
        "",
        [],
    )


# Sample by sample ------------------------------------------------------------------------------------------------


def sample_documents(
    comparison: Comparison, *, after: int = 0, limit: int | None = None, with_content: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield every sample of a comparison as JSON, in order of their keys, each with all its current scores."""
    letters = {
        pk: letter_of(position)
        for position, pk in enumerate(
            Run.objects.filter(comparison=comparison).order_by("position", "pk").values_list("pk", flat=True)
        )
    }
    left = limit
    while left is None or left > 0:
        size = CHUNK if left is None else min(CHUNK, left)
        rows = list(
            Sample.objects.filter(run__in=list(letters), pk__gt=after)
            .select_related("run__candidate", "item", "trace")
            .order_by("pk")[:size]
        )
        if not rows:
            return
        scores: dict[int, list[Score]] = defaultdict(list)
        for score in with_names(Score.objects.filter(sample__in=rows, is_current=True)).order_by("pk"):
            scores[score.sample_id or 0].append(score)
        for row in rows:
            yield sample_document(row, letters[row.run_id], scores[row.pk], with_content=with_content)
        after = rows[-1].pk
        left = None if left is None else left - len(rows)


def sample_document(sample: Sample, letter: str, scores: list[Score], *, with_content: bool) -> dict[str, Any]:
    candidate = sample.run.candidate
    item: dict[str, Any] = {"key": sample.item.key, "bucket": sample.item.bucket or None}
    if with_content:
        item["content"] = sample.item.content
    return {
        "id": sample.pk,
        "public_id": sample.public_id,
        "run": sample.run.public_id,
        "candidate": {
            "key": letter,
            "label": candidate.label,
            "kind": candidate.kind,
            "model": candidate.model or None,
            "answered_by": sample.run.aliases.get(candidate.model),
        },
        "item": item,
        "trial": sample.trial,
        "status": sample.status,
        "error": sample.error or None,
        "output_text": sample.output_text,
        "output": sample.output,
        "trace_id": sample.trace.trace_id if sample.trace else None,
        "duration_ms": sample.duration_ms,
        "input_tokens": sample.input_tokens,
        "output_tokens": sample.output_tokens,
        "cost_usd": sample.cost_usd,
        "finished_at": sample.finished_at.isoformat() if sample.finished_at else None,
        "scores": [score_document(score) for score in scores],
    }
