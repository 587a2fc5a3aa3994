"""A proxied call as it was seen on its way, read into the span that is recorded of it and into its entry of the book. Pure."""

import secrets
import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.attribution import Attribution
from gateway.streams import Assembled, assemble_chat, assemble_response
from providers.completions import error_field, error_text, first_line, redact, sent_cost
from providers.prices import price_usd
from traces.conventions.messages import make_message, read_chat_messages, read_response_items
from traces.conventions.raw import is_shallow, read_count, read_text
from traces.spans import Message, SpanRecord, Usage

NAME = "proxy"
CHAT, RESPONSES = "/chat/completions", "/responses"
COMPLETE, CLIENT_LEFT, BROKE_OFF = "complete", "client left", "broke off"
# Request fields that become a `gen_ai.request.…` attribute; those of CONTENT are in the messages, all others in `markbook.request`.
PARAMETERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "stop": "stop_sequences",
    "n": "choice.count",
}
CONTENT = frozenset(("model", "messages", "input", "instructions", "tools", "metadata"))


@dataclass
class Exchange:
    """One call: what was asked, what came back, and when. Times are nanoseconds since 1970."""

    path: str  # CHAT or RESPONSES
    request: dict[str, Any]
    attribution: Attribution
    model: str
    provider: str
    start_ns: int
    trace_id: str
    span_id: str
    secret: str = field(default="", repr=False)  # the provider's key, to be taken out of what is kept
    status: int = 0
    request_id: str = ""
    encoding: str = ""
    is_stream: bool = False
    first_ns: int | None = None
    end_ns: int | None = None
    ending: str = COMPLETE
    problem: str = ""  # why there is no answer, or no more of it
    may_be_charged: bool = False
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    sent_size: int = 0
    is_cut: bool = False

    @property
    def keeps_content(self) -> bool:
        """Say whether text may be kept: `store: false` in a request says no."""
        return self.request.get("store") is not False


@dataclass(frozen=True)
class Observed:
    """What is kept of a call: its span, the ids that join it to others, and how it ended for the book."""

    record: SpanRecord
    response_id: str
    previous_id: str
    has_failed: bool
    is_unknown: bool  # it may have been charged, and how it ended is not known


def new_trace_id() -> str:
    return secrets.token_hex(16)


def new_span_id() -> str:
    return secrets.token_hex(8)


def observe(exchange: Exchange) -> Observed:
    """Return what is kept of a call."""
    record = new_record(exchange)
    read_request(exchange, record)
    raw, reason = decode(b"".join(exchange.parts), exchange.encoding)
    answer = Assembled({}, False)
    if reason:
        exchange.problem = exchange.problem or reason
    elif exchange.status and exchange.status < 400:
        answer, reason = read_body(exchange, raw)
        exchange.problem = exchange.problem or reason
    if exchange.ending == CLIENT_LEFT and answer.is_whole:
        exchange.ending = COMPLETE  # it left after the last event
    read_answer(exchange, answer.body, record)
    read_ending(exchange, raw, answer, record)
    if not exchange.keeps_content:
        drop_content(record)
    response_id = read_text(answer.body.get("id")) if exchange.path == RESPONSES else ""
    cut_off = exchange.ending != COMPLETE or (exchange.is_stream and exchange.status < 400 and not answer.is_whole)
    return Observed(
        record,
        response_id[:200],
        read_text(exchange.request.get("previous_response_id"))[:200],
        has_failed=record.status == "error" and exchange.ending != CLIENT_LEFT,
        is_unknown=(cut_off and bool(exchange.status)) or (exchange.may_be_charged and not exchange.status),
    )


def new_record(exchange: Exchange) -> SpanRecord:
    """Return the span without request and answer."""
    who = exchange.attribution
    return SpanRecord(
        trace_id=exchange.trace_id,
        span_id=exchange.span_id,
        parent_span_id=who.parent_span_id,
        name=f"chat {exchange.model}",
        kind="llm",
        start_ns=exchange.start_ns,
        end_ns=exchange.end_ns,
        model=exchange.model,
        provider=exchange.provider,
        agent_name=who.agent_name,
        session_id=who.session_id,
        user_id=who.user_id,
        task=who.task,
        environment=who.environment,
        tags=list(who.tags),
        metadata={**who.metadata},
        origin={"scope": {"name": "markbook.proxy"}},
        convention=NAME,
    )


def decode(raw: bytes, encoding: str) -> tuple[bytes, str]:
    """Return a body unpacked, and what stands in the way where it cannot be."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return raw, ""
    if name in ("gzip", "x-gzip", "deflate"):
        try:
            return zlib.decompressobj(31 if "gzip" in name else 15).decompress(raw, 256 * 1024 * 1024), ""
        except zlib.error:
            pass
    return b"", f"The answer came packed as {name!r} and could not be read."


# The request -----------------------------------------------------------------------------------------------------


def read_request(exchange: Exchange, record: SpanRecord) -> None:
    """Fill in what was asked: messages, tools, parameters."""
    body = exchange.request
    if exchange.path == RESPONSES:
        instructions = body.get("instructions")
        head = [make_message("system", instructions)] if isinstance(instructions, str) and instructions else []
        head = head or read_response_items(instructions, "system")
        record.input_messages = head + read_response_items(body.get("input"), "user")
    else:
        record.input_messages = read_chat_messages(body.get("messages"))
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        record.available_tools = tools
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": exchange.provider,
        "gen_ai.request.model": body.get("model"),
        "url.path": "/v1" + exchange.path,
    }
    for name, attribute in PARAMETERS.items():
        if body.get(name) is not None:
            attributes[f"gen_ai.request.{attribute}"] = body[name]
    rest = {name: value for name, value in body.items() if name not in CONTENT and name not in PARAMETERS}
    if rest:
        attributes["markbook.request"] = rest
    record.attributes = attributes


# The answer ------------------------------------------------------------------------------------------------------


def read_body(exchange: Exchange, raw: bytes) -> tuple[Assembled, str]:
    """Return the answer in a body, and what is wrong with it."""
    if exchange.is_stream:
        return (assemble_response if exchange.path == RESPONSES else assemble_chat)(raw), ""
    if exchange.is_cut:
        return Assembled({}, False), "The answer is longer than what is kept of one."
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        if exchange.ending != COMPLETE:
            return Assembled({}, False), ""
        return Assembled({}, False), f"The provider answered with something that is not JSON: {first_line(raw)}"
    if not isinstance(body, dict) or not is_shallow(body):
        return Assembled({}, False), "The provider answered with JSON that is no answer of this API."
    return Assembled(body, True), ""


def read_answer(exchange: Exchange, body: dict[str, Any], record: SpanRecord) -> None:
    """Fill in what was answered: messages, usage, cost, finish reasons."""
    attributes = record.attributes
    if exchange.path == RESPONSES:
        record.output_messages = read_response_items(body.get("output"), "assistant")
        reasons = [body["status"]] if isinstance(body.get("status"), str) else []
        details = body.get("incomplete_details")
        if isinstance(details, dict) and isinstance(details.get("reason"), str):
            reasons = [details["reason"]]
    else:
        sent = body.get("choices")
        choices = [one for one in sent if isinstance(one, dict)] if isinstance(sent, list) else []
        record.output_messages = [message for choice in choices for message in read_choice(choice)]
        reasons = [one["finish_reason"] for one in choices if isinstance(one.get("finish_reason"), str)]
    answered = read_text(body.get("model"))
    record.model = answered or record.model
    record.usage = read_usage(body.get("usage"))
    price(record, exchange.model)
    if reasons:
        attributes["gen_ai.response.finish_reasons"] = reasons
    for name, value in (("id", body.get("id")), ("model", answered), ("service_tier", body.get("service_tier"))):
        if isinstance(value, str) and value:
            attributes[f"gen_ai.response.{name}"] = value
    if body.get("system_fingerprint"):
        attributes["openai.response.system_fingerprint"] = body["system_fingerprint"]


def read_choice(choice: dict[str, Any]) -> list[Message]:
    """Return the messages of a choice; a refusal is what was said."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return []
    if message.get("content") is None and isinstance(message.get("refusal"), str):
        message = {**message, "content": message["refusal"]}
    return read_chat_messages([{"role": "assistant", **message}])


def read_usage(usage: Any) -> Usage:
    """Return the token counts of either API; a cost that the provider sends goes before one worked out."""
    if not isinstance(usage, dict):
        return Usage()

    def count(*names: str, within: tuple[str, ...] = ()) -> int | None:
        places = [usage] if not within else [usage[name] for name in within if isinstance(usage.get(name), dict)]
        found = (read_count(place.get(name)) for place in places for name in names)
        return next((value for value in found if value is not None), None)

    cost = sent_cost(usage)
    given, written = (
        ("prompt_tokens_details", "input_tokens_details"),
        ("completion_tokens_details", "output_tokens_details"),
    )
    return Usage(
        input_tokens=count("prompt_tokens", "input_tokens"),
        output_tokens=count("completion_tokens", "output_tokens"),
        cached_input_tokens=count("cached_tokens", within=given),
        cache_write_tokens=count("cache_write_tokens", within=given),
        reasoning_tokens=count("reasoning_tokens", within=written),
        cost_usd=cost,
        cost_source="sent" if cost is not None else "",
    )


def price(record: SpanRecord, asked_model: str) -> None:
    """Work out the cost where it was not sent: by the model that answered, else by the one that was asked."""
    usage = record.usage
    if usage.cost_usd is not None or not (usage.input_tokens or usage.output_tokens):
        return
    for model in dict.fromkeys((record.model, asked_model)):
        cost = price_usd(model, usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, record.provider)
        if cost is not None:
            usage.cost_usd, usage.cost_source = cost, "priced"
            return


# How it ended ----------------------------------------------------------------------------------------------------


def read_ending(exchange: Exchange, raw: bytes, answer: Assembled, record: SpanRecord) -> None:
    """Set status and error, and what is known of the answer's way."""
    attributes = record.attributes
    if exchange.status:
        attributes["http.response.status_code"] = exchange.status
    if exchange.request_id:
        attributes["markbook.request_id"] = exchange.request_id
    attributes["gen_ai.request.stream"] = exchange.is_stream
    if exchange.is_stream and exchange.first_ns is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = round((exchange.first_ns - exchange.start_ns) / 1e9, 6)
    if exchange.is_cut:
        attributes["markbook.answer_cut"] = True
    record.status = "ok"
    parsed = parse(raw) if exchange.status >= 400 else answer.body
    sent = answer.error if answer.error is not None else parsed.get("error") if isinstance(parsed, dict) else None
    if exchange.status >= 400 or sent:
        source = {"error": sent} if sent else parsed
        kind = (
            error_field(source, "code")
            or error_field(source, "type")
            or (f"HTTP {exchange.status}" if exchange.status >= 400 else "")
        )
        fail(record, kind or "error", error_text(source) or first_line(raw), exchange.secret)
    elif exchange.problem:
        fail(record, "provider", exchange.problem, exchange.secret)
    elif exchange.ending == CLIENT_LEFT:
        fail(record, "client_disconnected", "The client disconnected before the answer was complete.", "")
    elif exchange.is_stream and not answer.is_whole:
        fail(record, "incomplete_stream", "The stream ended without its last event.", "")
    if exchange.ending == CLIENT_LEFT:
        attributes["markbook.client_disconnected"] = True


def parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def fail(record: SpanRecord, kind: str, text: str, secret: str) -> None:
    """Mark the span as failed."""
    record.status, record.error_type = "error", kind[:200]
    record.error_message = record.status_message = redact(text, secret)


def drop_content(record: SpanRecord) -> None:
    """Take out every text: the request said that it must not be stored."""
    record.input_messages, record.output_messages, record.available_tools = [], [], None
    record.content_recorded = False
    record.attributes.pop("markbook.request", None)
