"""What a format gives an importer, and how documents are found in a file. Pure."""

import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from traces.conventions.raw import LogItem
from traces.spans import SpanRecord

MAX_DOCUMENT = 2 * 1024**3  # bytes of a file that has to be read at once


class BadDocument(ValueError):
    """One line or item that cannot be imported. The text says why."""


@dataclass(frozen=True)
class BadLine:
    """A line or item that was left out: "line 7" or "item 3", and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class ImportedScore:
    """A score that came with a run. `passed` None: the source does not say."""

    name: str
    value: float | None
    passed: bool | None = None
    explanation: str = ""
    label: str = ""
    scale: tuple[float, float] = (0.0, 1.0)
    pass_threshold: float | None = 1.0
    rater: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)  # {"quote", "span_id", "found"}


@dataclass
class ImportedTrace:
    """One run of a file: its spans, and the scores that came with it. `logs` are OTLP log records of any run."""

    records: list[SpanRecord]
    scores: list[ImportedScore] = field(default_factory=list)
    place: str = ""
    logs: list[LogItem] = field(default_factory=list)


@dataclass
class FileContext:
    """What is known of the file that is read: its name, and which runs were seen in it."""

    name: str = ""
    seen: Counter[str] = field(default_factory=Counter)
    document: dict[str, Any] = field(default_factory=dict)  # what a whole file says beside its runs

    @property
    def stem(self) -> str:
        """The file's name without folder and endings."""
        name = self.name.replace("\\", "/").rpartition("/")[2]
        for ending in (".gz", ".jsonl", ".ndjson", ".json", ".traj", ".eval"):
            name = name.removesuffix(ending)
        return name

    def trace_id(self, *parts: Any) -> str:
        """Return an id of 32 hex digits that follows from what a run is: the same run again gets the same id.

        Of two runs in one file that are equal in everything the second gets an id of its own.
        """
        digest = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
        self.seen[digest] += 1
        if self.seen[digest] > 1:
            digest = hashlib.sha256(f"{digest}:{self.seen[digest]}".encode()).hexdigest()
        return digest[:32]


def span_id(trace_id: str, place: int | str) -> str:
    """Return the id of a span that has none: it follows from its trace and its place in it."""
    return hashlib.sha256(f"{trace_id}:{place}".encode()).hexdigest()[:16]


def open_plain(stream: IO[bytes]) -> IO[bytes]:
    """Return a stream of bytes, decompressed where it is gzip, whatever the name says."""
    buffered = stream if hasattr(stream, "peek") else io.BufferedReader(stream)  # type: ignore[type-var]
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        return gzip.open(buffered)  # type: ignore[return-value]
    return buffered


def is_archive(stream: IO[bytes]) -> bool:
    """Say whether a stream of `open_plain` is a zip, whatever its name says."""
    return hasattr(stream, "peek") and stream.peek(4)[:4] == b"PK\x03\x04"


def read_documents(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Give the JSON documents of a file with their places: the lines of JSONL, or one document that fills the file.

    Lines are read one at a time. A line that is not JSON comes as a BadLine.
    """
    first, number = stream.readline(), 1
    while first and not first.strip():
        first, number = stream.readline(), number + 1
    if not first:
        return
    found = parse_line(first.removeprefix(b"\xef\xbb\xbf"), f"line {number}")
    if isinstance(found, BadLine):
        rest = stream.read(MAX_DOCUMENT)
        whole = parse_line(first + rest, f"line {number}")
        if not isinstance(whole, BadLine):
            yield f"line {number}", whole
            return
        lines: Iterator[bytes] = iter(rest.splitlines())
        if not any(looks_whole(line) for line in rest.splitlines()[:50]):
            yield f"line {number}", whole  # one broken document rather than lines
            return
    else:
        lines = iter(stream)
    yield f"line {number}", found
    for line in lines:
        number += 1
        if line.strip():
            yield f"line {number}", parse_line(line, f"line {number}")


def looks_whole(line: bytes) -> bool:
    """Say whether a line is a JSON object by itself."""
    return line.lstrip()[:1] == b"{" and line.rstrip()[-1:] == b"}"


def parse_line(line: bytes, place: str) -> Any:
    """Return what a line holds, or a BadLine. NaN, surrogates and invalid UTF-8 do not fail it."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            text = json.dumps(json.loads(line.decode("utf-8", "replace"), parse_constant=str), ensure_ascii=False)
            return orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
        except RecursionError:
            return BadLine(place, "the JSON nests too deep")
        except ValueError:
            return BadLine(place, f"not JSON: {error}")


def spread(place: str, document: Any) -> Iterator[tuple[str, Any]]:
    """Give the documents of a list one by one; a list of chat messages stays one document."""
    if (
        isinstance(document, list)
        and document
        and not all(isinstance(item, dict) and "role" in item for item in document)
    ):
        for number, item in enumerate(document, 1):
            yield (f"item {number}" if place == "line 1" else f"{place}, item {number}"), item
    else:
        yield place, document


def read_number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)) and value == value and abs(value) != float("inf"):
        return float(value)
    return None
