"""Login for every page, unless it is switched off; open views are marked one by one with `open_view`. The last project."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django_htmx.http import HttpResponseClientRedirect

OPEN_NAMESPACES = {"pages"}
LAST_PROJECT = "project"


def open_view(view: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a view as open to people who have not signed in."""
    view.is_open = True  # type: ignore[attr-defined]
    return view


class login_required:
    """Send a person who has not signed in to the sign-in page. Programs (`api_view`) are checked by their key."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        match = request.resolver_match
        is_open = getattr(view, "is_open", False) or getattr(view, "is_api", False)
        if not settings.LOGIN_REQUIRED or request.user.is_authenticated or is_open:
            return None
        if match is not None and match.namespace in OPEN_NAMESPACES:
            return None
        if request.headers.get("HX-Request") == "true":
            # A fragment's address is no page: come back to the page that asked for it.
            page = urlsplit(request.headers.get("HX-Current-URL", ""))
            back = page._replace(scheme="", netloc="").geturl() or "/"
            return HttpResponseClientRedirect(f"{resolve_url(settings.LOGIN_URL)}?next={quote(back)}")
        return redirect(f"{resolve_url(settings.LOGIN_URL)}?next={quote(request.get_full_path())}")


def remember_project(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Keep the project of the last page in a cookie, so that `/` goes back to it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        project = getattr(request, "project", None)
        is_page = request.path.startswith("/p/") and response.status_code == 200
        if project is not None and is_page and request.COOKIES.get(LAST_PROJECT) != project.slug:
            response.set_cookie(LAST_PROJECT, project.slug, max_age=365 * 86400, samesite="Lax", httponly=True)
        return response

    return middleware
