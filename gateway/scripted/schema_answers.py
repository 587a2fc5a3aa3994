"""Values for a JSON schema: what a scripted model answers when it is asked for structured output. Pure."""

import json
import re
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 8
Number = Callable[[str], float]  # a name in, a number in [0, 1] out
Pick = Callable[[list[str]], str | None]  # options in, the one that fits out, or None


def asked_schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the answer that a request asks for: in its response format, or in words in a system message."""
    form = body.get("response_format")
    if isinstance(form, dict) and isinstance(form.get("json_schema"), dict):
        schema = form["json_schema"].get("schema")
        if isinstance(schema, dict):
            return schema
    for message in body["messages"]:
        content = message.get("content")
        if message.get("role") in ("system", "developer") and isinstance(content, str) and "JSON schema:" in content:
            start = content.find("{", content.index("JSON schema:"))
            try:
                schema, _ = json.JSONDecoder().raw_decode(content, start) if start >= 0 else (None, 0)
            except (ValueError, RecursionError):
                continue
            if isinstance(schema, dict):
                return schema
    return None


def fill_schema(schema: Any, name: str, *, text: str, quality: Number, pick: Pick | None = None, depth: int = 0) -> Any:
    """Return a value that fits a schema. `text` is what strings are taken from, `quality` where numbers and choices come from.

    `pick` chooses among options in words; without it they are looked for in the text.
    """
    rule = schema if isinstance(schema, dict) else {}
    if depth > MAX_DEPTH:
        return None
    if isinstance(rule.get("enum"), list) and rule["enum"]:
        return choose(rule["enum"], name, text=text, quality=quality, pick=pick)
    if "const" in rule:
        return rule["const"]
    for several in ("anyOf", "oneOf", "allOf"):
        if isinstance(rule.get(several), list) and rule[several]:
            return fill_schema(rule[several][0], name, text=text, quality=quality, pick=pick, depth=depth + 1)
    kind = rule.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in rule:
        properties = rule.get("properties")
        return {
            key: fill_schema(inner, str(key), text=text, quality=quality, pick=pick, depth=depth + 1)
            for key, inner in (properties.items() if isinstance(properties, dict) else ())
        }
    if kind == "array":
        item = fill_schema(rule.get("items"), name, text=text, quality=quality, pick=pick, depth=depth + 1)
        return [item] if item is not None else []
    if kind in ("number", "integer"):
        low, high = bounds(rule)
        value = low + (high - low) * quality(name)
        return round(value) if kind == "integer" or high - low >= 4 else round(value, 2)
    if kind == "boolean":
        return quality(name) >= 0.5
    if kind == "null":
        return None
    return sentence(text, name)


def bounds(rule: dict[str, Any]) -> tuple[float, float]:
    """Return the lowest and highest number that a schema allows, 0 and 1 where it does not say."""
    found = []
    for names, default in ((("minimum", "exclusiveMinimum"), 0.0), (("maximum", "exclusiveMaximum"), 1.0)):
        value = next((rule[name] for name in names if isinstance(rule.get(name), int | float)), default)
        found.append(min(max(float(value), -1e9), 1e9))
    return (found[0], max(found))


def choose(options: list[Any], name: str, *, text: str, quality: Number, pick: Pick | None = None) -> Any:
    """Return one of a schema's options: by size where they are numbers, else the one whose words occur most, else by chance."""
    numbers = [option for option in options if isinstance(option, int | float) and not isinstance(option, bool)]
    if len(numbers) == len(options):
        ordered = sorted(numbers)
        return ordered[round(quality(name) * (len(ordered) - 1))]
    words = [str(option) for option in options]
    found = pick(words) if pick else mentioned(words, text)
    if found is not None:
        return next(option for option in options if str(option) == found)
    return options[min(int(quality(name) * len(options)), len(options) - 1)]


def mentioned(options: list[str], text: str) -> str | None:
    """Return the option that a text names most often, None where it names none."""
    low = text.lower()
    counts = {
        option: len(re.findall(rf"(?<!\w){re.escape(option.lower())}(?!\w)", low))
        for option in options
        if option.strip()
    }
    best = max(counts, key=lambda option: counts[option], default=None)
    return best if best is not None and counts[best] else None


def sentence(text: str, name: str) -> str:
    """Return the first sentence of a text, short."""
    found = re.split(r"(?<=[.!?])\s", " ".join(text.split()))[0]
    return found[:200] or f"No {name} was given."
