"""From spans, in any order and number of batches, to the summary of their trace. Pure.

The summary is a function of the set of spans. Every field that one span gives to the whole trace (name, session, agent, …) is
taken from the span that ranks first: roots before others, then by start. Since the best of a set can be kept span by span,
a batch costs what it holds, whatever the size of the trace. `Summary.state()` is what has to be remembered for that.

Tokens and cost are counted on model calls and embeddings that have no model call with usage below them; `settle_usage` keeps that
up to date as parents and children arrive in any order. Where no span counts, the totals are the root's own.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from traces.conventions.common import AGENT_NAME
from traces.readable import call_text, message_text, readable_text
from traces.spans import SpanRecord
from traces.storable import MAX_INTEGER, amount_usd, clean_json, clean_text, json_bytes

Rank = list[Any]
SIZE = 200  # characters of most text columns
PREVIEW = 500
KIND_ORDER = {"agent": 0, "chain": 1, "llm": 3, "embedding": 3, "tool": 3}
TOKENS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
TEXTS = ("session_id", "user_id", "task", "environment", "release", "version", "workflow_name")
NO_TOKENS: list[int | None] = [None] * len(TOKENS)
MAX_LISTED = {"metadata": 200, "tags": 100, "models": 50, "sessions": 50}
MAX_VALUE = 1000  # characters of a metadata value that the summary keeps; the span keeps all
ANSWERING = ("agent", "llm", "chain")
NOTHING = ("", "")
NUMBERS = re.compile(r"\b[0-9a-f]{0,40}\d[0-9a-f]{7,}\b|\d+")  # ids and numbers in the text of an error


# What one span adds ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class UsageRow:
    """Tokens, cost and its source of one span, or of a sum."""

    tokens: list[int | None]
    cost_usd: float | None
    cost_source: str

    def __bool__(self) -> bool:
        return self.cost_usd is not None or self.tokens != NO_TOKENS


@dataclass(slots=True)
class Facts:
    """What one span says about its trace. `texts` are the fields of TEXTS that it has."""

    rank: Rank
    parent: str
    kind: str
    name: str
    status: str
    start_ns: int | None
    end_ns: int | None
    usage: UsageRow
    texts: dict[str, str]
    agent: tuple[str, str]
    agent_rank: int  # how surely the span says whose run it is; the lowest wins
    prompt: tuple[str, str]
    metadata: dict[str, Any]
    tags: list[str]
    model: str
    terms: set[tuple[str, str]]
    input: str
    output: str

    @property
    def bears_usage(self) -> bool:
        """Say whether this is a model call that has usage: the one that counts, unless another is below it."""
        return self.kind == "llm" and bool(self.usage)


def read_facts(record: SpanRecord, usage: UsageRow) -> Facts:
    """Return what a span says about its trace. `usage` is the record's, as it is stored."""
    parent = record.parent_span_id
    model = clean_text(record.model, SIZE) if record.model else ""
    texts = {name: clean_text(text, SIZE) for name in TEXTS if (text := getattr(record, name))}
    metadata = record.metadata and {clean_text(str(key), 100): short_value(one) for key, one in record.metadata.items()}
    tags = record.tags and [clean_text(str(tag), SIZE) for tag in record.tags if tag not in ("", None)]
    terms = {("tag", tag) for tag in tags}
    for key, value in metadata.items():
        if isinstance(value, str | int | float) and value != "":
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            terms.add((f"meta.{key}"[:100], text[:SIZE]))
    if model and record.kind in ("llm", "embedding", "reranker"):
        terms.add(("model", model))
    tool = str(record.tool.get("name") or "") if record.tool else ""
    if tool:
        terms.add(("tool", clean_text(tool, SIZE)))
    if "session_id" in texts:
        terms.add(("session", texts["session_id"]))
    if record.kind != "unknown":
        terms.add(("kind", record.kind[:SIZE]))
    if record.status == "error":
        said = (record.error_type, record.error_message or record.status_message)
        terms |= {("error", label) for text in said if (label := error_label(text))}
    prompt = record.prompt or {}
    answers = record.kind in ANSWERING or not parent
    return Facts(
        rank=[
            1 if parent and not record.is_root else 0,
            MAX_INTEGER if record.start_ns is None else record.start_ns,
            KIND_ORDER.get(record.kind, 2),
            record.position if record.start_ns is None else 0,
            record.span_id,
        ],
        parent=parent,
        kind=record.kind,
        name=clean_text(record.trace_name or record.name, PREVIEW),
        status=record.status,
        start_ns=record.start_ns,
        end_ns=record.end_ns,
        usage=usage,
        texts=texts,
        agent=(
            (clean_text(record.agent_id, SIZE), clean_text(record.agent_name, SIZE))
            if record.agent_id or record.agent_name
            else NOTHING
        ),
        agent_rank=agent_rank(record),
        prompt=(
            (clean_text(str(prompt.get("name") or ""), SIZE), clean_text(str(prompt.get("version") or ""), SIZE))
            if prompt
            else NOTHING
        ),
        metadata=metadata,
        tags=tags,
        model=model if record.kind in ("llm", "embedding", "reranker") else "",
        terms=terms,
        input=preview(input_text(record)) if answers else "",
        output=preview(output_text(record)) if answers else "",
    )


def agent_rank(record: SpanRecord) -> int:
    """Return how surely a span names the trace's agent: told, called so after the span that it is, or an id without a name."""
    name = record.agent_name
    if not name:
        return 2
    is_after_span = record.kind == "agent" and record.name.endswith(name)
    return 1 if is_after_span and not any(key in record.attributes for key in AGENT_NAME) else 0


def error_label(text: str) -> str:
    """Return the first line of an error's text without its numbers, so that the same error is found under one label."""
    first = next((line for line in text[:2000].splitlines() if line.strip()), "").strip()
    return clean_text(NUMBERS.sub("#", first), SIZE)


def short_value(value: Any) -> Any:
    """Return a metadata value as the summary keeps it: a long one cut, as text."""
    if isinstance(value, str):
        return clean_text(value, MAX_VALUE)
    if isinstance(value, dict | list):
        text = json_bytes(value).decode()
        return clean_json(value) if len(text) <= MAX_VALUE else text[:MAX_VALUE]
    return clean_json(value)


def preview(text: str) -> str:
    """Return the start of a text on one line."""
    plain = text[:PREVIEW]
    if plain.isprintable() and "  " not in plain and plain == plain.strip():  # nothing to be made one space
        return plain
    start = " ".join(text[: PREVIEW * 5 // 4].split())  # enough, but where there is much white space
    if len(start) >= PREVIEW or len(text) <= PREVIEW * 5 // 4:
        return clean_text(start, PREVIEW)
    return clean_text(" ".join(text[: PREVIEW * 4].split()), PREVIEW)


def input_text(record: SpanRecord) -> str:
    """Return what a span was asked, as text: its input, else the last thing that the user said."""
    if record.input not in (None, ""):
        return readable_text(record.input)
    said = [message for message in record.input_messages if message.get("role") == "user"]
    return message_text((said or record.input_messages)[-1]) if record.input_messages else ""


def output_text(record: SpanRecord) -> str:
    """Return what a span answered, as text: its output, else the last message with text, else the tools that it called."""
    if record.output not in (None, ""):
        return readable_text(record.output)
    for message in reversed(record.output_messages):
        text = message_text(message) or call_text(message)
        if text:
            return text
    return ""


# The summary -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Summary:
    """The columns of a trace that follow from its spans, and the ranks of the spans that gave them."""

    columns: dict[str, Any]
    ranks: dict[str, Rank] = field(default_factory=dict)
    listed: dict[str, dict[str, Rank]] = field(default_factory=dict)  # metadata keys, tags, models, sessions
    metadata: dict[str, Any] = field(default_factory=dict)
    root_usage: UsageRow = field(default_factory=lambda: UsageRow([None] * len(TOKENS), None, ""))
    usage: UsageRow = field(default_factory=lambda: UsageRow([None] * len(TOKENS), None, ""))

    def state(self) -> bytes:
        """Return what has to be remembered beside the columns."""
        root = [self.root_usage.tokens, self.root_usage.cost_usd, self.root_usage.cost_source]
        return orjson.dumps({"ranks": self.ranks, "listed": self.listed, "root_usage": root})

    def claim(self, name: str, rank: Rank) -> bool:
        """Say whether a span of this rank gives a field, and remember it if so. The same span may give it again."""
        holder = self.ranks.get(name)
        if holder is not None and holder < rank:
            return False
        self.ranks[name] = rank
        return True

    def enlist(self, name: str, key: str, rank: Rank) -> bool:
        """Put a key into a list of the trace, at the rank of the first span that has it. Beyond the limit the last go."""
        ranks = self.listed.setdefault(name, {})
        holder = ranks.get(key)
        if holder is not None and holder < rank:
            return False
        ranks[key] = rank
        if len(ranks) > MAX_LISTED[name]:
            last = max(ranks, key=lambda one: (ranks[one], one))
            del ranks[last]
            self.metadata.pop(last, None) if name == "metadata" else None
            return last != key
        return True

    def add(self, facts: Facts) -> None:
        """Take in a span. Counts and usage are not touched: see `count` and `settle`."""
        columns, rank = self.columns, facts.rank
        if self.claim("root", rank):
            columns["name"], columns["status"], columns["root_span_id"] = facts.name, facts.status, rank[-1]
            self.root_usage = facts.usage
        for name, text in facts.texts.items():
            if self.claim(name, rank):
                columns[name] = text
        agent_id, agent_name = facts.agent
        if (agent_id or agent_name) and self.claim("agent", [facts.agent_rank, *rank]):
            columns["agent_id"], columns["agent_name"] = facts.agent
        if any(facts.prompt) and self.claim("prompt", rank):
            columns["prompt_name"], columns["prompt_version"] = facts.prompt
        if facts.input and self.claim("input", rank):
            columns["input_preview"] = facts.input
        if facts.output:
            last = rank if not rank[0] else [1, -(facts.end_ns or facts.start_ns or 0), -rank[3], rank[-1]]
            if self.claim("output", last):
                columns["output_preview"] = facts.output
        for key, value in facts.metadata.items():
            if self.enlist("metadata", key, rank):
                self.metadata[key] = value
        for tag in facts.tags:
            self.enlist("tags", tag, rank)
        if facts.model:
            self.enlist("models", facts.model, rank)
        if "session_id" in facts.texts:
            self.enlist("sessions", facts.texts["session_id"], rank)
        if facts.start_ns is not None:
            start = columns["start_ns"]
            columns["start_ns"] = facts.start_ns if start is None else min(start, facts.start_ns)
        if facts.end_ns is not None:
            end = columns["end_ns"]
            columns["end_ns"] = facts.end_ns if end is None else max(end, facts.end_ns)

    def count(self, facts: Facts, sign: int = 1) -> None:
        """Count a span, or take it out of the counts."""
        columns = self.columns
        columns["span_count"] += sign
        columns["error_count"] += sign * (facts.status == "error")
        columns["llm_call_count"] += sign * (facts.kind == "llm")
        columns["tool_call_count"] += sign * (facts.kind == "tool")

    def settle(self, *, received_ns: int) -> None:
        """Write the columns that follow from others."""
        columns = self.columns
        start, end = columns["start_ns"], columns["end_ns"]
        columns["duration_ms"] = max(0, end - start) / 1e6 if start is not None and end is not None else None
        if start is not None:
            columns["sort_ns"] = start
        elif columns["sort_ns"] is None:
            columns["sort_ns"] = received_ns
        columns["missing_root"] = bool(self.ranks["root"][0])
        columns["metadata"] = dict(sorted(self.metadata.items()))
        for name, column in (("tags", "tags"), ("models", "model_names"), ("sessions", "session_ids")):
            ranks = self.listed.get(name, {})
            columns[column] = sorted(ranks, key=lambda key: (ranks[key], key))
        usage = self.usage if columns["usage_count"] else self.root_usage
        for name, count in zip(TOKENS, usage.tokens, strict=True):
            columns[name] = None if count is None else min(count, MAX_INTEGER)
        given = [count for count in usage.tokens[:2] if count is not None]
        columns["total_tokens"] = min(sum(given), MAX_INTEGER) if given else None
        columns["cost_usd"], columns["cost_source"] = usage.cost_usd, usage.cost_source


def new_summary() -> Summary:
    """Return the summary of a trace without spans."""
    texts = (*TEXTS, "agent_id", "agent_name", "prompt_name", "prompt_version", "name", "root_span_id")
    columns: dict[str, Any] = dict.fromkeys((*texts, "input_preview", "output_preview", "cost_source"), "")
    columns |= dict.fromkeys(("start_ns", "end_ns", "sort_ns", "duration_ms", "total_tokens", "cost_usd", *TOKENS))
    columns |= dict.fromkeys(("span_count", "error_count", "llm_call_count", "tool_call_count", "usage_count"), 0)
    columns |= {"status": "unset", "missing_root": False, "tags": [], "model_names": [], "session_ids": []}
    return Summary({**columns, "metadata": {}})


COLUMNS = tuple(new_summary().columns)  # of a trace, kept by its summary


def stored_summary(columns: dict[str, Any], state: bytes | None) -> Summary:
    """Return the summary of a stored trace, from its columns and its state."""
    summary = new_summary()
    summary.columns.update(columns)
    kept = orjson.loads(state) if state else {}
    summary.ranks, summary.listed = kept.get("ranks", {}), kept.get("listed", {})
    summary.metadata = dict(columns["metadata"])
    if "root_usage" in kept:
        summary.root_usage = UsageRow(*kept["root_usage"])
    if columns["usage_count"]:
        tokens = [columns[name] for name in TOKENS]
        summary.usage = UsageRow(tokens, columns["cost_usd"], columns["cost_source"])
    return summary


def has_grown(old: Facts, new: Facts) -> bool:
    """Say whether a new version of a span says all that the old one said, so that taking it in is enough."""
    return (
        (old.rank, old.agent_rank) == (new.rank, new.agent_rank)
        and old.parent == new.parent
        and old.kind == new.kind
        and (not old.usage or old.usage == new.usage)
        and (old.end_ns is None or (new.end_ns is not None and new.end_ns >= old.end_ns))
        and all(new.texts.get(name) == text for name, text in old.texts.items())
        and old.agent in (("", ""), new.agent)
        and old.prompt in (("", ""), new.prompt)
        and all(key in new.metadata and new.metadata[key] == value for key, value in old.metadata.items())
        and set(old.tags) <= set(new.tags)
        and old.model in ("", new.model)
        and old.terms <= new.terms
        and old.input in ("", new.input)
        and (not old.output or (old.output == new.output and old.end_ns == new.end_ns))
    )


# Usage, counted once ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class UsageNode:
    """A span as the count of usage sees it. `pk` is None for a span that is not stored yet."""

    parent: str
    bears: bool
    counts: bool
    below: bool = False
    pk: int | None = None
    is_changed: bool = False


Place = tuple[int, str]  # a trace (any number that stands for it) and a span id


def settle_usage(
    fresh: dict[Place, UsageNode],
    with_usage_below: Iterable[Place],
    find: Callable[[set[Place]], dict[Place, UsageNode]],
) -> tuple[dict[Place, UsageNode], list[UsageNode]]:
    """Decide for spans that arrive, and for those above them, whether their usage counts.

    `fresh` are the spans that arrive: `counts` says whether they would count with nothing below. `with_usage_below` are those of them
    that have a stored child with usage. `find` gives stored spans. Returns the stored spans that were looked at (changed
    ones are marked), and those that counted before and no longer do.
    """
    for place in with_usage_below:
        fresh[place].below, fresh[place].counts = True, False
    frontier: set[Place] = set()
    for (trace, _), node in fresh.items():
        node.below = node.below or node.bears
        if node.below and node.parent:
            frontier.add((trace, node.parent))
    stored: dict[Place, UsageNode] = {}
    uncounted: list[UsageNode] = []
    sought: set[Place] = set()
    while frontier:
        missing = {place for place in frontier if place not in fresh} - sought
        if missing:
            stored.update(find(missing))
            sought |= missing
        above: set[Place] = set()
        for place in frontier:
            if place not in fresh and place not in stored:
                continue
            node = fresh[place] if place in fresh else stored[place]
            if node.counts:
                node.counts = False
                if place not in fresh:
                    node.is_changed = True
                    uncounted.append(node)
            if not node.below:
                node.below = True
                node.is_changed = True
                if node.parent:
                    above.add((place[0], node.parent))
        frontier = above
    return stored, uncounted


def add_usage(total: UsageRow, part: UsageRow) -> UsageRow:
    """Return a sum; what neither side says stays unknown. An amount that was worked out makes the sum one."""
    tokens = [b if a is None else a if b is None else a + b for a, b in zip(total.tokens, part.tokens, strict=True)]
    costs = [cost for cost in (total.cost_usd, part.cost_usd) if cost is not None]
    sources = {total.cost_source, part.cost_source}
    source = "priced" if "priced" in sources else "sent" if "sent" in sources else ""
    return UsageRow(tokens, amount_usd(math.fsum(costs)) if costs else None, source)
