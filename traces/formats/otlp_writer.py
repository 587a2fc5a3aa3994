"""Write records as OTLP/JSON requests: what OTLP said as it was said, and runs from elsewhere in the OTel GenAI names. Pure."""

import hashlib
import json
from typing import Any

from traces.conventions import CONVENTIONS, plain
from traces.conventions.moved import rebuild_attributes, write_part_list
from traces.spans import SpanRecord

STATUS_CODES = {"unset": 0, "ok": 1, "error": 2}
SPAN_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
OPERATIONS = {
    "llm": "chat",
    "agent": "invoke_agent",
    "tool": "execute_tool",
    "embedding": "embeddings",
    "retriever": "retrieval",
}
SENT_AS_OTLP = frozenset(found.NAME for found in (*CONVENTIONS, plain))
MESSAGE_NAMES = {
    "input": ("gen_ai.input.messages", "llm.input_messages", "llm.input_messages.0.message.role"),
    "output": ("gen_ai.output.messages", "llm.output_messages", "llm.output_messages.0.message.role"),
}


def write_request(records: list[SpanRecord]) -> dict[str, Any]:
    """Return the spans of a trace as one OTLP/JSON export request, grouped by resource and scope."""
    groups: dict[str, dict[str, Any]] = {}
    for record in records:
        origin = record.origin or {}
        resource, scope = origin.get("resource") or {}, origin.get("scope") or {"name": "markbook"}
        if (
            record.environment
            and "deployment.environment.name" not in resource
            and "deployment.environment" not in resource
        ):
            resource = {**resource, "deployment.environment.name": record.environment}
        outer = groups.setdefault(
            json.dumps(resource, sort_keys=True), {"resource": {"attributes": write_pairs(resource)}, "scopeSpans": {}}
        )
        inner = outer["scopeSpans"].setdefault(json.dumps(scope, sort_keys=True), {"scope": scope, "spans": []})
        inner["spans"].append(write_span(record))
    return {"resourceSpans": [{**group, "scopeSpans": list(group["scopeSpans"].values())} for group in groups.values()]}


def write_span(record: SpanRecord) -> dict[str, Any]:
    """Return one span. Ids that OTLP cannot hold are replaced by ones that follow from them, and kept as attributes."""
    attributes = complete_attributes(record)
    trace_id, span_id = fit_id(record.trace_id, 32), fit_id(record.span_id, 16)
    if trace_id != record.trace_id:
        attributes["markbook.trace_id"] = record.trace_id
    if span_id != record.span_id:
        attributes["markbook.span_id"] = record.span_id
    span: dict[str, Any] = {
        "traceId": trace_id,
        "spanId": span_id,
        "name": record.name,
        "kind": SPAN_KINDS.get((record.origin or {}).get("span_kind", ""), 1),
        "attributes": write_pairs(attributes),
        "events": [write_event(event) for event in record.events],
        "links": [
            {
                "traceId": link.get("trace_id", ""),
                "spanId": link.get("span_id", ""),
                "attributes": write_pairs(link.get("attributes") or {}),
            }
            for link in record.links
        ],
        "status": {"code": STATUS_CODES.get(record.status, 0)}
        | ({"message": record.status_message} if record.status_message else {}),
    }
    if record.parent_span_id:
        span["parentSpanId"] = fit_id(record.parent_span_id, 16)
    for key, value in (("startTimeUnixNano", record.start_ns), ("endTimeUnixNano", record.end_ns)):
        if value is not None:
            span[key] = str(value)
    return span


def fit_id(text: str, digits: int) -> str:
    """Return an id of so many hex digits: the id itself where it is one, else one that follows from it."""
    if len(text) == digits and set(text) <= set("0123456789abcdef"):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def complete_attributes(record: SpanRecord) -> dict[str, Any]:
    """Return the attributes as sent, and in OTel GenAI names what the record knows from elsewhere."""
    found = dict(rebuild_attributes(record))
    for side, names in MESSAGE_NAMES.items():
        messages = getattr(record, f"{side}_messages")
        if messages and not any(name in found for name in names) and f"{side}.value" not in found:
            found[names[0]] = json.dumps(write_part_list(messages, {"each": {}}), ensure_ascii=False)
    if record.convention in SENT_AS_OTLP:
        return found
    if record.kind in OPERATIONS:
        found.setdefault("gen_ai.operation.name", OPERATIONS[record.kind])
    else:
        found.setdefault("openinference.span.kind", record.kind.upper())
    usage, tool = record.usage, record.tool or {}
    known: dict[str, Any] = {
        "gen_ai.request.model": record.model,
        "gen_ai.provider.name": record.provider,
        "gen_ai.conversation.id": record.session_id,
        "gen_ai.agent.name": record.agent_name,
        "gen_ai.agent.id": record.agent_id,
        "gen_ai.workflow.name": record.workflow_name,
        "user.id": record.user_id,
        "markbook.task": record.task,
        "metadata": record.metadata,
        "tags": record.tags,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "llm.cost.total": usage.cost_usd,
        "gen_ai.tool.definitions": record.available_tools,
        "gen_ai.tool.name": tool.get("name"),
        "gen_ai.tool.call.id": tool.get("call_id"),
        "gen_ai.tool.call.arguments": tool.get("arguments"),
        "gen_ai.tool.call.result": tool.get("result"),
        "input.value": record.input,
        "output.value": record.output,
        "error.type": record.error_type,
    }
    for name, value in known.items():
        if value not in (None, "", [], {}) and name not in found:
            is_list = name == "tags"
            found[name] = (
                json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) and not is_list else value
            )
    return found


def write_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return a span event."""
    written = {"name": event.get("name", ""), "attributes": write_pairs(event.get("attributes") or {})}
    if event.get("time_ns"):
        written["timeUnixNano"] = str(event["time_ns"])
    return written


def write_pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a dict as OTLP key-value pairs."""
    return [{"key": key, "value": write_value(value)} for key, value in attributes.items()]


def write_value(value: Any) -> dict[str, Any]:
    """Return a value as an OTLP AnyValue."""
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if -(2**63) <= value < 2**63 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [write_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": write_pairs(value)}}
    return {}
