"""JSON Schema of an eval's rows: is it one, does a row satisfy it, and which template references it proves wrong. Pure."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from evals.openai_api.reading import BadRequest, joined
from evals.templating import STEPS, references

PATTERN_S = 0.5  # how long one pattern may look at one text
CheckRow = Callable[[Any], tuple[str, str] | None]  # a row's item in; what is wrong and the path to it out


class PatternTimeout(ValueError):
    """A pattern of the schema takes too long on a text."""


def matches(pattern: str, text: str) -> bool:
    """Say whether a pattern is found in a text. Raises PatternTimeout: a pattern must not stop the server."""
    try:
        return regex.search(pattern, text, timeout=PATTERN_S) is not None
    except TimeoutError:
        raise PatternTimeout(f"the pattern {pattern[:80]!r} takes too long on this text") from None


def check_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not matches(pattern, instance):
        yield ValidationError(f"{instance[:80]!r} does not match {pattern!r}")


def check_pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if matches(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


RowValidator = extend(Draft202012Validator, {"pattern": check_pattern, "patternProperties": check_pattern_properties})


def check_schema(schema: Any, place: str) -> None:
    """Raise BadRequest unless the value is a JSON Schema for objects."""
    if not isinstance(schema, dict):
        raise BadRequest(f"`{place}` is required and must be a JSON Schema, an object.", param=place)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = joined(place, ".".join(str(step) for step in error.absolute_path))
        raise BadRequest(f"`{where}` is no JSON Schema: {error.message[:300]}.", param=where) from None
    except RecursionError:
        raise BadRequest(f"`{place}` is nested too deeply.", param=place) from None
    for pattern, where in patterns_of(schema, place):
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise BadRequest(f"`{where}` is no pattern: {error}.", param=where) from None


def patterns_of(schema: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every pattern in a schema with its place."""
    waiting = [(schema, place)]
    while waiting:
        part, where = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield part["pattern"], f"{where}.pattern"
            if isinstance(part.get("patternProperties"), dict):
                yield from ((name, f"{where}.patternProperties") for name in part["patternProperties"])
            waiting += [(inner, f"{where}.{name}") for name, inner in part.items()]
        elif isinstance(part, list):
            waiting += [(inner, f"{where}[{number}]") for number, inner in enumerate(part)]


def row_checker(schema: dict[str, Any]) -> CheckRow:
    """Return a function that says what is wrong with a row's item. A `$ref` to another place than the schema itself is never fetched."""
    validator = RowValidator(schema, registry=Registry())

    def check(item: Any) -> tuple[str, str] | None:
        try:
            error = next(validator.iter_errors(item), None)
        except RecursionError:
            return "it is nested too deeply, or the schema refers to itself without end", ""
        except (Unresolvable, PatternTimeout) as problem:
            return f"the item schema cannot be applied: {problem}"[:300], ""
        if error is None:
            return None
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        return error.message[:300], path

    return check


def wrapped_schema(item_schema: dict[str, Any], *, with_sample: bool) -> dict[str, Any]:
    """Return the schema of a whole row, as an eval answers it."""
    properties: dict[str, Any] = {"item": item_schema}
    if with_sample:
        properties["sample"] = SAMPLE_SCHEMA
    return {"type": "object", "properties": properties, "required": list(properties)}


SAMPLE_SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "output_text": {"type": "string"},
        "output_json": {"type": "object"},
        "output_tools": {"type": "array", "items": {"type": "object"}},
        "input": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
    "required": ["model", "choices"],
}
LOG_SCHEMA = {
    "type": "object",
    "properties": {"item": {"type": "object"}, "sample": {"type": "object"}},
    "required": ["item", "sample"],
}


# References that a schema proves wrong ---------------------------------------------------------------------------

OPEN = ("$ref", "$dynamicRef", "anyOf", "oneOf", "allOf", "if", "patternProperties", "dependentSchemas", "not")


def check_references(value: Any, schema: dict[str, Any], place: str) -> None:
    """Raise BadRequest for a template reference to the item that no row can have: a closed schema does not name it."""
    waiting = [(value, place)]
    while waiting:
        part, where = waiting.pop()
        if isinstance(part, str):
            for path in references(part):
                if re.match(r"item(?![\w-])", path) and (missing := unreachable(path, schema)):
                    raise BadRequest(
                        f"`{where}` refers to {path}, and the item schema has no {missing!r} there and allows no other keys.",
                        param=where,
                    )
        elif isinstance(part, dict):
            waiting += [(inner, f"{where}.{name}") for name, inner in part.items() if name != "source"]
        elif isinstance(part, list):
            waiting += [(inner, f"{where}[{number}]") for number, inner in enumerate(part)]


def unreachable(path: str, schema: Any) -> str:
    """Return the first step of a path that the schema rules out, or an empty text where it may exist."""
    for match in STEPS.finditer(path, len("item")):
        if not isinstance(schema, dict) or any(name in schema for name in OPEN):
            return ""
        name = match.group(1) or match.group(3) or match.group(4)
        if name is None or schema.get("type", "object") != "object":
            return ""
        properties = schema.get("properties")
        if isinstance(properties, dict) and name in properties:
            schema = properties[name]
        elif schema.get("additionalProperties") is False:
            return name
        else:
            return ""
    return ""
