"""Ask a judge to choose one of some labels, with messages of the caller's own. Score 1 or 0."""

from typing import Any, ClassVar

from evals.chat import storable
from evals.graders.asking import (
    BadResult,
    ask_judge,
    checked_messages,
    checked_sampling,
    result_schema,
    shown_result,
)
from evals.graders.base import (
    BadConfig,
    Door,
    GradeResult,
    SampleInput,
    Surroundings,
    refuse_unknown,
    required_text,
)
from rubrics.standard import Standard

MAX_LABELS = 200
MAX_LABEL = 120  # characters, as many as a score keeps


class LabelModel:
    """`input` are messages with templates. It passes where the chosen label is one of `passing_labels`."""

    kind: ClassVar[str] = "label_model"
    title: ClassVar[str] = "Label by a model"
    is_judge = True

    @classmethod
    def validate(cls, config: dict[str, Any], *, door: Door = "native") -> dict[str, Any]:
        refuse_unknown(config, {"model", "input", "labels", "passing_labels", "sampling_params"})
        labels, passing = checked_labels(config, "labels"), checked_labels(config, "passing_labels")
        unknown = [label for label in passing if label not in labels]
        if unknown:
            raise BadConfig(
                f"The passing label {unknown[0]!r} is not one of the labels {', '.join(labels)}.",
                param="passing_labels",
            )
        return {
            "model": required_text(config, "model", limit=200).strip(),
            "input": checked_messages(config),
            "labels": labels,
            "passing_labels": passing,
            "sampling_params": checked_sampling(config),
        }

    def __init__(self, config: dict[str, Any], *, standard: Standard | None = None) -> None:
        self.config = config
        self.rater: str = config["model"]
        self.models: tuple[str, ...] = (self.rater,)

    scale = (0.0, 1.0)
    pass_threshold: float | None = 1.0

    async def grade(self, sample: SampleInput, item: dict[str, Any] | None, surroundings: Surroundings) -> GradeResult:
        form = result_schema({"type": "string", "enum": self.config["labels"]})
        return await ask_judge(
            self.config, form=form, read=self.read, sample=sample, item=item, surroundings=surroundings
        )

    def read(self, result: Any) -> GradeResult:
        """Return what the judge's label means: taken as it is, else without the case. Raises BadResult."""
        said = result.strip().strip("`*\"'.").strip() if isinstance(result, str) else ""
        labels: list[str] = self.config["labels"]
        chosen = next((label for label in labels if result == label or said == label), None)
        if chosen is None:
            folded = said.casefold()
            chosen = next((label for label in labels if label.strip().casefold() == folded), None)
        if chosen is None:
            raise BadResult(f"The judge chose none of the labels {', '.join(labels)[:200]}: {shown_result(result)}.")
        passed = chosen in self.config["passing_labels"]
        return GradeResult(value=float(passed), passed=passed, label=chosen)


def checked_labels(config: dict[str, Any], name: str) -> list[str]:
    """Return a list of labels. Raises BadConfig."""
    labels = config.get(name)
    if not isinstance(labels, list) or not labels:
        raise BadConfig(f"{name} must be a list of one label or more.", param=name)
    for place, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip() or len(label) > MAX_LABEL or storable(label) != label:
            raise BadConfig(f"{name}[{place}] must be a text of 1 to {MAX_LABEL} characters.", param=f"{name}[{place}]")
    if len(set(labels)) != len(labels):
        raise BadConfig(f"{name} has a label twice.", param=name)
    if len(labels) > MAX_LABELS:
        raise BadConfig(f"{name} has {len(labels):,} labels; at most {MAX_LABELS} can be offered.", param=name)
    return labels
