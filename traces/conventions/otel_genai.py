"""The OpenTelemetry GenAI conventions, current form: `gen_ai.*` with messages as lists of `{role, parts}`. Pure."""

from typing import Any

from traces.conventions.messages import read_instructions, read_part_messages
from traces.conventions.moved import move_part_list, move_value
from traces.conventions.raw import RawSpan, parse_json, parse_value, read_text
from traces.conventions.usage import first_count
from traces.spans import SpanRecord

NAME = "otel_genai"
KIND_BY_OPERATION = {
    "chat": "llm",
    "generate_content": "llm",
    "text_completion": "llm",
    "completion": "llm",
    "embeddings": "embedding",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "agent",
    "invoke_workflow": "chain",
    "plan": "chain",
    "agent_step": "chain",
    "retrieval": "retriever",
    "search_memory": "retriever",
}
CALL_KINDS = ("llm", "embedding", "reranker")  # gen_ai.system is a provider on these only; elsewhere it is a free label
MARKS = frozenset(
    (
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.input.messages",
        "gen_ai.tool.name",
        "gen_ai.provider.name",
    )
)
SCOPES: tuple[str, ...] = ()
NAMES = frozenset(
    (
        "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.request.model", "gen_ai.response.model",
        "gen_ai.output.type", "gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages",
        "gen_ai.tool.definitions", "gen_ai.tool.name", "gen_ai.tool.call.id", "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result", "gen_ai.tool.type", "gen_ai.tool.description", "gen_ai.response.id",
        "gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk", "gen_ai.conversation.id", "gen_ai.agent.id",
        "gen_ai.agent.name", "gen_ai.agent.description", "gen_ai.agent.version", "gen_ai.workflow.name", "gen_ai.prompt.name",
        "gen_ai.prompt.version", "gen_ai.prompt.variables", "gen_ai.retrieval.query.text", "gen_ai.retrieval.documents",
        "gen_ai.data_source.id", "error.type", "server.address", "server.port", "gen_ai.token.type", "gen_ai.is_streaming",
    )
)  # fmt: skip
PREFIXES = (
    "gen_ai.request.",
    "gen_ai.usage.",
    "gen_ai.evaluation.",
    "gen_ai.embeddings.",
    "openai.",
    "gen_ai.openai.",
    "azure.ai.",
    "aws.bedrock.",
)


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    if record.kind == "unknown":
        record.kind = read_kind(attributes)
    if not record.provider:
        record.provider = read_text(attributes.get("gen_ai.provider.name"))
        if not record.provider and record.kind in CALL_KINDS:
            system = read_text(attributes.get("gen_ai.system"))
            record.provider = "" if system == "langchain" else system
    fill_messages(record, attributes)
    tools = parse_json(attributes.get("gen_ai.tool.definitions"))
    if record.available_tools is None and isinstance(tools, list) and tools:
        record.available_tools = tools
        move_value(record, "gen_ai.tool.definitions", "available_tools", attributes["gen_ai.tool.definitions"], tools)
    fill_usage(record, attributes)
    if record.prompt is None and (name := read_text(attributes.get("gen_ai.prompt.name"))):
        version = read_text(attributes.get("gen_ai.prompt.version"))
        variables = parse_value(attributes.get("gen_ai.prompt.variables"))
        record.prompt = {"name": name, "version": version, "template": None, "variables": variables}
    if record.kind == "tool":
        fill_tool(record, attributes)
    if record.kind == "retriever":
        if record.input is None:
            record.input = attributes.get("gen_ai.retrieval.query.text")
        if record.output is None:
            record.output = parse_value(attributes.get("gen_ai.retrieval.documents"))


def read_kind(attributes: dict[str, Any]) -> str:
    """Return the kind that the operation stands for; one that is not known leaves it open, none at all is told by what is there."""
    operation = read_text(attributes.get("gen_ai.operation.name")).lower()
    if operation:
        kind = KIND_BY_OPERATION.get(operation)
        return kind or ("embedding" if "embed" in operation else "tool" if operation.endswith("tool") else "unknown")
    if "gen_ai.tool.name" in attributes:
        return "tool"
    if "gen_ai.request.model" in attributes or "gen_ai.response.model" in attributes:
        return "llm"
    return "agent" if "gen_ai.agent.name" in attributes else "chain"


def has_content(record: SpanRecord) -> bool:
    """Say whether a model call, agent or tool span brought any content. Other kinds are not expected to."""
    if record.kind in ("llm", "agent"):
        return bool(
            record.input_messages or record.output_messages or record.input is not None or record.output is not None
        )
    if record.kind == "tool" and record.tool is not None:
        return record.tool["arguments"] is not None or record.tool["result"] is not None
    return True


def fill_messages(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read the messages of both sides; system instructions given apart come first."""
    if not record.input_messages:
        sent, instructions = attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.system_instructions")
        items = parse_json(sent)
        messages = read_part_messages(items) if items is not None else []
        head = read_instructions(instructions) if instructions is not None else []
        if head and messages and messages[0] == head[0]:
            head = []  # said twice
        record.input_messages = head + messages
        if head:
            move_part_list(record, "gen_ai.system_instructions", "input", instructions, parse_json(instructions), end=1)
        if messages:
            move_part_list(record, "gen_ai.input.messages", "input", sent, items, start=len(head))
    if not record.output_messages and (sent := attributes.get("gen_ai.output.messages")) is not None:
        items = parse_json(sent)
        record.output_messages = read_part_messages(items)
        if record.output_messages:
            move_part_list(record, "gen_ai.output.messages", "output", sent, items)


def fill_usage(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read tokens. Input includes cached tokens, output includes reasoning; zero details are often left out."""
    usage = record.usage
    if usage.input_tokens is None and usage.output_tokens is None:
        usage.input_tokens = first_count(attributes, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
        usage.output_tokens = first_count(attributes, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
    if usage.cached_input_tokens is None:
        usage.cached_input_tokens = first_count(
            attributes, "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"
        )
    if usage.cache_write_tokens is None:
        usage.cache_write_tokens = first_count(
            attributes,
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_write.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
        )
    if usage.reasoning_tokens is None:
        usage.reasoning_tokens = first_count(
            attributes, "gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"
        )


def fill_tool(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read a tool call: name, call id, arguments and result as objects where they parse."""
    if record.tool is not None:
        return
    sent = {key: attributes.get(f"gen_ai.tool.call.{key}") for key in ("arguments", "result")}
    record.tool = {
        "name": read_text(attributes.get("gen_ai.tool.name")) or record.name.removeprefix("execute_tool ").strip(),
        "call_id": read_text(attributes.get("gen_ai.tool.call.id")) or None,
        "arguments": parse_value(sent["arguments"]),
        "result": parse_value(sent["result"]),
    }
    for key, value in sent.items():
        if value is not None:
            move_value(record, f"gen_ai.tool.call.{key}", f"tool.{key}", value, record.tool[key])
