"""Our own export: a trace a line, every field of every span, and its scores. What is exported imports as the same. Pure.

A line is `{"format": "markbook.trace", "version": 1, "trace_id", "name", "spans": [...], "scores": [...]}`; spans have the
names of the read API (`docs/api.md`) and more of what the span said. Attributes are whole: `moved` says which of them only
repeat the messages.
"""

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

from traces.conventions.moved import rebuild_attributes
from traces.conventions.raw import read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedTrace
from traces.formats.steps import read_scores
from traces.spans import SpanRecord, Usage

NAME = "markbook"
LABEL = "Markbook export"
FORMAT = "markbook.trace"
VERSION = 1
TIMES = ("start_ns", "end_ns")
NEEDED = ("trace_id", "span_id")


def sniff(document: Any) -> bool:
    """Say whether a document is a line of our export."""
    return isinstance(document, dict) and document.get("format") == FORMAT


def write_trace(
    records: list[SpanRecord], *, name: str = "", project: str = "", scores: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return a trace as a line of the export. Scores are dicts with name, value, passed, explanation and label."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "trace_id": records[0].trace_id if records else "",
        "name": name,
        "project": project,
        "spans": [write_span(record) for record in records],
        "scores": scores or [],
    }


def write_span(record: SpanRecord) -> dict[str, Any]:
    """Return a span with all that is not empty. Times are decimal text: JSON readers lose digits beyond 2^53."""
    found: dict[str, Any] = {}
    empty = SpanRecord(trace_id="", span_id="")
    for field in fields(record):
        value = getattr(record, field.name)
        if value == getattr(empty, field.name) and field.name not in NEEDED:
            continue
        found[field.name] = str(value) if field.name in TIMES else value
    found.pop("trace_id")
    if "usage" in found:
        found["usage"] = {key: value for key, value in asdict(record.usage).items() if value not in (None, "")}
    attributes = rebuild_attributes(record)
    if attributes:
        found["attributes"] = attributes
    if record.start_ns is not None and record.end_ns is not None:
        found["duration_ms"] = (record.end_ns - record.start_ns) / 1e6
    return found


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the trace of a line. Raises BadDocument."""
    if document.get("version") != VERSION:
        raise BadDocument(f"version {document.get('version')!r} of this format is not known here, only {VERSION}")
    trace_id, spans = read_text(document.get("trace_id")), document.get("spans")
    if not trace_id or not isinstance(spans, list):
        raise BadDocument("trace_id or spans are missing")
    records = [read_span(trace_id, number, span) for number, span in enumerate(spans, 1)]
    yield ImportedTrace(records, read_scores(document.get("scores")), place)


def read_span(trace_id: str, number: int, span: Any) -> SpanRecord:
    """Return a span of a line. Raises BadDocument for values of another type than the field's."""
    if not isinstance(span, dict) or not read_text(span.get("span_id")):
        raise BadDocument(f"span {number} is not an object with a span_id")
    record = SpanRecord(trace_id=trace_id, span_id=read_text(span["span_id"]))
    for field in fields(record):
        name = field.name
        if name not in span or name in NEEDED:
            continue
        try:
            value = read_field(name, span[name], getattr(record, name))
        except (TypeError, ValueError):
            raise BadDocument(f"span {number} has a {name} that is not of its type: {str(span[name])[:60]!r}") from None
        setattr(record, name, value)
    if record.moved:
        record.attributes = leave_moved(record)
    return record


def read_field(name: str, value: Any, default: Any) -> Any:
    """Return a field's value. Raises TypeError or ValueError where it is of another type."""
    if name in TIMES:
        return None if value is None else int(value)
    if name == "usage":
        return Usage(**value)
    if isinstance(default, (str, bool, int, list, dict)) and type(value) is not type(default):
        raise TypeError(name)
    if name == "tool" and not (isinstance(value, dict) and {"name", "arguments", "result"} <= set(value)):
        raise TypeError(name)
    return value


def leave_moved(record: SpanRecord) -> dict[str, Any]:
    """Return the attributes without those that the record's `moved` writes again; a recipe that does not fit is dropped."""
    whole = record.attributes
    kept, moved = whole, {}
    for name, recipe in record.moved.items():
        trial = SpanRecord(**{field.name: getattr(record, field.name) for field in fields(record)})
        trial.attributes, trial.moved = {}, {name: recipe}
        try:
            rebuilt = rebuild_attributes(trial)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            continue
        if all(key in whole for key in rebuilt):
            moved[name] = recipe
            kept = {key: value for key, value in kept.items() if key not in rebuilt or rebuilt[key] != value}
    record.moved = moved
    return kept
