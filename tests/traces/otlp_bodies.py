"""Small OTLP bodies for tests, JSON form."""

import json
from typing import Any

TRACE_ID = "0123456789abcdef0123456789abcdef"
SPAN_ID = "aabbccddeeff0011"


def any_value(value: Any) -> dict[str, Any]:
    """Return a value as an OTLP AnyValue."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": pairs(value)}}
    return {"stringValue": value} if value is not None else {}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def otlp_span(attributes: dict[str, Any] | None = None, **overrides: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE_ID,
        "spanId": SPAN_ID,
        "name": "step",
        "kind": 1,
        "startTimeUnixNano": "1780000000000000000",
        "endTimeUnixNano": "1780000002500000000",
        "attributes": pairs(attributes or {}),
        **overrides,
    }


def otlp_body(*spans: Any, resource: dict[str, Any] | None = None, scope: dict[str, Any] | None = None) -> bytes:
    scope_spans = {"scope": scope or {"name": "test", "version": "1"}, "spans": list(spans)}
    resource_spans = {"resource": {"attributes": pairs(resource or {})}, "scopeSpans": [scope_spans]}
    return json.dumps({"resourceSpans": [resource_spans]}).encode()
