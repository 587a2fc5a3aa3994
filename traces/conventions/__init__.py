"""From a span as sent to a `SpanRecord`: one small module per convention, told apart span by span. Pure.

One trace can mix conventions, and one span can carry two. The first convention of CONVENTIONS that speaks decides (its SDK
set its names on purpose); the ones after it fill what is still missing; names shared by all have one precedence
(`common.py`). Lists of messages are never merged: the first source that gives any wins.

A convention is a module with NAME, MARKS (an attribute of these, or a scope of SCOPES or below it, tells that it speaks), perhaps
HINTS (which tell that it has something to add, not that the span is its own), NAMES and PREFIXES (attributes that it reads), and
`fill(raw, record)`.

On a tool span, arguments and result are in `record.tool` only, and on a model call what the messages say is in the messages
only: `record.input` and `record.output` hold what is nowhere else.
"""

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

from traces.conventions import (
    ai_sdk,
    catalyst,
    genai_legacy,
    langfuse,
    langsmith,
    logfire,
    mlflow,
    openinference,
    otel_genai,
    plain,
    pydantic_ai,
    traceloop,
)
from traces.conventions.common import NAMES as SHARED_NAMES
from traces.conventions.common import fill_error, fill_shared
from traces.conventions.moved import rebuild_attributes
from traces.conventions.otel_genai import has_content
from traces.conventions.raw import RawSpan, read_text
from traces.spans import SpanRecord

CONVENTIONS: tuple[ModuleType, ...] = (
    langfuse,
    openinference,
    catalyst,
    langsmith,
    mlflow,
    ai_sdk,
    traceloop,
    pydantic_ai,
    otel_genai,
    genai_legacy,
    logfire,
)
BY_MARK: dict[str, list[int]] = {}  # attribute: places in CONVENTIONS
for place, convention in enumerate(CONVENTIONS):
    for mark in convention.MARKS | getattr(convention, "HINTS", frozenset()):
        BY_MARK.setdefault(mark, []).append(place)
OWN_MARKS = [convention.MARKS for convention in CONVENTIONS]

__all__ = ["CONVENTIONS", "RawSpan", "normalise", "rebuild_attributes"]


@dataclass(frozen=True)
class Speakers:
    """The conventions that speak on a span, in order, and the attributes that they read."""

    modules: tuple[ModuleType, ...]
    names: frozenset[str]
    prefixes: tuple[str, ...]


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
    marks = BY_MARK.keys() & raw.attributes.keys()
    speakers = find_speakers(frozenset(marks), (raw.origin.get("scope") or {}).get("name") or "")
    record.convention = name_convention(speakers.modules, marks)
    fill_error(raw, record)
    for module in speakers.modules:
        module.fill(raw, record)
    if record.kind == "unknown":
        record.kind = "chain"
    fill_shared(raw, record)
    if record.convention in UNSAID:
        record.content_recorded = record.content_recorded and has_content(record)
    names, prefixes = speakers.names, speakers.prefixes
    record.unrecognised = [name for name in record.attributes if name not in names and not name.startswith(prefixes)]
    return record


# Their SDKs leave content out by default, or where they were told to; a span without any then says so.
UNSAID = frozenset((otel_genai.NAME, genai_legacy.NAME, pydantic_ai.NAME, traceloop.NAME, ai_sdk.NAME))


@lru_cache(maxsize=4096)
def find_speakers(marks: frozenset[str], scope: str) -> Speakers:
    """Return the conventions that speak on spans with these marks and this scope; the plain one where none does."""
    places = {place for mark in marks for place in BY_MARK[mark]} | scope_places(scope)
    modules = tuple(CONVENTIONS[place] for place in sorted(places)) or (plain,)
    names = frozenset().union(SHARED_NAMES, *(module.NAMES for module in modules))
    return Speakers(modules, names, tuple(prefix for module in modules for prefix in module.PREFIXES))


def scope_places(scope: str) -> set[int]:
    """Return the conventions whose SDK has this scope, as places in CONVENTIONS."""
    return {
        place
        for place, convention in enumerate(CONVENTIONS)
        if any(scope == name or scope.startswith((name + ".", name + "/")) for name in convention.SCOPES)
    }


def name_convention(modules: tuple[ModuleType, ...], marks: set[str]) -> str:
    """Return the convention that a span is said to speak: the first with a mark of its own, else the first."""
    for module in modules:
        if not marks.isdisjoint(module.MARKS):
            return str(module.NAME)
    return str(modules[0].NAME)
