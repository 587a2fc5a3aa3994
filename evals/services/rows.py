"""Rows that a run brings along: kept once as an implicit dataset, in bounded memory, and gone with the last run that used them."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import Project
from evals.given import text_of_json
from evals.graders.base import digest_of
from evals.models import Dataset, DatasetRevision, Item, Run
from evals.services.comparisons import MAX_SAMPLES, BadComparison

BATCH = 500
FORGOTTEN = timedelta(days=1)

RowValues = tuple[dict[str, Any], dict[str, Any] | None, int | None]  # item, sample, key of the trace that it names


@dataclass(frozen=True)
class StoredRows:
    """Rows that are written, or known to be there. `pending` is the dataset that holds them until a run needs it."""

    project: Project
    digest: str
    count: int
    pending: Dataset | None


def keep_rows(project: Project, rows: Callable[[], Iterable[RowValues]], *, name: str) -> DatasetRevision | None:
    """Return the revision that holds exactly these rows, in their order; made where there is none. None where there is no row.

    The rows are read twice. Call it in the transaction that makes the run, so that nobody drops the dataset before.
    """
    while True:
        stored = store_rows(project, rows, name=name)
        if stored is None:
            return None
        revision = settle_rows(stored)
        if revision is not None:
            return revision


def store_rows(project: Project, rows: Callable[[], Iterable[RowValues]], *, name: str) -> StoredRows | None:
    """Write rows batch by batch, so that nobody waits long for the database, unless the same ones are there. None without a row."""
    digest, count = digest_of_rows(rows())
    if count == 0:
        return None
    if count > MAX_SAMPLES:
        raise BadComparison(
            f"This would be {count:,} rows; at most {MAX_SAMPLES:,} fit in one run.", param="data_source"
        )
    implicit = Dataset.objects.filter(project=project, is_implicit=True)
    implicit.filter(revisions=None, created_at__lt=timezone.now() - FORGOTTEN).delete()  # of a process that died here
    if implicit.filter(rows_digest=digest).exists():
        return StoredRows(project, digest, count, None)
    token = secrets.token_hex(10)
    dataset = Dataset.objects.create(
        project=project, slug=f"rows-{token}", name=name[:120], is_implicit=True, rows_digest=f"pending-{token}"
    )
    for batch in in_batches(enumerate(rows())):
        Item.objects.bulk_create(
            Item(
                dataset=dataset,
                key=f"row-{number + 1}",
                content=item,
                sample=sample,
                digest=digest_of(item, sample),
                position=number,
                valid_from=1,
                source_trace_id=trace,
            )
            for number, (item, sample, trace) in batch
        )
    return StoredRows(project, digest, count, dataset)


@transaction.atomic
def settle_rows(stored: StoredRows) -> DatasetRevision | None:
    """Return the revision of stored rows, locked until the caller's transaction ends; None where it was dropped meanwhile."""
    implicit = Dataset.objects.filter(project=stored.project, is_implicit=True, rows_digest=stored.digest)
    found = implicit.select_for_update().first()
    if found is not None:
        forget_rows(stored)
        return found.revisions.get()
    if stored.pending is None:
        return None
    stored.pending.rows_digest = stored.digest
    stored.pending.save(update_fields=["rows_digest"])
    return DatasetRevision.objects.create(dataset=stored.pending, number=1, item_count=stored.count)


def forget_rows(stored: StoredRows) -> None:
    """Drop rows that were stored and are not needed."""
    if stored.pending is not None:
        stored.pending.items.all()._raw_delete(stored.pending.items.db)
        stored.pending.delete()


def digest_of_rows(rows: Iterable[RowValues]) -> tuple[str, int]:
    """Return the digest of rows and how many there are."""
    digest, count = hashlib.sha256(), 0
    for row in rows:
        digest.update(text_of_json(row).encode())
        digest.update(b"\n")
        count += 1
    return digest.hexdigest(), count


def in_batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


def drop_unused_rows(project: Project, revisions: Iterable[int]) -> None:
    """Delete the implicit datasets among these revisions that no run uses any more. Call it in the transaction that deleted runs."""
    chosen = Dataset.objects.filter(project=project, is_implicit=True, revisions__in=list(revisions))
    for dataset in Dataset.objects.select_for_update().filter(pk__in=chosen.values("pk")):
        if not Run.objects.filter(dataset_revision__dataset=dataset).exists():
            dataset.items.all()._raw_delete(dataset.items.db)
            dataset.delete()
