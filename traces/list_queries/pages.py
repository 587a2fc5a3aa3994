"""A page of the list by key, whatever the number of traces: one or two indexed reads, more where it is looked along the list."""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson
from django.db.models import QuerySet

from accounts.models import Project
from providers.registry import is_scripted
from traces import search
from traces.filters import filtered, read_query
from traces.list_queries.looking import DEFAULT_SORT, NULLABLE, SORTS, Place, look, read_rows
from traces.models import Trace
from traces.people import signals_of
from traces.search import Query
from traces.text_queries import Clock
from traces.words import Excerpt

PAGE_SIZE = 50
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
    """One page of traces. A key is empty where there is no such page.

    `is_cut`: the page is not full, since looking along the list took too long. `looked_to` is how far that was, as a value of the
    sort's column, and the next page goes on from there.
    """

    rows: list[Trace]
    next_key: str
    previous_key: str
    sort: str
    is_cut: bool = False
    looked_to: float | int | None = None

    def __iter__(self) -> Iterator[Trace]:
        return iter(self.rows)


def make_key(sort: str, trace: Trace) -> str:
    """Write the place of a row in a sorted list as a short opaque text."""
    return write_key(sort, (getattr(trace, SORTS[sort.lstrip("-")]), trace.pk))


def write_key(sort: str, place: Place) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort, *place])).decode().rstrip("=")


def read_key(sort: str, key: str) -> Place:
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
    backwards = bool(before)
    place = read_key(sort, before or after) if before or after else None
    reading = read_query(project, query, since_ns=since_ns, column=SORTS[sort.lstrip("-")])
    reached: Place | None = None
    is_looked = bool(reading.lazy) or not reading.is_direct(SORTS[sort.lstrip("-")])
    if is_looked:
        keys, reached = look(
            reading, sort=sort, place=place, backwards=backwards, limit=limit + 1, clock=Clock(), columns=("pk",)
        )
        whole = Trace.objects.only(*fields) if fields else Trace.objects.all()
        found = whole.in_bulk([key for (key,) in keys])
        rows = [found[key] for (key,) in keys if key in found]
    else:
        traces = reading.matching.only(*fields) if fields else reading.matching
        rows = read_rows(traces, sort=sort, place=place, backwards=backwards, limit=limit + 1)
    more = len(rows) > limit
    rows = rows[:limit]
    if backwards:
        rows.reverse()
    has_next, has_previous = (bool(rows), more) if backwards else (more, bool(after))
    next_key = make_key(sort, rows[-1]) if has_next and rows else ""
    previous_key = make_key(sort, rows[0]) if has_previous and rows else ""
    if reached is not None and backwards:
        previous_key = write_key(sort, reached)
    elif reached is not None:
        next_key = write_key(sort, reached)
    if not rows and place is not None and is_looked:
        # Nothing here, but there is a way back to where one came from.
        next_key, previous_key = (
            (write_key(sort, place), previous_key) if backwards else (next_key, write_key(sort, place))
        )
    return TracePage(
        rows=rows,
        next_key=next_key,
        previous_key=previous_key,
        sort=sort,
        is_cut=reached is not None,
        looked_to=reached[0] if reached is not None else None,
    )


def matching_traces(project: Project, query: Query | str) -> QuerySet[Trace]:
    """Return all traces that match a query, newest first, for acting on more than one page. Raises QueryError."""
    if isinstance(query, str):
        query = search.parse(query)
    return filtered(project, query).order_by("-sort_ns", "-id")


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


# Rows -----------------------------------------------------------------------------------------------------------------


def quantile(ordered: list[float], share: float) -> float | None:
    """Return the nearest-rank quantile of an ordered list, or None of an empty one."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def cut(text: str, most: int) -> str:
    """Shorten a text to so many characters. Django's own filter looks at each of them, which took a tenth of a page."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


@dataclass(frozen=True)
class TraceRow:
    """A trace as a row of the list: what is said first, and how long its bar is (percent of the slowest on the page)."""

    trace: Trace
    title: str
    label: str  # the same, as short as a control's name should be
    agent: str
    model: str
    other_models: list[str]
    is_scripted: bool
    meter: float | None
    is_slow: bool
    signals: list[str] = field(default_factory=list)  # detectors that suspect something
    said: Excerpt | None = None  # where the words that were looked for stand


def list_rows(page: TracePage, said: Mapping[int, Excerpt] | None = None) -> list[TraceRow]:
    """Make the rows of a page ready to render, with what was `said` by trace. The slowest tenth of a page of ten or more is marked."""
    durations = sorted(trace.duration_ms for trace in page.rows if trace.duration_ms is not None)
    slowest = durations[-1] if durations else 0.0
    slow = quantile(durations, 0.9) if len(durations) >= 10 else None
    rows = []
    suspected = signals_of(page.rows)
    for trace in page.rows:
        models = [str(name) for name in trace.model_names]
        length = trace.duration_ms
        title = " ".join(trace.input_preview.split()) or trace.name or trace.trace_id
        rows.append(
            TraceRow(
                trace=trace,
                title=cut(title, 300),
                label=cut(title, 60),
                agent=trace.agent_name or trace.agent_id,
                model=models[0] if models else "",
                other_models=models[1:],
                is_scripted=any(is_scripted(name) for name in models),
                meter=None if length is None or slowest <= 0 else round(100 * length / slowest, 1),
                is_slow=slow is not None and length is not None and length > slow,
                signals=suspected.get(trace.pk, []),
                said=said.get(trace.pk) if said else None,
            )
        )
    return rows


def count_without_filter(project: Project, *, limit: int = 10_000) -> int:
    """Count the project's traces up to a limit, for pages that say how many exist beside none that match."""
    return Trace.objects.filter(project=project).order_by().values("pk")[:limit].count()
