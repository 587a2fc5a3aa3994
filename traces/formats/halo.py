"""Halo: a span a line, ids as text, times as ISO text, attributes in a flat map. Pure. See `specs` of the writers in docs/formats.md."""

from collections.abc import Iterator
from typing import Any

from traces.conventions import RawSpan, normalise
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedTrace
from traces.formats.thread import read_time

NAME = "halo"
LABEL = "Halo traces, a span a line"
STATUS_CODES = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2, "OK": 1, "ERROR": 2}
RENAMED = ("int.", "double.")  # Halo's desktop export marks numbers by their names


def sniff(document: Any) -> bool:
    """Say whether a document is a span."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("attributes"), dict)
        and "trace_id" in document
        and "span_id" in document
    )


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the span of a line; its trace may go on in any other line. Raises BadDocument."""
    ids = {}
    for name in ("trace_id", "span_id", "parent_span_id"):
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise BadDocument(f"{name} is not text")
        ids[name] = (value or "").strip()
    if not ids["trace_id"] or not ids["span_id"]:
        raise BadDocument("trace_id or span_id is empty")
    status = document.get("status")
    status = status if isinstance(status, dict) else {}
    code, message = status.get("code"), status.get("message")
    resource, scope = document.get("resource"), document.get("scope")
    origin = {
        "resource": drop_nulls(resource.get("attributes")) if isinstance(resource, dict) else {},
        "scope": scope if isinstance(scope, dict) else {"name": "halo"},
    }
    added = document.get("markbook_added")  # what our own export worked out beside what was sent
    worked_out = {str(name) for name in added} if isinstance(added, list) else set()
    events = document.get("events")
    links = document.get("links")
    raw = RawSpan(
        **ids,
        name=document["name"] if isinstance(document.get("name"), str) else "",
        start_ns=read_nanoseconds(document.get("start_time")),
        end_ns=read_nanoseconds(document.get("end_time")),
        status_code=STATUS_CODES.get(code, 0) if isinstance(code, str) else 0,
        status_message=message if isinstance(message, str) else "",
        attributes={
            restore_name(key): value
            for key, value in drop_nulls(document["attributes"]).items()
            if not (key in worked_out and key.startswith("inference."))
        },
        events=[read_event(event) for event in events if isinstance(event, dict)] if isinstance(events, list) else [],
        links=[link for link in links if isinstance(link, dict)] if isinstance(links, list) else [],
        origin=origin,
    )
    yield ImportedTrace([normalise(raw)], place=place)


def drop_nulls(sent: Any) -> dict[str, Any]:
    """Return attributes without those that are null: the projection writes null for what it does not know."""
    return {key: value for key, value in sent.items() if value is not None} if isinstance(sent, dict) else {}


def restore_name(name: str) -> str:
    """Return an attribute's name without the mark of its type."""
    return next((name[len(mark) :] for mark in RENAMED if name.startswith(mark)), name)


def read_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return a span's event."""
    at = event.get("time_ns") or event.get("time_unix_nano") or event.get("timestamp") or event.get("time")
    name = event.get("name")
    time_ns = (
        int(at) if isinstance(at, str) and at.isascii() and at.isdigit() and len(at) < 20 else read_nanoseconds(at)
    )
    return {
        "name": name if isinstance(name, str) else "",
        "time_ns": time_ns,
        "attributes": drop_nulls(event.get("attributes")),
    }


def read_nanoseconds(value: Any) -> int | None:
    """Return an ISO time as nanoseconds since 1970, exact to its ninth digit; None where it is none."""
    found = read_time(value)
    if found is None or not isinstance(value, str):
        return found
    digits = value.partition(".")[2]
    fraction = digits[: next((at for at, one in enumerate(digits) if not one.isdigit()), len(digits))]
    return found // 1_000_000_000 * 1_000_000_000 + int(fraction[:9].ljust(9, "0")) if fraction.isascii() else found
