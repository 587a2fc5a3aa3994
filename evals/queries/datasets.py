"""Reads of datasets and their revisions."""

from django.db.models import Q, QuerySet

from evals.models import Dataset, DatasetRevision, Item


def revision_items(revision: DatasetRevision) -> QuerySet[Item]:
    """Return the items of a revision in order."""
    lives_on = Q(valid_to=None) | Q(valid_to__gt=revision.number)
    return Item.objects.filter(lives_on, dataset=revision.dataset_id, valid_from__lte=revision.number).order_by(
        "position", "id"
    )


def latest_revision(dataset: Dataset) -> DatasetRevision | None:
    """Return the newest revision of a dataset."""
    return dataset.revisions.order_by("-number").first()
