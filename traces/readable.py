"""What a person would read of a value: the words inside an object, a list of messages, a call's arguments. Pure."""

from typing import Any

import orjson

from traces.conventions.messages import read_answer
from traces.spans import Message

# What holds the words of a request or an answer, the surest first.
TEXT_KEYS = (
    "question", "input", "query", "prompt", "user_input", "user_message", "message", "text", "content", "task", "topic",
    "answer", "final_answer", "output", "response", "result", "final_output", "value", "summary", "instructions",
)  # fmt: skip
ANSWER_KEYS = ("choices", "generations", "candidates")
MAX_DEPTH = 6


def readable_text(value: Any) -> str:
    """Return a value as a reader's text; its JSON where no words can be told from the rest. "" for nothing."""
    if value is None or value == "":
        return ""
    found = find_text(value, 0)
    return found if found is not None else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode()


def find_text(value: Any, depth: int) -> str | None:
    """Return the words in a value, or None where there are none to be told apart."""
    if isinstance(value, str):
        return value if value.strip() else None
    if depth > MAX_DEPTH or not value:
        return None
    if isinstance(value, list):
        return text_of_list(value, depth)
    return text_of_object(value, depth) if isinstance(value, dict) else None


def text_of_object(value: dict[str, Any], depth: int) -> str | None:
    """Return the words of an object: of an answer, of the key that usually holds them, of a call, of the only key."""
    if any(isinstance(value.get(key), list) for key in ANSWER_KEYS):
        texts = [message_text(message) for message in read_answer(value)]
        if any(texts):
            return "\n".join(filter(None, texts))
    for key in TEXT_KEYS:
        if key in value and (text := find_text(value[key], depth + 1)) is not None:
            return text
    for key in ("messages", "kwargs", "inputs", "outputs", "args"):
        if key in value and (text := find_text(value[key], depth + 1)) is not None:
            return text
    if len(value) == 1:
        return find_text(next(iter(value.values())), depth + 1)
    return None


def text_of_list(value: list[Any], depth: int) -> str | None:
    """Return the words of a list: of the last message that says anything, of the parts of one, or of the first text."""
    if all(isinstance(item, dict) for item in value):
        if all("role" in item or "lc" in item for item in value):
            texts = (find_text(item, depth + 1) for item in reversed(value))
            return next(filter(None, texts), None)
        parts = [item.get("text") or item.get("content") for item in value if item.get("type") in (None, "text")]
        words = [part for part in parts if isinstance(part, str) and part]
        return "\n".join(words) if words else (find_text(value[0], depth + 1) if len(value) == 1 else None)
    if all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return next((item for item in value if isinstance(item, str) and item.strip()), None)


def message_text(message: Message) -> str:
    """Return the text of a message; parts that are not text are left out."""
    content = message.get("content")
    if not isinstance(content, list):
        return readable_text(content)
    texts = [part.get("content") or part.get("text") if isinstance(part, dict) else part for part in content]
    return "\n".join(text for text in texts if isinstance(text, str))


def call_text(message: Message) -> str:
    """Return the tool calls of a message as text: `get_order(order_id: A-1001)`."""
    return ", ".join(
        f"{call.get('name') or 'tool'}({arguments_text(call)})" for call in message.get("tool_calls") or ()
    )


def arguments_text(call: dict[str, Any]) -> str:
    """Return a tool call's arguments as text."""
    arguments = call.get("arguments")
    if not isinstance(arguments, dict):
        return arguments if isinstance(arguments, str) else ""
    words = (one if isinstance(one, str) else orjson.dumps(one, default=str).decode() for one in arguments.values())
    return ", ".join(f"{key}: {word}" for key, word in zip(arguments, words, strict=True))


def plain_text(value: Any) -> str:
    """Return all the text of a value, for the index: the one text in a wrapping object, else JSON."""
    for _ in range(MAX_DEPTH):
        if not isinstance(value, dict) or len(value) != 1:
            break
        (value,) = value.values()
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
