"""Health for load balancers, the theme cookie, and the page of patterns."""

from datetime import timedelta

from django import forms
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """Say that the process is alive."""
    return JsonResponse({"status": "ok"})


@require_GET
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether the database (and Redis, where one is set) can be reached: 200, or 503 naming what cannot."""
    problems = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        problems.append("database")
    if settings.REDIS_URL:
        import redis

        try:
            redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2).ping()
        except redis.RedisError:
            problems.append("redis")
    return JsonResponse(
        {"status": "ok" if not problems else "unreachable", "problems": problems}, status=503 if problems else 200
    )


@require_GET
def favicon(request: HttpRequest) -> HttpResponse:
    """Send browsers that ask for the old name to the icon."""
    return redirect(static("icon.svg"))


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Keep the chosen theme (light, dark, or system) in a cookie, so that the server writes it into the page."""
    theme = request.POST.get("theme", "")
    response = HttpResponse(status=204)
    if theme in ("light", "dark"):
        response.set_cookie("theme", theme, max_age=365 * 86400, samesite="Lax")
    else:
        response.delete_cookie("theme")
    return response


class PatternsForm(forms.Form):
    """One field of each kind, for the page of patterns."""

    name = forms.CharField(help_text="A hint says what is expected.")
    endpoint = forms.URLField(
        error_messages={"invalid": "This is not a web address. It should start with https://"}, assume_scheme="https"
    )
    role = forms.ChoiceField(choices=[("a", "Viewer"), ("b", "Admin")])
    note = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False)


@require_GET
def patterns(request: HttpRequest) -> HttpResponse:
    """Show every component in every state; for debugging only."""
    if not settings.DEBUG:
        raise Http404("The page of patterns is there with MARKBOOK_DEBUG=on only.")
    context = {
        "form": PatternsForm({"name": "Markbook", "endpoint": "http//markbook", "role": "a"}),
        "statuses": ["ok", "error", "warn", "run", "wait", "unset"],
        "skeletons": [260, 200, 310],
        "moment": timezone.now() - timedelta(hours=3),
        "difference": -0.22,
    }
    return render(request, "pages/patterns.html", context)
