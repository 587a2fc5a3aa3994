"""From a span as sent to a `SpanRecord`: one small module per convention, told apart span by span. Pure.

One trace can mix conventions, and one span can carry two. The first convention of CONVENTIONS that matches decides (its SDK
set its names on purpose); the ones after it fill what is still missing; names shared by all have one precedence
(`common.py`). Lists of messages are never merged: the first source that gives any wins.

A convention is a module with NAME, NAMES and PREFIXES (attributes that it reads), `matches(raw)` and `fill(raw, record)`.

On a tool span, arguments and result are in `record.tool` only, and on a model call what the messages say is in the messages
only: `record.input` and `record.output` hold what is nowhere else.
"""

from types import ModuleType

from traces.conventions import catalyst, openinference, otel_genai, plain
from traces.conventions.common import NAMES as SHARED_NAMES
from traces.conventions.common import fill_error, fill_shared
from traces.conventions.moved import rebuild_attributes
from traces.conventions.raw import RawSpan, read_text
from traces.spans import SpanRecord

CONVENTIONS: tuple[ModuleType, ...] = (openinference, catalyst, otel_genai)

__all__ = ["CONVENTIONS", "RawSpan", "normalise", "rebuild_attributes"]


def normalise(raw: RawSpan) -> SpanRecord:
    """Return a span as Markbook understands it. Everything that was sent stays reachable: see `rebuild_attributes`."""
    record = SpanRecord(
        trace_id=raw.trace_id,
        span_id=raw.span_id,
        parent_span_id=raw.parent_span_id,
        name=raw.name,
        start_ns=raw.start_ns,
        end_ns=raw.end_ns,
        attributes=dict(raw.attributes),
        events=raw.events,
        links=raw.links,
        origin=raw.origin,
        release=read_text((raw.origin.get("resource") or {}).get("service.version")),
    )
    speaking = [convention for convention in CONVENTIONS if convention.matches(raw)] or [plain]
    record.convention = speaking[0].NAME
    fill_error(raw, record)
    for convention in speaking:
        convention.fill(raw, record)
    if record.kind == "unknown":
        record.kind = "chain"
    fill_shared(raw, record)
    record.unrecognised = find_unrecognised(record, speaking)
    return record


def find_unrecognised(record: SpanRecord, speaking: list[ModuleType]) -> list[str]:
    """Return the names of attributes that no rule reads, in the order in which they were sent."""
    prefixes = tuple(prefix for convention in speaking for prefix in convention.PREFIXES)
    return [
        name
        for name in record.attributes
        if name not in SHARED_NAMES
        and not any(name in convention.NAMES for convention in speaking)
        and not name.startswith(prefixes)
    ]
