"""Catalyst's additions to OpenInference: outcome of agents, `tags`, raw usage, Responses turns in one message. Pure."""

from typing import Any

from traces.conventions.common import read_words
from traces.conventions.messages import read_chat_messages
from traces.conventions.moved import restore_moved
from traces.conventions.raw import RawSpan, parse_json, read_count, read_text
from traces.spans import SpanRecord

NAME = "catalyst"
NAMES = frozenset(
    (
        "agent.id", "agent.name", "agent.role", "agent.outcome", "agent.stop_reason", "agent.finalized",
        "agent.tool_call_count", "agent.llm_call_count", "agent.tools", "agent.handoffs", "agent.workflow.group_id",
        "tool_call.id", "tool.error_type", "tool.result.missing", "tool.args_hash", "tool.args_bytes", "tool.result_bytes",
        "llm.usage", "llm.streaming", "llm.tool_choice", "llm.functions", "llm.response_format", "tags", "metadata",
        "gen_ai.system", "cursor.run_id", "elevenlabs.conversation_id", "elevenlabs.user_id", "elevenlabs.agent_id",
        "inference.observation.kind",
    )
)  # fmt: skip
PREFIXES = ("inference.",)
SCOPES = ("catalyst_tracing", "@inference/tracing")
AGENT_FACTS = {
    "agent.outcome": "agent_outcome",
    "agent.stop_reason": "agent_stop_reason",
    "agent.finalized": "agent_finalized",
    "agent.role": "agent_role",
}
ITEM_TYPES = {"message", "function_call", "function_call_output", "reasoning"}


def matches(raw: RawSpan) -> bool:
    """Say whether a span comes from Catalyst's packages or carries its agent's outcome."""
    scope = (raw.origin.get("scope") or {}).get("name") or ""
    return (
        scope.startswith(SCOPES) or "agent.outcome" in raw.attributes or "inference.observation.kind" in raw.attributes
    )


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Add what OpenInference does not know. Runs after it."""
    attributes = raw.attributes
    if not record.tags:
        record.tags = read_words(attributes.get("tags"))
    if record.kind == "agent":
        for name, key in AGENT_FACTS.items():
            if name in attributes and key not in record.metadata:
                record.metadata[key] = attributes[name]
    if record.kind == "tool" and record.tool is not None:
        record.error_type = read_text(attributes.get("tool.error_type"))
    if record.kind == "llm":
        unfold_responses(record)
        fill_usage(record, attributes)
    if not record.session_id:
        record.session_id = read_text(attributes.get("cursor.run_id")) or read_text(
            attributes.get("elevenlabs.conversation_id")
        )
    if not record.user_id:
        record.user_id = read_text(attributes.get("elevenlabs.user_id"))
    scope = raw.origin.get("scope") or {}
    if scope.get("name", "").startswith(SCOPES) and record.release == scope.get("version"):
        record.release = ""  # the SDK's own version stands in for a release that was not set


def unfold_responses(record: SpanRecord) -> None:
    """Read turns out of a message that holds a Responses list as JSON text; drop text that only repeats the tool calls."""
    if len(record.input_messages) == 1 and is_items(found := parse_json(record.input_messages[0]["content"])):
        messages = read_chat_messages(found)
        if messages:
            restore_moved(record, "llm.input_messages", "input.value")
            record.input_messages = messages
    if len(record.output_messages) == 1:
        message = record.output_messages[0]
        found = parse_json(message["content"])
        if is_items(found) and any(item.get("type") for item in found):
            messages = read_chat_messages(found)
            if messages and all(set(item) - {"role", "content"} for item in messages) and message.get("tool_calls"):
                messages = [{**message, "content": None}]
            if messages:
                restore_moved(record, "llm.output_messages")
                record.output_messages = messages


def is_items(found: Any) -> bool:
    """Say whether a value is a list of Responses items."""
    return (
        isinstance(found, list)
        and bool(found)
        and all(isinstance(item, dict) and ("role" in item or item.get("type") in ITEM_TYPES) for item in found)
    )


def fill_usage(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read raw usage where no counts were sent. Anthropic's input leaves cached tokens out: they are added."""
    usage, sent = record.usage, parse_json(attributes.get("llm.usage"))
    if usage.input_tokens is not None or usage.output_tokens is not None or not isinstance(sent, dict):
        return
    usage.input_tokens = read_count(sent.get("prompt_tokens", sent.get("input_tokens")))
    usage.output_tokens = read_count(sent.get("completion_tokens", sent.get("output_tokens")))
    inside = sent.get("prompt_tokens_details") or sent.get("input_tokens_details") or {}
    reasoning = sent.get("completion_tokens_details") or sent.get("output_tokens_details") or {}
    cached, written = (
        read_count(sent.get("cache_read_input_tokens")),
        read_count(sent.get("cache_creation_input_tokens")),
    )
    if usage.input_tokens is not None and (cached is not None or written is not None):
        usage.input_tokens += (cached or 0) + (written or 0)
    usage.cached_input_tokens = cached if cached is not None else read_count(inside.get("cached_tokens"))
    usage.cache_write_tokens = written
    usage.reasoning_tokens = read_count(reasoning.get("reasoning_tokens"))
