"""Login for every page, unless it is switched off; open views are marked one by one with `open_view`."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url

OPEN_NAMESPACES = {"pages"}


def open_view(view: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a view as open to people who have not signed in."""
    view.is_open = True  # type: ignore[attr-defined]
    return view


class login_required:  # noqa: N801  named as the middleware functions beside it
    """Send a person who has not signed in to the sign-in page. Programs (`api_view`) are checked by their key."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> HttpResponse | None:
        match = request.resolver_match
        is_open = getattr(view, "is_open", False) or getattr(view, "is_api", False)
        if not settings.LOGIN_REQUIRED or request.user.is_authenticated or is_open:
            return None
        if match is not None and match.namespace in OPEN_NAMESPACES:
            return None
        return redirect(f"{resolve_url(settings.LOGIN_URL)}?next={quote(request.get_full_path())}")
