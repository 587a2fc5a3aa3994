"""The tool calls of a conversation with what answered them: the one place where a call, its result and its own span meet. Pure.

Ids of calls need not be their own: `call_0` may come again in every answer of a model. So an id means the latest call that asked
with it and is open still, within its trace and agent; of calls that one message asks with one id, the first. Takes a time that
grows with the number of calls.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import orjson

from traces.pointers import parse_text
from traces.spans import SpanRecord

Call = TypeVar("Call", bound=Hashable)
Place = tuple[int, int]  # number of the entry in the conversation, number of the call in it


class OpenCalls(Generic[Call]):
    """Calls that wait for a result, by keys of any kind; a call may wait under several.

    Each key has a list of groups, one a message that asked: the message, the place of its first open call, its calls. Lists and no
    deques: most keys have one call, and a deque takes five times the memory.
    """

    def __init__(self) -> None:
        self.groups: dict[Hashable, list[list[Any]]] = {}
        self.closed: set[Call] = set()

    def ask(self, key: Hashable, call: Call, message: Hashable = None) -> None:
        """Add a call under a key. `message`: what asked, so that calls of one message stand in their order."""
        groups = self.groups.setdefault(key, [])
        if groups and groups[-1][0] == message:
            groups[-1].append(call)
        else:
            groups.append([message, 2, call])

    def find(self, key: Hashable) -> Call | None:
        """Return the open call of a key: of the latest message that has one, the first."""
        groups = self.groups.get(key)
        while groups:
            group = groups[-1]
            while group[1] < len(group) and group[group[1]] in self.closed:
                group[1] += 1
            if group[1] < len(group):
                return cast(Call, group[group[1]])
            groups.pop()
        return None

    def close(self, call: Call) -> None:
        """Take a call out, under all its keys."""
        self.closed.add(call)


@dataclass(slots=True)
class Pairs:
    """What belongs together: the own span of a call, and the call that a tool's entry answers."""

    spans: dict[Place, SpanRecord] = field(default_factory=dict)
    answers: dict[int, Place] = field(default_factory=dict)
    later: set[int] = field(default_factory=set)  # entries that answer a call which an entry before has answered


def pair_calls(entries: Sequence[dict[str, Any]], records: Sequence[SpanRecord]) -> Pairs:
    """Pair the calls of a conversation (`traces.conversation.conversation`) with their spans and with the entries of their results.

    A span is found by call id, with the same arguments before others, and each is used once; one without an id by its name, in
    order. An entry that came from a span answers that span's call, else the open call of its id, else, where it has no id, the
    first open one of its name.
    """
    found = Pairs()
    spans = ToolSpans(entries, records)
    waiting: OpenCalls[Place] = OpenCalls()  # by id, and by name
    last: dict[Hashable, Place] = {}
    of_span: dict[tuple[str, str], Place] = {}
    answered = waiting.closed
    for number, entry in enumerate(entries):
        agent = agent_key(entry)
        if is_result(entry):
            call_id = str(entry.get("tool_call_id") or "")
            place = of_span.get(entry_key(entry)) if entry.get("at") == "/tool/result" else None
            if place is not None and place in answered:
                place = None
            if place is None and call_id:
                keys = (*agent, call_id), (agent[0], None, call_id)
                place = next((one for one in map(waiting.find, keys) if one is not None), None)
                place = place or next((last[key] for key in keys if key in last), None)
            elif place is None:
                place = waiting.find((*agent, "name", str(entry.get("name") or "")))
            if place is not None:
                found.answers[number] = place
                if place in answered:
                    found.later.add(number)
                waiting.close(place)
            continue
        for position, call in enumerate(entry.get("tool_calls") or ()):
            place = number, position
            span = spans.take(place, entry, call)
            if span is not None:
                found.spans[place] = span
                of_span[span.trace_id, span.span_id] = place
            if call.get("id"):
                for key in ((*agent, str(call["id"])), (agent[0], None, str(call["id"]))):
                    waiting.ask(key, place, number)
                    last[key] = place
            for name in {str(call.get("name") or ""), ""}:
                waiting.ask((*agent, "name", name), place)
    return found


class ToolSpans:
    """The spans of tools, each given to one call."""

    def __init__(self, entries: Sequence[dict[str, Any]], records: Sequence[SpanRecord]) -> None:
        self.tools = tools = [record for record in records if record.kind == "tool" and record.tool]
        self.by_key = {(record.trace_id, record.span_id): record for record in tools}
        self.free: OpenCalls[int] = OpenCalls()  # numbers of `tools`
        self.told: dict[Hashable, SpanRecord] = {}  # that brought their call along: a message may ask for it afterwards
        brought = {entry_key(entry) for entry in entries if brings_call(entry)} & self.by_key.keys()
        repeated: defaultdict[Hashable, int] = defaultdict(int)
        for record in tools:
            repeated[span_call(record)] += 1
        self.repeated = {key for key, count in repeated.items() if count > 1}
        for number, record in enumerate(tools):
            key = span_call(record)
            if (record.trace_id, record.span_id) in brought:
                continue
            self.free.ask(key, number)
            if key in self.repeated:
                self.free.ask((*key, argument_digest((record.tool or {}).get("arguments"))), number)

    def take(self, place: Place, entry: dict[str, Any], call: dict[str, Any]) -> SpanRecord | None:
        """Return the span that carried out a call, or None."""
        trace_id = str(entry.get("trace_id") or "")
        own = self.by_key.get(entry_key(entry)) if brings_call(entry) else None
        if own is not None:
            self.told[span_call(own)] = own
            return own
        for key in ((trace_id, "id", str(call.get("id") or "")), (trace_id, "name", str(call.get("name") or ""))):
            exact = self.free.find((*key, argument_digest(call.get("arguments")))) if key in self.repeated else None
            number = self.free.find(key) if exact is None else exact
            if number is not None:
                self.free.close(number)
                return self.tools[number]
            if key in self.told:
                return self.told.pop(key)
        return None


def span_call(record: SpanRecord) -> tuple[str, str, str]:
    """Return what a tool's span is found by: its call id, else its name, in its trace."""
    tool = record.tool or {}
    if tool.get("call_id"):
        return record.trace_id, "id", str(tool["call_id"])
    return record.trace_id, "name", str(tool.get("name") or record.name)


def is_result(entry: dict[str, Any]) -> bool:
    """Say whether an entry of a conversation is a tool's result."""
    return entry.get("role") == "tool" or bool(entry.get("tool_call_id"))


def brings_call(entry: dict[str, Any]) -> bool:
    """Say whether an entry is a call that no message asked for, put together from the tool's own span."""
    return entry.get("at") == "" and bool(entry.get("tool_calls"))


def entry_key(entry: dict[str, Any]) -> tuple[str, str]:
    """Return the trace and span that an entry came from."""
    return str(entry.get("trace_id") or ""), str(entry.get("span_id") or "")


def agent_key(entry: dict[str, Any]) -> tuple[str, str]:
    """Return the trace of an entry and the sub-agent that speaks; an empty text for the main thread."""
    return str(entry.get("trace_id") or ""), str(entry.get("agent_name") or "") if entry.get("is_sub_agent") else ""


def argument_digest(arguments: Any) -> bytes:
    """Return the arguments of a call as bytes that are the same however their JSON was written."""
    try:
        return orjson.dumps(parse_text(arguments), option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    except (TypeError, ValueError):  # too deep for JSON
        return repr(arguments).encode("utf-8", "replace")
