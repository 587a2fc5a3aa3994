"""Changes of what agents did: spans and log records come in.

A batch is written in one transaction, by bulk statements (`store_sqlite`, `store_postgres`). The rows that it ends in are the same
for late, doubled, split and reordered batches; `summary.py` says how a trace's summary is kept so.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import Any

import orjson
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Project
from traces import store_postgres, store_sqlite, summary
from traces.conventions.logs import apply_logs
from traces.models import Source
from traces.otlp import LogItem
from traces.queries import iter_records, read_records
from traces.signal_rows import OWN_TERMS, mark_changed
from traces.spans import SpanRecord
from traces.storable import MAX_INTEGER, TooDeep, clean_json, is_storable, json_bytes, short_digest
from traces.stored_spans import COLUMNS, Bodies, RejectedSpan, StoredSpan, store_span
from traces.summary import TOKENS, Facts, Place, Summary, UsageNode, UsageRow

SPAN_COLUMNS = ("id", "trace_id", *COLUMNS, "has_usage_below", "counts_usage")
SPAN_UPDATES = (*COLUMNS[1:], "has_usage_below", "counts_usage")
PAYLOAD_COLUMNS = ("span_id", "content", "origin_id", "tools_id", "input_node_id", "output_node_id")
TRACE_COLUMNS = ("id", "project_id", "trace_id", "source", "received_at", *summary.COLUMNS)
JSON_COLUMNS = ("metadata", "tags", "model_names", "session_ids")
AMOUNTS = (*TOKENS, "cost_usd")
REBUILD_AT_ONCE = 500  # spans with their messages, in memory
FROM_WANTED = "FROM wanted CROSS JOIN traces_span WHERE trace_id = trace_pk AND span_id = wanted_id"
Links = Callable[[StoredSpan], tuple[int | None, ...]]  # keys of a span's origin, tools, input node and output node


@dataclass(frozen=True)
class IngestResult:
    """What became of a batch: spans kept (those that were there already too), reasons of those that were not, and the traces' keys."""

    accepted: int
    rejected: list[str] = field(default_factory=list)
    trace_pks: dict[str, int] = field(default_factory=dict)


class Prepared:
    """Spans ready to be written, of one request or of several that are written together. Each (trace id, span id) once."""

    def __init__(self) -> None:
        self.price_usd = find_price_usd()
        self.bodies = Bodies()
        self.spans: dict[tuple[str, str], StoredSpan] = {}

    def add(self, records: Iterable[SpanRecord]) -> IngestResult:
        """Take in the spans of a request. Says how many can be kept, and why others cannot."""
        spans = self.spans
        accepted, rejected = 0, []
        for record in records:
            try:
                span = store_span(record, self.bodies, self.price_usd)
            except RejectedSpan as error:
                rejected.append(str(error))
                continue
            accepted += 1
            earlier = spans.get((span.trace_id, span.span_id))
            if earlier is None or span.is_ended or not earlier.is_ended:
                spans[span.trace_id, span.span_id] = span
        return IngestResult(accepted, rejected)

    def write(self, project: Project, *, source: str = Source.INGEST) -> dict[str, int]:
        """Write the spans in one transaction. Returns the keys of their traces by trace id."""
        spans = self.spans
        if not spans:
            return {}
        trace_ids = sorted({trace_id for trace_id, _ in spans})
        with choose_store().in_turn(), transaction.atomic():
            batch = Batch(project, source=source, bodies=self.bodies)
            batch.store.lock_joins(project.pk, trace_ids, alone=False)
            logs = read_logs(batch.store, project, trace_ids)
            joined = {
                place: join_logs(spans[place], logs[place], self.bodies, self.price_usd)
                for place in logs.keys() & spans
            }
            return batch.write({**spans, **joined}.values())


def ingest_spans(project: Project, records: Iterable[SpanRecord], *, source: str = Source.INGEST) -> IngestResult:
    """Keep spans, in one transaction. A span that cannot be kept is reported and the rest is kept.

    The same span again changes nothing; a version with an end replaces one without; otherwise the last one wins.
    """
    prepared = Prepared()
    result = prepared.add(records)
    return IngestResult(result.accepted, result.rejected, prepared.write(project, source=source))


def ingest_logs(project: Project, logs: Iterable[LogItem]) -> IngestResult:
    """Keep log records, and join them to the spans that are there; the others join when their span comes."""
    rows: dict[tuple[str, str, bytes], tuple[Any, ...]] = {}
    accepted, rejected = 0, []
    for log in logs:
        try:
            if not (is_storable(log.trace_id + log.span_id) and max(len(log.trace_id), len(log.span_id)) <= 128):
                raise TooDeep("its ids are too long or hold broken characters")
            content = json_bytes({"event_name": log.event_name, "attributes": log.attributes, "body": log.body})
        except TooDeep as error:
            rejected.append(f"log record {log.event_name[:60]!r}: {error}")
            continue
        accepted += 1
        time_ns = log.time_ns if log.time_ns is None or 0 <= log.time_ns < MAX_INTEGER else None
        digest = short_digest(content, str(time_ns).encode())
        row = (project.pk, log.trace_id, log.span_id, digest, time_ns, content)
        rows.setdefault((log.trace_id, log.span_id, digest), row)
    if not rows:
        return IngestResult(accepted, rejected)
    trace_ids = sorted({trace_id for trace_id, _, _ in rows})
    store = choose_store()
    with store.in_turn(), transaction.atomic():
        store.lock_joins(project.pk, trace_ids, alone=True)
        columns = ("project_id", "trace_id", "span_id", "digest", "time_ns", "content")
        store.insert_or_leave("traces_logrecord", columns, list(rows.values()))
        trace_pks = join_stored(project, {(trace_id, span_id) for trace_id, span_id, _ in rows})
    return IngestResult(accepted, rejected, trace_pks)


# Log records -----------------------------------------------------------------------------------------------------


def read_logs(store: ModuleType, project: Project, trace_ids: Sequence[str]) -> dict[tuple[str, str], list[LogItem]]:
    """Return the log records of traces, by span, in the order of arrival."""
    found: dict[tuple[str, str], list[LogItem]] = {}
    rows = store.read_where_in(
        "SELECT id, trace_id, span_id, time_ns, content FROM traces_logrecord"
        " WHERE project_id = %s AND trace_id IN {values}",
        [project.pk],
        trace_ids,
    )
    for _, trace_id, span_id, time_ns, content in sorted(rows, key=lambda row: row[0]):
        kept = orjson.loads(bytes(content))
        item = LogItem(trace_id, span_id, time_ns, kept["event_name"], kept["attributes"], kept["body"])
        found.setdefault((trace_id, span_id), []).append(item)
    return found


def join_logs(
    span: StoredSpan, logs: list[LogItem], bodies: Bodies, price_usd: Callable[..., float | None]
) -> StoredSpan:
    """Return a span with what its log records say. It keeps the digest of what was sent, so that the same again is known."""
    joined = store_span(apply_logs(span.record, logs), bodies, price_usd)
    joined.digest = joined.columns[-1] = span.digest
    return joined


def join_stored(project: Project, places: set[tuple[str, str]]) -> dict[str, int]:
    """Join log records to the stored spans that they belong to."""
    store = choose_store()
    trace_ids = sorted({trace_id for trace_id, _ in places})
    known = find_traces(store, project, trace_ids)
    if not known:
        return {}
    names = {pk: trace_id for trace_id, pk in known.items()}
    store.lock_traces("t.id", sorted(names))
    rows = store.read_wanted(
        f"SELECT trace_id, span_id, id, digest {FROM_WANTED}",
        [(known[trace_id], span_id) for trace_id, span_id in places if trace_id in known],
    )
    if not rows:
        return {}
    logs = read_logs(store, project, sorted({names[row[0]] for row in rows}))
    digests = {row[2]: bytes(row[3]) for row in rows}
    bodies, price_usd = Bodies(), find_price_usd()
    spans = []
    for pk, record in read_records([(row[2], names[row[0]]) for row in rows]).items():
        span = store_span(unpriced(record), bodies, price_usd)
        span.digest = digests[pk]
        spans.append(join_logs(span, logs[record.trace_id, record.span_id], bodies, price_usd))
    return Batch(project, source=Source.INGEST, bodies=bodies, is_rewrite=True).write(spans)


def unpriced(record: SpanRecord) -> SpanRecord:
    """Take out a cost that was worked out here: it is worked out again."""
    if record.usage.cost_source == "priced":
        record.usage.cost_usd, record.usage.cost_source = None, ""
    return record


# Prices ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def find_price_usd() -> Callable[..., float | None]:
    """Return the price function, with the models that have no price remembered."""
    from providers.prices import price_usd  # loads its price table: only once something is kept

    @lru_cache(maxsize=4096)
    def has_price(model: str, provider: str) -> bool:
        return price_usd(model, 1000, 1000, 0, provider=provider) is not None

    def price(
        model: str, input_tokens: int | None, output_tokens: int | None, cached: int | None, *, provider: str = ""
    ) -> float | None:
        if not has_price(model, provider):
            return None
        return price_usd(model, input_tokens or 0, output_tokens or 0, cached or 0, provider=provider)

    return price


# Writing a batch -------------------------------------------------------------------------------------------------


def choose_store() -> ModuleType:
    """Return the statements for the database in use."""
    return store_postgres if connection.vendor == "postgresql" else store_sqlite


def find_traces(store: ModuleType, project: Project, trace_ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of the traces that are there."""
    sql = "SELECT trace_id, id FROM traces_trace WHERE project_id = %s AND trace_id IN {values}"
    return dict(store.read_where_in(sql, [project.pk], trace_ids))


@dataclass(slots=True)
class KnownSpan:
    """A stored span that comes again."""

    pk: int
    digest: bytes
    is_ended: bool
    has_usage_below: bool
    counts_usage: bool
    facts: Facts | None = None


class Batch:
    """One transaction's writing of spans; used once. `is_rewrite`: what is stored is replaced, whatever its digest."""

    def __init__(self, project: Project, *, source: str, bodies: Bodies, is_rewrite: bool = False) -> None:
        self.project, self.source, self.bodies, self.is_rewrite = project, source, bodies, is_rewrite
        self.store = choose_store()
        now = timezone.now()
        self.received_at = connection.ops.adapt_datetimefield_value(now)
        self.received_ns = int(now.timestamp() * 1_000_000) * 1000

    def write(self, spans: Iterable[StoredSpan]) -> dict[str, int]:
        """Write spans, each (trace id, span id) once. Returns the keys of their traces by trace id."""
        by_trace: dict[str, list[StoredSpan]] = {}
        for span in spans:
            by_trace.setdefault(span.trace_id, []).append(span)
        known = find_traces(self.store, self.project, sorted(by_trace))
        fresh = self.insert_traces({one: by_trace[one] for one in sorted(by_trace) if one not in known})
        new_spans = [
            (fresh.pks[one], span, *fresh.flags[one][span.span_id]) for one in fresh.pks for span in by_trace[one]
        ]
        rest = {one: by_trace[one] for one in by_trace if one not in fresh.pks}
        if len(known) < len(rest):  # another writer was first
            known |= find_traces(self.store, self.project, sorted(rest.keys() - known.keys()))
        merge = Merge(self, {known[one]: rest[one] for one in rest}) if rest else None
        if merge is not None:
            merge.read()
            new_spans += merge.new_spans()
        changed = [span for _, span, _ in merge.changed] if merge is not None else []
        # All bodies at once and in order, so that two writers never wait for each other.
        links = self.write_bodies([*(span for _, span, _, _ in new_spans), *changed])
        self.insert_spans(new_spans, links)
        if merge is not None:
            merge.write(links)
        terms = [(pk, self.project.pk, *term) for one, pk in fresh.pks.items() for term in terms_of(by_trace[one])]
        self.store.insert("traces_traceterm", ("trace_id", "project_id", "key", "value"), terms)
        touched = sorted({*fresh.pks.values(), *(merge.touched if merge is not None else ())})
        mark_changed(self.project.pk, touched)
        pending = [(self.project.pk, pk, self.received_ns) for pk in touched]
        self.store.insert("traces_searchpending", ("project_id", "trace_id", "since_ns"), pending)
        return {one: fresh.pks.get(one) or known[one] for one in by_trace}

    def insert_traces(self, by_trace: dict[str, list[StoredSpan]]) -> "FreshTraces":
        """Write traces that were not there, with the summaries of their spans. Another writer may be first with some."""
        ids = self.store.next_ids("traces_trace", len(by_trace))
        fresh = FreshTraces(dict(zip(by_trace, ids, strict=True)))
        rows, states = [], {}
        for trace_id, spans in by_trace.items():
            pk = fresh.pks[trace_id]
            total = summary.new_summary()
            nodes = {(pk, span.span_id): fresh_node(span.facts) for span in spans}
            summary.settle_usage(nodes, [], lambda places: {})
            for span in spans:
                total.add(span.facts)
                total.count(span.facts)
                if nodes[pk, span.span_id].counts:
                    total.usage = summary.add_usage(total.usage, span.facts.usage)
                    total.columns["usage_count"] += 1
            total.settle(received_ns=self.received_ns)
            fresh.flags[trace_id] = {one: (node.below, node.counts) for (_, one), node in nodes.items()}
            rows.append((pk, self.project.pk, trace_id, self.source, self.received_at, *column_values(total)))
            states[trace_id] = (pk, total.state())
        lost = self.store.insert_missing("traces_trace", TRACE_COLUMNS, rows, key=("project_id", "trace_id"))
        for trace_id in lost:
            del fresh.pks[trace_id], states[trace_id]
        self.store.insert("traces_tracestate", ("trace_id", "content"), list(states.values()))
        return fresh

    def insert_spans(self, spans: list[tuple[int, StoredSpan, bool, bool]], links: Links) -> None:
        """Write spans that are not there, given with their trace's key and their flags of usage."""
        ids = self.store.next_ids("traces_span", len(spans))
        rows = [
            (pk, trace_pk, *span.columns, below, counts)
            for pk, (trace_pk, span, below, counts) in zip(ids, spans, strict=True)
        ]
        payloads = [(pk, span.content, *links(span)) for pk, (_, span, _, _) in zip(ids, spans, strict=True)]
        self.store.insert("traces_span", SPAN_COLUMNS, rows)
        self.store.insert("traces_spanpayload", PAYLOAD_COLUMNS, payloads)

    def write_bodies(self, spans: Sequence[StoredSpan]) -> Links:
        """Write the bodies and message nodes of spans that are not there yet.

        Returns a function from a span to the keys of its origin, tools, input node and output node.
        """
        store, project_pk = self.store, self.project.pk
        parents: dict[bytes, tuple[bytes, bytes, int]] = {}  # node: parent, body, depth; parents come before children
        for span in spans:
            parent = b""
            for depth, (node, body) in enumerate((*span.input_chain, *span.output_chain), start=1):
                parents.setdefault(node, (parent, body, depth))
                parent = node
        nodes = store.find_digests("traces_messagenode", project_pk, parents)
        new_nodes = [node for node in parents if node not in nodes]
        wanted = {parents[node][1] for node in new_nodes}
        for span in spans:
            wanted |= {digest for digest in (span.tools, span.origin) if digest is not None}
        bodies = store.find_digests("traces_body", project_pk, wanted)
        new_bodies = sorted(wanted - bodies.keys())
        body_ids = dict(zip(new_bodies, store.next_ids("traces_body", len(new_bodies)), strict=True))
        lost = store.insert_missing(
            "traces_body",
            ("id", "project_id", "digest", "kind", "content"),
            [(body_ids[one], project_pk, one, *self.bodies.content[one]) for one in new_bodies],
            key=("project_id", "digest"),
        )
        bodies |= body_ids
        if lost:
            bodies |= store.find_digests("traces_body", project_pk, lost)
        node_ids = dict(zip(new_nodes, store.next_ids("traces_messagenode", len(new_nodes)), strict=True))
        nodes |= node_ids
        rows = []
        for node in new_nodes:
            parent, body, depth = parents[node]
            rows.append((node_ids[node], project_pk, node, nodes[parent] if parent else None, bodies[body], depth))
        columns = ("id", "project_id", "digest", "parent_id", "body_id", "depth")
        lost = store.insert_missing("traces_messagenode", columns, rows, key=("project_id", "digest"))
        if lost:
            nodes |= store.find_digests("traces_messagenode", project_pk, lost)
            moved = [(nodes[parents[node][0]], node_ids[node]) for node in new_nodes if parents[node][0] in lost]
            store.update("traces_messagenode", "id", ("parent_id",), moved)

        def links(span: StoredSpan) -> tuple[int | None, ...]:
            return (
                bodies[span.origin] if span.origin is not None else None,
                bodies[span.tools] if span.tools is not None else None,
                nodes[span.input_chain[-1][0]] if span.input_chain else None,
                nodes[span.output_chain[-1][0]] if span.output_chain else None,
            )

        return links


@dataclass
class FreshTraces:
    """Traces that a batch began: their keys, and whether each span bears usage below and counts."""

    pks: dict[str, int]
    flags: dict[str, dict[str, tuple[bool, bool]]] = field(default_factory=dict)


def fresh_node(facts: Facts) -> UsageNode:
    """Return a span as the count of usage sees it, nothing known below."""
    counts = facts.kind in ("llm", "embedding") and bool(facts.usage)
    return UsageNode(facts.parent, facts.bears_usage, counts)


def terms_of(spans: Iterable[StoredSpan]) -> set[tuple[str, str]]:
    """Return the terms of a trace's spans."""
    return set().union(*(span.facts.terms for span in spans))


def column_values(total: Summary) -> list[Any]:
    """Return the values of `summary.COLUMNS` as a statement takes them."""
    values = total.columns
    return [
        orjson.dumps(clean_json(values[name])).decode() if name in JSON_COLUMNS else values[name]
        for name in summary.COLUMNS
    ]


class Merge:
    """The part of a batch that falls on traces that are there: they are locked, then changed; used once."""

    def __init__(self, batch: Batch, by_trace: dict[int, list[StoredSpan]]) -> None:
        self.batch, self.store, self.by_trace = batch, batch.store, by_trace
        self.new: list[tuple[int, StoredSpan]] = []
        self.changed: list[tuple[int, StoredSpan, KnownSpan]] = []
        self.totals: dict[int, Summary] = {}
        self.nodes: dict[Place, UsageNode] = {}
        self.uncounted: set[int] = set()  # traces where a stored span no longer counts
        self.touched: set[int] = set()

    def read(self) -> None:
        """Lock the traces and find out what is new, what changes, and whose usage counts."""
        self.totals = self.lock_totals()
        known = self.find_known()
        for trace_pk, spans in self.by_trace.items():
            for span in spans:
                old = known.get((trace_pk, span.span_id))
                if old is None:
                    self.new.append((trace_pk, span))
                elif self.batch.is_rewrite or (old.digest != span.digest and (span.is_ended or not old.is_ended)):
                    self.changed.append((trace_pk, span, old))
        self.read_old_facts()
        self.settle_usage()

    def new_spans(self) -> list[tuple[int, StoredSpan, bool, bool]]:
        """Return the spans to be inserted, with the keys of their traces and their flags of usage."""
        return [(trace_pk, span, *flags(self.nodes[trace_pk, span.span_id])) for trace_pk, span in self.new]

    def write(self, links: Links) -> None:
        """Write what changes, once the new spans are in."""
        rebuilt: set[int] = set()
        for trace_pk, span in self.new:
            total = self.totals[trace_pk]
            total.add(span.facts)
            total.count(span.facts)
            self.count_usage(trace_pk, span)
        for trace_pk, span, old in self.changed:
            facts, total = old.facts, self.totals[trace_pk]
            if facts is None or not summary.has_grown(facts, span.facts):
                rebuilt.add(trace_pk)
                continue
            total.count(facts, -1)
            total.add(span.facts)
            total.count(span.facts)
            if not old.counts_usage:
                self.count_usage(trace_pk, span)
        self.update_spans(links)
        for trace_pk in rebuilt:
            self.totals[trace_pk] = self.rebuild(trace_pk, self.totals[trace_pk])
        self.sum_again(self.uncounted - rebuilt)
        self.write_terms()
        self.touched = (
            {trace_pk for trace_pk, _ in self.new} | {trace_pk for trace_pk, _, _ in self.changed} | self.uncounted
        )
        self.write_totals(sorted(self.touched))

    def count_usage(self, trace_pk: int, span: StoredSpan) -> None:
        """Take a span's usage into the totals where it counts."""
        if self.nodes[trace_pk, span.span_id].counts:
            total = self.totals[trace_pk]
            total.usage = summary.add_usage(total.usage, span.facts.usage)
            total.columns["usage_count"] += 1

    def lock_totals(self) -> dict[int, Summary]:
        """Lock the traces and return their summaries."""
        columns = ", ".join(f"t.{name}" for name in ("id", *summary.COLUMNS))
        totals = {}
        for pk, *values, state in self.store.lock_traces(columns, sorted(self.by_trace)):
            stored = dict(zip(summary.COLUMNS, values, strict=True))
            for name in JSON_COLUMNS:
                if isinstance(stored[name], str):
                    stored[name] = orjson.loads(stored[name])
            stored["missing_root"] = bool(stored["missing_root"])
            totals[pk] = summary.stored_summary(stored, bytes(state) if state is not None else None)
        return totals

    def find_known(self) -> dict[Place, KnownSpan]:
        """Return the spans of the batch that are stored."""
        rows = self.store.read_wanted(
            f"SELECT trace_id, span_id, id, digest, end_ns, has_usage_below, counts_usage {FROM_WANTED}",
            [(trace_pk, span.span_id) for trace_pk, spans in self.by_trace.items() for span in spans],
        )
        return {
            (trace_pk, span_id): KnownSpan(pk, bytes(digest), end_ns is not None, bool(below), bool(counts))
            for trace_pk, span_id, pk, digest, end_ns, below, counts in rows
        }

    def read_old_facts(self) -> None:
        """Read what the stored versions of spans that change say about their traces."""
        if not self.changed:
            return
        records = read_records([(old.pk, span.trace_id) for _, span, old in self.changed])
        for _, _, old in self.changed:
            old.facts = stored_facts(records[old.pk])

    def settle_usage(self) -> None:
        """Decide whose usage counts."""
        nodes = {(trace_pk, span.span_id): fresh_node(span.facts) for trace_pk, span in self.new}
        with_usage_below = []
        if nodes:
            with_usage_below = self.store.read_wanted(
                "SELECT DISTINCT trace_id, parent_span_id FROM wanted CROSS JOIN traces_span"
                " WHERE trace_id = trace_pk AND parent_span_id = wanted_id AND has_usage_below",
                list(nodes),
            )
        for trace_pk, span, old in self.changed:
            place = (trace_pk, span.span_id)
            nodes[place] = fresh_node(span.facts)
            had_own = old.facts is not None and old.facts.bears_usage
            if old.has_usage_below and not (had_own and old.counts_usage):
                with_usage_below.append(place)
        stored, uncounted = summary.settle_usage(nodes, with_usage_below, self.find_usage)
        rows = [(node.below, node.counts, node.pk) for node in stored.values() if node.is_changed]
        self.store.update("traces_span", "id", ("has_usage_below", "counts_usage"), rows)
        left = {id(node) for node in uncounted}
        self.nodes = nodes
        self.uncounted = {trace_pk for (trace_pk, _), node in stored.items() if id(node) in left}
        for trace_pk, span, old in self.changed:
            if old.counts_usage and not nodes[trace_pk, span.span_id].counts:
                self.uncounted.add(trace_pk)

    def find_usage(self, places: set[Place]) -> dict[Place, UsageNode]:
        """Return stored spans as the count of usage sees them."""
        rows = self.store.read_wanted(
            f"SELECT trace_id, span_id, parent_span_id, has_usage_below, counts_usage, id {FROM_WANTED}",
            places,
        )
        return {
            (trace_pk, span_id): UsageNode(parent, False, bool(counts), bool(below), pk)
            for trace_pk, span_id, parent, below, counts, pk in rows
        }

    def update_spans(self, links: Links) -> None:
        """Write new versions over stored spans."""
        rows = [(*span.columns[1:], *flags(self.nodes[pk, span.span_id]), old.pk) for pk, span, old in self.changed]
        self.store.update("traces_span", "id", SPAN_UPDATES, rows)
        payloads = [(span.content, *links(span), old.pk) for _, span, old in self.changed]
        self.store.update("traces_spanpayload", "span_id", PAYLOAD_COLUMNS[1:], payloads)

    def rebuild(self, trace_pk: int, before: Summary) -> Summary:
        """Return a trace's summary worked out from all its spans, and write their flags and the trace's terms anew.

        Needed where a new version of a span takes back what the old one said.
        """
        rows = self.store.read(
            "SELECT id, has_usage_below, counts_usage FROM traces_span WHERE trace_id = %s", [trace_pk]
        )
        trace_id = self.by_trace[trace_pk][0].trace_id
        records = iter_records([(row[0], trace_id) for row in rows], at_once=REBUILD_AT_ONCE)
        facts = {pk: stored_facts(record) for pk, record in records}
        nodes = {(trace_pk, one.rank[-1]): fresh_node(one) for one in facts.values()}
        summary.settle_usage(nodes, [], lambda places: {})
        total = summary.new_summary()
        total.columns["sort_ns"] = before.columns["sort_ns"] if before.columns["start_ns"] is None else None
        changes = []
        for pk, below, counts in rows:
            one = facts[pk]
            node = nodes[trace_pk, one.rank[-1]]
            total.add(one)
            total.count(one)
            if node.counts:
                total.usage = summary.add_usage(total.usage, one.usage)
                total.columns["usage_count"] += 1
            if (node.below, node.counts) != (bool(below), bool(counts)):
                changes.append((node.below, node.counts, pk))
        self.store.update("traces_span", "id", ("has_usage_below", "counts_usage"), changes)
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM traces_traceterm WHERE trace_id = %s AND key NOT IN (%s, %s)", [trace_pk, *OWN_TERMS]
            )
        terms = set().union(*(one.terms for one in facts.values()))
        self.insert_terms({(trace_pk, *term) for term in terms})
        return total

    def sum_again(self, trace_pks: set[int]) -> None:
        """Work out totals anew where a span no longer counts: taking away would not say what stays unknown."""
        if not trace_pks:
            return
        sums = ", ".join(f"sum({name})" for name in AMOUNTS)
        rows = self.store.read_where_in(
            f"SELECT trace_id, count(*), {sums}, max(CASE cost_source WHEN 'priced' THEN 2 WHEN 'sent' THEN 1 ELSE 0 END)"  # noqa: S608
            " FROM traces_span WHERE counts_usage AND trace_id IN {values} GROUP BY trace_id",
            [],
            sorted(trace_pks),
        )
        found = {row[0]: row[1:] for row in rows}
        for trace_pk in trace_pks:
            total = self.totals[trace_pk]
            count, *values, worked_out = found.get(trace_pk, (0, *(None for _ in AMOUNTS), 0))
            tokens = [None if value is None else int(value) for value in values[:-1]]
            cost = None if values[-1] is None else round(float(values[-1]), 12)
            total.usage = UsageRow(tokens, cost, ("", "sent", "priced")[worked_out])
            total.columns["usage_count"] = count

    def write_terms(self) -> None:
        """Write the terms that new versions bring to traces."""
        spans = [*self.new, *((trace_pk, span) for trace_pk, span, _ in self.changed)]
        self.insert_terms({(trace_pk, *term) for trace_pk, span in spans for term in span.facts.terms})

    def insert_terms(self, terms: set[tuple[int, str, str]]) -> None:
        """Write terms that may be there."""
        rows = sorted((trace_pk, self.batch.project.pk, key, value) for trace_pk, key, value in terms)
        self.store.insert_or_leave("traces_traceterm", ("trace_id", "project_id", "key", "value"), rows)

    def write_totals(self, trace_pks: Sequence[int]) -> None:
        """Write the summaries and states of traces."""
        for trace_pk in trace_pks:
            self.totals[trace_pk].settle(received_ns=self.batch.received_ns)
        rows = [(*column_values(self.totals[trace_pk]), trace_pk) for trace_pk in trace_pks]
        self.store.update("traces_trace", "id", summary.COLUMNS, rows)
        states = [(self.totals[trace_pk].state(), trace_pk) for trace_pk in trace_pks]
        self.store.update("traces_tracestate", "trace_id", ("content",), states)


def flags(node: UsageNode) -> tuple[bool, bool]:
    return node.below, node.counts


def stored_facts(record: SpanRecord) -> Facts:
    """Return what a stored span says about its trace."""
    usage = record.usage
    return summary.read_facts(
        record, UsageRow([getattr(usage, name) for name in TOKENS], usage.cost_usd, usage.cost_source)
    )
