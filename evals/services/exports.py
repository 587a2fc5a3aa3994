"""Runs on their way out: one JSON document a line, spans and scores whole."""

from collections.abc import Iterator
from typing import Any

from accounts.models import Project
from evals.models import Score
from traces.formats.halo_writer import write_lines
from traces.formats.native import write_trace
from traces.formats.otlp_writer import write_request
from traces.list_queries import matching_traces
from traces.models import Trace
from traces.queries import span_records

EXPORT_FORMATS = ("jsonl", "otlp", "halo")
CHUNK = 100


def export_lines(project: Project, *, query: str = "", format_name: str = "jsonl") -> Iterator[dict[str, Any]]:
    """Give the traces of a project that match a query as documents, oldest first: our own form, OTLP requests, or Halo's lines.

    Traces are read one at a time. Raises QueryError for a query that cannot be read.
    """
    traces = matching_traces(project, query).order_by("sort_ns", "id")
    for trace in traces.iterator(chunk_size=CHUNK):
        yield from export_documents(project, trace, format_name)


def export_documents(project: Project, trace: Trace, format_name: str) -> Iterator[dict[str, Any]]:
    """Give one trace as documents: a line of our own form, an OTLP request, or Halo's lines, one a span."""
    records = span_records(trace)
    if format_name == "halo":
        counting = set(trace.spans.filter(counts_usage=True).values_list("span_id", flat=True))
        yield from write_lines(
            records,
            project=project.slug,
            session_id=trace.session_id,
            user_id=trace.user_id,
            agent=(trace.agent_id, trace.agent_name),
            counting=counting or {trace.root_span_id},  # without any, the totals are the root's own
        )
    elif format_name == "otlp":
        yield write_request(records)
    else:
        yield write_trace(records, name=trace.name, project=project.slug, scores=scores_of(trace))


def scores_of(trace: Trace) -> list[dict[str, Any]]:
    """Return the current scores of a trace that have a value, parts of rubrics as `name.criterion`."""
    rows = Score.objects.filter(trace=trace, is_current=True, state="ok", value__isnull=False).select_related(
        "grader_version__grader"
    )
    found = []
    for row in rows.order_by("id"):
        name = row.grader_version.grader.name
        found.append(
            {
                "name": f"{name}.{row.criterion}" if row.criterion else name,
                "value": row.value,
                "passed": row.passed,
                "label": row.label,
                "explanation": row.explanation,
                "rater": row.rater,
                "scale": [row.grader_version.scale_min, row.grader_version.scale_max],
            }
        )
    return found
