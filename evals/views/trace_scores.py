"""Scores on pages of the room below: a trace's, a span's, and those of a page of the traces list. Fragments only."""

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.access import ProjectRequest, project_page
from evals.queries.scores import list_scores, trace_scores
from traces.models import Trace

MAX_TRACES = 500  # of one request of the list


@require_GET
@project_page()
def trace_score_fragment(request: ProjectRequest, trace_id: str) -> HttpResponse:
    """Render the scores of a trace: `as=chips` for its head, `as=lines` with reasons and evidence; `span=` narrows to one span."""
    trace = Trace.objects.filter(project=request.project, trace_id=trace_id).first() if "\x00" not in trace_id else None
    if trace is None:
        raise Http404("There is no such trace in this project.")
    span_id = request.GET.get("span", "").replace("\x00", "")
    template = "evals/_trace_score_lines.html" if request.GET.get("as") == "lines" else "evals/_trace_score_chips.html"
    context = {
        "project": request.project,
        "trace": trace,
        "span_id": span_id,
        "scores": trace_scores(trace, span_id=span_id),
    }
    return render(request, template, context)


@require_GET
@project_page()
def trace_list_scores(request: ProjectRequest) -> HttpResponse:
    """Fill the scores column of the traces list in one request: `trace=` once for each row on the page."""
    keys = [
        int(text)
        for text in request.GET.getlist("trace")[:MAX_TRACES]
        if text.isascii() and text.isdecimal() and len(text) < 19
    ]
    return render(
        request, "evals/_trace_list_scores.html", {"rows": list_scores(request.project, list(dict.fromkeys(keys)))}
    )
