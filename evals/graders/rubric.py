"""Ask a judge to mark a sample by a frozen rubric version: evidence first, reasons next, levels last."""

import json
import re
from typing import Any, ClassVar

from evals.graders.base import (
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
from evals.graders.evidence import find_quotes
from rubrics.judging import BadAnswer, Verdict, answer_schema, judge_messages, missing_for, read_answer
from rubrics.standard import Standard

ASKS = 2  # an answer that does not fit the schema is asked for once more


class RubricJudge:
    """`judge` is a model; the rubric version is frozen with the settings. Temperature 0 where the judge takes it."""

    kind: ClassVar[str] = "rubric"
    title: ClassVar[str] = "Rubric"
    is_judge = True

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"judge", "temperature", "seed"})
        temperature = optional_number(config, "temperature", 0.0)
        seed = config.get("seed")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise BadConfig(f"seed must be a whole number, not {seed!r}.", param="seed")
        settings: dict[str, Any] = {"judge": required_text(config, "judge", limit=200), "temperature": temperature}
        return settings | ({"seed": seed} if seed is not None else {})

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        if standard is None:
            raise BadConfig("A rubric grader needs a rubric version.", param="rubric_version")
        self.config = config
        self.standard = standard
        self.rater: str = config["judge"]
        self.models: tuple[str, ...] = (self.rater,)

    @property
    def scale(self) -> tuple[float, float]:
        return self.standard.scale

    @property
    def pass_threshold(self) -> float | None:
        return self.standard.pass_threshold

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        values, row = sample.as_dict(), item or {}
        missing = missing_for(self.standard, sample=values, item=row)
        if missing:
            return skipped(missing, rater=self.rater)
        messages = judge_messages(self.standard, sample=values, item=row)
        schema = answer_schema(self.standard)
        digest = digest_of(messages, schema)
        if surroundings.find_earlier is not None:
            earlier = await surroundings.find_earlier(digest)
            if earlier:
                return reused(earlier, sample)
        if surroundings.ask is None:
            return failed("No judge can be asked here.", rater=self.rater, input_digest=digest)
        return await self.ask(messages, schema, digest, sample, surroundings)

    async def ask(
        self,
        messages: list[dict[str, str]],
        schema: dict[str, Any],
        digest: str,
        sample: SampleInput,
        surroundings: Surroundings,
    ) -> GradeResult:
        """Ask until an answer fits the schema, at most ASKS times. An endpoint without schemas gets it in words, by the client."""
        assert surroundings.ask is not None
        sampling = {name: self.config[name] for name in ("temperature", "seed") if self.config.get(name) is not None}
        form = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
        cost: float | None = None
        took: float | None = None
        problem = ""
        for _ in range(ASKS):
            try:
                answer = await surroundings.ask(
                    model=self.rater, messages=messages, sampling=sampling, response_format=form
                )
            except JudgeUnavailable as error:
                problem = str(error)
                break
            cost = answer.cost_usd if cost is None else cost + (answer.cost_usd or 0.0)
            took = (took or 0.0) + (answer.duration_ms or 0.0)
            try:
                verdict = read_answer(self.standard, json_of(answer.text))
            except BadAnswer as error:
                problem = str(error)
                continue
            return self.result(verdict, digest, sample, cost=cost, took=took)
        return failed(problem, rater=self.rater, input_digest=digest, cost_usd=cost, duration_ms=took)

    def result(
        self, verdict: Verdict, digest: str, sample: SampleInput, *, cost: float | None, took: float | None
    ) -> GradeResult:
        """Return the verdict with its quotes looked up in the sample."""
        parts = tuple(
            GradeResult(
                value=part.value,
                label=clean(part.label)[:120],
                explanation=clean(part.explanation),
                evidence=find_quotes(part.quotes, sample),
                criterion=part.key,
                rater=self.rater,
                input_digest=digest,
            )
            for part in verdict.criteria
        )
        if verdict.value is None:
            return failed(
                "The rubric gives no overall score.",
                rater=self.rater,
                input_digest=digest,
                cost_usd=cost,
                duration_ms=took,
            )
        return GradeResult(
            value=verdict.value,
            passed=verdict.passed,
            explanation=clean(verdict.explanation),
            evidence=[quote for part in parts for quote in part.evidence],
            rater=self.rater,
            input_digest=digest,
            duration_ms=took,
            cost_usd=cost,
            criteria=parts,
        )


def reused(earlier: list[GradeResult], sample: SampleInput) -> GradeResult:
    """Return an earlier verdict on the same input, with its quotes looked up in this sample; it cost nothing."""
    renewed = [
        GradeResult(
            **{
                **vars(result),
                "evidence": find_quotes([entry["quote"] for entry in result.evidence], sample),
                "cost_usd": 0.0 if not result.criterion else None,
                "duration_ms": 0.0 if not result.criterion else None,
                "criteria": (),
            }
        )
        for result in earlier
    ]
    overall = next(result for result in renewed if not result.criterion)
    return GradeResult(**{**vars(overall), "criteria": tuple(result for result in renewed if result.criterion)})


def json_of(text: str) -> Any:
    """Return the JSON value of an answer, in a code fence or with words around it. Raises BadAnswer."""
    fenced = re.search(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL)
    for candidate in (text, fenced.group(1) if fenced else "", text[text.find("{") : text.rfind("}") + 1]):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    start = " ".join(text.split())[:120]
    raise BadAnswer(f"The judge's answer is not JSON: “{start}”." if start else "The judge's answer is empty.")


def clean(text: str) -> str:
    """Return a text that every database keeps."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
