"""What a provider answered, read with care: anything that is not a chat completion is said to be so. Pure."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

SECRET = re.compile(r"\b(sk|pk|mb|mbi|gsk|xai|AIza)[-_][\w*.:-]{6,}")
SHOWN = 300  # characters of a provider's answer that an error repeats
HINTS = {
    401: "Check its key under Settings, Model providers.",
    403: "Check what its key may be used for.",
    404: "Check the model's name and the base URL.",
    413: "The request is too large for it.",
}


class ProviderError(Exception):
    """A provider gave no usable answer; the text says what happened. `retryable`: the same request may work later.

    `kind`: unavailable, timeout, rate_limited, rejected (the request itself) or invalid_answer. `may_be_charged`: it was sent, and
    what became of it is not known. Neither the text nor the fields ever hold a key.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        retryable: bool = False,
        status: int | None = None,
        param: str = "",
        retry_after_s: float | None = None,
        may_be_charged: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.status = status
        self.param = param
        self.retry_after_s = retry_after_s
        self.may_be_charged = may_be_charged


class InvalidAnswer(ValueError):
    """The body is no chat completion; the text says what it is."""


@dataclass(frozen=True)
class Answer:
    """A model's answer. `usage` holds input_tokens, output_tokens, cached_input_tokens and reasoning_tokens, None where not said.

    `duration_ms` is from sending to receiving, of the attempt that was answered; that of a scripted model is made up, as its price is.
    """

    message: dict[str, Any]
    text: str
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    model: str
    usage: dict[str, int | None] = field(default_factory=dict)
    cost_usd: float | None = None
    duration_ms: float | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    answered_by: str = ""  # the model that was asked in place of an old name; empty where the named one was


def read_completion(content: bytes, *, asked_model: str) -> Answer:
    """Return the answer in a body. Raises InvalidAnswer saying what is there in its place."""
    if not content.strip():
        raise InvalidAnswer("an empty body")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidAnswer(f"something that is not JSON: {first_line(content)}") from None
    if not isinstance(body, dict):
        raise InvalidAnswer(f"a JSON {kind_of(body)} in place of a chat completion")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        if body.get("error"):
            raise InvalidAnswer(f"an error under status 200: {error_text(body)}")
        raise InvalidAnswer(f"no choices: {first_line(content)}")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise InvalidAnswer(f"a choice without a message: {first_line(content)}")
    tool_calls = read_tool_calls(message.get("tool_calls"))
    model = body.get("model")
    return Answer(
        message=message,
        text=text_of(message),
        tool_calls=tool_calls,
        finish_reason=str(choice.get("finish_reason") or ""),
        model=model if isinstance(model, str) and model else asked_model,
        usage=read_usage(body.get("usage")),
        raw=body,
    )


def read_embeddings(content: bytes, *, asked_model: str, count: int) -> Answer:
    """Check a body that holds `count` vectors and return it as an answer without text. Raises InvalidAnswer."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise InvalidAnswer(f"something that is not JSON: {first_line(content)}") from None
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or len(rows) != count:
        raise InvalidAnswer(f"something other than a list of {count} vectors: {first_line(content)}")
    for row in rows:
        vector = row.get("embedding") if isinstance(row, dict) else None
        if not isinstance(vector, list) or not vector or not all(is_finite(value) for value in vector):
            raise InvalidAnswer("an embedding that is not a list of numbers")
    model = body.get("model")
    usage = read_usage(body.get("usage"))
    return Answer(
        message={},
        text="",
        tool_calls=[],
        finish_reason="",
        model=model if isinstance(model, str) and model else asked_model,
        usage=usage | {"output_tokens": usage["output_tokens"] or 0},
        raw=body,
    )


def is_finite(value: Any) -> bool:
    """Say whether a JSON value is a number that can be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def vectors_of(body: dict[str, Any]) -> list[list[float]]:
    """Return the vectors of a body that was checked, in the order of the texts."""
    rows = body["data"]
    if all(isinstance(row.get("index"), int) for row in rows):
        rows = sorted(rows, key=lambda row: row["index"])
    return [[float(value) for value in row["embedding"]] for row in rows]


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message; a refusal is one too. Raises InvalidAnswer for content that is neither text nor parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if content is not None:
        raise InvalidAnswer(f"a message whose content is a JSON {kind_of(content)}")
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def read_tool_calls(calls: Any) -> list[dict[str, Any]]:
    """Check a message's tool calls and return them as they are. Raises InvalidAnswer."""
    if calls in (None, []):
        return []
    if not isinstance(calls, list):
        raise InvalidAnswer(f"tool calls that are a JSON {kind_of(calls)}")
    for number, call in enumerate(calls, 1):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise InvalidAnswer(f"a tool call without a function name (number {number})")
    return calls


def read_usage(usage: Any) -> dict[str, int | None]:
    """Return token counts; what is no whole number of 0 or more is not said."""
    found = usage if isinstance(usage, dict) else {}
    given = found.get("prompt_tokens_details")
    written = found.get("completion_tokens_details")
    return {
        "input_tokens": whole(found.get("prompt_tokens")),
        "output_tokens": whole(found.get("completion_tokens")),
        "cached_input_tokens": whole(given.get("cached_tokens")) if isinstance(given, dict) else None,
        "reasoning_tokens": whole(written.get("reasoning_tokens")) if isinstance(written, dict) else None,
    }


def sent_cost(usage: Any) -> float | None:
    """Return the cost in US dollars that some providers send with the usage."""
    cost = usage.get("cost") if isinstance(usage, dict) else None
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < 1_000_000:
        return None
    return float(cost)


def whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return int(value)


def kind_of(value: Any) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


# Errors in words -------------------------------------------------------------------------------------------------


def first_line(content: bytes) -> str:
    """Return the first line of a body that says something: the title of a page, else its first words."""
    text = content[:20_000].decode("utf-8", "replace")
    title = re.search(r"<title[^>]*>([^<]+)</title>", text, re.IGNORECASE)
    if title:
        return shorten(title.group(1))
    plain = re.sub(r"<[^<>]{0,500}>", " ", text) if "<" in text else text
    return next((shorten(line) for line in plain.splitlines() if line.strip()), "(nothing)")


def error_text(body: Any) -> str:
    """Return the message in an error body of any of the usual forms, or an empty text."""
    if isinstance(body, str):
        return shorten(body)
    if not isinstance(body, dict):
        return ""
    for name in ("error", "message", "detail", "error_description"):
        inner = body.get(name)
        found = error_text(inner) if inner else ""
        if found:
            return found
    return ""


def error_field(body: Any, name: str) -> str:
    """Return `code`, `param` or `type` of an error body, or an empty text."""
    error = body.get("error") if isinstance(body, dict) else None
    value = error.get(name) if isinstance(error, dict) else None
    return value if isinstance(value, str) else ""


def shorten(text: str) -> str:
    clean = " ".join(text.replace("\x00", "").split())
    return clean if len(clean) <= SHOWN else clean[: SHOWN - 1] + "…"


def redact(text: str, key: str) -> str:
    """Take a key out of a text, and whatever else looks like one."""
    if len(key) >= 4:
        text = text.replace(key, "[key]")
    return SECRET.sub("[key]", text)


def status_error(
    provider: str, model: str, status: int, content: bytes, *, key: str, retry_after_s: float | None
) -> ProviderError:
    """Return the error for an answer other than 200."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    said = redact(error_text(body) or first_line(content), key)
    code = error_field(body, "code")
    kind, retryable = "rejected", False
    hint = HINTS.get(status, "")
    if status == 408:
        kind, retryable = "timeout", True
    elif status == 429:
        out_of_credit = code in ("insufficient_quota", "billing_hard_limit_reached")
        kind, retryable = "rate_limited", not out_of_credit
        hint = "The account behind the key has no credit left." if out_of_credit else "It asks for fewer calls."
    elif status == 409 or status >= 500:
        kind, retryable = "unavailable", True
    elif 300 <= status < 400:
        said, hint = "it sends the request elsewhere", "Give the address that it redirects to as the base URL."
    end = "" if said.endswith((".", "!", "?", "…")) else "."
    message = f'Provider "{provider}" answered {status} for {model}: {said}{end} {hint}'.strip()
    return ProviderError(
        message,
        kind=kind,
        retryable=retryable,
        status=status,
        param=error_field(body, "param"),
        retry_after_s=retry_after_s,
    )
