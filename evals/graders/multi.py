"""Several graders, and a formula that makes one score of theirs."""

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

from evals.formula import NAME, BadFormula, NoValue, parse_formula
from evals.graders.base import (
    FORMULA_ERROR,
    BadConfig,
    Door,
    Grader,
    GradeResult,
    SampleInput,
    Surroundings,
    digest_of,
    failed,
    optional_number,
    refuse_unknown,
    required_text,
    skipped,
)
from evals.graders.label_model import LabelModel
from evals.graders.python import PythonGrader
from evals.graders.score_model import ScoreModel
from evals.graders.string_check import StringCheck
from evals.graders.text_similarity import TextSimilarity
from rubrics.standard import Standard

PARTS: dict[str, type[Grader]] = {
    kind.kind: kind for kind in (StringCheck, TextSimilarity, PythonGrader, ScoreModel, LabelModel)
}
MAX_PARTS = 20
MAX_NAME = 60


class Multi:
    """`graders` are settings with the `name` that the formula `calculate_output` gives them, and their `type`.

    They come as an object by name too, and are kept as a list: a database may not keep the order of an object's names.
    """

    kind: ClassVar[str] = "multi"
    title: ClassVar[str] = "Several graders by a formula"

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"graders", "calculate_output", "pass_threshold"})
        graders = {
            name: checked_part(part, place, door=door)
            for name, (place, part) in parts_of(config.get("graders")).items()
        }
        text = required_text(config, "calculate_output", limit=8_000)
        try:
            formula = parse_formula(text)
        except BadFormula as error:
            raise BadConfig(str(error), param="calculate_output") from None
        unknown = [name for name in formula.names if name not in graders]
        if unknown:
            raise BadConfig(
                f"The formula names {unknown[0]!r}; the graders are {', '.join(graders)}.", param="calculate_output"
            )
        return {
            "graders": [{"name": name, **part} for name, part in graders.items()],
            "calculate_output": text,
            "pass_threshold": optional_number(config, "pass_threshold", 0.5),
        }

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config
        self.pass_threshold: float | None = config["pass_threshold"]
        self.formula = parse_formula(config["calculate_output"])
        self.parts: dict[str, Grader] = {
            part["name"]: PARTS[part["type"]](settings_of(part)) for part in config["graders"]
        }
        self.models: tuple[str, ...] = tuple(
            dict.fromkeys(model for part in self.parts.values() for model in part.models)
        )
        self.is_judge = any(part.is_judge for part in self.parts.values())
        judges = dict.fromkeys(part.rater for part in self.parts.values() if part.is_judge)
        self.rater: str = ", ".join(judges)[:200] or "code"

    scale = (0.0, 1.0)

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        own = replace(surroundings, find_earlier=None)  # verdicts are kept for the whole, not for its parts
        words = await asyncio.gather(*(part.grade(sample, item, own) for part in self.parts.values()))
        results = {
            name: replace(word, criterion=name, criteria=()) for name, word in zip(self.parts, words, strict=True)
        }
        costs = [word.cost_usd for word in words if word.cost_usd is not None]
        took = [word.duration_ms for word in words if word.duration_ms is not None]
        shared: dict[str, Any] = {
            "rater": self.rater,
            "input_digest": digest_of([word.input_digest for word in words]),
            "cost_usd": sum(costs) if costs else None,
            "duration_ms": max(took) if took else None,
            "criteria": tuple(replace(word, rater=self.rater) for word in results.values()),
        }
        for name in self.formula.names:
            word = results[name]
            if word.value is None:
                say = skipped if word.state == "skipped" else failed
                return say(f"“{name}” has no score: {word.reason}", problem=word.problem, **shared)
        values = {name: word.value for name, word in results.items() if word.value is not None}
        try:
            value = self.formula.value(values)
        except NoValue as error:
            return failed(f"{error} {in_words(values)}", problem=FORMULA_ERROR, **shared)
        return GradeResult(
            value=value,
            passed=None if self.pass_threshold is None else value >= self.pass_threshold,
            explanation=f"{self.config['calculate_output'].strip()} = {value:.4g}. {in_words(values)}",
            **shared,
        )


def in_words(values: dict[str, float]) -> str:
    """Return the scores of the parts as text."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items()) + "."


def parts_of(given: Any) -> dict[str, tuple[str, Any]]:
    """Return the graders by name, each with its place: from an object by name, a list of graders with names, or one grader.

    Raises BadConfig.
    """
    if isinstance(given, dict) and isinstance(given.get("type"), str):
        given = [given]
    if isinstance(given, dict):
        found = [(name, f"graders.{name}", part) for name, part in given.items()]
    elif isinstance(given, list):
        found = [
            (part.get("name") if isinstance(part, dict) else None, f"graders[{place}]", part)
            for place, part in enumerate(given)
        ]
    else:
        raise BadConfig("graders must be an object of graders by name, or a list of graders.", param="graders")
    if not found or len(found) > MAX_PARTS:
        raise BadConfig(f"graders must be 1 to {MAX_PARTS} graders, not {len(found)}.", param="graders")
    parts: dict[str, tuple[str, Any]] = {}
    for name, place, part in found:
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise BadConfig(
                f"{place} is called {name!r:.80}; a formula can only name letters, digits and _, at most {MAX_NAME} of them.",
                param=place,
            )
        if name in parts:
            raise BadConfig(f"Two graders are called {name!r}.", param=place)
        parts[name] = (place, part)
    return parts


def checked_part(part: Any, place: str, *, door: Door) -> dict[str, Any]:
    """Return one grader's settings complete, with its type. Raises BadConfig with the place within the whole."""
    if not isinstance(part, dict):
        raise BadConfig(f"{place} must be an object with type and its settings.", param=place)
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in PARTS:
        within = f" A {kind} cannot stand within a multi." if kind in ("multi", "rubric") else ""
        raise BadConfig(f"{place}.type {kind!r:.60} is not one of {', '.join(PARTS)}.{within}", param=f"{place}.type")
    try:
        checked = PARTS[kind].validate(settings_of(part), door=door)
    except BadConfig as error:
        raise BadConfig(f"{place}: {error}", param=f"{place}.{error.param}" if error.param else place) from None
    return {"type": kind, **checked}


def settings_of(part: dict[str, Any]) -> dict[str, Any]:
    """Return a grader's settings without its type and name."""
    return {name: value for name, value in part.items() if name not in ("type", "name")}
