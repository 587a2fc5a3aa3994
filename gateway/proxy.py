"""The recording proxy: a request goes to the model's provider as it is, the answer comes back as it is, and a trace is kept of both.

Whatever is wrong with recording never reaches the caller: see `gateway.recorder`.
"""

import errno
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from accounts.access import ApiError, ProjectRequest
from accounts.models import Project
from gateway import completions, responses
from gateway.attribution import read_attribution
from gateway.exchange import (
    BROKE_OFF,
    CHAT,
    CLIENT_LEFT,
    RESPONSES,
    Exchange,
    new_span_id,
    new_trace_id,
)
from gateway.recorder import Finished, current_recorder
from providers.completions import error_field, error_text, first_line
from providers.forwarding import Forwarded, ForwardingError, forward
from providers.registry import Resolved, UnknownModel, is_scripted, resolve
from traces.api import read_body

log = logging.getLogger(__name__)
MAX_KEPT = 32 * 1024 * 1024  # bytes of an answer that are recorded; all of it is passed on
MAX_REFUSAL = 256 * 1024  # bytes of an answer that is read before it is passed on, to tell what was refused
KNOWN_S = 5.0  # how long a provider's settings are taken as read
MAX_KNOWN = 1_000
known: dict[tuple[int, str], tuple[float, Resolved]] = {}  # by project and model
NO_RESPONSES = (
    "has no Responses API: it answered 404 on /responses. Send the request to /v1/chat/completions; in the OpenAI Agents SDK call "
    'set_default_openai_api("chat_completions").'
)


class AnswerBody:
    """The chunks of an answer on their way to the client; what has passed is kept for the trace, and told when it ends."""

    def __init__(
        self,
        exchange: Exchange,
        chunks: Iterator[bytes],
        done: Callable[[], None],
        close: Callable[[], None] | None = None,
    ) -> None:
        self.exchange, self.chunks, self.done, self.close_source = exchange, chunks, done, close
        self.has_ended = False

    def __iter__(self) -> "AnswerBody":
        return self

    def __next__(self) -> bytes:
        exchange = self.exchange
        try:
            chunk = next(self.chunks)
        except StopIteration:
            self.end()
            raise
        except ForwardingError as error:
            exchange.ending, exchange.problem = BROKE_OFF, str(error)
            exchange.may_be_charged = True
            self.end()
            # The client's connection breaks off in its turn, without a traceback in the log.
            raise ConnectionResetError(errno.ECONNRESET, str(error)) from None
        if exchange.first_ns is None:
            exchange.first_ns = time.time_ns()
        if exchange.size + len(chunk) <= MAX_KEPT:
            exchange.parts.append(chunk)
            exchange.size += len(chunk)
        else:
            exchange.is_cut = True
        return chunk

    def close(self) -> None:
        """End where the server closes the answer: the client is gone, unless the last chunk has passed."""
        if not self.has_ended:
            self.exchange.ending = CLIENT_LEFT
            self.end()

    def end(self) -> None:
        if self.has_ended:
            return
        self.has_ended = True
        self.exchange.end_ns = time.time_ns()
        if self.close_source is not None:
            self.close_source()
        self.done()


def answer(request: ProjectRequest, path: str) -> HttpResponseBase:
    """Answer a request to the proxy. Raises ApiError for one that cannot be sent anywhere."""
    raw = read_body(request, settings.INGEST_MAX_BYTES)
    body = read_request(raw)
    model = body["model"]
    headers = {name.lower(): value for name, value in request.headers.items()}
    wants_no_record = headers.get("x-markbook-record", "").strip().lower() in ("off", "no", "false", "0")
    is_kept = not request.is_internal and not wants_no_record
    if is_scripted(model):
        return answer_scripted(request, path, raw, body, headers, is_kept=is_kept)
    resolved = find_provider(request.project, model)
    exchange = new_exchange(path, body, headers, model, resolved)
    exchange.sent_size = len(raw)
    return answer_forwarded(request, exchange, raw, headers, resolved, is_kept=is_kept)


def find_provider(project: Project, model: str) -> Resolved:
    """Return where a model is asked; what was read lately is taken as still so. Raises ApiError."""
    place = (project.pk, model)
    read_at, resolved = known.get(place, (0.0, None))
    if resolved is not None and time.monotonic() - read_at < KNOWN_S:
        return resolved
    try:
        resolved = resolve(project, model)
    except UnknownModel as error:
        raise ApiError(404, str(error), param="model", code="model_not_found") from None
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[place] = (time.monotonic(), resolved)
    return resolved


def read_request(raw: bytes) -> dict[str, Any]:
    """Return a request's body. Only what is needed to send it on is checked: the rest is the provider's. Raises ApiError."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:  # numbers beyond 64 bits, NaN: the provider may take what a stricter reader does not
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise ApiError(400, f"The body is not JSON: {said}.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model.strip() or "\0" in model:
        raise ApiError(400, "`model` is missing: name a model, for example demo/careful.", param="model")
    return body


def new_exchange(
    path: str, body: dict[str, Any], headers: dict[str, str], model: str, resolved: Resolved | None
) -> Exchange:
    """Return the record of a call that begins now."""
    who = read_attribution(headers, body)
    return Exchange(
        path=path,
        request=body,
        attribution=who,
        model=model,
        provider=resolved.provider_name if resolved else "scripted",
        start_ns=time.time_ns(),
        trace_id=who.trace_id or new_trace_id(),
        span_id=new_span_id(),
        secret=resolved.api_key if resolved else "",
    )


# To a provider ---------------------------------------------------------------------------------------------------


def answer_forwarded(
    request: ProjectRequest,
    exchange: Exchange,
    raw: bytes,
    headers: dict[str, str],
    resolved: Resolved,
    *,
    is_kept: bool,
) -> HttpResponseBase:
    """Send a request on and pass the answer back."""
    done = book(request, exchange, is_kept=is_kept)
    try:
        forwarded = forward(resolved, exchange.path, raw, headers)
    except ForwardingError as error:
        exchange.end_ns, exchange.problem, exchange.may_be_charged = time.time_ns(), str(error), error.may_be_charged
        done()
        raise ApiError(error.status, str(error), code=error.code) from None
    except BaseException as error:
        exchange.end_ns, exchange.problem = time.time_ns(), f"Broke off: {type(error).__name__}."
        exchange.may_be_charged = True
        done()
        raise
    exchange.status = forwarded.status
    passed = forwarded.headers()
    kept = {name.lower(): value for name, value in passed}
    exchange.request_id = kept.get("x-request-id", "")[:200]
    exchange.encoding = kept.get("content-encoding", "")
    exchange.is_stream = kept.get("content-type", "").lower().startswith("text/event-stream")
    if forwarded.status >= 400:
        return refused(exchange, forwarded, passed, resolved, done)
    response = StreamingHttpResponse(
        AnswerBody(exchange, forwarded.chunks(), done, forwarded.close), status=forwarded.status
    )
    return with_headers(response, passed, exchange, is_kept=is_kept)


def refused(
    exchange: Exchange,
    forwarded: Forwarded,
    passed: list[tuple[str, str]],
    resolved: Resolved,
    done: Callable[[], None],
) -> HttpResponseBase:
    """Pass a provider's refusal on as it is, but for the provider's key where it repeats that."""
    try:
        content = forwarded.read(MAX_REFUSAL)
    except ForwardingError as error:
        exchange.problem = str(error)
        content = b""
    finally:
        forwarded.close()
    if len(resolved.api_key) >= 4:
        content = content.replace(resolved.api_key.encode(), b"[key]")
    keep_whole(exchange, content)
    done()
    if exchange.path == RESPONSES and exchange.status == 404 and not names_what_is_missing(content):
        said = error_text(as_json(content)) or first_line(content)
        raise ApiError(
            404,
            f'Provider "{resolved.provider_name}" {NO_RESPONSES} It said: {said}',
            code="responses_not_supported",
        )
    response = HttpResponse(content, status=exchange.status)
    passed = [(name, value) for name, value in passed if name.lower() != "content-length"]
    return with_headers(response, [*passed, ("Content-Length", str(len(content)))], exchange, is_kept=True)


def keep_whole(exchange: Exchange, content: bytes) -> None:
    """Note an answer that is there in one piece."""
    exchange.first_ns = exchange.end_ns = time.time_ns()
    exchange.parts, exchange.size = [content], len(content)


def names_what_is_missing(content: bytes) -> bool:
    """Say whether a 404 is about a model or a response, and not about the path."""
    body = as_json(content)
    code, param = error_field(body, "code"), error_field(body, "param")
    if code and code not in ("unknown_url", "not_found", "404"):
        return True
    text = error_text(body).lower()
    return bool(param) or ("model" in text and "url" not in text and "path" not in text)


def as_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def with_headers(
    response: HttpResponseBase, passed: list[tuple[str, str]], exchange: Exchange, *, is_kept: bool
) -> HttpResponseBase:
    """Put the provider's headers on the answer; several of one name are joined."""
    del response["Content-Type"]
    for name, value in passed:
        if "\n" in value or "\r" in value:
            continue
        response[name] = f"{response[name]}, {value}" if name in response else value
    if "Content-Encoding" not in response:
        response["Content-Encoding"] = "identity"  # our own compression would hold chunks back
    if is_kept:
        response["X-Markbook-Trace-Id"] = exchange.trace_id
    return response


# To a scripted model ---------------------------------------------------------------------------------------------


def answer_scripted(
    request: ProjectRequest, path: str, raw: bytes, body: dict[str, Any], headers: dict[str, str], *, is_kept: bool
) -> HttpResponseBase:
    """Answer for a scripted model, in this process. Raises ApiError."""
    try:
        if path == RESPONSES:
            chat = completions.read_request(json.dumps(responses.to_chat(body)).encode())
        else:
            chat = completions.read_request(raw)
        exchange = new_exchange(path, body, headers, body["model"], None)
        exchange.sent_size = len(raw)
        completion = completions.complete(chat)
    except completions.RequestError as error:
        raise ApiError(error.status, str(error), param=error.param, code=error.code) from None
    done = book(request, exchange, is_kept=is_kept)
    time.sleep(completion.delay_s)
    answered = responses.to_response(body, completion.body) if path == RESPONSES else completion.body
    exchange.status, exchange.is_stream = 200, bool(body.get("stream"))
    response: HttpResponseBase
    if exchange.is_stream:
        texts = (
            responses.stream(answered)
            if path == RESPONSES
            else completions.stream(answered, include_usage=completions.wants_usage(chat))
        )
        response = StreamingHttpResponse(AnswerBody(exchange, (text.encode() for text in texts), done))
        passed = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")]
    else:
        content = json.dumps(answered).encode()
        keep_whole(exchange, content)
        done()
        response = HttpResponse(content)
        passed = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    return with_headers(response, passed, exchange, is_kept=is_kept)


def book(request: ProjectRequest, exchange: Exchange, *, is_kept: bool) -> Callable[[], None]:
    """Put a call on the books and return what tells its end. Nothing that goes wrong there may reach the caller.

    The calls of our own runner are in the book already.
    """
    if request.is_internal:
        return lambda: None
    project_pk = request.project.pk
    try:
        booking = current_recorder().book(exchange, project_pk, keeps_trace=is_kept)
    except Exception:
        log.exception("Proxy: a call could not be put on the books.")
        return lambda: None

    def done() -> None:
        try:
            current_recorder().put(Finished(exchange, project_pk, booking, is_kept))
        except Exception:
            log.exception("Proxy: a call could not be handed to the recorder.")

    return done


__all__ = ["CHAT", "RESPONSES", "AnswerBody", "answer"]
