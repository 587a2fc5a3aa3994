"""Rows of a run: `{"item": {…}, "sample": {…}}`, from a request's body or from the lines of a file. Pure."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from evals.item_lines import kind_of, refuse_constant
from evals.openai_api.reading import BadRequest, refuse_unstorable
from evals.openai_api.schemas import CheckRow

MAX_LINE = 32 * 1024 * 1024  # bytes
MAX_LISTED = 20  # wrong rows that an answer lists


@dataclass(frozen=True)
class Row:
    """One row of a run. `trace_id` names a recorded trace whose steps and answer graders see; one that must be there, or may be."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None
    trace_id: str = ""
    must_be_trace: bool = False


@dataclass
class Wrong:
    """What is wrong with rows: the first ones in words, and how many in all."""

    said: list[str] = field(default_factory=list)
    count: int = 0
    param: str = ""

    def add(self, where: str, reason: str, param: str) -> None:
        self.count += 1
        self.param = self.param or param
        if len(self.said) < MAX_LISTED:
            self.said.append(f"{where}: {reason}")

    def raise_any(self, what: str) -> None:
        """Raise BadRequest that lists the wrong rows, where there is one."""
        if self.count:
            more = f"; and {self.count - len(self.said):,} more" if self.count > len(self.said) else ""
            raise BadRequest(
                f"{self.count:,} of the rows of {what} cannot be used. {'; '.join(self.said)}{more}.",
                param=self.param,
                code="invalid_data",
            )


def rows_of_content(content: Any, check: CheckRow | None, place: str) -> list[Row]:
    """Return the rows of a body. Raises BadRequest that lists the wrong ones and names the place of the first."""
    if not isinstance(content, list):
        raise BadRequest(f"`{place}` must be a list of rows, each with an item.", param=place)
    if not content:
        raise BadRequest(f"`{place}` has no rows.", param=place)
    wrong, rows = Wrong(), []
    for number, value in enumerate(content):
        try:
            rows.append(read_row(value, check, f"{place}[{number}]"))
        except BadRequest as error:
            wrong.add(f"row {number + 1}", str(error), error.param or place)
    wrong.raise_any("`file_content`")
    return rows


def rows_of_lines(lines: Iterable[bytes], check: CheckRow | None, *, name: str, place: str) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file. Raises BadRequest that lists the wrong lines, at the end of the file."""
    wrong, count = Wrong(), 0
    for number, line in enumerate(lines, 1):
        raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not raw.strip():
            continue
        count += 1
        try:
            row = read_row(parsed_line(raw), check, f"line {number}")
        except BadRequest as error:
            wrong.add(
                f"line {number}", str(error).replace(f"`line {number}` ", "").replace(f"line {number}.", ""), place
            )
            continue
        if not wrong.count:
            yield row
    wrong.raise_any(f"the file {name!r}")
    if not count:
        raise BadRequest(f"The file {name!r} has no rows.", param=place, code="invalid_data")


def parsed_line(raw: bytes) -> Any:
    """Return the JSON value of a line. Raises BadRequest saying what is wrong with it."""
    if len(raw) > MAX_LINE:
        raise BadRequest(f"it has {len(raw):,} bytes; at most {MAX_LINE:,} fit in one row")
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8 at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"not JSON: {error.msg} at character {error.colno}") from None
    except ValueError as error:
        raise BadRequest(str(error)) from None
    except RecursionError:
        raise BadRequest("nested too deep") from None


def read_row(value: Any, check: CheckRow | None, place: str) -> Row:
    """Return one row. Raises BadRequest naming the place."""
    if not isinstance(value, dict):
        raise BadRequest(f"`{place}` is {kind_of(value)}, where an object with an `item` is needed", param=place)
    item = value.get("item")
    if not isinstance(item, dict):
        said = "has no `item`" if item is None else f"has an `item` that is {kind_of(item)}, not an object"
        raise BadRequest(f"`{place}` {said}", param=f"{place}.item")
    sample = value.get("sample")
    if sample is not None and not isinstance(sample, dict):
        raise BadRequest(f"`{place}.sample` is {kind_of(sample)}, not an object", param=f"{place}.sample")
    refuse_unstorable(item, f"{place}.item")
    if sample is not None:
        refuse_unstorable(sample, f"{place}.sample")
    problem = check(item) if check is not None else None
    if problem is not None:
        reason, path = problem
        raise BadRequest(f"item{path} does not satisfy the item schema: {reason}", param=f"{place}.item{path}")
    trace_id, must_be_trace = trace_named(value, item, sample, place)
    return Row(item, sample, trace_id, must_be_trace)


def trace_named(
    value: dict[str, Any], item: dict[str, Any], sample: dict[str, Any] | None, place: str
) -> tuple[str, bool]:
    """Return the id of the recorded trace that a row names, and whether it can be nothing else.

    It stands beside the item or in the sample; in an item without a sample it may also be data of the row's own.
    """
    for found, where in ((value, place), (sample or {}, f"{place}.sample")):
        named = found.get("trace_id")
        if named is not None:
            if not isinstance(named, str) or not named:
                raise BadRequest(f"`{where}.trace_id` must be the id of a trace", param=f"{where}.trace_id")
            return named, found is value
    named = item.get("trace_id") if sample is None else None
    return (named if isinstance(named, str) else ""), False
