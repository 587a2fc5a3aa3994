import pytest
from django.db import connection

from traces import storage_schema


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps contents in one way")
def test_long_contents_are_kept_as_wanted_and_a_second_look_changes_nothing(django_assert_num_queries):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attrelid::regclass::text, attstorage::text, attcompression::text FROM pg_attribute"
            " WHERE attname = 'content' AND attrelid = ANY(%s::regclass[])",
            [[*storage_schema.PACKED, *storage_schema.PLAIN]],
        )
        found = {table: (storage, compression) for table, storage, compression in cursor.fetchall()}
        cursor.execute(storage_schema.HAS_LZ4)
        has_lz4 = bool(cursor.fetchone())
    assert {found[table][0] for table in storage_schema.PLAIN} == {"e"}
    if has_lz4:
        assert {found[table][1] for table in storage_schema.PACKED} == {"l"}
    with django_assert_num_queries(3 if has_lz4 else 2):
        storage_schema.prepare(None)
