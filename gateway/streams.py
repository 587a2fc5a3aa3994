"""Server-sent events of the two APIs put together into the answer that they stand for, whole or broken off. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

THOUGHTS = ("reasoning_content", "reasoning")


@dataclass(frozen=True)
class Assembled:
    """An answer as it would have come in one piece, and whether its end was among the events. `error`: sent in their midst."""

    body: dict[str, Any]
    is_whole: bool
    error: dict[str, Any] | None = None


def read_events(raw: bytes) -> Iterator[Any]:
    """Give the data of events in order: parsed where it is JSON, "[DONE]" for the end mark. Others are passed over."""
    lines: list[bytes] = []
    for line in [*raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            data, lines = b"\n".join(lines), []
            if data.strip() == b"[DONE]":
                yield "[DONE]"
                continue
            try:
                yield orjson.loads(data)
            except orjson.JSONDecodeError:
                continue  # the last event, where the stream broke off


def assemble_chat(raw: bytes) -> Assembled:
    """Return the chat completion that a stream of chunks stands for."""
    body: dict[str, Any] = {"object": "chat.completion"}
    choices: dict[int, dict[str, Any]] = {}
    error, is_whole = None, False
    for event in read_events(raw):
        if event == "[DONE]":
            is_whole = True
            continue
        if not isinstance(event, dict):
            continue
        if isinstance(event.get("error"), dict):
            error = event["error"]
        for name in ("id", "model", "created", "system_fingerprint", "service_tier", "usage"):
            if event.get(name) is not None:
                body[name] = event[name]
        deltas = event.get("choices")
        for delta in deltas if isinstance(deltas, list) else []:
            if isinstance(delta, dict):
                add_delta(choices, delta)
    for choice in choices.values():
        message = choice["message"]
        if message["content"] == "" and message.get("tool_calls"):
            message["content"] = None  # as the same answer says it in one piece
    body["choices"] = [choices[index] for index in sorted(choices)]
    finished = bool(choices) and all(choice.get("finish_reason") for choice in choices.values())
    return Assembled(body, is_whole or finished, error)


def add_delta(choices: dict[int, dict[str, Any]], sent: dict[str, Any]) -> None:
    """Add one chunk's part of a choice."""
    index = sent.get("index") if isinstance(sent.get("index"), int) else 0
    choice = choices.setdefault(index or 0, {"index": index, "message": {"role": "assistant", "content": None}})
    if sent.get("finish_reason"):
        choice["finish_reason"] = sent["finish_reason"]
    delta, message = sent.get("delta"), choice["message"]
    if not isinstance(delta, dict):
        return
    for name in ("content", "refusal", *THOUGHTS):
        if isinstance(delta.get(name), str):
            message[name] = (message.get(name) or "") + delta[name]
    calls = delta.get("tool_calls")
    for part in calls if isinstance(calls, list) else []:
        if isinstance(part, dict):
            add_call(message.setdefault("tool_calls", []), part)


def add_call(calls: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add one chunk's part of a tool call: by its index, and a new id under an index that is taken begins another call."""
    index = part.get("index")
    call = next((one for one in reversed(calls) if one["index"] == index), None)
    if call is None or (part.get("id") and call.get("id") and part["id"] != call["id"]):
        call = {"index": index, "type": "function", "function": {"name": "", "arguments": ""}}
        calls.append(call)
    if part.get("id"):
        call["id"] = part["id"]
    function = part.get("function")
    if isinstance(function, dict):
        for name in ("name", "arguments"):
            if isinstance(function.get(name), str):
                call["function"][name] += function[name]


def assemble_response(raw: bytes) -> Assembled:
    """Return the response that a stream stands for: the one that its last event holds, else what came until it broke off."""
    body: dict[str, Any] = {}
    items: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    error, is_whole = None, False
    for event in read_events(raw):
        if not isinstance(event, dict):
            continue
        kind = event.get("type")
        if isinstance(event.get("response"), dict):
            body = event["response"]
            is_whole = kind in ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
        elif kind == "error" or (kind is None and isinstance(event.get("error"), dict)):
            error = event["error"] if isinstance(event.get("error"), dict) else event
        index = event.get("output_index")
        if not isinstance(index, int):
            continue
        if isinstance(event.get("item"), dict):
            items[index] = event["item"]
            if kind == "response.output_item.done":
                texts.pop(index, None)
        elif isinstance(event.get("delta"), str) and kind in (
            "response.output_text.delta",
            "response.refusal.delta",
            "response.function_call_arguments.delta",
        ):
            texts[index] = texts.get(index, "") + event["delta"]
    if not is_whole and items:
        body = {**body, "output": [with_text(items[index], texts.get(index, "")) for index in sorted(items)]}
    return Assembled(body, is_whole, error)


def with_text(item: dict[str, Any], text: str) -> dict[str, Any]:
    """Return an item that was begun with as much of it as came."""
    if not text:
        return item
    if item.get("type") == "function_call":
        return {**item, "arguments": text}
    return {**item, "content": [{"type": "output_text", "text": text}]}
