"""Notes, tags and signals of a trace: the part of its head that people write, and views of the list under a name."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from accounts.access import ProjectRequest, current_user, project_page
from accounts.models import Role
from traces import people
from traces.models import Note, Trace
from traces.views.trace import get_trace


def back(request: ProjectRequest, fallback: str) -> str:
    """Return the page to go back to: one of ours, else the fallback."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if wanted and safe else fallback


def answer(request: ProjectRequest, found: Trace, *, error: str = "") -> HttpResponse:
    """Answer with the changed part of the page, or go back to it."""
    if request.wants_partial:
        context = {
            "trace": found,
            "error": error,
            "is_open": True,
            "is_admin": request.role.allows(Role.ADMIN),
            "user": current_user(request),
            "chosen": request.POST.get("span", ""),
            **people.said_of(found),
        }
        return render(
            request, "traces/_trace_people.html", {**context, "may_write": True}, status=422 if error else 200
        )
    if error:
        messages.error(request, error)
    return redirect(back(request, reverse("traces:trace", args=[request.project.slug, found.trace_id])))


@require_POST
@project_page(Role.REVIEWER)
def add_note(request: ProjectRequest, trace_id: str) -> HttpResponse:
    """Keep a note on a trace, or on the span `span`."""
    found = get_trace(request, trace_id)
    try:
        people.add_note(
            found, request.POST.get("text", ""), span_id=request.POST.get("span", ""), user=current_user(request)
        )
    except people.PeopleError as error:
        return answer(request, found, error=str(error))
    return answer(request, found)


@require_POST
@project_page(Role.REVIEWER)
def delete_note(request: ProjectRequest, trace_id: str, pk: int) -> HttpResponse:
    """Take away a note of one's own; an admin takes away any."""
    found = get_trace(request, trace_id)
    note = get_object_or_404(Note.objects.select_related("trace", "project"), pk=pk, trace=found)
    is_own = note.author_id is not None and note.author == current_user(request)  # the author's account may be gone
    if not is_own and not request.role.allows(Role.ADMIN):
        return answer(request, found, error="Only its author, or an admin, takes a note away.")
    people.delete_note(note, user=current_user(request))
    return answer(request, found)


@require_POST
@project_page(Role.REVIEWER)
def change_tags(request: ProjectRequest, trace_id: str) -> HttpResponse:
    """Add the tag `tag`, or take away the tag `remove`."""
    found = get_trace(request, trace_id)
    span_id = request.POST.get("span", "")
    try:
        if remove := request.POST.get("remove", "").replace("\0", ""):
            people.remove_tag(found, remove, span_id=span_id.replace("\0", ""))
        else:
            people.add_tag(found, request.POST.get("tag", ""), span_id=span_id, user=current_user(request))
    except people.PeopleError as error:
        return answer(request, found, error=str(error))
    return answer(request, found)


# Saved views -----------------------------------------------------------------------------------------------------


@require_http_methods(["POST"])
@project_page()
def save_view(request: ProjectRequest) -> HttpResponse:
    """Keep the shown list under a name. A viewer keeps views for themselves; from reviewer up they can be shared."""
    is_shared = "shared" in request.POST and request.role.allows(Role.REVIEWER)
    fallback = reverse("traces:trace_list", args=[request.project.slug])

    def given(name: str) -> str:
        return request.POST.get(name, "").replace("\0", "")

    try:
        view = people.save_view(
            request.project,
            name=request.POST.get("name", ""),
            query=given("q"),
            time_range=given("range"),
            sort=given("sort"),
            columns=[name.replace("\0", "")[:40] for name in request.POST.getlist("column")][:40],
            is_shared=is_shared,
            user=current_user(request),
        )
    except people.PeopleError as error:
        messages.error(request, str(error))
        return redirect(back(request, fallback))
    messages.success(request, f"The view “{view.name}” is saved.")
    return redirect(people.view_url(request.project, view))


@require_POST
@project_page()
def delete_view(request: ProjectRequest, pk: int) -> HttpResponse:
    """Take away a view of one's own; a reviewer one of nobody, an admin any."""
    view = get_object_or_404(people.views_of(request.project, current_user(request)), pk=pk)
    is_own = view.owner_id is not None and view.owner == current_user(request)
    if not is_own and not request.role.allows(Role.REVIEWER if view.owner_id is None else Role.ADMIN):
        who = "a reviewer" if view.owner_id is None else "the one who made a view, or an admin,"
        messages.error(request, f"Only {who} takes it away.")
    else:
        view.delete()
        messages.success(request, f"The view “{view.name}” is gone.")
    return redirect(reverse("traces:trace_list", args=[request.project.slug]))
