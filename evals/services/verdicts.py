"""Between graders and models: what a judge is asked by, what it answered, and the verdict that it gave before."""

from dataclasses import replace
from typing import Any, Protocol

from evals.chat import storable
from evals.graders.base import Answered, Embedded, GradeResult, JudgeUnavailable
from evals.models import Score, ScoreState
from providers.client import Answer as ModelAnswer
from providers.client import Embedding, ProviderError


class Client(Protocol):
    """What the engine needs of a model client."""

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

    async def settle(self) -> None: ...

    async def aclose(self) -> None: ...


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
