"""A conversation as turns: what the customer said, what the agent looked up, what it answered. Pure.

Takes the messages of `traces.conversation.conversation` and the records that they came from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from traces.conversation import text_of
from traces.pairing import Place, entry_key, pair_calls
from traces.pointers import parse_text
from traces.result_errors import error_in
from traces.spans import SpanRecord

PAGE_WEIGHT = 60  # pieces that are drawn at once: messages, tool calls, folded sub-agents
MAX_CALLS = 20  # tool calls of one block; more follow in the next
MAX_INLINE = (
    8  # pieces of a sub-agent that are on the page while it is folded; those of a longer one come when it is opened
)
STATES = ("ok", "warn", "error")  # from good to bad


@dataclass(slots=True)
class Call:
    """A tool call with its result. `state` is ok, error, or warn where it reported ok and the result holds an error.

    `again` are the same calls, with the same arguments, made right after it. `arguments_at` and `result_at` are where the whole
    values lie: trace, span, and the pointer into it.
    """

    name: str
    arguments: Any = None
    result: Any = None
    has_result: bool = False
    key: tuple[str, str] = ("", "")  # trace and span: the tool's own span, else the model call that asked
    state: str = "ok"
    reason: str = ""
    duration_ms: float | None = None
    again: list["Call"] = field(default_factory=list)
    arguments_at: tuple[str, str, str] = ("", "", "")
    result_at: tuple[str, str, str] = ("", "", "")

    @property
    def worst(self) -> str:
        """The worst state of it and of its repetitions."""
        return max((call.state for call in (self, *self.again)), key=STATES.index)

    @property
    def took_ms(self) -> float | None:
        """How long it and its repetitions took together."""
        known = [call.duration_ms for call in (self, *self.again) if call.duration_ms is not None]
        return sum(known) if known else None


@dataclass(slots=True)
class Figures:
    """What some pieces of a run took. None: not known."""

    start_ns: int | None = None
    duration_ms: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None


@dataclass(slots=True)
class Block:
    """One piece of a turn: kind `message` (user, assistant, system or another role), `calls`, or `sub` (a sub-agent's own thread).

    `path` is its place: the number of the block in its turn, and below a sub-agent that in its thread (`17.3`), from 0. `figures` are
    those of a sub-agent.
    """

    kind: str
    role: str = ""
    message: dict[str, Any] = field(default_factory=dict)
    agent_name: str = ""
    model: str = ""
    start_ns: int | None = None
    calls: list[Call] = field(default_factory=list)
    blocks: list["Block"] = field(default_factory=list)  # of a sub-agent
    path: str = ""
    figures: Figures = field(default_factory=Figures)

    @property
    def call_count(self) -> int:
        """How many tool calls it holds itself, repetitions included."""
        return sum(1 + len(call.again) for call in self.calls)

    @property
    def failed(self) -> int:
        """How many of its tool calls, those of sub-agents included, failed or look as if they had."""
        return sum(call.state != "ok" for one in turn_calls([self]) for call in (one, *one.again))

    @property
    def tools(self) -> list[str]:
        return list(dict.fromkeys(call.name for call in self.calls))

    @property
    def pieces(self) -> int:
        """How many messages, tool calls and further sub-agents a sub-agent's thread holds."""
        return sum(len(block.calls) or 1 for block in self.blocks)

    @property
    def is_folded(self) -> bool:
        """Whether it is a sub-agent that is too long to lie on the page before it is opened."""
        return self.kind == "sub" and (self.pieces > MAX_INLINE or any(one.kind == "sub" for one in self.blocks))

    @property
    def weight(self) -> int:
        """How much it adds to a page."""
        return len(self.calls) or (1 if self.kind != "sub" or self.is_folded else 1 + self.pieces // 4)


@dataclass(slots=True)
class Turn:
    """From one message of the customer to the next. Number 0 is what came before the first. Unknown figures are None.

    A long turn is drawn in parts: `first` is the number of the first block here, `run` what the turn belongs to, on a session's page.
    """

    number: int
    blocks: list[Block] = field(default_factory=list)
    start_ns: int | None = None
    duration_ms: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    anchor: str = ""
    first: int = 0
    run: Any = None

    @property
    def words(self) -> str:
        """What the turn begins with, for a list of turns."""
        said = (text_of(block.message.get("content")) for block in self.blocks if block.kind == "message")
        return next((" ".join(text[:200].split()) for text in said if text.strip()), "")

    @property
    def failed(self) -> int:
        return sum(block.failed for block in self.blocks)


def build_turns(messages: list[dict[str, Any]], records: list[SpanRecord], *, prefix: str = "turn") -> list[Turn]:
    """Group the messages of a conversation into turns; tool calls stand before the answer that they led to.

    `prefix` begins the anchors: turn-1, turn-2 … What a sub-agent said is folded into one block. A call's span is found by its id,
    else by its name in order.
    """
    by_key = {(record.trace_id, record.span_id): record for record in records}
    pairs = pair_calls(messages, records)
    turns: list[Turn] = []
    call_of: dict[Place, Call] = {}
    number = 0
    for entry, message in enumerate(messages):
        role = str(message.get("role") or "")
        is_sub = bool(message.get("is_sub_agent"))
        if (role == "user" and not is_sub) or not turns:
            number += role == "user"
            turns.append(Turn(number if role == "user" else 0, anchor=f"{prefix}-{number if role == 'user' else 0}"))
        blocks = turns[-1].blocks
        if is_sub:
            blocks = sub_blocks(blocks, message)
        if role == "tool":
            answered = pairs.answers.get(entry) if entry not in pairs.later else None
            take_result(message, blocks, call_of.get(answered) if answered else None)
            continue
        if role in ("user", "system") or has_content(message):
            record = by_key.get(entry_key(message))
            blocks.append(
                Block(
                    "message",
                    role,
                    message,
                    agent_name=str(message.get("agent_name") or ""),
                    model=str(message.get("model") or ""),
                    start_ns=record.start_ns if record else None,
                )
            )
        at = message.get("at")
        for place, asked in enumerate(message.get("tool_calls") or []):
            call = Call(str(asked.get("name") or "tool"), asked.get("arguments"), key=entry_key(message))
            pointer = f"{at}/tool_calls/{place}/arguments" if at else "/tool/arguments"
            call.arguments_at = (*call.key, pointer)
            tool = pairs.spans.get((entry, place))
            if tool is not None:
                describe_call(call, tool)
            if not blocks or blocks[-1].kind != "calls" or len(blocks[-1].calls) >= MAX_CALLS:
                blocks.append(Block("calls"))
            blocks[-1].calls.append(call)
            call_of[entry, place] = call
    for turn in turns:
        for call in turn_calls(turn.blocks):
            judge_result(call)
        measure(turn, by_key)
        place_blocks(turn.blocks, by_key)
        for block in all_blocks(turn.blocks):
            block.calls = fold_repeated(block.calls)
    return [turn for turn in turns if turn.blocks]


def place_blocks(blocks: list[Block], by_key: dict[tuple[str, str], SpanRecord], above: str = "") -> None:
    """Give each block its path, and each sub-agent its figures."""
    for number, block in enumerate(blocks):
        block.path = f"{above}{number}"
        if block.kind == "sub":
            block.figures = add_up(block.blocks, by_key)
            place_blocks(block.blocks, by_key, f"{block.path}.")


def fold_repeated(calls: list[Call]) -> list[Call]:
    """Put calls that repeat the one before, with the same arguments, under it."""
    found: list[Call] = []
    last = b""
    for call in calls:
        this = call_digest(call.name, call.arguments)
        if found and this == last:
            found[-1].again.append(call)
        else:
            found.append(call)
            last = this
    return found


def call_digest(name: str, arguments: Any) -> bytes:
    """Return what makes two calls the same: tool and arguments, however their JSON was written."""
    try:
        return orjson.dumps([name, parse_text(arguments)], option=orjson.OPT_SORT_KEYS, default=str)
    except (TypeError, ValueError):  # too deep for JSON
        return repr((name, arguments)).encode("utf-8", "replace")


def sub_blocks(blocks: list[Block], message: dict[str, Any]) -> list[Block]:
    """Return the blocks of the sub-agent that is speaking, begun where the last one was another."""
    name = str(message.get("agent_name") or "")
    if not blocks or blocks[-1].kind != "sub" or blocks[-1].agent_name != name:
        blocks.append(Block("sub", agent_name=name))
    return blocks[-1].blocks


def turn_calls(blocks: list[Block]) -> Iterator[Call]:
    """Give the tool calls of some blocks, those of sub-agents included."""
    for block in blocks:
        yield from block.calls
        yield from turn_calls(block.blocks)


def has_content(message: dict[str, Any]) -> bool:
    return message.get("content") not in (None, "", [])


def describe_call(call: Call, record: SpanRecord) -> None:
    """Add what the tool's own span says."""
    call.key = record.trace_id, record.span_id
    if record.start_ns is not None and record.end_ns is not None:
        call.duration_ms = (record.end_ns - record.start_ns) / 1e6
    if record.status == "error":
        call.state = "error"
        call.reason = record.error_message or record.status_message or record.error_type
    result = (record.tool or {}).get("result")
    if result is not None:
        call.result, call.has_result, call.result_at = result, True, (*call.key, "/tool/result")


def take_result(message: dict[str, Any], blocks: list[Block], call: Call | None) -> None:
    """Give a tool's answer to the call that asked for it; an answer without a call becomes a call of its own."""
    key = entry_key(message)
    if call is None:
        call = Call(str(message.get("name") or "tool"), key=key)
        blocks.append(Block("calls", calls=[call]))
    if not call.has_result:
        call.result, call.has_result = message.get("content"), True
        at = str(message.get("at") or "")
        call.result_at = (*key, at if at in ("", "/tool/result") else f"{at}/content")
    if message.get("is_error") and call.state == "ok":
        call.state = "error"
    if call.duration_ms is None:
        call.duration_ms = message.get("duration_ms")


def judge_result(call: Call) -> None:
    """Mark a call that reported ok and whose result says otherwise."""
    if call.state == "ok" and (reason := error_in(call.result)):
        call.state, call.reason = "warn", reason


def measure(turn: Turn, by_key: dict[tuple[str, str], SpanRecord]) -> None:
    """Add a turn's time, tokens and cost."""
    if all(block.role == "system" for block in turn.blocks):
        return  # the call that it came with belongs to the turn that follows
    found = add_up(turn.blocks, by_key)
    turn.start_ns, turn.duration_ms = found.start_ns, found.duration_ms
    turn.tokens, turn.cost_usd = found.tokens, found.cost_usd


def add_up(blocks: list[Block], by_key: dict[tuple[str, str], SpanRecord]) -> Figures:
    """Return the time, tokens and cost of the spans that the messages and calls of some blocks came from, each once."""
    total = Figures()
    keys = {entry_key(block.message) for block in all_blocks(blocks) if block.kind == "message"}
    keys |= {call.key for call in turn_calls(blocks)}
    found = [by_key[key] for key in keys if key in by_key]
    timed = [record for record in found if record.kind != "agent"] or found  # an agent's span lasts for many turns
    starts = [record.start_ns for record in timed if record.start_ns is not None]
    ends = [record.end_ns for record in timed if record.end_ns is not None]
    if starts:
        total.start_ns = min(starts)
        if ends and max(ends) >= total.start_ns:
            total.duration_ms = (max(ends) - total.start_ns) / 1e6
    for record in found:
        if record.kind not in ("llm", "embedding"):
            continue
        usage = record.usage
        if usage.input_tokens is not None or usage.output_tokens is not None:
            total.tokens = (total.tokens or 0) + (usage.input_tokens or 0) + (usage.output_tokens or 0)
        if usage.cost_usd is not None:
            total.cost_usd = (total.cost_usd or 0.0) + usage.cost_usd
    return total


def all_blocks(blocks: list[Block]) -> Iterator[Block]:
    """Give some blocks and those inside them."""
    for block in blocks:
        yield block
        yield from all_blocks(block.blocks)


# Pages of a conversation -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class TurnPage:
    """The turns, or parts of turns, that are drawn at once. Places are (anchor of a turn, number of a block); None: nothing more."""

    turns: list[Turn]
    earlier: tuple[str, int] | None = None
    later: tuple[str, int] | None = None


def cut_page(turns: Sequence[Turn], anchor: str = "", block: int = 0, *, is_before: bool = False) -> TurnPage:
    """Return the page that begins at a block of a turn, or, with `is_before`, the one that ends before it.

    A place that is not there means the start. A page holds blocks of PAGE_WEIGHT in all, and one at least.
    """
    places = [
        (turn, number) for turn, one in enumerate(turns) for number in range(max(1, len(one.blocks)))
    ]  # a turn without a block is the mark of a run in which nothing new was said
    index_of = {one.anchor: turn for turn, one in reversed(list(enumerate(turns)))}
    wanted = (index_of.get(anchor, 0), block if anchor in index_of else 0)
    at = next((number for number, place in enumerate(places) if place >= wanted), max(0, len(places) - 1))

    def weight(number: int) -> int:
        turn, place = places[number]
        return turns[turn].blocks[place].weight if turns[turn].blocks else 1

    step = -1 if is_before else 1
    end, total = at, 0
    while 0 <= (number := end - 1 if is_before else end) < len(places):
        total += weight(number)
        if total > PAGE_WEIGHT and end != at:
            break
        end += step
    first, last = min(at, end), max(at, end)
    shown: list[Turn] = []
    for turn, place in places[first:last]:
        one = turns[turn]
        if not shown or shown[-1].anchor != one.anchor:
            shown.append(replace(one, blocks=[], first=place))
        shown[-1].blocks += one.blocks[place : place + 1]
    return TurnPage(
        shown,
        earlier=name_place(turns, places[first]) if first > 0 else None,
        later=name_place(turns, places[last]) if last < len(places) else None,
    )


def name_place(turns: Sequence[Turn], place: tuple[int, int]) -> tuple[str, int]:
    return turns[place[0]].anchor, place[1]


def cut_blocks(blocks: list[Block], first: int) -> tuple[list[Block], int]:
    """Return the blocks of a sub-agent's thread from one on, and the number of the next; 0 where there is none."""
    end, total = first, 0
    while end < len(blocks):
        total += blocks[end].weight
        if total > PAGE_WEIGHT and end > first:
            return blocks[first:end], end
        end += 1
    return blocks[first:], 0


def find_block(turns: Sequence[Turn], anchor: str, path: str) -> Block | None:
    """Return a block by its turn and path; None where there is none."""
    turn = next((one for one in turns if one.anchor == anchor), None)
    blocks, found = (turn.blocks if turn else []), None
    for number in path.split("."):
        if not (number.isascii() and number.isdecimal() and len(number) < 8 and int(number) < len(blocks)):
            return None
        found = blocks[int(number)]
        blocks = found.blocks
    return found
