"""The scripted models: no model at all, but rules of ours behind the chat-completions interface. Pure and deterministic.

They exist so that the product can be tried, and tested, where no model can be reached. What they say follows from the request and its
`seed` alone, and every answer carries `"system_fingerprint": "scripted"`.
"""

import hashlib
import json
from collections.abc import Callable
from random import Random
from typing import Any

from gateway.scripted.agents import answer_customer
from gateway.scripted.judge import answer_as_judge
from gateway.scripted.reading import Conversation, read_conversation

CREATED = 1_767_225_600  # a fixed `created` time, so that the same request has the same answer
FINGERPRINT = "scripted"

MODELS: dict[str, str] = {
    "demo/careful": "Scripted: looks at policy and facts, and says what it knows; slow and dear",
    "demo/brisk": "Scripted: mostly right, now and then skips the policy",
    "demo/terse": "Scripted: short and cheap, often wrong, claims what it has not done",
    "demo/judge": "Scripted: marks by the rubric's schema with simple rules",
    "demo/echo": "Scripted: repeats the last message of the user",
}
# Made up: USD for a million (input, output) tokens, so that cost columns have something to show.
PRICES: dict[str, tuple[float, float]] = {
    "demo/careful": (2.5, 10.0),
    "demo/brisk": (0.4, 1.6),
    "demo/terse": (0.1, 0.4),
    "demo/judge": (0.4, 1.6),
    "demo/echo": (0.0, 0.0),
}
# Milliseconds that a real answer would take: (before the first token, for each token). Simulated in part by the transport.
PACE: dict[str, tuple[float, float]] = {
    "demo/careful": (6.0, 0.05),
    "demo/brisk": (3.0, 0.03),
    "demo/terse": (1.5, 0.02),
    "demo/judge": (1.0, 0.01),
    "demo/echo": (0.0, 0.0),
}


class UnknownScript(ValueError):
    """There is no scripted model of this name."""


def respond(body: dict[str, Any]) -> dict[str, Any]:
    """Answer a chat-completions request, as an OpenAI response. The body must have been checked. Raises UnknownScript."""
    model = body["model"]
    if model not in MODELS:
        raise UnknownScript(f'There is no scripted model "{model}"; there are {", ".join(MODELS)}.')
    conversation = read_conversation(body)
    choices = [answer(model, conversation, body, index) for index in range(int(body.get("n") or 1))]
    given = sum(count_tokens(json.dumps(message, ensure_ascii=False)) for message in body["messages"])
    given += count_tokens(json.dumps(body["tools"])) if body.get("tools") else 0
    written = sum(count_tokens(json.dumps(choice["message"], ensure_ascii=False)) for choice in choices)
    digest = hashlib.sha256(
        json.dumps([model, body["messages"], body.get("seed")], sort_keys=True, default=str).encode()
    ).hexdigest()
    return {
        "id": f"chatcmpl-{digest[:29]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": choices,
        "usage": {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written},
        "system_fingerprint": FINGERPRINT,
    }


def answer(model: str, conversation: Conversation, body: dict[str, Any], index: int) -> dict[str, Any]:
    """Return one choice of the response, cut at the asked number of tokens."""
    seed = json.dumps([model, conversation.digest, body.get("seed"), index])
    rng = Random(hashlib.sha256(seed.encode()).hexdigest())
    speak: Callable[[Conversation, dict[str, Any], Random], dict[str, Any]] = {
        "demo/judge": lambda read, asked, draw: {"role": "assistant", "content": answer_as_judge(read, asked, draw)},
        "demo/echo": lambda read, asked, draw: {"role": "assistant", "content": read.last_user},
    }.get(model, lambda read, asked, draw: answer_customer(model, read, draw))
    message = speak(conversation, body, rng)
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    text = message.get("content")
    if limit and text and count_tokens(text) > limit:
        message = message | {"content": text[: limit * 4]}
        finish = "length"
    return {"index": index, "message": message | {"refusal": None}, "finish_reason": finish, "logprobs": None}


def count_tokens(text: str) -> int:
    """Estimate tokens: four characters each, at least one."""
    return max(1, (len(text) + 3) // 4)


def pace_ms(response: dict[str, Any]) -> float:
    """Return how long the answer should take, in milliseconds."""
    first, each = PACE.get(response["model"], (0.0, 0.0))
    return first + each * float(response["usage"]["completion_tokens"])
