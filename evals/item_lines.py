"""Dataset items as lines of JSON: what each line must be, and which lines are wrong. Pure."""

import json
import math
from dataclasses import dataclass
from typing import Any

MAX_KEY = 128
MAX_BUCKET = 120
MAX_WRONG = 200  # wrong lines that are kept with their reason; the others are only counted


@dataclass(frozen=True)
class WrongLine:
    """A line that cannot be an item: its number from 1, the reason, and how it starts."""

    number: int
    reason: str
    start: str


@dataclass(frozen=True)
class ItemLines:
    """The items of the good lines in order, the first wrong lines, and how many are wrong in all."""

    items: list[dict[str, Any]]
    wrong: list[WrongLine]
    wrong_count: int

    @property
    def more_wrong(self) -> int:
        return self.wrong_count - len(self.wrong)


def read_item_lines(text: str) -> ItemLines:
    """Read one JSON object a line; blank lines are passed over. A line is wrong when it is not an object, holds nothing, or repeats a key.

    A whole file that is one JSON array of objects is taken too: its elements count as lines.
    """
    items: list[dict[str, Any]] = []
    wrong: list[WrongLine] = []
    wrong_count = 0
    keys: dict[str, int] = {}
    for number, line in numbered_values(text):
        try:
            item = read_item(line)
            key = item.get("key", "")
            if key and key in keys:
                raise ValueError(f"the key {key!r} was used on line {keys[key]}")
            if key:
                keys[key] = number
            items.append(item)
        except ValueError as error:
            wrong_count += 1
            if len(wrong) < MAX_WRONG:
                start = line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)
                wrong.append(WrongLine(number, str(error), start[:120]))
    return ItemLines(items, wrong, wrong_count)


def numbered_values(text: str) -> list[tuple[int, Any]]:
    """Return (number, line) pairs, or the elements of a JSON array."""
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, list):
            return list(enumerate(values, 1))
    # Only \n and \r\n end a line: other separators are legal inside JSON text.
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def read_item(line: Any) -> dict[str, Any]:
    """Return the line's object as an item. Raises ValueError with the reason."""
    value = line
    if isinstance(line, str):
        try:
            value = json.loads(line, parse_constant=refuse_constant)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error.msg} at character {error.colno}") from None
        except RecursionError:
            raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f'{kind_of(value)}, where an object such as {{"input": "…"}} is needed')
    if not any(name not in ("key", "bucket", "id") for name in value):
        raise ValueError("an object with nothing to work on; give it at least an input")
    check_values(value)
    item = dict(value)
    for name, limit in (("key", MAX_KEY), ("bucket", MAX_BUCKET)):
        if item.get(name) is None:
            item.pop(name, None)
            continue
        text = item[name] if isinstance(item[name], str) else json.dumps(item[name], ensure_ascii=False)
        if len(text) > limit:
            raise ValueError(f"{name} has {len(text)} characters; at most {limit} fit")
        item[name] = text
    return item


def check_values(value: Any) -> None:
    """Raise ValueError where a value cannot be kept in every database: NUL, half a character, a number beyond all bounds."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, float) and not math.isfinite(part):
            raise ValueError("a number is too large")
        elif isinstance(part, str):
            if "\x00" in part:
                raise ValueError("a text holds a NUL character")
            if not part.isascii() and any("\ud800" <= character <= "\udfff" for character in part):
                raise ValueError("a text holds half a character (a lone surrogate)")


def refuse_constant(name: str) -> Any:
    raise ValueError(f"not JSON: {name} is not a number")


def kind_of(value: Any) -> str:
    """Name a JSON value's kind with its article."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return {str: "a text", int: "a number", float: "a number", list: "a list"}.get(type(value), "an object")
