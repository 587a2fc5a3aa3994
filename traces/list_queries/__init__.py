"""Reads for the traces list and GET /api/traces: a page by key, the figures above it, facets, arrivals, completions."""

from traces.list_queries.arrivals import MOST_ARRIVALS, Arrival, arrival_mark, arrivals, count_fresh
from traces.list_queries.completions import Completion, completions, known_values, likely_values
from traces.list_queries.figures import CAP, TEXT_CAP, Facet, FacetValue, Figures, Summary, trace_summary
from traces.list_queries.looking import DEFAULT_SORT, SORTS
from traces.list_queries.pages import (
    PAGE_SIZE,
    RANGES,
    ROW_FIELDS,
    CursorError,
    TimeRange,
    TracePage,
    TraceRow,
    count_without_filter,
    list_rows,
    matching_traces,
    time_range,
    trace_page,
)

__all__ = [
    "CAP", "DEFAULT_SORT", "MOST_ARRIVALS", "PAGE_SIZE", "RANGES", "ROW_FIELDS", "SORTS", "TEXT_CAP", "Arrival",
    "Completion", "CursorError", "Facet", "FacetValue", "Figures", "Summary", "TimeRange", "TracePage", "TraceRow",
    "arrival_mark", "arrivals", "completions", "count_fresh", "count_without_filter", "known_values", "likely_values",
    "list_rows", "matching_traces", "time_range", "trace_page", "trace_summary",
]  # fmt: skip
