"""The chat-completions endpoint without HTTP: checks a request, answers it, streams it. Pure: both doors (server, in-process) use it."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.scripted import DELAY_SHARE, MODELS, respond

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MAX_MESSAGES = 5_000
MAX_CHOICES = 16
SCRIPTED_PREFIX = "demo/"


class RequestError(Exception):
    """A request that is answered 4xx; `param` names the place that is wrong."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


@dataclass(frozen=True)
class Completion:
    """An answer, and how long a scripted model takes for it in truth (its made-up latency is in the answer)."""

    body: dict[str, Any]
    delay_s: float


def read_request(raw: bytes) -> dict[str, Any]:
    """Return the checked body of a chat-completions request. Raises RequestError naming the place."""
    try:
        body = json.loads(raw)
    except RecursionError:
        raise RequestError("The body is nested too deeply.") from None
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise RequestError("The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise RequestError("`model` is missing: name a model, for example demo/careful.", param="model")
    check_messages(body.get("messages"))
    check_number(body, "temperature", 0, 2)
    check_number(body, "top_p", 0, 1)
    for name, highest in (("n", MAX_CHOICES), ("max_tokens", 10_000_000), ("max_completion_tokens", 10_000_000)):
        check_whole(body, name, 1, highest)
    check_whole(body, "seed", -(2**63), 2**63 - 1)
    if not isinstance(body.get("stream"), bool | None):
        raise RequestError("`stream` must be true or false.", param="stream")
    for name, kind in (("tools", list), ("response_format", dict), ("stream_options", dict)):
        if body.get(name) is not None and not isinstance(body[name], kind):
            raise RequestError(f"`{name}` must be {'a list' if kind is list else 'an object'}.", param=name)
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, str) and not is_list_of_text(stop):
        raise RequestError("`stop` must be a text or a list of texts.", param="stop")
    return body


def check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise RequestError("`messages` must be a list of at least one message.", param="messages")
    if len(messages) > MAX_MESSAGES:
        raise RequestError(
            f"`messages` has {len(messages):,} entries; at most {MAX_MESSAGES:,} are taken.", param="messages"
        )
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise RequestError(f"`{where}` must be an object.", param=where)
        if message.get("role") not in ROLES:
            raise RequestError(f"`{where}.role` must be one of {', '.join(ROLES)}.", param=f"{where}.role")
        content = message.get("content")
        if content is not None and not isinstance(content, str) and not is_list_of_objects(content):
            raise RequestError(f"`{where}.content` must be a text or a list of parts.", param=f"{where}.content")
        if message.get("tool_calls") is not None and not is_list_of_objects(message["tool_calls"]):
            raise RequestError(f"`{where}.tool_calls` must be a list of objects.", param=f"{where}.tool_calls")


def check_number(body: dict[str, Any], name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestError(f"`{name}` must be a number from {low:g} to {high:g}.", param=name)


def check_whole(body: dict[str, Any], name: str, low: int, high: int) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestError(f"`{name}` must be a whole number from {low} to {high}.", param=name)


def is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def complete(body: dict[str, Any]) -> Completion:
    """Answer a checked request. Raises RequestError for a model that is not scripted."""
    model = body["model"]
    if model not in MODELS:
        if model.startswith(SCRIPTED_PREFIX):
            raise RequestError(
                f"There is no scripted model `{model[:100]}`; there are {', '.join(MODELS)}.",
                status=404,
                param="model",
                code="model_not_found",
            )
        raise RequestError(
            f"This server answers scripted models only ({', '.join(MODELS)}), and does not forward `{model[:100]}`. Send the request to "
            "that model's own provider.",
            param="model",
            code="model_not_supported",
        )
    answer = respond(body)
    return Completion(answer, answer["scripted_latency_ms"] * DELAY_SHARE / 1000)


def stream(answer: dict[str, Any], *, include_usage: bool) -> Iterator[str]:
    """Yield an answer as server-sent events: a few words a chunk, then the usage where it is wanted."""
    head = {name: answer[name] for name in ("id", "created", "model", "system_fingerprint")} | {
        "object": "chat.completion.chunk"
    }
    if include_usage:
        head["usage"] = None
    for choice in answer["choices"]:
        index, message = choice["index"], choice["message"]
        yield event(head, index, {"role": "assistant", "content": "" if message.get("content") is not None else None})
        words = (message.get("content") or "").split(" ")
        for start in range(0, len(words), 4) if message.get("content") else ():
            piece = " ".join(words[start : start + 4])
            yield event(head, index, {"content": piece if start == 0 else " " + piece})
        for place, call in enumerate(message.get("tool_calls") or []):
            yield event(head, index, {"tool_calls": [{"index": place, **call}]})
        yield event(head, index, {}, finish_reason=choice["finish_reason"])
    if include_usage:
        yield f"data: {json.dumps({**head, 'choices': [], 'usage': answer['usage']})}\n\n"
    yield "data: [DONE]\n\n"


def event(head: dict[str, Any], index: int, delta: dict[str, Any], *, finish_reason: str | None = None) -> str:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"


STARTED = int(time.time())


def model_entry(name: str, owner: str) -> dict[str, Any]:
    """Return a model as /v1/models lists it. A scripted one says so."""
    entry: dict[str, Any] = {"id": name, "object": "model", "created": STARTED, "owned_by": owner}
    return entry | ({"scripted": True, "description": MODELS[name]} if name in MODELS else {})


def wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True
