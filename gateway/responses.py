"""The Responses API for the scripted models, which answer chat completions: the request translated, the answer translated back. Pure."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from gateway.completions import RequestError

ECHOED = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "temperature", "text", "tool_choice", "tools",
    "top_p", "truncation", "user", "reasoning", "store",
)  # fmt: skip
PASSED = ("temperature", "top_p", "seed", "user", "metadata", "parallel_tool_calls")


def to_chat(body: dict[str, Any]) -> dict[str, Any]:
    """Return the chat-completions request that a Responses request stands for. Raises RequestError naming the place."""
    for name in ("previous_response_id", "conversation"):
        if body.get(name):
            raise RequestError(
                f"Scripted models keep nothing between calls, so `{name}` cannot be followed; send the whole input.",
                param=name,
            )
    chat: dict[str, Any] = {"model": body.get("model"), "messages": read_input(body), "stream": body.get("stream")}
    chat |= {name: body[name] for name in PASSED if body.get(name) is not None}
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise RequestError("`tools` must be a list.", param="tools")
    functions = [tool for tool in tools or [] if isinstance(tool, dict) and tool.get("type") == "function"]
    if functions:
        chat["tools"] = [
            {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
            for tool in functions
        ]
        choice = body.get("tool_choice")
        chat["tool_choice"] = (
            {"type": "function", "function": {"name": choice.get("name")}} if isinstance(choice, dict) else choice
        )
    text = body.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type"}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif isinstance(form, dict) and form.get("type") == "json_object":
        chat["response_format"] = form
    return {name: value for name, value in chat.items() if value is not None}


def read_input(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return instructions and input as chat messages; calls of one turn are one message."""
    messages: list[dict[str, Any]] = []
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise RequestError("`instructions` must be a text.", param="instructions")
    if instructions:
        messages.append({"role": "system", "content": instructions})
    given = body.get("input")
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise RequestError("`input` must be a text or a list of at least one item.", param="input")
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise RequestError(f"`input[{place}]` must be an object.", param=f"input[{place}]")
        kind = item.get("type", "message")
        if kind == "message":
            messages.append({"role": item.get("role"), "content": read_content(item.get("content"))})
        elif kind == "function_call":
            call = {
                "id": item.get("call_id"),
                "type": "function",
                "function": {"name": item.get("name"), "arguments": item.get("arguments")},
            }
            if messages and messages[-1].get("tool_calls"):
                messages[-1]["tool_calls"].append(call)
            else:
                messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else read_content(output)
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
    return messages


def read_content(content: Any) -> Any:
    """Return content in chat form: text parts as text, pictures by their address."""
    if not isinstance(content, list):
        return content
    parts: list[Any] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text"):
            parts.append({"type": "text", "text": part.get("text")})
        elif kind == "input_image":
            parts.append({"type": "image_url", "image_url": {"url": part.get("image_url")}})
        else:
            parts.append(part)
    return (
        parts[0]["text"] if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].get("type") == "text" else parts
    )


def to_response(body: dict[str, Any], completion: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion as the response to a Responses request. Its id is new each time, as at the real API."""
    choice = completion["choices"][0]
    message, usage = choice["message"], completion["usage"]
    is_cut = choice["finish_reason"] == "length"
    output: list[dict[str, Any]] = []
    if message.get("content") is not None:
        text = {"type": "output_text", "text": message["content"], "annotations": [], "logprobs": []}
        status = "incomplete" if is_cut else "completed"
        output.append(
            {"id": new_id("msg"), "type": "message", "status": status, "role": "assistant", "content": [text]}
        )
    for call in message.get("tool_calls") or []:
        function = call["function"]
        output.append(
            {
                "id": new_id("fc"),
                "type": "function_call",
                "status": "completed",
                "call_id": call["id"],
                "name": function["name"],
                "arguments": function["arguments"],
            }
        )
    defaults = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}}
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if is_cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "model": completion["model"],
        "previous_response_id": None,
        **defaults,
        **{name: body[name] for name in ECHOED if body.get(name) is not None},
        "output": output,
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": usage["completion_tokens_details"],
            "total_tokens": usage["total_tokens"],
        },
    }


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def stream(response: dict[str, Any]) -> Iterator[str]:
    """Yield a response as the server-sent events of the Responses API, a few words an event."""
    for number, event in enumerate(events(response)):
        yield f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"


def events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "function_call":
            yield added(index, {**item, "status": "in_progress", "arguments": ""})
            yield {"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **place, **done}
        else:
            part = item["content"][0]
            inside = {**place, "content_index": 0}
            yield added(index, {**item, "status": "in_progress", "content": []})
            yield {"type": "response.content_part.added", **inside, "part": {**part, "text": ""}}
            words = part["text"].split(" ") if part["text"] else []
            for start in range(0, len(words), 4):
                piece = " ".join(words[start : start + 4])
                delta = piece if start == 0 else " " + piece
                yield {"type": "response.output_text.delta", **inside, "delta": delta, "logprobs": []}
            yield {"type": "response.output_text.done", **inside, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **inside, "part": part}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    kind = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
    yield {"type": kind, "response": response}


def added(index: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}
