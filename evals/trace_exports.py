"""Runs of the traces list as files, complete and streamed: our own lines, OTLP, Halo, and the list itself as CSV."""

import csv
from collections.abc import Iterator
from io import StringIO
from typing import Any

import orjson

from accounts.models import Project
from evals.exports import RISKY
from evals.services.exports import export_documents
from traces.list_queries import trace_page
from traces.models import Trace
from traces.people import signals_of
from traces.queries import iso_time

FORMATS = {  # name -> words, ending, content type
    "jsonl": ("Markbook, every field and score", "jsonl", "application/x-ndjson"),
    "otlp": ("OpenTelemetry (OTLP), one request a run", "otlp.jsonl", "application/x-ndjson"),
    "halo": ("Halo, one span a line", "halo.jsonl", "application/x-ndjson"),
    "csv": ("The list as a table (CSV)", "csv", "text/csv"),
}
AT_ONCE = 200
COLUMNS = (
    "trace_id", "name", "source", "status", "started", "duration_ms", "agent_id", "agent_name", "session_id", "user_id", "task",
    "environment", "release", "version", "models", "tags", "spans", "errors", "llm_calls", "tool_calls", "input_tokens",
    "output_tokens", "total_tokens", "cost_usd", "cost_source", "suspected", "input", "output",
)  # fmt: skip


def all_matching(project: Project, query: str) -> Iterator[list[Trace]]:
    """Give all traces that match a query, newest first, page by page: no long transaction, whatever their number."""
    after = ""
    while True:
        page = trace_page(project, query, after=after, limit=AT_ONCE)
        if page.rows:
            yield page.rows
        after = page.next_key
        if not after:
            return


def file_lines(project: Project, pages: Iterator[list[Trace]], format_name: str) -> Iterator[bytes]:
    """Give the lines of a file of runs."""
    if format_name == "csv":
        yield csv_line(list(COLUMNS))
    for traces in pages:
        if format_name == "csv":
            suspected = signals_of(traces)
            for trace in traces:
                yield csv_line(cells(trace, suspected.get(trace.pk, [])))
            continue
        for trace in traces:
            for document in export_documents(project, trace, format_name):
                yield orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS) + b"\n"


def cells(trace: Trace, suspected: list[str]) -> list[Any]:
    """Return a trace as a row of the table. What is not known is empty, never 0."""
    return [
        trace.trace_id, trace.name, trace.source, trace.status, iso_time(trace.start_ns) or "", trace.duration_ms, trace.agent_id,
        trace.agent_name, trace.session_id, trace.user_id, trace.task, trace.environment, trace.release, trace.version,
        ", ".join(map(str, trace.model_names)), ", ".join(map(str, trace.tags)), trace.span_count, trace.error_count,
        trace.llm_call_count, trace.tool_call_count, trace.input_tokens, trace.output_tokens, trace.total_tokens, trace.cost_usd,
        trace.cost_source, ", ".join(suspected), trace.input_preview, trace.output_preview,
    ]  # fmt: skip


def csv_line(values: list[Any]) -> bytes:
    """Return a line of CSV; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    out = StringIO()
    safe = [f"'{value}" if isinstance(value, str) and value.startswith(RISKY) else value for value in values]
    csv.writer(out).writerow(safe)
    return out.getvalue().encode()
