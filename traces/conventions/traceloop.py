"""Traceloop's decorators: `traceloop.span.kind` with a function's arguments and result, and properties that go to every span. Pure."""

from typing import Any

from traces.conventions.common import call_tool
from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_json, parse_value, read_text
from traces.spans import SpanRecord

NAME = "traceloop"
MARKS = frozenset(("traceloop.span.kind",))
HINTS = frozenset(("traceloop.workflow.name", "traceloop.entity.name", "traceloop.entity.path", "traceloop.prompt.key"))
SCOPES = ("traceloop.tracer",)
NAMES: frozenset[str] = frozenset()
PREFIXES = ("traceloop.",)
PROPERTY = "traceloop.association.properties."
KNOWN = {"session_id", "user_id"}  # these have fields of their own
KINDS = {"workflow": "chain", "task": "chain", "agent": "agent", "tool": "tool"}


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record. A model call has the properties only."""
    attributes = raw.attributes
    kind = KINDS.get(read_text(attributes.get("traceloop.span.kind")).lower(), "")
    if record.kind == "unknown" and kind:
        record.kind = kind
    entity = read_text(attributes.get("traceloop.entity.name"))
    if kind:
        record.display_name = record.display_name or entity
        if record.kind == "agent":
            record.agent_name = record.agent_name or entity
        fill_content(record, attributes, entity)
    key = read_text(attributes.get("traceloop.prompt.key"))
    template = attributes.get("traceloop.prompt.template")
    if record.prompt is None and (key or template):
        version = read_text(attributes.get("traceloop.prompt.version"))
        variables = parse_value(attributes.get("traceloop.prompt.template_variables"))
        record.prompt = {"name": key, "version": version, "template": template, "variables": variables}
    found = {name[len(PROPERTY) :]: value for name, value in attributes.items() if name.startswith(PROPERTY)}
    record.metadata = {key: value for key, value in found.items() if key not in KNOWN} | record.metadata


def fill_content(record: SpanRecord, attributes: dict[str, Any], entity: str) -> None:
    """Read what a decorated function was given and gave back."""
    places = ("traceloop.entity.input", "traceloop.entity.output")
    sent = {side: attributes.get(place) for side, place in zip(("input", "output"), places, strict=True)}
    if record.kind == "tool":
        name = read_text(attributes.get("gen_ai.tool.name")) or entity or record.name
        call_tool(record, name=name, arguments=sent["input"], result=sent["output"], places=places)
        return
    for (side, value), place in zip(sent.items(), places, strict=True):
        if value is None or getattr(record, side) is not None:
            continue
        found = parse_value(value)
        inner = unwrap_callback(found)
        setattr(record, side, inner)
        if inner is found:
            move_value(record, place, side, value, found)


def unwrap_callback(found: Any) -> Any:
    """Return what a chain was given or gave back, out of what LangChain's callback got beside it."""
    if isinstance(found, dict) and "kwargs" in found:
        for key in ("inputs", "outputs", "output"):
            if key in found and parse_json(found[key]) != {}:
                return found[key]
    return found
