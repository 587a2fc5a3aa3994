"""Reading along the list: rows in order from a place on, and matches that no index names, for as long as there is time."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from traces.filters import Reading, look_along
from traces.lookups import Beyond
from traces.models import Trace
from traces.text_queries import Clock, TooLate

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
# How many traces the first stretch takes, where an index names them, where they are passed, and where each is asked for words.
READ, PASSED, ASKED = 100, 200, 40
MOST_PASSED, MOST_ASKED = 400_000, 2_400  # and any stretch


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


@dataclass(frozen=True)
class Stretch:
    """What one stretch of the list holds: columns of each match, and the place up to which all were seen; None at the end of the list."""

    rows: list[tuple[Any, ...]]
    reached: Place | None


def stretches(
    reading: Reading,
    *,
    sort: str,
    place: Place | None,
    backwards: bool,
    limit: int,
    clock: Clock,
    columns: Sequence[str],
) -> Iterator[Stretch]:
    """Read up to `limit` matches along the list while there is time; what is done with a stretch counts as the time that it took.

    Where an index leads to the matches these are read themselves; else the list is passed and each of its traces is asked. The first
    stretch is short and always read. Each later one is as long as fits into the time that is left, going by the one before.
    """
    column = SORTS[sort.lstrip("-")]
    wanted = (*columns, column, "pk", *(("texts__content",) if reading.lazy else ()))
    passes = not reading.is_direct(column)
    is_held = reading.few is not None and not reading.lazy  # each read would sort all of the few: one is enough
    matching, along = reading.matching, reading.along(column)
    size, most = (ASKED, MOST_ASKED) if reading.lazy else (PASSED if passes else READ, MOST_PASSED)
    held: list[tuple[Any, ...]] | None = None
    is_first = True
    while limit > 0:
        began = time.monotonic()
        count = size if reading.lazy else limit if passes or is_held else min(size, limit)
        try:
            with nullcontext() if is_first else clock.bounding():
                until: Place | None = None
                if passes:
                    edge = read_rows(
                        along,
                        sort=sort,
                        place=place,
                        backwards=backwards,
                        limit=1,
                        skip=size - 1,
                        columns=(column, "pk"),
                    )
                    until = (edge[0][0], edge[0][1]) if edge else None
                rows = held or read_rows(
                    matching, sort=sort, place=place, until=until, backwards=backwards, limit=count, columns=wanted
                )
                hits = rows if is_held or not reading.lazy else look_along(reading.project, reading.lazy, rows)
        except TooLate:
            return
        is_first = False
        is_end = until is None and len(rows) < count
        if is_held:
            rows, held = rows[:size], rows[size:]
            is_end, hits = is_end and not held, rows
        hits = hits[:limit]
        limit -= len(hits)
        if until or rows:
            place = until or (rows[-1][len(columns)], rows[-1][len(columns) + 1])
        yield Stretch([row[: len(columns)] for row in hits], None if is_end else place)
        if is_end:
            return
        size = clock.fitting(size, time.monotonic() - began, most=most)
        if not size:
            return


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
    """Look along the list for matches: columns of each, and how far that went where time was up before `limit` and before the end."""
    found: list[tuple[Any, ...]] = []
    reached: Place | None = None
    for stretch in stretches(
        reading, sort=sort, place=place, backwards=backwards, limit=limit, clock=clock, columns=columns
    ):
        found += stretch.rows
        reached = stretch.reached
    return found, reached if len(found) < limit else None
