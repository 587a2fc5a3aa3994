"""What is wrong or weak in a rubric, before it is used. Pure."""

import re
from dataclasses import dataclass

from rubrics.standard import CriterionText, Standard


@dataclass(frozen=True)
class Problem:
    """One remark. `blocks`: the version cannot be published with it. `place` is a criterion's key, or empty."""

    text: str
    place: str = ""
    blocks: bool = False


VAGUE = re.compile(r"\b(good|bad|nice|appropriate|adequate|reasonable|proper(?:ly)?|etc)\b", re.IGNORECASE)
TWO_QUESTIONS = re.compile(r"\?.*\?|\band (?:does|is|did|are|has)\b", re.DOTALL)
VARIABLE = re.compile(r"\{\{\s*([^}]*?)\s*\}\}")


def problems(standard: Standard) -> list[Problem]:
    """Return every remark on a rubric, blocking ones first."""
    found: list[Problem] = []
    if not standard.criteria:
        found.append(Problem("It has no criterion; add at least one.", blocks=True))
    keys = [criterion.key for criterion in standard.criteria]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        found.append(Problem(f"Two criteria share the key “{key}”; give one another key.", key, blocks=True))
    if standard.criteria and not any(criterion.weight > 0 for criterion in standard.criteria):
        found.append(Problem("Every criterion has weight 0, so there is no overall score.", blocks=True))
    low, high = standard.scale
    if standard.pass_threshold is not None and not low <= standard.pass_threshold <= high:
        found.append(
            Problem(
                f"The pass mark {standard.pass_threshold:g} lies outside the scale {low:g} to {high:g}.", blocks=True
            )
        )
    if standard.pass_threshold is None:
        found.append(Problem("There is no pass mark, so pass rates cannot be shown."))
    for text in [standard.instructions, *(criterion.description for criterion in standard.criteria)]:
        found += [
            Problem(f"“{{{{ {name} }}}}” is not filled in here: rubrics have no variables.")
            for name in VARIABLE.findall(text)
        ]
    if TWO_QUESTIONS.search(standard.instructions):
        found.append(
            Problem("The instructions seem to ask two questions; make each a criterion, so that it has its own score.")
        )
    for criterion in standard.criteria:
        found += criterion_problems(criterion)
    if len({criterion.scale for criterion in standard.criteria}) > 1:
        found.append(Problem("The criteria have different scales, so the overall score runs from 0 to 1."))
    return sorted(found, key=lambda problem: not problem.blocks)


def criterion_problems(criterion: CriterionText) -> list[Problem]:
    """Return the remarks on one criterion."""
    found: list[Problem] = []
    name, key = criterion.name or criterion.key, criterion.key
    if not re.fullmatch(r"[-a-zA-Z0-9_]+", key):
        found.append(Problem(f"“{name}” has no usable key; use letters, digits, - and _.", key, blocks=True))
    if key == "explanation":
        found.append(Problem("The key “explanation” is taken by the judge's answer; choose another.", key, blocks=True))
    if criterion.weight < 0:
        found.append(Problem(f"“{name}” has a negative weight.", key, blocks=True))
    if len(criterion.levels) < 2:
        found.append(Problem(f"“{name}” needs at least two levels.", key, blocks=True))
    values = [level.value for level in criterion.levels]
    if len(set(values)) < len(values):
        found.append(Problem(f"“{name}” has two levels with the same value.", key, blocks=True))
    undescribed = [f"{level.value:g}" for level in criterion.levels if not level.meaning.strip()]
    if undescribed:
        found.append(
            Problem(f"“{name}”: level {', '.join(undescribed)} has no meaning, so readers will differ on it.", key)
        )
    unlabelled = [f"{level.value:g}" for level in criterion.levels if not level.label.strip()]
    if unlabelled:
        found.append(
            Problem(f"“{name}”: level {', '.join(unlabelled)} has no label, so readers see a bare number.", key)
        )
    if not criterion.description.strip():
        found.append(Problem(f"“{name}” does not say what is looked at.", key))
    if TWO_QUESTIONS.search(criterion.description):
        found.append(
            Problem(f"“{name}” seems to ask two questions; split it, so that a score says which one failed.", key)
        )
    for level in criterion.levels:
        vague = VAGUE.search(level.meaning)
        if vague and len(level.meaning) < 60:
            found.append(
                Problem(f"“{name}”, level {level.value:g}: “{vague[0]}” can mean anything; say what is seen.", key)
            )
    return found
