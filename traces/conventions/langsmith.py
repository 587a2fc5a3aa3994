"""LangSmith in OTel mode: `langsmith.span.kind`, the whole request and response as `gen_ai.prompt` and `gen_ai.completion`. Pure."""

from typing import Any

from traces.conventions.common import KINDS, call_tool, read_object, read_words
from traces.conventions.documents import move_document
from traces.conventions.messages import read_answer, read_request
from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_value, read_text
from traces.conventions.usage import fill_usage, read_usage
from traces.spans import SpanRecord

NAME = "langsmith"
MARKS = frozenset(("langsmith.span.kind",))
SCOPES = ("langsmith",)
NAMES = frozenset(("gen_ai.prompt", "gen_ai.completion", "gen_ai.system"))
PREFIXES = ("langsmith.", "gen_ai.serialized.")
KIND_BY_TYPE = {"parser": "chain"}  # the others are called as here
METADATA = "langsmith.metadata."
HIDDEN = ("langsmith.metadata.LANGSMITH_", "langsmith.metadata.usage_metadata", "langsmith.metadata.ls_")
CALLS = ("llm", "embedding")


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record. `langsmith.trace.session_name` is a project, not a session."""
    attributes = raw.attributes
    kind = read_text(attributes.get("langsmith.span.kind")).lower()
    kind = KIND_BY_TYPE.get(kind, kind)
    if record.kind == "unknown" and kind in KINDS:
        record.kind = kind
    fill_content(record, attributes)
    if record.kind in CALLS:
        system = read_text(attributes.get("langsmith.metadata.ls_provider") or attributes.get("gen_ai.system"))
        record.provider = record.provider or ("" if system == "langchain" else system)
        record.model = record.model or read_text(attributes.get("langsmith.metadata.ls_model_name"))
    fill_usage(record.usage, read_usage(read_object(attributes.get("langsmith.metadata.usage_metadata"))))
    if not record.tags:
        record.tags = read_words(attributes.get("langsmith.span.tags"))
    if not record.metadata:
        record.metadata = {
            name[len(METADATA) :]: parse_value(value)
            for name, value in attributes.items()
            if name.startswith(METADATA) and not name.startswith(HIDDEN)
        }


def fill_content(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read request and response: messages of a model call, arguments and result of a tool, values of anything else."""
    sent = {"input": attributes.get("gen_ai.prompt"), "output": attributes.get("gen_ai.completion")}
    names = {"input": "gen_ai.prompt", "output": "gen_ai.completion"}
    if record.kind == "tool":
        places = ("gen_ai.prompt", "gen_ai.completion")
        result = unwrap_output(sent["output"])
        call_tool(record, name=record.name, arguments=sent["input"], result=result, places=places)
        return
    values = {side: parse_value(value) for side, value in sent.items()}
    if record.kind == "llm":
        if not record.input_messages:
            record.input_messages = read_request(values["input"])
        if not record.output_messages:
            record.output_messages = read_answer(values["output"])
        request = values["input"] if isinstance(values["input"], dict) else {}
        if record.available_tools is None and isinstance(request.get("tools"), list) and request["tools"]:
            record.available_tools = request["tools"]
    for side, value in values.items():
        if value is None:
            continue
        if getattr(record, f"{side}_messages"):
            move_document(record, names[side], sent[side], value)
        elif getattr(record, side) is None:
            inner = unwrap_output(value)
            setattr(record, side, inner)
            if inner is value:
                move_value(record, names[side], side, sent[side], value)


def unwrap_output(value: Any) -> Any:
    """Return what a function gave back: anything but an object was wrapped as `{"output": …}`."""
    found = parse_value(value)
    return found["output"] if isinstance(found, dict) and set(found) == {"output"} else value
