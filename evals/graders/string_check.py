"""Compare two texts: the four operations of the OpenAI API, and `contains`, `starts_with` and `regex` for ourselves. Score 1 or 0."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from evals.graders.base import (
    INVALID_VARIABLE,
    BadConfig,
    Door,
    GradeResult,
    SampleInput,
    Surroundings,
    digest_of,
    failed,
    refuse_unknown,
    required_text,
    skipped,
)
from evals.graders.patterns import PatternError, pattern_of, search
from evals.templating import MissingVariable, render
from rubrics.standard import Standard

OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
    "starts_with": lambda text, reference: text.startswith(reference),
}
REGEX = "regex"
CONTAINS = "contains"  # another word for `like`, and kept as that
NATIVE_ONLY = (CONTAINS, "starts_with", REGEX)
WORDS = {
    "eq": "is",
    "ne": "is not",
    "like": "contains",
    "ilike": "contains (any case)",
    "starts_with": "starts with",
    REGEX: "matches",
}
SHOWN = 120  # characters of each side in the explanation


class StringCheck:
    """`input` and `reference` are templates; nothing is trimmed or normalised. A `regex` has its values put in as plain text."""

    kind: ClassVar[str] = "string_check"
    title: ClassVar[str] = "String check"
    is_judge = False

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"input", "reference", "operation"})
        operation = checked_operation(config.get("operation", "eq" if door == "native" else None), door)
        reference = required_text(config, "reference", may_be_empty=operation != REGEX)
        if operation == REGEX:
            try:
                pattern_of(reference)
            except PatternError as error:
                raise BadConfig(str(error), param="reference") from None
        return {
            "input": required_text(config, "input", may_be_empty=door == "openai"),
            "reference": reference,
            "operation": operation,
        }

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config

    scale = (0.0, 1.0)
    pass_threshold: float | None = 1.0
    rater = "code"
    models: tuple[str, ...] = ()

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        values = sample.as_dict()
        operation = self.config["operation"]
        try:
            text = render(self.config["input"], item=item, sample=values)
            if operation == REGEX:
                pattern = pattern_of(self.config["reference"], item=item, sample=values)
                reference = pattern.pattern
                holds = await asyncio.to_thread(search, pattern, text)
            else:
                reference = render(self.config["reference"], item=item, sample=values)
                holds = OPERATIONS[operation](text, reference)
        except MissingVariable as missing:
            return skipped(str(missing), problem=INVALID_VARIABLE)
        except PatternError as error:
            return failed(str(error))
        explanation = f"“{shown(text)}” {WORDS[operation]} “{shown(reference)}”: {'yes' if holds else 'no'}."
        return GradeResult(
            value=float(holds),
            passed=holds,
            label="yes" if holds else "no",
            explanation=explanation,
            input_digest=digest_of(text, reference),
        )


def checked_operation(operation: Any, door: Door) -> str:
    """Return the operation as it is kept. Raises BadConfig, which for /v1 names what to use in place of our own operations."""
    offered = ["eq", "ne", "like", "ilike", *(NATIVE_ONLY if door == "native" else ())]
    if operation in offered:
        return "like" if operation == CONTAINS else str(operation)
    hints = {
        CONTAINS: "Use `like`, which is true when the input contains the reference.",
        "includes": "Use `like`, which is true when the input contains the reference.",
        "starts_with": "Use `like`, which is true when the input contains the reference, or a python grader.",
        REGEX: "Use `like`, which is true when the input contains the reference, or a python grader.",
        "neq": "Use `ne`.",
    }
    hint = hints.get(operation, "") if isinstance(operation, str) else ""
    raise BadConfig(f"operation {operation!r} is not one of {', '.join(offered)}. {hint}".strip(), param="operation")


def shown(text: str) -> str:
    """Shorten a text for the explanation."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
