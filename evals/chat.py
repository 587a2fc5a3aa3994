"""Between our messages (`traces.spans.Message`) and the OpenAI chat form that providers take. Pure."""

import json
import math
from typing import Any

MAX_DEPTH = 100  # of a JSON value that is kept
ROLES = {"system", "developer", "user", "assistant", "tool"}


class NotAMessage(ValueError):
    """What was given cannot be sent as chat messages; the text says where."""


def to_openai(messages: list[Any]) -> list[dict[str, Any]]:
    """Return messages in OpenAI chat form. Names that a provider refuses (`span_id`) are left out. Raises NotAMessage."""
    return [message_to_openai(message, number) for number, message in enumerate(messages, 1)]


def message_to_openai(message: Any, number: int) -> dict[str, Any]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        role = message.get("role") if isinstance(message, dict) else message
        raise NotAMessage(
            f"Message {number} has the role {role!r:.60}; a message needs one of {', '.join(sorted(ROLES))}."
        )
    sent: dict[str, Any] = {"role": message["role"], "content": content_to_openai(message.get("content"))}
    if message.get("name"):
        sent["name"] = message["name"]
    if message["role"] == "tool":
        sent["tool_call_id"] = message.get("tool_call_id") or ""
        sent["content"] = sent["content"] if sent["content"] is not None else ""
    calls = message.get("tool_calls") or []
    if calls:
        sent["tool_calls"] = [call_to_openai(call, place) for place, call in enumerate(calls)]
    elif sent["content"] is None:
        sent["content"] = ""
    return sent


def content_to_openai(content: Any) -> Any:
    """Return text as it is, known parts in chat form, anything else as JSON text."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict | str) for part in content):
        parts = [part for part in (part_to_openai(part) for part in content) if part is not None]
        if all(part["type"] == "text" for part in parts):
            return "\n".join(part["text"] for part in parts)
        return parts
    return json.dumps(content, ensure_ascii=False, default=str)


def part_to_openai(part: Any) -> dict[str, Any] | None:
    """Return one part in chat form; reasoning is not sent back, unknown kinds go as JSON text."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text") or (kind is None and ("text" in part or "content" in part)):
        text = part.get("text", part.get("content"))
        return {
            "type": "text",
            "text": text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, default=str),
        }
    if kind in ("image_url", "input_audio", "file"):
        return part
    if kind == "input_image":
        detail = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part.get("image_url") or "", **detail}}
    if kind in ("reasoning", "thinking", "tool_call", "tool_call_response"):
        return None
    return {"type": "text", "text": json.dumps(part, ensure_ascii=False, default=str)}


def call_to_openai(call: Any, place: int) -> dict[str, Any]:
    """Return a tool call in chat form, from ours or already in it."""
    function = call.get("function") or {}
    arguments = call.get("arguments", function.get("arguments", ""))
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False, default=str)
    name = call.get("name") or function.get("name") or ""
    return {"id": call.get("id") or f"call_{place}", "type": "function", "function": {"name": name, "arguments": text}}


def call_from_openai(call: dict[str, Any]) -> dict[str, Any]:
    """Return a tool call in our form: `arguments` is an object where the text parses as one."""
    function = call.get("function") or {}
    arguments = function.get("arguments", call.get("arguments", ""))
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments)
        except (ValueError, RecursionError):
            value = None
        arguments = value if isinstance(value, dict) else arguments
    return {"id": call.get("id") or "", "name": function.get("name") or call.get("name") or "", "arguments": arguments}


def from_openai(message: dict[str, Any]) -> dict[str, Any]:
    """Return a chat message in our form; keys without a value are absent."""
    ours: dict[str, Any] = {"role": message.get("role") or "assistant", "content": message.get("content")}
    if message.get("tool_calls"):
        ours["tool_calls"] = [call_from_openai(call) for call in message["tool_calls"]]
    for name in ("tool_call_id", "name"):
        if message.get(name):
            ours[name] = message[name]
    return ours


def tools_to_openai(tools: Any) -> list[dict[str, Any]]:
    """Return tool definitions in chat form; flat ones (name, description, parameters) are wrapped, others left out."""
    wrapped = []
    for tool in tools if isinstance(tools, list) else []:
        if not isinstance(tool, dict):
            continue
        if isinstance(tool.get("function"), dict):
            wrapped.append({"type": "function", "function": tool["function"]})
        elif tool.get("name"):
            names = ("name", "description", "parameters", "strict")
            function = {name: tool[name] for name in names if tool.get(name) is not None}
            if "parameters" not in function and isinstance(tool.get("input_schema"), dict):
                function["parameters"] = tool["input_schema"]
            wrapped.append({"type": "function", "function": function})
    return wrapped


def plain_text(content: Any) -> str:
    """Return the text of a message's content: parts joined, other values as JSON, none as nothing."""
    shown = content_to_openai(content)
    if isinstance(shown, list):
        return "\n".join(part["text"] for part in shown if part.get("type") == "text")
    return shown or ""


def last_text(messages: list[dict[str, Any]], role: str) -> str:
    """Return the text of the last message of a role that has any."""
    for message in reversed(messages):
        if message.get("role") == role:
            text = plain_text(message.get("content"))
            if text:
                return text
    return ""


def storable(value: Any, *, depth: int = 0) -> Any:
    """Return a JSON value that every database keeps: NUL left out, half characters and endless numbers replaced, and what is nested
    deeper than MAX_DEPTH left out and said to be.
    """
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, list | tuple | dict):
        return value
    if depth >= MAX_DEPTH:
        return "[nested too deep]"
    if isinstance(value, dict):
        return {storable_text(str(name)): storable(part, depth=depth + 1) for name, part in value.items()}
    return [storable(part, depth=depth + 1) for part in value]


def storable_text(text: str) -> str:
    """Return a text without NUL, and with a question mark for each half character."""
    text = text.replace("\x00", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
