"""Whether a grader would hold a recorded run against its own words: an item made of a run has that run's answer as reference. Pure."""

import re
from typing import Any

from evals.chat import plain_text
from evals.graders.base import Grader, SampleInput
from evals.templating import references

OWN_REFERENCE = (
    "The reference is this run's own answer, so it is no measure of the run. Write a reference of your own into the item, "
    "or mark recorded runs by a rubric or by code."
)
IN_TEMPLATES = ("item.reference", 'item["reference"]', "item['reference']")
IN_CODE = re.compile(r"""\bitem\s*(?:\[|\.get\()\s*["']reference["']""")


def measures_itself(grader: Grader, content: dict[str, Any], sample: SampleInput) -> bool:
    """Say whether a grader reads the item's reference, and that is something the graded run said itself."""
    return names_reference(grader) and is_own_reference(content, sample)


def is_own_reference(content: dict[str, Any], sample: SampleInput) -> bool:
    """Say whether an item was made of this very run and still has the run's words as reference."""
    metadata, reference = content.get("metadata"), plain_text(content.get("reference"))
    if not reference or not isinstance(metadata, dict) or metadata.get("trace_id") != sample.trace_id:
        return False
    said = (message.get("content") for message in sample.messages if message.get("role") == "assistant")
    return reference == sample.output_text or any(plain_text(text) == reference for text in said)


def names_reference(grader: Grader) -> bool:
    """Say whether a grader's settings read the item's reference."""
    standard = getattr(grader, "standard", None)
    if standard is not None:
        return bool(standard.mode == "adherence")
    return names_in(getattr(grader, "config", {}))


def names_in(config: Any) -> bool:
    """Look for the reference in templates and code, those of a formula's parts included."""
    if isinstance(config, dict):
        return any(
            bool(IN_CODE.search(value)) if name == "source" and isinstance(value, str) else names_in(value)
            for name, value in config.items()
        )
    if isinstance(config, list):
        return any(map(names_in, config))
    return isinstance(config, str) and any(path.startswith(IN_TEMPLATES) for path in references(config))
