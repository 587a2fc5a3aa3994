"""Reading along the list: rows in order from a place on, and matches that no index names, for as long as there is time."""

import time
from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from traces.filters import Reading
from traces.lookups import Beyond
from traces.models import Trace
from traces.text_queries import LOOK_AT, Clock, look_along

Place = tuple[float | int | None, int]  # of a row in a sorted list: the value it is sorted by, and its key

SORTS = {
    "started": "sort_ns",
    "latency": "duration_ms",
    "tokens": "total_tokens",
    "cost": "cost_usd",
    "spans": "span_count",
}
DEFAULT_SORT = "-started"
NULLABLE = ("duration_ms", "total_tokens", "cost_usd")
NAMES = {"<": "lt", ">": "gt", "<=": "lte", ">=": "gte"}
PASSED = 2_000  # traces passed in the first go along the list; later goes are as long as time allows
MOST_PASSED = 400_000  # and in one go


def read_rows(
    traces: QuerySet[Trace],
    *,
    sort: str,
    place: Place | None,
    backwards: bool,
    limit: int,
    columns: Sequence[str] = (),
    skip: int = 0,
    until: Place | None = None,
) -> list[Any]:
    """Read rows in order from a place on (not itself) to another (itself too), whole or only some columns of each.

    Rows without the value form a second part, so that each read can follow an index.
    """
    column = SORTS[sort.lstrip("-")]
    descending = sort.startswith("-") != backwards
    sign, beyond = ("-", "<") if descending else ("", ">")
    up_to = ">=" if descending else "<="
    parts = [True, False] if column in NULLABLE else [True]
    if backwards:
        parts.reverse()
    rows: list[Any] = []
    for has_value in parts:
        part = traces
        if column in NULLABLE:
            part = part.filter(**{f"{column}__isnull": not has_value})
        if place is not None and parts.index(place[0] is not None) > parts.index(has_value):
            continue  # the place lies in the other part, and this one comes before it
        if until is not None and parts.index(until[0] is not None) < parts.index(has_value):
            break
        for bound, way in ((place, beyond), (until, up_to)):
            if bound is None or (bound[0] is not None) != has_value:
                continue
            value, pk = bound
            if has_value:
                # The second says nothing more, but lets PostgreSQL guess how many rows lie between two places.
                part = part.filter(Beyond(column, way, value, pk), **{f"{column}__{NAMES[way[0] + '=']}": value})
            else:
                part = part.filter(**{f"id__{NAMES[way]}": pk})
        order = [f"{sign}{column}", f"{sign}id"] if has_value else [f"{sign}id"]
        ordered: Any = part.order_by(*order)
        found = list((ordered.values_list(*columns) if columns else ordered)[skip : skip + limit - len(rows)])
        if skip and not found and has_value is not parts[-1]:
            skip -= min(skip, part.order_by()[:skip].count())
        elif found:
            skip = 0
        rows += found
        if len(rows) >= limit:
            break
    return rows


def look(
    reading: Reading,
    *,
    sort: str,
    place: Place | None,
    backwards: bool,
    limit: int,
    clock: Clock,
    columns: Sequence[str],
) -> tuple[list[tuple[Any, ...]], Place | None]:
    """Look along the list for matches: `columns` of each, and how far that went where time was up before the end.

    Where no index leads to the matches, the list is passed in stretches, the next one as long as the time that is left allows.
    """
    column = SORTS[sort.lstrip("-")]
    wanted = (*columns, column, "pk", *(("texts__content",) if reading.lazy else ()))
    passes = not reading.is_direct(column)
    matching, along = reading.matching, reading.along(column)
    found: list[tuple[Any, ...]] = []
    sizes = iter(LOOK_AT)
    size = next(sizes) if reading.lazy else PASSED
    while True:
        began = time.monotonic()
        until: Place | None = None
        if passes:
            edge = read_rows(
                along, sort=sort, place=place, backwards=backwards, limit=1, skip=size - 1, columns=(column, "pk")
            )
            until = (edge[0][0], edge[0][1]) if edge else None
        most = size if reading.lazy else limit - len(found)
        rows = read_rows(matching, sort=sort, place=place, until=until, backwards=backwards, limit=most, columns=wanted)
        hits = look_along(rows, reading.lazy) if reading.lazy else rows
        found += [row[: len(columns)] for row in hits]
        if len(found) >= limit:
            return found[:limit], None
        if until is None and len(rows) < most:
            return found, None
        place = until or (rows[-1][len(columns)], rows[-1][len(columns) + 1])
        if clock.is_over:
            return found, place
        if reading.lazy:
            size = next(sizes, size)
        else:
            took = max(time.monotonic() - began, 1e-4)
            size = max(PASSED // 4, min(8 * size, int(size * clock.left / took), MOST_PASSED))


def newest_matching(
    reading: Reading, *, limit: int, clock: Clock, columns: Sequence[str]
) -> tuple[list[tuple[Any, ...]], bool]:
    """Return columns of the newest matches, and whether these are all."""
    found, reached = look(
        reading, sort=DEFAULT_SORT, place=None, backwards=False, limit=limit + 1, clock=clock, columns=columns
    )
    return found[:limit], reached is None and len(found) <= limit
