"""OpenInference: `openinference.span.kind`, flattened messages, `input.value` and `output.value`. Pure."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from traces.conventions.common import KINDS, call_tool, read_object, read_words
from traces.conventions.messages import (
    make_call,
    make_message,
    read_answer,
    read_chat_messages,
    read_image,
    read_request,
    read_role,
)
from traces.conventions.moved import move_flat_messages, move_flat_tools, move_request, move_value
from traces.conventions.raw import REDACTED, RawSpan, parse_json, parse_value, read_amount, read_count, read_text
from traces.spans import Message, SpanRecord

NAME = "openinference"
NAMES = frozenset(
    (
        "openinference.span.kind", "llm.provider", "llm.system", "llm.model_name", "llm.request.model_name",
        "llm.response.model_name", "input.value", "input.mime_type", "output.value", "output.mime_type",
        "llm.input_messages", "llm.output_messages", "llm.tools", "llm.invocation_parameters", "llm.finish_reason",
        "tool.name", "tool.description", "tool.parameters", "tool.id", "tool_call.id", "session.id", "user.id", "agent.name",
        "metadata", "tag.tags", "prompt.id", "prompt.vendor", "prompt.url", "embedding.model_name",
        "embedding.invocation_parameters", "exception.escaped",
    )
)  # fmt: skip
MARKS = frozenset(("openinference.span.kind",))
SCOPES: tuple[str, ...] = ()
PREFIXES = (
    "llm.input_messages.", "llm.output_messages.", "llm.tools.", "llm.token_count.", "llm.cost.", "llm.prompt_template.",
    "graph.node.", "retrieval.documents.", "reranker.", "embedding.embeddings.", "annotations.", "evaluations.",
)  # fmt: skip


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    kind = read_text(attributes.get("openinference.span.kind")).lower()
    if record.kind == "unknown" and kind in KINDS:
        record.kind = kind
    groups = group_flat(attributes)
    fill_messages(record, attributes, groups)
    fill_tools(record, attributes, groups)
    if not record.provider:
        record.provider = read_text(attributes.get("llm.provider")) or read_text(attributes.get("llm.system"))
    if not record.metadata:
        record.metadata = dict(read_object(attributes.get("metadata")))
    if not record.tags:
        record.tags = read_words(attributes.get("tag.tags"))
    fill_usage(record, attributes)
    fill_prompt(record, attributes)
    parameters = read_object(
        attributes.get("llm.invocation_parameters") or attributes.get("embedding.invocation_parameters")
    )
    if not record.model:
        record.model = read_text(parameters.get("model"))
    if record.kind == "tool":
        fill_tool(record, attributes)
    fill_values(record, attributes, groups)


GROUPS = (
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.tools.",
    "retrieval.documents.",
    "embedding.embeddings.",
    "reranker.",
)


LONGEST_KEPT = 200  # characters of a name that is remembered; the same names come with every span


def group_of(name: str) -> str:
    """Return the group of an indexed attribute, "" for any other."""
    return next((group[:-1] for group in GROUPS if name.startswith(group)), "")


kept_group = lru_cache(maxsize=20_000)(group_of)


def group_flat(attributes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the indexed attributes by their group: input and output messages, tools, documents, embeddings."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in attributes.items():
        group = kept_group(name) if len(name) <= LONGEST_KEPT else group_of(name)
        if group:
            if group in groups:
                groups[group][name] = value
            else:
                groups[group] = {name: value}
    return groups


# Messages --------------------------------------------------------------------------------------------------------


def fill_messages(record: SpanRecord, attributes: dict[str, Any], groups: dict[str, dict[str, Any]]) -> None:
    """Read the messages of both sides: a list sent whole wins over flattened ones; then the request's own."""
    for side in ("input", "output"):
        field = f"{side}_messages"
        if getattr(record, field):
            continue
        name = f"llm.{field}"
        whole = read_chat_messages(parse_json(attributes.get(name)))
        if whole:
            setattr(record, field, whole)
            continue
        sent = groups.get(name)
        if sent:
            messages, contents = read_flat_messages(name, sent)
            setattr(record, field, messages)
            move_flat_messages(record, name, side, sent, contents)


class FlatName(NamedTuple):
    """What a flattened name says: which message, the list in it (`contents`, `tool_calls`, or "") and the place there, the field."""

    message: int
    listed: str
    place: int
    name: str


STEMS = {"contents": "message_content.", "tool_calls": "tool_call."}


def read_flat_name(prefix: str, name: str) -> FlatName | None:
    """Take the name of a flattened message's attribute apart; None for one that is none."""
    message, _, rest = name[len(prefix) + 1 :].partition(".")
    if not is_place(message) or not rest.startswith("message."):
        return None
    whole = rest.removeprefix("message.")
    listed, _, inner = whole.partition(".")
    place, _, name_there = inner.partition(".")
    if listed not in STEMS or not is_place(place):
        return FlatName(int(message), "", 0, whole)
    return FlatName(int(message), listed, int(place), name_there.removeprefix(STEMS[listed]))


kept_name = lru_cache(maxsize=20_000)(read_flat_name)


def is_place(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7


@dataclass(slots=True)
class FlatMessage:
    """The fields of one flattened message, and those of its parts and tool calls by their places."""

    fields: dict[str, Any] = field(default_factory=dict)
    contents: dict[int, dict[str, Any]] = field(default_factory=dict)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)


def read_flat_messages(prefix: str, sent: dict[str, Any]) -> tuple[list[Message], list[int]]:
    """Return the messages of flattened attributes by numeric index, and the places whose text came as a content part."""
    found: dict[int, FlatMessage] = {}
    for name, value in sent.items():
        place = kept_name(prefix, name) if len(name) <= LONGEST_KEPT else read_flat_name(prefix, name)
        if place is None:
            continue
        index, listed, inner, key = place
        flat = found.get(index)
        if flat is None:
            flat = found[index] = FlatMessage()
        if not listed:
            flat.fields[key] = value
        else:
            getattr(flat, listed).setdefault(inner, {})[key] = value
    messages: list[Message] = []
    contents: list[int] = []
    for index in sorted(found):
        message, is_part = read_flat_message(found[index])
        if is_part:
            contents.append(len(messages))
        messages.append(message)
    return messages, contents


def read_flat_message(flat: FlatMessage) -> tuple[Message, bool]:
    """Return one message, and whether its text came as a content part."""
    fields = flat.fields
    content: Any = fields.get("content")
    if content is not None and not isinstance(content, str):
        content = read_text(content)
    is_part = False
    if flat.contents:
        read = [read_part(flat.contents[place]) for place in sorted(flat.contents)]
        texts = [part for part in read if part.get("type") == "text"]
        if content is None or len(texts) < len(read):
            is_part = len(read) == 1 and len(texts) == 1
            content = read[0]["content"] if is_part else read
    tool_calls = [
        make_call(call.get("id"), call.get("function.name"), call.get("function.arguments", ""))
        for _, call in sorted(flat.tool_calls.items())
    ]
    if "function_call_name" in fields:
        tool_calls.append(make_call(None, fields["function_call_name"], fields.get("function_call_arguments_json", "")))
    message = make_message(
        read_role(fields.get("role")),
        content,
        tool_calls=tool_calls,
        tool_call_id=fields.get("tool_call_id"),
        name=fields.get("name"),
    )
    return message, is_part


def read_part(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a content part in OTel GenAI form."""
    url = fields.get("image.image.url")
    if isinstance(url, str):
        return read_image(url)
    kind = fields.get("type") if isinstance(fields.get("type"), str) else "text"
    if kind in ("text", "reasoning") or (isinstance(fields.get("text"), str) and len(fields) <= 2):
        return {"type": kind, "content": read_text_exact(fields.get("text"))}
    return {**fields, "type": kind}


def read_text_exact(value: Any) -> str:
    """Return a text as sent; "" where it is none."""
    return value if isinstance(value, str) else ""


# The rest --------------------------------------------------------------------------------------------------------


def fill_tools(record: SpanRecord, attributes: dict[str, Any], groups: dict[str, dict[str, Any]]) -> None:
    """Read the tools offered: flattened, as one list, or inside the invocation parameters."""
    if record.available_tools is not None:
        return
    sent = groups.get("llm.tools")
    if sent:
        numbered: dict[int, Any] = {}
        for name, value in sent.items():
            place, _, rest = name[10:].partition(".")
            if is_place(place) and rest in ("tool.json_schema", "tool"):
                numbered[int(place)] = parse_value(value)
        record.available_tools = [tool for _, tool in sorted(numbered.items())] or None
        move_flat_tools(record, sent)
        return
    tools = parse_json(attributes.get("llm.tools"))
    if tools is None:
        parameters = read_object(attributes.get("llm.invocation_parameters"))
        tools = parameters.get("tools") or parameters.get("functions")
        if isinstance(tools, list) and tools:
            record.available_tools = tools
            move_request(record, "llm.invocation_parameters", attributes["llm.invocation_parameters"], parameters)
            return
    if isinstance(tools, list) and tools:
        record.available_tools = tools


def fill_usage(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read tokens and cost. Input counts include cached tokens."""
    usage = record.usage
    if usage.input_tokens is None and usage.output_tokens is None:
        usage.input_tokens = read_count(attributes.get("llm.token_count.prompt"))
        usage.output_tokens = read_count(attributes.get("llm.token_count.completion"))
        usage.cached_input_tokens = read_count(attributes.get("llm.token_count.prompt_details.cache_read"))
        usage.cache_write_tokens = read_count(attributes.get("llm.token_count.prompt_details.cache_write"))
        usage.reasoning_tokens = read_count(attributes.get("llm.token_count.completion_details.reasoning"))
        if usage.input_tokens is None and usage.output_tokens is None:
            usage.input_tokens = read_count(attributes.get("llm.token_count.total"))
    if usage.cost_usd is None:
        cost = read_amount(attributes.get("llm.cost.total"))
        if cost is None:
            sides = [read_amount(attributes.get(f"llm.cost.{side}")) for side in ("prompt", "completion")]
            known = [amount for amount in sides if amount is not None]
            cost = sum(known) if known else None
        if cost is not None:
            usage.cost_usd, usage.cost_source = cost, "sent"


def fill_prompt(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read the prompt template: name, version, text and variables."""
    template = attributes.get("llm.prompt_template.template")
    version = read_text(attributes.get("llm.prompt_template.version"))
    name = read_text(attributes.get("prompt.id"))
    if record.prompt is None and (template or version or name):
        variables = parse_value(attributes.get("llm.prompt_template.variables"))
        record.prompt = {"name": name, "version": version, "template": template, "variables": variables}


def fill_tool(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read a tool call: arguments from `input.value`, result from `output.value`, unwrapped where a framework wrapped them."""
    if record.tool is not None:
        return
    arguments, result = attributes.get("input.value"), attributes.get("output.value")
    call_tool(
        record,
        name=read_text(attributes.get("tool.name")) or record.name,
        call_id=read_text(attributes.get("tool_call.id")) or read_text(attributes.get("tool.id")),
        arguments=arguments,
        result=result,
        places=("input.value", "output.value"),
    )
    if arguments == REDACTED and result in (None, REDACTED):
        record.content_recorded = False


def fill_values(record: SpanRecord, attributes: dict[str, Any], groups: dict[str, dict[str, Any]]) -> None:
    """Read `input.value` and `output.value` of spans other than tools; what repeats the messages moves there."""
    sent_input, sent_output = attributes.get("input.value"), attributes.get("output.value")
    if record.kind == "tool":
        return
    if record.kind == "llm":
        document = parse_json(sent_input)
        if isinstance(document, dict):
            if not record.input_messages:
                record.input_messages = read_request(document)
            tools = document.get("tools")
            if record.available_tools is None and isinstance(tools, list) and tools:
                record.available_tools = tools
            record.model = record.model or read_text(document.get("model"))
            move_request(record, "input.value", sent_input, document)
        if not record.output_messages:
            record.output_messages = read_answer(parse_json(sent_output))
        if not record.input_messages and not record.output_messages:
            record.content_recorded = sent_input not in (None, REDACTED) or sent_output not in (None, REDACTED)
    elif sent_input == REDACTED and sent_output in (None, REDACTED):
        record.content_recorded = False
    for side, sent in (("input", sent_input), ("output", sent_output)):
        if sent is None or getattr(record, side) is not None or getattr(record, f"{side}_messages"):
            continue
        value = parse_value(sent)
        setattr(record, side, value)
        move_value(record, f"{side}.value", side, sent, value)
    if record.input is None:
        record.input = read_special_input(attributes, groups)
    if record.output is None:
        documents = groups.get("retrieval.documents") or {
            name: value
            for name, value in groups.get("reranker", {}).items()
            if name.startswith("reranker.output_documents.")
        }
        record.output = read_documents(documents) or None


def read_special_input(attributes: dict[str, Any], groups: dict[str, dict[str, Any]]) -> Any:
    """Return the query of a reranker, or the texts of an embedding."""
    query = attributes.get("reranker.query")
    if query is not None:
        return query
    texts = [
        value for name, value in groups.get("embedding.embeddings", {}).items() if name.endswith(".embedding.text")
    ]
    return (texts[0] if len(texts) == 1 else texts) or None


def read_documents(sent: dict[str, Any]) -> list[dict[str, Any]]:
    """Return retrieved documents by numeric index: id, content, score, metadata as far as sent."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in sent.items():
        head, _, field = name.partition(".document.")
        place = head.rpartition(".")[2]
        if field and is_place(place):
            found.setdefault(int(place), {})[field] = parse_value(value) if field == "metadata" else value
    return [document for _, document in sorted(found.items())]
