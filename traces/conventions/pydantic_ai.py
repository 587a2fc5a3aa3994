"""Pydantic AI: OTel GenAI names, and beside them its agents' whole history, its tools, its costs; older versions' event lists. Pure."""

from typing import Any

from traces.conventions.common import call_tool, read_object
from traces.conventions.documents import move_document
from traces.conventions.messages import read_chat_messages, read_part_messages
from traces.conventions.raw import RawSpan, parse_json, parse_value, read_count, read_text
from traces.conventions.usage import fill_cost, fill_usage, first_count
from traces.spans import Message, SpanRecord, Usage

NAME = "pydantic_ai"
MARKS = frozenset(
    ("pydantic_ai.all_messages", "model_request_parameters", "all_messages_events", "tool_response", "final_result")
)
HINTS = frozenset(("gen_ai.agent.call.id",))
SCOPES = ("pydantic-ai",)
NAMES = frozenset(
    (
        "agent_name", "model_name", "final_result", "all_messages_events", "events", "model_request_parameters", "metadata",
        "tool_arguments", "tool_response", "tools", "operation.cost", "gen_ai.agent.call.id", "gen_ai.system",
    )
)  # fmt: skip
PREFIXES = ("pydantic_ai.", "logfire.", "gen_ai.aggregated_usage.", "gen_ai.usage.details.")
AGENT_NAMES = ("agent run", "invoke_agent")


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    if record.kind == "unknown" and "gen_ai.operation.name" not in attributes:
        record.kind = read_kind(record.name, attributes)
    is_agent = record.kind == "agent" or read_text(attributes.get("gen_ai.operation.name")) == "invoke_agent"
    if is_agent:
        record.agent_name = record.agent_name or read_text(attributes.get("agent_name"))
        fill_history(record, attributes)
    elif "events" in attributes:
        fill_events(record, attributes)
    if "tool_arguments" in attributes or "tool_response" in attributes:
        record.kind = "tool" if record.kind == "unknown" else record.kind
        name = read_text(attributes.get("gen_ai.tool.name")) or record.name
        call_tool(
            record,
            name=name,
            call_id=read_text(attributes.get("gen_ai.tool.call.id")),
            arguments=attributes.get("tool_arguments"),
            result=attributes.get("tool_response"),
            places=("tool_arguments", "tool_response"),
        )
    fill_offered(record, attributes)
    fill_counts(record, attributes)
    fill_cost(record.usage, attributes.get("operation.cost"))
    if not record.metadata:
        record.metadata = dict(read_object(attributes.get("metadata")))


def read_kind(name: str, attributes: dict[str, Any]) -> str:
    """Return the kind of a span of the versions that named no operation."""
    if "tool_arguments" in attributes or name.startswith("running tool:"):
        return "tool"
    is_agent = "final_result" in attributes or "all_messages_events" in attributes or name.endswith(AGENT_NAMES)
    return "agent" if is_agent else "unknown"


def fill_history(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read an agent's history: what was said up to its first own answer is its input, the rest its output."""
    for name, read in (
        ("pydantic_ai.all_messages", read_part_messages),
        ("all_messages_events", read_chat_messages),
    ):
        document = parse_json(attributes.get(name))
        messages: list[Message] = read(document) if document is not None else []
        if not messages or record.input_messages or record.output_messages:
            continue
        first = read_count(attributes.get("pydantic_ai.new_message_index")) or 0
        start = len(read(document[:first])) if isinstance(document, list) and 0 < first < len(document) else 0
        split = next((at for at in range(start, len(messages)) if messages[at]["role"] == "assistant"), len(messages))
        record.input_messages, record.output_messages = messages[:split], messages[split:]
        move_document(record, name, attributes[name], document)
    if record.output is None and "final_result" in attributes:
        found = parse_value(attributes["final_result"])
        if not any(message["content"] == found for message in record.output_messages):
            record.output = found


def fill_events(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read the messages of a model call of the first version: a list of events, the answer as `gen_ai.choice`."""
    document = parse_json(attributes.get("events"))
    events = [event for event in document if isinstance(event, dict)] if isinstance(document, list) else []
    if not events or record.input_messages or record.output_messages:
        return
    given = [event for event in events if event.get("event.name") != "gen_ai.choice"]
    record.input_messages = read_chat_messages(given)
    chosen = [event.get("message") for event in events if event.get("event.name") == "gen_ai.choice"]
    record.output_messages = read_chat_messages(
        [{"role": "assistant", **message} for message in chosen if isinstance(message, dict)]
    )
    move_document(record, "events", attributes["events"], document)


def fill_offered(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read the tools offered, where they are in the request's parameters only."""
    if record.available_tools is None and "gen_ai.tool.definitions" not in attributes:
        parameters = read_object(attributes.get("model_request_parameters"))
        offered = [parameters.get(name) for name in ("function_tools", "output_tools")]
        tools = [tool for part in offered if isinstance(part, list) for tool in part if isinstance(tool, dict)]
        record.available_tools = tools or None


def fill_counts(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read an agent's sums, which are never added, and details that have no name of their own in OTel."""
    stem = "gen_ai.aggregated_usage."
    if f"{stem}input_tokens" in attributes:
        more = Usage(
            input_tokens=first_count(attributes, f"{stem}input_tokens"),
            output_tokens=first_count(attributes, f"{stem}output_tokens"),
            cached_input_tokens=first_count(attributes, f"{stem}cache_read.input_tokens"),
            reasoning_tokens=first_count(attributes, f"{stem}details.reasoning_tokens"),
        )
        fill_usage(record.usage, more)
    usage = record.usage
    if usage.reasoning_tokens is None:
        usage.reasoning_tokens = first_count(attributes, "gen_ai.usage.details.reasoning_tokens")
    if usage.cached_input_tokens is None:
        usage.cached_input_tokens = first_count(
            attributes, "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cached_tokens"
        )
