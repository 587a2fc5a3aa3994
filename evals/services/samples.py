"""Samples in the database: leases, answers, verdicts. A sample is worked on by one worker at a time, for as long as its lease holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Project
from evals.models import Run, RunStatus, Sample, SampleStatus, Score, ScoreState
from evals.services.scores import NewScore, write_scores
from evals.workers import host_name, is_dead
from providers.ledger import mark_unknown
from traces.services import ingest_spans
from traces.spans import SpanRecord

LEASE_S = 60
BATCH = 500
ANSWERED = ("output_text", "output", "duration_ms", "input_tokens", "output_tokens", "cost_usd")


@dataclass
class Claimed:
    """A leased sample with what its work needs. `graded` are grader versions that have their verdict already."""

    pk: int
    public_id: str
    status: str
    trial: int
    attempts: int
    item_pk: int
    item_key: str
    bucket: str
    content: dict[str, Any]
    source_trace_pk: int | None
    trace_pk: int | None
    given: dict[str, Any] | None = None  # the sample that came with the item
    output: dict[str, Any] | None = None  # of a sample that is answered
    graded: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Answer:
    """An answer to keep: its trace as records, or the recorded trace that is the answer."""

    sample: int
    records: list[SpanRecord] = field(default_factory=list)
    trace_pk: int | None = None
    output_text: str = ""
    output: dict[str, Any] | None = None
    duration_ms: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class Failure:
    """A sample that got no answer, and why."""

    sample: int
    error: str


@dataclass(frozen=True)
class Graded:
    """A sample whose graders have all had their word; the scores get the sample's trace when they are written."""

    sample: int
    scores: list[NewScore]


Outcome = Answer | Failure | Graded


def claim_samples(run_id: int, *, limit: int, worker: str) -> list[Claimed]:
    """Lease up to `limit` open samples of a run to one worker, those with an answer first.

    Another worker gets others; a sample whose lease ran out is open again. Calls that its last worker left open become `unknown`.
    """
    now = timezone.now()
    with transaction.atomic():
        if not Run.objects.filter(pk=run_id, status__in=RunStatus.active()).exists():
            return []
        chosen: list[int] = []
        left_over: list[int] = []
        for status in (SampleStatus.ANSWERED, SampleStatus.PENDING):
            for lease in (Q(leased_until=None), Q(leased_until__lt=now)):
                room = limit - len(chosen)
                if room <= 0:
                    break
                rows = Sample.objects.filter(lease, run=run_id, status=status).order_by("pk")
                if connection.features.has_select_for_update_skip_locked:
                    rows = rows.select_for_update(skip_locked=True)
                found = list(rows.values_list("pk", "attempts")[:room])
                chosen += [pk for pk, _ in found]
                left_over += [pk for pk, attempts in found if attempts]
        if not chosen:
            return []
        until = now + timedelta(seconds=LEASE_S)
        for start in range(0, len(chosen), BATCH):
            chunk = Sample.objects.filter(pk__in=chosen[start : start + BATCH])
            chunk.update(leased_by=worker, leased_until=until, attempts=F("attempts") + 1)
        mark_unknown(subjects=[f"sample:{pk}" for pk in left_over])
    return read_claimed(chosen, left_over)


def read_claimed(chosen: list[int], left_over: list[int]) -> list[Claimed]:
    """Return leased samples with their items and the verdicts that they have."""
    graded: dict[int, set[int]] = {}
    if left_over:
        given = Score.objects.filter(sample__in=left_over, is_current=True, criterion="").exclude(
            state=ScoreState.FAILED
        )
        for sample, version in given.values_list("sample", "grader_version"):
            graded.setdefault(sample, set()).add(version)
    rows = Sample.objects.filter(pk__in=chosen).select_related("item").order_by("pk")
    return [
        Claimed(
            pk=row.pk,
            public_id=row.public_id,
            status=row.status,
            trial=row.trial,
            attempts=row.attempts,
            item_pk=row.item_id,
            item_key=row.item.key,
            bucket=row.item.bucket,
            content=row.item.content,
            source_trace_pk=row.item.source_trace_id,
            trace_pk=row.trace_id,
            given=row.item.sample,
            output=row.output,
            graded=graded.get(row.pk, set()),
        )
        for row in rows
    ]


def renew_leases(samples: Iterable[int], *, worker: str) -> None:
    """Prolong the leases that a worker holds."""
    keys = list(samples)
    until = timezone.now() + timedelta(seconds=LEASE_S)
    for start in range(0, len(keys), BATCH):
        held = Sample.objects.filter(
            pk__in=keys[start : start + BATCH], leased_by=worker, status__in=SampleStatus.open()
        )
        held.update(leased_until=until)


def release_leases(run_id: int, *, worker: str) -> int:
    """Give back what a worker holds of a run, unfinished. Returns how many samples."""
    held = Sample.objects.filter(run=run_id, leased_by=worker, status__in=SampleStatus.open())
    return held.update(leased_by="", leased_until=None)


def release_dead_leases() -> int:
    """Free at once the leases of workers of this host that no longer run; others run out by themselves. Returns how many samples."""
    mine = Sample.objects.filter(
        run__status__in=[*RunStatus.active(), RunStatus.PAUSED],
        status__in=SampleStatus.open(),
        leased_by__startswith=f"{host_name()}:",
    )
    freed = 0
    for worker in set(mine.values_list("leased_by", flat=True)):
        if is_dead(worker):
            held = Sample.objects.filter(leased_by=worker, status__in=SampleStatus.open())
            freed += held.update(leased_by="", leased_until=None)
    return freed


@transaction.atomic
def store_outcomes(project: Project, outcomes: list[Outcome], *, worker: str) -> dict[int, int | None]:
    """Write a batch of outcomes in one transaction; returns the kept samples, each with its trace's key.

    Dropped are those whose lease was lost, or whose run was cancelled meanwhile: somebody else has the word there.
    """
    wanted = [outcome.sample for outcome in outcomes]
    held = Sample.objects.select_for_update().filter(pk__in=wanted, leased_by=worker, status__in=SampleStatus.open())
    rows = {row.pk: row for row in held.only("pk", "status", "trace_id", "run_id")}
    kept = [outcome for outcome in outcomes if outcome.sample in rows]
    now = timezone.now()
    answers = [outcome for outcome in kept if isinstance(outcome, Answer)]
    keys = store_traces(project, [record for answer in answers for record in answer.records])
    for answer in answers:
        row = rows[answer.sample]
        row.trace_id = (
            answer.trace_pk
            if answer.trace_pk is not None
            else keys.get(answer.records[0].trace_id)
            if answer.records
            else None
        )
    update_answers(answers, rows)
    for failure in (outcome for outcome in kept if isinstance(outcome, Failure)):
        Sample.objects.filter(pk=failure.sample).update(
            status=SampleStatus.FAILED, error=failure.error[:10_000], finished_at=now, leased_by="", leased_until=None
        )
    graded = [outcome for outcome in kept if isinstance(outcome, Graded)]
    scores = [replace(score, trace=rows[outcome.sample].trace_id) for outcome in graded for score in outcome.scores]
    if scores:
        write_scores(project, scores)
    done = [outcome.sample for outcome in graded]
    for start in range(0, len(done), BATCH):
        Sample.objects.filter(pk__in=done[start : start + BATCH]).update(
            status=SampleStatus.DONE, finished_at=now, leased_by="", leased_until=None
        )
    return {pk: rows[pk].trace_id for pk in rows}


def update_answers(answers: list[Answer], rows: dict[int, Sample]) -> None:
    """Write answers to their samples in one statement for all: an ORM update for each would cost more than the rest of the batch."""
    if not answers:
        return
    by_name = {field.name: field for field in Sample._meta.concrete_fields}
    fields = [by_name[name] for name in ("status", "error", "trace", *ANSWERED)]
    values = [
        [
            field.get_db_prep_save(value, connection)
            for field, value in zip(
                fields,
                (
                    SampleStatus.ANSWERED.value,
                    "",
                    rows[answer.sample].trace_id,
                    *(getattr(answer, name) for name in ANSWERED),
                ),
                strict=True,
            )
        ]
        + [answer.sample]
        for answer in answers
    ]
    columns = ", ".join(f"{connection.ops.quote_name(str(field.column))} = %s" for field in fields)
    with connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {Sample._meta.db_table} SET {columns} WHERE id = %s", values)  # noqa: S608


def store_traces(project: Project, records: list[SpanRecord]) -> dict[str, int]:
    """Write records as traces; returns the key of each trace. Raises ValueError where one is refused."""
    if not records:
        return {}
    result = ingest_spans(project, records, source="eval")
    missing = {record.trace_id for record in records} - set(result.trace_pks)
    if result.rejected or missing:
        raise ValueError(f"The trace of an answer could not be kept: {'; '.join(result.rejected) or 'no reason given'}")
    return dict(result.trace_pks)


@transaction.atomic
def finish_run(run_id: int) -> bool:
    """Mark a run as finished when none of its samples is open. True for exactly one caller.

    A call that is still open then was left by a killed worker, after its answer was stored or before another worker answered.
    """
    Run.objects.select_for_update().filter(pk=run_id).first()
    if Sample.objects.filter(run=run_id, status__in=SampleStatus.open()).exists():
        return False
    active = Run.objects.filter(pk=run_id, status__in=RunStatus.active())
    if not active.update(status=RunStatus.FINISHED, finished_at=timezone.now()):
        return False
    mark_unknown(job=f"run:{run_id}")
    return True
