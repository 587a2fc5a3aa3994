"""A rubric version as plain values: the one text that renders the reviewer's form and compiles the judge's instructions. Pure."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LevelText:
    """One described point of a scale."""

    value: float
    label: str
    meaning: str = ""
    example: str = ""


@dataclass(frozen=True)
class CriterionText:
    """One dimension: its levels in rising order. `layer` says what is looked at."""

    key: str
    name: str
    description: str = ""
    layer: str = "outcome"
    weight: float = 1.0
    levels: tuple[LevelText, ...] = ()

    @property
    def scale(self) -> tuple[float, float]:
        """Return (lowest, highest) level; (0, 1) without levels."""
        values = [level.value for level in self.levels]
        return (min(values), max(values)) if values else (0.0, 1.0)


@dataclass(frozen=True)
class Standard:
    """A rubric version. `mode` is direct or adherence; `pass_threshold` is on the rubric's own scale."""

    name: str
    number: int
    mode: str = "direct"
    instructions: str = ""
    pass_threshold: float | None = None
    criteria: tuple[CriterionText, ...] = ()

    @property
    def scale(self) -> tuple[float, float]:
        """Return the overall score's scale: that of the criteria where all share one, else 0 to 1."""
        scales = {criterion.scale for criterion in self.criteria}
        return scales.pop() if len(scales) == 1 else (0.0, 1.0)

    @property
    def layers(self) -> list[str]:
        """Return the layers that the criteria look at, in order, each once."""
        return list(dict.fromkeys(criterion.layer for criterion in self.criteria))

    def overall(self, values: dict[str, float]) -> float | None:
        """Return the weighted mean of the criteria's values on `scale`, or None unless every weighted criterion has a value.

        Where the criteria have different scales each value is first mapped to 0…1.
        """
        weighted = [criterion for criterion in self.criteria if criterion.weight > 0]
        if not weighted or any(criterion.key not in values for criterion in weighted):
            return None
        shared = len({criterion.scale for criterion in self.criteria}) == 1
        total = 0.0
        for criterion in weighted:
            low, high = criterion.scale
            value = values[criterion.key]
            total += criterion.weight * (value if shared else (value - low) / (high - low) if high > low else 1.0)
        return total / sum(criterion.weight for criterion in weighted)

    def passes(self, value: float | None) -> bool | None:
        """Say whether a score passes; None without a score or a threshold."""
        return None if value is None or self.pass_threshold is None else value >= self.pass_threshold

    def digest(self) -> str:
        """Return the SHA-256 of everything that a reader of the rubric sees, its name and number left out."""
        content = asdict(self)
        del content["name"], content["number"]
        content["pass_threshold"] = None if self.pass_threshold is None else float(self.pass_threshold)
        for criterion in content["criteria"]:
            criterion["weight"] = float(criterion["weight"])
            for level in criterion["levels"]:
                level["value"] = float(level["value"])
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def as_text(standard: Standard) -> str:
    """Return the rubric as lines of plain text, for the judge, for print and for the diff between versions."""
    against = {"direct": "The output alone is judged.", "adherence": "The output is judged against the reference."}
    lines = [against.get(standard.mode, standard.mode)]
    if standard.instructions.strip():
        lines += ["", *standard.instructions.strip().splitlines()]
    if standard.pass_threshold is not None:
        low, high = standard.scale
        lines += ["", f"A score of {standard.pass_threshold:g} or more passes (scale {low:g} to {high:g})."]
    for criterion in standard.criteria:
        lines += [
            "",
            f"{criterion.name} ({criterion.key}; looks at {criterion.layer.replace('_', ' ')}; weight {criterion.weight:g})",
        ]
        lines += criterion.description.strip().splitlines()
        for level in criterion.levels:
            lines.append(f"  {level.value:g} {level.label}: {level.meaning.strip()}".rstrip(": "))
            lines += [f"      Example: {line}" for line in level.example.strip().splitlines()]
    return "\n".join(lines)


def standard_from(content: dict[str, Any]) -> Standard:
    """Build a Standard from plain JSON (templates, files, the demo). Keys as in the dataclasses."""
    criteria = tuple(
        CriterionText(**{**criterion, "levels": tuple(LevelText(**level) for level in criterion.get("levels", []))})
        for criterion in content.get("criteria", [])
    )
    return Standard(**{"number": 0, **content, "criteria": criteria})
