"""The columns of the traces list: which there are, which show, and what an address or a saved view says of them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

MOST_NAMES = 40  # that are read from an address
ALWAYS = "input"  # holds the link to the run


@dataclass(frozen=True)
class Column:
    """A column that the list can show. `field` is what it reads beyond what every row reads; `width` is in CSS px."""

    name: str
    label: str
    width: int
    look: str = ""
    sort: str = ""
    is_usual: bool = True
    field: str = ""


COLUMNS = (
    Column(ALWAYS, "Input", 320),
    Column("output", "Output", 220, is_usual=False),
    Column("agent", "Agent", 106),
    Column("model", "Model", 112),
    Column("session", "Session", 124, is_usual=False),
    Column("user", "User", 112, is_usual=False, field="user_id"),
    Column("task", "Task", 112, is_usual=False, field="task"),
    Column("environment", "Environment", 106, is_usual=False),
    Column("release", "Release", 90, is_usual=False, field="release"),
    Column("source", "Source", 80, is_usual=False),
    Column("spans", "Spans", 58, "r", "spans"),
    Column("errors", "Failed spans", 92, "r", is_usual=False),
    Column("llm_calls", "Model calls", 90, "r", is_usual=False, field="llm_call_count"),
    Column("tool_calls", "Tool calls", 82, "r", is_usual=False, field="tool_call_count"),
    Column("latency", "Latency", 88, "r", "latency"),
    Column("input_tokens", "Tokens in", 82, "r", is_usual=False, field="input_tokens"),
    Column("output_tokens", "Tokens out", 86, "r", is_usual=False, field="output_tokens"),
    Column("tokens", "Tokens", 68, "r", "tokens"),
    Column("cost", "Cost", 76, "r", "cost"),
    Column("scores", "Scores", 168),
    Column("started", "Started", 112, "r", "started"),
)
USUAL = tuple(column.name for column in COLUMNS if column.is_usual)


def chosen_names(asked: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the columns that show, in the order of the list, and the names asked for that no column has.

    Nothing asked for that is known: the usual ones. A view that was saved when the list had another column goes on without it.
    """
    wanted = list(dict.fromkeys(asked))[:MOST_NAMES]
    known = {column.name for column in COLUMNS}
    unknown = [name for name in wanted if name not in known]
    if not known.intersection(wanted):
        return USUAL, unknown
    return tuple(column.name for column in COLUMNS if column.name in wanted or column.name == ALWAYS), unknown


def named(names: Iterable[str]) -> list[Column]:
    """Return columns by their names, in the order of the list."""
    wanted = set(names)
    return [column for column in COLUMNS if column.name in wanted]


def asked_for(names: tuple[str, ...]) -> list[str]:
    """Return what an address says of the columns that show: nothing where they are the usual ones."""
    return [] if names == USUAL else list(names)


def fields_of(names: Iterable[str]) -> list[str]:
    """Return what the rows read for these columns beyond what every row reads."""
    return [column.field for column in named(names) if column.field]


def table_width(names: Iterable[str]) -> int:
    """Return the width in CSS px below which the columns would be squeezed, without the boxes for selecting."""
    return sum(column.width for column in named(names))
