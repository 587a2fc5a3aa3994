"""Chats, one a line: `{"messages": [...]}` or a bare list, in OpenAI's form, its older ones, or Anthropic's. Pure.

Also read beside the messages where given: what `steps.py` reads of a run (ids, agent, model, tags, metadata, scores), and `tools`.
"""

from collections.abc import Iterator
from typing import Any

from traces.conventions.messages import read_chat_messages
from traces.conventions.raw import read_text
from traces.formats.base import BadDocument, BadLine, FileContext, ImportedTrace
from traces.formats.steps import read_root, read_scores
from traces.formats.thread import Turn, read_time, spans_of_thread

NAME = "chat"
LABEL = "chat messages"


def sniff(document: Any) -> bool:
    """Say whether a document is a chat."""
    found = document.get("messages") if isinstance(document, dict) else document
    return isinstance(found, list) and bool(found) and all(isinstance(item, dict) and "role" in item for item in found)


def read(place: str, document: Any, context: FileContext) -> Iterator[ImportedTrace | BadLine]:
    """Give the run of a chat. Raises BadDocument."""
    chat: dict[str, Any] = document if isinstance(document, dict) else {"messages": document}
    items = chat.get("messages")
    if not isinstance(items, list) or not items:
        raise BadDocument("messages is not a list with at least one message")
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            raise BadDocument(f"message {number} is not an object with a role")
    root = read_root(
        {key: value for key, value in chat.items() if key != "messages"} | identity(chat, context), context
    )
    root.convention = NAME
    if root.name == "run":
        root.name = "chat"
    turns: list[Turn] = []
    for item in items:
        model = read_text(item.get("model")) or read_text(chat.get("model"))
        at_ns = read_time(item.get("timestamp") or item.get("created_at") or item.get("time"))
        for message in read_chat_messages([item]):
            is_call = message["role"] == "assistant"
            turns.append(Turn(message, at_ns, model=model if is_call else "", is_call=is_call))
    tools = chat.get("tools") or chat.get("functions")
    records = spans_of_thread(root, turns, tools=tools if isinstance(tools, list) and tools else None)
    times = [turn.at_ns for turn in turns if turn.at_ns is not None]
    if times and root.start_ns is None:
        root.start_ns, root.end_ns = min(times), max(times)
    yield ImportedTrace(records, read_scores(chat.get("scores")), place)


def identity(chat: dict[str, Any], context: FileContext) -> dict[str, Any]:
    """Return the id of a chat: its own, else one that follows from what was said."""
    own = chat.get("trace_id") or chat.get("id") or chat.get("conversation_id")
    return {"trace_id": own if isinstance(own, str) and own else context.trace_id("chat", chat["messages"])}
