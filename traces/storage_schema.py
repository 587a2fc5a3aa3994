"""How PostgreSQL keeps long contents. Looked at after every migration; a second time changes nothing.

Bodies and payloads are compressed by lz4 where the server has it, which costs a fraction of its own way; texts for the search are
not, since they are read piece by piece. What is stored already stays as it is.
"""

from typing import Any

PACKED = ("traces_body", "traces_spanpayload")
PLAIN = ("traces_searchtext", "traces_searchwords", "traces_tracetexts")
HAS_LZ4 = "SELECT 1 FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
NOT_YET = "SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = 'content' AND attrelid = ANY(%s::regclass[]) AND {is_other}"


def prepare(sender: Any, using: str = "default", **kwargs: Any) -> None:
    """Say how contents are kept where it is not said yet. Connected to `post_migrate`."""
    from django.db import connections

    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        wanted: list[tuple[tuple[str, ...], str, str]] = [(PLAIN, "attstorage <> 'e'", "STORAGE EXTERNAL")]
        cursor.execute(HAS_LZ4)
        if cursor.fetchone():
            wanted.append((PACKED, "attcompression <> 'l'", "COMPRESSION lz4"))
        for tables, is_other, setting in wanted:
            cursor.execute(NOT_YET.replace("{is_other}", is_other), [list(tables)])
            for (table,) in cursor.fetchall():
                cursor.execute(f"ALTER TABLE {table} ALTER COLUMN content SET {setting}")
