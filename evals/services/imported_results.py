"""What an exported eval, run or output item says, as the values and rows that are kept of it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from accounts.models import Project
from evals.chat import from_openai, last_text, plain_text
from evals.graders.base import digest_of
from evals.models import (
    Dataset,
    DatasetRevision,
    GraderVersion,
    Item,
    RaterKind,
    Run,
    Sample,
    SampleStatus,
    ScoreState,
)
from evals.openai_export import Document, open_file, without_nulls
from evals.services.rows import RowValues
from evals.services.scores import NewScore
from traces.spans import SpanRecord, Usage

PIECE = 1024 * 1024
RATER = "imported"


class CannotImport(ValueError):
    """An object that cannot be kept; the text says why."""


def text_of(document: Document, name: str) -> str:
    """Return a text of an object, empty where there is none."""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def object_of(document: Document, name: str) -> Document:
    """Return an object of an object, empty where there is none."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None


def checked_id(public_id: str) -> str:
    """Return an id that fits. Raises CannotImport."""
    if len(public_id) > 80 or "\x00" in public_id:
        raise CannotImport("its id is longer than 80 characters, or holds a NUL character")
    return public_id


def time_of(document: Document) -> datetime | None:
    """Return when an object was made, from Unix seconds; None where it does not say."""
    value = document.get("created_at")
    if not is_number(value) or not 0 < value < 32_503_680_000:  # type: ignore[operator]  # a number
        return None
    return datetime.fromtimestamp(value, UTC)  # type: ignore[arg-type]  # a number


def words_of(metadata: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}


def place_of(item: Document) -> int | None:
    """Return an output item's place in the source."""
    found = whole(item.get("datasource_item_id"))
    return found if found is not None and found < 2**31 else None


def scale_of(criterion: Document) -> tuple[float, float]:
    """Return a criterion's range of scores; 0 to 1 where it names none."""
    given = criterion.get("range")
    if isinstance(given, list) and len(given) == 2 and all(is_number(end) for end in given) and given[0] < given[1]:
        return float(given[0]), float(given[1])
    return 0.0, 1.0


def source_of(config: Document) -> tuple[Document, Document]:
    """Return an eval's item schema and the rest of its data source config, as they are kept here."""
    kind = text_of(config, "type") or "custom"
    if kind != "custom":
        return {}, {"type": kind, "metadata": words_of(config.get("metadata"))}
    schema = config.get("schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if isinstance(properties, dict):
        item = properties.get("item")
        return (
            item if isinstance(item, dict) else {"type": "object"},
            {"type": kind, "include_sample_schema": "sample" in properties},
        )
    sent = config.get("item_schema")
    schema = sent if isinstance(sent, dict) else {"type": "object"}
    return schema, {"type": kind, "include_sample_schema": bool(config.get("include_sample_schema"))}


def echoed_rows(document: Document) -> list[RowValues]:
    """Return the rows that a run's data source repeats; none where one of them is not a row."""
    data_source = document.get("data_source")
    source = data_source.get("source") if isinstance(data_source, dict) else None
    content = source.get("content") if isinstance(source, dict) else None
    rows: list[RowValues] = []
    for row in listed(content):
        if not isinstance(row, dict) or not isinstance(row.get("item"), dict):
            return []
        sample = row.get("sample")
        rows.append((row["item"], sample if isinstance(sample, dict) else None, None))
    return rows


def empty_revision(project: Project) -> DatasetRevision:
    """Return the revision without a row, for runs that have none."""
    empty, _ = Dataset.objects.get_or_create(
        project=project, is_implicit=True, rows_digest="none", defaults={"slug": "rows-none", "name": "No rows"}
    )
    return DatasetRevision.objects.get_or_create(dataset=empty, number=1)[0]


def row_at(dataset: Dataset, place: int, content: Document, sample: Document | None) -> Item:
    return Item(
        dataset=dataset,
        key=f"row-{place + 1}",
        content=content,
        sample=sample,
        digest=digest_of(content, sample),
        position=place,
        valid_from=1,
    )


def given_of(item: Document) -> Document | None:
    """Return the sample that a row brought along, as far as its output item repeats it."""
    sample = item.get("sample")
    output = sample.get("output") if isinstance(sample, dict) else None
    if not isinstance(output, list) or not output:
        return None
    given: Document = {"output": without_nulls(output)}
    if isinstance(sample, dict) and isinstance(sample.get("model"), str):
        given["model"] = sample["model"]
    return given


def messages_of(value: Any) -> list[Document]:
    return [without_nulls(message) for message in listed(value) if isinstance(message, dict) and message.get("role")]


def sample_of(run: Run, item: Document, row: int) -> Sample:
    """Return an output item as a sample that was not written yet."""
    told = object_of(item, "sample")
    usage = object_of(told, "usage")
    problem = object_of(told, "error")
    output = messages_of(told.get("output"))
    message = dict(output[-1]) if output else {}
    text = plain_text(message.get("content"))
    for name in ("finish_reason", "model"):
        if isinstance(told.get(name), str):
            message[name] = told[name]
    if whole(usage.get("cached_tokens")):
        message["cached_tokens"] = usage["cached_tokens"]
    kept = {name: value for name, value in item.items() if name not in ("id", "run_id", "eval_id", "object")}
    kept.pop("datasource_item")
    failed = item.get("status") == "error" and (bool(problem) or not listed(item.get("results")))
    return Sample(
        project=run.project,
        public_id=item["id"],
        run=run,
        item_id=row,
        status=SampleStatus.FAILED if failed else SampleStatus.DONE,
        output_text=text,
        output=message or None,
        error=(text_of(problem, "message") or "It errored where it ran.") if failed else "",
        input_tokens=whole(usage.get("prompt_tokens")),
        output_tokens=whole(usage.get("completion_tokens")),
        imported=kept,
        finished_at=time_of(item) or run.created_at,
    )


def trace_id_of(sample: Sample) -> str:
    """Return the trace id of an imported sample: always the same one, so that a repeat makes no second trace."""
    return hashlib.sha256(f"imported:{sample.public_id}".encode()).hexdigest()[:32]


def records_of(run: Run, sample: Sample, item: Document) -> list[SpanRecord]:
    """Return the trace of an output item: the attempt at the root, the model's call below it. Nobody knows how long it took."""
    told = item.get("sample")
    if not isinstance(told, dict):
        return []
    asked = [from_openai(message) for message in messages_of(told.get("input"))]
    said = [from_openai(message) for message in messages_of(told.get("output"))]
    if not asked and not said:
        return []
    trace_id = trace_id_of(sample)
    assert sample.finished_at is not None
    model = text_of(told, "model") or run.candidate.model
    problem = sample.error
    shared: dict[str, Any] = {
        "trace_id": trace_id,
        "start_ns": int(sample.finished_at.timestamp()) * 1_000_000_000,
        "status": "error" if problem else "ok",
        "error_message": problem,
        "agent_name": run.candidate.label,
        "environment": "eval",
        "convention": "openai-evals",
    }
    number = (place_of(item) or 0) + 1
    root = SpanRecord(
        span_id=trace_id[:16],
        name=run.candidate.label,
        kind="agent",
        input=last_text(asked, "user") or None,
        output=sample.output_text or None,
        task=f"row-{number}",
        workflow_name=(run.comparison.name if run.comparison else run.name)[:200],
        metadata={"run": run.public_id, "output_item": sample.public_id, "item": f"row-{number}", "imported": "yes"},
        tags=["eval", "imported"],
        **shared,
    )
    if not model:
        root.input_messages, root.output_messages = asked, said
        return [root]
    attributes: dict[str, Any] = {}
    for name in ("temperature", "top_p", "seed", "max_completion_tokens"):
        if is_number(told.get(name)):
            attributes[f"gen_ai.request.{name}"] = told[name]
    if isinstance(told.get("finish_reason"), str):
        attributes["gen_ai.response.finish_reasons"] = [told["finish_reason"]]
    usage = object_of(told, "usage")
    call = SpanRecord(
        span_id=trace_id[16:],
        parent_span_id=trace_id[:16],
        name=f"chat {model}",
        kind="llm",
        position=1,
        model=model[:200],
        usage=Usage(
            input_tokens=sample.input_tokens,
            output_tokens=sample.output_tokens,
            cached_input_tokens=whole(usage.get("cached_tokens")),
        ),
        input_messages=asked,
        output_messages=said,
        attributes=attributes,
        **shared,
    )
    return [root, call]


def scores_of(
    sample: Sample, item: Document, versions_of: Callable[[list[Document]], list[GraderVersion]]
) -> list[NewScore]:
    """Return the results of an output item as scores."""
    given = [result for result in listed(item.get("results")) if isinstance(result, dict)]
    scores = []
    for result, version in zip(given, versions_of(given), strict=True):
        problem = result.get("error")
        value = result.get("score")
        is_said = is_number(value) and not problem
        reason = (
            problem if isinstance(problem, str) else text_of(problem, "message") if isinstance(problem, dict) else ""
        )
        passed = result.get("passed")
        scores.append(
            NewScore(
                grader_version=version,
                trace=sample.trace_id,
                sample=sample,
                run=sample.run_id,
                rater_kind=RaterKind.IMPORTED,
                rater=RATER,
                state=ScoreState.OK if is_said else ScoreState.FAILED,
                value=float(value) if is_said else None,  # type: ignore[arg-type]  # a number
                label=text_of(result, "label")[:120],
                passed=passed if isinstance(passed, bool) else None,
                explanation=text_of(result, "reason"),
                reason="" if is_said else reason or "The grader gave no score where it ran.",
                call=call_of(result.get("sample")),
            )
        )
    return scores


def call_of(sample: Any) -> Document | None:
    """Return a judge's call as scores keep it."""
    if not isinstance(sample, dict):
        return None
    output = messages_of(sample.get("output"))
    usage = object_of(sample, "usage")
    return {
        "messages": messages_of(sample.get("input")),
        "text": plain_text(output[-1].get("content")) if output else None,
        "model": text_of(sample, "model"),
        "finish_reason": text_of(sample, "finish_reason"),
        "usage": {
            "input_tokens": whole(usage.get("prompt_tokens")),
            "output_tokens": whole(usage.get("completion_tokens")),
            "cached_input_tokens": whole(usage.get("cached_tokens")),
        },
        "sampling": {
            name: sample[name]
            for name in ("temperature", "top_p", "seed", "max_completion_tokens")
            if is_number(sample.get(name))
        },
    }


def pieces_of(path: Path) -> Iterator[bytes]:
    """Give the bytes of a file in pieces."""
    with open_file(path) as stream:
        while piece := stream.read(PIECE):
            yield piece


def batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch
