"""What the panel of one span says, ready to draw. Pure."""

from dataclasses import dataclass, field
from typing import Any

from traces.conventions import rebuild_attributes
from traces.kinds import KindLook, kind_look
from traces.pointers import join_pointer, parse_text, record_document
from traces.result_errors import error_in
from traces.spans import Message, SpanRecord, Usage

PARAMETERS = "gen_ai.request."
INVOCATION = "llm.invocation_parameters"
NOT_PARAMETERS = {"model", "messages", "input", "tools", "prompt", "system", "instructions"}
MAX_MESSAGES = 60  # of a model call's input: the newest are shown, the others stand behind a link
MAX_ATTRIBUTES = 500
MAX_EXCEPTIONS = 20  # whose stack traces stand under the error; the events have them all


@dataclass(slots=True, frozen=True)
class Attribute:
    """One attribute as sent. `is_rebuilt`: its content is kept in the messages and was put together again."""

    name: str
    value: Any
    at: str
    is_rebuilt: bool = False
    is_unrecognised: bool = False


@dataclass(slots=True, frozen=True)
class PlacedMessage:
    """A message and the pointer to it in the record."""

    message: Message
    at: str


@dataclass(slots=True)
class Panel:
    """One span for reading. `asked_by` is the model call that asked for this tool call."""

    record: SpanRecord
    look: KindLook
    title: str
    duration_ms: float | None
    suspicion: str  # why a tool that reported ok may have failed
    input_messages: list[PlacedMessage]
    earlier_messages: list[PlacedMessage]
    output_messages: list[PlacedMessage]
    attributes: list[Attribute]
    attribute_count: int
    parameters: list[tuple[str, Any]]
    tool_names: list[str]
    usage: list[tuple[str, int]]
    exceptions: list[dict[str, str]]
    asked_by: SpanRecord | None = None
    asked_words: list[PlacedMessage] = field(default_factory=list)

    @property
    def is_error(self) -> bool:
        return self.record.status == "error"

    @property
    def document(self) -> dict[str, Any]:
        """The span as sent, for the raw view."""
        return record_document(self.record)

    @property
    def asked_duration_ms(self) -> float | None:
        return length_ms(self.asked_by) if self.asked_by else None

    @property
    def is_empty(self) -> bool:
        """Nothing was given and nothing came back, as far as the span says."""
        record = self.record
        return (
            not (record.input_messages or record.output_messages or record.tool)
            and record.input is None
            and record.output is None
        )


def describe_span(record: SpanRecord, *, asked_by: SpanRecord | None = None) -> Panel:
    """Return what the panel says of a span."""
    attributes = list_attributes(record)
    inputs = place_messages(record.input_messages, "/input_messages")
    return Panel(
        record,
        kind_look(record.kind),
        record.display_name or record.name or record.span_id,
        length_ms(record),
        error_in((record.tool or {}).get("result")) if record.kind == "tool" and record.status != "error" else "",
        inputs[-MAX_MESSAGES:],
        inputs[:-MAX_MESSAGES],
        place_messages(record.output_messages, "/output_messages"),
        attributes[:MAX_ATTRIBUTES],
        len(attributes),
        list_parameters(record),
        [name for tool in record.available_tools or [] if (name := tool_label(tool))],
        list_usage(record.usage),
        [read_exception(event, place) for place, event in enumerate(record.events) if event.get("name") == "exception"][
            :MAX_EXCEPTIONS
        ],
        asked_by,
        [one for one in place_messages(asked_by.output_messages, "/output_messages") if one.message.get("content")]
        if asked_by
        else [],
    )


def length_ms(record: SpanRecord) -> float | None:
    """Return how long a span took, or None where that is not known."""
    if record.start_ns is None or record.end_ns is None:
        return None
    return max(0, record.end_ns - record.start_ns) / 1e6


def place_messages(messages: list[Message], base: str) -> list[PlacedMessage]:
    return [
        PlacedMessage(message, join_pointer(base, number) if base else "") for number, message in enumerate(messages)
    ]


def list_attributes(record: SpanRecord) -> list[Attribute]:
    """Return the attributes as sent, by name."""
    unrecognised = set(record.unrecognised)
    found = rebuild_attributes(record)
    return [
        Attribute(
            name, found[name], join_pointer("/attributes", name), name not in record.attributes, name in unrecognised
        )
        for name in sorted(found)
    ]


def list_parameters(record: SpanRecord) -> list[tuple[str, Any]]:
    """Return how the model was asked to work: temperature, limits and the like."""
    found: dict[str, Any] = {}
    for name, value in record.attributes.items():
        if name.startswith(PARAMETERS):
            found[name.removeprefix(PARAMETERS)] = value
        elif name == INVOCATION and isinstance(read := parse_text(value), dict):
            found.update(read)
    return [(name, value) for name, value in found.items() if name not in NOT_PARAMETERS and value is not None]


def tool_label(tool: Any) -> str:
    """Return the name of an offered tool, in any of the forms that APIs use."""
    tool = parse_text(tool)
    if not isinstance(tool, dict):
        return str(tool)[:80] if tool else ""
    inner = tool.get("function")
    function = inner if isinstance(inner, dict) else tool
    return str(function.get("name") or tool.get("name") or tool.get("type") or "")[:80]


def list_usage(usage: Usage) -> list[tuple[str, int]]:
    """Return the tokens that a span reports, in words."""
    words = (
        ("Input tokens", usage.input_tokens),
        ("of these cached", usage.cached_input_tokens),
        ("written to the cache", usage.cache_write_tokens),
        ("Output tokens", usage.output_tokens),
        ("of these reasoning", usage.reasoning_tokens),
    )
    return [(word, count) for word, count in words if count is not None]


def read_exception(event: dict[str, Any], place: int) -> dict[str, str]:
    """Return type, message and stack trace of an exception event, those that are there, and `at`, where the trace lies."""
    attributes = event.get("attributes") or {}
    found = {key: str(attributes.get(f"exception.{key}") or "") for key in ("type", "message", "stacktrace")}
    return {**found, "at": f"/events/{place}/attributes/exception.stacktrace"}
