"""Files of runs: one module per format, found by looking at each document. Pure.

A format is a module with NAME, LABEL, `sniff(document)` and `read(place, document, context)`, which gives ImportedTraces and BadLines.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import IO

from traces.formats import (
    chat,
    halo,
    inspect_ai,
    native,
    otlp_json,
    steps,
    swe_agent,
    tau2_bench,
    tau_bench,
    who_and_when,
)
from traces.formats.base import (
    BadDocument,
    BadLine,
    FileContext,
    ImportedScore,
    ImportedTrace,
    is_archive,
    open_plain,
    read_documents,
    spread,
)

FORMATS: tuple[ModuleType, ...] = (
    native,
    tau2_bench,
    tau_bench,
    otlp_json,
    halo,
    inspect_ai,
    swe_agent,
    who_and_when,
    steps,
    chat,
)
NAMES = [found.NAME for found in FORMATS]

__all__ = ["FORMATS", "NAMES", "BadLine", "ImportedScore", "ImportedTrace", "read_traces"]


def read_traces(stream: IO[bytes], *, name: str = "", format_name: str = "") -> Iterator[ImportedTrace | BadLine]:
    """Give the runs of a file (JSONL or JSON, gzip or not) and the lines that hold none, in order.

    Takes a binary stream, its name, and a format's name where it should not be found by looking. Lines are read one at a
    time. Raises ValueError for a format that is not known, OSError (EOFError) for a file that breaks off.
    """
    if format_name and format_name not in NAMES:
        raise ValueError(f"There is no format {format_name!r}; known are {', '.join(NAMES)}.")
    context = FileContext(name)
    plain = open_plain(stream)
    documents = inspect_ai.read_archive(plain) if is_archive(plain) else read_documents(plain)
    for line, found in documents:
        for place, document in spread(line, found):
            if isinstance(document, BadLine):
                yield document
                continue
            chosen = next((form for form in FORMATS if form.sniff(document) and format_name in ("", form.NAME)), None)
            if chosen is None:
                yield BadLine(place, f"this is no {format_name or 'known format'}: {describe(document)}")
                continue
            try:
                yield from chosen.read(place, document, context)
            except BadDocument as error:
                yield BadLine(place, str(error))


def describe(document: object) -> str:
    """Return what a document is, for the one who wonders why it was not taken."""
    if isinstance(document, dict):
        keys = ", ".join(list(document)[:8])
        return f"an object with {keys or 'nothing'}"
    return f"a {'list' if isinstance(document, list) else type(document).__name__}"
