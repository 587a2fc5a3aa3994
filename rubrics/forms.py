"""The rubric form: nested (criteria, each with levels), so it is read by hand into a Standard.

Fields are named `c<criterion>-<field>` and `c<criterion>-l<level>-<field>`. Buttons carry an `action`; those that only change the
form (`add`, `remove:0`, `scale:0:1-5`) save nothing.
"""

import re
from dataclasses import dataclass, replace

from django.http import QueryDict
from django.utils.text import slugify

from rubrics.models import Layer, Mode
from rubrics.standard import CriterionText, LevelText, Standard
from rubrics.starters import SCALES

MAX_CRITERIA = 20
MAX_LEVELS = 20
MAX_TEXT = 20_000


@dataclass(frozen=True)
class RubricForm:
    """What the form holds: the standard as typed, the note, and what is wrong with it by field name."""

    standard: Standard
    note: str
    errors: dict[str, str]


def read_form(post: QueryDict) -> RubricForm:
    """Read the posted form. Numbers that do not parse are reported in `errors` and left out."""
    errors: dict[str, str] = {}
    post = without_nul(post)
    name = post.get("name", "").strip()[:120]
    if not name:
        errors["name"] = "Give the rubric a name."
    mode = post.get("mode", "")
    indexes = sorted({int(match[1]) for key in post if (match := re.match(r"c(\d{1,3})-", key))})[:MAX_CRITERIA]
    criteria: list[CriterionText] = []
    for index in indexes:
        taken = {criterion.key for criterion in criteria}
        criteria.append(read_criterion(post, f"c{index}", taken, errors))
    standard = Standard(
        name=name,
        number=0,
        mode=mode if mode in Mode.values else Mode.DIRECT.value,
        instructions=post.get("instructions", "").strip()[:MAX_TEXT],
        pass_threshold=read_number(post, "pass_threshold", errors),
        criteria=tuple(criteria),
    )
    return RubricForm(standard, post.get("note", "").strip()[:300], errors)


def without_nul(post: QueryDict) -> QueryDict:
    """Return the form without NUL, which PostgreSQL's texts cannot hold."""
    cleaned = post.copy()
    for field in cleaned:
        cleaned[field] = str(cleaned[field]).replace("\0", "")
    return cleaned


def read_criterion(post: QueryDict, prefix: str, taken: set[str], errors: dict[str, str]) -> CriterionText:
    """Read one criterion; a new one gets a key from its name."""
    name = post.get(f"{prefix}-name", "").strip()[:120]
    if not name:
        errors[f"{prefix}-name"] = "Give the criterion a name."
    key = slugify(post.get(f"{prefix}-key", "") or name)[:50] or "criterion"
    base, number = key, 1
    while key in taken:
        number += 1
        key = f"{base}-{number}"
    weight = read_number(post, f"{prefix}-weight", errors)
    layer = post.get(f"{prefix}-layer", "")
    indexes = sorted({int(match[1]) for field in post if (match := re.match(rf"{prefix}-l(\d{{1,3}})-value$", field))})
    levels = []
    for index in indexes[:MAX_LEVELS]:
        at = f"{prefix}-l{index}"
        value = read_number(post, f"{at}-value", errors)
        if value is not None:
            text = {field: post.get(f"{at}-{field}", "").strip() for field in ("label", "meaning", "example")}
            levels.append(LevelText(value, text["label"][:80], text["meaning"][:MAX_TEXT], text["example"][:MAX_TEXT]))
    return CriterionText(
        key=key,
        name=name,
        description=post.get(f"{prefix}-description", "").strip()[:MAX_TEXT],
        layer=layer if layer in Layer.values else Layer.OUTCOME.value,
        weight=1.0 if weight is None else weight,
        levels=tuple(sorted(levels, key=lambda level: level.value)),
    )


def read_number(post: QueryDict, field: str, errors: dict[str, str]) -> float | None:
    """Read a number; an empty field is None, anything else is an error."""
    text = post.get(field, "").strip().replace(",", ".").replace("\N{MINUS SIGN}", "-")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not -1e6 <= value <= 1e6:
        errors[field] = f"“{text[:20]}” is not a number between −1,000,000 and 1,000,000."
        return None
    return value


def apply_action(standard: Standard, action: str) -> Standard:
    """Change the form as a button asks: `add`, `remove:<n>`, `scale:<n>:<name>`, `add-level:<n>`. Anything else changes nothing."""
    verb, _, rest = action.partition(":")
    number, _, name = rest.partition(":")
    criteria = list(standard.criteria)
    at = next((place for place in range(len(criteria)) if str(place) == number), None)
    if verb == "add" and len(criteria) < MAX_CRITERIA:
        keys = {criterion.key for criterion in criteria}
        key = next(f"criterion-{n}" for n in range(1, MAX_CRITERIA + 2) if f"criterion-{n}" not in keys)
        scale = criteria[-1].levels if criteria else tuple(LevelText(value, label) for value, label in SCALES["1-5"])
        levels = tuple(LevelText(level.value, level.label) for level in scale)
        criteria.append(CriterionText(key=key, name="", levels=levels))
    elif verb == "remove" and at is not None:
        del criteria[at]
    elif verb == "add-level" and at is not None and len(criteria[at].levels) < MAX_LEVELS:
        top = max((level.value for level in criteria[at].levels), default=0.0)
        criteria[at] = replace(criteria[at], levels=(*criteria[at].levels, LevelText(top + 1, "")))
    elif verb == "scale" and at is not None and name in SCALES:
        known = {level.value: level for level in criteria[at].levels}
        levels = tuple(known.get(value, LevelText(value, label)) for value, label in SCALES[name])
        criteria[at] = replace(criteria[at], levels=levels)
    return replace(standard, criteria=tuple(criteria))
