"""A span of no known convention: a step. Well-known names on it are still read. Pure."""

from traces.conventions.common import KINDS, read_object, read_words
from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_value, read_text
from traces.spans import SpanRecord

NAME = "plain"
NAMES = frozenset(
    (
        "input.value",
        "output.value",
        "input.mime_type",
        "output.mime_type",
        "tool.name",
        "tool_call.id",
        "metadata",
        "tags",
    )
)
MARKS: frozenset[str] = frozenset()  # whatever no other took
SCOPES: tuple[str, ...] = ()
PREFIXES: tuple[str, ...] = ()


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record: a step with a tool's name is a tool call, any other a chain."""
    attributes = raw.attributes
    if record.kind == "unknown":
        hint = read_text(
            attributes.get("inference.observation.kind") or attributes.get("inference.observation_kind")
        ).lower()
        record.kind = hint if hint in KINDS else ("tool" if "tool.name" in attributes else "chain")
    record.metadata = record.metadata or dict(read_object(attributes.get("metadata")))
    record.tags = record.tags or read_words(attributes.get("tags"))
    values = {side: parse_value(attributes.get(f"{side}.value")) for side in ("input", "output")}
    if record.kind == "tool":
        call_id = read_text(attributes.get("tool_call.id")) or None
        name = read_text(attributes.get("tool.name")) or record.name
        record.tool = {"name": name, "call_id": call_id, "arguments": values["input"], "result": values["output"]}
        places = {"input": "tool.arguments", "output": "tool.result"}
    else:
        record.input, record.output = values["input"], values["output"]
        places = {"input": "input", "output": "output"}
    for side, place in places.items():
        if values[side] is not None:
            move_value(record, f"{side}.value", place, attributes[f"{side}.value"], values[side])
