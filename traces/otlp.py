"""Decode OTLP requests, traces and logs, protobuf and JSON, into records. Pure.

JSON is OTLP/JSON (ids in hex) or plain proto3 JSON (ids in base64, enums by name). A body that cannot be decoded raises
DecodeError; one bad span or record in a good body is reported with its place, and the rest is kept.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson
from google.protobuf.message import DecodeError as ProtobufError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from traces.conventions import normalise
from traces.conventions.logs import apply_logs
from traces.conventions.raw import MAX_DEPTH, LogItem, RawSpan
from traces.protobuf_repair import repair_text
from traces.spans import SpanRecord

__all__ = ["DecodeError", "Decoded", "DecodedLogs", "LogItem", "apply_logs", "decode_logs", "decode_traces"]

JSON_TYPES = ("application/json", "text/json")
PROTOBUF_TYPES = ("application/x-protobuf", "application/protobuf", "application/octet-stream")
MAX_NS = 2**63 - 1
NO_TRACE, NO_SPAN = bytes(16), bytes(8)
STATUS_BY_NAME = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
SPAN_KINDS = ("", "internal", "server", "client", "producer", "consumer")


class DecodeError(ValueError):
    """The body is not what its content type says. The text says what is wrong and where."""


class BadItem(ValueError):
    """One span or log record that cannot be kept. The text says why."""


@dataclass
class Decoded:
    """Spans of a request, and the ones that could not be kept, each with place and reason."""

    records: list[SpanRecord] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


@dataclass
class DecodedLogs:
    """Log records of a request that belong to a span, and the ones that could not be kept, each with place and reason."""

    logs: list[LogItem] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


def decode_traces(body: bytes, content_type: str) -> Decoded:
    """Decode a trace request. Raises DecodeError for a body that cannot be decoded."""
    return keep_spans(proto_spans(body)) if is_protobuf(content_type) else decode_trace_document(read_json(body))


def decode_trace_document(document: dict[str, Any]) -> Decoded:
    """Decode a trace request that is parsed JSON already. Raises DecodeError."""
    return keep_spans(json_spans(document))


def keep_spans(spans: Iterator[tuple[str, Callable[[], RawSpan]]]) -> Decoded:
    """Read spans one by one, and put the ones that cannot be kept aside."""
    decoded = Decoded()
    for place, read in spans:
        try:
            decoded.records.append(normalise(read()))
        except BadItem as error:
            decoded.rejected.append(f"{place}: {error}")
    return decoded


def decode_logs(body: bytes, content_type: str) -> DecodedLogs:
    """Decode a log request. Records without a trace or span are left out: they belong to no run. Raises DecodeError."""
    return keep_logs(proto_logs(body)) if is_protobuf(content_type) else decode_log_document(read_json(body))


def decode_log_document(document: dict[str, Any]) -> DecodedLogs:
    """Decode a log request that is parsed JSON already. Raises DecodeError."""
    return keep_logs(json_logs(document))


def keep_logs(items: Iterator[tuple[str, Callable[[], LogItem | None]]]) -> DecodedLogs:
    """Read log records one by one, and put the ones that cannot be kept aside."""
    decoded = DecodedLogs()
    for place, read in items:
        try:
            item = read()
        except BadItem as error:
            decoded.rejected.append(f"{place}: {error}")
        else:
            if item is not None:
                decoded.logs.append(item)
    return decoded


def is_protobuf(content_type: str) -> bool:
    """Say whether a content type is protobuf rather than JSON. Raises DecodeError for any other."""
    name = content_type.partition(";")[0].strip().lower()
    if name in PROTOBUF_TYPES:
        return True
    if name in JSON_TYPES:
        return False
    raise DecodeError(
        f"The content type {content_type!r} is not taken here; send application/x-protobuf or application/json."
    )


# Protobuf ----------------------------------------------------------------------------------------------------------


def parse_protobuf(request: Any, body: bytes) -> Any:
    """Parse a body into a request message; text that is not UTF-8 is repaired. Raises DecodeError."""
    try:
        request.ParseFromString(body)
    except ProtobufError:
        try:
            request.ParseFromString(repair_text(body, request.DESCRIPTOR))
        except (ProtobufError, ValueError) as error:
            name = request.DESCRIPTOR.name
            raise DecodeError(f"The body of {len(body):,} bytes is not a protobuf {name}: {error}.") from None
    return request


def proto_spans(body: bytes) -> Iterator[tuple[str, Callable[[], RawSpan]]]:
    """Give the place and a reader of each span of a protobuf request."""
    request = parse_protobuf(ExportTraceServiceRequest(), body)
    for r, resource_spans in enumerate(request.resource_spans):
        resource = read_proto_attributes(resource_spans.resource.attributes)
        for s, scope_spans in enumerate(resource_spans.scope_spans):
            scope = scope_spans.scope
            origins = make_origins(resource, scope.name, scope.version)
            for n, span in enumerate(scope_spans.spans):
                yield (
                    f"resourceSpans[{r}].scopeSpans[{s}].spans[{n}]",
                    partial(read_proto_span, span, origins),
                )


def make_origins(resource: dict[str, Any], name: str, version: str) -> list[dict[str, Any]]:
    """Return one origin per OTel span kind, shared by all the spans of a scope."""
    base = {"resource": resource, "scope": {"name": name, "version": version}}
    return [base if not kind else {**base, "span_kind": kind} for kind in SPAN_KINDS]


def read_proto_span(span: Any, origins: list[dict[str, Any]]) -> RawSpan:
    """Return a protobuf span as sent. Raises BadItem."""
    trace_id, span_id, parent = span.trace_id, span.span_id, span.parent_span_id
    name = span.name
    if len(trace_id) != 16 or trace_id == NO_TRACE:
        raise BadItem(f"span {name[:60]!r}: the trace id {trace_id.hex()!r} is not 16 bytes other than zero")
    if len(span_id) != 8 or span_id == NO_SPAN:
        raise BadItem(f"span {name[:60]!r}: the span id {span_id.hex()!r} is not 8 bytes other than zero")
    attributes = read_proto_attributes(span.attributes)
    start_ns, end_ns = read_times(span.start_time_unix_nano, span.end_time_unix_nano, attributes)
    events = [
        {
            "name": event.name,
            "time_ns": event.time_unix_nano or None,
            "attributes": read_proto_attributes(event.attributes),
        }
        for event in span.events
    ]
    links = [
        {
            "trace_id": link.trace_id.hex(),
            "span_id": link.span_id.hex(),
            "attributes": read_proto_attributes(link.attributes),
        }
        for link in span.links
    ]
    status, kind = span.status, span.kind
    return RawSpan(
        trace_id.hex(),
        span_id.hex(),
        parent.hex() if parent and parent != NO_SPAN else "",
        clean_name(name),
        start_ns,
        end_ns,
        status.code,
        status.message,
        attributes,
        events,
        links,
        origins[kind if 0 <= kind < len(origins) else 0],
    )


def read_proto_attributes(pairs: Any, depth: int = 0) -> dict[str, Any]:
    """Return key-value pairs as a dict; of equal keys the last wins."""
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        text = value.string_value
        found[pair.key] = text if text else read_proto_value(value, depth)
    return found


def read_proto_value(value: Any, depth: int) -> Any:
    """Return a protobuf AnyValue as a JSON-safe value. Raises BadItem where it nests too deep."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "int_value":
        return value.int_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "double_value":
        return read_double(value.double_value)
    if kind is None:
        return None
    if depth >= MAX_DEPTH // 2:
        raise BadItem(f"an attribute nests deeper than {MAX_DEPTH // 2} levels")
    if kind == "array_value":
        return [read_proto_value(inner, depth + 1) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return read_proto_attributes(value.kvlist_value.values, depth + 1)
    return base64.b64encode(value.bytes_value).decode() if kind == "bytes_value" else None


def proto_logs(body: bytes) -> Iterator[tuple[str, Callable[[], LogItem | None]]]:
    """Give the place and a reader of each record of a protobuf log request."""
    request = parse_protobuf(ExportLogsServiceRequest(), body)
    for r, resource_logs in enumerate(request.resource_logs):
        for s, scope_logs in enumerate(resource_logs.scope_logs):
            for n, log in enumerate(scope_logs.log_records):
                yield f"resourceLogs[{r}].scopeLogs[{s}].logRecords[{n}]", partial(read_proto_log, log)


def read_proto_log(log: Any) -> LogItem | None:
    """Return a protobuf log record, or None where it belongs to no span. Raises BadItem."""
    trace_id, span_id = log.trace_id, log.span_id
    if trace_id.strip(b"\0") == b"" or span_id.strip(b"\0") == b"":
        return None
    if len(trace_id) != 16 or len(span_id) != 8:
        raise BadItem(f"the ids {trace_id.hex()!r} and {span_id.hex()!r} are not 16 and 8 bytes")
    attributes = read_proto_attributes(log.attributes)
    time_ns = log.time_unix_nano or log.observed_time_unix_nano or None
    body = read_proto_value(log.body, 0)
    return make_log(trace_id.hex(), span_id.hex(), time_ns, log.event_name, attributes, body)


# JSON --------------------------------------------------------------------------------------------------------------


def read_json(body: bytes) -> dict[str, Any]:
    """Parse a JSON body leniently: NaN, lone surrogates and invalid UTF-8 do not fail it. Raises DecodeError."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as first:
        try:
            text = body.decode("utf-8", "replace").removeprefix("\ufeff")
            lenient = json.loads(text, parse_constant=str)
            text = json.dumps(lenient, ensure_ascii=False)
            found = orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
        except RecursionError:
            raise DecodeError("The JSON body nests too deep to be a request.") from None
        except ValueError:
            raise DecodeError(f"The body is not JSON: {first}.") from None
    if not isinstance(found, dict):
        raise DecodeError(f"The JSON body is {kind_of(found)}, not an object with resourceSpans or resourceLogs.")
    return found


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def get(item: dict[str, Any], camel: str, snake: str) -> Any:
    """Return a field by its lowerCamelCase name, or its snake_case one."""
    value = item.get(camel)
    return item.get(snake) if value is None else value


def list_of(value: Any, place: str) -> list[Any]:
    """Return a repeated field. Raises DecodeError where it is not a list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise DecodeError(f"{place} is {kind_of(value)}, not a list.")
    return value


def object_of(value: Any, place: str) -> dict[str, Any]:
    """Return a message field. Raises DecodeError where it is not an object."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DecodeError(f"{place} is {kind_of(value)}, not an object.")
    return value


def json_spans(request: dict[str, Any]) -> Iterator[tuple[str, Callable[[], RawSpan]]]:
    """Give the place and a reader of each span of a JSON request. Raises DecodeError for an envelope that is none."""
    for r, outer in enumerate(list_of(get(request, "resourceSpans", "resource_spans"), "resourceSpans")):
        place = f"resourceSpans[{r}]"
        resource_spans = object_of(outer, place)
        resource = read_envelope_attributes(
            object_of(resource_spans.get("resource"), f"{place}.resource"), f"{place}.resource"
        )
        scopes = get(resource_spans, "scopeSpans", "scope_spans") or resource_spans.get("instrumentationLibrarySpans")
        for s, inner in enumerate(list_of(scopes, f"{place}.scopeSpans")):
            where = f"{place}.scopeSpans[{s}]"
            scope_spans = object_of(inner, where)
            scope = object_of(scope_spans.get("scope") or scope_spans.get("instrumentationLibrary"), f"{where}.scope")
            origins = make_origins(resource, str(scope.get("name") or ""), str(scope.get("version") or ""))
            for n, span in enumerate(list_of(scope_spans.get("spans"), f"{where}.spans")):
                yield f"{where}.spans[{n}]", partial(read_json_span, span, origins)


def read_envelope_attributes(item: dict[str, Any], place: str) -> dict[str, Any]:
    """Return the attributes of a resource. Raises DecodeError: without it the whole batch would lose its origin."""
    try:
        return read_json_attributes(item.get("attributes"))
    except BadItem as error:
        raise DecodeError(f"{place}: {error}.") from None


def read_json_span(span: Any, origins: list[dict[str, Any]]) -> RawSpan:
    """Return a JSON span as sent. Raises BadItem."""
    if not isinstance(span, dict):
        raise BadItem(f"the span is {kind_of(span)}, not an object")
    name = clean_name(span.get("name"))
    try:
        trace_id = read_id(get(span, "traceId", "trace_id"), 16, "trace id")
        span_id = read_id(get(span, "spanId", "span_id"), 8, "span id")
        parent = get(span, "parentSpanId", "parent_span_id")
        parent_id = read_id(parent, 8, "parent span id") if parent and not is_zero(parent) else ""
        attributes = read_json_attributes(span.get("attributes"))
        start = read_nano(get(span, "startTimeUnixNano", "start_time_unix_nano"), "startTimeUnixNano")
        end = read_nano(get(span, "endTimeUnixNano", "end_time_unix_nano"), "endTimeUnixNano")
        events = [read_json_event(event) for event in items_of(span.get("events"), "events")]
        links = [read_json_link(link) for link in items_of(span.get("links"), "links")]
        status = span.get("status") or {}
        if not isinstance(status, dict):
            raise BadItem(f"its status is {kind_of(status)}, not an object")
    except BadItem as error:
        raise BadItem(f"span {name[:60]!r}: {error}") from None
    start_ns, end_ns = read_times(start, end, attributes)
    message = status.get("message")
    return RawSpan(
        trace_id,
        span_id,
        parent_id,
        name,
        start_ns,
        end_ns,
        read_enum(status.get("code"), STATUS_BY_NAME),
        message if isinstance(message, str) else "",
        attributes,
        events,
        links,
        origins[read_span_kind(span.get("kind"))],
    )


def items_of(value: Any, name: str) -> list[Any]:
    """Return a repeated field of one span. Raises BadItem where it is not a list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadItem(f"its {name} are {kind_of(value)}, not a list")
    return value


def read_id(value: Any, size: int, what: str) -> str:
    """Return an id as lower-case hex, from hex or base64. Raises BadItem for a wrong length, other text, or all zeros."""
    text = value.strip() if isinstance(value, str) else ""
    if len(text) == size * 2:
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
    else:
        try:
            raw = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    if len(raw) != size:
        raise BadItem(f"the {what} {text[:60]!r} is not {size * 2} hex digits, nor {size} bytes in base64")
    if not any(raw):
        raise BadItem(f"the {what} is all zeros")
    return raw.hex()


def is_zero(value: Any) -> bool:
    """Say whether an id stands for none: hex zeros, or zeros in base64."""
    return isinstance(value, str) and (not value.strip("0") or value in ("AAAAAAAAAAA=", "AAAAAAAAAAA"))


def read_nano(value: Any, name: str) -> int:
    """Return nanoseconds sent as decimal text or number; 0 where missing. Raises BadItem."""
    if value is None or value == "":
        return 0
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise BadItem(f"{name} {str(value)[:40]!r} is not a whole number of nanoseconds") from None


def read_times(start: int, end: int, attributes: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return start and end in nanoseconds, None where not sent or not storable. An end before the start is set to the start,
    and the sent one kept as an attribute of ours.
    """
    start_ns = start if 0 < start <= MAX_NS else None
    end_ns = end if 0 < end <= MAX_NS else None
    if start_ns is not None and end_ns is not None and end_ns < start_ns:
        attributes["markbook.sent_end_ns"] = str(end_ns)
        end_ns = start_ns
    return start_ns, end_ns


def read_enum(value: Any, names: dict[str, int]) -> int:
    """Return an enum sent as number, as digits, or by name; 0 for anything else."""
    if isinstance(value, str):
        return names.get(value, int(value) if value.isascii() and value.isdigit() and len(value) < 4 else 0)
    return value if isinstance(value, int) else 0


def read_span_kind(value: Any) -> int:
    """Return the place in SPAN_KINDS of an OTel span kind."""
    names = {f"SPAN_KIND_{name.upper()}": place for place, name in enumerate(SPAN_KINDS) if name}
    kind = read_enum(value, names)
    return kind if 0 <= kind < len(SPAN_KINDS) else 0


def read_json_attributes(pairs: Any, depth: int = 0) -> dict[str, Any]:
    """Return key-value pairs as a dict; of equal keys the last wins. Raises BadItem."""
    if pairs is None:
        return {}
    if not isinstance(pairs, list):
        raise BadItem(f"its attributes are {kind_of(pairs)}, not a list")
    found: dict[str, Any] = {}
    for pair in pairs:
        if not isinstance(pair, dict) or not isinstance(pair.get("key"), str):
            raise BadItem("an attribute is not an object with a key")
        value = pair.get("value")
        text = value.get("stringValue") if type(value) is dict else None
        found[pair["key"]] = text if type(text) is str else read_json_value(value, depth)
    return found


def read_json_value(value: Any, depth: int) -> Any:
    """Return a JSON AnyValue as a plain JSON-safe value; an empty object is null. Raises BadItem."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadItem(f"an attribute's value is {kind_of(value)}, not an object such as {{'stringValue': …}}")
    for key, inner in value.items():
        if inner is None:
            continue
        kind = key.replace("_", "").lower()
        if kind == "stringvalue":
            return inner if isinstance(inner, str) else json.dumps(inner)
        if kind == "intvalue":
            return read_integer(inner)
        if kind == "boolvalue":
            return inner if isinstance(inner, bool) else str(inner).lower() == "true"
        if kind == "doublevalue":
            return read_double(inner)
        if kind == "bytesvalue":
            return str(inner)
        if kind in ("arrayvalue", "kvlistvalue"):
            if depth >= MAX_DEPTH // 2:
                raise BadItem(f"an attribute nests deeper than {MAX_DEPTH // 2} levels")
            values = inner.get("values") if isinstance(inner, dict) else inner
            if kind == "kvlistvalue":
                return read_json_attributes(values, depth + 1)
            return [read_json_value(one, depth + 1) for one in items_of(values, "array values")]
    return None


def read_integer(value: Any) -> Any:
    """Return an int64 sent as text or number, exact. Raises BadItem."""
    if isinstance(value, (bool, dict, list)):
        raise BadItem(f"an intValue is {kind_of(value)}")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise BadItem(f"the intValue {str(value)[:40]!r} is not a whole number") from None
    return number if -(2**63) <= number < 2**64 else str(number)


def read_double(value: Any) -> Any:
    """Return a double; those that JSON cannot hold as text: "NaN", "Infinity", "-Infinity". Raises BadItem."""
    if isinstance(value, (bool, dict, list)):
        raise BadItem(f"a doubleValue is {kind_of(value)}")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise BadItem(f"the doubleValue {str(value)[:40]!r} is not a number") from None
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def read_json_event(event: Any) -> dict[str, Any]:
    """Return a span event. Raises BadItem."""
    if not isinstance(event, dict):
        raise BadItem(f"an event is {kind_of(event)}, not an object")
    time_ns = read_nano(get(event, "timeUnixNano", "time_unix_nano"), "an event's timeUnixNano") or None
    return {
        "name": str(event.get("name") or ""),
        "time_ns": time_ns,
        "attributes": read_json_attributes(event.get("attributes")),
    }


def read_json_link(link: Any) -> dict[str, Any]:
    """Return a link to another span; ids as sent where they are none. Raises BadItem."""
    if not isinstance(link, dict):
        raise BadItem(f"a link is {kind_of(link)}, not an object")
    found: dict[str, Any] = {"attributes": read_json_attributes(link.get("attributes"))}
    for key, snake, size in (("traceId", "trace_id", 16), ("spanId", "span_id", 8)):
        sent = get(link, key, snake)
        try:
            found[snake] = read_id(sent, size, "link id")
        except BadItem:
            found[snake] = str(sent or "")
    return found


def json_logs(request: dict[str, Any]) -> Iterator[tuple[str, Callable[[], LogItem | None]]]:
    """Give the place and a reader of each record of a JSON log request. Raises DecodeError for an envelope that is none."""
    for r, outer in enumerate(list_of(get(request, "resourceLogs", "resource_logs"), "resourceLogs")):
        place = f"resourceLogs[{r}]"
        resource_logs = object_of(outer, place)
        for s, inner in enumerate(list_of(get(resource_logs, "scopeLogs", "scope_logs"), f"{place}.scopeLogs")):
            where = f"{place}.scopeLogs[{s}]"
            logs = get(object_of(inner, where), "logRecords", "log_records")
            for n, log in enumerate(list_of(logs, f"{where}.logRecords")):
                yield f"{where}.logRecords[{n}]", partial(read_json_log, log)


def read_json_log(log: Any) -> LogItem | None:
    """Return a JSON log record, or None where it belongs to no span. Raises BadItem."""
    if not isinstance(log, dict):
        raise BadItem(f"the log record is {kind_of(log)}, not an object")
    trace_id, span_id = get(log, "traceId", "trace_id"), get(log, "spanId", "span_id")
    if not trace_id or not span_id or is_zero(trace_id) or is_zero(span_id):
        return None
    time_ns = read_nano(get(log, "timeUnixNano", "time_unix_nano"), "timeUnixNano") or read_nano(
        get(log, "observedTimeUnixNano", "observed_time_unix_nano"), "observedTimeUnixNano"
    )
    name = get(log, "eventName", "event_name")
    attributes, body = read_json_attributes(log.get("attributes")), read_json_value(log.get("body"), 0)
    ids = read_id(trace_id, 16, "trace id"), read_id(span_id, 8, "span id")
    return make_log(*ids, time_ns or None, name if isinstance(name, str) else "", attributes, body)


def make_log(
    trace_id: str, span_id: str, time_ns: int | None, name: str, attributes: dict[str, Any], body: Any
) -> LogItem:
    """Return a log record; older SDKs give the event's name as an attribute."""
    older = attributes.get("event.name")
    time_ns = time_ns if time_ns is None or time_ns <= MAX_NS else None
    return LogItem(trace_id, span_id, time_ns, name or (older if isinstance(older, str) else ""), attributes, body)


def clean_name(value: Any) -> str:
    """Return a span's name without NUL; "" where it is no text."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) else ""
