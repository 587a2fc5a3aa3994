"""Write records as Halo lines, a span a line: attributes as they are kept, and the projection that Halo's index reads. Pure.

`markbook_added` beside the span names the attributes that were not sent but worked out here; our importer leaves them out again.
Tokens and cost of the projection stand on the spans that the trace's totals count, so that sums agree.
"""

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from traces.conventions.moved import rebuild_attributes
from traces.formats.otlp_writer import complete_attributes
from traces.spans import Message, SpanRecord

SCHEMA_VERSION = 1
STATUS_CODES = {"ok": "STATUS_CODE_OK", "error": "STATUS_CODE_ERROR"}
KINDS = {"agent": "AGENT", "llm": "LLM", "tool": "TOOL", "chain": "CHAIN", "guardrail": "GUARDRAIL"}
OPENINFERENCE = {
    **KINDS,
    "retriever": "RETRIEVER",
    "embedding": "EMBEDDING",
    "reranker": "RERANKER",
    "evaluator": "EVALUATOR",
    "prompt": "PROMPT",
}


def write_lines(
    records: list[SpanRecord],
    *,
    project: str = "",
    session_id: str = "",
    user_id: str = "",
    agent: tuple[str, str] = ("", ""),
    counting: Collection[str] = (),
) -> Iterator[dict[str, Any]]:
    """Give the lines of a trace. `agent` is (id, name) of the trace; `counting` are the spans whose usage the totals count."""
    known = {record.span_id for record in records}
    for record in records:
        sent = rebuild_attributes(record)
        attributes = complete_attributes(record)
        for name, value in projection(
            record,
            project=project,
            session_id=session_id,
            user_id=user_id,
            agent=agent,
            counts=record.span_id in counting,
        ).items():
            attributes.setdefault(name, value)
        origin = record.origin or {}
        scope = origin.get("scope") or {}
        parent = record.parent_span_id
        line: dict[str, Any] = {
            "trace_id": record.trace_id,
            "span_id": record.span_id,
            "parent_span_id": parent,
            "trace_state": "",
            "name": record.name,
            "kind": f"SPAN_KIND_{str(origin.get('span_kind') or 'internal').upper()}",
            "start_time": iso_nine(record.start_ns),
            "end_time": iso_nine(record.end_ns),
            "status": {
                "code": STATUS_CODES.get(record.status, "STATUS_CODE_UNSET"),
                "message": (record.error_message or record.status_message)
                if record.status == "error"
                else record.status_message,
            },
            "resource": {"attributes": origin.get("resource") or {}},
            "scope": {"name": str(scope.get("name") or "markbook"), "version": str(scope.get("version") or "")},
            "attributes": attributes,
        }
        if record.events:
            line["events"] = [
                {**event, "time_ns": None if event.get("time_ns") is None else str(event["time_ns"])}
                for event in record.events
            ]
        if record.links:
            line["links"] = record.links
        added = sorted(attributes.keys() - sent.keys())
        if added:
            line["markbook_added"] = added
        if parent and parent not in known:
            line["markbook_parent_missing"] = True
        yield line


def projection(
    record: SpanRecord, *, project: str, session_id: str, user_id: str, agent: tuple[str, str], counts: bool
) -> dict[str, Any]:
    """Return what Halo's index reads of a span, under its own names."""
    is_model = record.kind == "llm"
    usage = record.usage
    found: dict[str, Any] = {
        "inference.export.schema_version": SCHEMA_VERSION,
        "inference.project_id": project,
        "inference.observation_kind": KINDS.get(record.kind, "SPAN"),
        "inference.llm.provider": (record.provider or None) if is_model else None,
        "inference.llm.model_name": (record.model or None) if is_model else None,
        "inference.llm.input_tokens": usage.input_tokens if counts else None,
        "inference.llm.output_tokens": usage.output_tokens if counts else None,
        "inference.llm.cost.total": decimal_text(usage.cost_usd) if counts and usage.cost_usd is not None else None,
        "inference.user_id": user_id or record.user_id or None,
        "inference.session_id": session_id or record.session_id or None,
        "inference.agent_name": record.agent_name or agent[1] or agent[0],
    }
    agent_id = record.agent_id or agent[0]
    if agent_id:
        found["inference.agent_id"] = agent_id
    if record.kind in OPENINFERENCE:
        found["openinference.span.kind"] = OPENINFERENCE[record.kind]
    for side in ("input", "output"):
        messages: list[Message] = getattr(record, f"{side}_messages")
        if messages:
            found[f"llm.{side}_messages"] = json.dumps(
                [write_message(message) for message in messages], ensure_ascii=False
            )
    return found


def write_message(message: Message) -> dict[str, Any]:
    """Return a message in the flat form of OpenInference as one object; content that is no text as JSON text."""
    content = message.get("content")
    found: dict[str, Any] = {"message.role": message.get("role") or ""}
    if content is not None:
        found["message.content"] = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    if message.get("tool_call_id"):
        found["message.tool_call_id"] = message["tool_call_id"]
    calls = [
        {
            "tool_call.id": call.get("id"),
            "tool_call.function.name": call.get("name"),
            "tool_call.function.arguments": call["arguments"]
            if isinstance(call.get("arguments"), str)
            else json.dumps(call.get("arguments"), ensure_ascii=False),
        }
        for call in message.get("tool_calls") or []
    ]
    if calls:
        found["message.tool_calls"] = calls
    return found


def iso_nine(time_ns: int | None) -> str:
    """Return a time as Halo compares it, as text: nine digits of a second, in UTC. Unknown is empty."""
    if time_ns is None:
        return ""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (ValueError, OverflowError, OSError):
        return ""


def decimal_text(amount: float) -> str:
    """Return an amount as decimal text without an exponent."""
    return f"{amount:.12f}".rstrip("0").rstrip(".") or "0"
