"""The plain reading of a trace: reasoning, tool calls, tool results and messages, in order. Pure."""

from typing import Any

from traces.conventions.raw import parse_value
from traces.conversation import conversation, text_of
from traces.spans import SpanRecord


def steps(records: list[SpanRecord]) -> list[dict[str, Any]]:
    """Return the steps of one or more traces.

    Each has `type` (reasoning, message, tool_call or tool_result), `role`, `name`, `arguments`, `output`, `content`, `tool_call_id`,
    `span_id`, `agent_name` and `is_error`; what does not apply is None. System prompts are not steps.
    """
    found: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for entry in conversation(records):
        if entry["role"] == "system":
            continue
        if entry["tool_call_id"]:
            name = entry["name"] or names.get(entry["tool_call_id"])
            output = read_output(entry["content"])
            found.append(make_step("tool_result", entry, name=name, output=output, tool_call_id=entry["tool_call_id"]))
            continue
        if isinstance(entry["content"], list):
            for part in entry["content"]:
                if part.get("type") == "reasoning" and part.get("content"):
                    found.append(make_step("reasoning", entry, content=part["content"]))
        text = text_of(entry["content"])
        if text.strip():
            found.append(make_step("message", entry, content=text))
        elif isinstance(entry["content"], list) and any(part.get("type") != "reasoning" for part in entry["content"]):
            found.append(make_step("message", entry, content=entry["content"]))
        for call in entry["tool_calls"]:
            if call.get("id"):
                names[call["id"]] = call["name"]
            found.append(
                make_step(
                    "tool_call", entry, name=call["name"], arguments=call["arguments"], tool_call_id=call.get("id")
                )
            )
    return found


def make_step(kind: str, entry: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return a step of an entry of the conversation."""
    return {
        "type": kind,
        "role": entry["role"],
        "name": None,
        "arguments": None,
        "output": None,
        "content": None,
        "tool_call_id": None,
        "span_id": entry["span_id"],
        "agent_name": entry["agent_name"],
        "is_error": entry["is_error"],
        **values,
    }


def read_output(content: Any) -> Any:
    """Return a tool's result: an object or list where its text is one, else the text."""
    return parse_value(content) if isinstance(content, str) else text_of(content) or content
