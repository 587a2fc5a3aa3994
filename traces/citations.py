"""Runs and spans that a text names, as reports of the Halo engine do: `[trace:<id>]`, `[span:<trace id>:<span id>]`.

A tag inside a code fence, or beside other text in a code span, is text; one that is a link's label already is left alone. Whether what
it names is there has to be looked up: nothing checked it when the text was written.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from traces.models import Span, Trace

TAG = r"\[(?:trace:(?P<trace>[0-9a-f]{1,128})|span:(?P<of>[0-9a-f]{1,128}):(?P<span>[0-9a-f]{1,128}))\]"
SCAN = re.compile(
    r"(?P<fence>^ {0,3}(?P<mark>```|~~~)[^\n]*\n(?:.*?^ {0,3}(?P=mark)[^\n]*$|.*\Z))"
    rf"|`{TAG}`"
    r"|(?P<code>`[^`\n]*`)"
    rf"|{TAG.replace('P<', 'P<bare_')}(?!\(|\]\()",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Piece:
    """A stretch of a text: plain, or a tag that names a trace and perhaps a span of it."""

    text: str
    trace_id: str = ""
    span_id: str = ""
    is_found: bool = False


def pieces_of(text: str) -> list[Piece]:
    """Cut a text at its tags; ids come in small letters, and none counts as found yet."""
    pieces, place = [], 0
    for found in SCAN.finditer(text):
        groups = found.groupdict()
        trace = groups["trace"] or groups["of"] or groups["bare_trace"] or groups["bare_of"]
        if not trace:
            continue
        if found.start() > place:
            pieces.append(Piece(text[place : found.start()]))
        span = groups["span"] or groups["bare_span"] or ""
        pieces.append(Piece(found[0].strip("`"), trace.lower(), span.lower()))
        place = found.end()
    return [*pieces, Piece(text[place:])] if place < len(text) else pieces


def cited(project_pk: int, texts: Iterable[str]) -> list[list[Piece]]:
    """Cut texts at their tags and look up which name something of the project: no query without a tag, else at most two for all."""
    cut = [pieces_of(text) for text in texts]
    tags = {piece for pieces in cut for piece in pieces if piece.trace_id}
    if not tags:
        return cut
    named = Trace.objects.filter(project=project_pk, trace_id__in={tag.trace_id for tag in tags})
    keys = dict(named.values_list("pk", "trace_id"))
    there: set[tuple[str, str]] = {(trace_id, "") for trace_id in keys.values()}
    if spans := {tag.span_id for tag in tags if tag.span_id}:
        rows = Span.objects.filter(trace__in=keys, span_id__in=spans).values_list("trace_id", "span_id")
        there |= {(keys[trace], span_id) for trace, span_id in rows}
    return [
        [Piece(piece.text, piece.trace_id, piece.span_id, (piece.trace_id, piece.span_id) in there) for piece in pieces]
        for pieces in cut
    ]
