"""Sending traces: a key, what to paste where, files, and a panel that opens the first trace when it comes."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from accounts.access import DEFAULT_PROJECT, ProjectRequest, current_user, project_page, visible_projects
from accounts.models import Role
from accounts.services import AccountError, create_api_key
from traces import list_queries, snippets
from traces.forms import IngestKeyForm

DEMO_PROJECT = "demo"


@require_http_methods(["GET", "POST"])
@never_cache
@project_page()
def send(request: ProjectRequest) -> HttpResponseBase:
    """Show how to send traces. POST makes an ingest key, shown this once; the panel #listen asks every two seconds."""
    return send_page(request, is_first_run=False)


@require_http_methods(["GET", "POST"])
@never_cache
@project_page()
def first_run(request: ProjectRequest) -> HttpResponseBase:
    """Greet a project that holds nothing. Once it holds a trace, this is the page of sending."""
    if request.method == "GET" and not request.wants_partial and list_queries.arrival_mark(request.project):
        return redirect("traces:send", request.project.slug)
    return send_page(request, is_first_run=True)


def send_page(request: ProjectRequest, *, is_first_run: bool) -> HttpResponse:
    if request.wants_partial and request.method == "GET":
        return listen(request)
    form = IngestKeyForm(request.POST if request.method == "POST" else None)
    key_text, status = "", 200
    if request.method == "POST":
        if request.role != Role.ADMIN:
            form.add_error(None, "Only an admin of the project can make a key.")
        if form.is_valid():
            try:
                _key, key_text = create_api_key(
                    request.project, name=form.cleaned_data["name"], user=current_user(request)
                )
            except AccountError as error:
                form.add_error(None, str(error))
        status = 200 if key_text else 422
    context = send_context(request, form, key_text, is_first_run=is_first_run)
    return render(request, "traces/send.html", context, status=status)


def send_context(request: ProjectRequest, form: IngestKeyForm, key_text: str, *, is_first_run: bool) -> dict[str, Any]:
    project = request.project
    endpoint = request.build_absolute_uri("/").rstrip("/")
    shown = request.GET.get("sdk", "")
    known = {snippet.key for snippet in snippets.SNIPPETS}
    texts = [
        {"snippet": snippet, "text": snippet.filled(endpoint=endpoint, key=key_text or snippets.PLACEHOLDER)}
        for snippet in snippets.SNIPPETS
    ]
    seen = list_queries.arrival_mark(project)
    return {
        "endpoint": endpoint,
        "texts": texts,
        "chosen": shown if shown in known else snippets.SNIPPETS[0].key,
        "form": form,
        "key_text": key_text,
        "may_make_key": request.role == Role.ADMIN,
        "keyless_project": "" if settings.LOGIN_REQUIRED else DEFAULT_PROJECT,
        "is_first_run": is_first_run,
        "is_empty": seen == 0,
        "since": seen,
        "arrival": list_queries.Arrival(0, "", None, seen == 0),
        "listen_url": reverse("traces:send", args=[project.slug]),
        "import_url": import_url(project.slug),
        "demo": next((other for other in visible_projects(request.user) if other.slug == DEMO_PROJECT), None),
    }


def import_url(slug: str) -> str:
    """Return the address that takes an uploaded file, or an empty text in an installation without it."""
    try:
        return reverse("evals:import_traces", args=[slug])
    except NoReverseMatch:
        return ""


def listen(request: ProjectRequest) -> HttpResponse:
    """Answer the panel: opens the first trace of a project; afterwards says what came, and leaves the page alone."""
    text = request.GET.get("since", "0")
    since = int(text) if text.isdecimal() and len(text) < 19 else 0
    arrival = list_queries.arrivals(request.project, since=since)
    if arrival.count and since == 0:
        return HttpResponseClientRedirect(reverse("traces:trace", args=[request.project.slug, arrival.trace_id]))
    context = {
        "arrival": arrival,
        "since": since,
        "is_empty": arrival.is_empty,
        "endpoint": request.build_absolute_uri("/").rstrip("/"),
        "listen_url": reverse("traces:send", args=[request.project.slug]),
    }
    return render(request, "traces/_listen.html", context)


@require_GET
@never_cache
@project_page()
def first_trace(request: ProjectRequest) -> HttpResponse:
    """Give a small trace to send with curl, dated now."""
    answer = JsonResponse(snippets.first_trace(), json_dumps_params={"indent": 2})
    answer["Content-Disposition"] = 'attachment; filename="first-trace.json"'
    return answer
