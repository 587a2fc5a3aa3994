"""Content that comes as log records apart from its span: whichever comes first. Pure."""

from dataclasses import replace
from typing import Any

from traces.conventions.common import read_object
from traces.conventions.messages import read_chat_message, read_instructions, read_part_messages
from traces.conventions.otel_genai import fill_usage, has_content
from traces.conventions.raw import LogItem, parse_json, read_text
from traces.spans import Message, SpanRecord

DETAILS = "gen_ai.client.inference.operation.details"
ROLE_BY_EVENT = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CHOICE = "gen_ai.choice"
SENT_NAMES = {
    "input_messages": ("gen_ai.input.messages", "gen_ai.system_instructions", "llm.input_messages", "gen_ai.prompt"),
    "output_messages": ("gen_ai.output.messages", "llm.output_messages", "gen_ai.completion"),
}
FROM_LOGS = ("otel_genai", "genai_legacy")  # spans of these get messages from log records
MESSAGE_EVENTS = (*ROLE_BY_EVENT, CHOICE, "gen_ai.content.prompt", "gen_ai.content.completion")


def apply_logs(record: SpanRecord, logs: list[LogItem]) -> SpanRecord:
    """Return a span's record with what its log records say: messages, tools, tokens, exceptions.

    Takes all the log records of the span known so far, in the order of arrival; applying more of them later, or the same
    ones again, gives the same as all at once. What the span itself said is never replaced.
    """
    if not logs:
        return record
    record = replace(record, usage=replace(record.usage), events=list(record.events))
    ordered = sorted(logs, key=lambda log: log.time_ns or 0)
    sides = {"input_messages": read_inputs(ordered), "output_messages": read_outputs(ordered)}
    for field, messages in sides.items():
        if messages and is_free(record, field):
            setattr(record, field, messages)
    for log in ordered:
        if record.available_tools is None:
            tools = parse_json(log.attributes.get("gen_ai.tool.definitions"))
            record.available_tools = tools if isinstance(tools, list) and tools else None
        if log.event_name == DETAILS:
            fill_usage(record, log.attributes)
            record.model = record.model or read_text(
                log.attributes.get("gen_ai.response.model") or log.attributes.get("gen_ai.request.model")
            )
        add_exception(record, log)
    if not record.content_recorded:
        record.content_recorded = has_content(record)
    return record


def is_free(record: SpanRecord, field: str) -> bool:
    """Say whether the span itself gave no messages on a side: whatever is there came from its log records."""
    names = SENT_NAMES[field]
    if any(name in record.moved or name in record.attributes for name in names):
        return False
    if not getattr(record, field):
        return True
    return record.convention in FROM_LOGS and not any(event["name"] in MESSAGE_EVENTS for event in record.events)


def read_inputs(logs: list[LogItem]) -> list[Message]:
    """Return the input messages that log records give: a whole list, else one message per record."""
    for log in logs:
        messages = read_part_messages(log.attributes.get("gen_ai.input.messages"))
        head = read_instructions(log.attributes.get("gen_ai.system_instructions"))
        if messages or head:
            return (head if head[:1] != messages[:1] else []) + messages
    found: list[Message] = []
    for log in logs:
        if log.event_name in ROLE_BY_EVENT:
            found.extend(read_chat_message({"role": ROLE_BY_EVENT[log.event_name], "content": None, **body_of(log)}))
    return found


def read_outputs(logs: list[LogItem]) -> list[Message]:
    """Return the output messages that log records give: a whole list, else one choice per record."""
    for log in logs:
        messages = read_part_messages(log.attributes.get("gen_ai.output.messages"))
        if messages:
            return messages
    found: list[Message] = []
    for log in sorted(
        (log for log in logs if log.event_name == CHOICE), key=lambda log: body_of(log).get("index") or 0
    ):
        message = body_of(log).get("message")
        if isinstance(message, dict):
            found.extend(read_chat_message({"content": None, **message, "role": message.get("role") or "assistant"}))
    return found


def body_of(log: LogItem) -> dict[str, Any]:
    """Return a log record's body as an object."""
    return read_object(log.body)


def add_exception(record: SpanRecord, log: LogItem) -> None:
    """Add an exception that came as a log record to the span's events, once."""
    attributes = log.attributes
    if "exception.type" not in attributes and "exception.message" not in attributes:
        return
    event = {"name": "exception", "time_ns": log.time_ns, "attributes": attributes}
    if event in record.events:
        return
    record.events.append(event)
    record.error_type = record.error_type or read_text(attributes.get("exception.type"))
    record.error_message = read_text(attributes.get("exception.message")) or record.error_message
