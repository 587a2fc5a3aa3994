"""From a thread of messages to the spans of a run: the agent at the root, a span per message and per tool call. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from traces.conventions.raw import parse_value
from traces.conversation import plain_text, text_of
from traces.formats.base import span_id
from traces.spans import Message, SpanRecord, Usage


@dataclass
class Turn:
    """One message of a run. `at_ns`: when it was said, None where the source gives no times; `start_ns`: when it was asked for.

    `is_call` false: said by a script or a person, not asked of a model. `is_seen` false: the agent's model never got it.
    """

    message: Message
    at_ns: int | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)
    is_call: bool = True
    is_seen: bool = True
    failed: bool = False
    start_ns: int | None = None
    agent_name: str = ""  # who speaks, in a run of several
    title: str = ""  # what the span is called to a reader, where its name says too little
    attributes: dict[str, Any] = field(default_factory=dict)


def spans_of_thread(root: SpanRecord, turns: list[Turn], *, tools: list[Any] | None = None) -> list[SpanRecord]:
    """Return the root and a span for each turn: model calls with all that was said before, tool calls, and events for the rest.

    A turn's span lasts from the turn before it to its own time; without times it has only its position.
    """
    records = [root]
    said: list[Message] = []
    calls: dict[str, dict[str, Any]] = {}
    before = root.start_ns
    for place, turn in enumerate(turns, 1):
        message = turn.message
        record = SpanRecord(
            trace_id=root.trace_id,
            span_id=span_id(root.trace_id, place),
            parent_span_id=root.span_id,
            position=place,
            start_ns=turn.start_ns or (min(before, turn.at_ns) if before is not None and turn.at_ns else turn.at_ns),
            end_ns=turn.at_ns,
            status="error" if turn.failed else "ok",
            agent_name=turn.agent_name or root.agent_name,
            display_name=turn.title,
            attributes=turn.attributes,
            convention=root.convention,
        )
        before = turn.at_ns if turn.at_ns is not None else before
        if message["role"] == "tool" and turn.is_seen:
            fill_tool(record, message, calls, turn.failed)
        elif message["role"] == "assistant" and turn.is_call:
            record.kind, record.name = "llm", f"chat {turn.model or turn.agent_name}".strip()
            record.model, record.usage = turn.model, turn.usage
            record.input_messages, record.output_messages = list(said), [message]
            record.available_tools = tools
        else:
            record.kind = "event"
            record.name = f"{message['role']} message"
            if turn.is_seen:
                record.output_messages = [message]
            else:
                record.output = text_of(message["content"]) or message.get("tool_calls")
        for call in message.get("tool_calls", ()):
            if call.get("id"):
                calls[call["id"]] = call
        if turn.is_seen:
            said.append(message)
        records.append(record)
    if root.input is None and not root.input_messages:
        root.input = next((plain_text(text_of(found["content"])) for found in said if found["role"] == "user"), None)
    if root.output is None and not root.output_messages:
        spoken = [text_of(found["content"]) for found in said if found["role"] == "assistant"]
        root.output = next((text for text in reversed(spoken) if text.strip()), None)
    return records


def fill_tool(record: SpanRecord, message: Message, calls: dict[str, dict[str, Any]], failed: bool) -> None:
    """Make a span the tool call that a message answers."""
    call = calls.get(message.get("tool_call_id") or "") or {}
    text = text_of(message["content"])
    record.kind = "tool"
    record.name = message.get("name") or call.get("name") or "tool"
    record.tool = {
        "name": record.name,
        "call_id": message.get("tool_call_id"),
        "arguments": call.get("arguments"),
        "result": parse_value(text),
    }
    if failed:
        record.error_message = record.status_message = text


def read_time(value: Any) -> int | None:
    """Return an ISO time (UTC where it names no zone) or a number of seconds, milliseconds or nanoseconds as nanoseconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 2**63:
        if value < 1e11:
            return int(value * 1_000_000_000)
        return int(value) * 1_000_000 if value < 1e14 else int(value)
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    found = (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
    return found if found > 0 else None
