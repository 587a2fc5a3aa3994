"""Templates of graders and candidates: `{{ item.x }}`, `{{ sample.output_tools[0].function.arguments.city }}`. Pure.

Strings go in as they are, other values as compact JSON, null as nothing. Insertion happens once: braces inside a value stay text.
What is not a well-formed reference stays as it is.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

STEP = r"""(?:\.[^\s.\[\]{}"']+|\[\s*-?\d{1,9}\s*\]|\[\s*"[^"]*"\s*\]|\[\s*'[^']*'\s*\])"""
REFERENCE = re.compile(r"\{\{\s*((?:item|sample)(?![\w-])" + STEP + r"*)\s*\}\}")
STEPS = re.compile(r"""\.([^\s.\[\]{}"']+)|\[\s*(-?\d{1,9})\s*\]|\[\s*"([^"]*)"\s*\]|\[\s*'([^']*)'\s*\]""")
SHOWN_NAMES = 8  # names listed in an error


class MissingVariable(LookupError):
    """A reference that leads nowhere: `path` is the reference, the text says which step is missing and what is there."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def references(template: str) -> list[str]:
    """Return the paths that a template refers to, in order, each once."""
    return list(dict.fromkeys(match.group(1) for match in REFERENCE.finditer(template)))


def render(template: str, *, item: Any = None, sample: Any = None) -> str:
    """Fill in a template. Raises MissingVariable for a reference that leads nowhere."""
    roots = {"item": item, "sample": sample}
    return REFERENCE.sub(lambda match: as_inserted(look_up(match.group(1), roots)), template)


def render_messages(messages: list[dict[str, Any]], *, item: Any = None, sample: Any = None) -> list[dict[str, Any]]:
    """Fill in every text of chat messages: content, and the texts of its parts. Raises MissingVariable."""
    return [
        {name: render_part(value, item=item, sample=sample) for name, value in message.items()} for message in messages
    ]


def render_part(value: Any, *, item: Any, sample: Any) -> Any:
    if isinstance(value, str):
        return render(value, item=item, sample=sample)
    if isinstance(value, list):
        return [render_part(part, item=item, sample=sample) for part in value]
    if isinstance(value, dict):
        return {name: render_part(part, item=item, sample=sample) for name, part in value.items()}
    return value


def look_up(path: str, roots: Mapping[str, Any]) -> Any:
    """Follow a path such as `item.rows[2].id` from its root. A step into a text that holds JSON reads through it.

    Raises MissingVariable.
    """
    root = re.split(r"[.\[]", path, maxsplit=1)[0]
    value = roots.get(root)
    if value is None:
        raise MissingVariable(path, f"{path}: there is no {root} here.")
    so_far = root
    for match in STEPS.finditer(path, len(root)):
        if isinstance(value, str):
            value = parsed(value)
        name, index = match.group(1) or match.group(3) or match.group(4), match.group(2)
        if index is None and isinstance(value, list) and name is not None and name.isascii() and name.isdigit():
            index = name
        if index is not None and isinstance(value, list):
            if not -len(value) <= int(index) < len(value):
                raise MissingVariable(path, f"{path}: {so_far} has {len(value)} entries, so there is no [{index}].")
            value = value[int(index)]
        elif isinstance(value, dict) and (name if index is None else index) in value:
            value = value[name if index is None else index]
        else:
            raise MissingVariable(path, f"{path}: {so_far} {what_is_there(value, name or f'[{index}]')}")
        so_far += match.group(0)
    return value


def what_is_there(value: Any, wanted: str) -> str:
    """Say in words what a value has instead of the wanted name."""
    if isinstance(value, dict):
        names = [str(name) for name in list(value)[:SHOWN_NAMES]]
        more = ", …" if len(value) > SHOWN_NAMES else ""
        return f"has no {wanted!r}; it has {', '.join(names)}{more}." if names else f"has no {wanted!r}; it is empty."
    if isinstance(value, list):
        return f"is a list of {len(value)}; use a number such as [0], not {wanted!r}."
    kind = {str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
    return f"is {kind.get(type(value), type(value).__name__)}, which has no {wanted!r}."


def parsed(text: str) -> Any:
    """Return the object or list that a text holds as JSON, else the text."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def as_inserted(value: Any) -> str:
    """Return a value as templates show it: 1.0 as 1.0, true as true, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
