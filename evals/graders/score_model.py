"""Ask a judge for a number, with messages of the caller's own."""

from typing import Any, ClassVar

from evals.graders.asking import (
    ask_judge,
    checked_messages,
    checked_sampling,
    is_number,
    number_of,
    result_schema,
)
from evals.graders.base import (
    BadConfig,
    Door,
    GradeResult,
    SampleInput,
    Surroundings,
    optional_number,
    refuse_unknown,
    required_text,
)
from rubrics.standard import Standard


class ScoreModel:
    """`input` are messages with templates. The answer's number is cut to `range`; from `pass_threshold` on it passes."""

    kind: ClassVar[str] = "score_model"
    title: ClassVar[str] = "Score by a model"
    is_judge = True

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"model", "input", "range", "pass_threshold", "sampling_params"})
        low, high = checked_range(config.get("range"))
        threshold = optional_number(config, "pass_threshold", (low + high) / 2)
        if door == "native" and threshold is not None and not low <= threshold <= high:
            raise BadConfig(
                f"pass_threshold {threshold:g} lies outside the range {low:g} to {high:g}.", param="pass_threshold"
            )
        return {
            "model": required_text(config, "model", limit=200).strip(),
            "input": checked_messages(config),
            "range": [low, high],
            "pass_threshold": threshold,
            "sampling_params": checked_sampling(config),
        }

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config
        self.rater: str = config["model"]
        self.models: tuple[str, ...] = (self.rater,)
        self.scale: tuple[float, float] = (config["range"][0], config["range"][1])
        self.pass_threshold: float | None = config["pass_threshold"]

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        low, high = self.scale
        form = result_schema({"type": "number", "description": f"The score, from {low:g} to {high:g}"})
        return await ask_judge(
            self.config, form=form, read=self.read, sample=sample, item=item, surroundings=surroundings
        )

    def read(self, result: Any) -> GradeResult:
        """Return what the judge's number means. Raises BadResult."""
        value = min(self.scale[1], max(self.scale[0], number_of(result)))
        return GradeResult(value=value, passed=None if self.pass_threshold is None else value >= self.pass_threshold)


def checked_range(given: Any) -> tuple[float, float]:
    """Return the lowest and highest score. Raises BadConfig."""
    if given is None:
        return 0.0, 1.0
    if not isinstance(given, list) or len(given) != 2 or not all(is_number(value) for value in given):
        raise BadConfig(f"range must be two numbers such as [0, 1], not {given!r:.60}.", param="range")
    low, high = float(given[0]), float(given[1])
    if low >= high:
        raise BadConfig(
            f"range must go from a lower number to a higher one, not from {low:g} to {high:g}.", param="range"
        )
    return low, high
