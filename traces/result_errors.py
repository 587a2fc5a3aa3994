"""What in a tool's result says that it failed: the one rule, for the detector, the story and the cards of a conversation. Pure."""

import re
from typing import Any

from traces.pointers import as_text, parse_text

FILLED = ("error", "errors", "exception", "error_message", "errorMessage")
TRUE = ("is_error", "isError", "failed")
FALSE = ("ok", "success", "succeeded")
STATES = ("status", "state", "status_code", "statusCode", "http_status", "code")
FAILED_STATES = {
    "error",
    "failed",
    "failure",
    "errored",
    "exception",
    "timeout",
    "timed_out",
    "unauthorized",
    "forbidden",
}
EMPTY = ("", "none", "null", "no error", "false", "0", "ok", "[]", "{}")
TEXT = re.compile(
    r"(?:error|exception|fatal|failure)\b\s*(?::|-|—|\d{3}|occurred|while|executing|calling)"
    r"|(?:\w+\.)*\w+(?:Error|Exception)\s*:"
    r"|traceback \(most recent call last\)"
    r"|(?:http|status(?: code)?)[ :/]*(?:1\.1 )?[45]\d\d\b"
    r"|(?:[45]\d\d) (?:bad request|unauthorized|forbidden|not found|internal server error|bad gateway|service unavailable)"
    r"|(?:tool |command |request |call )?(?:execution )?(?:failed|timed out)\b(?=\s*(?:to\b|with\b|after\b|because\b|[:.(]|$))"
    r"|(?:unknown|invalid|unsupported) (?:tool|function|argument|parameter)"
    r"|permission denied|access denied|connection (?:refused|reset)|rate limit exceeded|command not found",
    re.IGNORECASE,
)  # fmt: skip
LATE = re.compile(
    r"^[ \t]*(?:\w+\.)*\w*(?:Error|Exception)[ \t]*:.*|exit(?:ed with)? (?:code|status) [1-9]\d*|exitcode: [1-9]\d*",
    re.MULTILINE,
)


def error_in(result: Any) -> str:
    """Return what in a tool's result says that it failed, or an empty text. Fields are read before text."""
    value = parse_text(result)
    if isinstance(value, str):
        return error_in_text(value)
    if isinstance(value, dict):
        return error_in_fields(value)
    if isinstance(value, list):
        parts = [part for part in value if isinstance(part, dict)]
        if parts and len(parts) == len(value):
            texts = [part.get("text") or part.get("content") for part in parts if part.get("type") == "text"]
            if len(texts) == len(parts):  # content parts, as MCP gives them
                return error_in("".join(str(text or "") for text in texts))
            return error_in_fields(parts[0]) if len(parts) == 1 else ""
    return ""


def error_in_fields(value: dict[str, Any]) -> str:
    """Return the field of a result that says that it failed."""
    for key in FILLED:
        found = value.get(key)
        if found and as_text(found).strip().lower() not in EMPTY:
            return f"{key}: {shorten(as_text(found))}"
    for key in TRUE:
        if value.get(key) is True:
            return f"{key}: true{said(value)}"
    for key in FALSE:
        if value.get(key) is False:
            return f"{key}: false{said(value)}"
    for key in STATES:
        state = value.get(key)
        is_word = isinstance(state, str) and state.strip().lower() in FAILED_STATES and key != "code"
        if is_word or (type(state) is int and 400 <= state < 600 and key != "code"):
            return f"{key}: {state}{said(value)}"
    content = value.get("content")
    if isinstance(content, list) and set(value) <= {"content", "structuredContent", "isError", "_meta"}:
        return error_in(content)
    return ""


def said(value: dict[str, Any]) -> str:
    """Return the words beside a field that says no."""
    words = next((value[key] for key in ("message", "reason", "detail", "msg") if isinstance(value.get(key), str)), "")
    return f" ({shorten(words, 120)})" if words else ""


def error_in_text(text: str) -> str:
    """Return the line of a text that says that it failed: its first line, or the last one of a program's trouble."""
    stripped = text.strip()
    if not stripped:
        return ""
    first = stripped[:400].splitlines()[0]
    if TEXT.match(first.lstrip("#*>[( \t")):
        return shorten(first)
    if len(stripped) < 20_000 and (
        "Traceback (most recent call last)" in stripped or stripped[:9].lower() == "exitcode:"
    ):
        late = LATE.search(stripped)
        if late:
            return shorten(late.group())
    return ""


def shorten(value: Any, size: int = 160) -> str:
    """Return a text in one line, cut where it is long."""
    text = " ".join(str(value).split())
    return text if len(text) <= size else text[: size - 1] + "…"
