"""OTLP in JSON: an export request as a file, or one a line (the collector's file exporter). Pure."""

from collections.abc import Iterator
from typing import Any

from traces.formats.base import BadDocument, BadLine, FileContext, ImportedTrace
from traces.otlp import DecodeError, decode_log_document, decode_trace_document
from traces.spans import SpanRecord

NAME = "otlp"
LABEL = "OTLP JSON"
KEYS = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")


def sniff(document: Any) -> bool:
    """Say whether a document is a request, or one element of a request's list."""
    return isinstance(document, dict) and any(key in document for key in (*KEYS, "scopeSpans", "scope_spans"))


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the spans of a request, trace by trace; a trace may go on in another line. Raises BadDocument."""
    if not any(key in document for key in KEYS):
        document = {"resourceSpans": [document]}
    try:
        decoded, logs = decode_trace_document(document), decode_log_document(document)
    except DecodeError as error:
        raise BadDocument(str(error)) from None
    by_trace: dict[str, list[SpanRecord]] = {}
    for record in decoded.records:
        by_trace.setdefault(record.trace_id, []).append(record)
    for records in by_trace.values():
        yield ImportedTrace(records, place=place)
    if logs.logs:
        yield ImportedTrace([], place=place, logs=logs.logs)
    for reason in decoded.rejected + logs.rejected:
        yield BadLine(place, reason)
