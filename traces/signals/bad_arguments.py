"""A call that the tool's own schema does not allow, or of a tool that was not offered."""

import time
from functools import lru_cache
from typing import Any

import orjson
from jsonschema.exceptions import SchemaError

from traces.acts import Run
from traces.json_schema import NotApplicable, check_is_schema, find_errors, make_validator
from traces.result_errors import shorten
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion, needs_calls

MAX_ERRORS = 100  # of one call, among which the first by its place is told
TIME_S = 8.0  # for the schemas of one run: whoever sent it wrote them
BUILT_IN = ("transfer_to_", "handoff", "final_answer", "final_result", "submit")  # frameworks add these by themselves


def schemas(tools: list[Any]) -> dict[str, dict[str, Any] | None]:
    """Return the parameter schemas of tools by name, whatever form they were sent in; None: no schema was sent."""
    found: dict[str, dict[str, Any] | None] = {}
    for tool in tools:
        if isinstance(tool, str):
            found[tool] = None
            continue
        if not isinstance(tool, dict):
            continue
        inner = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        assert isinstance(inner, dict)
        name = inner.get("name") or tool.get("name")
        if not isinstance(name, str) or not name:
            continue
        schema = next(
            (
                inner[key]
                for key in ("parameters", "input_schema", "inputSchema", "schema")
                if isinstance(inner.get(key), dict)
            ),
            None,
        )
        found[name] = schema if schema and ("properties" in schema or "type" in schema) else None
    return found


@lru_cache(maxsize=256)
def validator(text: str) -> Any:
    """Return the validator of a schema, None where the schema itself is broken, points elsewhere or cannot be applied."""
    schema = orjson.loads(text)
    if "$ref" in text and '"$defs"' not in text and '"definitions"' not in text:
        return None
    try:
        check_is_schema(schema)
        return make_validator(schema)
    except (SchemaError, NotApplicable):
        return None


def offence(arguments: Any, schema: dict[str, Any]) -> str:
    """Return how arguments break a schema, in words; empty where they do not, and where the schema cannot be applied."""
    if isinstance(arguments, str):
        if not arguments.strip():
            arguments = {}
        else:
            try:
                arguments = orjson.loads(arguments)
            except orjson.JSONDecodeError:
                return "its arguments are not JSON"
    if arguments is None:
        arguments = {}
    try:
        text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):  # nested too deeply, or a number beyond 64 bits
        return ""
    checker = validator(text)
    if checker is None:
        return ""
    try:
        errors = find_errors(checker, arguments, most=MAX_ERRORS)
    except NotApplicable:
        return ""
    if not errors:
        return ""
    error = min(errors, key=lambda one: list(map(str, one.absolute_path)))
    at = ".".join(str(part) for part in error.absolute_path)
    return shorten(f"{at}: {error.message}" if at else error.message, 200)


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return the calls that break the schema of their tool, and those of tools that the model call did not offer."""
    by_id = {record.span_id: record for record in run.records}
    read: dict[int, dict[str, dict[str, Any] | None]] = {}
    everything: dict[str, dict[str, Any] | None] = {}
    for record in run.records:
        if record.available_tools is not None and id(record.available_tools) not in read:
            read[id(record.available_tools)] = schemas(record.available_tools)
            everything |= read[id(record.available_tools)]
    found = []
    end = time.monotonic() + TIME_S
    for call in run.calls:
        asking = by_id.get(call.asked_by)
        offered = (
            read.get(id(asking.available_tools))
            if asking is not None and asking.available_tools is not None
            else everything
        )
        if not offered:
            continue
        if call.name not in offered:
            if (
                call.name not in everything
                and not call.name.startswith(BUILT_IN)
                and asking is not None
                and asking.kind == "llm"
            ):
                found.append(
                    Suspicion(
                        call.span_id, f"{call.name} is not among the {len(offered)} tools that the model was offered"
                    )
                )
            continue
        schema = offered[call.name]
        words = offence(call.arguments, schema) if schema is not None and time.monotonic() < end else ""
        if words:
            found.append(Suspicion(call.span_id, f"The arguments of {call.name} do not fit its schema: {words}"))
    return found[:MAX_EACH]


def blind(run: Run, limits: Limits) -> str:
    if reason := needs_calls(run, limits):
        return reason
    offered = [record.available_tools for record in run.records if record.available_tools]
    if not offered:
        return "The trace does not say which tools were offered."
    return (
        "" if any(any(schemas(tools).values()) for tools in offered) else "The tools were sent without their schemas."
    )


DETECTOR = Detector(
    name="bad_arguments",
    label="Bad arguments",
    help="A tool was called with arguments that its schema does not allow, or was not among the tools offered.",
    version=1,
    layer="tool_arguments",
    find=find,
    blind=blind,
)
