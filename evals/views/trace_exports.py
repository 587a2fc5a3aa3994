"""Runs of the traces list as files."""

from collections.abc import Iterator

from django.http import HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_http_methods

from accounts.access import ApiError, ProjectRequest, project_page
from evals.trace_exports import FORMATS, all_matching, file_lines
from traces import search
from traces.models import MAX_ID, Trace
from traces.search import QueryError

MAX_CHOSEN = 1_000


@require_http_methods(["GET", "POST"])
@project_page()
def export_traces(request: ProjectRequest) -> HttpResponse | StreamingHttpResponse:
    """Stream the runs that match `q`, or those chosen (`trace`), in the format `format`. Complete, whatever their number."""
    given = request.POST if request.method == "POST" else request.GET
    format_name = given.get("format", "jsonl")
    if format_name not in FORMATS:
        return ApiError(
            400, f"There is no format {format_name[:40]!r}; use {', '.join(FORMATS)}.", param="format"
        ).response()
    chosen = [one[:MAX_ID] for one in given.getlist("trace") if "\0" not in one]
    if chosen and "all" not in given:
        if len(chosen) > MAX_CHOSEN:
            return ApiError(
                400, f"{len(chosen):,} runs are chosen; {MAX_CHOSEN:,} is the most. Export all that match instead."
            ).response()
        pages: Iterator[list[Trace]] = iter(
            [list(Trace.objects.filter(project=request.project, trace_id__in=chosen).order_by("-sort_ns", "-pk"))]
        )
    else:
        try:
            search.parse(given.get("q", ""))  # a wrong query is refused before the first byte
        except QueryError as error:
            return ApiError(400, str(error), param="q").response()
        pages = all_matching(request.project, given.get("q", ""))
    _, ending, kind = FORMATS[format_name]
    response = StreamingHttpResponse(
        file_lines(request.project, pages, format_name), content_type=f"{kind}; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{request.project.slug}-traces.{ending}"'
    return response
