"""Langfuse: `langfuse.observation.*` with input and output as JSON or text, `langfuse.trace.*` for the whole trace. Pure."""

from typing import Any

from traces.conventions.common import KINDS, call_tool, read_object, read_words
from traces.conventions.documents import move_document
from traces.conventions.messages import read_answer, read_request
from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_value, read_count, read_text
from traces.conventions.usage import fill_cost, fill_usage, read_usage
from traces.spans import SpanRecord, Usage

NAME = "langfuse"
OBSERVATION = "langfuse.observation."
METADATA = ("langfuse.observation.metadata.", "langfuse.trace.metadata.")
MARKS = frozenset(
    OBSERVATION + name
    for name in (
        "type", "input", "output", "level", "status_message", "model.name", "model.parameters", "usage_details",
        "cost_details", "completion_start_time", "prompt.name", "metadata",
    )
) | {"langfuse.trace.name", "langfuse.trace.input", "langfuse.internal.as_root", "langfuse.internal.is_app_root"}  # fmt: skip
SCOPES = ("langfuse-sdk",)
NAMES = frozenset(("session.id", "user.id"))
PREFIXES = ("langfuse.",)
KIND_BY_TYPE = {"generation": "llm", "span": "chain"}  # the others are called as here


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    kind = read_text(attributes.get(OBSERVATION + "type")).lower()
    kind = KIND_BY_TYPE.get(kind, kind)
    if record.kind == "unknown" and kind in KINDS:
        record.kind = kind
    elif record.kind == "unknown" and OBSERVATION + "model.name" in attributes:
        record.kind = "llm"
    fill_content(record, attributes)
    details = read_object(attributes.get(OBSERVATION + "usage_details"))
    if details:
        fill_usage(record.usage, read_details(details))
    fill_cost(record.usage, read_cost(read_object(attributes.get(OBSERVATION + "cost_details"))))
    name = read_text(attributes.get(OBSERVATION + "prompt.name"))
    if record.prompt is None and name:
        version = read_text(attributes.get(OBSERVATION + "prompt.version"))
        record.prompt = {"name": name, "version": version, "template": None, "variables": None}
    fill_trace(record, attributes)


def fill_content(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read input and output: messages of a model call, arguments and result of a tool, values of anything else."""
    sent = {side: attributes.get(f"{OBSERVATION}{side}") for side in ("input", "output")}
    values = {side: parse_value(value) for side, value in sent.items()}
    if record.kind == "tool":
        places = (f"{OBSERVATION}input", f"{OBSERVATION}output")
        call_tool(record, name=record.name, arguments=sent["input"], result=sent["output"], places=places)
        return
    if record.kind == "llm":
        if not record.input_messages:
            record.input_messages = read_request(values["input"])
        if not record.output_messages:
            record.output_messages = read_answer(values["output"])
        request = values["input"] if isinstance(values["input"], dict) else {}
        tools = request.get("tools") or request.get("functions")
        if record.available_tools is None and isinstance(tools, list) and tools:
            record.available_tools = tools
    for side, value in values.items():
        name, messages = f"{OBSERVATION}{side}", getattr(record, f"{side}_messages")
        if value is None:
            continue
        if messages and messages[0]["content"] == value and isinstance(value, str):
            continue  # a text alone: the message repeats it, and a text is kept in one piece for free
        if messages:
            move_document(record, name, sent[side], value)
        elif getattr(record, side) is None:
            setattr(record, side, value)
            move_value(record, name, side, sent[side], value)


def read_details(details: dict[str, Any]) -> Usage:
    """Return tokens of `usage_details`: a provider's own names, or Langfuse's, where each key counts tokens apart from the others."""
    if "input" not in details and "output" not in details:
        return read_usage(details)
    counts = {key: count for key, value in details.items() if (count := read_count(value)) is not None}

    def total(word: str) -> int | None:
        found = [count for key, count in counts.items() if word in key and key != "total"]
        return sum(found) if found else None

    def part(*words: str) -> int | None:
        return next((count for key, count in counts.items() if all(word in key for word in words)), None)

    cached = part("cache_read")
    return Usage(
        input_tokens=total("input"),
        output_tokens=total("output"),
        cached_input_tokens=cached if cached is not None else part("input", "cached"),
        cache_write_tokens=part("cache_creation"),
        reasoning_tokens=part("reasoning"),
    )


def read_cost(details: dict[str, Any]) -> Any:
    """Return the cost: the total, else the sum of its parts. All zeros stand for unknown."""
    if not any(details.values()):
        return None
    if details.get("total"):
        return details["total"]
    parts = [value for value in details.values() if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return sum(parts) if parts else None


def fill_trace(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read what is said of the whole trace, and metadata of both."""
    record.trace_name = record.trace_name or read_text(attributes.get("langfuse.trace.name"))
    record.release = read_text(attributes.get("langfuse.release")) or record.release
    record.version = record.version or read_text(attributes.get("langfuse.version"))
    if not record.tags:
        record.tags = read_words(attributes.get("langfuse.trace.tags"))
    for side in ("input", "output"):
        value = attributes.get(f"langfuse.trace.{side}")
        if value is not None and not record.parent_span_id and getattr(record, side) is None:
            setattr(record, side, parse_value(value))
    for flag in ("langfuse.internal.as_root", "langfuse.internal.is_app_root"):
        record.is_root = record.is_root or read_text(attributes.get(flag)).lower() == "true"
    metadata: dict[str, Any] = {}
    for whole in ("langfuse.observation.metadata", "langfuse.trace.metadata"):
        if whole in attributes:
            found = parse_value(attributes[whole])
            metadata |= found if isinstance(found, dict) else {"metadata": found}
    for name, value in attributes.items():
        if name.startswith(METADATA):
            metadata[name.split(".", 3)[3]] = parse_value(value)
    record.metadata = metadata | record.metadata
