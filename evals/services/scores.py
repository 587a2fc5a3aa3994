"""Scores: never overwritten, the latest attempt is current, and the same word again adds nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction

from accounts.models import Project
from evals.graders.base import WORD_FIELDS, GradeResult, Word
from evals.models import GraderVersion, RaterKind, Sample, Score
from traces.models import Trace

BATCH = 400
ATTEMPTS = 3
SAID = ("answered_by", "input_digest", "state", "value", "label", "passed", "explanation", "evidence", "reason")

Key = tuple[str, int, str, str, int]


@dataclass(frozen=True)
class NewScore(Word):
    """One rater's word on one target: a sample where one is given, else a trace."""

    grader_version: GraderVersion
    trace: Trace | int | None = None  # the row or its key
    sample: Sample | int | None = None
    run: int | None = None
    rater_kind: str = RaterKind.IMPORTED
    rater: str = field(default="imported", kw_only=True)
    repeat: int = 1

    @property
    def target(self) -> str:
        sample = self.sample.pk if isinstance(self.sample, Sample) else self.sample
        if sample is not None:
            return f"sample:{sample}"
        return f"trace:{self.trace.pk if isinstance(self.trace, Trace) else self.trace}"

    @property
    def key(self) -> Key:
        return self.target, self.grader_version.pk, self.criterion, self.rater, self.repeat


def scores_of(
    result: GradeResult,
    version: GraderVersion,
    *,
    is_judge: bool,
    trace: int | None = None,
    sample: int | None = None,
    run: int | None = None,
    repeat: int = 1,
) -> list[NewScore]:
    """Return a grader's result as scores: the overall one, then its parts."""
    kind = RaterKind.JUDGE if is_judge else RaterKind.CODE
    target: dict[str, Any] = {"trace": trace, "sample": sample, "run": run, "repeat": repeat}
    return [
        NewScore(grader_version=version, rater_kind=kind, **target, **word_of(part))
        for part in (result, *result.criteria)
    ]


def word_of(part: GradeResult) -> dict[str, Any]:
    """Return what a grader said as the fields of a score; names that no column holds are cut."""
    word = {name: getattr(part, name) for name in WORD_FIELDS}
    return word | {"rater": part.rater[:200], "answered_by": part.answered_by[:200]}


def record_scores(project: Project, scores: Iterable[NewScore]) -> int:
    """Write scores and make them current; returns how many rows were added.

    A score that says what the current one says is not added again. Of two in one call for one key the later counts.
    """
    latest = {score.key: score for score in scores}
    keys = list(latest)
    added = 0
    for start in range(0, len(keys), BATCH):
        chunk = [latest[key] for key in keys[start : start + BATCH]]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with transaction.atomic():
                    added += write_scores(project, chunk)
                break
            except IntegrityError:  # another process scored one of them meanwhile
                if attempt == ATTEMPTS:
                    raise
    return added


def write_scores(project: Project, scores: list[NewScore]) -> int:
    """Write scores within the caller's transaction; see `record_scores`."""
    targets = {score.target for score in scores}
    current = {
        (row.target, row.grader_version_id, row.criterion, row.rater, row.repeat): row
        for row in Score.objects.select_for_update().filter(
            project=project,
            target__in=targets,
            grader_version__in={score.grader_version.pk for score in scores},
            is_current=True,
        )
    }
    fresh = [score for score in scores if score.key not in current or differs(current[score.key], score)]
    replaced = [current[score.key].pk for score in fresh if score.key in current]
    if replaced:
        Score.objects.filter(pk__in=replaced).update(is_current=False)
    Score.objects.bulk_create(
        [row_of(project, score, current[score.key].attempt + 1 if score.key in current else 1) for score in fresh]
    )
    return len(fresh)


def differs(row: Score, score: NewScore) -> bool:
    """Say whether a score says something else than the row that is current."""
    return any(getattr(row, name) != getattr(score, name) for name in SAID)


def row_of(project: Project, score: NewScore, attempt: int) -> Score:
    return Score(
        project=project,
        trace_id=score.trace.pk if isinstance(score.trace, Trace) else score.trace,
        sample_id=score.sample.pk if isinstance(score.sample, Sample) else score.sample,
        run_id=score.run,
        target=score.target,
        grader_version=score.grader_version,
        rater_kind=score.rater_kind,
        repeat=score.repeat,
        attempt=attempt,
        **{name: getattr(score, name) for name in WORD_FIELDS},
    )
