"""The statements of ingest for PostgreSQL. Same functions as `store_sqlite`; `services` chooses by `connection.vendor`.

New rows go in by COPY. Several writers work at once, so: a transaction first inserts the traces that it found missing, in the
order of their ids, then locks the ones that were there, in the order of their keys; spans belong to a locked trace. Traces, bodies
and message nodes may come to two writers at once: they go in by COPY under a savepoint, and where another writer was first, anew
through a staging table that leaves out what is there.
"""

import zlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, connection, transaction

Rows = Sequence[Sequence[Any]]
JOIN_LOCKS = 64  # a project's traces share so many locks: enough to keep writers apart, few enough to hold all
JOIN_CLASS = 0x6D62 << 8  # "mb": our corner of the space of advisory locks
# The name of the sequence is looked up once, not for every value.
NEXT_IDS = (
    "SELECT nextval(named.sequence) FROM (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS sequence OFFSET 0) named,"
    " generate_series(1, %s)"
)
# LATERAL with LIMIT is a look into the index for each. An `= ANY(…)` is planned by what was known of the table before it grew, and
# would read all of it.
FIND_DIGESTS = (
    "SELECT wanted.digest, found.id FROM (SELECT substring(given.packed FROM place FOR 16) AS digest"
    " FROM (SELECT %s::bytea AS packed OFFSET 0) given, generate_series(1, %s, 16) AS place) wanted"
    " CROSS JOIN LATERAL (SELECT id FROM {table} WHERE project_id = %s AND digest = wanted.digest LIMIT 1) found"
)
# Types whose values psycopg writes in binary as Python has them. Text would write a bytea as twice as many hex digits.
BINARY = frozenset(("bool", "bytea", "float8", "int2", "int4", "int8", "text", "timestamptz", "varchar"))


def in_turn() -> AbstractContextManager[None]:
    """Nothing to wait for: writers work at once."""
    return nullcontext()


SWEEP_CLASS = JOIN_CLASS | 2


def lock_sweep(project_id: int) -> None:
    """Keep out all who write spans of a project, until the end of the transaction: they may point at what a sweep takes away."""
    read("SELECT pg_advisory_xact_lock(%s, %s)", [SWEEP_CLASS, project_id % 2**31])


def lock_joins(project_id: int, trace_ids: Iterable[str], *, alone: bool) -> None:
    """Keep log records and spans of the same traces from passing each other unseen, and sweeps out, until the transaction ends."""
    read("SELECT pg_advisory_xact_lock_shared(%s, %s)", [SWEEP_CLASS, project_id % 2**31])
    keys = sorted({(project_id * JOIN_LOCKS + zlib.crc32(one.encode()) % JOIN_LOCKS) % 2**31 for one in trace_ids})
    name = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    read(f"SELECT {name}(%s, key) FROM unnest(%s::int[]) AS key", [JOIN_CLASS, keys])  # noqa: S608


def read(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


def read_where_in(sql: str, before: Sequence[Any], values: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement whose `{values}` stands for a list."""
    return read(sql.replace("IN {values}", "= ANY(%s)"), [*before, list(values)])


def read_wanted(sql: str, pairs: Iterable[tuple[int, str]]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement that starts FROM `wanted(trace_pk, wanted_id)`, a list of pairs, CROSS JOIN another table."""
    given = list(pairs)
    values = [[pair[0] for pair in given], [pair[1] for pair in given]]
    wanted = "WITH wanted(trace_pk, wanted_id) AS (SELECT * FROM unnest(%s::bigint[], %s::text[])) "
    return read(wanted + sql, values)


def lock_traces(columns: str, trace_pks: Iterable[int]) -> list[tuple[Any, ...]]:
    """Lock traces in the order of their keys, and return their rows with their states."""
    pks = list(trace_pks)
    read("SELECT id FROM traces_trace WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [pks])
    return read(
        f"SELECT {columns}, s.content FROM traces_trace t LEFT JOIN traces_tracestate s ON s.trace_id = t.id"  # noqa: S608
        " WHERE t.id = ANY(%s)",
        [pks],
    )


def next_ids(table: str, count: int) -> list[int]:
    """Return free ids of a table, in order."""
    if not count:
        return []
    rows = read(NEXT_IDS, [table, count])
    return sorted(row[0] for row in rows)


def find_digests(table: str, project_pk: int, digests: Iterable[bytes]) -> dict[bytes, int]:
    """Return the keys of a project's rows with these digests (16 bytes each): each looked up in the index, however many there are."""
    packed = b"".join(digests)
    rows = read(FIND_DIGESTS.replace("{table}", table), [packed, len(packed), project_pk]) if packed else []
    return {bytes(digest): pk for digest, pk in rows}


def insert(table: str, columns: Sequence[str], rows: Rows) -> None:
    """Insert rows that are known not to be there."""
    if rows:
        copy_rows(table, columns, rows)


def copy_rows(table: str, columns: Sequence[str], rows: Rows) -> None:
    """Send rows by COPY, in binary where the types of the columns allow it. Raises the errors of `django.db`."""
    types = column_types(connection.settings_dict["NAME"], table.removeprefix("staged_"), tuple(columns))
    is_binary = BINARY.issuperset(types)
    form = "(FORMAT BINARY)" if is_binary else ""
    with (
        connection.wrap_database_errors,
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN {form}") as copy,
    ):
        if is_binary:
            copy.set_types(types)
        for row in rows:
            copy.write_row(row)


@lru_cache(maxsize=256)
def column_types(database: str, table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the types of a table's columns."""
    sql = (
        "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = %s::regclass AND a.attnum > 0"
    )
    found: dict[str, str] = dict(read(sql, [table]))
    return tuple(found[column] for column in columns)


def insert_missing(table: str, columns: Sequence[str], rows: Rows, *, key: Sequence[str]) -> set[Any]:
    """Insert rows, leaving out those whose key is there. Returns the last key column of those that were left out."""
    if not rows:
        return set()
    places = [list(columns).index(one) for one in key]
    ordered = sorted(rows, key=lambda row: [row[place] for place in places])  # two writers never wait for each other
    try:
        with transaction.atomic():
            copy_rows(table, columns, ordered)
        return set()
    except IntegrityError:
        return insert_staged(table, columns, ordered, key=key)


def insert_staged(table: str, columns: Sequence[str], rows: Rows, *, key: Sequence[str]) -> set[Any]:
    """As `insert_missing`, where some rows are there."""
    names, place = ", ".join(columns), list(columns).index(key[-1])
    with connection.cursor() as cursor:
        stage(cursor, table, columns, rows)
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM staged_{table} ORDER BY {', '.join(key)}"  # noqa: S608
            f" ON CONFLICT ({', '.join(key)}) DO NOTHING RETURNING {key[-1]}"
        )
        inserted = {as_key(row[0]) for row in cursor.fetchall()}
    return {as_key(row[place]) for row in rows} - inserted


def insert_or_leave(table: str, columns: Sequence[str], rows: Rows) -> None:
    """Insert rows, leaving out those that are there. The trace that they belong to is locked."""
    if not rows:
        return
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        stage(cursor, table, columns, rows)
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM staged_{table} ON CONFLICT DO NOTHING"  # noqa: S608
        )


def stage(cursor: Any, table: str, columns: Sequence[str], rows: Rows) -> None:
    """Copy rows into a table of this session, from which they can be inserted under conditions."""
    names = ", ".join(columns)
    cursor.execute(
        f"CREATE TEMP TABLE IF NOT EXISTS staged_{table} ON COMMIT DELETE ROWS"  # noqa: S608
        f" AS SELECT {names} FROM {table} WITH NO DATA"
    )
    cursor.execute(f"DELETE FROM staged_{table}")  # noqa: S608
    copy_rows(f"staged_{table}", columns, rows)


def as_key(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def update(table: str, key: str, columns: Sequence[str], rows: Rows) -> None:
    """Set columns of rows; the key is the last value of each row."""
    if rows:
        with connection.cursor() as cursor:
            sets = ", ".join(f"{column} = %s" for column in columns)
            cursor.executemany(f"UPDATE {table} SET {sets} WHERE {key} = %s", rows)  # noqa: S608
