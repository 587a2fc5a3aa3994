"""What the indexes say at once of a condition: the values that a pattern stands for, and the traces that are named, where they are few.

Few traces are best read by their keys, whatever the order of the list; many are soon met along the list. The database would choose by
guessing how many there are, and guesses wrong where a value is much rarer or more frequent than others of its column.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from accounts.models import Project
from traces import lookups  # noqa: F401  registers `among`
from traces.models import Trace, TraceTerm

# Traces that are held as a list of keys. SQLite reads every one of them, wherever it lies on the disk, before it puts them in order; to
# pass others along the list takes less time beyond some thousand.
FEW = 10_000 if connection.vendor == "postgresql" else 2_500
MOST_VALUES = 300  # values of a field among which a pattern is looked for
# Columns that lead an index (after the project), and what orders that index after them.
TEXT_ORDERS = {
    **dict.fromkeys(("status", "agent_name", "session_id", "user_id", "environment", "task"), ("sort_ns", "id")),
    "trace_id": (),
}
NUMBER_ORDERS = dict.fromkeys(("duration_ms", "total_tokens", "cost_usd", "span_count"), ("id",))


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


def column_values(project: Project, column: str, *, limit: int) -> list[str]:
    """Return the first values of a text column of the project's traces."""
    return distinct_values(Trace._meta.db_table, column, "project_id = %s", [project.pk], limit=limit)


def term_values(project: Project, key: str, *, limit: int) -> list[str]:
    """Return the first values of a term of the project's traces."""
    return distinct_values(
        TraceTerm._meta.db_table, "value", "project_id = %s AND key = %s", [project.pk, key], limit=limit
    )


def fits(value: str, pattern: str) -> bool:
    """Say whether a value is like a pattern, in which `*` is any text. Takes no longer than the two are long."""
    first, *middle = pattern.split("*")
    if not middle:
        return value == pattern
    *middle, last = middle
    if not (value.startswith(first) and value.endswith(last)) or len(value) < len(first) + len(last):
        return False
    place, end = len(first), len(value) - len(last)
    for piece in middle:
        found = value.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return True


def values_like(values: Sequence[str], patterns: Iterable[str]) -> list[str] | None:
    """Return those of all values of a field that are like one of some patterns; None where these may not be all there are."""
    wanted = list(patterns)
    if len(values) > MOST_VALUES or any(not pattern.strip("*") for pattern in wanted):
        return None  # a pattern of stars alone is like the empty value too, which is none of these
    return [value for value in values if any(fits(value, pattern) for pattern in wanted)]


def keys_of(rows: QuerySet[Any], *, column: str = "pk", most: int | None = None) -> list[int] | None:
    """Return the traces' keys of rows that come in the order of an index, or None where they are more than FEW."""
    limit = FEW if most is None else most
    keys = rows.values_list(column, flat=True)
    if keys[limit : limit + 1]:
        return None
    return list(keys[:limit])


def joined(parts: Iterable[list[int] | None]) -> list[int] | None:
    """Return the keys of all parts together, or None where one is unknown or they are more than FEW."""
    found: set[int] = set()
    for part in parts:
        if part is None:
            return None
        found.update(part)
        if len(found) > FEW:
            return None
    return sorted(found)


def traces_with_text(project: Project, column: str, values: Iterable[str]) -> list[int] | None:
    """Return the keys of the traces that have one of some values in an indexed text column, where they are few."""
    order = TEXT_ORDERS[column]
    own = Trace.objects.filter(project=project)
    return joined(keys_of(own.filter(**{column: value}).order_by(*order)) for value in values)


def traces_with_ids(project: Project, wanted: Q, beginning: str) -> list[int] | None:
    """Return the keys of the traces whose id is wanted and has this beginning, where they are few and the index is in order of bytes."""
    if not beginning or not sorts_by_bytes():
        return None
    after = beginning[:-1] + chr(ord(beginning[-1]) + 1) if ord(beginning[-1]) < 0xD000 else None
    own = Trace.objects.filter(wanted, project=project, trace_id__gte=beginning)
    return keys_of((own if after is None else own.filter(trace_id__lt=after)).order_by("trace_id"))


def sorts_by_bytes() -> bool:
    """Say whether the database orders text by its characters' numbers, and not as some language does."""
    if connection.vendor == "sqlite":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT datcollate FROM pg_database WHERE datname = current_database() AND datlocprovider = 'c'")
        row = cursor.fetchone()
    return row is not None and row[0].partition(".")[0] in ("C", "POSIX")


def traces_with_number(project: Project, column: str, wanted: Q) -> list[int] | None:
    """Return the keys of the traces whose indexed number is within bounds, where they are few."""
    return keys_of(Trace.objects.filter(wanted, project=project).order_by(column, *NUMBER_ORDERS[column]))


def traces_that_failed(project: Project) -> list[int] | None:
    """Return the keys of the traces with a failed span, where they are few."""
    return keys_of(Trace.objects.filter(project=project, error_count__gt=0).order_by("sort_ns", "id"))


def traces_with_some(project: Project, column: str) -> list[int] | None:
    """Return the keys of the traces that have any value in an indexed column, where they are few."""
    own = Trace.objects.filter(project=project)
    if column in NUMBER_ORDERS:
        return keys_of(own.filter(**{f"{column}__isnull": False}).order_by(column, *NUMBER_ORDERS[column]))
    return keys_of(own.filter(**{f"{column}__gt": ""}).order_by(column, *TEXT_ORDERS[column]))


def traces_with_term(project: Project, keys: Sequence[str], values: Sequence[str] | None = None) -> list[int] | None:
    """Return the keys of the traces that have a term under one of some keys, with one of some values or with any, where they are few."""
    parts = []
    for key in keys:
        own = TraceTerm.objects.filter(project=project, key=key).order_by("value", "trace_id")
        parts += [own] if values is None else [own.filter(value=value) for value in values]
    return joined(keys_of(part, column="trace_id") for part in parts)


def traces_of_agent_ids(project: Project, wanted: Q) -> list[int] | None:
    """Return the keys of the traces without an agent's name whose agent's id is wanted; None where too many are without a name."""
    unnamed = keys_of(Trace.objects.filter(project=project, agent_name="").order_by("sort_ns", "id"))
    if not unnamed:
        return unnamed
    return list(Trace.objects.filter(wanted, pk__among=unnamed).values_list("pk", flat=True))
