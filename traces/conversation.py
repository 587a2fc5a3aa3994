"""The thread of a run, or of a whole session, as it was lived: every message once. Pure.

A model call's input repeats the turns before it; only what is new there joins the thread. Results of tools come from the
tool spans where the model's messages lack them, and runs without any message are read from their spans' inputs and outputs.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from traces.conventions.raw import parse_value
from traces.spans import Message, SpanRecord

MESSAGE_KEYS = ("role", "content", "tool_calls", "tool_call_id", "name")
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
    answered: set[str] = field(default_factory=set)  # ids of tool calls that have a result
    last_input: list[Message] = field(default_factory=list)  # of the model call before, all of it known
    last_used: Counter[Hashable] = field(default_factory=Counter)  # the held items that it took up


def conversation(records: list[SpanRecord]) -> list[dict[str, Any]]:
    """Return the messages of one or more traces in order, none repeated.

    Each is a message of the read API (`role`, `content`, `tool_calls`, `tool_call_id`) with `span_id` and `trace_id` of the
    span that produced it, `start_ns` (decimal text or None, as in the read API), `duration_ms`, `model` and `usage` of the call
    where one made it, `agent_name`, `is_sub_agent` (said by an agent that another one called), on tool results `name`, and
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
        self.calling_agents = {
            key for record in self.records if record.kind == "llm" and (key := self.agent_key(record))
        }
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
            last = self.last_of_trace[record.trace_id]
            if last is record:
                self.close_trace(record.trace_id)
        return self.order

    @property
    def last_of_trace(self) -> dict[str, SpanRecord]:
        """The last record of each trace."""
        if not hasattr(self, "_last"):
            self._last = {record.trace_id: record for record in self.records}
        return self._last

    # Where a span belongs ------------------------------------------------------------------------------------------

    def ancestors(self, record: SpanRecord) -> Iterator[SpanRecord]:
        """Give the spans above one, nearest first; a circle of parents ends the way up."""
        seen = {record.span_id}
        while record.parent_span_id and record.parent_span_id not in seen:
            seen.add(record.parent_span_id)
            parent = self.by_key.get((record.trace_id, record.parent_span_id))
            if parent is None:
                return
            yield parent
            record = parent

    def agent_key(self, record: SpanRecord) -> Key | None:
        """Return the nearest agent above a span."""
        for above in self.ancestors(record):
            if above.kind == "agent":
                return above.trace_id, above.span_id
        return None

    def sub_agent(self, record: SpanRecord) -> SpanRecord | None:
        """Return the agent that a span belongs to where that one was called by another: below a tool, or below an agent that
        makes model calls of its own. None for the main thread.
        """
        found: SpanRecord | None = None
        agent: SpanRecord | None = None
        for above in self.ancestors(record):
            if agent is not None and (above.kind == "tool" or (above.trace_id, above.span_id) in self.calling_agents):
                found = found or agent
            if above.kind == "agent":
                agent = above
        return found

    def thread_of(self, record: SpanRecord) -> tuple[Thread, SpanRecord | None]:
        """Return the thread that a span speaks in, and the sub-agent whose it is."""
        agent = self.sub_agent(record)
        key = (agent.trace_id, agent.span_id) if agent else None
        return self.threads.setdefault(key, Thread()), agent

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

    def is_known(self, thread: Thread, message: Message, used: Counter[Hashable]) -> bool:
        """Say whether a thread holds a message already, counting each held item for one message of a call's input only."""
        call_id = message.get("tool_call_id")
        if call_id and call_id in thread.answered:
            return True
        items = self.items_of(message)
        known = all(thread.held[item] > used[item] for item in items)
        if known:
            used.update(items)
        return known

    def add(self, thread: Thread, message: Message, record: SpanRecord, agent: SpanRecord | None, **more: Any) -> None:
        """Put a message at the end of a thread."""
        thread.held.update(self.items_of(message))
        if message.get("tool_call_id"):
            thread.answered.add(message["tool_call_id"])
            thread.held[result_item(message.get("content"))] += 1  # a history may repeat it without its id
        entry = {
            "role": message["role"],
            "content": message.get("content"),
            "tool_calls": message.get("tool_calls", []),
            "tool_call_id": message.get("tool_call_id"),
            "name": message.get("name"),
            "span_id": record.span_id,
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
        thread.entries.append(entry)
        self.order.append(entry)

    # Model calls and tools -----------------------------------------------------------------------------------------

    def add_call(self, record: SpanRecord) -> None:
        """Add what a model call's input says anew, and its answer. A call inside another call is the same one, seen twice."""
        if any(above.kind == "llm" and above.output_messages for above in self.ancestors(record)):
            return
        thread, agent = self.thread_of(record)
        used: Counter[Hashable] = Counter()
        fresh = record.input_messages
        # most calls repeat the whole input of the one before: its messages are known, and need not be looked at one by one
        if thread.last_input and fresh[: len(thread.last_input)] == thread.last_input:
            used, fresh = thread.last_used.copy(), fresh[len(thread.last_input) :]
        for message in fresh:
            if not self.is_known(thread, message, used):
                items = self.items_of(message)
                self.add(thread, message, record, agent)
                used.update(items)
        thread.last_input, thread.last_used = record.input_messages, used
        usage = asdict(record.usage)
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
            self.add(thread, message, record, agent, **more)
        if record.status == "error" and not record.output_messages:
            self.add(thread, {"role": "assistant", "content": None}, record, agent, **made)

    def add_tool(self, record: SpanRecord) -> None:
        """Add a tool's result, under the call that asked for it; a tool that no message asked for brings its call with it."""
        tool = record.tool or {}
        thread, agent = self.thread_of(record)
        call_id = tool.get("call_id")
        if call_id and call_id in thread.answered:
            return
        call = open_call(thread, call_id, tool)
        if call is None:
            call_id = call_id or record.span_id
            asked = {"id": call_id, "name": tool.get("name") or record.name, "arguments": tool.get("arguments") or {}}
            self.add(thread, {"role": "assistant", "content": None, "tool_calls": [asked]}, record, agent)
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
        self.add(thread, answer, record, agent, is_error=failed, error=error, duration_ms=duration_ms(record))

    def add_event(self, record: SpanRecord) -> None:
        """Add what somebody said outside any model call: a person, or a script."""
        thread, agent = self.thread_of(record)
        for message in record.output_messages:
            self.add(thread, message, record, agent)

    # Traces that say little ----------------------------------------------------------------------------------------

    def tops(self, trace_id: str) -> list[SpanRecord]:
        """Return the agents and steps at the top of a trace."""
        return [
            record
            for record in self.records
            if record.trace_id == trace_id
            and record.kind in ("agent", "chain", "unknown")
            and (record.trace_id, record.parent_span_id) not in self.by_key
        ]

    def open_trace(self, trace_id: str) -> None:
        """Add what a trace was given where none of its model calls says so."""
        calls = [
            record
            for record in self.records
            if record.trace_id == trace_id and record.kind == "llm" and record.input_messages
        ]
        if any(message["role"] == "user" for record in calls for message in record.input_messages):
            return
        thread = self.threads.setdefault(None, Thread())
        for record in self.tops(trace_id)[:1]:
            for message in spoken(record.input_messages, record.input, "user"):
                self.add(thread, message, record, None)

    def close_trace(self, trace_id: str) -> None:
        """Add what a trace answered where no model call of the main thread says so."""
        thread = self.threads.setdefault(None, Thread())
        entries = [entry for entry in thread.entries if entry["trace_id"] == trace_id]
        if entries and entries[-1]["role"] == "assistant" and text_of(entries[-1]["content"]):
            return
        for record in self.tops(trace_id)[:1]:
            for message in spoken(record.output_messages, record.output, "assistant"):
                if all(thread.held[item] == 0 for item in self.items_of(message)):
                    self.add(thread, message, record, None, duration_ms=duration_ms(record))


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
    return "result text", orjson.dumps(parse_value(text_of(content)), option=orjson.OPT_SORT_KEYS)


def text_of(content: Any) -> str:
    """Return the text of a content: its text parts joined."""
    if isinstance(content, list):
        return "".join(str(part.get("content") or "") for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def open_call(thread: Thread, call_id: str | None, tool: dict[str, Any]) -> dict[str, Any] | None:
    """Return the tool call of a thread that a tool span answers: by id, else the first unanswered one of its name and arguments."""
    waiting = [
        call
        for entry in thread.entries
        for call in entry["tool_calls"]
        if not call.get("id") or call["id"] not in thread.answered
    ]
    for call in waiting:
        if call_id and call.get("id") == call_id:
            return call
    if call_id and any(call.get("id") for call in waiting):
        return None
    named = [call for call in waiting if call["name"] == tool.get("name")]
    return next((call for call in named if call["arguments"] == tool.get("arguments")), named[0] if named else None)


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
