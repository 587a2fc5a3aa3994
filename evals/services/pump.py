"""The engine: one pump per run and worker keeps the provider's limit of calls in flight until nothing is open.

Leases, answers and verdicts are rows (`samples.py`); the pump only moves them on. A kill at any moment costs leases, never a result:
an answer is stored before it is graded, and verdicts in the same transaction as the sample's last state.

This is a class because a run's loop has state that its coroutines share.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.utils import timezone

from accounts.models import Project
from evals.candidates import Asked, BadItem, ask_for, records_of
from evals.chat import storable
from evals.given import sample_from_given
from evals.graders.base import (
    Answered,
    Embedded,
    Grader,
    GradeResult,
    JudgeUnavailable,
    SampleInput,
    Surroundings,
    skipped,
)
from evals.grading import sample_from_records, sample_from_trace, with_answer
from evals.models import (
    Candidate,
    CandidateKind,
    Comparison,
    EvalGrader,
    GraderVersion,
    Run,
    RunStatus,
    SampleStatus,
    Score,
    ScoreState,
)
from evals.queries.progress import spending
from evals.services.graders import ready_grader
from evals.services.samples import (
    Answer,
    Claimed,
    Failure,
    Graded,
    Outcome,
    claim_samples,
    finish_run,
    release_leases,
    renew_leases,
    store_outcomes,
)
from evals.services.scores import scores_of
from providers.client import Answer as ModelAnswer
from providers.client import Embedding, ModelClient, ProviderError
from providers.registry import aliases_of, resolve
from traces.models import Trace

log = logging.getLogger(__name__)
T = TypeVar("T")

GATHER_S = 0.05  # outcomes are gathered this long before they are written together
LOOK_S = 1.0  # how often the run's state and its spending are read
BOOK_LATE_S = 2.0  # an ended call is in the book by then
RENEW_S = 15.0  # how often leases are prolonged
WRITE_ATTEMPTS = 4  # of a batch, while the database is busy or away
MAX_BATCH = 200  # outcomes in one transaction
FREE_CONCURRENCY = 32  # samples at once where no model answers them
MAX_IN_WORK = 400

CEILING = "ceiling"

pump_numbers = itertools.count(1)


class Client(Protocol):
    """What the pump needs of a model client."""

    async def chat(
        self,
        *,
        model: str,
        messages: list[Any],
        sampling: dict[str, Any] | None = None,
        tools: list[Any] | None = None,
        response_format: dict[str, Any] | None = None,
        purpose: str = "generate",
        job: str = "",
        subject: str = "",
    ) -> ModelAnswer: ...

    async def embed(
        self, *, model: str, texts: list[str], purpose: str = "judge", job: str = "", subject: str = ""
    ) -> Embedding: ...

    async def aclose(self) -> None: ...


class DatabaseThread:
    """A thread with a database connection of its own, for a loop that must not wait."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="pump-database")

    async def __call__(self, work: Callable[..., T], *args: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, partial(work, *args, **options))

    async def close(self) -> None:
        await self(connections.close_all)
        self.executor.shutdown(wait=False)


@dataclass(frozen=True)
class GraderInUse:
    """A grader of the run, ready to score."""

    version: GraderVersion
    grader: Grader
    is_gate: bool


@dataclass
class Job:
    """A run as the pump needs it: plain values, read once."""

    run: Run
    project: Project
    candidate: Candidate
    comparison: Comparison | None
    graders: list[GraderInUse]
    concurrency: int
    aliases: dict[str, str]  # old names that its candidate or its judges have, each with the model that answers


@dataclass
class Halt:
    """Why the pump takes no more samples: `cancel` also drops those in work."""

    reason: str = ""
    cancel: bool = False

    def __bool__(self) -> bool:
        return bool(self.reason)


async def pump_run(
    run_id: int, *, worker: str, client: Client | None = None, stop: threading.Event | None = None, reuse: bool = True
) -> None:
    """Work on a run until no sample can be claimed, or it is paused, cancelled or over its ceiling; then mark it as finished.

    Several workers may pump one run: each sample is leased to one of them. `stop` asks for an orderly end: what is in flight is
    stored, the rest given back. `reuse`: a judge's verdict on the same input, by the same grader version, is taken again.
    """
    database = DatabaseThread()
    try:
        job = await database(load_job, run_id)
        if job is None:
            return
        own_client: Client = client or ModelClient(job.project, worker=worker)
        try:
            may_reuse = reuse and not job.run.data_source  # who runs an eval by /v1 is answered anew
            pump = Pump(job, f"{worker}#{next(pump_numbers)}", own_client, database, stop, reuse=may_reuse)
            await pump.run()
        finally:
            if client is None:
                await own_client.aclose()
                await sync_to_async(connections.close_all)()  # of the thread in which the client keeps its book
    finally:
        await database.close()


def load_job(run_id: int) -> Job | None:
    """Return an active run ready to be worked on and mark it as running; None where it is not active.

    A run whose grader cannot be set up, or whose model no provider has, fails as a whole with the reason.
    """
    rows = Run.objects.select_related("project", "candidate", "comparison__dataset_revision")
    run = rows.filter(pk=run_id, status__in=RunStatus.active()).first()
    if run is None:
        return None
    Run.objects.filter(pk=run_id, status=RunStatus.QUEUED).update(status=RunStatus.RUNNING)
    Run.objects.filter(pk=run_id, started_at=None).update(started_at=timezone.now())
    try:
        graders = load_graders(run)
        concurrency = FREE_CONCURRENCY
        if run.candidate.kind == CandidateKind.MODEL:
            concurrency = resolve(run.project, run.candidate.model).concurrency
    except (ValueError, LookupError, ProviderError) as error:
        Run.objects.filter(pk=run_id, status__in=RunStatus.active()).update(
            status=RunStatus.FAILED, status_reason=str(error), finished_at=timezone.now()
        )
        return None
    aliases = aliases_for(run, graders)
    if not aliases.items() <= run.aliases.items():
        Run.objects.filter(pk=run_id).update(aliases={**run.aliases, **aliases})
    return Job(run, run.project, run.candidate, run.comparison, graders, max(1, concurrency), aliases)


def aliases_for(run: Run, graders: list[GraderInUse]) -> dict[str, str]:
    """Return the old names among the models that a run asks, each with the model that answers in its place."""
    known = aliases_of(run.project)
    asked = {run.candidate.model, *(model for entry in graders for model in entry.grader.models)}
    return {name: model for name, model in known.items() if name in asked}


def load_graders(run: Run) -> list[GraderInUse]:
    """Return the run's graders in the order they work: gates first, code before judges, then as the eval has them."""
    rows = EvalGrader.objects.filter(eval=run.eval_id).select_related(
        "grader_version__grader", "grader_version__rubric_version"
    )
    graders = [GraderInUse(row.grader_version, ready_grader(row.grader_version), row.is_gate) for row in rows]
    return sorted(graders, key=lambda entry: (bool(entry.grader.models), not entry.is_gate))


class Pump:
    """One run, one worker."""

    def __init__(
        self,
        job: Job,
        worker: str,
        client: Client,
        database: DatabaseThread,
        stop: threading.Event | None,
        *,
        reuse: bool,
    ) -> None:
        self.job, self.worker, self.client, self.database, self.stop, self.reuse = (
            job,
            worker,
            client,
            database,
            stop,
            reuse,
        )
        self.in_work: dict[int, asyncio.Task[None]] = {}
        self.halt = Halt()
        self.generating = asyncio.Semaphore(job.concurrency)
        self.room = min(MAX_IN_WORK, 4 * job.concurrency + 16)
        self.waiting: list[tuple[Outcome, asyncio.Future[int | None]]] = []
        self.has_outcomes = asyncio.Event()
        self.ledger = spending_of(job)
        self.asked_judges: dict[tuple[int, str], asyncio.Future[list[GradeResult] | None]] = {}

    async def run(self) -> None:
        """Move samples on until none can be claimed."""
        await self.look()
        minders = [asyncio.create_task(work()) for work in (self.write_outcomes, self.keep_looking)]
        try:
            await self.move_samples(minders)
        finally:
            for task in (*self.in_work.values(), *minders):
                task.cancel()
            await asyncio.gather(*self.in_work.values(), *minders, return_exceptions=True)
            await self.database(release_leases, self.job.run.pk, worker=self.worker)
        if not self.halt:
            await self.database(finish_run, self.job.run.pk)

    async def move_samples(self, minders: list[asyncio.Task[None]]) -> None:
        nothing_left = False
        while True:
            if not self.halt and not nothing_left and len(self.in_work) <= self.room // 2:
                claimed = await self.database(
                    claim_samples, self.job.run.pk, limit=self.room - len(self.in_work), worker=self.worker
                )
                nothing_left = not claimed
                for sample in claimed:
                    self.in_work[sample.pk] = asyncio.create_task(self.move(sample))
            if not self.in_work:
                return
            done, _ = await asyncio.wait([*self.in_work.values(), *minders], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    task.result()  # a broken minder or database ends the pump; leases then run out
            for pk in [pk for pk, task in self.in_work.items() if task.done()]:
                del self.in_work[pk]

    # One sample ---------------------------------------------------------------------------------------------------

    async def move(self, sample: Claimed) -> None:
        """Move one sample on. What nobody foresaw fails this sample with its message, and no other."""
        try:
            await self.answer_and_grade(sample)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log.exception("Sample %s broke", sample.pk)
            await self.store(
                Failure(sample.pk, f"This sample broke the runner: {type(error).__name__}: {str(error)[:500]}")
            )

    async def answer_and_grade(self, sample: Claimed) -> None:
        """Answer a sample, store the answer, grade it, store the verdicts."""
        trace_pk, shown, output = sample.trace_pk, None, sample.output
        if sample.status == SampleStatus.PENDING:
            async with self.generating:
                if self.halt:
                    return
                answer = await self.answer(sample)
            if answer is None:
                return
            if isinstance(answer, Answer) and answer.records:
                shown = sample_from_records(answer.records)
            kept, trace_pk = await self.store(answer)
            if not kept or isinstance(answer, Failure):
                return
            output = answer.output
        if self.halt.cancel:
            return
        shown = await self.shown_to_graders(sample, shown, trace_pk, output)
        scores = []
        results = await self.grade(sample, shown)
        if results is None:
            return
        for entry, result in results:
            scores += scores_of(
                result,
                entry.version,
                is_judge=entry.grader.is_judge,
                trace=trace_pk,
                sample=sample.pk,
                run=self.job.run.pk,
            )
        await self.store(Graded(sample.pk, scores))

    async def shown_to_graders(
        self, sample: Claimed, shown: SampleInput | None, trace_pk: int | None, output: dict[str, Any] | None
    ) -> SampleInput:
        """Return what graders see: the answer's trace; or the sample that came with the row, over the trace that it names."""
        if self.job.candidate.kind != CandidateKind.GIVEN:
            found = shown if shown is not None else await self.database(read_sample, trace_pk)
            if self.job.candidate.kind != CandidateKind.MODEL:
                return found
            return with_answer(found, output, refusal_is_text=not self.job.run.data_source)
        recorded = None
        if sample.source_trace_pk is not None:
            recorded = await self.database(read_sample, sample.source_trace_pk)
        return sample_from_given(sample.given, recorded)

    async def answer(self, sample: Claimed) -> Answer | Failure | None:
        """Return the candidate's answer or why there is none; None where the ceiling forbids to ask."""
        candidate = self.job.candidate
        try:
            if candidate.kind in (CandidateKind.RECORDED, CandidateKind.GIVEN):  # looks for the recorded trace
                asked = await self.database(
                    ask_for, candidate, sample.content, sample.source_trace_pk, given=sample.given
                )
            else:
                asked = ask_for(
                    candidate,
                    sample.content,
                    sample.source_trace_pk,
                    trial=sample.trial,
                    answering=self.job.aliases.get(candidate.model, ""),
                )
        except BadItem as problem:
            return Failure(sample.pk, str(problem))
        if asked.recorded_trace_pk is not None:
            return await self.database(recorded_answer, sample.pk, asked.recorded_trace_pk)
        started_ns = time.time_ns()
        reply: Any = None
        if asked.messages is not None:
            if not await self.may_spend():
                return None
            try:
                reply = await self.client.chat(
                    model=candidate.model,
                    messages=asked.messages,
                    sampling=asked.sampling,
                    tools=asked.tools or None,
                    response_format=asked.response_format,
                    purpose="generate",
                    job=self.ledger.job,
                    subject=f"sample:{sample.pk}",
                )
            except ProviderError as error:
                return Failure(sample.pk, str(error))
            self.ledger.add(reply.cost_usd)
        return self.answer_of(sample, asked, reply, started_ns)

    def answer_of(self, sample: Claimed, asked: Asked, reply: Any, started_ns: int) -> Answer:
        """Return a reply, or the given output where nobody was asked, as an answer with its trace."""
        message = asked.output or {"role": "assistant", "content": asked.output_text}
        if reply is not None:
            message = storable(reply.message)
            if not message.get("content") and reply.text:  # a refusal is an answer too
                message["content"] = storable(reply.text)
        records = []
        if asked.output is None or asked.thread or asked.output_text or message.get("tool_calls"):
            records = records_of(
                sample=sample,
                run=self.job.run,
                candidate=self.job.candidate,
                asked=asked,
                message=message,
                reply=reply,
                started_ns=started_ns,
            )
        usage = reply.usage if reply is not None else {}
        if reply is not None:
            cached = usage.get("cached_input_tokens")
            message = {**message, "finish_reason": reply.finish_reason, "model": reply.model, "cached_tokens": cached}
        return Answer(
            sample=sample.pk,
            records=records,
            output_text=storable(reply.text or "") if reply is not None else asked.output_text,
            output=message,
            duration_ms=reply.duration_ms if reply is not None else 0.0,
            input_tokens=usage.get("input_tokens"),
            output_tokens=usage.get("output_tokens"),
            cost_usd=reply.cost_usd if reply is not None else 0.0,
        )

    async def grade(self, sample: Claimed, shown: SampleInput) -> list[tuple[GraderInUse, GradeResult]] | None:
        """Return each grader's word, code before judges; a failed gate spares the judges. None where the ceiling forbids to ask."""
        results: list[tuple[GraderInUse, GradeResult]] = []
        spared_by = ""
        for entry in self.job.graders:
            if entry.version.pk in sample.graded:
                continue
            if spared_by and entry.grader.models:
                word = skipped(f"Not asked: the gate “{spared_by}” did not pass.", rater=entry.grader.rater)
            else:
                if entry.grader.models and not await self.may_spend():
                    return None
                word = await self.one_word(entry, sample, shown)
            results.append((entry, with_answering(word, self.job.aliases)))
            if entry.is_gate and word.passed is not True:
                spared_by = spared_by or entry.version.grader.name
        return results

    async def one_word(self, entry: GraderInUse, sample: Claimed, shown: SampleInput) -> GradeResult:
        """Return one grader's result. Two samples with the same input share one question to the judge."""
        if not entry.grader.models:
            return storable_result(await entry.grader.grade(shown, sample.content, Surroundings()))
        claimed: list[tuple[int, str]] = []

        async def find_earlier(digest: str) -> list[GradeResult] | None:
            key = (entry.version.pk, digest)
            while (asked := self.asked_judges.get(key)) is not None:
                found = await asyncio.shield(asked)
                if found is not None:
                    return found
                if self.asked_judges.get(key) is asked:
                    del self.asked_judges[key]
            self.asked_judges[key] = asyncio.get_running_loop().create_future()
            claimed.append(key)
            rater = entry.grader.rater
            return await self.database(
                earlier_verdict,
                self.job.project.pk,
                entry.version.pk,
                rater,
                digest,
                answered_by=self.job.aliases.get(rater, ""),
            )

        surroundings = Surroundings(
            ask=partial(self.ask_judge, sample),
            embed=partial(self.embed, sample),
            find_earlier=find_earlier if self.reuse and entry.grader.is_judge else None,
        )
        result: GradeResult | None = None
        try:
            result = storable_result(await entry.grader.grade(shown, sample.content, surroundings))
            return result
        finally:
            good = [result, *result.criteria] if result is not None and result.state == "ok" else None
            for key in claimed:
                self.asked_judges[key].set_result(good)

    async def ask_judge(
        self,
        sample: Claimed,
        *,
        model: str,
        messages: list[dict[str, Any]],
        sampling: dict[str, Any],
        response_format: Any,
    ) -> Answered:
        """Ask the judge by the client. Raises JudgeUnavailable."""
        try:
            reply = await self.client.chat(
                model=model,
                messages=messages,
                sampling=sampling,
                tools=None,
                response_format=response_format,
                purpose="judge",
                job=self.ledger.job,
                subject=f"sample:{sample.pk}",
            )
        except ProviderError as error:
            raise JudgeUnavailable(str(error)) from None
        self.ledger.add(reply.cost_usd)
        return answered(reply)

    async def embed(self, sample: Claimed, *, model: str, texts: list[str]) -> Embedded:
        """Ask an embedding model by the client. Raises JudgeUnavailable."""
        found = await embedded(self.client, model, texts, job=self.ledger.job, subject=f"sample:{sample.pk}")
        self.ledger.add(found.cost_usd)
        return found

    # Writing ------------------------------------------------------------------------------------------------------

    async def store(self, outcome: Outcome) -> tuple[bool, int | None]:
        """Write an outcome together with others; returns whether it was kept, and the sample's trace."""
        written: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.waiting.append((outcome, written))
        self.has_outcomes.set()
        try:
            return True, await written
        except LeaseLost:
            return False, None

    async def write_outcomes(self) -> None:
        """Write what waits, all of it in one transaction, again and again."""
        while True:
            await self.has_outcomes.wait()
            await asyncio.sleep(GATHER_S)
            batch, self.waiting = self.waiting[:MAX_BATCH], self.waiting[MAX_BATCH:]
            if not self.waiting:
                self.has_outcomes.clear()
            kept = await self.write([outcome for outcome, _ in batch])
            for outcome, written in batch:
                if written.done():
                    continue
                if outcome.sample in kept:
                    written.set_result(kept[outcome.sample])
                else:
                    written.set_exception(LeaseLost())

    async def write(self, outcomes: list[Outcome]) -> dict[int, int | None]:
        """Write a batch; where it is refused, one by one, so that one bad answer costs no other."""
        for attempt in itertools.count(1):
            try:
                return await self.database(store_outcomes, self.job.project, outcomes, worker=self.worker)
            except (OperationalError, InterfaceError):
                if attempt == WRITE_ATTEMPTS:
                    raise
                await asyncio.sleep(attempt)
            except (DatabaseError, ValueError, TypeError) as error:
                if len(outcomes) == 1:
                    return await self.write_failure(outcomes[0], error)
                break
        kept: dict[int, int | None] = {}
        for outcome in outcomes:
            kept.update(await self.write([outcome]))
        return kept

    async def write_failure(self, outcome: Outcome, error: Exception) -> dict[int, int | None]:
        """Note on the sample that its outcome could not be stored."""
        log.exception("Sample %s: the outcome could not be stored", outcome.sample, exc_info=error)
        failure = Failure(outcome.sample, f"The result could not be stored: {error}"[:2000])
        await self.database(store_outcomes, self.job.project, [failure], worker=self.worker)
        return {}

    # Minding ------------------------------------------------------------------------------------------------------

    async def keep_looking(self) -> None:
        """Prolong leases; notice that the run was paused, cancelled, or is over its ceiling."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            if time.monotonic() - renewed >= RENEW_S:
                await self.database(renew_leases, list(self.in_work), worker=self.worker)
                renewed = time.monotonic()
            await self.look()

    async def look(self) -> None:
        """Read the run's state, and the spending where there is a ceiling."""
        if self.stop is not None and self.stop.is_set():
            self.stop_taking("The worker was asked to stop.")
        status = await self.database(run_status, self.job.run.pk)
        if status == RunStatus.CANCELLED or status is None:
            self.stop_taking("cancelled", cancel=True)
            for task in self.in_work.values():
                task.cancel()
        elif status not in RunStatus.active():
            self.stop_taking(str(status))
        if self.ledger.ceiling_usd is not None and not self.halt:
            await self.ledger.read(self.database)
            if self.ledger.is_over:
                await self.stop_for_ceiling()

    def stop_taking(self, reason: str, *, cancel: bool = False) -> None:
        self.halt = Halt(reason, cancel or self.halt.cancel)

    async def may_spend(self) -> bool:
        """Say whether another call may be made under the ceiling; stops the comparison where not."""
        if self.halt.cancel:
            return False
        if not self.ledger.is_over:
            return True
        await self.ledger.read(self.database)
        if not self.ledger.is_over:
            return True
        return not await self.stop_for_ceiling()

    async def stop_for_ceiling(self) -> bool:
        """Stop the comparison where the book says that its ceiling is spent; True where it is stopped."""
        if self.halt.reason != CEILING and await self.database(stop_at_ceiling, self.job.run.pk):
            self.stop_taking(CEILING)
        return self.halt.reason == CEILING


class LeaseLost(Exception):
    """Another worker has the sample now, or its run was cancelled."""


def with_answering(result: GradeResult, aliases: dict[str, str]) -> GradeResult:
    """Return a result that says who answered, where its rater is an old name; its parts likewise."""
    if not aliases:
        return result
    parts = tuple(with_answering(part, aliases) for part in result.criteria)
    return replace(result, answered_by=aliases.get(result.rater, ""), criteria=parts)


def storable_result(result: GradeResult) -> GradeResult:
    """Return a result whose texts every database keeps."""
    texts = {name: storable(getattr(result, name)) for name in ("label", "explanation", "evidence", "reason", "call")}
    return GradeResult(
        **{**vars(result), **texts, "criteria": tuple(storable_result(part) for part in result.criteria)}
    )


def answered(reply: ModelAnswer) -> Answered:
    """Return a model's answer as graders get it."""
    refusal = reply.message.get("refusal")
    return Answered(
        reply.text or "",
        reply.cost_usd,
        reply.duration_ms,
        model=reply.model,
        finish_reason=reply.finish_reason,
        refusal=refusal if isinstance(refusal, str) else "",
        usage=reply.usage,
    )


async def embedded(client: Client, model: str, texts: list[str], *, job: str, subject: str) -> Embedded:
    """Ask an embedding model as graders do. Raises JudgeUnavailable."""
    try:
        found = await client.embed(model=model, texts=texts, purpose="judge", job=job, subject=subject)
    except ProviderError as error:
        raise JudgeUnavailable(str(error)) from None
    return Embedded(found.vectors, found.cost_usd, found.duration_ms)


def read_sample(trace_pk: int | None) -> SampleInput:
    """Return the stored trace of a sample as graders see it; empty where it was deleted."""
    trace = Trace.objects.filter(pk=trace_pk).first() if trace_pk is not None else None
    return (
        sample_from_trace(trace)
        if trace is not None
        else SampleInput(error={"type": None, "message": "The trace was deleted."})
    )


def recorded_answer(sample: int, trace_pk: int) -> Answer | Failure:
    """Return a recorded trace as the answer of a sample: nothing is generated, nothing is paid."""
    trace = Trace.objects.filter(pk=trace_pk).first()
    if trace is None:
        return Failure(sample, "The recorded trace was deleted.")
    text = storable(sample_from_trace(trace).output_text)
    return Answer(
        sample=sample,
        trace_pk=trace.pk,
        output_text=text,
        output={"role": "assistant", "content": text},
        duration_ms=trace.duration_ms,
        input_tokens=trace.input_tokens,
        output_tokens=trace.output_tokens,
        cost_usd=trace.cost_usd,
    )


def run_status(run_id: int) -> str | None:
    return Run.objects.filter(pk=run_id).values_list("status", flat=True).first()


def earlier_verdict(
    project_id: int, version_id: int, rater: str, digest: str, *, answered_by: str = ""
) -> list[GradeResult] | None:
    """Return an earlier good verdict of the same grader version and judge on the same input, its parts after it; None without one.

    A judge of an old name is the same only where the same model answered for it.
    """
    scores = Score.objects.filter(
        project=project_id,
        grader_version=version_id,
        rater=rater,
        answered_by=answered_by,
        input_digest=digest,
        state=ScoreState.OK,
    )
    overall = scores.filter(criterion="").order_by("-pk").first()
    if overall is None:
        return None
    parts = scores.filter(target=overall.target, repeat=overall.repeat).exclude(criterion="").order_by("pk")
    names = (
        "state",
        "value",
        "label",
        "passed",
        "explanation",
        "evidence",
        "reason",
        "criterion",
        "rater",
        "input_digest",
        "call",
    )
    latest = {part.criterion: part for part in (overall, *parts)}
    return [GradeResult(**{name: getattr(row, name) for name in names}) for row in latest.values()]


# Money -----------------------------------------------------------------------------------------------------------


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


def spending_of(job: Job) -> Ledger:
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
