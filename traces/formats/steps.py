"""The plain steps format, a run a line. Pure.

`{"trace_id", "input", "steps": [{"type": "reasoning" | "tool_call" | "tool_result" | "message", …}], "output"}`. Also read
where given: `name`, `agent`, `model`, `session_id`, `user_id`, `task`, `tags`, `metadata`, `environment`, `version`, `release`,
`error`, `start_time`, `end_time`, `duration_ms`, `scores` (name to number), and on steps `id` or `tool_call_id`, `time`,
`duration_ms`, `error`.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from traces.conventions.common import read_words
from traces.conventions.messages import as_text, make_message, read_arguments, read_chat_messages, read_role
from traces.conventions.raw import parse_value, read_amount, read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedScore, ImportedTrace, read_number, span_id
from traces.formats.thread import read_time
from traces.spans import Message, SpanRecord

NAME = "steps"
LABEL = "plain steps"
STEP_TYPES = ("reasoning", "tool_call", "tool_result", "message")


def sniff(document: Any) -> bool:
    """Say whether a document is a run in steps."""
    return isinstance(document, dict) and isinstance(document.get("steps"), list)


def read(place: str, document: dict[str, Any], context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the run of a document. Raises BadDocument, naming the step."""
    root = read_root(document, context)
    records = [root]
    waiting = OpenCalls()
    for number, step in enumerate(document["steps"], 1):
        kind = step.get("type") if isinstance(step, dict) else None
        if kind not in STEP_TYPES:
            raise BadDocument(f"step {number} has the type {kind!r}; known are {', '.join(STEP_TYPES)}")
        if kind == "tool_result" and (call := waiting.take(step)) is not None:
            close_call(call, step)
            continue
        record = read_step(root, number, kind, step)
        if kind == "tool_call":
            waiting.add(record)
        records.append(record)
    yield ImportedTrace(records, read_scores(document.get("scores")), place)


def read_root(document: dict[str, Any], context: FileContext) -> SpanRecord:
    """Return the agent at the root of a run."""
    trace_id = read_text(document.get("trace_id") or document.get("id"))
    metadata = document.get("metadata")
    name = read_text(document.get("agent") or document.get("agent_name"))
    root = SpanRecord(
        trace_id="",
        span_id="",
        name=read_text(document.get("name")) or name or "run",
        kind="agent",
        status="ok",
        model=read_text(document.get("model")),
        agent_name=name,
        metadata=dict(metadata) if isinstance(metadata, dict) else {},
        tags=read_words(document.get("tags")),
        convention=NAME,
    )
    root.trace_id = fit_id(trace_id) if trace_id else context.trace_id("steps", document)
    root.span_id = span_id(root.trace_id, 0)
    for field in ("session_id", "user_id", "task", "environment", "version", "release"):
        setattr(root, field, read_text(document.get(field)))
    start_ns, end_ns = read_time(document.get("start_time")), read_time(document.get("end_time"))
    took_ms = read_amount(document.get("duration_ms"))
    if end_ns is None and start_ns is not None and took_ms is not None:
        end_ns = start_ns + int(took_ms * 1e6)
    root.start_ns, root.end_ns = start_ns, end_ns
    fill_error(root, document.get("error"))
    for side in ("input", "output"):
        value = document.get(side)
        if isinstance(value, list) and all(isinstance(item, dict) and "role" in item for item in value) and value:
            setattr(root, f"{side}_messages", read_chat_messages(value))
        else:
            setattr(root, side, value)
    return root


def fit_id(text: str) -> str:
    """Return an id as it is kept: hex in lower case, any other as sent, one that is too long by its digest."""
    if len(text) > 128:
        return span_id(text, "trace") + span_id(text, "rest")
    digits = set(text.lower()) <= set("0123456789abcdef")
    return text.lower() if digits and len(text) in (16, 32) else text


def fill_error(record: SpanRecord, error: Any) -> None:
    """Set a span's error from text, from `{type, message}`, or from true."""
    if not error:
        return
    record.status = "error"
    if isinstance(error, dict):
        record.error_type = read_text(error.get("type"))
        error = error.get("message")
    record.error_message = record.status_message = read_text(error) if isinstance(error, str) else ""


def read_step(root: SpanRecord, number: int, kind: str, step: dict[str, Any]) -> SpanRecord:
    """Return the span of one step."""
    start_ns = read_time(step.get("time") or step.get("start_time") or step.get("timestamp"))
    took_ms = read_amount(step.get("duration_ms"))
    record = SpanRecord(
        trace_id=root.trace_id,
        span_id=span_id(root.trace_id, number),
        parent_span_id=root.span_id,
        position=number,
        start_ns=start_ns,
        end_ns=start_ns + int(took_ms * 1e6) if start_ns is not None and took_ms is not None else start_ns,
        status="ok",
        agent_name=root.agent_name,
        convention=NAME,
    )
    fill_error(record, step.get("error"))
    if kind in ("tool_call", "tool_result"):
        record.kind = "tool"
        record.name = read_text(step.get("name") or step.get("tool")) or "tool"
        is_call = kind == "tool_call"
        record.tool = {
            "name": record.name,
            "call_id": read_text(step.get("tool_call_id") or step.get("id")) or None,
            "arguments": read_arguments(step.get("arguments", step.get("input"))) if is_call else None,
            "result": None if is_call else read_output(step),
        }
        record.content_recorded = not is_call  # until its result comes
        if is_call and "output" in step:
            close_call(record, step)
        return record
    record.kind, record.name = "event", kind
    text = step.get("content", step.get("text", step.get("output")))
    message: Message = make_message("assistant", [{"type": "reasoning", "content": as_text(text or "")}])
    if kind == "message":
        record.name = "message"
        message = make_message(read_role(step.get("role"), "assistant"), as_text(text) if text is not None else None)
    record.output_messages = [message]
    return record


def read_output(step: dict[str, Any]) -> Any:
    """Return what a tool gave back."""
    return parse_value(next((step[key] for key in ("output", "result", "content") if step.get(key) is not None), None))


class OpenCalls:
    """Calls that wait for their results, found in a time that does not grow with their number."""

    def __init__(self) -> None:
        self.queues: dict[tuple[str, str], deque[SpanRecord]] = defaultdict(deque)  # of all, of an id, of a name
        self.taken: set[str] = set()  # span ids; each queue drops its own when they come to its head

    def add(self, record: SpanRecord) -> None:
        """Put a call after those that wait."""
        call_id = record.tool["call_id"] if record.tool else None
        for key in (("all", ""), ("id", call_id or ""), ("name", record.name)):
            self.queues[key].append(record)

    def take(self, step: dict[str, Any]) -> SpanRecord | None:
        """Take the call that a result belongs to: by id, else the first of its name, else, where it names none, the first."""
        call_id = read_text(step.get("tool_call_id") or step.get("id"))
        name = read_text(step.get("name") or step.get("tool"))
        found = self.first("id", call_id) if call_id else None
        if found is None:
            found = self.first("name", name) if name else self.first("all", "")
        if found is not None:
            self.taken.add(found.span_id)
        return found

    def first(self, kind: str, value: str) -> SpanRecord | None:
        """Return the first of a queue that is still open."""
        queue = self.queues.get((kind, value), deque())
        while queue and queue[0].span_id in self.taken:
            queue.popleft()
        return queue[0] if queue else None


def close_call(record: SpanRecord, step: dict[str, Any]) -> None:
    """Put a result into the span of its call."""
    if record.tool is None:
        return
    record.tool["result"] = read_output(step)
    record.content_recorded = True
    fill_error(record, step.get("error"))
    if record.status == "error" and not record.error_message:
        record.error_message = record.status_message = as_text(record.tool["result"])
    end_ns = read_time(step.get("time") or step.get("end_time") or step.get("timestamp"))
    if end_ns is not None and record.start_ns is not None and end_ns >= record.start_ns:
        record.end_ns = end_ns


def read_scores(sent: Any) -> list[ImportedScore]:
    """Return scores given as name to number, or as a list of {name, value, passed, explanation, label}. Raises BadDocument."""
    if sent is None:
        return []
    if isinstance(sent, dict):
        sent = [
            {"name": name, **(value if isinstance(value, dict) else {"value": value})} for name, value in sent.items()
        ]
    if not isinstance(sent, list) or not all(isinstance(item, dict) and read_text(item.get("name")) for item in sent):
        raise BadDocument("scores are neither an object of numbers nor a list of objects with name and value")
    scores = []
    for item in sent:
        value, passed = read_number(item.get("value", item.get("score"))), item.get("passed")
        name = read_text(item["name"])
        if value is None and not isinstance(passed, bool):
            raise BadDocument(f"the score {name!r} has no number")
        if value is None:
            value = float(bool(passed))
        scores.append(
            ImportedScore(
                name,
                value,
                passed if isinstance(passed, bool) else None,
                read_text(item.get("explanation") or item.get("reason")),
                read_text(item.get("label")),
                scale=read_scale(item.get("scale"), value),
                pass_threshold=None if not isinstance(passed, bool) else 1.0,
                rater=read_text(item.get("rater")),
            )
        )
    return scores


def read_scale(sent: Any, value: float) -> tuple[float, float]:
    """Return the scale of a score: as sent, else 0 to 1, wide enough for its value."""
    low, high = 0.0, 1.0
    if isinstance(sent, list) and len(sent) == 2:
        low, high = (
            found if (found := read_number(end)) is not None else start
            for end, start in zip(sent, (low, high), strict=True)
        )
    return min(low, value), max(high, value)
