"""What every endpoint shares: key and method, reading a body of up to 100 MB, and errors in the OpenAI form."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponseBase
from django.http.request import UnreadablePostError

from accounts.access import ApiError, ProjectRequest, api_view
from evals.graders.base import BadConfig
from evals.openai_api.reading import BadRequest
from evals.services import BadComparison

P = ParamSpec("P")
MAX_BODY = 128 * 1024 * 1024
PIECE = 1024 * 1024


def endpoint(
    *methods: str,
) -> Callable[[Callable[Concatenate[ProjectRequest, P], HttpResponseBase]], Callable[..., HttpResponseBase]]:
    """Decorate an endpoint of /v1: checks method and key, and answers what is wrong in a request with 400 and its place."""

    def decorate(view: Callable[Concatenate[ProjectRequest, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
        @api_view(methods=methods)
        @wraps(view)
        def wrapper(request: ProjectRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                return view(request, *args, **kwargs)
            except BadRequest as error:
                raise ApiError(400, str(error), param=error.param, code=error.code) from None
            except (BadConfig, BadComparison) as error:
                raise ApiError(400, str(error), param=error.param or None) from None

        return wrapper

    return decorate


def read_body(request: HttpRequest) -> bytes:
    """Return the bytes of a body. Raises ApiError 413 beyond MAX_BODY."""
    too_large = ApiError(413, f"The body is too large: at most {MAX_BODY // 1024 // 1024} MB are taken.")
    length = request.headers.get("Content-Length", "")
    if length.isascii() and length.isdecimal() and int(length[:18]) > MAX_BODY:
        raise too_large
    pieces, size = [], 0
    try:
        while piece := request.read(PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BODY:
                raise too_large
    except (UnreadablePostError, OSError):
        raise ApiError(400, "The body broke off before its end.") from None
    return b"".join(pieces)


def read_json(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object of a body; an empty body is an empty object. Raises ApiError or BadRequest."""
    raw = read_body(request)
    if not raw.strip():
        return {}
    try:
        value = json.loads(raw, parse_constant=refuse)
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
