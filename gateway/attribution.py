"""Whom a proxied call belongs to: session, user, agent, task, environment and tags, from its headers and its body. Pure."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
SIZE = 200
MAX_TAGS = 50
# Where each is looked for: the header, then keys of the body's `metadata`.
FIELDS = {
    "session_id": ("x-markbook-session", ("session_id", "conversation_id", "thread_id", "session")),
    "user_id": ("x-markbook-user", ("user_id", "user")),
    "agent_name": ("x-markbook-agent", ("agent_name", "agent")),
    "task": ("x-markbook-task", ("task",)),
    "environment": ("x-markbook-environment", ("environment",)),
}


@dataclass(frozen=True)
class Attribution:
    """What a caller says about a call. `trace_id` and `parent_span_id` are those of its W3C trace context, or empty."""

    session_id: str = ""
    user_id: str = ""
    agent_name: str = ""
    task: str = ""
    environment: str = ""
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    trace_id: str = ""
    parent_span_id: str = ""


def read_attribution(headers: Mapping[str, str], body: Mapping[str, Any]) -> Attribution:
    """Return whom a call belongs to. Header names are in lower case; a header goes before the body."""
    sent = body.get("metadata")
    metadata: dict[str, Any] = sent if isinstance(sent, dict) else {}
    found: dict[str, str] = {}
    for name, (header, keys) in FIELDS.items():
        texts = [read_header(headers.get(header, "")), *(read_value(metadata.get(key)) for key in keys)]
        found[name] = next((text for text in texts if text), "")
    found["user_id"] = found["user_id"] or read_value(body.get("user")) or read_value(body.get("safety_identifier"))
    found["session_id"] = found["session_id"] or read_conversation(body.get("conversation"))
    tags = [*read_tags(read_header(headers.get("x-markbook-tags", ""))), *read_tags(metadata.get("tags"))]
    context = TRACEPARENT.fullmatch(headers.get("traceparent", "").strip().lower())
    trace_id, parent = (context[1], context[2]) if context and int(context[1], 16) and int(context[2], 16) else ("", "")
    return Attribution(
        **found,
        tags=list(dict.fromkeys(tags))[:MAX_TAGS],
        metadata=metadata,
        trace_id=trace_id,
        parent_span_id=parent,
    )


def read_header(value: str) -> str:
    """Return a header's text: UTF-8 where it is that, since WSGI hands bytes over as Latin-1; or percent-encoded, since many
    clients send ASCII only.
    """
    with contextlib.suppress(UnicodeEncodeError, UnicodeDecodeError):
        value = value.encode("latin-1").decode()
    return unquote(value.strip()[:2000])


def read_value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()[:SIZE]


def read_conversation(value: Any) -> str:
    """Return the id of a Responses conversation, given as text or as an object."""
    return read_value(value.get("id")) if isinstance(value, dict) else read_value(value)


def read_tags(value: Any) -> list[str]:
    """Return tags given with commas, or as a list."""
    parts = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else []
    return [text for part in parts if (text := read_value(part))]
