"""What graders receive, made from a stored trace or from the records of one that is being stored: the same either way."""

import json
from typing import Any

from evals.chat import plain_text
from evals.graders.base import SampleInput
from traces.conversation import conversation
from traces.models import Trace
from traces.queries import span_records
from traces.spans import SpanRecord
from traces.steps import steps


def sample_from_trace(trace: Trace) -> SampleInput:
    """Return a stored trace as graders see it."""
    return sample_from_records(span_records(trace))


def sample_from_records(records: list[SpanRecord]) -> SampleInput:
    """Return the records of one trace, in order, as graders see them."""
    if not records:
        return SampleInput()
    ids = {record.span_id for record in records}
    root = next((record for record in records if record.parent_span_id not in ids), records[0])
    thread = conversation(records)
    calls = [record for record in records if record.kind == "llm"]
    answer = last_answer(thread, records)
    output_text = plain_text(answer.get("content")) if answer else ""
    output_text = output_text or plain_text(root.output)
    if answer is None and not output_text and calls:
        output_text = plain_text(calls[-1].output)
    output_tools = [in_chat_form(call, place) for place, call in enumerate((answer or {}).get("tool_calls") or [])]
    tool_calls, tool_results = tools_of(records, thread)
    failed = next((record for record in (root, *records) if record.status == "error"), None)
    message: dict[str, Any] = {"role": "assistant", "content": output_text or None}
    if output_tools:
        message["tool_calls"] = output_tools
    return SampleInput(
        input=first_user_text(thread) or plain_text(root.input),
        messages=thread,
        steps=steps(records),
        spans=[span_of(record) for record in records],
        tool_calls=tool_calls,
        tool_results=tool_results,
        available_tools=next((record.available_tools for record in records if record.available_tools), []),
        output_text=output_text,
        output_json=json_or_none(output_text),
        output_tools=output_tools,
        choices=[{"index": 0, "message": message, "finish_reason": finish_reason(calls)}]
        if output_text or output_tools
        else [],
        usage=usage_of(records),
        duration_ms=duration_of(root, records),
        error=error_of(failed) if failed is not None and root.status == "error" else None,
        model=next((record.model for record in reversed(calls) if record.model), ""),
        trace_id=root.trace_id,
    )


def with_answer(sample: SampleInput, output: dict[str, Any] | None, *, refusal_is_text: bool = True) -> SampleInput:
    """Return a sample whose tool calls are word for word as the model made them: a trace keeps their arguments as values.

    A refusal is the answer's text on our pages; for graders of /v1 there is no text then, as upstream.
    """
    if not refusal_is_text and (output or {}).get("refusal"):
        sample.output_text, sample.output_json = "", None
        for choice in sample.choices:
            choice["message"] = {**choice["message"], "content": None, "refusal": (output or {})["refusal"]}
    calls = (output or {}).get("tool_calls")
    if isinstance(calls, list) and len(calls) == len(sample.output_tools):
        sample.output_tools = calls
        for choice in sample.choices:
            choice["message"]["tool_calls"] = calls
    return sample


def last_answer(thread: list[dict[str, Any]], records: list[SpanRecord]) -> dict[str, Any] | None:
    """Return the agent's last word: its last message with text, else its last message.

    What it was given as history is not its own word: where spans say what they answered, only that counts, even an empty text.
    """
    said = [message for record in records for message in record.output_messages if message.get("role") == "assistant"]
    texts = {plain_text(message.get("content")) for message in said}
    answers = [
        message
        for message in thread
        if message.get("role") == "assistant" and (not said or plain_text(message.get("content")) in texts)
    ]
    if answers and answers[-1].get("tool_calls") and answers[-1] is thread[-1]:
        return answers[-1]  # it ends with a call that nobody answered: that is the output
    found = [message for message in answers if plain_text(message.get("content"))] or answers or said
    return found[-1] if found else None


def first_user_text(thread: list[dict[str, Any]]) -> str:
    """Return the first thing that the user said."""
    texts = (plain_text(message.get("content")) for message in thread if message.get("role") == "user")
    return next((text for text in texts if text), "")


def in_chat_form(call: dict[str, Any], place: int) -> dict[str, Any]:
    """Return a tool call as `sample.output_tools` has it: arguments are JSON text."""
    arguments = call.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, default=str)
    return {
        "id": call.get("id") or f"call_{place}",
        "type": "function",
        "function": {"name": call.get("name") or "", "arguments": text},
    }


def tools_of(
    records: list[SpanRecord], thread: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the calls of tools and their results in order, from tool spans where there are any, else from the messages."""
    spans = [record for record in records if record.tool]
    if spans:
        calls, results = [], []
        for record in spans:
            tool = record.tool or {}
            shared = {"id": tool.get("call_id"), "name": tool.get("name"), "span_id": record.span_id}
            calls.append({**shared, "arguments": tool.get("arguments")})
            if tool.get("result") is not None or record.status == "error":
                results.append(
                    {
                        **shared,
                        "output": tool.get("result"),
                        "error": record.error_message or record.status_message or None,
                    }
                )
        return calls, results
    calls = [
        {
            "id": call.get("id"),
            "name": call.get("name"),
            "arguments": call.get("arguments"),
            "span_id": message.get("span_id"),
        }
        for message in thread
        for call in message.get("tool_calls") or []
    ]
    names = {call["id"]: call["name"] for call in calls if call["id"]}
    results = [
        {
            "id": message.get("tool_call_id"),
            "name": message.get("name") or names.get(message.get("tool_call_id")),
            "output": message.get("content"),
            "error": None,
            "span_id": message.get("span_id"),
        }
        for message in thread
        if message.get("role") == "tool"
    ]
    return calls, results


def span_of(record: SpanRecord) -> dict[str, Any]:
    """Return a span for graders: what it was, when, and how it ended; messages stand in `messages` and `steps`."""
    timed = record.start_ns is not None and record.end_ns is not None
    return {
        "span_id": record.span_id,
        "parent_span_id": record.parent_span_id or None,
        "name": record.name,
        "kind": record.kind,
        "duration_ms": (record.end_ns - record.start_ns) / 1e6 if timed else None,  # type: ignore[operator]  # both are known
        "status": record.status,
        "error": error_of(record) if record.status == "error" else None,
        "model": record.model or None,
        "tool": record.tool,
        "agent_name": record.agent_name or None,
    }


def error_of(record: SpanRecord) -> dict[str, Any]:
    return {"type": record.error_type or None, "message": record.error_message or record.status_message or None}


def duration_of(root: SpanRecord, records: list[SpanRecord]) -> float | None:
    """Return how long the trace took: its root, else from first start to last end; None without times."""
    if root.start_ns is not None and root.end_ns is not None:
        return (root.end_ns - root.start_ns) / 1e6
    starts = [record.start_ns for record in records if record.start_ns is not None]
    ends = [record.end_ns for record in records if record.end_ns is not None]
    return (max(ends) - min(starts)) / 1e6 if starts and ends else None


def usage_of(records: list[SpanRecord]) -> dict[str, Any]:
    """Return the tokens and cost of the model calls added up; of all spans where no call says any. Unknown is absent."""
    calls = [record.usage for record in records if record.kind == "llm" and record.usage.input_tokens is not None]
    usages = calls or [record.usage for record in records if not record.parent_span_id]
    total: dict[str, Any] = {}
    for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "cost_usd"):
        known = [value for value in (getattr(usage, name) for usage in usages) if value is not None]
        if known:
            total[name] = sum(known)
    if "input_tokens" in total or "output_tokens" in total:
        total["total_tokens"] = total.get("input_tokens", 0) + total.get("output_tokens", 0)
    return total


def finish_reason(calls: list[SpanRecord]) -> str | None:
    """Return why the last model call ended, where its span says so."""
    for record in reversed(calls):
        reasons = record.attributes.get("gen_ai.response.finish_reasons")
        if isinstance(reasons, list) and reasons:
            return str(reasons[-1])
        if isinstance(reasons, str):
            return reasons
    return None


def json_or_none(text: str) -> Any:
    """Return the object or list that a text is, or None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
