"""A conversation as turns: what the customer said, what the agent looked up, what it answered. Pure.

Takes the messages of `traces.conversation.conversation` and the records that they came from.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from traces.pointers import as_text, parse_text
from traces.spans import SpanRecord


@dataclass(slots=True)
class Call:
    """A tool call with its result. `state` is ok, error, or warn where it reported ok and the result holds an error."""

    name: str
    arguments: Any = None
    result: Any = None
    has_result: bool = False
    key: tuple[str, str] = ("", "")  # trace and span: the tool's own span, else the model call that asked
    state: str = "ok"
    reason: str = ""
    duration_ms: float | None = None


@dataclass(slots=True)
class Block:
    """One piece of a turn: kind `message` (user, assistant, system or another role), `calls`, or `sub` (a sub-agent's own thread)."""

    kind: str
    role: str = ""
    message: dict[str, Any] = field(default_factory=dict)
    agent_name: str = ""
    model: str = ""
    start_ns: int | None = None
    calls: list[Call] = field(default_factory=list)
    blocks: list["Block"] = field(default_factory=list)  # of a sub-agent

    @property
    def failed(self) -> int:
        return sum(call.state != "ok" for call in self.calls)

    @property
    def tools(self) -> list[str]:
        return list(dict.fromkeys(call.name for call in self.calls))


MAX_BLOCKS = 60  # of one turn on a page
TAIL_BLOCKS = 10  # of these, the last ones: the answer is among them


@dataclass(slots=True)
class Turn:
    """From one message of the customer to the next. Number 0 is what came before the first. Unknown figures are None."""

    number: int
    blocks: list[Block] = field(default_factory=list)
    start_ns: int | None = None
    duration_ms: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    anchor: str = ""
    left_out: int = 0  # blocks between the first and the last ones, which only the span tree shows

    def shorten(self) -> None:
        """Keep the first and the last blocks of a turn that is too long to draw."""
        if len(self.blocks) > MAX_BLOCKS:
            self.left_out = len(self.blocks) - MAX_BLOCKS
            self.blocks = [*self.blocks[: MAX_BLOCKS - TAIL_BLOCKS], *self.blocks[-TAIL_BLOCKS:]]


def build_turns(messages: list[dict[str, Any]], records: list[SpanRecord], *, prefix: str = "turn") -> list[Turn]:
    """Group the messages of a conversation into turns; tool calls stand before the answer that they led to.

    `prefix` begins the anchors: turn-1, turn-2 … What a sub-agent said is folded into one block. A call's span is found by its id,
    else by its name in order.
    """
    by_key = {(record.trace_id, record.span_id): record for record in records}
    calls_by_id, calls_by_name = index_tool_spans(records)
    turns: list[Turn] = []
    waiting: dict[tuple[str, str], Call] = {}
    number = 0
    for message in messages:
        role = str(message.get("role") or "")
        is_sub = bool(message.get("is_sub_agent"))
        if (role == "user" and not is_sub) or not turns:
            number += role == "user"
            turns.append(Turn(number if role == "user" else 0, anchor=f"{prefix}-{number if role == 'user' else 0}"))
        blocks = turns[-1].blocks
        if is_sub:
            blocks = sub_blocks(blocks, message)
        if role == "tool":
            take_result(message, blocks, waiting)
            continue
        if role in ("user", "system") or has_content(message):
            record = by_key.get(message_key(message))
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
        for asked in message.get("tool_calls") or []:
            call = Call(str(asked.get("name") or "tool"), asked.get("arguments"), key=message_key(message))
            tool = find_tool_span(asked, calls_by_id, calls_by_name)
            if tool is not None:
                describe_call(call, tool)
            if not blocks or blocks[-1].kind != "calls":
                blocks.append(Block("calls"))
            blocks[-1].calls.append(call)
            if asked.get("id"):
                waiting[str(message.get("trace_id") or ""), str(asked["id"])] = call
    for turn in turns:
        for call in turn_calls(turn.blocks):
            judge_result(call)
        measure(turn, by_key)
    return [turn for turn in turns if turn.blocks]


def message_key(message: dict[str, Any]) -> tuple[str, str]:
    """Return the trace and span that a message came from."""
    return str(message.get("trace_id") or ""), str(message.get("span_id") or "")


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


def index_tool_spans(records: list[SpanRecord]) -> tuple[dict[str, SpanRecord], dict[str, list[SpanRecord]]]:
    """Return the tool spans by call id, and those without one by name, in order."""
    by_id: dict[str, SpanRecord] = {}
    by_name: dict[str, list[SpanRecord]] = defaultdict(list)
    for record in records:
        if record.kind == "tool" and record.tool:
            if record.tool.get("call_id"):
                by_id.setdefault(str(record.tool["call_id"]), record)
            else:
                by_name[str(record.tool.get("name") or record.name)].append(record)
    for group in by_name.values():
        group.reverse()
    return by_id, by_name


def find_tool_span(
    asked: dict[str, Any], by_id: dict[str, SpanRecord], by_name: dict[str, list[SpanRecord]]
) -> SpanRecord | None:
    """Return the span that carried out a call; one found by name is used once."""
    found = by_id.get(str(asked.get("id") or ""))
    group = by_name.get(str(asked.get("name") or ""))
    return found or (group.pop() if group else None)


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
        call.result, call.has_result = result, True


def take_result(message: dict[str, Any], blocks: list[Block], waiting: dict[tuple[str, str], Call]) -> None:
    """Give a tool's answer to the call that asked for it; an answer without a call becomes a call of its own."""
    key = message_key(message)
    call_id = str(message.get("tool_call_id") or "")
    call = waiting.pop((key[0], call_id), None) if call_id else None
    if call is None and not call_id:
        wanted = message.get("name")
        call = next((call for call in turn_calls(blocks) if not call.has_result and wanted in (None, call.name)), None)
    if call is None:
        call = Call(str(message.get("name") or "tool"), key=key)
        blocks.append(Block("calls", calls=[call]))
    if not call.has_result:
        call.result, call.has_result = message.get("content"), True
    if message.get("is_error") and call.state == "ok":
        call.state = "error"
    if call.duration_ms is None:
        call.duration_ms = message.get("duration_ms")


def judge_result(call: Call) -> None:
    """Mark a call that reported ok and whose result says otherwise."""
    if call.state == "ok" and (reason := hidden_failure(call.result)):
        call.state, call.reason = "warn", reason


def hidden_failure(result: Any) -> str:
    """Return what in a tool's result says that it failed, or an empty text. A suspicion, never a verdict.

    Counts: a filled `error`, `errors` or `exception`; `isError` or `is_error` true; `ok` or `success` false; a status of failed
    or error, or of 400 and more; a text that begins with Error.
    """
    value = parse_text(result)
    if isinstance(value, str):
        first = value.strip()[:200].splitlines()
        return first[0] if first and re.match(r"error\b", first[0], re.IGNORECASE) else ""
    if not isinstance(value, dict):
        return ""
    for key in ("error", "errors", "exception"):
        if value.get(key):
            return f"{key}: {as_text(value[key])[:200]}"
    for key in ("is_error", "isError"):
        if value.get(key) is True:
            return f"{key}: true"
    for key in ("ok", "success"):
        if value.get(key) is False:
            return f"{key}: false"
    for key in ("status", "state", "status_code", "http_status"):
        state = value.get(key)
        if (isinstance(state, str) and state.lower() in ("error", "failed", "failure")) or (
            type(state) is int and 400 <= state < 600
        ):
            return f"{key}: {state}"
    return ""


def measure(turn: Turn, by_key: dict[tuple[str, str], SpanRecord]) -> None:
    """Add a turn's time, tokens and cost from the spans that its messages and calls came from, each once."""
    keys = {message_key(block.message) for block in all_blocks(turn.blocks) if block.kind == "message"}
    keys |= {call.key for call in turn_calls(turn.blocks)}
    found = [by_key[key] for key in keys if key in by_key]
    timed = [record for record in found if record.kind != "agent"] or found  # an agent's span lasts for many turns
    if all(block.role == "system" for block in turn.blocks):
        return  # the call that it came with belongs to the turn that follows
    starts = [record.start_ns for record in timed if record.start_ns is not None]
    ends = [record.end_ns for record in timed if record.end_ns is not None]
    if starts:
        turn.start_ns = min(starts)
        if ends and max(ends) >= turn.start_ns:
            turn.duration_ms = (max(ends) - turn.start_ns) / 1e6
    for record in found:
        if record.kind not in ("llm", "embedding"):
            continue
        usage = record.usage
        if usage.input_tokens is not None or usage.output_tokens is not None:
            turn.tokens = (turn.tokens or 0) + (usage.input_tokens or 0) + (usage.output_tokens or 0)
        if usage.cost_usd is not None:
            turn.cost_usd = (turn.cost_usd or 0.0) + usage.cost_usd


def all_blocks(blocks: list[Block]) -> Iterator[Block]:
    """Give some blocks and those inside them."""
    for block in blocks:
        yield block
        yield from all_blocks(block.blocks)
