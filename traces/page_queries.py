"""Reads for the page of one trace and of one session."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, TypeVar

import orjson
from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import Project
from traces import queries, search
from traces.list_queries import DEFAULT_SORT, ROW_FIELDS, SORTS, time_range, trace_page
from traces.list_queries.pages import make_key
from traces.models import Kind, SignalCheck, Span, Trace
from traces.search import QueryError
from traces.spans import LightSpan, SpanRecord
from traces.tree import Tree, build_tree

Run = TypeVar("Run")
MAX_ASKED = 12  # model calls that are read to find the one that asked for a tool
MAX_SESSION = 200  # traces of a session that are read at once
MAX_SESSION_SPANS = 20_000  # spans of them; one trace is read, however large


def find_trace(project: Project, trace_id: str) -> Trace | None:
    """Return a trace of the project by its id as sent, or None."""
    return None if "\x00" in trace_id else Trace.objects.filter(project=project, trace_id=trace_id).first()


def trace_tree(trace: Trace) -> Tree:
    """Return the laid-out tree of a trace, with what detectors say of its spans: two queries, no payload."""
    spans = trace.spans.order_by().values_list(*LightSpan._fields)  # the tree puts them in order itself
    return build_tree(map(LightSpan._make, spans), span_flags(trace))


def span_flags(trace: Trace) -> dict[str, tuple[str, ...]]:
    """Return why spans look like failures that nobody reported, by span id."""
    found: dict[str, tuple[str, ...]] = {}
    for span_id, reason in trace.signals.order_by("pk").values_list("span_id", "reason"):
        found[span_id] = (*found.get(span_id, ()), reason)
    return found


def change_count(trace: Trace) -> int:
    """Return how often a trace was written to."""
    return SignalCheck.objects.filter(trace=trace).values_list("changes", flat=True).first() or 0


def tool_calls(trace: Trace) -> Iterator[tuple[str, str, Any]]:
    """Give span id, tool and arguments of a trace's tool calls: one query, of their payloads only."""
    calls = trace.spans.filter(kind=Kind.TOOL).values_list("span_id", "tool_name", "payload__content")
    for span_id, name, content in calls.iterator(chunk_size=2000):
        tool = orjson.loads(bytes(content)).get("tool") or {}
        yield span_id, name, tool.get("arguments")


@dataclass(frozen=True)
class LatestCall:
    """A tool's call in the newest run that has one: what a sentence about it is made of."""

    span_id: str
    tool: dict[str, Any]
    is_error: bool
    error: str


def latest_calls(project: Project, tools: Sequence[str]) -> dict[str, LatestCall]:
    """Return the latest call of each of some tools, by its name: two queries, however many tools. Those never called are left out."""
    if not tools:
        return {}
    names = ", ".join(["(CAST(%s AS text))"] * len(tools))
    sql = (
        f"WITH tool(name) AS (VALUES {names}) SELECT (SELECT MAX(span.id + 0) FROM traces_span span "  # noqa: S608  + 0: not by key
        "WHERE span.tool_name = tool.name AND span.trace_id = (SELECT MAX(term.trace_id) FROM traces_traceterm term "
        "WHERE term.project_id = %s AND term.key = 'tool' AND term.value = tool.name)) FROM tool"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*tools, project.pk])
        pks = [pk for (pk,) in cursor.fetchall() if pk is not None]
    rows = Span.objects.filter(pk__in=pks).values_list(
        "tool_name", "span_id", "status", "status_message", "payload__content"
    )
    found = {}
    for name, span_id, status, message, content in rows:
        held = orjson.loads(bytes(content))
        if held.get("tool"):
            error = held.get("error_message") or message
            found[name] = LatestCall(span_id, held["tool"], status == "error", error)
    return found


def neighbours(
    trace: Trace, q: str = "", *, range_name: str = "all", sort: str = DEFAULT_SORT, now: datetime | None = None
) -> tuple[str, str]:
    """Return the ids of the traces before and after this one in a list; empty where there is none. A list that cannot be read (a query
    with a mistake) is the whole one.
    """
    now = now or timezone.now()
    sort = sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT
    try:
        query = search.parse(q, now=now)
    except QueryError:
        query = search.parse("")
    since_ns = time_range(trace.project, range_name, now=now).since_ns
    key = make_key(sort, trace)
    found = []
    for place in ({"before": key}, {"after": key}):
        page = trace_page(trace.project, query, sort=sort, limit=1, since_ns=since_ns, fields=ROW_FIELDS, **place)
        found.append(page.rows[0].trace_id if page.rows else "")
    return found[0], found[1]


def asking_record(trace: Trace, record: SpanRecord) -> SpanRecord | None:
    """Return the model call that asked for a tool call: by call id, else the nearest one before it that names the tool."""
    if record.kind != Kind.TOOL or record.tool is None:
        return None
    calls = queries.light_spans(trace).filter(kind=Kind.LLM)
    if record.start_ns is not None:
        near = calls.filter(start_ns__lte=record.start_ns).order_by("-start_ns", "-position")
    else:
        near = calls.filter(position__lte=record.position).order_by("-position")
    call_id, name = record.tool.get("call_id"), record.tool.get("name")
    by_name = None
    for span_id in list(near.values_list("span_id", flat=True)[:MAX_ASKED]):
        found = queries.span_record(trace, span_id)
        if found is None:
            continue
        for call in asked_calls([found]):
            if call_id and call.get("id") == call_id:
                return found
            if by_name is None and call.get("name") == name and not (call_id and call.get("id")):
                by_name = found
    return by_name


def asked_calls(records: Iterable[SpanRecord]) -> list[dict]:
    """Return the tool calls that model calls asked for."""
    return [
        call for record in records for message in record.output_messages for call in message.get("tool_calls") or []
    ]


def traces_of_session(project: Project, session_id: str) -> QuerySet[Trace]:
    """Return the traces that name a session, alone or among several."""
    if "\x00" in session_id:
        return Trace.objects.none()
    named = Q(session_id=session_id) | Q(terms__key="session", terms__value=session_id)
    return Trace.objects.filter(pk__in=Trace.objects.filter(named, project=project).values("pk"))


@dataclass(frozen=True)
class SessionPart:
    """The runs of a session that are read at once. `context`: the run before them, which says what the first one repeats; None at
    the session's start, and where it is too large. `later` and `earlier`: the number of the run to read on from, 0 where there is none.
    """

    shown: list[Trace]
    context: Trace | None = None
    later: int = 0
    earlier: int = 0

    @property
    def traces(self) -> list[Trace]:
        return [self.context, *self.shown] if self.context else self.shown

    @property
    def span_count(self) -> int:
        return sum(trace.span_count for trace in self.traces)


def session_part(project: Project, session_id: str, number: int = 1) -> SessionPart:
    """Return the runs of a session, those that name several sessions too, in order of time from the `number`th on: MAX_SESSION with
    their context, and no more than have MAX_SESSION_SPANS together. `shown` is empty where there are no such runs.
    """
    runs = traces_of_session(project, session_id).order_by("sort_ns", "pk")
    start = number - 1
    found = list(runs[max(0, start - 1) : max(0, start - 1) + MAX_SESSION + 1])
    context, rest = (found[0], found[1:]) if start and found else (None, found)
    if context and rest and context.span_count + rest[0].span_count > MAX_SESSION_SPANS:
        context = None
    room = MAX_SESSION_SPANS - (context.span_count if context else 0)
    shown = take_runs(rest[: MAX_SESSION - (1 if start else 0)], room, lambda trace: trace.span_count)
    before = list(runs[max(0, start - MAX_SESSION + 1) : start].values_list("span_count", flat=True))
    taken = take_runs(before[::-1], MAX_SESSION_SPANS, lambda count: count)
    return SessionPart(
        shown,
        context,
        later=start + len(shown) + 1 if len(shown) < len(rest) else 0,
        earlier=start - len(taken) + 1 if taken else 0,
    )


def take_runs(runs: list[Run], room: int, size: Callable[[Run], int]) -> list[Run]:
    """Return the first runs that have room together, one at least."""
    for place, total in enumerate(accumulate(size(run) for run in runs)):
        if total > room and place:
            return runs[:place]
    return runs


def change_counts(traces: Sequence[Trace]) -> tuple[int, ...]:
    """Return how often each of some traces was written to: one query."""
    known = dict(
        SignalCheck.objects.filter(trace__in=[trace.pk for trace in traces]).values_list("trace_id", "changes")
    )
    return tuple(known.get(trace.pk, 0) for trace in traces)


def records_of(traces: Sequence[Trace]) -> list[SpanRecord]:
    """Return the records of several traces, in their order: a fixed number of queries for every 10,000 spans."""
    trace_ids = {trace.pk: trace.trace_id for trace in traces}
    spans = Span.objects.filter(trace__in=trace_ids).values_list("pk", "trace_id")
    place_of = {trace.trace_id: place for place, trace in enumerate(traces)}
    found = queries.read_records(((pk, trace_ids[trace]) for pk, trace in spans), max_repeated=queries.MAX_REPEATED)
    return sorted(found.values(), key=lambda record: (place_of[record.trace_id], queries.reading_order(record)))
