"""Places in a span's record, as JSON pointers (RFC 6901): `/tool/arguments/order_id`. Pure."""

from dataclasses import fields
from typing import Any

import orjson

from traces.conventions import rebuild_attributes
from traces.spans import SpanRecord

FIELDS = {field.name: field.name for field in fields(SpanRecord)}
JSON_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


class NoSuchPlace(LookupError):
    """A pointer that leads nowhere in the record."""


def join_pointer(base: str, key: Any) -> str:
    """Return the pointer of a key or index under `base`."""
    return f"{base}/{str(key).replace('~', '~0').replace('/', '~1')}"


def read_place(record: SpanRecord, pointer: str) -> Any:
    """Return what lies at a pointer into the record; `/attributes` has the attributes as sent. Raises NoSuchPlace."""
    keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
    if not keys:
        return record_document(record)
    value: Any = record
    for key in keys:
        try:
            if isinstance(value, SpanRecord):
                value = rebuild_attributes(record) if key == "attributes" else getattr(record, FIELDS[key])
            else:
                value = parse_text(value)  # JSON in a text is shown as a tree, so its places have addresses too
                value = value[int(key)] if isinstance(value, list) else value[key]
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            raise NoSuchPlace(f"There is nothing at {pointer!r} in span {record.span_id}.") from None
    return value


def record_document(record: SpanRecord) -> dict[str, Any]:
    """Return a span as sent, as far as it is kept: attributes rebuilt, and which of them are."""
    attributes = rebuild_attributes(record)
    return {
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "parent_span_id": record.parent_span_id or None,
        "name": record.name,
        "start_ns": str(record.start_ns) if record.start_ns is not None else None,
        "end_ns": str(record.end_ns) if record.end_ns is not None else None,
        "status": {"code": record.status, "message": record.error_message or record.status_message or None},
        "attributes": attributes,
        "rebuilt_attributes": [name for name in attributes if name not in record.attributes],
        "events": record.events,
        "links": record.links,
        "resource": record.origin.get("resource", {}),
        "scope": record.origin.get("scope", {}),
        "convention": record.convention or None,
    }


def as_text(value: Any) -> str:
    """Return a value as text: as it is where it is one, else as indented JSON."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, option=JSON_OPTIONS).decode()
    except (TypeError, ValueError, RecursionError):  # an integer beyond 64 bits, a lone surrogate, something very deep
        import json

        try:
            return json.dumps(value, indent=2, ensure_ascii=True, default=str)
        except RecursionError:
            return repr(type(value))


def parse_text(value: Any) -> Any:
    """Return the object or list that a text holds as JSON, else the value as it is."""
    if isinstance(value, str) and len(value) < 2_000_000:
        text = value.strip()
        if text[:1] + text[-1:] in ("{}", "[]"):
            try:
                return orjson.loads(text.encode("utf-8", "replace"))
            except orjson.JSONDecodeError:
                return value
    return value
