"""OTel GenAI before messages were lists, and OpenLLMetry's older form: `gen_ai.prompt.N.*`, whole JSON, span events. Pure."""

from typing import Any

from traces.conventions.documents import move_document
from traces.conventions.messages import make_call, make_message, read_answer, read_chat_message, read_request, read_role
from traces.conventions.moved import move_flat_messages
from traces.conventions.raw import RawSpan, parse_json, parse_value, read_text
from traces.conventions.usage import first_count
from traces.spans import Message, SpanRecord

NAME = "genai_legacy"
MARKS = frozenset(
    (
        "gen_ai.system", "llm.request.type", "gen_ai.prompt", "gen_ai.completion", "gen_ai.prompt.0.role",
        "gen_ai.prompt.0.content", "gen_ai.completion.0.content", "gen_ai.completion.0.role",
    )
)  # fmt: skip
SCOPES: tuple[str, ...] = ()
NAMES = frozenset(
    (
        "gen_ai.system", "gen_ai.prompt", "gen_ai.completion", "llm.request.type", "llm.headers", "llm.is_streaming",
        "gen_ai.is_streaming", "llm.request.reasoning_effort", "llm.user", "llm.top_k", "llm.chat.stop_sequences",
        "llm.frequency_penalty", "llm.presence_penalty", "gen_ai.response.stop_reason", "gen_ai.response.finish_reason",
    )
)  # fmt: skip
PREFIXES = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "llm.request.functions.",
    "llm.usage.",
    "gen_ai.openai.",
    "gen_ai.usage.",
)
KIND_BY_TYPE = {"chat": "llm", "completion": "llm", "embedding": "embedding", "rerank": "reranker"}
CALL_KINDS = ("llm", "embedding", "reranker")
INPUT_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
CONTENT_EVENTS = {"gen_ai.content.prompt": "gen_ai.prompt", "gen_ai.content.completion": "gen_ai.completion"}


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    if record.kind == "unknown":
        record.kind = KIND_BY_TYPE.get(read_text(attributes.get("llm.request.type")).lower(), "unknown")
    has_flat = any(name in attributes for name in ("gen_ai.prompt.0.role", "gen_ai.prompt.0.content"))
    if record.kind == "unknown" and (has_flat or "gen_ai.completion.0.content" in attributes):
        record.kind = "llm"
    if record.kind in CALL_KINDS and not record.provider:
        record.provider = read_text(attributes.get("gen_ai.system")).lower()
        record.provider = "" if record.provider == "langchain" else record.provider
    fill_flat(record, attributes)
    fill_whole(record, attributes)
    if raw.events and record.kind == "llm":
        fill_from_events(record, raw.events)
    fill_functions(record, attributes)
    usage = record.usage
    if usage.input_tokens is None and usage.output_tokens is None:
        usage.input_tokens = first_count(attributes, "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
        usage.output_tokens = first_count(attributes, "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
    if usage.cached_input_tokens is None:
        usage.cached_input_tokens = first_count(attributes, "gen_ai.usage.cache_read_input_tokens")
    if usage.cache_write_tokens is None:
        usage.cache_write_tokens = first_count(attributes, "gen_ai.usage.cache_creation_input_tokens")
    if usage.reasoning_tokens is None:
        usage.reasoning_tokens = first_count(attributes, "llm.usage.reasoning_tokens")


# Flattened messages ----------------------------------------------------------------------------------------------


def fill_flat(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read `gen_ai.prompt.N.*` and `gen_ai.completion.N.*` by their numbers."""
    sides = (("gen_ai.prompt", "input", "user"), ("gen_ai.completion", "output", "assistant"))
    for prefix, side, speaker in sides:
        if getattr(record, f"{side}_messages"):
            continue
        stem = prefix + "."
        sent = {name: value for name, value in attributes.items() if name.startswith(stem)}
        found: dict[int, dict[str, Any]] = {}
        for name, value in sent.items():
            place, _, rest = name[len(stem) :].partition(".")
            if is_place(place) and rest:
                found.setdefault(int(place), {})[rest] = value
        messages = [read_flat(found[place], speaker) for place in sorted(found)]
        if messages:
            setattr(record, f"{side}_messages", messages)
            move_flat_messages(record, prefix, side, sent, dialect="genai")


def read_flat(fields: dict[str, Any], speaker: str) -> Message:
    """Return one message."""
    calls: dict[int, dict[str, Any]] = {}
    for name, value in fields.items():
        if name.startswith("tool_calls."):
            place, _, rest = name[11:].partition(".")
            if is_place(place):
                calls.setdefault(int(place), {})[rest] = value
    content = fields.get("content")
    parts = parse_json(content)
    if isinstance(parts, list) and parts and all(isinstance(part, dict) and "type" in part for part in parts):
        [message] = read_chat_message({"role": speaker, "content": parts})[-1:]
        content = message["content"]
    elif content is not None and not isinstance(content, str):
        content = read_text(content)
    tool_calls = [
        make_call(call.get("id"), call.get("name"), call.get("arguments", "")) for _, call in sorted(calls.items())
    ]
    role = read_role(fields.get("role"), speaker)
    return make_message(role, content, tool_calls=tool_calls, tool_call_id=fields.get("tool_call_id"))


def is_place(text: str) -> bool:
    """Say whether a part of a name is a number."""
    return text.isascii() and text.isdigit() and len(text) < 7


def fill_functions(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read the tools offered."""
    if record.available_tools is not None or "llm.request.functions.0.name" not in attributes:
        return
    found: dict[int, dict[str, Any]] = {}
    for name, value in attributes.items():
        if name.startswith("llm.request.functions."):
            place, _, field = name[22:].partition(".")
            if is_place(place) and field:
                found.setdefault(int(place), {})[field] = parse_value(value) if field == "parameters" else value
    record.available_tools = [tool for _, tool in sorted(found.items())] or None


# Whole documents and span events -----------------------------------------------------------------------------------


def fill_whole(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read `gen_ai.prompt` and `gen_ai.completion`: a whole request and answer as JSON, or text."""
    for name, side, read in (("gen_ai.prompt", "input", read_request), ("gen_ai.completion", "output", read_answer)):
        sent = attributes.get(name)
        if sent is None or name in record.moved or getattr(record, side) is not None:
            continue
        value = parse_value(sent)
        if record.kind != "llm":
            if record.tool is None:
                setattr(record, side, value)
            continue
        field = f"{side}_messages"
        if not getattr(record, field):
            setattr(record, field, read(value))
        if getattr(record, field):
            move_document(record, name, sent, value)
        else:
            setattr(record, side, value)


def fill_from_events(record: SpanRecord, events: list[dict[str, Any]]) -> None:
    """Read messages that came as span events: one a message, or a whole side. Chunks of a stream are no messages."""
    given: list[Message] = []
    answered: list[Message] = []
    for event in events:
        name, attributes = event["name"], event["attributes"]
        if name in INPUT_EVENTS:
            given.extend(read_event(attributes, INPUT_EVENTS[name]))
        elif name == "gen_ai.choice":
            message = parse_json(attributes.get("message"))
            answered.extend(read_event(message if isinstance(message, dict) else attributes, "assistant"))
        elif name in CONTENT_EVENTS:
            value = parse_value(attributes.get(CONTENT_EVENTS[name]))
            if name == "gen_ai.content.prompt":
                given.extend(read_request(value))
            else:
                answered.extend(read_answer(value))
    if given and not record.input_messages:
        record.input_messages = given
    if answered and not record.output_messages:
        record.output_messages = answered


def read_event(attributes: dict[str, Any], role: str) -> list[Message]:
    """Return the messages of an event: content as text or as JSON, tool calls as JSON."""
    calls = parse_json(attributes.get("tool_calls"))
    content = attributes.get("content", attributes.get("gen_ai.event.content"))
    found = parse_json(content)
    if isinstance(found, dict) and ("content" in found or "tool_calls" in found):
        return read_chat_message({"role": role, **found})
    sent = found if isinstance(found, list) else content
    return read_chat_message(
        {"role": attributes.get("role") or role, "content": sent, "tool_calls": calls, "id": attributes.get("id")}
    )
