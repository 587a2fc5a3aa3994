"""Answers when something is wrong: a page in the product's look, JSON for programs, never a stack trace."""

import errno
import sys
from typing import Any

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.encoding import escape_uri_path

RETRY_AFTER_S = "5"
# What SQLite says when nothing is wrong with the query; from PostgreSQL an OperationalError always means trouble outside.
SQLITE_TROUBLE = (
    "database is locked",
    "disk is full",
    "disk I/O error",
    "unable to open database file",
    "readonly database",
)


def is_program(request: HttpRequest) -> bool:
    """Say whether the caller reads JSON: an address of the API."""
    return request.path.startswith(("/v1/", "/api/", "/otel/"))


def answer(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    if is_program(request):
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": f"{title}. {text}".replace("..", "."), "type": kind, "param": None, "code": None}
        return JsonResponse({"error": error}, status=status)
    return render(request, "pages/error.html", {"status": status, "title": title, "text": text}, status=status)


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    # The Host header may be what is wrong, and the exception's text may repeat what was sent: neither is shown.
    return answer(
        request, 400, "This request cannot be read", "Open the page again from its own address and try once more."
    )


def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    text = str(exception) if exception and str(exception) else "Your role in this project does not allow it."
    return answer(request, 403, "You may not do this", text)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form whose token does not fit: an old tab, cookies switched off, or a page of another site."""
    text = "The form was too old or came from another site. Go back, reload the page and send it again; nothing was changed."
    return answer(request, 403, "The form was not accepted", text)


def without_slash(request: HttpRequest) -> str:
    """Return the address of the page that a trailing slash was put to, query and all; empty where there is none such."""
    path = request.path.rstrip("/")
    if request.method not in ("GET", "HEAD") or path == request.path or not path.startswith("/p/"):
        return ""
    try:
        resolve(path)
    except Resolver404:
        return ""
    query = request.META.get("QUERY_STRING", "")
    return escape_uri_path(path) + (f"?{query}" if query else "")


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    page = without_slash(request)
    if page:
        return HttpResponseRedirect(page)
    said = str(exception) if exception and exception.args and isinstance(exception.args[0], str) else ""
    text = (
        said or "The address is wrong, or what was here is gone, or it belongs to a project that is not yours to see."
    )
    return answer(request, 404, "There is nothing here", text)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 when the database is out of reach or the disk is full, else 500. The log has the traceback."""
    problem = sys.exc_info()[1]
    if is_trouble(problem):
        title = "The database cannot be reached now"
        if is_full(problem):
            title = "The disk of the server is full"
        response = answer(request, 503, title, "Nothing was changed. Try again in a moment.")
        response["Retry-After"] = RETRY_AFTER_S
        return response
    return answer(
        request,
        500,
        "Something broke on the server",
        "The server's log says what. Nothing half-done was kept; try again.",
    )


def is_full(problem: BaseException | None) -> bool:
    """Say whether an error means a full disk."""
    return (isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)) or (
        isinstance(problem, OperationalError) and ("is full" in str(problem) or "No space left" in str(problem))
    )


def is_trouble(problem: BaseException | None) -> bool:
    """Say whether an error comes from outside and will pass, so that the caller should send again."""
    if is_full(problem):
        return True
    if not isinstance(problem, OperationalError):
        return False
    cause = problem.__cause__
    return type(cause).__module__.startswith("psycopg") or any(text in str(problem) for text in SQLITE_TROUBLE)
