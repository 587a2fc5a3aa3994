"""Say how alike two texts are, from 0 to 1: by letters, words, or the vectors of an embedding model."""

import asyncio
import time
from typing import Any, ClassVar

from evals.graders.base import (
    INVALID_VARIABLE,
    JUDGE_ANSWER,
    JUDGE_UNAVAILABLE,
    BadConfig,
    Door,
    GradeResult,
    JudgeUnavailable,
    SampleInput,
    Surroundings,
    digest_of,
    failed,
    optional_number,
    refuse_unknown,
    required_text,
    skipped,
)
from evals.graders.similarity import METRICS, TooLong, cosine, similarity
from evals.graders.string_check import shown
from evals.templating import MissingVariable, render
from rubrics.standard import Standard

FUZZY, COSINE = "fuzzy_match", "cosine"
ALL_METRICS = (FUZZY, *METRICS, COSINE)


class TextSimilarity:
    """`input` and `reference` are templates. Cosine asks `embedding_model`; the other metrics are computed here."""

    kind: ClassVar[str] = "text_similarity"
    title: ClassVar[str] = "Text similarity"
    is_judge = False

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"input", "reference", "evaluation_metric", "pass_threshold", "embedding_model"})
        metric = config.get("evaluation_metric")
        if metric not in ALL_METRICS:
            raise BadConfig(
                f"evaluation_metric {metric!r} is not one of {', '.join(ALL_METRICS)}.", param="evaluation_metric"
            )
        settings: dict[str, Any] = {
            "input": required_text(config, "input", may_be_empty=door == "openai"),
            "reference": required_text(config, "reference", may_be_empty=True),
            "evaluation_metric": metric,
            "pass_threshold": optional_number(config, "pass_threshold", None),
        }
        if metric == COSINE:
            model = config.get("embedding_model") or default_embedding_model()
            if not model:
                raise BadConfig(
                    "cosine needs an embedding model: name one as embedding_model, or set MARKBOOK_EMBEDDING_MODEL for all.",
                    param="evaluation_metric",
                )
            settings["embedding_model"] = required_text({"embedding_model": model}, "embedding_model", limit=200)
        return settings

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config
        self.metric: str = config["evaluation_metric"]
        self.pass_threshold: float | None = config["pass_threshold"]
        model = config.get("embedding_model")
        self.models: tuple[str, ...] = (model,) if model else ()

    scale = (0.0, 1.0)
    rater = "code"

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        values = sample.as_dict()
        try:
            text = render(self.config["input"], item=item, sample=values)
            reference = render(self.config["reference"], item=item, sample=values)
        except MissingVariable as missing:
            return skipped(str(missing), problem=INVALID_VARIABLE)
        digest = digest_of(text, reference)
        begun = time.perf_counter()
        if self.metric == COSINE:
            return await self.by_vectors(text, reference, digest, surroundings)
        try:
            value = await asyncio.to_thread(similarity, self.metric, text, reference)
        except TooLong as error:
            return failed(str(error), input_digest=digest)
        return self.result(value, text, reference, digest, duration_ms=(time.perf_counter() - begun) * 1000)

    async def by_vectors(self, text: str, reference: str, digest: str, surroundings: Surroundings) -> GradeResult:
        """Return the cosine of the two texts' vectors. Texts that are the same, or empty, are not sent."""
        if text == reference or not text.strip() or not reference.strip():
            return self.result(float(text.strip() == reference.strip()), text, reference, digest)
        if surroundings.embed is None:
            return failed("No embedding model can be asked here.", problem=JUDGE_UNAVAILABLE, input_digest=digest)
        try:
            found = await surroundings.embed(model=self.models[0], texts=[text, reference])
        except JudgeUnavailable as error:
            return failed(str(error), problem=JUDGE_UNAVAILABLE, input_digest=digest)
        value = cosine(*found.vectors) if len(found.vectors) == 2 else None
        if value is None:
            return failed(
                f"{self.models[0]} gave vectors that cannot be compared.",
                problem=JUDGE_ANSWER,
                input_digest=digest,
                cost_usd=found.cost_usd,
                duration_ms=found.duration_ms,
            )
        return self.result(value, text, reference, digest, cost_usd=found.cost_usd, duration_ms=found.duration_ms)

    def result(self, value: float, text: str, reference: str, digest: str, **fields: Any) -> GradeResult:
        """Return a value as this grader's word."""
        passed = None if self.pass_threshold is None else value >= self.pass_threshold
        said = f"{self.metric} of “{shown(text)}” and “{shown(reference)}”: {value:.3f}"
        explanation = (
            f"{said}; it passes from {self.pass_threshold:g}." if self.pass_threshold is not None else f"{said}."
        )
        return GradeResult(value=value, passed=passed, explanation=explanation, input_digest=digest, **fields)


def default_embedding_model() -> str:
    """Return the embedding model of this server's settings, or an empty text. It is kept with the grader, which then stays as it is."""
    from django.conf import settings

    model: str = settings.EMBEDDING_MODEL
    return model
