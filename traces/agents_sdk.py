"""What the OpenAI Agents SDK's own exporter sends (JSON, not OTLP), decoded into items of traces and records of spans. Pure.

A trace's item says the workflow's name, the group (our session) and metadata of the whole trace and has no times; it may come
before or after the spans. Ids stay as sent: they do not fit OTLP's lengths. Everything of a span is in its attributes under the
name that it was sent by, `span_data.input` for example.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from traces.conventions.messages import as_text, read_chat_messages, read_response_items
from traces.conventions.moved import move_chat_list, move_value
from traces.conventions.raw import MAX_DEPTH, is_shallow, parse_value, read_count, read_text
from traces.otlp import DecodeError, read_json
from traces.spans import SpanRecord, Usage

NAME = "openai_agents"
MAX_ID = 128
ORIGIN = {"scope": {"name": "openai-agents"}}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KINDS = {
    "agent": "agent",
    "function": "tool",
    "generation": "llm",
    "response": "llm",
    "handoff": "handoff",
    "guardrail": "guardrail",
    "custom": "chain",
    "mcp_tools": "chain",
    "speech_group": "chain",
}
NAMED = {"agent", "function", "guardrail", "custom"}  # the others are called after their type
# What some rule reads, by type; `type`, ids and times are read of all.
READ = {
    "agent": {"name", "tools"},
    "function": {"name", "input", "output"},
    "generation": {"input", "output", "model", "model_config", "usage"},
    "response": {"response_id", "input", "output", "model", "usage"},
    "handoff": {"from_agent", "to_agent"},
    "guardrail": {"name", "triggered"},
    "custom": {"name", "data"},
    "mcp_tools": {"server", "result"},
    "transcription": {"model", "input", "output", "model_config"},
    "speech": {"model", "input", "output", "model_config"},
    "speech_group": {"input"},
}


@dataclass(frozen=True)
class TraceHead:
    """What a trace's item says of the whole trace."""

    trace_id: str
    workflow_name: str = ""
    group_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def apply(self, record: SpanRecord) -> SpanRecord:
        """Put into a span what the item says of all of them; what the span says itself stays."""
        record.trace_name = record.workflow_name = self.workflow_name
        record.session_id = self.group_id or record.session_id
        record.metadata = {**self.metadata, **record.metadata}
        record.user_id = record.user_id or read_text(self.metadata.get("user_id"))
        record.tags = record.tags or read_tags(self.metadata.get("tags"))
        return record


@dataclass
class DecodedAgents:
    """Items and spans of a request, the response id that each `response` span names, and what could not be kept, with reasons."""

    heads: list[TraceHead] = field(default_factory=list)
    records: list[SpanRecord] = field(default_factory=list)
    responses: dict[tuple[str, str], str] = field(default_factory=dict)  # (trace id, span id): response id
    rejected: list[str] = field(default_factory=list)


def decode_agents(body: bytes) -> DecodedAgents:
    """Decode a request of the exporter. Raises DecodeError where the body is none; one bad item in it is reported and skipped."""
    items = read_json(body).get("data") if body.lstrip()[:1] != b"[" else None
    if not isinstance(items, list):
        raise DecodeError('The body is not {"data": [item, …]}, as the Agents SDK sends it.')
    decoded = DecodedAgents()
    may_be_deep = body.count(b"{") + body.count(b"[") >= MAX_DEPTH
    for place, item in enumerate(items):
        where = f"data[{place}]"
        if not isinstance(item, dict):
            decoded.rejected.append(f"{where}: it is not an object")
        elif may_be_deep and not is_shallow(item):
            decoded.rejected.append(f"{where}: it nests deeper than {MAX_DEPTH} levels")
        else:
            decode_item(item, where, place, decoded)
    return decoded


def decode_item(item: dict[str, Any], where: str, place: int, decoded: DecodedAgents) -> None:
    """Add one item to what was decoded."""
    kind = item.get("object")
    if kind == "trace":
        trace_id = read_text(item.get("id"))
        if not 0 < len(trace_id) <= MAX_ID:
            decoded.rejected.append(f"{where}.id: a trace needs an id of 1 to {MAX_ID} characters")
            return
        metadata = item.get("metadata")
        decoded.heads.append(
            TraceHead(
                trace_id,
                read_text(item.get("workflow_name")),
                read_text(item.get("group_id")),
                metadata if isinstance(metadata, dict) else {},
            )
        )
    elif kind == "trace.span":
        for name in ("id", "trace_id"):
            if not read_text(item.get(name)):
                decoded.rejected.append(f"{where}.{name}: it is missing")
                return
        record = read_span(item, place)
        decoded.records.append(record)
        data = item.get("span_data")
        if isinstance(data, dict) and data.get("type") == "response":
            response_id = read_text(data.get("response_id"))
            if 0 < len(response_id) <= 200:
                decoded.responses[record.trace_id, record.span_id] = response_id
    else:
        decoded.rejected.append(f"{where}.object: {str(kind)[:60]!r} is neither 'trace' nor 'trace.span'")


def read_span(item: dict[str, Any], place: int) -> SpanRecord:
    """Return a span's record."""
    sent = item.get("span_data")
    data: dict[str, Any] = sent if isinstance(sent, dict) else {}
    kind = read_text(data.get("type"))
    metadata = item.get("metadata")
    record = SpanRecord(
        trace_id=read_text(item.get("trace_id")),
        span_id=read_text(item.get("id")),
        parent_span_id=read_text(item.get("parent_id")),
        name=(read_text(data.get("name")) if kind in NAMED else "") or kind or "span",
        kind=KINDS.get(kind, "unknown"),
        start_ns=read_time(item.get("started_at")),
        end_ns=read_time(item.get("ended_at")),
        position=place,
        metadata=metadata if isinstance(metadata, dict) else {},
        attributes={f"span_data.{name}": value for name, value in data.items()},
        origin=ORIGIN,
        convention=NAME,
    )
    if sent is not None and not isinstance(sent, dict):
        record.attributes["span_data"] = sent
    record.status = "ok" if record.end_ns is not None else "unset"
    read_error(item.get("error"), record)
    reader = READERS.get(kind)
    if reader is not None:
        reader(data, record)
    read = READ.get(kind, set())
    record.unrecognised = [f"span_data.{name}" for name in data if name != "type" and name not in read]
    return record


def read_time(value: Any) -> int | None:
    """Return an ISO time as nanoseconds since 1970, exact to the microsecond; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def read_error(error: Any, record: SpanRecord) -> None:
    """Set status and text where the span failed: what `data` says of the cause, else the message."""
    if error is None:
        return
    record.attributes["error"] = error
    record.status = "error"
    found = error if isinstance(error, dict) else {"message": error}
    message, data = read_text(found.get("message")), found.get("data")
    cause = data.get("error") if isinstance(data, dict) else None
    record.status_message = message
    record.error_message = (as_text(cause) if cause not in (None, "") else "") or message or "The span failed."


def read_usage(usage: Any) -> Usage:
    """Return token counts, in the names of either API."""
    found = usage if isinstance(usage, dict) else {}
    given, written = found.get("input_tokens_details"), found.get("output_tokens_details")
    given = given if isinstance(given, dict) else {}
    written = written if isinstance(written, dict) else {}

    def first(*values: Any) -> int | None:
        return next((count for value in values if (count := read_count(value)) is not None), None)

    return Usage(
        input_tokens=first(found.get("input_tokens"), found.get("prompt_tokens")),
        output_tokens=first(found.get("output_tokens"), found.get("completion_tokens")),
        cached_input_tokens=first(given.get("cached_tokens"), found.get("cached_input_tokens")),
        cache_write_tokens=first(given.get("cache_write_tokens"), found.get("cache_write_input_tokens")),
        reasoning_tokens=first(written.get("reasoning_tokens"), found.get("reasoning_tokens")),
    )


def read_tags(value: Any) -> list[str]:
    """Return tags given as a list, or as a text with commas."""
    if isinstance(value, list):
        return [text for one in value if (text := read_text(one))]
    return [text for part in read_text(value).split(",") if (text := part.strip())]


# One reader a type -----------------------------------------------------------------------------------------------


def read_agent(data: dict[str, Any], record: SpanRecord) -> None:
    record.agent_name = read_text(data.get("name"))
    tools = data.get("tools")
    if isinstance(tools, list) and tools:
        record.available_tools = [{"name": tool} if isinstance(tool, str) else tool for tool in tools]


def read_function(data: dict[str, Any], record: SpanRecord) -> None:
    arguments, result = parse_value(data.get("input")), parse_value(data.get("output"))
    record.tool = {"name": record.name, "call_id": None, "arguments": arguments, "result": result}
    record.content_recorded = arguments is not None or result is not None
    for name, value in (("input", arguments), ("output", result)):
        if value is not None:
            move_value(
                record, f"span_data.{name}", f"tool.{'arguments' if name == 'input' else 'result'}", data[name], value
            )


def read_generation(data: dict[str, Any], record: SpanRecord) -> None:
    record.model = read_text(data.get("model"))
    record.usage = read_usage(data.get("usage"))
    record.input_messages = read_chat_messages(data.get("input"))
    record.output_messages = read_chat_messages(as_answers(data.get("output")))
    record.content_recorded = bool(record.input_messages or record.output_messages)
    move_chat_list(record, "span_data.input", data.get("input"))


def as_answers(output: Any) -> Any:
    """Return an output with the assistant as the one who says what names nobody."""
    if isinstance(output, str):
        return [{"role": "assistant", "content": output}]
    items = output if isinstance(output, list) else [output]
    return [{"role": "assistant", **one} if isinstance(one, dict) and "content" in one else one for one in items]


def read_response(data: dict[str, Any], record: SpanRecord) -> None:
    """Read a response: its id and usage, and its text where an exporter of the application's own adds it."""
    record.model = read_text(data.get("model"))
    record.usage = read_usage(data.get("usage"))
    record.input_messages = read_response_items(data.get("input"), "user")
    record.output_messages = read_response_items(data.get("output"), "assistant")
    record.content_recorded = bool(record.input_messages or record.output_messages)
    move_chat_list(record, "span_data.input", data.get("input"))


def read_handoff(data: dict[str, Any], record: SpanRecord) -> None:
    names = [read_text(data.get(name)) or "?" for name in ("from_agent", "to_agent")]
    record.display_name = f"{names[0]} → {names[1]}"
    record.agent_name = read_text(data.get("from_agent"))


def read_guardrail(data: dict[str, Any], record: SpanRecord) -> None:
    if "triggered" in data:
        record.output = {"triggered": data["triggered"]}


def read_custom(data: dict[str, Any], record: SpanRecord) -> None:
    """Read a span of the application's own, or a task or turn of the SDK's, which repeat the usage of the calls below them."""
    inner = data.get("data")
    if not isinstance(inner, dict) or "sdk_span_type" not in inner:
        return
    record.usage = read_usage(inner.get("usage"))
    record.agent_name = read_text(inner.get("agent_name"))
    if inner["sdk_span_type"] == "turn" and read_count(inner.get("turn")) is not None:
        record.display_name = f"turn {inner['turn']}"


def read_mcp_tools(data: dict[str, Any], record: SpanRecord) -> None:
    if read_text(data.get("server")):
        record.display_name = f"tools of {read_text(data['server'])}"
    record.output = data.get("result")


def read_audio(data: dict[str, Any], record: SpanRecord) -> None:
    """Read speech to text, or text to speech: audio stays in the attributes, text is shown."""
    record.model = read_text(data.get("model"))
    record.input = data["input"] if isinstance(data.get("input"), str) else None
    record.output = data["output"] if isinstance(data.get("output"), str) else None


READERS: dict[str, Callable[[dict[str, Any], SpanRecord], None]] = {
    "agent": read_agent,
    "function": read_function,
    "generation": read_generation,
    "response": read_response,
    "handoff": read_handoff,
    "guardrail": read_guardrail,
    "custom": read_custom,
    "mcp_tools": read_mcp_tools,
    "transcription": read_audio,
    "speech": read_audio,
    "speech_group": read_audio,
}
