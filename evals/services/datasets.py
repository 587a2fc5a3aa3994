"""Datasets: every change makes a new revision; a revision once made never changes, and keys stay the same across them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.text import slugify

from accounts.models import Project, User
from evals.chat import last_text, plain_text, storable
from evals.graders.base import digest_of
from evals.item_lines import MAX_BUCKET, MAX_KEY, check_values
from evals.models import Dataset, DatasetRevision, Item
from evals.queries.datasets import revision_items
from traces.conversation import conversation, plain_message
from traces.models import Trace
from traces.queries import span_records

BATCH = 500


class BadItems(ValueError):
    """Items that cannot be kept; the text names the first one and says why."""


@dataclass(frozen=True)
class NewItem:
    """A case to keep. Without a key one is made from the content, so that the same content gets the same key."""

    content: dict[str, Any]
    key: str = ""
    bucket: str = ""
    source_trace_pk: int | None = None


def create_dataset(
    project: Project,
    *,
    name: str,
    items: Iterable[dict[str, Any] | NewItem] = (),
    description: str = "",
    slug: str = "",
    note: str = "",
    user: User | None = None,
) -> Dataset:
    """Create a dataset with its first revision. An item is a dict; its `key` and `bucket` are taken out of its content.

    The slug is made from the name, with a number where it is taken. Raises BadItems.
    """
    rows = read_items(items)
    with transaction.atomic():
        base = slugify(slug or name)[:50] or "dataset"
        slug, number = base, 1
        while Dataset.objects.filter(project=project, slug=slug).exists():
            number += 1
            slug = f"{base}-{number}"
        dataset = Dataset.objects.create(project=project, slug=slug, name=name[:120], description=description)
        change_items(dataset, rows, note=note, user=user)
    return dataset


def add_items(
    dataset: Dataset, items: Iterable[dict[str, Any] | NewItem], *, note: str = "", user: User | None = None
) -> DatasetRevision:
    """Add items, or change those whose key is there; returns the new revision, or the current one where nothing changed."""
    return change_items(dataset, read_items(items), note=note, user=user)


def replace_items(
    dataset: Dataset, items: Iterable[dict[str, Any] | NewItem], *, note: str = "", user: User | None = None
) -> DatasetRevision:
    """Make the dataset hold exactly these items; items with other keys are no longer in the new revision."""
    return change_items(dataset, read_items(items), replace=True, note=note, user=user)


def remove_items(dataset: Dataset, keys: Iterable[str], *, note: str = "", user: User | None = None) -> DatasetRevision:
    """Take items out of the dataset; earlier revisions keep them."""
    return change_items(dataset, [], removed=set(keys), note=note, user=user)


def read_items(items: Iterable[dict[str, Any] | NewItem]) -> list[NewItem]:
    """Return items complete with keys. Raises BadItems for what no database keeps, keys too long, or a key used twice."""
    rows: list[NewItem] = []
    seen: dict[str, int] = {}
    occurrences: Counter[str] = Counter()
    for number, item in enumerate(items, 1):
        row = item if isinstance(item, NewItem) else item_of(item, number)
        try:
            check_values([row.content, row.key, row.bucket])
        except ValueError as error:
            raise BadItems(f"Item {number}: {error}.") from None
        key = row.key
        if not key:
            digest = digest_of(row.content)
            occurrences[digest] += 1
            key = f"item-{digest[:12]}" + (f"-{occurrences[digest]}" if occurrences[digest] > 1 else "")
        if len(key) > MAX_KEY or len(row.bucket) > MAX_BUCKET:
            raise BadItems(f"Item {number}: the key has at most {MAX_KEY} characters, the bucket {MAX_BUCKET}.")
        if key in seen:
            raise BadItems(f"Item {number}: the key {key!r} was used by item {seen[key]}.")
        seen[key] = number
        rows.append(NewItem(row.content, key, row.bucket, row.source_trace_pk))
    return rows


def item_of(item: Any, number: int) -> NewItem:
    """Return a dict as an item: `key` and `bucket` are taken out, the rest is its content."""
    if not isinstance(item, dict):
        raise BadItems(f"Item {number} is {type(item).__name__}, where an object is needed.")
    content = {name: value for name, value in item.items() if name not in ("key", "bucket")}
    if not content:
        raise BadItems(f"Item {number} holds nothing to work on; give it at least an input.")
    key, bucket = item.get("key"), item.get("bucket")
    return NewItem(content, "" if key is None else str(key), "" if bucket is None else str(bucket))


@transaction.atomic
def change_items(
    dataset: Dataset,
    rows: list[NewItem],
    *,
    replace: bool = False,
    removed: set[str] | None = None,
    note: str = "",
    user: User | None = None,
) -> DatasetRevision:
    """Write the next revision of a dataset; where nothing would change the latest one is returned.

    Rows that a run brought along and that somebody changes are a dataset like any other from then on.
    """
    if not Dataset.objects.select_for_update().filter(pk=dataset.pk).exists():
        raise BadItems("The dataset was deleted.")
    if dataset.is_implicit:
        dataset.is_implicit, dataset.rows_digest = False, ""
        dataset.save(update_fields=["is_implicit", "rows_digest"])
    latest = dataset.revisions.order_by("-number").first()
    current = {item.key: item for item in dataset.items.filter(valid_to=None).only("key", "digest", "position")}
    wanted = {row.key: row for row in rows}
    digests = {row.key: digest_of(row.content, row.bucket) for row in rows}
    gone = (
        {key for key in current if key not in wanted} if replace else {key for key in removed or () if key in current}
    )
    changed = [row for row in rows if row.key in current and current[row.key].digest != digests[row.key]]
    added = [row for row in rows if row.key not in current]
    if latest is not None and not (gone or changed or added):
        return latest
    number = latest.number + 1 if latest else 1
    closing = [*gone, *(row.key for row in changed)]
    for start in range(0, len(closing), BATCH):
        dataset.items.filter(valid_to=None, key__in=closing[start : start + BATCH]).update(valid_to=number)
    position = (dataset.items.aggregate(last=Max("position"))["last"] or 0) + 1
    fresh = []
    for row in [*changed, *added]:
        kept = current.get(row.key)
        fresh.append(
            Item(
                dataset=dataset,
                key=row.key,
                bucket=row.bucket,
                content=row.content,
                digest=digests[row.key],
                position=kept.position if kept else position,
                valid_from=number,
                source_trace_id=row.source_trace_pk,
            )
        )
        position += 0 if kept else 1
    Item.objects.bulk_create(fresh, batch_size=BATCH)
    count = len(current) - len(gone) + len(added)
    return DatasetRevision.objects.create(
        dataset=dataset, number=number, item_count=count, note=note[:300], created_by=user
    )


# From traces -----------------------------------------------------------------------------------------------------


def dataset_from_traces(
    project: Project,
    traces: Iterable[Trace],
    *,
    name: str = "",
    dataset: Dataset | None = None,
    whole: bool = False,
    user: User | None = None,
) -> Dataset:
    """Make a dataset of recorded runs, or add them to one. A run that is in it already is not added twice.

    An item holds `input`, `messages`, `reference` and `metadata`, as `content_of_trace` takes them. Raises BadItems where no trace
    has a conversation.
    """
    chosen = list(traces)
    tasks = Counter(trace.task for trace in chosen if trace.task)
    by_task = bool(tasks) and len(tasks) * 2 <= len(chosen)
    rows = []
    for trace in chosen:
        content = content_of_trace(trace, whole=whole)
        if content is not None:
            bucket = (trace.task if by_task else trace.agent_name)[:MAX_BUCKET]
            rows.append(NewItem(content, trace.trace_id, bucket, trace.pk))
    if not rows:
        raise BadItems("None of these traces has an input and an answer, so there is nothing to make items of.")
    note = f"{len(rows)} from traces"
    if dataset is None:
        return create_dataset(project, name=name or "From traces", items=rows, note=note, user=user)
    add_items(dataset, rows, note=note, user=user)
    return dataset


def content_of_trace(trace: Trace, *, whole: bool = False) -> dict[str, Any] | None:
    """Return what an item keeps of a trace, or None where it has neither a conversation nor an input.

    `input` is the user's first request, `messages` all up to and with it, `reference` what the agent answered to it; where the
    conversation went on, `later_messages` are what came after, for templates that want them. With `whole` it is the conversation up
    to the last answer: `input` is the user turn that this answers, and the answer is the reference.
    """
    records = span_records(trace)
    thread = conversation(records)
    turn, answer = (whole_turn if whole else first_turn)(thread)
    messages = [plain_message(message) for message in thread[: turn + 1]] if turn is not None else []
    root = next((record for record in records if not record.parent_span_id), None)
    input_text = last_text(messages, "user") or plain_text(root.input if root else None) or trace.input_preview
    if not input_text:
        return None
    reference = (
        plain_text(thread[answer].get("content")) if answer is not None else plain_text(root.output if root else None)
    )
    metadata = {
        "trace_id": trace.trace_id,
        "task": trace.task,
        "agent": trace.agent_name,
        "session": trace.session_id,
        **{name: trace.metadata[name] for name in ("trial", "domain", "reward") if name in trace.metadata},
    }
    tools = next((record.available_tools for record in records if record.available_tools), None)
    content: dict[str, Any] = {"input": input_text, "reference": reference}
    if messages:
        content["messages"] = messages
    if not whole and turn is not None and has_user_turn(thread[turn + 1 :]):
        content["later_messages"] = [plain_message(message) for message in thread[turn + 1 :]]
    if tools:
        content["tools"] = tools
    content["metadata"] = {name: value for name, value in metadata.items() if value not in ("", None)}
    return storable(content)


def is_request(message: dict[str, Any]) -> bool:
    return message.get("role") == "user" and bool(plain_text(message.get("content")))


def has_user_turn(thread: list[dict[str, Any]]) -> bool:
    return any(map(is_request, thread))


def first_turn(thread: list[dict[str, Any]]) -> tuple[int | None, int | None]:
    """Return the places of the user's first request and of the last answer before the user spoke again."""
    turn = next((place for place, message in enumerate(thread) if is_request(message)), None)
    if turn is None:
        return whole_turn(thread)
    again = next((place for place in range(turn + 1, len(thread)) if is_request(thread[place])), len(thread))
    return turn, next((place for place in reversed(range(turn + 1, again)) if is_answer(thread[place])), None)


def whole_turn(thread: list[dict[str, Any]]) -> tuple[int | None, int | None]:
    """Return the places of the user turn that the last answer answers, and of that answer."""
    answer = next((place for place in reversed(range(len(thread))) if is_answer(thread[place])), None)
    before = thread[: answer if answer is not None else len(thread)]
    return next((place for place in reversed(range(len(before))) if before[place].get("role") == "user"), None), answer


def is_answer(message: dict[str, Any]) -> bool:
    """Say whether a message is the agent's word to the user: an assistant's text that calls no tool."""
    return (
        message.get("role") == "assistant"
        and bool(plain_text(message.get("content")))
        and not message.get("tool_calls")
    )


def export_items(revision: DatasetRevision) -> Iterable[dict[str, Any]]:
    """Yield the items of a revision in the form that `create_dataset` takes."""
    for item in revision_items(revision).iterator(chunk_size=BATCH):
        yield {"key": item.key, **({"bucket": item.bucket} if item.bucket else {}), **item.content}
