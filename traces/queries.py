"""Reads of one trace: its records, its summary, and the document of the read API. The number of queries does not depend on its size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from django.db import connection
from django.db.models import F, QuerySet

from traces.conventions import rebuild_attributes
from traces.conversation import conversation
from traces.models import Span, Trace
from traces.spans import Message, SpanRecord, Usage
from traces.steps import steps
from traces.storable import MAX_INTEGER
from traces.stored_spans import COLUMNS, load_span
from traces.summary import TOKENS

AT_ONCE = 10_000  # keys in one statement
MAX_REPEATED = 1_000_000  # messages of all model calls of a run together; beyond it what calls repeat is read once
KEPT_MESSAGES = 50  # of each call's thread, where that is so
# A thread is read from its last message back to its first: all threads of a trace in one query.
NODES = """
    WITH RECURSIVE thread(id, parent_id, body_id) AS (
        SELECT n.id, n.parent_id, n.body_id FROM traces_messagenode n WHERE n.id IN (
            SELECT p.input_node_id FROM traces_spanpayload p WHERE p.span_id IN ({spans}) AND p.input_node_id IS NOT NULL
            UNION
            SELECT p.output_node_id FROM traces_spanpayload p WHERE p.span_id IN ({spans}) AND p.output_node_id IS NOT NULL
        )
        UNION
        SELECT n.id, n.parent_id, n.body_id FROM thread t JOIN traces_messagenode n ON n.id = t.parent_id
    )
    SELECT t.id, t.parent_id, t.body_id, b.content FROM thread t JOIN traces_body b ON b.id = t.body_id ORDER BY t.id
"""
SHARED = """
    SELECT b.id, b.content FROM traces_body b WHERE b.id IN (
        SELECT p.origin_id FROM traces_spanpayload p WHERE p.span_id IN ({spans})
        UNION
        SELECT p.tools_id FROM traces_spanpayload p WHERE p.span_id IN ({spans})
    )
"""
SPANS = f"""
    SELECT s.id, {", ".join(f"s.{name}" for name in COLUMNS)}, p.content, p.origin_id, p.tools_id, p.input_node_id, p.output_node_id
    FROM traces_span s JOIN traces_spanpayload p ON p.span_id = s.id WHERE s.id IN ({{spans}})
"""  # noqa: S608

DocumentPart = Callable[[Trace], Any]
document_parts: dict[str, DocumentPart] = {}


def register_document_part(name: str, function: DocumentPart) -> None:
    """Add a part to every trace's document: how rooms above this one put in what they know, such as scores."""
    document_parts[name] = function


# Records ---------------------------------------------------------------------------------------------------------


def light_spans(trace: Trace) -> QuerySet[Span]:
    """Return the spans of a trace without their payloads, in order."""
    return trace.spans.order_by(
        F("start_ns").asc(nulls_last=True), "position", F("end_ns").desc(nulls_first=True), "span_id"
    )


def span_records(trace: Trace) -> list[SpanRecord]:
    """Return the records of a trace's spans, in order of start, else of position: three queries.

    Messages, tools and origins that spans have in common are the same objects: do not change them in place. Where the model calls
    of a run repeat more than MAX_REPEATED messages in all, each has the last of its thread, and `earlier_messages` says how many
    are left out; all of them are in some span of the run.
    """
    sql = "SELECT id FROM traces_span WHERE trace_id = %s"
    rows = read_rows(sql, [trace.pk], trace_id=trace.trace_id, max_repeated=MAX_REPEATED)
    return sorted((record for _, record in rows), key=reading_order)


def span_record(trace: Trace, span_id: str) -> SpanRecord | None:
    """Return the record of one span, or None where the trace has no such span."""
    sql = "SELECT id FROM traces_span WHERE trace_id = %s AND span_id = %s"
    rows = read_rows(sql, [trace.pk, span_id], trace_id=trace.trace_id)
    return rows[0][1] if rows else None


def reading_order(record: SpanRecord) -> tuple[int, int, int, str]:
    """Order spans by start; of those that start together, the longer one first, since it may be the other's parent."""
    start = MAX_INTEGER if record.start_ns is None else record.start_ns
    return start, record.position, -(MAX_INTEGER if record.end_ns is None else record.end_ns), record.span_id


def read_records(spans: Iterable[tuple[int, str]], *, max_repeated: int | None = None) -> dict[int, SpanRecord]:
    """Return records by key, for spans given by key and trace id. `max_repeated`: as in `read_rows`, for each AT_ONCE spans."""
    return dict(iter_records(spans, max_repeated=max_repeated))


def iter_records(
    spans: Iterable[tuple[int, str]], *, at_once: int = AT_ONCE, max_repeated: int | None = None
) -> Iterator[tuple[int, SpanRecord]]:
    """Yield keys and records as `read_records` returns them; `at_once` of them are read, and in memory, at a time."""
    trace_ids = dict(spans)
    pks = sorted(trace_ids)
    for start in range(0, len(pks), at_once):
        chosen = ", ".join(str(int(pk)) for pk in pks[start : start + at_once])
        for pk, record in read_rows(chosen, [], trace_id="", max_repeated=max_repeated):
            record.trace_id = trace_ids[pk]
            yield pk, record


def read_rows(
    spans: str, values: Sequence[Any], *, trace_id: str, max_repeated: int | None = None
) -> list[tuple[int, SpanRecord]]:
    """Return the keys and records of the spans that a subquery, or a list of keys, chooses.

    `max_repeated`: so many messages are read for all spans together before what they repeat is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(SPANS.replace("{spans}", spans), values)
        rows = cursor.fetchall()
        cursor.execute(NODES.replace("{spans}", spans), [*values, *values])
        nodes = cursor.fetchall()
        cursor.execute(SHARED.replace("{spans}", spans), [*values, *values])
        shared = {pk: orjson.loads(bytes(content)) for pk, content in cursor.fetchall()}
    threads = Threads(nodes)
    is_cut = max_repeated is not None and sum(threads.depth(row[-2]) for row in rows) > max_repeated
    found = []
    for pk, *columns, content, origin, tools, input_node, output_node in rows:
        messages = threads.last_messages(input_node) if is_cut else threads.messages(input_node, above=None)
        record = load_span(
            trace_id,
            columns,
            bytes(content),
            input_messages=messages,
            output_messages=threads.messages(output_node, above=input_node),
            tools=shared.get(tools),
            origin=shared.get(origin),
        )
        record.earlier_messages = threads.depth(input_node) - len(messages) if is_cut else 0
        found.append((pk, record))
    return found


class Threads:
    """Message threads by their last node. Bodies are parsed once."""

    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        bodies: dict[int, Message] = {}
        self.nodes: dict[int, tuple[int | None, Message]] = {}
        for pk, parent, body, content in rows:
            if body not in bodies:
                bodies[body] = orjson.loads(bytes(content))
            self.nodes[pk] = (parent, bodies[body])
        self.depths: dict[int, int] = {}
        self.told: set[int] = set()  # nodes that `last_messages` has given

    def depth(self, node: int | None) -> int:
        """Return how many messages a thread has."""
        way = []
        while node is not None and node not in self.depths:
            way.append(node)
            node = self.nodes[node][0]
        depth = self.depths[node] if node is not None else 0
        for node in reversed(way):
            depth += 1
            self.depths[node] = depth
        return depth

    def last_messages(self, node: int | None) -> list[Message]:
        """Return the end of a thread: at least KEPT_MESSAGES, and as many as no thread before had."""
        found: list[Message] = []
        while node is not None and (len(found) < KEPT_MESSAGES or node not in self.told):
            self.told.add(node)
            node, message = self.nodes[node]
            found.append(message)
        found.reverse()
        return found

    def messages(self, node: int | None, *, above: int | None) -> list[Message]:
        """Return the messages that end in a node, from the start of the thread, or after the node `above`."""
        found = []
        while node is not None and node != above:
            node, message = self.nodes[node]
            found.append(message)
        found.reverse()
        return found


# The read API ----------------------------------------------------------------------------------------------------


def trace_summary(trace: Trace) -> dict[str, Any]:
    """Return the summary fields of the read API. Input and output are their starts; the document has them whole."""
    return {
        "trace_id": trace.trace_id,
        "name": trace.name,
        "project": trace.project.slug,
        "source": trace.source,
        "status": trace.status,
        "start_time": iso_time(trace.start_ns),
        "start_ns": ns_text(trace.start_ns),
        "duration_ms": trace.duration_ms,
        "received_at": trace.received_at.isoformat(),
        "agent_id": trace.agent_id or None,
        "agent_name": trace.agent_name or None,
        "session_id": trace.session_id or None,
        "session_ids": trace.session_ids,
        "user_id": trace.user_id or None,
        "task": trace.task or None,
        "environment": trace.environment or None,
        "release": trace.release or None,
        "version": trace.version or None,
        "workflow_name": trace.workflow_name or None,
        "prompt": (
            {"name": trace.prompt_name or None, "version": trace.prompt_version or None}
            if trace.prompt_name or trace.prompt_version
            else None
        ),
        "models": trace.model_names,
        "tags": trace.tags,
        "metadata": trace.metadata,
        "missing_root": trace.missing_root,
        "span_count": trace.span_count,
        "error_count": trace.error_count,
        "llm_call_count": trace.llm_call_count,
        "tool_call_count": trace.tool_call_count,
        "usage": {
            **{name: getattr(trace, name) for name in TOKENS},
            "total_tokens": trace.total_tokens,
            "cost_usd": trace.cost_usd,
            "cost_source": trace.cost_source or None,
            "reported_by_root": not trace.usage_count and trace.total_tokens is not None,
        },
        "input": trace.input_preview,
        "output": trace.output_preview,
    }


def trace_document(trace: Trace) -> dict[str, Any]:
    """Return a trace as GET /api/traces/{trace_id} gives it: summary, spans, conversation, steps, and parts of other rooms."""
    records = span_records(trace)
    document = trace_summary(trace)
    sessions = inherited_sessions(records, trace.session_id)
    document["spans"] = [span_document(record, session_id=sessions[record.span_id]) for record in records]
    document["conversation"] = conversation(records)
    document["steps"] = steps(records)
    document["scores"] = []
    for name, part in document_parts.items():
        document[name] = part(trace)
    return document


def span_document(record: SpanRecord, *, session_id: str = "") -> dict[str, Any]:
    """Return a span as the read API gives it. `session_id`: its own or the one that it inherits."""
    tool = record.tool
    has_error = record.status == "error"
    message = record.error_message or record.status_message
    return {
        "span_id": record.span_id,
        "parent_span_id": record.parent_span_id or None,
        "name": record.name,
        "display_name": record.display_name or None,
        "kind": record.kind,
        "start_ns": ns_text(record.start_ns),
        "end_ns": ns_text(record.end_ns),
        "start_time": iso_time(record.start_ns),
        "duration_ms": duration_ms(record),
        "position": record.position,
        "status": record.status,
        "status_message": record.status_message,
        "error": {"type": record.error_type or None, "message": message} if has_error else None,
        "model": record.model or None,
        "provider": record.provider or None,
        "usage": usage_document(record.usage),
        "agent_id": record.agent_id or None,
        "agent_name": record.agent_name or None,
        "session_id": record.session_id or session_id or None,
        "user_id": record.user_id or None,
        "prompt": record.prompt,
        "tool": (
            {
                "name": tool.get("name") or "",
                "call_id": tool.get("call_id") or None,
                "arguments": tool.get("arguments"),
                "result": tool.get("result"),
            }
            if tool
            else None
        ),
        "input_messages": [message_document(one, record.span_id) for one in record.input_messages],
        **({"input_messages_omitted": record.earlier_messages} if record.earlier_messages else {}),
        "output_messages": [message_document(one, record.span_id) for one in record.output_messages],
        "input": record.input,
        "output": record.output,
        "content_recorded": record.content_recorded,
        "available_tools": record.available_tools,
        "attributes": record.attributes if record.earlier_messages else rebuild_attributes(record),
        "rebuilt_attributes": sorted(record.moved),
        "unrecognised_attributes": record.unrecognised,
        "events": [{**event, "time_ns": ns_text(event.get("time_ns"))} for event in record.events],
        "links": record.links,
        "origin": record.origin,
        "metadata": record.metadata,
        "tags": record.tags,
        "convention": record.convention or None,
    }


def message_document(message: Message, span_id: str) -> dict[str, Any]:
    """Return a message as the read API gives it."""
    return {
        "content": None,
        **message,
        "role": message.get("role") or "",
        "tool_calls": message.get("tool_calls") or [],
        "tool_call_id": message.get("tool_call_id") or None,
        "span_id": span_id,
    }


def usage_document(usage: Usage) -> dict[str, Any] | None:
    """Return a span's usage, or None where nothing was said."""
    counts = {name: getattr(usage, name) for name in TOKENS}
    given = [counts[name] for name in ("input_tokens", "output_tokens") if counts[name] is not None]
    if usage.cost_usd is None and all(count is None for count in counts.values()):
        return None
    total = sum(given) if given else None
    return {**counts, "total_tokens": total, "cost_usd": usage.cost_usd, "cost_source": usage.cost_source or None}


def inherited_sessions(records: Sequence[SpanRecord], trace_session_id: str) -> dict[str, str]:
    """Return the session of each span: its own, else its nearest ancestor's, else the trace's."""
    by_id = {record.span_id: record for record in records}
    found: dict[str, str] = {}
    for record in records:
        if record.span_id in found:
            continue
        path: list[str] = []
        at = record
        session_id = None
        while session_id is None:
            path.append(at.span_id)
            found[at.span_id] = trace_session_id  # for the time being: ends a walk that comes round
            parent = by_id.get(at.parent_span_id)
            if at.session_id or parent is None:
                session_id = at.session_id or trace_session_id
            elif parent.span_id in found:
                session_id = found[parent.span_id]
            else:
                at = parent
        found |= dict.fromkeys(path, session_id)
    return found


def duration_ms(record: SpanRecord) -> float | None:
    """Return how long a span took, or None where it was not timed or has not ended."""
    if record.start_ns is None or record.end_ns is None:
        return None
    return max(0, record.end_ns - record.start_ns) / 1e6


def ns_text(time_ns: int | None) -> str | None:
    """Return nanoseconds as decimal text: they are beyond what JSON numbers hold exactly."""
    return None if time_ns is None else str(time_ns)


def iso_time(time_ns: int | None) -> str | None:
    """Return nanoseconds since 1970 as an ISO time in UTC, to the microsecond."""
    if time_ns is None:
        return None
    seconds, rest = divmod(time_ns, 1_000_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
