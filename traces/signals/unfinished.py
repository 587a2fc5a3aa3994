"""The run broke off: something was begun, asked or said, and not brought to its end."""

import re
from typing import Any

from traces.acts import Act, Run
from traces.result_errors import shorten
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion
from traces.spans import SpanRecord

QUIET_S = 900  # after so long without news, a span that has not ended is taken to be abandoned
CUT = {"length", "max_tokens", "max_output_tokens", "MAX_TOKENS", "model_length"}
HELD_BACK = {"content_filter", "SAFETY", "safety", "refusal", "RECITATION", "PROHIBITED_CONTENT"}
BAD_OUTCOMES = {"failure": "failure", "partial": "partial", "cancelled": "cancelled", "canceled": "cancelled"}
# Calls that no result is sent for: hand-overs, answers in the form of a call, tools that run at the provider.
NO_RESULT = re.compile(
    r"^(?:transfer_to_|transfer_|handoff|hand_off|final_|submit|respond|done$|stop$|web_search|file_search|code_interpreter|computer|image_generation|mcp)",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"(?<!#)#{2,}\w+#{2,}"
    r"|\b(?:thanks?|thank you|thx|bye|goodbye|cheers|that(?:'|’)?s (?:all|it)|all set|no more|nothing else|take care|have a)\b"
    r"|^\W*(?:ty|great|perfect|ok(?:ay)?|no|nope|terminate|exit|stop|done|approved?)\b\W*",
    re.IGNORECASE,
)


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return what was left open. Runs that failed as a whole are left out: their error says more."""
    roots = run.roots
    failed = any(record.status == "error" for record in roots)
    found = [*open_spans(run, limits), *outcomes(run), *cut_off(run.records), *missing_results(run)]
    if not failed:
        found += unanswered(run)
    seen: set[str] = set()
    return [one for one in found if one.span_id not in seen and not seen.add(one.span_id)][:MAX_EACH]  # type: ignore[func-returns-value]


def open_spans(run: Run, limits: Limits) -> list[Suspicion]:
    """Return the outermost spans that never ended, once nothing has come for a while."""
    if limits.quiet_s < QUIET_S:
        return []
    unended = {
        record.span_id
        for record in run.records
        if record.start_ns is not None and record.end_ns is None and record.kind != "event"
    }
    timed = [record for record in run.records if record.span_id in unended and record.parent_span_id not in unended]
    return [Suspicion(record.span_id, f"{record.name or 'A span'} began and never ended") for record in timed[:3]]


def outcomes(run: Run) -> list[Suspicion]:
    """Return agents that say themselves that they did not come to their end, under a status that is no error."""
    found = []
    for record in run.records:
        if record.kind != "agent" or record.status == "error":
            continue
        outcome = str(record.attributes.get("agent.outcome") or "").lower()
        reason = record.attributes.get("agent.stop_reason")
        because = f" ({shorten(reason, 80)})" if reason and reason != "completed" else ""
        if outcome in BAD_OUTCOMES:
            found.append(
                Suspicion(record.span_id, f"The agent reported ok with the outcome {BAD_OUTCOMES[outcome]}{because}")
            )
        elif record.attributes.get("agent.finalized") is False:
            found.append(Suspicion(record.span_id, f"The agent reported ok and did not reach its end{because}"))
    return found


def finish_reasons(record: SpanRecord) -> list[str]:
    """Return why a model call ended, as it was sent."""
    for key in (
        "gen_ai.response.finish_reasons",
        "llm.finish_reason",
        "gen_ai.completion.0.finish_reason",
        "ai.response.finishReason",
    ):
        value: Any = record.attributes.get(key)
        if value:
            return [str(one) for one in value] if isinstance(value, list) else [str(value)]
    return [str(message["finish_reason"]) for message in record.output_messages if message.get("finish_reason")]


def cut_off(records: list[SpanRecord]) -> list[Suspicion]:
    """Return model calls whose answer ended at its token limit, or was held back."""
    found = []
    for record in records:
        if record.kind != "llm" or record.status == "error":
            continue
        reasons = finish_reasons(record)
        if CUT.intersection(reasons):
            found.append(Suspicion(record.span_id, "The model's answer was cut off at its token limit"))
        elif HELD_BACK.intersection(reasons):
            found.append(Suspicion(record.span_id, f"The model's answer was held back ({', '.join(reasons)})"))
    return found


def missing_results(run: Run) -> list[Suspicion]:
    """Return calls that were asked for and never answered. A lone model call is left out: its caller runs the tools."""
    found = [
        Suspicion(record.span_id, f"{record.name} was called and never got a result")
        for record in run.records
        if record.attributes.get("tool.result.missing") is True
    ]
    if any(not record.content_recorded for record in run.records):
        return found
    is_whole = any(record.kind == "agent" for record in run.records) or any(call.has_result for call in run.calls)
    if not is_whole:
        return found
    for call in run.calls:
        if call.has_result or call.has_span or call.is_error or NO_RESULT.match(call.name):
            continue
        found.append(Suspicion(call.span_id, f"The model asked for {call.name}, and no result of it is in the trace"))
    return found


def unanswered(run: Run) -> list[Suspicion]:
    """Return the customer's last message where nothing followed it, and an answer that is empty."""
    acts: list[Act] = [act for act in run.acts if not act.is_sub_agent]
    last = acts[-1] if acts else None
    if last is None or any(not record.content_recorded for record in run.records):
        return []
    spoke = any(act.role == "assistant" for act in acts)
    said_before = any(act.role == "user" and act.text == last.text for act in acts[:-1])  # and answered then
    if last.kind == "message" and last.role == "user" and spoke and not said_before and not CLOSING.search(last.text):
        return [Suspicion(last.span_id, f"The customer's last message has no answer: “{shorten(last.text, 120)}”")]
    models = [record for record in run.records if record.kind == "llm" and record.status != "error"]
    if models and last.kind == "call" and last.has_result and not last.is_error and not NO_RESULT.match(last.name):
        final = models[-1]
        is_after = (
            final.span_id != last.asked_by
            and final.start_ns is not None
            and last.start_ns is not None
            and final.start_ns >= last.start_ns
        )
        if is_after:
            return [Suspicion(final.span_id, f"The model answered with nothing after {last.name}")]
    return []


def blind(run: Run, limits: Limits) -> str:
    return "" if run.records else "No span has been received."


DETECTOR = Detector(
    name="unfinished",
    label="Unfinished",
    help="The run broke off: a span, a call, an answer or the customer's last message was left open.",
    version=2,
    layer="outcome",
    find=find,
    blind=blind,
)
