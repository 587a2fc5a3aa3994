"""Graders over recorded traces, by selection: the same graders, without a comparison."""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from accounts.models import Project
from evals.graders.base import Answered, Embedded, Grader, GradeResult, JudgeUnavailable, SampleInput, Surroundings
from evals.grading import sample_from_trace
from evals.models import GraderVersion
from evals.services.graders import ready_grader
from evals.services.outcomes import DatabaseThread
from evals.services.scores import record_scores, scores_of
from evals.services.verdicts import Client, answered, earlier_verdict, embedded, storable_result, with_answering
from providers.client import ModelClient, ProviderError
from providers.registry import aliases_of
from traces.models import Trace

AT_ONCE = 32  # traces graded before their scores are written together


def grade_traces(
    project: Project,
    traces: Iterable[Trace],
    graders: Iterable[GraderVersion],
    *,
    worker: str = "",
    client: Client | None = None,
    reuse: bool = True,
) -> int:
    """Grade recorded traces and keep the scores; returns how many rows were added. The same again adds nothing.

    A template's `item` is not there: graders that need it are skipped and say so. Waits for the judges; not for use in a request.
    """
    ready = [(version, ready_grader(version)) for version in graders]
    return asyncio.run(grade_all(project, traces, ready, worker=worker, client=client, reuse=reuse))


async def grade_all(
    project: Project,
    traces: Iterable[Trace],
    graders: list[tuple[GraderVersion, Grader]],
    *,
    worker: str,
    client: Client | None,
    reuse: bool,
) -> int:
    database = DatabaseThread()
    own_client: Client = client or ModelClient(project, worker=worker)
    added = 0
    try:
        aliases = await database(aliases_of, project)
        batches = in_batches(traces)
        while batch := await database(next, batches, None):
            shown = await database(lambda chosen: [sample_from_trace(trace) for trace in chosen], batch)
            words = await asyncio.gather(
                *(
                    one_word(project, version, grader, trace.pk, sample, database, own_client, reuse, aliases)
                    for trace, sample in zip(batch, shown, strict=True)
                    for version, grader in graders
                )
            )
            scores = [
                score
                for version, grader, trace_pk, result in words
                for score in scores_of(result, version, is_judge=grader.is_judge, trace=trace_pk)
            ]
            added += await database(record_scores, project, scores)
    finally:
        if client is None:
            await own_client.aclose()
        await database.close()
    return added


def in_batches(traces: Iterable[Trace]) -> Iterator[list[Trace]]:
    source = iter(traces)
    while batch := list(islice(source, AT_ONCE)):
        yield batch


async def one_word(
    project: Project,
    version: GraderVersion,
    grader: Grader,
    trace_pk: int,
    sample: SampleInput,
    database: DatabaseThread,
    client: Client,
    reuse: bool,
    aliases: dict[str, str],
) -> tuple[GraderVersion, Grader, int, GradeResult]:
    """Return one grader's result on one trace."""

    async def find_earlier(digest: str) -> list[GradeResult] | None:
        return await database(
            earlier_verdict,
            project.pk,
            version.pk,
            grader.rater,
            digest,
            answered_by=aliases.get(grader.rater, ""),
        )

    surroundings = Surroundings(
        ask=partial(ask_judge, client, f"trace:{trace_pk}", f"grade:{version.pk}"),
        embed=partial(embed_texts, client, f"trace:{trace_pk}", f"grade:{version.pk}"),
        find_earlier=find_earlier if reuse and grader.is_judge else None,
    )
    result = storable_result(await grader.grade(sample, None, surroundings))
    return version, grader, trace_pk, with_answering(result, aliases)


async def ask_judge(client: Client, subject: str, job: str, **call: Any) -> Answered:
    """Ask the judge by the client. Raises JudgeUnavailable."""
    try:
        reply = await client.chat(**call, tools=None, purpose="judge", job=job, subject=subject)
    except ProviderError as error:
        raise JudgeUnavailable(str(error)) from None
    return answered(reply)


async def embed_texts(client: Client, subject: str, job: str, *, model: str, texts: list[str]) -> Embedded:
    """Ask an embedding model by the client. Raises JudgeUnavailable."""
    return await embedded(client, model, texts, job=job, subject=subject)
