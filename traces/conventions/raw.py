"""A span as sent, before any convention reads it, and small readers of its values. Pure."""

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

MAX_DEPTH = 100  # of nested values; the JSON writer of the store stops at 254
OPENERS = ("{", "[", " ", "\n", "\t", "\r")
SCRUBBED = "[Scrubbed due to"  # Logfire's scrubber puts this in place of values, ids included
NUMBER_STYLES = re.compile(r"\de|0\.0000")  # written otherwise by Python: 1e+16 and not 1e16, 1e-05 and not 0.00001
REDACTED = "__REDACTED__"  # OpenInference puts this in place of content that it was told not to send


@dataclass(slots=True)
class RawSpan:
    """One span as decoded from OTLP. Values are JSON-safe; `end_ns` None: not ended yet; times are nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_ns: int | None
    end_ns: int | None
    status_code: int  # 0 unset, 1 ok, 2 error
    status_message: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    links: list[dict[str, Any]] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LogItem:
    """A log record that belongs to a span. `time_ns` is when it happened, else when it was seen."""

    trace_id: str
    span_id: str
    time_ns: int | None
    event_name: str
    attributes: dict[str, Any]
    body: Any = None


def read_text(value: Any) -> str:
    """Return a value as one text for a column: "" for none, for lists and objects, and for a scrubber's placeholder."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.startswith(SCRUBBED):
        return ""
    return text.replace("\x00", "\ufffd").strip() if "\x00" in text else text.strip()


def read_count(value: Any) -> int | None:
    """Return a whole, non-negative number sent as integer, whole float or digits; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        value = value.strip()
        if not (value.isascii() and value.isdigit()) or len(value) > 18:
            return None
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and 0 <= value < 2**62 else None
    return value if isinstance(value, int) and 0 <= value < 2**62 else None


def read_amount(value: Any) -> float | None:
    """Return a finite, non-negative number sent as number or text; None for anything else."""
    if isinstance(value, bool) or value is None or isinstance(value, (dict, list)):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if 0 <= amount < 1e15 else None


def parse_json(text: Any) -> Any:
    """Return what a JSON object or list in text holds; None where the text is something else, broken, or too deep.

    A value that is an object or a list already is returned as it is.
    """
    if not isinstance(text, str):
        return text if isinstance(text, (dict, list)) else None
    if not text.startswith(OPENERS) or (text[0].isspace() and text.lstrip()[:1] not in ("{", "[")):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    # Each level opens and closes: few signs, few levels.
    if len(text) < 2 * MAX_DEPTH or text.count("{") + text.count("[") < MAX_DEPTH:
        return value
    return value if is_shallow(value) else None


def is_shallow(value: Any) -> bool:
    """Say whether a value nests at most MAX_DEPTH levels."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return False
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return True


def parse_value(text: Any) -> Any:
    """Return a sent value as a reader wants it: an object or list where the text is one, an unquoted JSON string, else the text."""
    found = parse_json(text)
    if found is not None:
        return found
    if isinstance(text, str) and len(text) > 1 and text[0] == '"' and text[-1] == '"':
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    return text


# How a JSON text was written: JavaScript's way, or Python's, each with or without escapes of other letters than ASCII.


def write_json(value: Any, style: str) -> str:
    """Return a value as JSON text in a style: compact, compact_ascii, spaced (Python's default) or spaced_unicode."""
    if style == "compact":
        return orjson.dumps(value).decode()
    if style == "compact_ascii":
        return json.dumps(value, separators=(",", ":"))
    return json.dumps(value, ensure_ascii=style == "spaced")


def json_style(text: str, value: Any) -> str | None:
    """Return the style that writes the value as exactly this text, or None."""
    key = text.find('":')
    is_spaced = text[key + 2 : key + 3] == " " if key > 0 else ", " in text
    styles: tuple[str, ...]
    if text.isascii():
        styles = ("spaced", "spaced_unicode") if is_spaced else ("compact", "compact_ascii")
    else:
        styles = ("spaced_unicode",) if is_spaced else ("compact",)
    if is_spaced and is_plainly_spaced(text, value):
        return styles[0]
    return next((style for style in styles if write_json(value, style) == text), None)


LONGEST_KEPT = 4096  # characters of a text whose style is remembered


def object_style(text: Any) -> str | None:
    """Return the style of a text that is a JSON object with something in it, else None. The same arguments come span after span."""
    if not isinstance(text, str):
        return None
    return kept_style(text) if len(text) <= LONGEST_KEPT else read_style(text)


def read_style(text: str) -> str | None:
    found = parse_json(text)
    return json_style(text, found) if isinstance(found, dict) and found else None


kept_style = lru_cache(maxsize=1024)(read_style)


def is_plainly_spaced(text: str, value: Any) -> bool:
    """Say whether a text is the compact one of a value, with a space after each comma and colon between its strings.

    Then Python's writer gives this text too, which is slower to ask; where the two writers differ, the answer is no.
    """
    if "\0" in text or "\x7f" in text:
        return False
    try:
        compact = orjson.dumps(value).decode()
    except TypeError:
        return False
    if "\\" in text:
        text, compact = without_escapes(text), without_escapes(compact)
    pieces = compact.split('"')
    between = '"'.join(pieces[::2])
    if NUMBER_STYLES.search(between):
        return False
    pieces[::2] = between.replace(",", ", ").replace(":", ": ").split('"')
    return '"'.join(pieces) == text


def without_escapes(text: str) -> str:
    """Put other characters in the place of escaped backslashes and quotes, so that each quote left begins or ends a string."""
    return text.replace("\\\\", "\0\0").replace('\\"', "\0\1")
