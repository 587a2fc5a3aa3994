"""Models that answer by script, for the demo project and for tests: no key, no network, and the same answer every time.

They play support agents of a fictional shop, Fernhill Coffee, of differing quality, and a judge. Whatever they say is made up by
rules; every response carries `"system_fingerprint": "scripted"`, and pages label their names. Prices and latencies are made up too.
"""

import json
import time
from typing import Any

from gateway.scripted.agents import AGENTS
from gateway.scripted.chance import Chance
from gateway.scripted.judge import judge
from gateway.scripted.reading import last_user_text, read_situation, text_of
from gateway.scripted.schema_answers import asked_schema, fill_schema
from gateway.scripted.tool_use import next_call

__all__ = ["MODELS", "PRICES", "respond"]

MODELS = {
    "demo/careful": "Support agent: correct and complete, polite, a bit long; slow and dear",
    "demo/brisk": "Support agent: mostly correct, sometimes skips the policy or the date",
    "demo/terse": "Support agent: very short, often wrong, claims actions; fast and cheap",
    "demo/judge": "Judge: marks by a rubric with rules of thumb",
    "demo/echo": "Repeats the last user message",
}
PRICES = {  # USD for a million input and output tokens; fictional
    "demo/careful": (2.5, 10.0),
    "demo/brisk": (0.4, 1.6),
    "demo/terse": (0.1, 0.4),
    "demo/judge": (0.4, 1.6),
    "demo/echo": (0.0, 0.0),
}
LATENCY_MS = {  # before the first word, and for each output token; fictional
    "demo/careful": (900.0, 16.0),
    "demo/brisk": (420.0, 8.0),
    "demo/terse": (230.0, 5.0),
    "demo/judge": (600.0, 7.0),
    "demo/echo": (20.0, 0.0),
}
DELAY_SHARE = 0.005  # of the made-up latency, a model really takes


def respond(body: dict[str, Any]) -> dict[str, Any]:
    """Return the chat completion for a request body that `gateway.completions.read_request` has let through.

    The same model, messages and seed give the same choices. `seed` (a trial's number, for example) makes answers differ.
    """
    model, messages = body["model"], body["messages"]
    chance = Chance(model, messages, body.get("seed"))
    draws = [chance, *(Chance(model, messages, [body.get("seed"), index]) for index in range(1, body.get("n") or 1))]
    choices = [one_choice(body, index, drawn) for index, drawn in enumerate(draws)]
    given = count_tokens("\n".join(text_of(message) for message in messages)) + 4 * len(messages)
    given += count_tokens(str(body["tools"])) if body.get("tools") else 0
    written = sum(output_tokens(choice["message"]) for choice in choices)
    first_ms, token_ms = LATENCY_MS[model]
    return {
        "id": f"chatcmpl-{chance.digits('id', 24)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": "scripted",
        "choices": choices,
        "usage": {
            "prompt_tokens": given,
            "completion_tokens": written,
            "total_tokens": given + written,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "scripted_latency_ms": round((first_ms + token_ms * written) * (0.75 + 0.6 * chance.trial("latency")), 1),
    }


def one_choice(body: dict[str, Any], index: int, chance: Chance) -> dict[str, Any]:
    """Return one choice: a tool call or a text, cut where a limit or a stop text says so."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    call = tool_call(body, chance)
    if call is not None:
        message["tool_calls"] = [call]
        return {"index": index, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    text, finish_reason = cut(answer_text(body, chance), body)
    message["content"] = text
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}


def tool_call(body: dict[str, Any], chance: Chance) -> dict[str, Any] | None:
    if body["model"] not in AGENTS or not body.get("tools") or body.get("tool_choice") == "none":
        return None
    return next_call(body["model"], read_situation(body["messages"]), body["tools"], chance)


def answer_text(body: dict[str, Any], chance: Chance) -> str:
    """Return what the model says."""
    model, messages = body["model"], body["messages"]
    if model == "demo/echo":
        return last_user_text(messages)
    if model == "demo/judge":
        return judge(body, chance)
    said = AGENTS[model](read_situation(messages), chance)
    schema = asked_schema(body)
    if schema is None:
        return said
    return json.dumps(fill_schema(schema, "answer", text=said, quality=chance.trial), ensure_ascii=False)


def cut(text: str, body: dict[str, Any]) -> tuple[str, str]:
    """Apply `stop` and the limit of tokens; returns the text and the finish reason."""
    stops = [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []
    ends = [place for place in (text.find(stop) for stop in stops if stop) if place >= 0]
    text = text[: min(ends)] if ends else text
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit and count_tokens(text) > limit:
        return text[: limit * 4], "length"
    return text, "stop"


def count_tokens(text: str) -> int:
    """Return about how many tokens a text has: one for four characters."""
    return (len(text) + 3) // 4


def output_tokens(message: dict[str, Any]) -> int:
    calls = message.get("tool_calls") or []
    return count_tokens(message["content"] or "") + sum(count_tokens(str(call["function"])) + 4 for call in calls)
