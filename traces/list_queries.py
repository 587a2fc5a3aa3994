"""Reads for the traces list and GET /api/traces: a page by key, the figures above it, facets, completions.

A page costs one or two indexed reads, whatever the number of traces. The figures and facets come from one read of the newest
`CAP` matching traces: exact up to there, and said to be of the newest `CAP` beyond it.
"""

import base64
import binascii
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import connection
from django.db.models import BigIntegerField, Count, F, Q, QuerySet, Value
from django.db.models.functions import Cast
from rapidfuzz import fuzz

from accounts.models import Project
from providers.registry import is_scripted
from traces import search
from traces.filters import TEXT_COLUMNS, filtered
from traces.histogram import NS, Histogram, bucket_step, draw_histogram, sparkline
from traces.models import Source, Status, Trace, TraceTerm
from traces.search import Query
from traces.signals import DETECTORS

PAGE_SIZE = 50
CAP = 10_000  # traces that figures and facets look at
SORTS = {
    "started": "sort_ns",
    "latency": "duration_ms",
    "tokens": "total_tokens",
    "cost": "cost_usd",
    "spans": "span_count",
}
DEFAULT_SORT = "-started"
NULLABLE = ("duration_ms", "total_tokens", "cost_usd")
RANGES = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "14d": ("Last 14 days", timedelta(days=14)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "all": ("All time", None),
}
# What a row of the list shows; the API reads whole traces.
ROW_FIELDS = (
    "id", "trace_id", "name", "source", "status", "start_ns", "end_ns", "sort_ns", "duration_ms", "received_at", "agent_name",
    "agent_id", "session_id", "environment", "model_names", "missing_root", "span_count", "error_count", "total_tokens",
    "cost_usd", "cost_source", "input_preview", "output_preview",
)  # fmt: skip


# A page ----------------------------------------------------------------------------------------------------------


class CursorError(ValueError):
    """A page key that this list did not make."""


@dataclass(frozen=True)
class TracePage:
    """One page of traces. A key is empty where there is no such page. `older` is the next page in the order of the list."""

    rows: list[Trace]
    next_key: str
    previous_key: str
    sort: str

    def __iter__(self) -> Iterator[Trace]:
        return iter(self.rows)


def make_key(sort: str, trace: Trace) -> str:
    """Write the place of a row in a sorted list as a short opaque text."""
    value = getattr(trace, SORTS[sort.lstrip("-")])
    return base64.urlsafe_b64encode(orjson.dumps([sort, value, trace.pk])).decode().rstrip("=")


def read_key(sort: str, key: str) -> tuple[float | int | None, int]:
    """Read a page key. Raises CursorError where it is broken or belongs to another order."""
    try:
        made_for, value, pk = orjson.loads(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)))
    except (binascii.Error, ValueError, TypeError):
        raise CursorError("The page key is not one of this list; start again from the first page.") from None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if (
        made_for != sort
        or type(pk) is not int
        or not (is_number or (value is None and SORTS[sort.lstrip("-")] in NULLABLE))
    ):
        raise CursorError("The page key belongs to another order of this list; start again from the first page.")
    if abs(pk) >= 2**63 or (is_number and abs(value) >= 2**63):
        raise CursorError("The page key is out of range; start again from the first page.")
    return value, pk


def trace_page(
    project: Project,
    query: Query | str = "",
    *,
    sort: str = DEFAULT_SORT,
    after: str = "",
    before: str = "",
    limit: int = PAGE_SIZE,
    since_ns: int | None = None,
    fields: Iterable[str] = (),
) -> TracePage:
    """Return one page of the traces that match a query, by key: after one, before one, or the first.

    `sort` is a name in SORTS, with `-` for largest first; traces without the value come last in both directions. `since_ns` bounds the
    start. With `fields` only these columns are read. Raises QueryError for a query, CursorError for a key that cannot be read.
    """
    if sort.lstrip("-") not in SORTS:
        raise CursorError(f"There is no order {sort!r}; use one of {', '.join(SORTS)}, with - for largest first.")
    if isinstance(query, str):
        query = search.parse(query)
    traces = filtered(project, query)
    if since_ns is not None:
        traces = traces.filter(sort_ns__gte=since_ns)
    if fields:
        traces = traces.only(*fields)
    backwards = bool(before)
    place = read_key(sort, before or after) if before or after else None
    rows = read_rows(traces, sort=sort, place=place, backwards=backwards, limit=limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    if backwards:
        rows.reverse()
    has_next, has_previous = (bool(rows), more) if backwards else (more, bool(after))
    return TracePage(
        rows=rows,
        next_key=make_key(sort, rows[-1]) if has_next and rows else "",
        previous_key=make_key(sort, rows[0]) if has_previous and rows else "",
        sort=sort,
    )


def matching_traces(project: Project, query: Query | str) -> QuerySet[Trace]:
    """Return all traces that match a query, newest first, for acting on more than one page. Raises QueryError."""
    if isinstance(query, str):
        query = search.parse(query)
    return filtered(project, query).order_by("-sort_ns", "-id")


def read_rows(
    traces: QuerySet[Trace], *, sort: str, place: tuple[float | int | None, int] | None, backwards: bool, limit: int
) -> list[Trace]:
    """Read rows in order from a place on. Rows without the value form a second part, so that each read can follow an index."""
    column = SORTS[sort.lstrip("-")]
    descending = sort.startswith("-") != backwards
    sign, less = ("-", "lt") if descending else ("", "gt")
    parts = [True, False] if column in NULLABLE else [True]
    if backwards:
        parts.reverse()
    rows: list[Trace] = []
    for has_value in parts:
        part = traces
        if column in NULLABLE:
            part = part.filter(**{f"{column}__isnull": not has_value})
        if place is not None and not rows:
            value, pk = place
            if (value is not None) == has_value:
                if has_value:
                    nearer = Q(**{f"{column}__{less}": value}) | Q(**{column: value, f"id__{less}": pk})
                    part = part.filter(nearer, **{f"{column}__{less}e": value})
                else:
                    part = part.filter(**{f"id__{less}": pk})
            elif has_value != backwards:
                continue  # the place lies in the other part, and this one comes before it
        order = [f"{sign}{column}", f"{sign}id"] if has_value else [f"{sign}id"]
        rows += part.order_by(*order)[: limit - len(rows)]
        if len(rows) >= limit:
            break
    return rows


# The time range --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TimeRange:
    """The range that the list shows. `since_ns` is None for all time."""

    name: str
    label: str
    since_ns: int | None


def time_range(project: Project, name: str, *, now: datetime) -> TimeRange:
    """Return a named range; without a name the last 14 days, or a longer one where nothing started in them."""
    if name not in RANGES:
        newest = Trace.objects.filter(project=project).order_by("-sort_ns").values_list("sort_ns", flat=True).first()
        age = None if newest is None else timedelta(microseconds=(search.whole_ns(now) - newest) / 1000)
        name = "14d" if age is None or age < timedelta(days=14) else "30d" if age < timedelta(days=30) else "all"
    label, length = RANGES[name]
    return TimeRange(name, label, None if length is None else search.whole_ns(now - length))


# Figures and facets ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FacetValue:
    """One value with its count; `query` is the query with this value switched."""

    value: str
    label: str
    count: int
    is_on: bool
    query: str


@dataclass(frozen=True)
class Facet:
    """The values of one field among the traces that match the rest of the query."""

    key: str
    label: str
    values: list[FacetValue]
    rest: list[FacetValue]
    hidden: int  # values beyond those listed
    is_partial: bool = False  # counts are of the newest CAP traces

    @property
    def is_active(self) -> bool:
        return any(value.is_on for value in [*self.values, *self.rest])


@dataclass(frozen=True)
class Figures:
    """What stands above the list, of all traces that match. Shares and sums are null where nothing was measured."""

    total: int
    errors: int
    error_share: float | None
    p50_ms: float | None
    p95_ms: float | None
    timed: int
    cost_usd: float | None
    costed: int
    cost_each_usd: float | None
    histogram: Histogram | None
    error_line: str = ""
    latency_line: str = ""
    cost_line: str = ""
    is_partial: bool = False  # latency and cost are of the newest CAP traces


@dataclass(frozen=True)
class Summary:
    """Figures and facets of one query."""

    figures: Figures
    facets: list[Facet] = field(default_factory=list)


# key, label, how many to show at once
FACETS = (
    ("status", "Status", 3),
    ("signal", "Suspected", 8),
    ("agent", "Agent", 6),
    ("task", "Task", 6),
    ("model", "Model", 6),
    ("tool", "Tool", 6),
    ("tag", "Tag", 6),
    ("environment", "Environment", 4),
    ("source", "Source", 4),
    ("user", "User", 4),
)
TERM_FACETS = ("model", "tool", "tag", "signal")
SAME_FACET = {"person_tag": "tag"}  # what people add stands beside what was sent
LISTED = 40  # values of a facet behind "more"
WORDS = {
    "signal": {one.name: one.label for one in DETECTORS.values()},
    "status": {"ok": "Completed", "error": "Error", "unset": "Not reported"},
    "source": {
        "ingest": "Sent by an SDK",
        "import": "Imported",
        "eval": "Evaluation",
        "proxy": "Recorded by the proxy",
    },
}
FIXED = {"status": Status.values, "source": Source.values}
COLUMNS = (
    "sort_ns",
    "status",
    "agent_name",
    "agent_id",
    "task",
    "environment",
    "source",
    "user_id",
    "duration_ms",
    "cost_usd",
)


def trace_summary(project: Project, query: Query, *, since_ns: int | None, now: datetime) -> Summary:
    """Return the figures and the facets of a query: two reads, and one for each facet that the query itself narrows."""
    matching = bound(filtered(project, query), since_ns)
    rows = list(matching.order_by("-sort_ns", "-id").values_list(*COLUMNS)[: CAP + 1])
    is_partial = len(rows) > CAP
    rows = rows[:CAP]
    figures = read_figures(matching, query, rows, since_ns=since_ns, now=now, is_partial=is_partial)
    narrowed = {search.facet_label(condition) for condition in query.conditions}
    terms = (
        term_counts(matching, [key for key in TERM_FACETS if key not in narrowed], is_partial=is_partial)
        if rows
        else {}
    )
    facets = []
    for key, label, shown in FACETS:
        partial = is_partial
        if key in narrowed:
            counts, partial = facet_counts(project, query.without_key(key), key, since_ns=since_ns)
        elif key in TERM_FACETS:
            counts = terms.get(key, Counter())
        else:
            counts = column_counts(rows, key)
        facet = read_facet(query, key, label, counts, shown=shown, is_partial=partial)
        if facet.values:
            facets.append(facet)
    return Summary(figures, facets)


def bound(traces: QuerySet[Trace], since_ns: int | None) -> QuerySet[Trace]:
    return traces if since_ns is None else traces.filter(sort_ns__gte=since_ns)


def column_counts(rows: list[tuple[Any, ...]], key: str) -> Counter[str]:
    """Count the values of a column among rows of COLUMNS. An agent without a name counts under its id."""
    if key == "agent":
        name, given = COLUMNS.index("agent_name"), COLUMNS.index("agent_id")
        return Counter(row[name] or row[given] for row in rows)
    place = COLUMNS.index(TEXT_COLUMNS[key])
    return Counter(row[place] for row in rows)


def term_counts(matching: QuerySet[Trace], keys: list[str], *, is_partial: bool) -> dict[str, Counter[str]]:
    """Count the traces of each term under some keys, in one read."""
    if not keys:
        return {}
    chosen = matching.order_by("-sort_ns", "-id").values("pk")[:CAP] if is_partial else matching.order_by().values("pk")
    wanted = [*keys, *(one for one, other in SAME_FACET.items() if other in keys)]
    found = (
        TraceTerm.objects.filter(key__in=wanted, trace__in=chosen)
        .values_list("key", "value")
        .annotate(n=Count("trace"))
    )
    counts: dict[str, Counter[str]] = {key: Counter() for key in keys}
    for key, value, count in found:
        counts[SAME_FACET.get(key, key)][value] += count
    return counts


def facet_counts(project: Project, query: Query, key: str, *, since_ns: int | None) -> tuple[Counter[str], bool]:
    """Count one facet under a query that leaves its own condition out. The second value says that CAP was reached."""
    matching = bound(filtered(project, query), since_ns).order_by("-sort_ns", "-id")
    if key in TERM_FACETS:
        is_partial = matching.values_list("pk")[CAP : CAP + 1].exists()
        return term_counts(matching, [key], is_partial=is_partial)[key], is_partial
    rows = list(matching.values_list(*COLUMNS)[: CAP + 1])
    return column_counts(rows[:CAP], key), len(rows) > CAP


def read_facet(query: Query, key: str, label: str, counts: Counter[str], *, shown: int, is_partial: bool) -> Facet:
    """Make a facet ready to render: most frequent first, chosen values always among those shown."""
    chosen = query.values(key)
    missing = counts.pop("", 0)
    for value in [*FIXED.get(key, ()), *chosen]:
        counts.setdefault(value, 0)
    ordered = sorted((v for v in counts if counts[v] or v in chosen), key=lambda v: (-counts[v], v))
    if key in FIXED:
        ordered = [value for value in FIXED[key] if value in ordered]
    head = [v for place, v in enumerate(ordered) if place < shown or v in chosen]
    tail = [v for v in ordered if v not in head]
    words = WORDS.get(key, {})

    def one(value: str) -> FacetValue:
        return FacetValue(
            value, words.get(value, value), counts[value], value in chosen, search.toggle(query, key, value)
        )

    values = [one(value) for value in head]
    is_missing_chosen = query.lacks(key)
    if is_missing_chosen or (missing and values and key not in ("user", "task")):
        values.append(FacetValue("", "None", missing, is_missing_chosen, search.toggle_missing(query, key)))
    rest = [one(value) for value in tail[:LISTED]]
    return Facet(key, label, values, rest, max(0, len(tail) - LISTED), is_partial)


def quantile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank quantile of an ordered list, or None of an empty one."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def read_figures(
    matching: QuerySet[Trace],
    query: Query,
    rows: list[tuple[Any, ...]],
    *,
    since_ns: int | None,
    now: datetime,
    is_partial: bool,
) -> Figures:
    """Compute the figures from rows of COLUMNS. Beyond CAP, runs and errors are still counted in full by the database."""
    time, status = COLUMNS.index("sort_ns"), COLUMNS.index("status")
    latency, cost = COLUMNS.index("duration_ms"), COLUMNS.index("cost_usd")
    low, high = window(matching, query, rows, since_ns=since_ns, now=now, is_partial=is_partial)
    step = bucket_step(low, high)
    low = low // step * step
    runs: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    if is_partial:
        place = Cast((F("sort_ns") - Value(low, BigIntegerField())) / Value(step, BigIntegerField()), BigIntegerField())
        counted = matching.order_by().annotate(place=place).values_list("place", "status").annotate(n=Count("pk"))
        for bucket, state, count in counted:
            runs[bucket] += count
            if state == Status.ERROR:
                failed[bucket] += count
    else:
        for row in rows:
            bucket = (row[time] - low) // step
            runs[bucket] += 1
            if row[status] == Status.ERROR:
                failed[bucket] += 1
    total, errors = runs.total(), failed.total()
    durations = sorted(row[latency] for row in rows if row[latency] is not None)
    costs = [row[cost] for row in rows if row[cost] is not None]
    histogram = draw_histogram(low, high, step, runs, failed) if total else None
    by_time = [row for row in rows if low <= row[time] <= high]
    return Figures(
        total=total,
        errors=errors,
        error_share=errors / total if total else None,
        p50_ms=quantile(durations, 0.5),
        p95_ms=quantile(durations, 0.95),
        timed=len(durations),
        cost_usd=math.fsum(costs) if costs else None,
        costed=len(costs),
        cost_each_usd=math.fsum(costs) / len(costs) if costs else None,
        histogram=histogram,
        error_line=sparkline(
            by_time, low, high, time, lambda part: sum(r[status] == Status.ERROR for r in part) / len(part)
        ),
        latency_line=sparkline(by_time, low, high, time, lambda part: quantile(sorted(values_of(part, latency)), 0.95)),
        cost_line=sparkline(by_time, low, high, time, lambda part: math.fsum(values_of(part, cost))),
        is_partial=is_partial,
    )


def values_of(rows: list[tuple[Any, ...]], place: int) -> list[float]:
    return [row[place] for row in rows if row[place] is not None]


def window(
    matching: QuerySet[Trace],
    query: Query,
    rows: list[tuple[Any, ...]],
    *,
    since_ns: int | None,
    now: datetime,
    is_partial: bool,
) -> tuple[int, int]:
    """Return the first and last ns that the histogram shows: the range asked for, else that of the traces found."""
    lows = [since_ns] if since_ns is not None else []
    highs: list[int] = []
    for condition in query.conditions:
        if condition.key.kind == search.Kind.TIME and not condition.negated and condition.values[0].number is not None:
            (lows if condition.key.name == "after" else highs).append(int(condition.values[0].number))
    if is_partial and not lows:
        oldest = matching.order_by("sort_ns", "id").values_list("sort_ns", flat=True).first()
    else:
        oldest = rows[-1][0] if rows else None
    newest = rows[0][0] if rows else None
    low = max(lows) if lows else oldest if oldest is not None else search.whole_ns(now) - NS
    if highs:
        high = min(highs) - 1
    elif since_ns is not None:
        high = max(search.whole_ns(now), newest or 0)
    else:
        high = newest if newest is not None else low
    return low, max(low, high)


@dataclass(frozen=True)
class TraceRow:
    """A trace as a row of the list: what is said first, and how long its bar is (percent of the slowest on the page)."""

    trace: Trace
    title: str
    agent: str
    model: str
    other_models: list[str]
    is_scripted: bool
    meter: float | None
    is_slow: bool


def list_rows(page: TracePage) -> list[TraceRow]:
    """Make the rows of a page ready to render. The slowest tenth of a page of ten or more is marked."""
    durations = sorted(trace.duration_ms for trace in page.rows if trace.duration_ms is not None)
    slowest = durations[-1] if durations else 0.0
    slow = quantile(durations, 0.9) if len(durations) >= 10 else None
    rows = []
    for trace in page.rows:
        models = [str(name) for name in trace.model_names]
        length = trace.duration_ms
        rows.append(
            TraceRow(
                trace=trace,
                title=" ".join(trace.input_preview.split()) or trace.name or trace.trace_id,
                agent=trace.agent_name or trace.agent_id,
                model=models[0] if models else "",
                other_models=models[1:],
                is_scripted=any(is_scripted(name) for name in models),
                meter=None if length is None or slowest <= 0 else round(100 * length / slowest, 1),
                is_slow=slow is not None and length is not None and length > slow,
            )
        )
    return rows


def count_without_filter(project: Project, *, limit: int = 10_000) -> int:
    """Count the project's traces up to a limit, for pages that say how many exist beside none that match."""
    return Trace.objects.filter(project=project).order_by().values("pk")[:limit].count()


# Arrivals --------------------------------------------------------------------------------------------------------

MOST_ARRIVALS = 100


@dataclass(frozen=True)
class Arrival:
    """What came since a trace: how many (up to MOST_ARRIVALS), and the newest."""

    count: int
    trace_id: str
    received_at: datetime | None
    is_empty: bool


def arrival_mark(project: Project) -> int:
    """Return the mark after which a trace is new: 0 for a project that holds none, else the key of the newest trace of all."""
    if not Trace.objects.filter(project=project).exists():
        return 0
    return Trace.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def arrivals(project: Project, *, since: int) -> Arrival:
    """Say which traces of the project were stored after a mark; reads no more rows than came since."""
    traces = Trace.objects.filter(project=project)
    newer = traces.filter(pk__gt=since).order_by("-pk") if since else traces.order_by("-sort_ns", "-id")
    found = list(newer.values_list("trace_id", "received_at")[:MOST_ARRIVALS])
    if found:
        return Arrival(len(found), found[0][0], found[0][1], False)
    return Arrival(0, "", None, since == 0)


# Completions -----------------------------------------------------------------------------------------------------

COMPLETED_COLUMNS = {
    "agent": "agent_name",
    "environment": "environment",
    "task": "task",
    "user": "user_id",
    "session": "session_id",
}


def distinct_values(table: str, column: str, where: str, params: list[Any], *, limit: int) -> list[str]:
    """Return the first distinct values of a column that leads an index: one step of the index each, however many rows share it."""
    smallest = f"SELECT MIN({column}) FROM {table} WHERE {where} AND {column} >"  # noqa: S608  names of our own
    sql = (
        f"WITH RECURSIVE step(value, place) AS (SELECT ({smallest} ''), 1 UNION ALL "  # noqa: S608
        f"SELECT ({smallest} step.value), place + 1 FROM step WHERE step.value IS NOT NULL AND place < %s) "
        "SELECT value FROM step WHERE value IS NOT NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*params, *params, limit])
        return [row[0] for row in cursor.fetchall()]


def known_values(project: Project, key: str, *, limit: int = 500) -> list[str]:
    """Return the first values of a field in use; none for fields whose values cannot be listed quickly."""
    if key in COMPLETED_COLUMNS:
        column = COMPLETED_COLUMNS[key]
        return distinct_values(Trace._meta.db_table, column, "project_id = %s", [project.pk], limit=limit)
    if key in TERM_FACETS or key.startswith("meta."):
        return distinct_values(
            TraceTerm._meta.db_table, "value", "project_id = %s AND key = %s", [project.pk, key], limit=limit
        )
    return []


def meta_names(project: Project) -> list[str]:
    """Return the metadata names in use, as `meta.<name>`."""
    keys = distinct_values(TraceTerm._meta.db_table, "key", "project_id = %s", [project.pk], limit=100)
    return [key for key in keys if key.startswith("meta.") and search.NAME.fullmatch(key)]


@dataclass(frozen=True)
class Completion:
    """One suggestion: what it says, what it means, and the whole text of the field once it is taken."""

    label: str
    help: str
    text: str


def completions(project: Project, text: str, *, limit: int = 10) -> list[Completion]:
    """Suggest keys, then values from the data, for a query that is being typed."""
    if len(text) > search.MAX_LENGTH or "\0" in text:
        return []
    end = search.unfinished(text)
    if end.key is None:
        names = [(key.name, key.help) for key in search.KEYS.values() if not key.is_prefix]
        names += [(key.name, key.help) for key in search.KEYS.values() if key.is_prefix and key.name != "meta."]
        names += [(name, "Metadata") for name in meta_names(project)]
        found = best_matches(end.name, [name for name, _help in names], limit=limit)
        helps = dict(names)
        return [Completion(name, helps[name], search.complete_with(text, end, name)) for name in found]
    if end.operator != "=":
        return []
    label = end.name.split(":")[0]
    known = search.find_key(label)
    if end.key.choices:
        values = list(end.key.choices)
    elif known is not None:
        values = known_values(project, known[0].name + known[1] if known[0].is_prefix else known[0].name)
    else:
        values = []
    words = WORDS.get(end.key.name, {})
    if not values and end.key.sample and not end.typed and end.key.kind != search.Kind.TEXT:
        sample = end.key.sample
        return [Completion(f"{end.key.name}:{sample}", "For example", f"{text}{sample} ")]
    found = best_matches(end.typed, values, limit=limit)
    return [Completion(value, words.get(value, ""), search.complete_with(text, end, value)) for value in found]


def best_matches(typed: str, values: list[str], *, limit: int) -> list[str]:
    """Order values by how well they fit what is typed: those that start with it, hold it, or are spelt much like it."""
    wanted = typed.casefold()

    def rank(value: str) -> int:
        folded = value.casefold()
        if folded.startswith(wanted):
            return 0
        if wanted in folded:
            return 1
        return 2 if len(wanted) > 2 and fuzz.ratio(wanted, folded) >= 70 else 3

    ranked = [(rank(value), value) for value in values]
    return [value for place, value in sorted(ranked, key=lambda pair: pair[0]) if place < 3][:limit]


def likely_values(project: Project, query: Query) -> list[tuple[str, str, str]]:
    """Return (key, value asked for, value meant) where an empty result may be a slip of the pen: agent:Suport → support."""
    found = []
    for condition in query.conditions:
        if condition.key.kind != search.Kind.TEXT or condition.negated or condition.operator != "=":
            continue
        known = known_values(project, condition.label)
        for value in condition.values:
            if not value.is_pattern and value.text not in known:
                near = best_matches(value.text, known, limit=1)
                if near:
                    found.append((condition.label, value.text, near[0]))
    return found
