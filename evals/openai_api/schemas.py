"""JSON Schema of an eval's rows: is it one, does a row satisfy it, and which template references it proves wrong. Pure."""

import re
from collections.abc import Callable
from typing import Any

import regex
from jsonschema.exceptions import SchemaError

from evals.openai_api.reading import BadRequest, joined
from evals.templating import STEPS, references
from traces.json_schema import NotApplicable, check_is_schema, find_errors, make_validator, patterns_of

CheckRow = Callable[[Any], tuple[str, str] | None]  # a row's item in; what is wrong and the path to it out


def check_schema(schema: Any, place: str) -> None:
    """Raise BadRequest unless the value is a JSON Schema for objects."""
    if not isinstance(schema, dict):
        raise BadRequest(f"`{place}` is required and must be a JSON Schema, an object.", param=place)
    try:
        check_is_schema(schema)
    except SchemaError as error:
        where = joined(place, ".".join(str(step) for step in error.absolute_path))
        raise BadRequest(f"`{where}` is no JSON Schema: {error.message[:300]}.", param=where) from None
    except NotApplicable as problem:
        raise BadRequest(f"`{place}` cannot be applied: {problem}.", param=place) from None
    for pattern, where in patterns_of(schema, place):
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise BadRequest(f"`{where}` is no pattern: {error}.", param=where) from None


def row_checker(schema: dict[str, Any]) -> CheckRow:
    """Return a function that says what is wrong with a row's item."""
    try:
        validator = make_validator(schema)
    except NotApplicable as problem:
        reason = f"the item schema cannot be applied: {problem}"
        return lambda item: (reason, "")

    def check(item: Any) -> tuple[str, str] | None:
        try:
            errors = find_errors(validator, item)
        except NotApplicable as problem:
            return f"the item schema cannot be applied: {problem}"[:300], ""
        if not errors:
            return None
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in errors[0].absolute_path)
        return errors[0].message[:300], path

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
