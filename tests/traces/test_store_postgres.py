"""Rows that two writers may bring at once, on PostgreSQL."""

import pytest
from django.db import connection, transaction

from accounts.models import Project
from traces import store_postgres
from traces.models import Body

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="the statements of PostgreSQL")
COLUMNS = ("id", "project_id", "digest", "kind", "content")
KEY = ("project_id", "digest")


@pytest.mark.django_db
def test_insert_missing_leaves_out_what_is_there_and_says_so():
    project = Project.objects.create(slug="there", name="There")
    one, two, three = (number * 16 for number in (b"1", b"2", b"3"))

    def rows(*digests):
        ids = store_postgres.next_ids("traces_body", len(digests))
        return [(pk, project.pk, one, "message", b'"' + one + b'"') for pk, one in zip(ids, digests, strict=True)]

    with transaction.atomic():
        assert store_postgres.insert_missing("traces_body", COLUMNS, rows(two, one), key=KEY) == set()
    kept = dict(Body.objects.values_list("digest", "pk"))
    with transaction.atomic():
        lost = store_postgres.insert_missing("traces_body", COLUMNS, rows(three, one, two), key=KEY)
    assert lost == {one, two}
    stored = {bytes(digest): pk for digest, pk in Body.objects.values_list("digest", "pk")}
    assert stored.keys() == {one, two, three}
    assert {bytes(digest): pk for digest, pk in kept.items()} == {one: stored[one], two: stored[two]}
