"""The normalised span: what every convention maps to, and the seam between decoding and storing. Pure."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

# A message is {"role": str, "content": str | list[part] | None, "tool_calls": [{"id", "name", "arguments"}],
# "tool_call_id": str, "name": str}; keys without a value are absent. `arguments` is an object where the text parses
# as one, else the text. Parts follow the OTel GenAI form ({"type": "text", "content": ...}, images, reasoning, ...).
Message = dict[str, Any]


@dataclass(slots=True)
class Usage:
    """Tokens and cost of one span. None: not said. Input includes cached, output includes reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    cost_source: str = ""  # "sent", "priced" or ""


@dataclass(slots=True)
class SpanRecord:
    """One span as Markbook understands it. Times are integer nanoseconds since 1970; None: not known."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    name: str = ""
    display_name: str = ""
    kind: str = "unknown"
    start_ns: int | None = None
    end_ns: int | None = None
    position: int = 0
    status: str = "unset"
    status_message: str = ""
    error_type: str = ""
    error_message: str = ""
    model: str = ""
    provider: str = ""
    usage: Usage = field(default_factory=Usage)
    tool: dict[str, Any] | None = None  # {"name", "call_id", "arguments", "result"}
    agent_id: str = ""
    agent_name: str = ""
    session_id: str = ""
    user_id: str = ""
    task: str = ""
    environment: str = ""
    release: str = ""
    version: str = ""
    workflow_name: str = ""
    is_root: bool = False  # its sender says so, though it names a parent (a span of a system that does not send here)
    trace_name: str = ""  # what its sender calls the whole trace, where that is not the name of the root
    prompt: dict[str, Any] | None = None  # {"name", "version", "template", "variables"}
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    input_messages: list[Message] = field(default_factory=list)
    earlier_messages: int = 0  # those before them that a reader left out, since other spans read with it have them
    output_messages: list[Message] = field(default_factory=list)
    input: Any = None  # what was given, where it is not (only) messages: text or JSON
    output: Any = None
    available_tools: list[Any] | None = None
    content_recorded: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)  # everything as sent; see `moved`
    moved: dict[str, Any] = field(default_factory=dict)  # attributes whose content is in the messages: how to rebuild
    unrecognised: list[str] = field(default_factory=list)  # names of attributes that no rule read
    events: list[dict[str, Any]] = field(default_factory=list)  # {"name", "time_ns", "attributes"}
    links: list[dict[str, Any]] = field(default_factory=list)
    origin: dict[str, Any] = field(default_factory=dict)  # {"resource": {...}, "scope": {"name", "version"}}
    convention: str = ""


class LightSpan(NamedTuple):
    """What trees and lists need of a span: fields of `SpanRecord`, and two of its usage, under the names of their columns."""

    span_id: str
    parent_span_id: str = ""
    name: str = ""
    display_name: str = ""
    kind: str = "unknown"
    start_ns: int | None = None
    end_ns: int | None = None
    position: int = 0
    status: str = "unset"
    status_message: str = ""
    error_type: str = ""
    model: str = ""
    tool_name: str = ""
    agent_name: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
