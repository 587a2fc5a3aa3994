"""The Vercel AI SDK: `ai.*` up to version 6; from 7 on OTel GenAI, with what its settings add. Pure."""

from typing import Any

from traces.conventions.common import call_tool, read_words
from traces.conventions.documents import move_document
from traces.conventions.messages import make_call, make_message, read_request
from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_json, parse_value, read_text
from traces.conventions.usage import fill_usage, first_count
from traces.spans import Message, SpanRecord, Usage

NAME = "ai_sdk"
MARKS = frozenset(("ai.operationId",))
SCOPES = ("ai", "gen_ai")
NAMES = frozenset(("operation.name", "resource.name", "gen_ai.system"))
PREFIXES = ("ai.",)
METADATA = ("ai.telemetry.metadata.", "ai.settings.context.")
KNOWN = {"sessionId", "userId", "tags"}  # these have fields of their own
AGENTS = ("ai.generateText", "ai.streamText", "ai.agent")


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    operation = read_text(attributes.get("ai.operationId"))
    if record.kind == "unknown" and operation:
        record.kind = read_kind(operation, attributes)
    if record.kind == "tool" and operation:
        name = read_text(attributes.get("ai.toolCall.name"))
        record.display_name = name
        call_tool(
            record,
            name=name or record.name,
            call_id=read_text(attributes.get("ai.toolCall.id")),
            arguments=attributes.get("ai.toolCall.args"),
            result=attributes.get("ai.toolCall.result"),
            places=("ai.toolCall.args", "ai.toolCall.result"),
        )
    elif operation:
        fill_messages(record, attributes)
        fill_rest(record, attributes)
    provider = read_text(attributes.get("ai.model.provider"))
    record.provider = record.provider or provider.partition(".")[0]
    fill_usage(record.usage, read_counts(attributes))
    fill_metadata(record, attributes)


def read_kind(operation: str, attributes: dict[str, Any]) -> str:
    """Return the kind that an operation stands for: `.doGenerate` and the like are the calls, what is around them an agent or a step."""
    if operation == "ai.toolCall":
        return "tool"
    inner = operation.rpartition(".")[2]
    if inner.startswith("do"):
        return {"doEmbed": "embedding", "doRerank": "reranker"}.get(inner, "llm")
    is_named = bool(read_text(attributes.get("ai.telemetry.functionId")))
    return "agent" if operation.startswith(AGENTS) and is_named else "chain"


def fill_messages(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read what was asked and answered, on the model call and on the span around it."""
    if not record.input_messages:
        for name in ("ai.prompt.messages", "ai.prompt"):
            sent = attributes.get(name)
            document = parse_json(sent)
            record.input_messages = read_request(document)
            if record.input_messages:
                move_document(record, name, sent, document)
                break
    tools = attributes.get("ai.prompt.tools")
    if record.available_tools is None and isinstance(tools, list) and tools:
        record.available_tools = [parse_value(tool) for tool in tools]
    if not record.output_messages and (answer := read_response(attributes)) is not None:
        record.output_messages = [answer]


def read_response(attributes: dict[str, Any]) -> Message | None:
    """Return the answer: text or object, reasoning, tool calls."""
    text = attributes.get("ai.response.text", attributes.get("ai.response.object"))
    thought = attributes.get("ai.response.reasoning")
    sent = parse_json(attributes.get("ai.response.toolCalls"))
    calls = [
        make_call(call.get("toolCallId"), call.get("toolName"), call.get("input", call.get("args")))
        for call in (sent if isinstance(sent, list) else [])
        if isinstance(call, dict)
    ]
    content: Any = text if isinstance(text, str) else None
    if isinstance(thought, str) and thought:
        content = [{"type": "reasoning", "content": thought}] + (
            [{"type": "text", "content": content}] if content else []
        )
    if content is None and not calls:
        return None
    return make_message("assistant", content, tool_calls=calls)


def fill_rest(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read the values of embeddings and of operations without messages."""
    if record.input is None and not record.input_messages:
        for name in ("ai.value", "ai.values", "ai.prompt", "ai.documents"):
            sent = attributes.get(name)
            if sent is None:
                continue
            record.input = [parse_value(one) for one in sent] if isinstance(sent, list) else parse_value(sent)
            if not isinstance(sent, list):
                move_value(record, name, "input", sent, record.input)
            break


def read_counts(attributes: dict[str, Any]) -> Usage:
    """Return tokens; before version 5 they had other names. The outer span repeats the sum of the calls below it."""
    return Usage(
        input_tokens=first_count(attributes, "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        output_tokens=first_count(attributes, "ai.usage.outputTokens", "ai.usage.completionTokens"),
        cached_input_tokens=first_count(
            attributes, "ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"
        ),
        cache_write_tokens=first_count(attributes, "ai.usage.inputTokenDetails.cacheWriteTokens"),
        reasoning_tokens=first_count(
            attributes, "ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"
        ),
    )


def fill_metadata(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read metadata and tags of the call's telemetry settings."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith(METADATA):
            found[name.split(".", 3)[3]] = parse_value(value)
    if not record.tags:
        record.tags = read_words(found.get("tags"))
    record.metadata = {key: value for key, value in found.items() if key not in KNOWN} | record.metadata
