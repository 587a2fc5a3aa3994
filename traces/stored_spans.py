"""How a `SpanRecord` lies in rows: light columns, payload JSON, bodies and message nodes by digest; and back. Pure.

The payload holds every field of the record that is not empty and has no column, no body and no node of its own, and the
full value of a column that had to be cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import orjson

from traces.spans import Message, SpanRecord, Usage
from traces.storable import (
    MAX_INTEGER,
    amount_usd,
    clean_text,
    is_storable,
    json_bytes,
    short_digest,
    token_count,
)
from traces.summary import TOKENS, Facts, UsageRow, read_facts

MAX_ID = 128
TEXT_SIZES = {
    "name": 500,
    "display_name": 500,
    "status_message": 500,
    "error_type": 200,
    "model": 200,
    "provider": 100,
    "agent_id": 200,
    "agent_name": 200,
    "session_id": 200,
    "user_id": 200,
}
KINDS = frozenset(
    ("agent", "llm", "tool", "retriever", "embedding", "reranker", "guardrail", "evaluator", "prompt", "chain", "handoff", "event")
)  # fmt: skip
STATUSES = frozenset(("ok", "error", "unset"))
STATUS_MESSAGE = list(TEXT_SIZES).index("status_message")
# Columns of a span in the order of `StoredSpan.columns`; ids and the flags of usage come from the writer.
COLUMNS = (
    "span_id", "parent_span_id", "kind", "start_ns", "end_ns", "position", "status", *TEXT_SIZES, "tool_name", *TOKENS, "cost_usd",
    "cost_source", "digest",
)  # fmt: skip
ELSEWHERE = frozenset(
    (
        "trace_id", "span_id", "parent_span_id", "kind", "start_ns", "end_ns", "position", "status", "usage", "input_messages",
        "earlier_messages", "output_messages", "available_tools", "origin", *TEXT_SIZES,
    )
)  # fmt: skip
EMPTY = SpanRecord("", "")
PAYLOAD = {one.name: getattr(EMPTY, one.name) for one in fields(SpanRecord) if one.name not in ELSEWHERE}
EMPTY_PAYLOAD = tuple(PAYLOAD.values())
read_payload, read_texts, read_tokens = attrgetter(*PAYLOAD), attrgetter(*TEXT_SIZES), attrgetter(*TOKENS)
PriceUsd = Callable[..., float | None]


class RejectedSpan(ValueError):
    """A span that cannot be kept. The text says which, and why."""


@dataclass(slots=True)
class StoredSpan:
    """A span ready to be written. A chain is a list of (node digest, body digest) from the thread's start."""

    trace_id: str
    span_id: str
    columns: list[Any]
    content: bytes
    facts: Facts
    digest: bytes
    input_chain: list[tuple[bytes, bytes]]
    output_chain: list[tuple[bytes, bytes]]
    tools: bytes | None
    origin: bytes | None
    record: SpanRecord

    @property
    def is_ended(self) -> bool:
        return self.facts.end_ns is not None


class Bodies:
    """The bodies of a batch: JSON by digest. What is shared by many spans is written to JSON once."""

    def __init__(self) -> None:
        self.content: dict[bytes, tuple[str, bytes]] = {}
        self.known: dict[int, tuple[Any, bytes]] = {}

    def add(self, kind: str, value: Any) -> bytes:
        """Return the digest of a body, and keep its JSON. Raises TooDeep."""
        encoded = json_bytes(value)
        digest = short_digest(encoded)
        if digest not in self.content:
            self.content[digest] = (kind, encoded)
        return digest

    def add_shared(self, kind: str, value: Any) -> bytes:
        """As `add`, for an object that many spans point at."""
        known = self.known.get(id(value))
        if known is not None:
            return known[1]
        digest = self.add(kind, value)
        self.known[id(value)] = (value, digest)  # keeps the object, so that its id stays its own
        return digest


def store_span(record: SpanRecord, bodies: Bodies, price_usd: PriceUsd) -> StoredSpan:
    """Return a record as it will be written. Raises RejectedSpan."""
    for what, text in (("trace id", record.trace_id), ("span id", record.span_id)):
        if not text:
            raise RejectedSpan(f"span {record.name[:60]!r}: it has no {what}")
    for what, text in (("trace", record.trace_id), ("span", record.span_id), ("parent span", record.parent_span_id)):
        if len(text) > MAX_ID:
            raise RejectedSpan(
                f"span {record.name[:60]!r}: its {what} id has {len(text)} characters, at most {MAX_ID} are kept"
            )
        if not is_storable(text):
            raise RejectedSpan(f"span {record.name[:60]!r}: its {what} id holds NUL or broken characters")
    for what, time_ns in (("start", record.start_ns), ("end", record.end_ns)):
        if time_ns is not None and not -MAX_INTEGER < time_ns < MAX_INTEGER:
            raise RejectedSpan(
                f"span {record.name[:60]!r}: its {what} {time_ns} ns is not between the years 1677 and 2262"
            )
    if record.parent_span_id == record.span_id:
        record.parent_span_id = ""
    try:
        return encode_span(record, bodies, price_usd)
    except ValueError as error:
        raise RejectedSpan(f"span {record.name[:60]!r} ({record.span_id}): {error}") from error


def encode_span(record: SpanRecord, bodies: Bodies, price_usd: PriceUsd) -> StoredSpan:
    """Return a checked record as it will be written. Raises TooDeep."""
    kind = record.kind if record.kind in KINDS else "unknown"
    status = record.status if record.status in STATUSES else "unset"
    sent_texts = read_texts(record)
    texts = [clean_text(sent, size) if sent else "" for sent, size in zip(sent_texts, TEXT_SIZES.values(), strict=True)]
    if record.error_message or record.status_message:
        said = first_line(record.error_message or record.status_message)
        texts[STATUS_MESSAGE] = clean_text(said, TEXT_SIZES["status_message"])
    # Most fields are empty: the same object as in an empty record, or an equal one.
    payload: dict[str, Any] = {
        name: value
        for name, value, empty in zip(PAYLOAD, read_payload(record), EMPTY_PAYLOAD, strict=True)
        if value is not empty and value != empty
    }
    if tuple(texts) != sent_texts:
        cut = zip(TEXT_SIZES, texts, sent_texts, strict=True)
        payload = {name: sent for name, text, sent in cut if text != sent} | payload
    usage = record.usage
    tokens = [None if count is None else token_count(count) for count in read_tokens(usage)]
    cost, source = amount_usd(usage.cost_usd), usage.cost_source
    if cost is None:
        cost = (
            amount_usd(price_usd(record.model, tokens[0], tokens[1], tokens[2], provider=record.provider))
            if (record.model and kind in ("llm", "embedding") and (tokens[0] or tokens[1]))
            else None
        )
        source = "" if cost is None else "priced"
    tool_name = clean_text(str(record.tool.get("name") or ""), 200) if record.tool else ""
    columns: list[Any] = [
        record.span_id,
        record.parent_span_id,
        kind,
        record.start_ns,
        record.end_ns,
        max(-(2**31), min(record.position, 2**31 - 1)),
        status,
        *texts,
        tool_name,
        *tokens,
        cost,
        source,
    ]
    content = json_bytes(payload)
    input_chain = chain(b"", record.input_messages, bodies)
    output_chain = chain(input_chain[-1][0] if input_chain else b"", record.output_messages, bodies)
    tools = bodies.add_shared("tools", record.available_tools) if record.available_tools is not None else None
    origin = bodies.add_shared("origin", record.origin) if record.origin else None
    sent_cost = cost if source == "sent" else None
    light = (
        columns[:-2] if record.start_ns is None else [*columns[:5], *columns[6:-2]]
    )  # a place counts without times only
    digest = short_digest(
        json_bytes([*light, sent_cost]),
        content,
        input_chain[-1][0] if input_chain else b"-",
        output_chain[-1][0] if output_chain else b"-",
        tools or b"-",
        origin or b"-",
    )
    columns.append(digest)
    facts = read_facts(record, UsageRow(tokens, cost, source))
    facts.kind, facts.status = kind, status
    return StoredSpan(
        record.trace_id,
        record.span_id,
        columns,
        content,
        facts,
        digest,
        input_chain,
        output_chain,
        tools,
        origin,
        record,
    )


def chain(parent: bytes, messages: Sequence[Message], bodies: Bodies) -> list[tuple[bytes, bytes]]:
    """Return the nodes of messages that follow a parent node, each with its body."""
    found = []
    for message in messages:
        body = bodies.add("message", message)
        parent = short_digest(parent, body)
        found.append((parent, body))
    return found


def first_line(text: str) -> str:
    """Return the first line of a text that says anything."""
    return next((line for line in text.splitlines() if line.strip()), "").strip() if "\n" in text else text


def load_span(
    trace_id: str,
    columns: Sequence[Any],
    content: bytes,
    *,
    input_messages: list[Message],
    output_messages: list[Message],
    tools: Any,
    origin: Any,
) -> SpanRecord:
    """Return the record that rows hold. `columns` are the values of COLUMNS; tools and origin may be shared by records."""
    values: Mapping[str, Any] = dict(zip(COLUMNS, columns, strict=True))
    record = SpanRecord(
        trace_id,
        values["span_id"],
        values["parent_span_id"],
        kind=values["kind"],
        start_ns=values["start_ns"],
        end_ns=values["end_ns"],
        position=values["position"],
        status=values["status"],
        usage=Usage(**{name: values[name] for name in (*TOKENS, "cost_usd", "cost_source")}),
        input_messages=input_messages,
        output_messages=output_messages,
        available_tools=tools,
        origin=origin if origin is not None else {},
    )
    for name in TEXT_SIZES:
        setattr(record, name, values[name])
    for name, value in orjson.loads(content).items():
        setattr(record, name, value)
    return record
