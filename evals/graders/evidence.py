"""Look for quoted passages in what was said and done. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from evals.graders.base import SampleInput
from rubrics.judging import as_plain

SAME = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "\u00a0": " ", "…": "..."}
)
MAX_QUOTES = 50
MAX_QUOTE = 2000


def find_quotes(quotes: Iterable[str], sample: SampleInput) -> list[dict[str, Any]]:
    """Return [{"quote", "span_id" or None, "found"}]: the answer is searched first, then steps, then messages.

    Spaces, kinds of quotation marks and dashes, and case do not matter; a quote with dots in its middle may leave out words.
    """
    places = [(normal(text), span_id) for text, span_id in texts_of(sample) if text]
    evidence = []
    for quote in list(quotes)[:MAX_QUOTES]:
        quote = quote.replace("\x00", "").encode("utf-8", "replace").decode()[:MAX_QUOTE]
        parts = [part for part in (normal(part) for part in re.split(r"…|\.\.\.", quote)) if part]
        place = next((span_id for text, span_id in places if occurs_in_order(parts, text)), None) if parts else None
        evidence.append({"quote": quote, "span_id": place or None, "found": place is not None})
    return evidence


def occurs_in_order(parts: list[str], text: str) -> bool:
    """Say whether all parts occur in a text, one after the other."""
    start = 0
    for part in parts:
        start = text.find(part, start)
        if start < 0:
            return False
        start += len(part)
    return True


def normal(text: str) -> str:
    """Return a text as quotes are compared."""
    return " ".join(text.translate(SAME).casefold().split()).strip("\"' ")


def texts_of(sample: SampleInput) -> Iterable[tuple[str, str]]:
    """Yield (text, span id) of everything that a judge may quote; the id is empty where it is not known."""
    answers = [message for message in sample.messages if message.get("role") == "assistant"]
    last = str(answers[-1].get("span_id") or "") if answers else ""
    yield sample.output_text, last
    for step in sample.steps:
        span_id = str(step.get("span_id") or "")
        for name in ("content", "output", "arguments"):
            yield as_plain(step.get(name)), span_id
        if step.get("type") == "tool_call":
            yield f"calls {step.get('name')} with {as_plain(step.get('arguments'))}", span_id
    for message in sample.messages:
        yield as_plain(message.get("content")), str(message.get("span_id") or "")
        for call in message.get("tool_calls") or []:
            yield f"{call.get('name', '')} {as_plain(call.get('arguments'))}", str(message.get("span_id") or "")
