"""Middleware for every page: the content security policy, and `request.wants_partial`; and an id for every request of a program."""

import secrets
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

GetResponse = Callable[[HttpRequest], HttpResponse]

# The hash is that of the empty style element, which plotly adds for its mode bar.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src-elem 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
        "style-src-attr 'unsafe-inline'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "manifest-src 'self'",
    ]
)


def content_security_policy(get_response: GetResponse) -> GetResponse:
    """Send the policy of the design system with every answer."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def request_id(get_response: GetResponse) -> GetResponse:
    """Answer every request to /v1 with an id, as clients show it beside an error."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.path.startswith("/v1/"):
            response.headers.setdefault("x-request-id", f"req_{secrets.token_hex(16)}")
        return response

    return middleware


def wants_partial(get_response: GetResponse) -> GetResponse:
    """Set `request.wants_partial`: an htmx request that is neither boosted nor a history restore."""

    def middleware(request: HttpRequest) -> HttpResponse:
        htmx = request.htmx  # type: ignore[attr-defined]
        request.wants_partial = bool(htmx) and not htmx.boosted and not htmx.history_restore_request  # type: ignore[attr-defined]
        response = get_response(request)
        response.headers.setdefault("Vary", "HX-Request")
        return response

    return middleware
