"""Catalyst's additions to OpenInference: outcome of agents, `tags`, raw usage, Responses turns in one message. Pure."""

from typing import Any

from traces.conventions.common import KINDS, first_text, read_words
from traces.conventions.messages import read_chat_messages
from traces.conventions.moved import restore_moved
from traces.conventions.raw import RawSpan, parse_json, read_count, read_text
from traces.conventions.usage import fill_cost, fill_usage, read_usage
from traces.spans import SpanRecord, Usage

NAME = "catalyst"
NAMES = frozenset(
    (
        "agent.id", "agent.name", "agent.role", "agent.outcome", "agent.stop_reason", "agent.finalized",
        "agent.tool_call_count", "agent.llm_call_count", "agent.tools", "agent.handoffs", "agent.workflow.group_id",
        "tool_call.id", "tool.error_type", "tool.result.missing", "tool.args_hash", "tool.args_bytes", "tool.result_bytes",
        "llm.usage", "llm.streaming", "llm.tool_choice", "llm.functions", "llm.response_format", "tags", "metadata",
        "gen_ai.system", "cursor.run_id", "elevenlabs.conversation_id", "elevenlabs.user_id", "elevenlabs.agent_id",
        "inference.observation.kind", "langchain.run_type", "braintrust.span_type",
    )
)  # fmt: skip
PREFIXES = ("inference.",)
MARKS = frozenset(
    (
        "agent.outcome",
        "inference.observation.kind",
        "langchain.run_type",
        "braintrust.span_type",
        "inference.export.schema_version",
    )
)
SCOPES = ("catalyst_tracing", "@inference/tracing")
AGENT_FACTS = {
    "agent.outcome": "agent_outcome",
    "agent.stop_reason": "agent_stop_reason",
    "agent.finalized": "agent_finalized",
    "agent.role": "agent_role",
}
SESSION = ("inference.session_id", "cursor.run_id", "elevenlabs.conversation_id")
USER = ("inference.user_id", "elevenlabs.user_id")
KIND_NAMES = ("inference.observation.kind", "langchain.run_type", "braintrust.span_type")
ITEM_TYPES = {"message", "function_call", "function_call_output", "reasoning"}


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Add what OpenInference does not know. Runs after it. The kind: its own, else what GenAI's operation says, else a framework's."""
    attributes = raw.attributes
    if record.kind == "unknown":
        names = ("inference.observation.kind",) if "gen_ai.operation.name" in attributes else KIND_NAMES
        kind = first_text(attributes, names).lower()
        record.kind = kind if kind in KINDS else "unknown"
    if not record.tags:
        record.tags = read_words(attributes.get("tags"))
    if record.kind == "agent":
        for name, key in AGENT_FACTS.items():
            if name in attributes and key not in record.metadata:
                record.metadata[key] = attributes[name]
    if record.kind == "tool" and record.tool is not None:
        record.error_type = read_text(attributes.get("tool.error_type")) or record.error_type
    if record.kind == "llm":
        unfold_responses(record)
        fill_usage(record.usage, read_usage(parse_json(attributes.get("llm.usage"))))
    if record.kind == "llm":
        fill_projection(record, attributes)
    record.session_id = record.session_id or first_text(attributes, SESSION)
    record.user_id = record.user_id or first_text(attributes, USER)
    scope = raw.origin.get("scope") or {}
    if scope.get("name", "").startswith(SCOPES) and record.release == scope.get("version"):
        record.release = ""  # the SDK's own version stands in for a release that was not set


def fill_projection(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read what an exported span says once more under `inference.*`, where its own names say nothing."""
    record.model = record.model or read_text(attributes.get("inference.llm.model_name"))
    record.provider = record.provider or read_text(attributes.get("inference.llm.provider"))
    more = Usage(
        input_tokens=read_count(attributes.get("inference.llm.input_tokens")),
        output_tokens=read_count(attributes.get("inference.llm.output_tokens")),
    )
    fill_usage(record.usage, more)
    fill_cost(record.usage, attributes.get("inference.llm.cost.total"))


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
