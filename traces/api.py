"""What programs call: OTLP/HTTP in, the read API out. Rules: docs/api.md, and OTLP's own for status codes and retries.

An answer of 200 to an ingest request follows the commit, and a commit is on disk.
"""

import logging
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, RawPostDataException, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from google.protobuf.message import Message as ProtoMessage
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from accounts.access import DEFAULT_PROJECT, ApiError, Caller, ProjectRequest, api_view, authenticate
from accounts.models import Project, Scope
from traces.agents_sdk import decode_agents
from traces.intake import Busy, receive
from traces.list_queries import CursorError, trace_page
from traces.models import Trace
from traces.otlp import JSON_TYPES, PROTOBUF_TYPES, DecodeError
from traces.queries import trace_document, trace_summary
from traces.responses import ingest_agents
from traces.search import QueryError

log = logging.getLogger(__name__)
PROTOBUF = "application/x-protobuf"
AT_ONCE = 4 * 1024 * 1024  # bytes
MAX_LIMIT = 500
MAX_REASONS = 20
# google.rpc.Code by HTTP status
RPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 411: 3, 413: 8, 415: 3, 429: 8, 503: 14}


# OTLP in ---------------------------------------------------------------------------------------------------------


def otlp_view(receive: Callable[[Project, bytes, str], ProtoMessage]) -> Callable[..., HttpResponse]:
    """Make an OTLP endpoint of a function from project, body and content type to the answer's message."""

    @csrf_exempt  # programs send keys, not cookies
    def view(request: HttpRequest) -> HttpResponse:
        try:
            if request.method != "POST":
                raise ApiError(405, f"{request.method} is not allowed here; use POST.")
            caller = sending_caller(request)
            has_body = (
                request.headers.get("Content-Length") not in (None, "", "0") or "Transfer-Encoding" in request.headers
            )
            if request_type(request) is None and (request.content_type or has_body):
                raise ApiError(
                    415,
                    f"The content type {request.content_type!r} is not taken here; send {PROTOBUF} or application/json.",
                )
            body = read_body(request, settings.INGEST_MAX_BYTES)
            # No byte at all is an empty request in protobuf, whatever is said of it.
            return otlp_answer(
                request, receive(caller.project, body, (request.content_type or "") if body else PROTOBUF)
            )
        except ApiError as error:
            return otlp_error(request, error.status, error.message)
        except DecodeError as error:
            return otlp_error(request, 400, str(error))
        except (Busy, OperationalError, InterfaceError) as error:
            log.warning("Ingest: the database could not take a batch: %s", error)
            return otlp_error(
                request, 503, "The database cannot take the batch now (busy, full or away); send it again."
            )

    view.is_api = True  # type: ignore[attr-defined]  # read by accounts.middleware.login_required
    return view


def receive_traces(project: Project, body: bytes, content_type: str) -> ProtoMessage:
    """Keep the spans of a request. Raises DecodeError, Busy."""
    rejected = receive("spans", project, body, content_type)
    answer = ExportTraceServiceResponse()
    if rejected:
        answer.partial_success.rejected_spans = len(rejected)
        answer.partial_success.error_message = reasons(rejected)
    return answer


def receive_logs(project: Project, body: bytes, content_type: str) -> ProtoMessage:
    """Keep the log records of a request that belong to spans. Raises DecodeError, Busy."""
    rejected = receive("logs", project, body, content_type)
    answer = ExportLogsServiceResponse()
    if rejected:
        answer.partial_success.rejected_log_records = len(rejected)
        answer.partial_success.error_message = reasons(rejected)
    return answer


def receive_metrics(project: Project, body: bytes, content_type: str) -> ProtoMessage:
    """Answer success: metrics are not kept, and an exporter that sends them should not fail."""
    return ExportMetricsServiceResponse()


def reasons(rejected: list[str]) -> str:
    """Return why items were refused, the first few of them."""
    shown = "; ".join(rejected[:MAX_REASONS])
    return shown if len(rejected) <= MAX_REASONS else f"{shown}; and {len(rejected) - MAX_REASONS} more"


def sending_caller(request: HttpRequest) -> Caller:
    """Return who sends. With login off, the project `default` is made when something is first sent to it. Raises ApiError."""
    try:
        return authenticate(request, Scope.INGEST)
    except ApiError as error:
        named = request.GET.get("project") or request.headers.get("X-Markbook-Project") or DEFAULT_PROJECT
        if error.status != 404 or settings.LOGIN_REQUIRED or named != DEFAULT_PROJECT:
            raise
        Project.objects.get_or_create(slug=DEFAULT_PROJECT, defaults={"name": "Default"})
        return authenticate(request, Scope.INGEST)


def request_type(request: HttpRequest) -> str | None:
    """Return the form of a request, protobuf or JSON, as an answer's content type; None for any other."""
    name = (request.content_type or "").strip().lower()
    if name in PROTOBUF_TYPES:
        return PROTOBUF
    return "application/json" if name in JSON_TYPES else None


def otlp_answer(request: HttpRequest, message: ProtoMessage) -> HttpResponse:
    """Return a message in the form of the request."""
    if request_type(request) != "application/json":
        return HttpResponse(message.SerializeToString(), content_type=PROTOBUF)
    return json_response(json_message(message))


def json_message(message: ProtoMessage) -> dict[str, Any]:
    """Return an answer as proto3 JSON: 64-bit numbers as text."""
    partial = getattr(message, "partial_success", None)
    if partial is None or not message.HasField("partial_success"):
        return {}
    names = {"rejected_spans": "rejectedSpans", "rejected_log_records": "rejectedLogRecords"}
    found = {camel: str(getattr(partial, name)) for name, camel in names.items() if hasattr(partial, name)}
    return {"partialSuccess": {**found, "errorMessage": partial.error_message}}


def otlp_error(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """Return a google.rpc.Status in the form of the request; JSON where it has neither."""
    code = RPC_CODES.get(status, 2)
    if request_type(request) == PROTOBUF:
        response = HttpResponse(rpc_status(code, message), content_type=PROTOBUF, status=status)
    else:
        response = json_response({"code": code, "message": message}, status=status)
    if status in (429, 503):
        response["Retry-After"] = "2"
    if status == 405:
        response["Allow"] = "POST"
    return response


def rpc_status(code: int, message: str) -> bytes:
    """Return a google.rpc.Status as protobuf: the code is field 1, the message field 2."""
    text = message.encode("utf-8", "replace")
    size, rest = b"", len(text)
    while rest > 127:
        size += bytes([rest & 127 | 128])
        rest >>= 7
    return bytes([0x08, code, 0x12]) + size + bytes([rest]) + text


# Bodies ----------------------------------------------------------------------------------------------------------


def read_body(request: HttpRequest, limit: int) -> bytes:
    """Return the body of a request, unpacked. Raises ApiError: 413 beyond the limit, 400 where it cannot be unpacked or read."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise ApiError(415, f"The content encoding {encoding!r} is not taken here; send gzip, deflate or none.")
    if int(request.headers.get("Content-Length") or 0) > limit:
        raise too_large(limit)
    parts = read_parts(request, limit)
    if encoding in ("", "identity"):
        return b"".join(parts)
    return unpack(parts, encoding, limit)


def read_parts(request: HttpRequest, limit: int) -> Iterator[bytes]:
    """Give the body as it comes, with or without a length. Raises ApiError."""
    stream: Any = request
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower() and not request.headers.get("Content-Length"):
        if not request.META.get("wsgi.input_terminated"):
            raise ApiError(411, "This server takes no body without a length; send Content-Length.")
        stream = request.META["wsgi.input"]
    size = 0
    while True:
        try:
            part = stream.read(AT_ONCE)
        except (OSError, ValueError, UnreadablePostError, RawPostDataException) as error:
            raise ApiError(400, f"The body broke off after {size:,} bytes: {error}.") from None
        if not part:
            return
        size += len(part)
        if size > limit:
            raise too_large(limit)
        yield part


def unpack(parts: Iterator[bytes], encoding: str, limit: int) -> bytes:
    """Unpack gzip (one member or more) or deflate (with or without its zlib header), never beyond the limit. Raises ApiError."""
    unpacked, size, rest, count = [], 0, b"", 0
    reader: Any = None
    for part in parts:
        rest += part
        while rest:
            if reader is None:
                if count and not rest.strip(b"\0"):
                    rest = b""  # padding after the last member
                    break
                if encoding == "deflate":
                    has_header = rest[0] & 0x0F == 8 and (len(rest) < 2 or (rest[0] * 256 + rest[1]) % 31 == 0)
                    reader = zlib.decompressobj(15 if has_header else -15)
                else:
                    reader = zlib.decompressobj(31)
            try:
                piece = reader.decompress(rest, limit - size + 1)
            except zlib.error as error:
                raise ApiError(400, f"The body is not {encoding}: {error}.") from None
            size += len(piece)
            if size > limit:
                raise too_large(limit)
            unpacked.append(piece)
            if reader.eof:
                rest, reader, count = reader.unused_data, None, count + 1
            else:
                rest = reader.unconsumed_tail
    if reader is not None:
        raise ApiError(400, f"The {encoding} body is not complete.")
    return b"".join(unpacked)


def too_large(limit: int) -> ApiError:
    return ApiError(
        413, f"The body is larger than {limit // 1024**2} MiB; send smaller batches, or raise MARKBOOK_INGEST_MAX_MB."
    )


otlp_traces = otlp_view(receive_traces)
otlp_logs = otlp_view(receive_logs)
otlp_metrics = otlp_view(receive_metrics)


# The OpenAI Agents SDK in ------------------------------------------------------------------------------------------


@csrf_exempt  # programs send keys, not cookies
def agents_ingest(request: HttpRequest) -> HttpResponse:
    """POST /v1/traces/ingest: what the SDK's own exporter sends. What is valid is kept; the answer says what was not."""
    try:
        if request.method != "POST":
            raise ApiError(405, f"{request.method} is not allowed here; use POST.")
        caller = sending_caller(request)
        decoded = decode_agents(read_body(request, settings.INGEST_MAX_BYTES))
        result = ingest_agents(caller.project, decoded)
    except ApiError as error:
        return error.response()
    except DecodeError as error:
        return ApiError(400, str(error)).response()
    except (OperationalError, InterfaceError) as error:
        log.warning("Ingest: the database could not take a batch: %s", error)
        return ApiError(503, "The database cannot take the batch now (busy, full or away); send it again.").response()
    rejected = [*decoded.rejected, *result.rejected]
    if rejected:
        log.warning("Agents SDK: %s items were not kept: %s", len(rejected), reasons(rejected))
    return json_response({"accepted": result.accepted, "rejected": rejected[:MAX_REASONS]})


agents_ingest.is_api = True  # type: ignore[attr-defined]  # read by accounts.middleware.login_required


# The read API ----------------------------------------------------------------------------------------------------


def json_response(value: Any, *, status: int = 200) -> HttpResponse:
    """Return JSON."""
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return HttpResponse(body, content_type="application/json", status=status)


@api_view()
def trace_list(request: ProjectRequest) -> HttpResponse:
    """GET /api/traces: summaries, newest first. `q` as in the list's query field, `limit`, `cursor`, `sort`."""
    text = request.GET.get("limit", "50")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_LIMIT):
        raise ApiError(400, f"limit={text[:40]!r} is not a whole number from 1 to {MAX_LIMIT}.", param="limit")
    sort = request.GET.get("sort", "-started")
    try:
        page = trace_page(
            request.project, request.GET.get("q", ""), sort=sort, after=request.GET.get("cursor", ""), limit=int(text)
        )
    except QueryError as error:
        raise ApiError(400, str(error), param="q") from None
    except CursorError as error:
        raise ApiError(400, str(error), param="cursor") from None
    for trace in page.rows:
        trace.project = request.project
    return json_response({"data": [trace_summary(trace) for trace in page.rows], "next_cursor": page.next_key or None})


@api_view()
def trace_detail(request: ProjectRequest, trace_id: str) -> HttpResponse:
    """GET /api/traces/{trace_id}: the whole trace."""
    traces = Trace.objects.filter(project=request.project)
    trace = None
    if "\0" not in trace_id:
        trace = traces.filter(trace_id=trace_id).first() or traces.filter(trace_id=trace_id.lower()).first()
    if trace is None:
        raise ApiError(
            404, f"There is no trace {trace_id[:128]!r} in the project {request.project.slug!r}.", param="trace_id"
        )
    trace.project = request.project
    return json_response(trace_document(trace))
