"""A run as acts: what was said and which tools were called, in order, each with its span. Pure.

The story, the signals and the comparison of two runs all start here. It is the conversation of `traces.conversation` with each
tool's call and result in one act.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from traces.conversation import conversation, text_of
from traces.pairing import Place, is_result, pair_calls
from traces.spans import SpanRecord


@dataclass(slots=True)
class Act:
    """One message, or one tool call with its result. Empty or None: not known.

    `span_id` is where it can be seen: a call's own span, else the span of the model call that asked. `asked_by` is the latter.
    """

    kind: str  # message or call
    span_id: str
    trace_id: str = ""
    place: int = 0
    role: str = ""
    text: str = ""
    has_parts: bool = False  # holds more than text: images, files
    name: str = ""
    arguments: Any = None
    result: Any = None
    has_result: bool = False
    call_id: str = ""
    asked_by: str = ""
    is_error: bool = False  # the span, or the conversation, says that it failed
    error: str = ""
    has_span: bool = False  # of a call: its own span is there
    agent_name: str = ""
    is_sub_agent: bool = False
    model: str = ""
    start_ns: int | None = None
    duration_ms: float | None = None
    tokens: int | None = None
    cost_usd: float | None = None

    @property
    def key(self) -> str:
        """What makes two calls the same: tool and arguments, however the JSON was written."""
        return f"{self.name}\n{canonical(self.arguments)}"


@dataclass(slots=True)
class Run:
    """A run as acts, with the records that they came from, in order of reading."""

    acts: list[Act] = field(default_factory=list)
    records: list[SpanRecord] = field(default_factory=list)

    @property
    def calls(self) -> list[Act]:
        return [act for act in self.acts if act.kind == "call"]

    @property
    def messages(self) -> list[Act]:
        return [act for act in self.acts if act.kind == "message"]

    @property
    def roots(self) -> list[SpanRecord]:
        """The spans without a parent in the run."""
        known = {record.span_id for record in self.records}
        return [record for record in self.records if record.parent_span_id not in known]


def read_run(records: list[SpanRecord], *, entries: list[dict[str, Any]] | None = None) -> Run:
    """Return the acts of a trace. `entries`: its conversation, where that is at hand. System prompts are no acts."""
    by_id = {record.span_id: record for record in records}
    entries = conversation(records) if entries is None else entries
    pairs = pair_calls(entries, records)
    act_of: dict[Place, Act] = {}
    acts: list[Act] = []
    for number, entry in enumerate(entries):
        role = str(entry.get("role") or "")
        if role == "system":
            continue
        if is_result(entry):
            answered = pairs.answers.get(number)
            act = act_of.get(answered) if answered is not None else None
            if act is None:
                act = make_act("call", entry, len(acts), name=str(entry.get("name") or "tool"))
                acts.append(act)
            take_result(act, entry)
            continue
        text = text_of(entry["content"]).strip()
        has_parts = isinstance(entry["content"], list) and any(
            part.get("type") not in ("text", "reasoning") for part in entry["content"]
        )
        calls = entry.get("tool_calls") or []
        if text or has_parts or (entry["is_error"] and not calls):
            act = make_act("message", entry, len(acts), role=role, text=text, has_parts=has_parts)
            add_usage(act, entry, by_id)
            acts.append(act)
        for position, call in enumerate(calls):
            act = make_act(
                "call", entry, len(acts), name=str(call.get("name") or "tool"), arguments=call.get("arguments")
            )
            act.role, act.call_id, act.asked_by = "assistant", str(call.get("id") or ""), entry["span_id"]
            act.is_error, act.error = False, ""
            if not position and not text and not has_parts:
                add_usage(act, entry, by_id)
            tool = pairs.spans.get((number, position))
            if tool is not None:
                describe(act, tool)
            acts.append(act)
            act_of[number, position] = act
    return Run(acts, records)


def make_act(kind: str, entry: dict[str, Any], place: int, **values: Any) -> Act:
    """Return an act of an entry of the conversation."""
    start = entry.get("start_ns")
    act = Act(
        kind,
        entry["span_id"],
        trace_id=str(entry.get("trace_id") or ""),
        place=place,
        is_error=bool(entry.get("is_error")),
        error=str(entry.get("error") or ""),
        agent_name=str(entry.get("agent_name") or ""),
        is_sub_agent=bool(entry.get("is_sub_agent")),
        start_ns=int(start) if start is not None else None,
    )
    for name, value in values.items():
        setattr(act, name, value)
    return act


def add_usage(act: Act, entry: dict[str, Any], by_id: dict[str, SpanRecord]) -> None:
    """Add model, time, tokens and cost of the model call that made an act."""
    act.model = str(entry.get("model") or "")
    usage = entry.get("usage")
    if entry.get("duration_ms") is not None and entry.get("role") == "assistant":
        act.duration_ms = entry["duration_ms"]
    if usage:
        given = [usage[name] for name in ("input_tokens", "output_tokens") if usage.get(name) is not None]
        act.tokens = sum(given) if given else None
        act.cost_usd = usage.get("cost_usd")


def describe(act: Act, record: SpanRecord) -> None:
    """Add what a tool's own span says."""
    act.span_id, act.has_span, act.start_ns = record.span_id, True, record.start_ns
    if record.start_ns is not None and record.end_ns is not None:
        act.duration_ms = (record.end_ns - record.start_ns) / 1e6
    if record.status == "error":
        act.is_error, act.error = True, record.error_message or record.status_message or record.error_type
    tool = record.tool or {}
    if tool.get("arguments") is None and not act.arguments:
        act.arguments = None  # not recorded, which is not the same as none given
    if tool.get("result") is not None:
        act.result, act.has_result = tool["result"], True


def take_result(act: Act, entry: dict[str, Any]) -> None:
    """Give a call the result that the conversation has."""
    if not act.has_result:
        act.result, act.has_result = entry.get("content"), True
    if entry.get("is_error") and not act.is_error:
        act.is_error, act.error = True, str(entry.get("error") or "")
    if act.duration_ms is None:
        act.duration_ms = entry.get("duration_ms")


def canonical(value: Any) -> str:
    """Return a value as JSON that is the same for equal values."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return " ".join(value.split())
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, orjson.JSONEncodeError):
        return str(value)
