"""Logfire: a message as title, plain spans, instant records, and placeholders of spans that have not ended. Pure."""

from traces.conventions.common import read_words
from traces.conventions.raw import RawSpan, read_text
from traces.spans import SpanRecord

NAME = "logfire"
MARKS = frozenset(("logfire.span_type", "logfire.msg"))
SCOPES: tuple[str, ...] = ("logfire",)
NAMES = frozenset(("code.filepath", "code.function", "code.lineno", "thread.id", "thread.name"))
PREFIXES = ("logfire.",)
NO_PARENT = "0" * 16


def fill(raw: RawSpan, record: SpanRecord) -> None:
    """Fill what is still missing in a record."""
    attributes = raw.attributes
    kind = read_text(attributes.get("logfire.span_type"))
    if kind == "log" and record.kind == "unknown":
        record.kind = "event"
    if kind == "pending_span":
        become_unfinished(record, read_text(attributes.get("logfire.pending_parent_id")))
    message = read_text(attributes.get("logfire.msg"))
    if message and message != record.name:
        record.display_name = record.display_name or message
    if not record.tags:
        record.tags = read_words(attributes.get("logfire.tags"))


def become_unfinished(record: SpanRecord, parent_span_id: str) -> None:
    """Make a placeholder the first version of the span that it stands for: its parent is that span, which replaces it when it ends."""
    if not record.parent_span_id:
        return
    record.attributes["markbook.placeholder_span_id"] = record.span_id
    record.span_id = record.parent_span_id
    record.parent_span_id = "" if parent_span_id in ("", NO_PARENT) else parent_span_id
    record.end_ns = None
    record.name = record.name.removesuffix(" (pending)")
