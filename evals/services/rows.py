"""Rows that a run brings along: kept once as an implicit dataset, in bounded memory, and gone with the last run that used them."""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from django.db import transaction

from accounts.models import Project
from evals.given import text_of_json
from evals.graders.base import digest_of
from evals.models import Dataset, DatasetRevision, Item, Run
from evals.services.comparisons import MAX_SAMPLES, BadComparison

BATCH = 500

RowValues = tuple[dict[str, Any], dict[str, Any] | None, int | None]  # item, sample, key of the trace that it names


@transaction.atomic
def keep_rows(project: Project, rows: Callable[[], Iterable[RowValues]], *, name: str) -> DatasetRevision | None:
    """Return the revision that holds exactly these rows, in their order; made where there is none. None where there is no row.

    The rows are read twice. The dataset stays locked until the caller's transaction ends, so that nobody drops it before a run is made.
    """
    digest, count = digest_of_rows(rows())
    if count == 0:
        return None
    if count > MAX_SAMPLES:
        raise BadComparison(
            f"This would be {count:,} rows; at most {MAX_SAMPLES:,} fit in one run.", param="data_source"
        )
    found = Dataset.objects.select_for_update().filter(project=project, is_implicit=True, rows_digest=digest).first()
    if found is not None:
        return found.revisions.get()
    dataset = Dataset.objects.create(
        project=project, slug=f"rows-{secrets.token_hex(10)}", name=name[:120], is_implicit=True, rows_digest=digest
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
    return DatasetRevision.objects.create(dataset=dataset, number=1, item_count=count)


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
