"""Recorded requests and traces as rows of a run: what an agent was asked is the item, what it answered the sample."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import Project
from evals.chat import NotAMessage, plain_text, storable, to_openai
from evals.grading import in_chat_form, sample_from_trace
from traces.models import Kind, Source, Span, Trace, TraceTerm
from traces.queries import read_records
from traces.spans import SpanRecord

AT_ONCE = 200
DEFAULT_LIMIT = 10_000
MAX_TERM = 200  # characters of a value that is kept as a term
RowValues = tuple[dict[str, Any], dict[str, Any] | None, int | None]


class Filters(Protocol):
    """Which requests are wanted; an empty value asks for nothing. Times are Unix seconds, both inclusive."""

    @property
    def model(self) -> str: ...
    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def created_after(self) -> float | None: ...
    @property
    def created_before(self) -> float | None: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def instructions_search(self) -> str: ...
    @property
    def reasoning_effort(self) -> str: ...
    @property
    def temperature(self) -> float | None: ...
    @property
    def top_p(self) -> float | None: ...
    @property
    def tools(self) -> tuple[str, ...]: ...
    @property
    def users(self) -> tuple[str, ...]: ...
    @property
    def workflow_name(self) -> str: ...


def trace_keys(project: Project, trace_ids: Iterable[str]) -> dict[str, int]:
    """Return the keys of the traces that are here, by trace id."""
    rows = Trace.objects.filter(project=project, trace_id__in=list(trace_ids))
    return dict(rows.values_list("trace_id", "pk"))


def matching_traces(project: Project, filters: Filters, metadata: dict[str, str]) -> "QuerySet[Trace]":
    """Return the recorded traces with all the given metadata; those that runs made themselves are left out."""
    traces = Trace.objects.filter(project=project).exclude(source=Source.EVAL)
    for name, value in [*metadata.items(), *filters.metadata.items()]:
        term = TraceTerm.objects.filter(trace=OuterRef("pk"), project=project, key=f"meta.{name}"[:100])
        traces = traces.filter(Exists(term.filter(value=value[:MAX_TERM])))
    if filters.workflow_name:
        traces = traces.filter(Q(workflow_name=filters.workflow_name) | Q(name=filters.workflow_name))
    return traces


def nanoseconds(seconds: float) -> int:
    return max(-(2**62), min(2**62, int(seconds * 1_000_000_000)))


def log_rows(project: Project, filters: Filters, *, metadata: dict[str, str]) -> Iterator[RowValues]:
    """Yield the recorded model calls that match, oldest first; where there are more than the limit, the newest of them."""
    spans = Span.objects.filter(trace__in=matching_traces(project, filters, metadata), kind=Kind.LLM)
    if filters.model:
        # A model is also meant by its dated name, which the endpoint reports: gpt-4o answers as gpt-4o-2024-08-06.
        spans = spans.filter(Q(model=filters.model) | Q(model__startswith=f"{filters.model}-20"))
    if filters.created_after is not None:
        spans = spans.filter(start_ns__gte=nanoseconds(filters.created_after))
    if filters.created_before is not None:
        spans = spans.filter(start_ns__lt=nanoseconds(int(filters.created_before) + 1))
    if filters.users:
        spans = spans.filter(Q(user_id__in=filters.users) | Q(trace__user_id__in=filters.users))
    limit = filters.limit or DEFAULT_LIMIT
    keys = list(spans.order_by("-start_ns", "-pk").values_list("pk", "trace__trace_id", "trace_id")[: limit * 4])
    found: list[RowValues] = []
    for start in range(0, len(keys), AT_ONCE):
        batch = keys[start : start + AT_ONCE]
        records = read_records((pk, trace_id) for pk, trace_id, _ in batch)
        traces = Trace.objects.in_bulk({trace for _, _, trace in batch})
        for pk, _, trace in batch:
            if matches(records[pk], filters) and (row := row_of_call(records[pk], traces[trace])) is not None:
                found.append(row)
        if len(found) >= limit:
            break
    yield from reversed(found[:limit])


def matches(record: SpanRecord, filters: Filters) -> bool:
    """Say whether a call's parameters are those that are wanted."""
    for name in ("temperature", "top_p"):
        wanted = getattr(filters, name)
        if wanted is not None and record.attributes.get(f"gen_ai.request.{name}") != wanted:
            return False
    if filters.reasoning_effort and effort_of(record) != filters.reasoning_effort:
        return False
    if filters.instructions_search:
        said = [plain_text(m.get("content")) for m in record.input_messages if m.get("role") in ("system", "developer")]
        if filters.instructions_search.casefold() not in "\n".join(said).casefold():
            return False
    if filters.tools:
        names = {tool_name(tool) for tool in record.available_tools or []}
        return names.issuperset(filters.tools)
    return True


def effort_of(record: SpanRecord) -> str:
    """Return the reasoning effort that a request asked for."""
    request = record.attributes.get("markbook.request")
    request = request if isinstance(request, dict) else {}
    reasoning = request.get("reasoning")
    nested = reasoning.get("effort") if isinstance(reasoning, dict) else None
    sent = request.get("reasoning_effort") or nested or record.attributes.get("gen_ai.request.reasoning_effort")
    return str(sent or "")


def tool_name(tool: Any) -> str:
    if not isinstance(tool, dict):
        return ""
    function = tool.get("function")
    return str((function if isinstance(function, dict) else tool).get("name") or tool.get("type") or "")


def row_of_call(record: SpanRecord, trace: Trace) -> RowValues | None:
    """Return a recorded call as a row; None where its content was not recorded."""
    try:
        asked = to_openai(list(record.input_messages))
    except NotAMessage:
        return None
    answers = [message for message in record.output_messages if message.get("role") == "assistant"]
    if not asked or not answers:
        return None
    answer = answers[-1]
    text = plain_text(answer.get("content"))
    calls = [in_chat_form(call, place) for place, call in enumerate(answer.get("tool_calls") or [])]
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    reasons = record.attributes.get("gen_ai.response.finish_reasons")
    reason = str(reasons[-1]) if isinstance(reasons, list) and reasons else "stop"
    given, made = record.usage.input_tokens, record.usage.output_tokens
    sample = {
        "model": record.model,
        "input": asked,
        "output_text": text,
        "output_tools": calls,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "finish_reason": reason,
        "usage": {"prompt_tokens": given, "completion_tokens": made, "total_tokens": (given or 0) + (made or 0)},
    }
    item = {"input": asked, "metadata": trace.metadata, "trace_id": record.trace_id, "span_id": record.span_id}
    if record.start_ns is not None:
        item["created_at"] = int(record.start_ns // 1_000_000_000)
    return storable(item), storable(sample), trace.pk


def trace_rows(project: Project, filters: Filters, *, metadata: dict[str, str]) -> Iterator[RowValues]:
    """Yield whole recorded traces that match as rows, oldest first; where there are more than the limit, the newest of them."""
    traces = matching_traces(project, filters, metadata)
    if filters.model:
        term = TraceTerm.objects.filter(trace=OuterRef("pk"), project=project, key="model", value=filters.model)
        traces = traces.filter(Exists(term))
    if filters.created_after is not None:
        traces = traces.filter(sort_ns__gte=nanoseconds(filters.created_after))
    if filters.created_before is not None:
        traces = traces.filter(sort_ns__lt=nanoseconds(int(filters.created_before) + 1))
    if filters.users:
        traces = traces.filter(user_id__in=filters.users)
    keys = list(traces.order_by("-sort_ns", "-pk").values_list("pk", flat=True)[: filters.limit or DEFAULT_LIMIT])
    for start in range(len(keys), 0, -AT_ONCE):
        batch = keys[max(0, start - AT_ONCE) : start]
        found = Trace.objects.in_bulk(batch)
        for pk in reversed(batch):
            if pk in found:
                yield row_of_trace(found[pk])


def row_of_trace(trace: Trace) -> RowValues:
    """Return a whole trace as a row."""
    sample = sample_from_trace(trace)
    trajectory = trajectory_of(sample.messages)
    kinds = {"handoffs": Kind.HANDOFF, "guardrails": Kind.GUARDRAIL}
    item = {
        "trace_id": trace.trace_id,
        "workflow_name": trace.workflow_name or trace.name,
        "group_id": trace.session_id or None,
        "metadata": trace.metadata,
        "input": sample.input,
        "output": sample.output_text,
        "trajectory": trajectory,
        "spans": sample.spans,
        "tools_called": [call.get("name") for call in sample.tool_calls],
        **{name: [span["name"] for span in sample.spans if span["kind"] == kind] for name, kind in kinds.items()},
        "usage": sample.usage,
        "error": sample.error,
        "created_at": int(datetime.fromtimestamp(trace.sort_ns / 1e9, UTC).timestamp()),
    }
    given = {
        "model": sample.model,
        "output_text": sample.output_text,
        "output_tools": sample.output_tools,
        "choices": sample.choices,
    }
    return storable(item), storable(given), trace.pk


def trajectory_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of a trace in chat form; one that cannot be in it is left out."""
    found = []
    for message in messages:
        try:
            found += to_openai([message])
        except NotAMessage:
            continue
    return found
