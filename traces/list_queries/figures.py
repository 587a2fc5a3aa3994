"""The figures and facets above and beside the list, from one look along the newest `CAP` matching traces.

Exact up to there, and said to be of the newest `CAP` beyond it (`TEXT_CAP` where words are asked along the list). All of it together
has FIGURES_IN_S: where that is too little, what was read in time stands for `CAP`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, OuterRef, QuerySet

from accounts.models import Project
from traces import search
from traces.filters import TEXT_COLUMNS, read_query
from traces.histogram import NS, Histogram, bucket_step, draw_histogram, sparkline
from traces.list_queries.looking import DEFAULT_SORT, stretches
from traces.list_queries.pages import quantile
from traces.models import Source, Status, Trace, TraceTerm
from traces.run_counts import count_traces
from traces.search import Query
from traces.signals import DETECTORS
from traces.text_queries import Clock, TooLate

CAP = 5_000  # traces that figures and facets look at, where there is time
TEXT_CAP = 500  # the same where words are asked along the list
FIGURES_IN_S = 0.08  # for reading them, facets and all


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
    is_partial: bool = False  # counts are of the newest traces only
    of_newest: int = 0  # so many, where these are not those of the figures: the query without its own condition

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
    histogram: Histogram | None  # of the runs that have times; None where there are none
    untimed: int = 0  # runs without times, which are in no bar
    error_line: str = ""
    latency_line: str = ""
    cost_line: str = ""
    is_partial: bool = False  # latency and cost are of the newest traces only
    is_least: bool = False  # so are all figures: there are more traces than `total`


@dataclass(frozen=True)
class Summary:
    """Figures and facets of one query."""

    figures: Figures
    facets: list[Facet] = field(default_factory=list)
    looked_at: int = 0  # traces that latency, cost and facets are of, the newest ones


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
    "start_ns",
)


@dataclass
class Found:
    """The newest traces of a query as far as figures look, and how many of them have which terms."""

    matching: QuerySet[Trace]  # all that match, but for words that are asked along the list
    is_direct: bool  # an index leads to the matches
    rows: list[tuple[Any, ...]] = field(default_factory=list)  # the columns asked for, newest first
    terms: dict[str, Counter[str]] = field(default_factory=dict)
    is_all: bool = False


def find_newest(
    project: Project,
    query: Query,
    columns: tuple[str, ...],
    *,
    since_ns: int | None,
    clock: Clock,
    term_keys: Sequence[str] = (),
) -> Found:
    """Return columns and terms of the newest CAP traces of a query, or of as many as there is time for."""
    reading = read_query(project, query, since_ns=since_ns)
    found = Found(reading.matching, not reading.lazy and reading.is_direct("sort_ns"))
    limit = TEXT_CAP if reading.lazy else CAP
    for stretch in stretches(
        reading, sort=DEFAULT_SORT, place=None, backwards=False, limit=limit + 1, clock=clock, columns=(*columns, "pk")
    ):
        rows = stretch.rows[: limit - len(found.rows)]
        try:
            with clock.bounding() if found.rows else nullcontext():
                counted = term_counts([row[-1] for row in rows], term_keys)
        except TooLate:
            break  # as if it had not been read
        found.is_all = stretch.reached is None and len(rows) == len(stretch.rows)
        found.rows += rows
        for key, counts in counted.items():
            found.terms.setdefault(key, Counter()).update(counts)
    return found


def trace_summary(project: Project, query: Query, *, since_ns: int | None, now: datetime) -> Summary:
    """Return the figures and the facets of a query, from one look along the list, and one for each facet that the query itself narrows.

    All of it together takes FIGURES_IN_S; a quarter of what is left goes to each narrowed facet.
    """
    clock = Clock(FIGURES_IN_S)
    narrowed = {search.facet_label(condition) for condition in query.conditions}.intersection(
        key for key, _, _ in FACETS
    )
    found = find_newest(
        project,
        query,
        COLUMNS,
        since_ns=since_ns,
        clock=clock.part(1 / (1 + len(narrowed) / 2)),
        term_keys=[key for key in TERM_FACETS if key not in narrowed],
    )
    figures = read_figures(
        project,
        found.matching,
        query,
        found.rows,
        since_ns=since_ns,
        now=now,
        is_partial=not found.is_all,
        can_count=found.is_direct and is_countable(query),
    )
    facets = []
    left = len(narrowed)
    for key, label, shown in FACETS:
        partial, of_newest = not found.is_all, 0
        if key in narrowed:
            counts, partial, of_newest = facet_counts(
                project, query.without_key(key), key, since_ns=since_ns, clock=clock.part(1 / left)
            )
            left -= 1
        elif key in TERM_FACETS:
            counts = found.terms.get(key, Counter())
        else:
            counts = column_counts(found.rows, key)
        facet = read_facet(query, key, label, counts, shown=shown, is_partial=partial, of_newest=of_newest)
        if facet.values:
            facets.append(facet)
    return Summary(figures, facets, looked_at=len(found.rows))


def is_countable(query: Query) -> bool:
    """Say whether an index alone tells how many traces match: the whole range, or that of one status."""
    return all(
        isinstance(term, search.Condition)
        and not term.negated
        and (term.key.kind == search.Kind.TIME or term.key.name == "status")
        for term in query.terms
    )


def time_bounds(query: Query, since_ns: int | None) -> tuple[int | None, int | None]:
    """Return from when on and until before when a query asks, in ns; None without a bound."""
    lows = [since_ns] if since_ns is not None else []
    highs: list[int] = []
    for condition in query.conditions:
        if condition.key.kind == search.Kind.TIME and not condition.negated and condition.values[0].number is not None:
            (lows if condition.key.name == "after" else highs).append(int(condition.values[0].number))
    return max(lows, default=None), min(highs, default=None)


def statuses_of(query: Query) -> list[str] | None:
    """Return the statuses that a query asks for; None for any."""
    asked = [{value.text for value in one.values} for one in query.conditions if one.key.name == "status"]
    return sorted(set.intersection(*asked)) if asked else None


def column_counts(rows: list[tuple[Any, ...]], key: str) -> Counter[str]:
    """Count the values of a column among rows of COLUMNS. An agent without a name counts under its id."""
    if key == "agent":
        name, given = COLUMNS.index("agent_name"), COLUMNS.index("agent_id")
        return Counter(row[name] or row[given] for row in rows)
    place = COLUMNS.index(TEXT_COLUMNS[key])
    return Counter(row[place] for row in rows)


def term_counts(pks: list[int], keys: Sequence[str]) -> dict[str, Counter[str]]:
    """Count the traces of each term under some keys, among traces given by key, in one read."""
    counts: dict[str, Counter[str]] = {key: Counter() for key in keys}
    if not keys or not pks:
        return counts
    wanted = [*keys, *(one for one, other in SAME_FACET.items() if other in keys)]
    found = (
        TraceTerm.objects.filter(key__in=wanted, trace__pk__among=pks)
        .order_by()
        .values_list("key", "value")
        .annotate(n=Count("trace"))
    )
    for key, value, count in found:
        counts[SAME_FACET.get(key, key)][value] += count
    for one in {key for key, _, _ in found}.intersection(SAME_FACET):
        other = TraceTerm.objects.filter(trace=OuterRef("trace"), key=SAME_FACET[one], value=OuterRef("value"))
        twice = TraceTerm.objects.filter(Exists(other), key=one, trace__pk__among=pks).order_by().values_list("value")
        counts[SAME_FACET[one]].subtract(dict(twice.annotate(n=Count("trace"))))
    return counts


def facet_counts(
    project: Project, query: Query, key: str, *, since_ns: int | None, clock: Clock
) -> tuple[Counter[str], bool, int]:
    """Count one facet under a query that leaves its own condition out; say whether there are more traces, and how many were counted."""
    columns = () if key in TERM_FACETS else ("agent_name", "agent_id") if key == "agent" else (TEXT_COLUMNS[key],)
    term_keys = (key,) if key in TERM_FACETS else ()
    found = find_newest(project, query, columns, since_ns=since_ns, clock=clock, term_keys=term_keys)
    said = Counter(next(filter(None, row[:-1]), "") for row in found.rows)
    return found.terms.get(key, Counter()) if term_keys else said, not found.is_all, len(found.rows)


def read_facet(
    query: Query, key: str, label: str, counts: Counter[str], *, shown: int, is_partial: bool, of_newest: int
) -> Facet:
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
    return Facet(key, label, values, rest, max(0, len(tail) - LISTED), is_partial, of_newest)


def read_figures(
    project: Project,
    matching: QuerySet[Trace],
    query: Query,
    rows: list[tuple[Any, ...]],
    *,
    since_ns: int | None,
    now: datetime,
    is_partial: bool,
    can_count: bool,
) -> Figures:
    """Compute the figures from rows of COLUMNS. Where there are more traces and an index can count them, runs and errors are of all."""
    time, status = COLUMNS.index("sort_ns"), COLUMNS.index("status")
    latency, cost = COLUMNS.index("duration_ms"), COLUMNS.index("cost_usd")
    is_least = is_partial and not can_count
    placed = rows if is_partial and can_count else [row for row in rows if row[COLUMNS.index("start_ns")] is not None]
    if is_least and placed:
        low, high = placed[-1][time], max(placed[0][time], placed[-1][time])
    else:
        low, high = window(matching, query, placed, since_ns=since_ns, now=now, is_partial=is_partial and can_count)
    step = bucket_step(low, high)
    low = low // step * step
    runs: Counter[int] = Counter()
    failed: Counter[int] = Counter()
    if is_partial and can_count:
        since, before = time_bounds(query, since_ns)
        counted = count_traces(
            project, low_ns=since, high_ns=before, statuses=statuses_of(query), start_ns=low, step_ns=step
        )
        for (bucket, state), count in counted.items():
            runs[bucket] += count
            if state == Status.ERROR:
                failed[bucket] += count
    else:
        for row in placed:
            bucket = (row[time] - low) // step
            runs[bucket] += 1
            if row[status] == Status.ERROR:
                failed[bucket] += 1
    charted = runs.total()
    if is_partial and can_count:
        total, errors = charted, failed.total()
    else:
        total, errors = len(rows), sum(row[status] == Status.ERROR for row in rows)
    durations = sorted(row[latency] for row in rows if row[latency] is not None)
    costs = [row[cost] for row in rows if row[cost] is not None]
    histogram = draw_histogram(low, high, step, runs, failed) if charted else None
    by_time = [row for row in placed if low <= row[time] <= high]
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
        untimed=total - charted,
        error_line=sparkline(
            by_time, low, high, time, lambda part: sum(r[status] == Status.ERROR for r in part) / len(part)
        ),
        latency_line=sparkline(by_time, low, high, time, lambda part: quantile(sorted(values_of(part, latency)), 0.95)),
        cost_line=sparkline(by_time, low, high, time, lambda part: math.fsum(values_of(part, cost))),
        is_partial=is_partial,
        is_least=is_least,
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
    since, before = time_bounds(query, since_ns)
    if is_partial and since is None:
        oldest = matching.order_by("sort_ns", "id").values_list("sort_ns", flat=True).first()
    else:
        oldest = rows[-1][0] if rows else None
    newest = rows[0][0] if rows else None
    low = since if since is not None else oldest if oldest is not None else search.whole_ns(now) - NS
    if before is not None:
        high = before - 1
    elif since_ns is not None:
        high = max(search.whole_ns(now), newest or 0)
    else:
        high = newest if newest is not None else low
    return low, max(low, high)
