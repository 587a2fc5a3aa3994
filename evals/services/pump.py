"""The engine: one pump per run and worker keeps the provider's limit of calls in flight until nothing is open.

Leases, answers and verdicts are rows (`samples.py`); the pump only moves them on. A kill at any moment costs leases, never a result:
an answer is stored together with what code says of it, or before, and always before a judge is asked about it; verdicts in the same
transaction as the sample's last state.

This is a class because a run's loop has state that its coroutines share.
"""

import asyncio
import itertools
import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connections

from evals.candidates import Asked, BadItem, ask_for, records_of
from evals.chat import storable
from evals.given import sample_from_given
from evals.graders.base import Answered, Embedded, GradeResult, JudgeUnavailable, SampleInput, Surroundings, skipped
from evals.grading import sample_from_records, sample_from_trace, with_answer
from evals.models import CandidateKind, Run, RunStatus, SampleStatus
from evals.own_reference import OWN_REFERENCE, measures_itself
from evals.services.ceilings import ledger_of, stop_at_ceiling
from evals.services.jobs import GraderInUse, Job, load_job
from evals.services.outcomes import DatabaseThread, OutcomeWriter, Written
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
)
from evals.services.scores import scores_of
from evals.services.verdicts import Client, answered, earlier_verdict, embedded, storable_result, with_answering
from providers.client import ModelClient, ProviderError
from providers.gate import ahead_of
from traces.models import Trace

log = logging.getLogger(__name__)

LOOK_S = 1.0  # how often the run's state and its spending are read
RENEW_S = 15.0  # how often leases are prolonged
MAX_IN_WORK = 400

CEILING = "ceiling"

pump_numbers = itertools.count(1)


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
        self.job, self.worker, self.client, self.database = job, worker, client, database
        self.stop, self.reuse = stop, reuse
        self.in_work: dict[int, asyncio.Task[None]] = {}
        self.halt = Halt()
        self.at_once = job.concurrency + ahead_of(job.concurrency)
        self.generating = asyncio.Semaphore(self.at_once)
        # A sample waits for its answer, then twice for the disk: enough that calls stay in flight while a batch is written.
        self.room = min(MAX_IN_WORK, 6 * job.concurrency + 16)
        self.has_moved = asyncio.Event()
        self.writer = OutcomeWriter(
            job.project, database, worker=worker, in_work=lambda: len(self.in_work), settle=client.settle
        )
        self.ledger = ledger_of(job)
        self.asked_judges: dict[tuple[int, str], asyncio.Future[list[GradeResult] | None]] = {}

    async def run(self) -> None:
        """Move samples on until none can be claimed."""
        await self.look()
        minders = [asyncio.create_task(work()) for work in (self.writer.run, self.keep_looking)]
        for minder in minders:
            minder.add_done_callback(self.note_moved)
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
        room = self.at_once  # the first calls are made before more is read
        while True:
            if not self.halt and not nothing_left and len(self.in_work) <= self.room * 3 // 4:
                claimed = await self.database(
                    claim_samples, self.job.run.pk, limit=min(room, self.room - len(self.in_work)), worker=self.worker
                )
                nothing_left = not claimed
                for sample in claimed:
                    task = self.in_work[sample.pk] = asyncio.create_task(self.move(sample))
                    task.add_done_callback(self.note_moved)
                if claimed and room < self.room:
                    room = self.room
                    continue
            if not self.in_work:
                return
            await self.has_moved.wait()
            self.has_moved.clear()
            for task in (*minders, *self.in_work.values()):
                if task.done() and not task.cancelled():
                    task.result()  # a broken minder or database ends the pump; leases then run out
            for pk in [pk for pk, task in self.in_work.items() if task.done()]:
                del self.in_work[pk]

    def note_moved(self, task: asyncio.Task[None]) -> None:
        self.has_moved.set()

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
        """Answer a sample, grade it, store both. Code grades while the answer is on its way to the disk; a judge is asked after that."""
        trace_pk, shown, output = sample.trace_pk, None, sample.output
        stored: Written | None = None
        if sample.status == SampleStatus.PENDING:
            async with self.generating:
                if self.halt:
                    return
                answer = await self.answer(sample)
            if answer is None:
                return
            stored = self.writer.add(answer)
            if isinstance(answer, Failure) or self.halt.cancel:
                await stored.is_kept()
                return
            if answer.records:
                shown = sample_from_records(answer.records)
            trace_pk, output = answer.trace_pk, answer.output
        if self.halt.cancel:
            return
        shown = await self.shown_to_graders(sample, shown, trace_pk, output)
        results = await self.grade(sample, shown, stored)
        if results is None:
            return
        scores = [
            score
            for entry, result in results
            for score in scores_of(
                result, entry.version, is_judge=entry.grader.is_judge, sample=sample.pk, run=self.job.run.pk
            )
        ]
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

    async def grade(
        self, sample: Claimed, shown: SampleInput, stored: Written | None
    ) -> list[tuple[GraderInUse, GradeResult]] | None:
        """Return each grader's word, code before judges; a failed gate spares the judges.

        None where the ceiling forbids to ask a judge, or where the answer that it would be asked about could not be `stored`.
        """
        results: list[tuple[GraderInUse, GradeResult]] = []
        spared_by = ""
        for entry in self.job.graders:
            if entry.version.pk in sample.graded:
                continue
            if spared_by and entry.grader.models:
                word = skipped(f"Not asked: the gate “{spared_by}” did not pass.", rater=entry.grader.rater)
            elif self.job.candidate.kind == CandidateKind.RECORDED and measures_itself(
                entry.grader, sample.content, shown
            ):
                word = skipped(OWN_REFERENCE, rater=entry.grader.rater)
            else:
                if entry.grader.models:
                    if stored is not None and not await stored.is_kept():
                        return None
                    if not await self.may_spend():
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

    async def store(self, outcome: Outcome) -> bool:
        """Write an outcome together with others; returns whether it was kept."""
        return await self.writer.add(outcome).is_kept()

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
