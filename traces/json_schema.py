"""JSON Schemas that somebody sent, applied to values: nothing is fetched, and none may stop the server. Pure."""

import time
from collections.abc import Iterator
from contextvars import ContextVar
from itertools import islice
from typing import Any

import attrs
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

PATTERN_S = 0.5  # how long one pattern may look at one text
CHECK_S = 2.0  # how long a whole value may be looked at
FEW = 1000  # items whose uniqueness may be found by comparing each with each
DEADLINE: ContextVar[float] = ContextVar("deadline")  # of the check at hand, on the monotonic clock


class NotApplicable(ValueError):
    """A schema that cannot be applied: it points elsewhere or at itself without end, or takes too long."""


def time_left() -> float:
    """Return the seconds that the check at hand still has. Raises NotApplicable where there are none."""
    left = DEADLINE.get(time.monotonic() + CHECK_S) - time.monotonic()
    if left <= 0:
        raise NotApplicable("it takes too long")
    return left


def matches(pattern: str, text: str) -> bool:
    """Say whether a pattern is found in a text. Raises NotApplicable: a pattern must not stop the server."""
    try:
        return regex.search(pattern, text, timeout=min(PATTERN_S, time_left())) is not None
    except TimeoutError:
        raise NotApplicable(f"the pattern {pattern[:80]!r} takes too long on this text") from None
    except regex.error as error:
        raise NotApplicable(f"{pattern[:80]!r} is no pattern: {error}") from None


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


def check_additional_properties(validator: Any, other: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    patterns = schema.get("patternProperties")
    if not patterns or not validator.is_type(instance, "object"):
        yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, other, instance, schema) or ()
        return
    known = schema.get("properties", {})
    extras = [
        name for name in instance if name not in known and not any(matches(pattern, name) for pattern in patterns)
    ]
    if validator.is_type(other, "object"):
        for name in extras:
            yield from validator.descend(instance[name], other, path=name)
    elif not other and extras:
        yield ValidationError(f"Additional properties are not allowed ({', '.join(map(repr, extras[:5]))})")


def check_unique_items(validator: Any, is_unique: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    is_long = is_unique and validator.is_type(instance, "array") and len(instance) > FEW
    if is_long and not all(isinstance(one, str) for one in instance):  # texts alone can be sorted for certain
        raise NotApplicable(f"there are more than {FEW} items to compare with each other")
    yield from Draft202012Validator.VALIDATORS["uniqueItems"](validator, is_unique, instance, schema) or ()


SafeValidator = extend(
    Draft202012Validator,
    {
        "pattern": check_pattern,
        "patternProperties": check_pattern_properties,
        "additionalProperties": check_additional_properties,
        "uniqueItems": check_unique_items,
    },
)


def step_inside(validator: Any, **changes: Any) -> Any:
    """Return the validator of a part of the schema: jsonschema's own would leave these rules where the part has a `$schema`."""
    time_left()  # parts that refer to others twice, and these to others twice, have no end in practice
    return attrs.evolve(validator, **changes)


SafeValidator.evolve = step_inside


def check_is_schema(schema: Any) -> None:
    """Raise jsonschema's SchemaError unless the value is a JSON Schema, and NotApplicable where it is nested too deeply."""
    try:
        Draft202012Validator.check_schema(schema)
    except RecursionError:
        raise NotApplicable("it is nested too deeply") from None


def make_validator(schema: Any) -> Any:
    """Return the validator of a schema. A `$ref` to another place than the schema itself is never fetched. Raises NotApplicable."""
    if is_pattern_left(schema):
        raise NotApplicable("patternProperties and unevaluatedProperties are not read together")
    return SafeValidator(schema, registry=Registry())


def find_errors(validator: Any, value: Any, *, most: int = 1) -> list[ValidationError]:
    """Return the first errors of a value. Raises NotApplicable where the schema cannot be applied to it."""
    token = DEADLINE.set(time.monotonic() + CHECK_S)
    try:
        return list(islice(validator.iter_errors(value), most))
    except RecursionError:
        raise NotApplicable("it is nested too deeply, or the schema refers to itself without end") from None
    except NotApplicable:
        raise
    except (Unresolvable, ValueError) as problem:  # ValueError: a `$ref` that is no address
        raise NotApplicable(str(problem)) from None
    finally:
        DEADLINE.reset(token)


def is_pattern_left(schema: Any) -> bool:
    """Say whether jsonschema itself would search for the patterns of names, without a limit of time."""
    found = {
        key for part, _ in parts_of(schema, "") for key in ("patternProperties", "unevaluatedProperties") if key in part
    }
    return len(found) == 2


def patterns_of(schema: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield every pattern in a schema with its place."""
    for part, where in parts_of(schema, place):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"], f"{where}.pattern"
        if isinstance(part.get("patternProperties"), dict):
            yield from ((name, f"{where}.patternProperties") for name in part["patternProperties"])


def parts_of(schema: Any, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield every object in a schema with its place."""
    waiting = [(schema, place)]
    while waiting:
        part, where = waiting.pop()
        if isinstance(part, dict):
            yield part, where
            waiting += [(inner, f"{where}.{name}") for name, inner in part.items()]
        elif isinstance(part, list):
            waiting += [(inner, f"{where}[{number}]") for number, inner in enumerate(part)]
