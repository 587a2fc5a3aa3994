"""Compare two texts: `eq`, `ne`, `like` (contains), `ilike` (contains, case ignored). Score 1 or 0."""

from collections.abc import Callable
from typing import Any, ClassVar

from evals.graders.base import (
    BadConfig,
    GradeResult,
    SampleInput,
    Surroundings,
    digest_of,
    refuse_unknown,
    required_text,
    skipped,
)
from evals.templating import MissingVariable, render
from rubrics.standard import Standard

OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
WORDS = {"eq": "is", "ne": "is not", "like": "contains", "ilike": "contains (any case)"}
SHOWN = 120  # characters of each side in the explanation


class StringCheck:
    """`input` and `reference` are templates; nothing is trimmed or normalised."""

    kind: ClassVar[str] = "string_check"
    title: ClassVar[str] = "String check"
    is_judge: ClassVar[bool] = False

    @classmethod
    def validate(cls, config: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown(config, {"input", "reference", "operation"})
        operation = config.get("operation", "eq")
        if operation not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            hint = (
                " (`like` is true when the input contains the reference)"
                if operation in ("contains", "includes")
                else ""
            )
            raise BadConfig(f"operation {operation!r} is not one of {known}{hint}.", param="operation")
        return {
            "input": required_text(config, "input"),
            "reference": required_text(config, "reference", may_be_empty=True),
            "operation": operation,
        }

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config

    scale = (0.0, 1.0)
    pass_threshold: float | None = 1.0
    rater = "code"

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        values = sample.as_dict()
        try:
            text = render(self.config["input"], item=item, sample=values)
            reference = render(self.config["reference"], item=item, sample=values)
        except MissingVariable as missing:
            return skipped(str(missing))
        operation = self.config["operation"]
        holds = OPERATIONS[operation](text, reference)
        explanation = f"“{shown(text)}” {WORDS[operation]} “{shown(reference)}”: {'yes' if holds else 'no'}."
        return GradeResult(
            value=float(holds),
            passed=holds,
            label="yes" if holds else "no",
            explanation=explanation,
            input_digest=digest_of(text, reference),
        )


def shown(text: str) -> str:
    """Shorten a text for the explanation."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
