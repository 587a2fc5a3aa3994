"""The span tree of one trace: order, depth, roll-ups, slowest path, and what a window of time shows. Pure.

Takes light spans (no payload) and is linear but for sorting, without recursion: a chain of 50,000 spans is no problem.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from traces.spans import LightSpan

LONG_STEPS = (
    30,
    60,
    120,
    300,
    600,
    1_200,
    1_800,
    3_600,
    7_200,
    14_400,
    21_600,
    43_200,
    86_400,
)  # seconds between ticks
LAST_TICK = 91  # percent: a label further right would run into the column beside the lane
MODEL_KINDS = {"llm", "embedding"}
WORK_KINDS = {  # kind -> the word under which the slowest path counts it
    "llm": "model calls",
    "tool": "tools",
    "retriever": "retrieval",
    "embedding": "retrieval",
    "reranker": "retrieval",
    "guardrail": "guardrails",
    "evaluator": "guardrails",
}


@dataclass(slots=True)
class Row:
    """One row of the tree, in the order of reading. `size` counts the rows under it; tokens and cost are of the whole subtree.

    `kind` is that of the span, or `missing` for a parent that other spans name and that has not been received. `flags` say in words
    what makes the span look like a failure that nobody reported.
    """

    span: LightSpan
    kind: str
    depth: int
    parent: int  # index of the parent's row, -1 for a root
    position_in_set: int = 1
    set_size: int = 1
    size: int = 0
    tokens: int | None = None
    cost_usd: float | None = None
    errors: int = 0  # failed spans in the subtree, this one included
    is_critical: bool = False
    is_cycle: bool = False  # its parents led back to it; it was made a root
    flags: tuple[str, ...] = ()


@dataclass(slots=True)
class Tree:
    """The rows of a trace, and its time frame. `start_ns` is None where no span has a time."""

    rows: list[Row] = field(default_factory=list)
    start_ns: int | None = None
    end_ns: int | None = None
    work: list[tuple[str, float]] = field(default_factory=list)  # word, share of the slowest path; largest first

    @property
    def duration_ms(self) -> float:
        return 0.0 if self.start_ns is None or self.end_ns is None else (self.end_ns - self.start_ns) / 1e6


def build_tree(spans: Iterable[LightSpan], flags: Mapping[str, tuple[str, ...]] | None = None) -> Tree:
    """Lay out the spans of one trace. `flags` are what detectors say of spans, by span id.

    Children stand under their parent by start, then position; spans without times after those that have one. A span whose
    parent was not received stands under a row `missing` for that parent. A cycle is cut at its earliest span.
    """
    nodes = list(spans)
    index_of = {span.span_id: index for index, span in enumerate(nodes)}
    kinds = [span.kind for span in nodes]
    parents: list[int] = []
    for span in tuple(nodes):
        parent_id = span.parent_span_id
        if not parent_id or parent_id == span.span_id:
            parents.append(-1)
            continue
        if parent_id not in index_of:
            index_of[parent_id] = len(nodes)
            nodes.append(LightSpan(span_id=parent_id, name="Parent not received", kind="missing"))
            kinds.append("missing")
        parents.append(index_of[parent_id])
    parents.extend([-1] * (len(nodes) - len(parents)))
    cut = cut_cycles(nodes, parents)

    children: dict[int, list[int]] = {}  # of those that have any: most spans of a long run have none
    roots: list[int] = []
    for index, parent in enumerate(parents):
        if parent < 0:
            roots.append(index)
        elif parent in children:
            children[parent].append(index)
        else:
            children[parent] = [index]
    keys = [sort_key(span) for span in nodes]
    for index, kind in enumerate(kinds):  # a parent that is not there stands where its first child would
        if kind == "missing":
            keys[index] = min(keys[child] for child in children[index])
    for siblings in (roots, *children.values()):
        if len(siblings) > 1:
            siblings.sort(key=keys.__getitem__)

    tree = Tree(rows=order_rows(nodes, kinds, roots, children, cut))
    if flags:
        for row in tree.rows:
            row.flags = flags.get(row.span.span_id, ())
    roll_up(tree.rows)
    tree.start_ns = min((span.start_ns for span in nodes if span.start_ns is not None), default=None)
    ends = [last for span in nodes if (last := span.end_ns if span.end_ns is not None else span.start_ns) is not None]
    tree.end_ns = max(ends, default=None) if tree.start_ns is not None else None
    tree.work = mark_slowest_path(tree.rows)
    return tree


def sort_key(span: LightSpan) -> tuple[float, int, float, str]:
    """Order spans by start, then position; of those that start together the longer one first, as `queries.reading_order` does."""
    start, end = span.start_ns, span.end_ns
    return math.inf if start is None else start, span.position, -math.inf if end is None else -end, span.span_id


def cut_cycles(nodes: list[LightSpan], parents: list[int]) -> set[int]:
    """Make the earliest span of each cycle a root, in place. Returns the spans that were cut loose."""
    cut: set[int] = set()
    state = bytearray(len(nodes))  # 0 not seen, 1 on the way up from here, 2 known to end at a root
    for start in range(len(nodes)):
        way: list[int] = []
        at = start
        while at >= 0 and not state[at]:
            state[at] = 1
            way.append(at)
            at = parents[at]
        if at >= 0 and state[at] == 1:
            cycle = way[way.index(at) :]
            first = min(cycle, key=lambda index: (*sort_key(nodes[index]), index))
            parents[first] = -1
            cut.add(first)
        for index in way:
            state[index] = 2
    return cut


def order_rows(
    nodes: list[LightSpan], kinds: list[str], roots: list[int], children: dict[int, list[int]], cut: set[int]
) -> list[Row]:
    """Return the rows in reading order, with depth, place among siblings and size of subtree."""
    rows: list[Row] = []
    stack = [(index, 0, -1, place, len(roots)) for place, index in reversed(list(enumerate(roots, 1)))]
    while stack:
        index, depth, parent, place, siblings = stack.pop()
        number = len(rows)
        rows.append(Row(nodes[index], kinds[index], depth, parent, place, siblings, is_cycle=index in cut))
        below = children.get(index)
        if below:
            count = len(below)
            stack += [(below[spot], depth + 1, number, spot + 1, count) for spot in range(count - 1, -1, -1)]
    for number in range(len(rows) - 1, -1, -1):
        parent = rows[number].parent
        if parent >= 0:
            rows[parent].size += rows[number].size + 1
    return rows


def roll_up(rows: list[Row]) -> None:
    """Sum tokens, cost and errors over each subtree, in place.

    Only model calls and embeddings are added up, and not those that hold a model call with usage of its own: agents and chains
    repeat the sums of what is under them. Where nothing in a subtree adds up, the span's own figure is shown, and not passed on.
    """
    has_used_call = bytearray(len(rows))  # a model call with usage is in the subtree
    for number in range(len(rows) - 1, -1, -1):
        row = rows[number]
        span = row.span
        adds = row.kind in MODEL_KINDS and not has_used_call[number]
        used = span.input_tokens is not None or span.output_tokens is not None
        own_tokens = (span.input_tokens or 0) + (span.output_tokens or 0) if used else None
        if adds:
            row.tokens, row.cost_usd = add(row.tokens, own_tokens), add(row.cost_usd, span.cost_usd)
            has_used_call[number] = row.kind == "llm" and (used or span.cost_usd is not None)
        row.errors += span.status == "error"
        if row.parent >= 0:
            parent = rows[row.parent]
            parent.errors += row.errors
            parent.tokens, parent.cost_usd = add(parent.tokens, row.tokens), add(parent.cost_usd, row.cost_usd)
            has_used_call[row.parent] |= has_used_call[number]
        row.tokens = own_tokens if row.tokens is None else row.tokens
        row.cost_usd = span.cost_usd if row.cost_usd is None else row.cost_usd


def add(total: Any, part: Any) -> Any:
    """Add where there is something to add; None and None stay None."""
    return total if part is None else part if total is None else total + part


def mark_slowest_path(rows: list[Row]) -> list[tuple[str, float]]:
    """Mark the spans that the end of the trace waited for, in place; return what they spent their time on.

    From the end of the longest root backwards: the child that ended last before the point reached is the one waited for; the
    time between children belongs to the span itself. Shares add up to 1. Empty where nothing is timed.
    """
    children: dict[int, list[int]] = {}
    roots: list[int] = []
    for number, row in enumerate(rows):
        if row.span.start_ns is None or row.span.end_ns is None:
            continue
        if row.parent < 0 or rows[row.parent].kind == "missing":
            roots.append(number)
        elif row.parent in children:
            children[row.parent].append(number)
        else:
            children[row.parent] = [number]
    if not roots:
        return []
    spent: dict[str, int] = {}
    first = max(roots, key=lambda number: (rows[number].span.end_ns or 0) - (rows[number].span.start_ns or 0))
    stack = [(first, rows[first].span.end_ns or 0)]
    while stack:
        number, until = stack.pop()
        row = rows[number]
        row.is_critical = True
        start = row.span.start_ns or 0
        own = 0
        for child in sorted(children.get(number, ()), key=lambda child: -(rows[child].span.end_ns or 0)):
            end, child_start = rows[child].span.end_ns or 0, rows[child].span.start_ns or 0
            if end > until or child_start >= until or end <= child_start:
                continue
            if end <= start:
                break
            own += until - end
            stack.append((child, end))
            until = max(child_start, start)
        own += max(0, until - start)
        word = WORK_KINDS.get(row.kind, "other")
        spent[word] = spent.get(word, 0) + own
    total = sum(spent.values())
    if total <= 0:
        return []
    return sorted(((word, time / total) for word, time in spent.items() if time > 0), key=lambda item: -item[1])


# What is shown ---------------------------------------------------------------------------------------------------


def select_rows(rows: list[Row], wanted: Callable[[Row], bool]) -> tuple[list[int], int]:
    """Return the rows that are wanted with all their parents, in order, and how many are wanted themselves."""
    keep = bytearray(len(rows))
    hits = 0
    for number, row in enumerate(rows):
        if wanted(row):
            hits += 1
            at = number
            while at >= 0 and not keep[at]:
                keep[at] = 1
                at = rows[at].parent
    return [number for number in range(len(rows)) if keep[number]], hits


NOT_KINDS = ("", "errors", "suspect", "slowest")  # what rows can be filtered by, beside their kinds


def row_filter(only: str, find: str) -> Callable[[Row], bool] | None:
    """Return the test for a filter, or None where there is none. `only`: one of NOT_KINDS, or a kind; `find`: words of the name."""
    words = find.casefold().split()
    if not only and not words:
        return None

    def wanted(row: Row) -> bool:
        span = row.span
        if only == "errors" and span.status != "error":
            return False
        if only == "suspect" and not row.flags:
            return False
        if only == "slowest" and not row.is_critical:
            return False
        if only not in NOT_KINDS and row.kind != only:
            return False
        if not words:
            return True
        text = f"{span.name}\n{span.display_name}\n{row_detail(row)}\n{span.tool_name}\n{span.model}\n{span.span_id}".casefold()
        return all(word in text for word in words)

    return wanted


def row_title(row: Row) -> str:
    return row.span.display_name or row.span.name or row.span.span_id


def row_detail(row: Row) -> str:
    """Return the short fact beside a span's name: why it failed, the model, the tool, or how many spans are under it."""
    span = row.span
    if row.kind == "missing":
        return span.span_id
    if row.is_cycle:
        return "its parents form a circle"
    if span.status == "error" and (span.status_message or span.error_type):
        return (span.status_message or span.error_type)[:120]
    if span.model and span.model not in row_title(row):
        return span.model
    if span.tool_name and span.tool_name not in row_title(row):
        return span.tool_name
    if row.parent < 0 and row.size:
        return f"{row.size + 1:,} spans"
    return ""


def tree_columns(tree: Tree, kinds: Sequence[str]) -> dict[str, Any]:
    """Return the rows as columns, in the order of reading: what the browser draws the tree from, small enough for 50,000 rows.

    Texts that recur stand once in `words`, and columns hold their numbers; times are whole microseconds from the trace's start.
    Parents, places and sizes follow from `depth`. `kind` is a number of `kinds`. `flags` has only the rows that carry some.
    """
    rows, start_ns = tree.rows, tree.start_ns
    number_of = {kind: number for number, kind in enumerate(kinds)}
    words: dict[str, int] = {"": 0}
    spans = [row.span for row in rows]

    def word(text: str) -> int:
        return words.setdefault(text, len(words))

    starts = [
        None if start_ns is None or span.start_ns is None else (span.start_ns - start_ns) // 1000 for span in spans
    ]
    lengths = [
        None
        if start_ns is None or span.start_ns is None or span.end_ns is None
        else max(0, span.end_ns - span.start_ns) // 1000
        for span in spans
    ]
    return {
        "total": tree.duration_ms / 1000,
        "is_timed": start_ns is not None,
        "id": [span.span_id for span in spans],
        "name": [word(row_title(row)[:160]) for row in rows],
        "detail": [word(row_detail(row)) for row in rows],
        "tool": [word(span.tool_name) for span in spans],
        "model": [word(span.model) for span in spans],
        "kind": [number_of.get(row.kind, number_of["unknown"]) for row in rows],
        "depth": [row.depth for row in rows],
        "start": starts,
        "length": lengths,
        "error": [int(span.status == "error") for span in spans],
        "slow": [int(row.is_critical) for row in rows],
        "tokens": [row.tokens for row in rows],
        "cost": [None if row.cost_usd is None else round(row.cost_usd, 6) for row in rows],
        "flags": [[number, list(row.flags)] for number, row in enumerate(rows) if row.flags],
        "words": list(words),
    }


@dataclass(slots=True, frozen=True)
class Window:
    """A part of the trace's time. Seconds from its start; `total` is the whole."""

    start: float
    end: float
    total: float

    @property
    def is_zoomed(self) -> bool:
        return self.start > 0 or self.end < self.total

    @property
    def length(self) -> float:
        return self.end - self.start


def make_window(total: float, start: float | None, end: float | None) -> Window:
    """Return the window from `start` to `end` (seconds), kept inside the trace; the whole where they make no sense."""
    low = 0.0 if start is None or not math.isfinite(start) else max(0.0, start)
    high = total if end is None or not math.isfinite(end) else min(total, end)
    return Window(low, high, total) if high > low else Window(0.0, total, total)


@dataclass(slots=True, frozen=True)
class Bar:
    """A bar in percent of the window; cut where the span goes on outside it."""

    left: float
    width: float
    cut_left: bool
    cut_right: bool


def place_bar(start: float | None, length: float | None, window: Window) -> Bar | None:
    """Return the bar of a span from `start` for `length` seconds (None: not ended). None where the window does not show it."""
    if start is None or window.length <= 0:
        return None
    end = start + max(0.0, length) if length is not None else window.total
    if end < window.start or start > window.end:
        return None
    left, right = max(start, window.start), min(end, window.end)
    scale = 100 / window.length
    slack = max(window.total * 1e-6, 2e-6)  # of rounding
    return Bar(
        (left - window.start) * scale,
        (right - left) * scale,
        start < window.start - slack,
        end > window.end + slack or length is None,
    )


def window_words(window: Window) -> tuple[str, str]:
    """Return a window in words, and the whole that it is a part of, in one unit: ("1.4 s to 10.4 s", "14.82 s")."""
    return f"{moment(window.start, window.total)} to {moment(window.end, window.total)}", moment(
        window.total, window.total
    )


def moment(seconds: float, total: float) -> str:
    """Show a time of the trace in the unit that suits the whole of it: 250 ms, 1.5 s, 8:55 min, 2:15:30 h."""
    if total < 0.5:
        return f"{round(seconds * 1000, 2 if total < 0.01 else 1):g} ms"
    if total < 100:
        return f"{round(seconds, 2):g} s"
    whole = round(seconds)
    if total < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02} h"


def ticks(window: Window, *, wanted: int = 5) -> list[tuple[float, str]]:
    """Return the round times in the window: (percent, label). None in an empty window; at its very end a line without label."""
    if window.length <= 0:
        return []
    step = tick_step(window.length / wanted)
    first = math.ceil(window.start / step - 1e-9)
    last = math.floor(window.end / step + 1e-9)
    places = [number * step for number in range(first, last + 1)]
    lefts = [(at - window.start) / window.length * 100 for at in places]
    return [(left, tick_label(at, step) if left <= LAST_TICK else "") for left, at in zip(lefts, places, strict=True)]


def tick_step(least: float) -> float:
    """Return the smallest round step of `least` seconds or more: 1, 2 or 5 of a power of ten; long ones in minutes or hours."""
    if least > 20:
        return next((step for step in LONG_STEPS if step >= least), math.ceil(least / 86_400) * 86_400)
    size = 10 ** math.floor(math.log10(least))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= least)


def tick_label(seconds: float, step: float) -> str:
    """Show the time of a tick: 250 ms, 1.5 s, 1:30 min, 2:15 h."""
    if seconds == 0:
        return "0 s"
    if step < 0.001:
        return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + " ms"
    if step < 1 and seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if step < 30:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + " s"
    if step < 1800:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
