"""The statements of ingest for SQLite. Same functions as `store_postgres`; `services` chooses by `connection.vendor`.

A transaction begins IMMEDIATE, so there is one writer at a time: rows looked up stay as they are until the commit, and free ids may
be taken from the sequence table.
"""

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from django.db import connection

Rows = Sequence[Sequence[Any]]
AT_ONCE = 10_000  # values in one statement


def chunks(values: Iterable[Any], size: int = AT_ONCE) -> Iterator[list[Any]]:
    """Cut values into lists that fit into one statement."""
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


def marks(count: int) -> str:
    return ", ".join(["%s"] * count)


@contextmanager
def in_turn() -> Iterator[None]:
    """Wait for our turn to write, before a transaction begins: by a file lock, which wakes the next writer at once.

    SQLite's own waiting sleeps and tries again, so that under load some writers would wait for seconds. Inside a transaction there
    is nothing to wait for: the database's lock is ours already.
    """
    name = str(connection.settings_dict["NAME"])
    if connection.in_atomic_block or ":memory:" in name or "mode=memory" in name:
        yield
        return
    with open(f"{name}-turn", "ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # let go when the file is closed, or the process ends
        yield


def lock_sweep(project_id: int) -> None:
    """Nothing to do: there is one writer."""


def lock_joins(project_id: int, trace_ids: Iterable[str], *, alone: bool) -> None:
    """Nothing to do: there is one writer."""


def read(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def read_where_in(sql: str, before: Sequence[Any], values: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement whose `{values}` stands for a list."""
    found: list[tuple[Any, ...]] = []
    for part in chunks(values):
        found += read(sql.replace("{values}", f"({marks(len(part))})"), [*before, *part])
    return found


def read_wanted(sql: str, pairs: Iterable[tuple[int, str]]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that starts FROM `wanted(trace_pk, wanted_id)`, a list of pairs, CROSS JOIN another table.

    Written so, SQLite looks each pair up; for `(a, b) IN (VALUES …)` it would read the whole table.
    """
    found: list[tuple[Any, ...]] = []
    for part in chunks(pairs, AT_ONCE // 2):
        values = ", ".join(["(%s, %s)"] * len(part))
        wanted = f"WITH wanted(trace_pk, wanted_id) AS (VALUES {values}) "
        found += read(wanted + sql, [value for pair in part for value in pair])
    return found


def lock_traces(columns: str, trace_pks: Iterable[int]) -> list[tuple[Any, ...]]:
    """Return rows of traces with their states."""
    return read_where_in(
        f"SELECT {columns}, s.content FROM traces_trace t LEFT JOIN traces_tracestate s ON s.trace_id = t.id"  # noqa: S608
        " WHERE t.id IN {values}",
        [],
        trace_pks,
    )


def next_ids(table: str, count: int) -> range:
    """Return free ids of a table, in order."""
    rows = read("SELECT seq FROM sqlite_sequence WHERE name = %s", [table]) if count else []
    first = (rows[0][0] if rows else 0) + 1
    return range(first, first + count)


def find_digests(table: str, project_pk: int, digests: Iterable[bytes]) -> dict[bytes, int]:
    """Return the keys of a project's rows with these digests."""
    sql = f"SELECT digest, id FROM {table} WHERE project_id = %s AND digest IN {{values}}"  # noqa: S608
    return dict(read_where_in(sql, [project_pk], digests))


def insert(table: str, columns: Sequence[str], rows: Rows) -> None:
    """Insert rows that are known not to be there."""
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks(len(columns))})",  # noqa: S608
                rows,
            )


def insert_missing(table: str, columns: Sequence[str], rows: Rows, *, key: Sequence[str]) -> set[Any]:
    """Insert rows, leaving out those whose key is there. Returns the last key column of those that were left out."""
    insert(table, columns, rows)  # one writer: what was looked up as missing is missing
    return set()


def insert_or_leave(table: str, columns: Sequence[str], rows: Rows) -> None:
    """Insert rows, leaving out those that are there."""
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks(len(columns))})",  # noqa: S608
                rows,
            )


def update(table: str, key: str, columns: Sequence[str], rows: Rows) -> None:
    """Set columns of rows; the key is the last value of each row."""
    if rows:
        with connection.cursor() as cursor:
            sets = ", ".join(f"{column} = %s" for column in columns)
            cursor.executemany(f"UPDATE {table} SET {sets} WHERE {key} = %s", rows)  # noqa: S608
