"""Deleting a trace or a session: a page that says what would go, and the button that does it."""

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from traces import asked_deletions, deletion
from traces.models import AskedDeletion, Trace
from traces.page_queries import traces_of_session
from traces.views.trace import get_trace


@require_http_methods(["GET", "HEAD", "POST"])
@project_page(Role.ENGINEER)
def delete_trace(request: ProjectRequest, trace_id: str) -> HttpResponse:
    """Say what would go with a trace; POST deletes it."""
    found = get_trace(request, trace_id)
    back = reverse("traces:trace", args=[request.project.slug, found.trace_id])
    return answer(request, Trace.objects.filter(pk=found.pk), AskedDeletion.Kind.TRACE, found.trace_id, back=back)


@require_http_methods(["GET", "HEAD", "POST"])
@project_page(Role.ENGINEER)
def delete_session(request: ProjectRequest, session_id: str) -> HttpResponse:
    """Say what would go with a session's traces, those that its page shows; POST deletes them."""
    traces = traces_of_session(request.project, session_id)
    if not traces.exists():
        raise Http404
    back = reverse("traces:session", args=[request.project.slug, session_id])
    return answer(request, traces, AskedDeletion.Kind.SESSION, session_id, back=back)


def answer(request: ProjectRequest, traces: QuerySet[Trace], kind: str, name: str, *, back: str) -> HttpResponse:
    """Show what a deletion would take away, or do it; a large one is left to the worker, and the page says so."""
    at_work = asked_deletions.pending(request.project, kind, name)
    if request.method == "POST" and at_work is None:
        asked = asked_deletions.ask(request.project, kind, name, user=current_user(request))
        if asked.taken_at is None:
            messages.success(
                request, f"The {kind} {name} is being deleted. Its traces leave the list over the next minutes."
            )
        else:
            count, spans = asked_deletions.finish(asked)
            messages.success(
                request, f"Deleted {count:,} trace{'s' * (count != 1)} with {spans:,} span{'s' * (spans != 1)}."
            )
    if request.method == "POST":
        return redirect("traces:trace_list", request.project.slug)
    loss = deletion.name_loss(traces)
    lines = [
        ("trace", loss.traces, "deleted"),
        ("span", loss.spans, "deleted, with its messages where no other span has them"),
    ]
    context = {"what": f"{kind} {name}", "lines": [*lines, *loss.lines], "back": back, "at_work": at_work}
    return render(request, "pages/delete.html", context)
