"""The thread of a run, or of a whole session, as it was lived: every message once. Pure.

A model call's input repeats the turns before it; only what is new there joins the thread. Results of tools come from the
tool spans where the model's messages lack them, and runs without any message are read from their spans' inputs and outputs.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import orjson

from traces.conventions.raw import parse_value
from traces.pairing import OpenCalls, Place, argument_digest
from traces.spans import Message, SpanRecord, Usage

MESSAGE_KEYS = ("role", "content", "tool_calls", "tool_call_id", "name")
USAGE = tuple(one.name for one in fields(Usage))
Key = tuple[str, str]  # trace id, span id
TEXT_KEYS = (
    "question",
    "input",
    "query",
    "prompt",
    "message",
    "text",
    "content",
    "user_input",
    "answer",
    "output",
    "response",
    "result",
)


@dataclass
class Thread:
    """The entries of one agent's thread, and which items of messages it holds already."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    held: Counter[Hashable] = field(default_factory=Counter)
    answered: set[tuple[str, str]] = field(default_factory=set)  # trace and id of the tool calls that have a result
    last_input: list[Message] = field(default_factory=list)  # of the model call before, all of it known
    last_used: Counter[Hashable] = field(default_factory=Counter)  # the held items that it took up
    calls: "AskedCalls" = field(default_factory=lambda: AskedCalls())
    brought: dict[tuple[str, str], Any] = field(
        default_factory=dict
    )  # arguments of calls that tools brought along, by trace, id

    def ask(self, trace_id: str, call: dict[str, Any], place: Place) -> None:
        """Add a call that waits for its result. An id that is asked again has none yet, whatever it had before.

        A call that its tool brought along, and that a message asks for afterwards, is the same one, and answered.
        """
        key = trace_id, str(call.get("id") or "")
        if key[1]:
            brought = self.brought.pop(key, None)
            if key in self.answered and brought and argument_digest(brought) == argument_digest(call["arguments"]):
                return
            self.answered.discard(key)
        self.calls.ask(trace_id, call, place)

    def answer(self, trace_id: str, call_id: str) -> None:
        """Take out the call that a result of this id answers."""
        self.calls.answer(trace_id, call_id)
        if self.calls.find_id(trace_id, call_id) is None:
            self.answered.add((trace_id, call_id))


@dataclass
class AskedCalls:
    """The tool calls of a thread that wait for a result. Those without an id wait on, after those that nothing has answered yet."""

    by_id: OpenCalls[Place] = field(default_factory=OpenCalls)
    asked: dict[Place, dict[str, Any]] = field(default_factory=dict)  # those with an id that are open
    waiting: dict[Place, dict[str, Any]] = field(default_factory=dict)  # those that nothing has answered yet
    by_name: OpenCalls[Place] = field(default_factory=OpenCalls)
    spent: dict[Hashable, dict[str, Any]] = field(
        default_factory=dict
    )  # the first answered one without an id, of each name

    def ask(self, trace_id: str, call: dict[str, Any], place: Place) -> None:
        """Add a call. `place`: its message, and its number there; the calls of earlier messages with its id are given up."""
        self.waiting[place] = call
        for name in names_of(call):
            self.by_name.ask(name, place)
        if not (call_id := call.get("id")):
            return
        while (old := self.by_id.find((trace_id, call_id))) is not None and old[0] != place[0]:
            self.close(old)
        for key in ((trace_id, call_id), call_id):
            self.by_id.ask(key, place, place[0])
        self.asked[place] = call

    def close(self, place: Place) -> None:
        """Let a call wait no longer under its id."""
        self.by_id.close(place)
        self.asked.pop(place, None)

    def find_id(self, trace_id: str, call_id: str) -> dict[str, Any] | None:
        """Return the open call of an id: that of the trace, else the latest of another trace of the session."""
        place = self.place_of(trace_id, call_id)
        return None if place is None else self.asked[place]

    def place_of(self, trace_id: str, call_id: str) -> Place | None:
        found = self.by_id.find((trace_id, call_id))
        return self.by_id.find(call_id) if found is None else found

    def answer(self, trace_id: str, call_id: str) -> None:
        """Take out the open call of this id."""
        place = self.place_of(trace_id, call_id)
        if place is not None:
            self.waiting.pop(place, None)
            self.by_name.close(place)
            self.close(place)

    def find(self, trace_id: str, call_id: str | None, tool: dict[str, Any]) -> dict[str, Any] | None:
        """Return the call that a tool span answers: by id, else the first unanswered one of its name and arguments."""
        if call_id and self.asked:
            return self.find_id(trace_id, call_id)
        names = names_of(tool)
        place = next((place for place in map(self.by_name.find, names) if place is not None), None)
        if place is None:
            return next((self.spent[name] for name in names if name in self.spent), None)
        call = self.waiting[place]
        if not call.get("id"):
            del self.waiting[place]
            self.by_name.close(place)
            for name in names_of(call):
                self.spent.setdefault(name, call)
        return call


def names_of(call: dict[str, Any]) -> tuple[Hashable, Hashable]:
    """Return what a call without an id is found by: name and arguments, else its name."""
    name = str(call.get("name") or "")
    return (name, argument_digest(call.get("arguments"))), name


class Places:
    """Where each span stands below agents, tools and model calls: worked out once, from the top down."""

    def __init__(self, records: list[SpanRecord]) -> None:
        self.records = records
        index_of = {(record.trace_id, record.span_id): number for number, record in enumerate(records)}
        self.parents = [
            index_of.get((record.trace_id, record.parent_span_id), -1) if record.parent_span_id else -1
            for record in records
        ]
        order = self.order_down()
        count = len(records)
        self.agent_above = [-1] * count  # the nearest agent above
        self.is_in_call = bytearray(count)  # below a model call that has an answer
        for number in order:
            above = self.parents[number]
            if above >= 0:
                record = records[above]
                self.agent_above[number] = above if record.kind == "agent" else self.agent_above[above]
                self.is_in_call[number] = self.is_in_call[above] or (
                    record.kind == "llm" and bool(record.output_messages)
                )
        callers = {self.agent_above[number] for number, record in enumerate(records) if record.kind == "llm"}
        # Below an agent that stands below a tool, or below an agent that makes model calls of its own: not the main thread.
        self.sub_agent = [-1] * count
        below_caller = bytearray(count)  # a tool or a calling agent stands here or above, with no agent in between
        called = [-1] * count  # the sub-agent of the spans below this one
        for number in order:
            above, record = self.parents[number], records[number]
            if above >= 0:
                self.sub_agent[number] = called[above]
            is_caller = record.kind == "tool" or number in callers
            is_below = above >= 0 and below_caller[above]
            if record.kind == "agent":
                called[number] = number if is_below else called[above] if above >= 0 else -1
                below_caller[number] = is_caller
            else:
                called[number] = called[above] if above >= 0 else -1
                below_caller[number] = is_caller or is_below

    def order_down(self) -> list[int]:
        """Return the spans, parents first; a circle of parents is cut where it is met."""
        order: list[int] = []
        state = bytearray(len(self.records))  # 0 not seen, 1 on the way up from here, 2 in the order
        for start in range(len(self.records)):
            way, at = [], start
            while at >= 0 and not state[at]:
                state[at] = 1
                way.append(at)
                at = self.parents[at]
            if at >= 0 and state[at] == 1:
                self.parents[way[-1]] = -1
            for number in reversed(way):
                state[number] = 2
                order.append(number)
        return order


class Source:
    """The messages of a model call's input that are looked at, with the place where each call id is asked for last."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages

    @cached_property
    def numbers(self) -> dict[int, int]:
        return {id(message): number for number, message in enumerate(self.messages)}

    @cached_property
    def asked(self) -> dict[str, tuple[int, Any]]:
        return {
            call["id"]: (number, call["arguments"])
            for number, message in enumerate(self.messages)
            for call in message.get("tool_calls", ())
            if call.get("id")
        }

    def answers(self, message: Message, call: dict[str, Any]) -> bool:
        """Say whether a result of an open call's id is that call's, not one of an earlier call of the same id: nothing asks for it
        after the result, and what asks for it before, if anything does, asks for the same.
        """
        number, arguments = self.asked.get(call["id"], (-1, call["arguments"]))
        return number < self.numbers[id(message)] and argument_digest(arguments) == argument_digest(call["arguments"])


def conversation(records: list[SpanRecord]) -> list[dict[str, Any]]:
    """Return the messages of one or more traces in order, none repeated.

    Each is a message of the read API (`role`, `content`, `tool_calls`, `tool_call_id`) with `span_id` and `trace_id` of the
    span that produced it, `at` (its place there as a JSON pointer; empty where it was put together), `start_ns` (decimal text
    or None, as in the read API), `duration_ms`, `model` and `usage` of the call where one made it, `agent_name`,
    `is_sub_agent` (said by an agent that another one called), on tool results `name`, and
    `is_error` with `error` where a call or a tool failed: a model call that failed without an answer is an assistant's entry
    without content.
    """
    return Reader(records).read()


class Reader:
    """The state of reading one list of records; used once."""

    def __init__(self, records: list[SpanRecord]) -> None:
        self.records = sorted(
            records, key=lambda record: (record.start_ns is None, record.start_ns or 0, record.position)
        )
        self.by_key: dict[Key, SpanRecord] = {(record.trace_id, record.span_id): record for record in self.records}
        self.items: dict[int, tuple[Message, list[Hashable]]] = {}
        self.places = Places(self.records)
        self.number_of = {id(record): number for number, record in enumerate(self.records)}
        self.of_trace: dict[str, list[SpanRecord]] = defaultdict(list)
        for record in self.records:
            self.of_trace[record.trace_id].append(record)
        self.threads: dict[Key | None, Thread] = {}
        self.order: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Return the entries of all threads, in the order in which they were said."""
        told: set[str] = set()
        for record in self.records:
            if record.trace_id not in told:
                told.add(record.trace_id)
                self.open_trace(record.trace_id)
            if record.kind == "llm":
                self.add_call(record)
            elif record.kind == "tool" and record.tool is not None:
                self.add_tool(record)
            elif record.kind == "event":
                self.add_event(record)
            if self.of_trace[record.trace_id][-1] is record:
                self.close_trace(record.trace_id)
        return self.order

    # Where a span belongs ------------------------------------------------------------------------------------------

    def sub_agent(self, record: SpanRecord) -> SpanRecord | None:
        """Return the agent that a span belongs to where that one was called by another: below a tool, or below an agent that
        makes model calls of its own. None for the main thread.
        """
        number = self.places.sub_agent[self.number_of[id(record)]]
        return self.records[number] if number >= 0 else None

    def thread_of(self, record: SpanRecord) -> tuple[Thread, SpanRecord | None]:
        """Return the thread that a span speaks in, and the sub-agent whose it is."""
        agent = self.sub_agent(record)
        key = (agent.trace_id, agent.span_id) if agent else None
        return self.thread(key), agent

    def thread(self, key: Key | None) -> Thread:
        """Return the thread of a sub-agent; None: the main one."""
        found = self.threads.get(key)
        if found is None:
            found = self.threads[key] = Thread()
        return found

    # What is known already -----------------------------------------------------------------------------------------

    def items_of(self, message: Message) -> list[Hashable]:
        """Return what a message says, as comparable items: each text, tool call and tool result."""
        found = self.items.get(id(message))
        if found is None:
            found = self.items[id(message)] = (
                message,
                list(message_items(message)),
            )  # holds it, so that its id stays its own
        return found[1]

    def is_known(
        self, thread: Thread, message: Message, used: Counter[Hashable], trace_id: str, source: "Source"
    ) -> bool:
        """Say whether a thread holds a message already, counting each held item for one message of a call's input only.

        A result is known where one of its id is held and no call of that id is open. An id may come again: while a call of it is open,
        `source` says whether the result is that call's.
        """
        items = self.items_of(message)
        call_id = message.get("tool_call_id")
        known = all(thread.held[item] > used[item] for item in items)
        if call_id and thread.held["result", call_id]:
            call = thread.calls.find_id(trace_id, call_id)
            known = call is None or (known and not source.answers(message, call))
        if known:
            used.update(items)
        return known

    def add(
        self, thread: Thread, message: Message, record: SpanRecord, agent: SpanRecord | None, at: str, **more: Any
    ) -> None:
        """Put a message at the end of a thread. `at`: where it stands in its span."""
        thread.held.update(self.items_of(message))
        if message.get("tool_call_id"):
            thread.answer(record.trace_id, message["tool_call_id"])
            thread.held[result_item(message.get("content"))] += 1  # a history may repeat it without its id
        entry = {
            "role": message["role"],
            "content": message.get("content"),
            "tool_calls": message.get("tool_calls", []),
            "tool_call_id": message.get("tool_call_id"),
            "name": message.get("name"),
            "span_id": record.span_id,
            "at": at,
            "trace_id": record.trace_id,
            "start_ns": None if record.start_ns is None else str(record.start_ns),
            "duration_ms": None,
            "model": None,
            "usage": None,
            "agent_name": (agent or record).agent_name or None,
            "is_sub_agent": agent is not None,
            "is_error": False,
            "error": None,
            **more,
        }
        for position, call in enumerate(entry["tool_calls"]):
            thread.ask(record.trace_id, call, (len(self.order), position))
        thread.entries.append(entry)
        self.order.append(entry)

    # Model calls and tools -----------------------------------------------------------------------------------------

    def add_call(self, record: SpanRecord) -> None:
        """Add what a model call's input says anew, and its answer. A call inside another call is the same one, seen twice."""
        if self.places.is_in_call[self.number_of[id(record)]]:
            return
        thread, agent = self.thread_of(record)
        used: Counter[Hashable] = Counter()
        fresh, first = record.input_messages, 0
        # most calls repeat the whole input of the one before: its messages are known, and need not be looked at one by one
        if thread.last_input and fresh[: len(thread.last_input)] == thread.last_input:
            first = len(thread.last_input)
            used, fresh = thread.last_used.copy(), fresh[first:]
        source = Source(fresh)
        for place, message in enumerate(fresh, first + record.earlier_messages):
            if not self.is_known(thread, message, used, record.trace_id, source):
                items = self.items_of(message)
                self.add(thread, message, record, agent, f"/input_messages/{place}")
                used.update(items)
        thread.last_input, thread.last_used = record.input_messages, used
        usage = {name: getattr(record.usage, name) for name in USAGE}
        is_counted = any(value not in (None, "") for value in usage.values())
        made = {
            "model": record.model or None,
            "duration_ms": duration_ms(record),
            "usage": usage if is_counted else None,
        }
        if record.status == "error":
            made |= {"is_error": True, "error": record.error_message or record.status_message or None}
        for place, message in enumerate(record.output_messages):
            # several answers of one call: the cost is told once
            more = made if place == 0 else {"model": made["model"]}
            self.add(thread, message, record, agent, f"/output_messages/{place}", **more)
        if record.status == "error" and not record.output_messages:
            self.add(thread, {"role": "assistant", "content": None}, record, agent, "", **made)

    def add_tool(self, record: SpanRecord) -> None:
        """Add a tool's result, under the call that asked for it; a tool that no message asked for brings its call with it."""
        tool = record.tool or {}
        thread, agent = self.thread_of(record)
        call_id = tool.get("call_id")
        if call_id and (record.trace_id, call_id) in thread.answered:
            return
        call = thread.calls.find(record.trace_id, call_id, tool)
        if call is None:
            call_id = call_id or record.span_id
            asked = {"id": call_id, "name": tool.get("name") or record.name, "arguments": tool.get("arguments") or {}}
            self.add(thread, {"role": "assistant", "content": None, "tool_calls": [asked]}, record, agent, "")
            thread.brought[record.trace_id, call_id] = asked["arguments"]
        else:
            call_id = call.get("id") or call_id or record.span_id
        if not record.content_recorded and record.status != "error":
            return
        result = tool.get("result")
        content = result if isinstance(result, str) or result is None else orjson.dumps(result).decode()
        failed = record.status == "error"
        if content is None and failed:
            content = record.error_message or record.status_message or None
        answer: Message = {
            "role": "tool",
            "content": content,
            "tool_call_id": call_id,
            "name": tool.get("name") or record.name,
        }
        error = record.error_message or record.status_message or None if failed else None
        took = duration_ms(record)
        self.add(thread, answer, record, agent, "/tool/result", is_error=failed, error=error, duration_ms=took)

    def add_event(self, record: SpanRecord) -> None:
        """Add what somebody said outside any model call: a person, or a script."""
        thread, agent = self.thread_of(record)
        for place, message in enumerate(record.output_messages):
            self.add(thread, message, record, agent, f"/output_messages/{place}")

    # Traces that say little ----------------------------------------------------------------------------------------

    def tops(self, trace_id: str) -> list[SpanRecord]:
        """Return the agents and steps at the top of a trace."""
        return [
            record
            for record in self.of_trace[trace_id]
            if record.kind in ("agent", "chain", "unknown")
            and (record.trace_id, record.parent_span_id) not in self.by_key
        ]

    def open_trace(self, trace_id: str) -> None:
        """Add what a trace was given where none of its model calls says so, or where the one that does comes late: after sub-agents
        and tools have worked. What a sub-agent was asked is not that.
        """
        records = self.of_trace[trace_id]
        calls = [record for record in records if record.kind == "llm" and self.sub_agent(record) is None]
        asked = [one for record in calls for one in record.input_messages if one["role"] == "user"]
        first = next((record for record in records if record.kind in ("llm", "tool", "event")), None)
        if asked and (first is None or first is calls[0] or any(record.kind == "event" for record in records)):
            return  # an event is something said, in its place
        thread = self.thread(None)
        for record in self.tops(trace_id)[:1]:
            for place, message in enumerate(spoken(record.input_messages, record.input, "user")):
                if asked and not any(
                    text_of(one.get("content")) == text_of(message.get("content")) for one in asked[:1]
                ):
                    continue
                at = f"/input_messages/{place}" if record.input_messages else "/input"
                self.add(thread, message, record, None, at)

    def close_trace(self, trace_id: str) -> None:
        """Add what a trace answered where no model call of the main thread says so."""
        thread = self.thread(None)
        last = next((entry for entry in reversed(thread.entries) if entry["trace_id"] == trace_id), None)
        if last and last["role"] == "assistant" and text_of(last["content"]):
            return
        for record in self.tops(trace_id)[:1]:
            for place, message in enumerate(spoken(record.output_messages, record.output, "assistant")):
                at = f"/output_messages/{place}" if record.output_messages else "/output"
                if all(thread.held[item] == 0 for item in self.items_of(message)):
                    self.add(thread, message, record, None, at, duration_ms=duration_ms(record))


def plain_message(entry: dict[str, Any]) -> Message:
    """Return the message of an entry alone, without the span, the call and the agent that it came from."""
    return {name: entry[name] for name in MESSAGE_KEYS if entry.get(name) or name in ("role", "content")}


def message_items(message: Message) -> Iterator[Hashable]:
    """Give what a message says, item by item. Reasoning counts only where there is nothing else: histories leave it out."""
    content, role = message.get("content"), message["role"]
    if role == "tool" or message.get("tool_call_id"):
        call_id = message.get("tool_call_id")
        yield ("result", call_id) if call_id else result_item(content)
        return
    said = False
    text = text_of(content).strip()
    if text:
        said = True
        yield role, text
    for call in message.get("tool_calls", ()):
        said = True
        yield "call", call.get("id") or orjson.dumps([call["name"], call["arguments"]], option=orjson.OPT_SORT_KEYS)
    if isinstance(content, list):
        for part in content:
            if part.get("type") not in ("text", "reasoning") or (not said and part.get("type") == "reasoning"):
                said = True
                yield "part", orjson.dumps(part, option=orjson.OPT_SORT_KEYS)
    if not said:
        yield role, ""


def result_item(content: Any) -> Hashable:
    """Return a tool's result as an item that is the same however its JSON was written."""
    text = text_of(content)
    try:
        value = orjson.loads(text) if text.lstrip()[:1] in ("{", "[") else parse_value(text)
        return "result text", orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError):  # no JSON, or too deep for it
        return "result text", text


def text_of(content: Any) -> str:
    """Return the text of a content: its text parts joined."""
    if isinstance(content, list):
        return "".join(str(part.get("content") or "") for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def spoken(messages: list[Message], value: Any, role: str) -> list[Message]:
    """Return the messages of a span's side, or its value as one message."""
    if messages:
        return messages
    text = plain_text(value)
    return [{"role": role, "content": text}] if text else []


def plain_text(value: Any) -> str:
    """Return what a span was given or gave back as a reader's text: the words inside a small object, else its JSON."""
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for key in TEXT_KEYS:
            if isinstance(value.get(key), str) and value[key].strip():
                return str(value[key])
        messages = value.get("messages")
        if isinstance(messages, list):
            for message in reversed(messages):
                if isinstance(message, dict) and isinstance(message.get("content"), str) and message["content"]:
                    return str(message["content"])
    return orjson.dumps(value).decode()


def duration_ms(record: SpanRecord) -> float | None:
    """Return how long a span took in milliseconds, or None where that is not known."""
    if record.start_ns is None or record.end_ns is None:
        return None
    return (record.end_ns - record.start_ns) / 1e6
