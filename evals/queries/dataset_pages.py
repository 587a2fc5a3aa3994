"""Reads of the datasets pages: lists, items of a revision page by page, and what a revision changed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Q, QuerySet

from accounts.models import Project
from evals.models import Comparison, Dataset, DatasetRevision, Item
from evals.word_diff import WordDiff, word_diff
from rubrics.judging import REFERENCE_NAMES

PAGE_SIZE = 100
PREVIEW = 240  # characters


def valid_at(number: int) -> Q:
    """Return the condition that an item belongs to revision `number`."""
    return Q(valid_from__lte=number) & (Q(valid_to=None) | Q(valid_to__gt=number))


def as_text(value: Any) -> str:
    """Show a value of an item as text: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def text_of_message(content: Any) -> str:
    """Return the text of a message's content, which is text or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") or part.get("content") or "" for part in content if isinstance(part, dict)]
        return " ".join(part for part in parts if isinstance(part, str))
    return ""


def input_text(content: dict[str, Any]) -> str:
    """Say what an item asks, in plain text: its input, else its last user message, else its first other value."""
    if content.get("input") not in (None, ""):
        return as_text(content["input"])
    messages = content.get("messages")
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and message.get("role") == "user" and text_of_message(message.get("content")):
                return text_of_message(message.get("content"))
    for name, value in content.items():
        if name not in (*REFERENCE_NAMES, "messages", "tools", "bucket", "key") and value not in (None, ""):
            return as_text(value)
    return ""


def reference_text(content: dict[str, Any]) -> str:
    """Return the item's reference answer under any of its usual names, or an empty text."""
    return next((as_text(content[name]) for name in REFERENCE_NAMES if content.get(name) not in (None, "")), "")


@dataclass(frozen=True)
class DatasetRow:
    """A dataset as the list shows it, with its newest revision."""

    dataset: Dataset
    revision: DatasetRevision | None
    buckets: list[str]
    comparison_count: int

    @property
    def more_buckets(self) -> int:
        return len(self.buckets) - 3


def dataset_rows(project: Project) -> list[DatasetRow]:
    """Return the project's datasets by name, without those that runs brought along. Three queries, whatever their number."""
    datasets = list(
        Dataset.objects.filter(project=project, is_implicit=False)
        .annotate(comparison_count=Count("revisions__comparisons", distinct=True))
        .order_by("name", "id")
    )
    newest: dict[int, DatasetRevision] = {}
    revisions = DatasetRevision.objects.filter(dataset__project=project, dataset__is_implicit=False)
    for revision in revisions.order_by("number"):
        newest[revision.dataset_id] = revision
    buckets: dict[int, list[str]] = {}
    current = Item.objects.filter(dataset__project=project, dataset__is_implicit=False, valid_to=None).exclude(
        bucket=""
    )
    for dataset_id, bucket in current.values_list("dataset", "bucket").distinct().order_by("bucket"):
        buckets.setdefault(dataset_id, []).append(bucket)
    return [
        DatasetRow(dataset, newest.get(dataset.pk), buckets.get(dataset.pk, []), dataset.comparison_count)
        for dataset in datasets
    ]


@dataclass(frozen=True)
class ItemRow:
    """An item as the table shows it: texts cut to a preview."""

    item: Item
    input: str
    reference: str


@dataclass(frozen=True)
class ItemPage:
    """Items in order. `next_key` and `previous_key` are `after` and `before` of the neighbouring pages, or empty."""

    rows: list[ItemRow]
    next_key: str = ""
    previous_key: str = ""


def items_at(revision: DatasetRevision, *, bucket: str | None = None) -> QuerySet[Item]:
    """Return the items of a revision in their order, or those of one bucket."""
    items = Item.objects.filter(valid_at(revision.number), dataset_id=revision.dataset_id)
    if bucket is not None:
        items = items.filter(bucket=bucket)
    return items.order_by("position", "id")


def item_page(
    revision: DatasetRevision, *, bucket: str | None, after: str, before: str, size: int = PAGE_SIZE
) -> ItemPage:
    """Return a page of items after or before a key `position-id`; a key that is none is passed over."""
    items = items_at(revision, bucket=bucket).select_related("source_trace")
    start, end = read_key(after), read_key(before)
    if end:
        found = list(items.filter(Q(position__lt=end[0]) | Q(position=end[0], id__lt=end[1])).reverse()[: size + 1])
        has_previous, has_next = len(found) > size, True
        found = found[:size][::-1]
    else:
        if start:
            items = items.filter(Q(position__gt=start[0]) | Q(position=start[0], id__gt=start[1]))
        found = list(items[: size + 1])
        has_previous, has_next = bool(start), len(found) > size
        found = found[:size]
    rows = [item_row(item) for item in found]
    if not rows:
        return ItemPage([])
    first, last = rows[0].item, rows[-1].item
    return ItemPage(
        rows, f"{last.position}-{last.pk}" if has_next else "", f"{first.position}-{first.pk}" if has_previous else ""
    )


def read_key(text: str) -> tuple[int, int] | None:
    position, _, pk = text.partition("-")
    if not (position.isdecimal() and pk.isdecimal() and len(text) < 40):
        return None
    return min(int(position), 2**31 - 1), min(int(pk), 2**63 - 1)


def bucket_counts(revision: DatasetRevision) -> list[tuple[str, int]]:
    """Return (bucket, items) of a revision by name; the empty name stands for items without one."""
    counts = items_at(revision).order_by("bucket").values_list("bucket").annotate(count=Count("id"))
    return [(bucket, count) for bucket, count in counts]


@dataclass(frozen=True)
class ChangedItem:
    """An item whose content or bucket changed."""

    key: str
    before: Item
    after: Item


@dataclass(frozen=True)
class RevisionRow:
    """A revision as the history shows it: the keys that it added, removed and changed against the one before."""

    revision: DatasetRevision
    added: list[str]
    removed: list[str]
    changed: list[str]
    comparison_count: int

    @property
    def before(self) -> int:
        return self.revision.number - 1

    @property
    def some_keys(self) -> list[str]:
        """The first keys that changed in any way, as an impression."""
        return [*self.changed, *self.added, *self.removed][:6]


def revision_rows(dataset: Dataset) -> list[RevisionRow]:
    """Return the revisions, newest first, each with what it changed against the one before it. Two queries."""
    revisions = (
        dataset.revisions.select_related("created_by")
        .annotate(comparison_count=Count("comparisons"))
        .order_by("-number")
    )
    starts: dict[int, set[str]] = {}
    ends: dict[int, set[str]] = {}
    for key, start, end in Item.objects.filter(dataset=dataset).values_list("key", "valid_from", "valid_to"):
        starts.setdefault(start, set()).add(key)
        if end is not None:
            ends.setdefault(end, set()).add(key)
    rows = []
    for revision in revisions:
        begun, ended = starts.get(revision.number, set()), ends.get(revision.number, set())
        rows.append(
            RevisionRow(
                revision, sorted(begun - ended), sorted(ended - begun), sorted(begun & ended), revision.comparison_count
            )
        )
    return rows


@dataclass(frozen=True)
class RevisionDiff:
    """What lies between two revisions."""

    added: list[Item]
    removed: list[Item]
    changed: list[ChangedItem]


def revision_diff(dataset: Dataset, *, old: int, new: int) -> RevisionDiff:
    """Return the items that revision `new` has more, less or otherwise than revision `old`."""
    before = items_not_shared(dataset, old, new)
    after = items_not_shared(dataset, new, old)
    changed = [
        ChangedItem(key, before[key], after[key])
        for key in after
        if key in before and (before[key].digest, before[key].bucket) != (after[key].digest, after[key].bucket)
    ]
    return RevisionDiff(
        [item for key, item in after.items() if key not in before],
        [item for key, item in before.items() if key not in after],
        changed,
    )


MAX_DIFF = 60  # items of each sort that the page shows whole


@dataclass(frozen=True)
class ShownChange:
    """A changed item as words."""

    key: str
    diff: WordDiff


def shown_diff(diff: RevisionDiff) -> dict[str, Any]:
    """Return what the page shows of a difference: the first items of each sort, and how many are left out."""
    changed = [
        ShownChange(one.key, word_diff(whole_text(one.before), whole_text(one.after), max_words=1_000))
        for one in diff.changed[:MAX_DIFF]
    ]
    return {
        "shown_changes": changed,
        "shown_added": [item_row(item) for item in diff.added[:MAX_DIFF]],
        "shown_removed": [item_row(item) for item in diff.removed[:MAX_DIFF]],
        "left_out": sum(max(0, len(part) - MAX_DIFF) for part in (diff.added, diff.removed, diff.changed)),
    }


def whole_text(item: Item) -> str:
    """Return everything that an item says, for the difference."""
    content = {**({"bucket": item.bucket} if item.bucket else {}), **item.content}
    return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True)


def item_row(item: Item) -> ItemRow:
    return ItemRow(item, input_text(item.content)[:PREVIEW], reference_text(item.content)[:PREVIEW])


def items_not_shared(dataset: Dataset, number: int, other: int) -> dict[str, Item]:
    """Return by key the rows that are valid at `number` and not at `other`, in order."""
    items = Item.objects.filter(valid_at(number), dataset=dataset).exclude(valid_at(other))
    return {item.key: item for item in items.order_by("position", "id")}


def revision_choices(project: Project) -> list[DatasetRevision]:
    """Return every dataset's revisions, datasets by name and newest revision first."""
    revisions = DatasetRevision.objects.filter(
        dataset__project=project, dataset__is_implicit=False, dataset__deleted_at=None, item_count__gt=0
    ).select_related("dataset")
    return list(revisions.order_by("dataset__name", "dataset_id", F("number").desc()))


def comparisons_on(dataset: Dataset, *, limit: int = 10) -> list[Comparison]:
    """Return the newest comparisons over any revision of a dataset."""
    found = Comparison.objects.filter(dataset_revision__dataset=dataset).select_related("dataset_revision")
    return list(found.order_by("-created_at", "-id")[:limit])


def item_lines(items: Iterable[Item]) -> Iterable[str]:
    """Render items as lines of JSON, each with its key and bucket, as `create_dataset` reads them."""
    for item in items:
        content = {"key": item.key, **({"bucket": item.bucket} if item.bucket else {}), **item.content}
        yield json.dumps(content, ensure_ascii=False) + "\n"


def neighbours(item: Item, revision: DatasetRevision) -> tuple[Item | None, Item | None]:
    """Return the items before and after this one in the revision's order."""
    items = items_at(revision).only("id", "key", "position", "dataset_id")
    before = items.filter(Q(position__lt=item.position) | Q(position=item.position, id__lt=item.pk)).reverse().first()
    after = items.filter(Q(position__gt=item.position) | Q(position=item.position, id__gt=item.pk)).first()
    return before, after


def shown_messages(found: list[Any]) -> list[dict[str, str]]:
    """Return messages as role and text, tool calls said in words; anything that is no message as JSON."""
    shown = []
    for message in found:
        if not isinstance(message, dict):
            shown.append({"role": "other", "text": as_text(message)})
            continue
        text = text_of_message(message.get("content"))
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            function = call.get("function", call) if isinstance(call, dict) else {}
            if isinstance(function, dict):
                text += f"{chr(10) if text else ''}Calls {function.get('name', 'a tool')} with {as_text(function.get('arguments', ''))}"
        shown.append({"role": str(message.get("role") or "other"), "text": text})
    return shown
