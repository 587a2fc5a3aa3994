"""What a candidate asks for an item, and the trace of its answer."""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evals.chat import NotAMessage, from_openai, last_text, plain_text, storable, to_openai, tools_to_openai
from evals.given import given_answer, given_thread
from evals.models import Candidate, CandidateKind, Run
from evals.templating import MissingVariable, look_up, render, render_messages
from providers.registry import is_scripted
from traces.models import Trace
from traces.spans import SpanRecord, Usage

if TYPE_CHECKING:
    from evals.services.samples import Claimed

RECORDED_NAMES = ("output", "recorded_output", "reference")  # where an item without a trace may hold what was answered


class BadItem(ValueError):
    """An item that this candidate cannot answer; the text says why."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a model (`messages`), or the answer that is there already (`recorded_trace_pk` or `output_text`)."""

    messages: list[dict[str, Any]] | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)
    response_format: dict[str, Any] | None = None
    recorded_trace_pk: int | None = None
    output_text: str = ""
    output: dict[str, Any] | None = None  # a given answer as a message; `output_text` is its text
    thread: list[dict[str, Any]] = field(default_factory=list)  # what was said before the answer, in our form


def ask_for(
    candidate: Candidate,
    content: dict[str, Any],
    source_trace_pk: int | None,
    *,
    trial: int = 1,
    answering: str = "",
    given: dict[str, Any] | None = None,
) -> Asked:
    """Return what a candidate does with an item; `given` is the sample that came with it. Raises BadItem."""
    if candidate.kind == CandidateKind.NOTHING:
        return Asked(thread=said_before(content))
    if candidate.kind == CandidateKind.GIVEN:
        return given_for(given, source_trace_pk)
    if candidate.kind == CandidateKind.RECORDED:
        if source_trace_pk is not None and Trace.objects.filter(pk=source_trace_pk).exists():
            return Asked(recorded_trace_pk=source_trace_pk)
        found = next((content[name] for name in RECORDED_NAMES if content.get(name) not in (None, "")), None)
        if found is None:
            raise BadItem("The item has no recorded answer: neither a trace, nor an output, nor a reference.")
        return Asked(output_text=storable(plain_text(found)), thread=said_before(content))
    try:
        messages = messages_for(candidate, content)
    except (MissingVariable, NotAMessage) as error:
        raise BadItem(f"The prompt cannot be filled in: {error}") from None
    apart = ("response_format", "tools")
    sampling = {name: value for name, value in candidate.sampling.items() if name not in apart and value is not None}
    tools = candidate.sampling.get("tools")
    if tools is None and not candidate.input_messages:  # what /v1 calls `item.tools` is data like any other
        tools = content.get("tools")
    if is_scripted(answering or candidate.model):  # a script repeats itself: each trial asks with a seed of its own
        sampling = {"seed": trial, **sampling}
    return Asked(
        messages=messages,
        sampling=sampling,
        tools=tools_to_openai(tools),
        response_format=candidate.sampling.get("response_format"),
        thread=[from_openai(message) for message in messages],
    )


def given_for(given: dict[str, Any] | None, source_trace_pk: int | None) -> Asked:
    """Return the answer that came with a row: its sample, or the trace that it names. A row may have neither."""
    if source_trace_pk is not None and Trace.objects.filter(pk=source_trace_pk).exists():
        return Asked(recorded_trace_pk=source_trace_pk)
    message = storable(given_answer(given))
    try:
        thread = [from_openai(entry) for entry in to_openai(given_thread(given))]
    except NotAMessage:
        thread = []
    return Asked(output_text=plain_text(message.get("content")), output=message, thread=thread)


def said_before(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an item's messages in our form, for a candidate that is not asked; whatever cannot be one is left out."""
    try:
        return [from_openai(message) for message in item_messages(content)]
    except (NotAMessage, BadItem):
        return []


def messages_for(candidate: Candidate, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chat messages: the candidate's system prompt in place of the item's, then its user template or the item's messages.

    A candidate of /v1 has whole input messages instead. Raises MissingVariable, NotAMessage or BadItem.
    """
    if candidate.input_messages:
        return input_messages_for(candidate.input_messages, content)
    messages = (
        [{"role": "user", "content": render(candidate.user_template, item=content)}]
        if candidate.user_template.strip()
        else None
    )
    if messages is None:
        messages = item_messages(content)
    if candidate.system_prompt.strip():
        rest = [message for message in messages if message["role"] not in ("system", "developer")]
        messages = [{"role": "system", "content": render(candidate.system_prompt, item=content)}, *rest]
    return messages


def input_messages_for(wanted: dict[str, Any], content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chat messages of `input_messages`: a template filled in, or the messages that a path in the item leads to."""
    if wanted.get("type") == "item_reference":
        path = str(wanted.get("item_reference"))
        found = look_up(path, {"item": content})
        if isinstance(found, str) and found:
            found = [{"role": "user", "content": found}]
        if not isinstance(found, list) or not found:
            raise NotAMessage(f"{path} is not a list of messages.")
        return to_openai(found)
    return to_openai(render_messages(wanted.get("template") or [], item=content))


def item_messages(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an item's own messages in chat form: `messages`, else `input` (text, or messages). Raises NotAMessage or BadItem."""
    given = content.get("messages") or content.get("input")
    if isinstance(given, list) and given and all(isinstance(message, dict) and "role" in message for message in given):
        return to_openai(given)
    if content.get("messages"):
        raise NotAMessage("the item's messages are not a list of messages with a role.")
    if given in (None, ""):
        raise BadItem("The item has neither messages nor an input, and the candidate has no user template.")
    return [{"role": "user", "content": plain_text(given)}]


def records_of(
    *,
    sample: "Claimed",
    run: Run,
    candidate: Candidate,
    asked: Asked,
    message: dict[str, Any],
    reply: Any,
    started_ns: int,
) -> list[SpanRecord]:
    """Return the trace of an answer: the agent at the root, the model's call below it. `reply` is None where nobody was asked.

    The trace id follows from the sample and its attempt, so that the same answer stored twice is one trace.
    """
    trace_id = hashlib.sha256(f"{sample.public_id}:{sample.attempts}".encode()).hexdigest()[:32]
    answer = from_openai(message)
    took_ns = int((reply.duration_ms or 0.0) * 1e6) if reply is not None else 0
    thread = storable(asked.thread)
    output_text = plain_text(answer.get("content"))
    shared: dict[str, Any] = {
        "trace_id": trace_id,
        "start_ns": started_ns,
        "end_ns": started_ns + took_ns,
        "status": "ok",
        "agent_name": candidate.label,
        "environment": "eval",
    }
    root = SpanRecord(
        span_id=trace_id[:16],
        name=candidate.label,
        kind="agent",
        input=last_text(thread, "user") or None,
        output=output_text or None,
        task=sample.item_key[:200],
        workflow_name=(run.comparison.name if run.comparison else run.name)[:200],
        metadata={
            "run": run.public_id,
            "candidate": candidate.label,
            "item": sample.item_key,
            "trial": sample.trial,
            **({"bucket": sample.bucket} if sample.bucket else {}),
        },
        tags=["eval"],
        convention="markbook",
        **shared,
    )
    if reply is None:
        root.input_messages = thread
        root.output_messages = [answer]  # an empty answer is one too
        return [root]
    usage = reply.usage or {}
    names = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
    attributes: dict[str, Any] = {f"gen_ai.request.{name}": value for name, value in asked.sampling.items()}
    if reply.answered_by:
        attributes["gen_ai.request.model"] = candidate.model
    if reply.finish_reason:
        attributes["gen_ai.response.finish_reasons"] = [reply.finish_reason]
    call = SpanRecord(
        span_id=trace_id[16:],
        parent_span_id=trace_id[:16],
        name=f"chat {candidate.model}",
        kind="llm",
        position=1,
        model=reply.model or candidate.model,
        usage=Usage(
            **{name: usage.get(name) for name in names},
            cost_usd=reply.cost_usd,
            cost_source="priced" if reply.cost_usd is not None else "",
        ),
        input_messages=thread,
        output_messages=[answer],
        available_tools=storable(asked.tools) or None,
        attributes=storable(attributes),
        convention="markbook",
        **shared,
    )
    return [root, call]
