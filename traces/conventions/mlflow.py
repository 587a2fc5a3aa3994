"""MLflow: `mlflow.spanType`, inputs and outputs as JSON; every `mlflow.*` value is JSON, strings in quotes too. Pure."""

from typing import Any

from traces.conventions.common import KINDS, call_tool, read_object
from traces.conventions.documents import move_document
from traces.conventions.messages import read_answer, read_request
from traces.conventions.moved import move_value
from traces.conventions.raw import RawSpan, parse_value, read_count, read_text
from traces.conventions.usage import fill_cost, fill_usage
from traces.spans import SpanRecord, Usage

NAME = "mlflow"
MARKS = frozenset(("mlflow.spanType", "mlflow.spanInputs", "mlflow.traceRequestId"))
SCOPES = ("mlflow.tracing.provider", "mlflow")
# Request parameters come under plain names beside MLflow's own.
TWINS = frozenset(
    (
        "model", "messages", "input", "instructions", "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens",
        "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options", "stop", "seed", "n",
        "response_format", "frequency_penalty", "presence_penalty", "logprobs", "user", "store", "system", "reasoning",
        "reasoning_effort", "previous_response_id",
    )
)  # fmt: skip
NAMES = TWINS
PREFIXES = ("mlflow.",)
KIND_BY_TYPE = {
    "chat_model": "llm",
    "parser": "chain",
    "workflow": "chain",
    "task": "chain",
    "memory": "chain",
}  # the others are called as here
TAG = "mlflow.traceTag."


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record. A span without `mlflow.spanType` speaks OTel GenAI; only plain names are read here."""
    attributes = raw.attributes
    kind = decoded(attributes, "mlflow.spanType").lower()
    kind = KIND_BY_TYPE.get(kind, kind)
    if record.kind == "unknown" and kind in KINDS:
        record.kind = kind
    if "mlflow.spanInputs" in attributes or "mlflow.spanOutputs" in attributes:
        fill_content(record, attributes)
    tools = parse_value(attributes.get("mlflow.chat.tools"))
    if record.available_tools is None and isinstance(tools, list) and tools:
        record.available_tools = tools
        move_value(record, "mlflow.chat.tools", "available_tools", attributes["mlflow.chat.tools"], tools)
    record.model = record.model or decoded(attributes, "mlflow.llm.model") or decoded(attributes, "model")
    record.provider = record.provider or decoded(attributes, "mlflow.llm.provider")
    record.session_id = record.session_id or decoded(attributes, "mlflow.trace.session")
    record.user_id = record.user_id or decoded(attributes, "mlflow.trace.user")
    fill_usage(record.usage, read_counts(read_object(attributes.get("mlflow.chat.tokenUsage"))))
    fill_cost(record.usage, read_object(attributes.get("mlflow.llm.cost")).get("total_cost"))
    tags = {name[len(TAG) :]: parse_value(value) for name, value in attributes.items() if name.startswith(TAG)}
    record.metadata = tags | record.metadata


def decoded(attributes: dict[str, Any], name: str) -> str:
    """Return a value that is a JSON string, as text."""
    return read_text(parse_value(attributes[name])) if name in attributes else ""


def read_counts(found: dict[str, Any]) -> Usage:
    """Return the tokens of `mlflow.chat.tokenUsage`, where input includes cached."""
    return Usage(
        input_tokens=read_count(found.get("input_tokens")),
        output_tokens=read_count(found.get("output_tokens")),
        cached_input_tokens=read_count(found.get("cache_read_input_tokens")),
        cache_write_tokens=read_count(found.get("cache_creation_input_tokens")),
        reasoning_tokens=read_count(found.get("reasoning_tokens")),
    )


def fill_content(record: SpanRecord, attributes: dict[str, Any]) -> None:
    """Read inputs and outputs: messages of a model call, arguments and result of a tool, values of anything else."""
    places = ("mlflow.spanInputs", "mlflow.spanOutputs")
    sent = {side: attributes.get(place) for side, place in zip(("input", "output"), places, strict=True)}
    if record.kind == "tool":
        call_tool(record, name=record.name, arguments=sent["input"], result=sent["output"], places=places)
        return
    values = {side: parse_value(value) for side, value in sent.items()}
    if record.kind == "llm":
        if not record.input_messages:
            record.input_messages = read_request(values["input"])
        if not record.output_messages:
            record.output_messages = read_answer(values["output"])
        request = values["input"] if isinstance(values["input"], dict) else {}
        record.model = record.model or decoded(attributes, "mlflow.llm.model") or read_text(request.get("model"))
    for (side, value), place in zip(values.items(), places, strict=True):
        if value is None:
            continue
        if getattr(record, f"{side}_messages"):
            move_document(record, place, sent[side], value)
        elif getattr(record, side) is None:
            setattr(record, side, value)
            move_value(record, place, side, sent[side], value)
