"""Deleting traces: named before it happens, in batches, with what nothing points at any more.

A batch is one short transaction: spans and payloads, then message nodes and bodies that no other span points at (the search index
follows its bodies by triggers), then the traces. Whoever writes spans of the project waits for that one transaction, so a body cannot be
taken away under a span that has just found it. A deletion that is killed has deleted whole batches; asked again, it goes on.

Rooms above tell by `register_dependents` what hangs on a trace, and let go of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet, Sum
from django.utils import timezone

from accounts.models import Project, User
from accounts.services import write_audit
from traces import text_index
from traces.models import LogRecord, Note, ProxiedResponse, SearchPending, SignalCheck, Trace, TraceItem
from traces.services import choose_store
from traces.store_sqlite import chunks

SPANS_AT_ONCE = 2_000  # in one transaction
TRACES_AT_ONCE = 200
PAGES_AT_ONCE = 2_000  # of 4 KiB, given back in one go
TABLES = ("traces_span", "traces_spanpayload", "traces_messagenode", "traces_body", "traces_trace", "traces_traceterm")
TABLES_OF_INDEX = ("traces_searchtext", "traces_tracetexts", "traces_tracestate", "traces_signalcheck")


ORPHANS_AT_ONCE = 500
ORPHAN_NODES = """
    SELECT n.id FROM traces_messagenode n WHERE n.project_id = %s AND n.id > %s
    AND NOT EXISTS (SELECT 1 FROM traces_messagenode c WHERE c.parent_id = n.id)
    AND NOT EXISTS (SELECT 1 FROM traces_spanpayload p WHERE p.input_node_id = n.id)
    AND NOT EXISTS (SELECT 1 FROM traces_spanpayload p WHERE p.output_node_id = n.id)
    ORDER BY n.id LIMIT %s
"""
ORPHAN_BODIES = """
    SELECT b.id FROM traces_body b WHERE b.project_id = %s AND b.id > %s
    AND NOT EXISTS (SELECT 1 FROM traces_messagenode n WHERE n.body_id = b.id)
    AND NOT EXISTS (SELECT 1 FROM traces_spanpayload p WHERE p.origin_id = b.id)
    AND NOT EXISTS (SELECT 1 FROM traces_spanpayload p WHERE p.tools_id = b.id)
    ORDER BY b.id LIMIT %s
"""


@dataclass(frozen=True)
class Dependents:
    """What a room above keeps of traces. `count` says what goes and what stays, in words. The others let go, in the transaction that
    deletes: `release` of traces, `release_spans` of spans.
    """

    count: Callable[[QuerySet[Trace]], list[tuple[str, int, str]]]
    release: Callable[[Sequence[int]], None]
    release_spans: Callable[[Sequence[int]], None]


DEPENDENTS: dict[str, Dependents] = {}


def register_dependents(name: str, dependents: Dependents) -> None:
    """Add what a room above keeps of traces. The same name again replaces it."""
    DEPENDENTS[name] = dependents


@dataclass(frozen=True)
class Loss:
    """What a deletion would take away. `lines`: what it is, how many, and what becomes of it."""

    traces: int
    spans: int
    lines: list[tuple[str, int, str]] = field(default_factory=list)


def traces_older_than(project: Project | None, age: timedelta) -> QuerySet[Trace]:
    """Return the traces, of one project or of all, that began (or came in, where they have no time) longer ago than this."""
    before_ns = int((timezone.now() - age).timestamp() * 1_000_000) * 1000
    found = Trace.objects.filter(sort_ns__lt=before_ns)
    return found if project is None else found.filter(project=project)


def name_loss(traces: QuerySet[Trace]) -> Loss:
    """Return what would go with some traces, before anything does."""
    traces = traces.order_by()
    lines = [("note", Note.objects.filter(trace__in=traces.values("pk")).count(), "deleted")]
    for dependents in DEPENDENTS.values():
        lines += dependents.count(traces)
    spans = traces.aggregate(spans=Sum("span_count"))["spans"] or 0
    return Loss(traces.count(), spans, [line for line in lines if line[1]])


def delete_traces(
    traces: QuerySet[Trace],
    *,
    what: str,
    user: User | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Delete traces with all that only they hold. Returns how many traces and spans went.

    `what` names them in each project's audit log; `report` hears the running counts. Traces that come in meanwhile and match go too.
    """
    gone: dict[int, list[int]] = {}
    while batch := next_batch(traces):
        project_pk, pks = batch
        if project_pk not in gone:  # kept before anything goes
            write_audit("traces.delete", what, project=Project.every.get(pk=project_pk), user=user)
        counts = gone.setdefault(project_pk, [0, 0])
        let_go(project_pk, pks)
        while (spans := delete_some_spans(project_pk, pks, limit=SPANS_AT_ONCE)) == SPANS_AT_ONCE:
            counts[1] += spans
            tell(report, gone)
        counts[1] += spans
        counts[0] += drop_traces(project_pk, pks)
        tell(report, gone)
    for project_pk, (count, spans) in gone.items():
        project = Project.every.filter(pk=project_pk).first()
        write_audit("traces.deleted", what, project=project, user=user, traces=count, spans=spans)
    return sum(count for count, _ in gone.values()), sum(spans for _, spans in gone.values())


def tell(report: Callable[[int, int], None] | None, gone: dict[int, list[int]]) -> None:
    if report is not None:
        report(sum(count for count, _ in gone.values()), sum(spans for _, spans in gone.values()))


def next_batch(traces: QuerySet[Trace]) -> tuple[int, list[int]] | None:
    """Return some traces of one project that are there, few enough for one transaction unless one trace alone is too large."""
    rows = list(traces.order_by("pk").values_list("pk", "project_id", "span_count")[:TRACES_AT_ONCE])
    if not rows:
        return None
    project_pk, total = rows[0][1], 0
    pks: list[int] = []
    for pk, owner, spans in rows:
        if pks and (total + spans > SPANS_AT_ONCE or owner != project_pk):
            break
        pks.append(pk)
        total += spans
    return project_pk, pks


# One transaction -------------------------------------------------------------------------------------------------


def release(trace_pks: Sequence[int]) -> None:
    """Have the rooms above let go of traces."""
    for dependents in DEPENDENTS.values():
        dependents.release(trace_pks)


def let_go(project_pk: int, trace_pks: Sequence[int]) -> None:
    """Have the rooms above let go of traces before the first of their spans goes: once for them all."""
    store = choose_store()
    with store.in_turn(), transaction.atomic():
        store.lock_sweep(project_pk)
        release(trace_pks)


def delete_some_spans(project_pk: int, trace_pks: Sequence[int], *, limit: int) -> int:
    """Delete up to so many spans of traces. Returns how many went."""
    store = choose_store()
    with store.in_turn(), transaction.atomic():
        store.lock_sweep(project_pk)
        store.lock_traces("t.id", sorted(trace_pks))
        sql = (
            "SELECT s.id, p.origin_id, p.tools_id, p.input_node_id, p.output_node_id FROM traces_span s"
            " LEFT JOIN traces_spanpayload p ON p.span_id = s.id WHERE s.trace_id IN {values} ORDER BY s.id"
        )
        rows = store.read_where_in(f"{sql} LIMIT {int(limit)}", [], trace_pks)
        span_pks = [row[0] for row in rows]
        if span_pks:
            for dependents in DEPENDENTS.values():
                dependents.release_spans(span_pks)
        delete_where("traces_spanpayload", "span_id", span_pks)
        delete_where("traces_span", "id", span_pks)
        bodies = sweep_nodes(store, {pk for row in rows for pk in row[3:] if pk is not None})
        sweep_bodies(store, bodies | {pk for row in rows for pk in row[1:3] if pk is not None})
    return len(rows)


def drop_traces(project_pk: int, trace_pks: Sequence[int]) -> int:
    """Delete traces, and spans that came meanwhile. Returns how many traces went."""
    store = choose_store()
    with store.in_turn(), transaction.atomic():
        store.lock_sweep(project_pk)
        while delete_some_spans(project_pk, trace_pks, limit=SPANS_AT_ONCE):
            pass
        release(trace_pks)  # again: a score may have come meanwhile
        traces = Trace.objects.filter(pk__in=list(trace_pks))
        ids = list(traces.values_list("trace_id", flat=True))
        for model in (LogRecord, TraceItem):
            model.objects.filter(project=project_pk, trace_id__in=ids).delete()
        ProxiedResponse.objects.filter(project=project_pk, proxied_trace_id__in=ids).delete()
        ProxiedResponse.objects.filter(project=project_pk, agent_trace_id__in=ids).delete()
        SearchPending.objects.filter(trace__in=list(trace_pks)).delete()
        SignalCheck.objects.filter(trace__in=list(trace_pks)).delete()
        delete_where("traces_traceterm", "trace_id", trace_pks)
        delete_where("traces_tracestate", "trace_id", trace_pks)
        traces.delete()  # with whatever else points at them
    return len(ids)


def delete_where(table: str, column: str, keys: Iterable[int]) -> None:
    """Delete rows by their keys."""
    with connection.cursor() as cursor:
        for part in chunks(keys, SPANS_AT_ONCE):
            marks = ", ".join(["%s"] * len(part))
            cursor.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", part)  # noqa: S608


def pointed_at(store: Any, table: str, pks: Iterable[int], pointer: str, *, more_than: int = 0) -> set[int]:
    """Return those rows of a table that more than so many rows point at by `pointer` (table.column).

    One look into the pointer's index for each, which ends at the first row past `more_than`: a million traces may share a system message.
    OFFSET keeps PostgreSQL from reading the pointer's whole table instead.
    """
    pks = sorted(pks)
    source, column = pointer.split(".")
    sql = (
        f"SELECT t.id FROM {table} t WHERE t.id IN {{values}}"  # noqa: S608
        f" AND EXISTS (SELECT 1 FROM {source} p WHERE p.{column} = t.id LIMIT 1 OFFSET {int(more_than)})"
    )
    return {row[0] for row in store.read_where_in(sql, [], pks)} if pks else set()


def sweep_nodes(store: Any, tails: set[int]) -> set[int]:
    """Delete the message nodes of threads that no span ends in and nothing continues. Returns the bodies that they pointed at."""
    if not tails:
        return set()
    thread = """
        WITH RECURSIVE thread(id, parent_id, body_id, depth) AS (
            SELECT n.id, n.parent_id, n.body_id, n.depth FROM traces_messagenode n WHERE n.id IN {values}
            UNION
            SELECT n.id, n.parent_id, n.body_id, n.depth FROM thread t JOIN traces_messagenode n ON n.id = t.parent_id
        )
        SELECT id, parent_id, body_id, depth FROM thread
    """
    nodes = {row[0]: row[1:] for row in store.read_where_in(thread, [], sorted(tails))}
    kept: set[int] = set()
    for column in ("input_node_id", "output_node_id"):
        kept |= pointed_at(store, "traces_messagenode", nodes.keys() - kept, f"traces_spanpayload.{column}")
    children = Counter(parent for parent, _, _ in nodes.values() if parent is not None)
    by_count: dict[int, list[int]] = {}
    for pk in nodes.keys() - kept:
        by_count.setdefault(children[pk], []).append(pk)
    for count, pks in by_count.items():  # more children than those looked at: another thread goes on from it
        kept |= pointed_at(store, "traces_messagenode", pks, "traces_messagenode.parent_id", more_than=count)
    gone = []
    for pk, (parent, _, _) in sorted(nodes.items(), key=lambda one: -one[1][2]):  # what continues a thread comes first
        if pk not in kept:
            gone.append(pk)
        elif parent is not None:
            kept.add(parent)
    delete_where("traces_messagenode", "id", gone)
    return {nodes[pk][1] for pk in gone}


def sweep_bodies(store: Any, bodies: set[int]) -> None:
    """Delete bodies that nothing points at. The search index loses them by a trigger."""
    kept: set[int] = set()
    for pointer in ("traces_messagenode.body_id", "traces_spanpayload.origin_id", "traces_spanpayload.tools_id"):
        kept |= pointed_at(store, "traces_body", bodies - kept, pointer)
    delete_where("traces_body", "id", sorted(bodies - kept))


def sweep_orphans(project_pk: int) -> None:
    """Delete message nodes and bodies of a project that nothing points at, as a span sent again with other messages leaves them, and texts
    in the search index whose body or trace is gone.
    """
    store = choose_store()
    for sql, sweep in ((ORPHAN_NODES, sweep_thread), (ORPHAN_BODIES, sweep_bodies)):
        last = 0
        while found := [row[0] for row in store.read(sql, [project_pk, last, ORPHANS_AT_ONCE])]:
            with store.in_turn(), transaction.atomic():
                store.lock_sweep(project_pk)
                sweep(store, set(found))  # looks again: a writer may have found one meanwhile
            last = found[-1]
    text_index.sweep_texts(project_pk)


def sweep_thread(store: Any, tails: set[int]) -> None:
    sweep_bodies(store, sweep_nodes(store, tails))


# Bytes come back -------------------------------------------------------------------------------------------------


def give_back(*, whole: bool = False) -> Iterator[int]:
    """Give the room of deleted rows back, in steps that keep nobody waiting long; gives the bytes of each step.

    SQLite returns pages to the file system where the file was made with `auto_vacuum` (ours are). An older file needs `whole`
    once: a VACUUM, which writes the file anew while nobody else writes. PostgreSQL makes the room usable again, and
    returns what lies at the tables' ends; that disturbs nobody.
    """
    store = choose_store()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            size = "SELECT pg_database_size(current_database())"
            before = store.read(size, [])[0][0]
            for table in (*TABLES, *TABLES_OF_INDEX):
                cursor.execute(f"VACUUM (ANALYZE) {table}")
            yield max(0, before - store.read(size, [])[0][0])
            return
        page_size = store.read("PRAGMA page_size", [])[0][0]
        if whole:
            before = store.read("PRAGMA page_count", [])[0][0]
            with store.in_turn():
                cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
                cursor.execute("VACUUM")
            yield (before - store.read("PRAGMA page_count", [])[0][0]) * page_size
            return
        free = store.read("PRAGMA freelist_count", [])[0][0]
        while free and store.read("PRAGMA auto_vacuum", [])[0][0] == 2:
            with store.in_turn():
                cursor.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
                cursor.fetchall()
            left = store.read("PRAGMA freelist_count", [])[0][0]
            if left >= free:
                return
            yield (free - left) * page_size
            free = left
