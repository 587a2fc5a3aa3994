"""The scripted judge: fills the answer's schema by simple rules over the fenced parts of the request. Pure and deterministic.

It is no judge of anything: it shows how a judge's answers look, and lets the whole loop run where no model can be reached.
"""

import json
import re
from random import Random
from typing import Any

from gateway.scripted.reading import ORDER, Conversation

FENCE = re.compile(r"^--- (?!END )(\w+) (\w{12}) ---\n(.*?)\n--- END \1 \2 ---", re.DOTALL | re.MULTILINE)
CLAIM = re.compile(r"\bI(?: have|'ve) (?:refunded|changed|cancelled|called|asked|opened)", re.IGNORECASE)
REFUSAL = re.compile(r"\b(?:cannot|can't|could not|not been|has not|needs a person)\b", re.IGNORECASE)
ERROR = re.compile(r"error|rejected|declined|refused|timeout|unavailable|not found", re.IGNORECASE)
VAGUE = "check your account page"


def answer_as_judge(read: Conversation, body: dict[str, Any], rng: Random) -> str:
    """Return the judge's answer as JSON text by the schema that was asked for; without one, a score with its reason."""
    parts = {name: text for name, _, text in FENCE.findall(read.last_user)}
    work = parts.get("ANSWER", read.last_user)
    quality, reason = judge_quality(parts, work)
    quality = min(1.0, max(0.0, quality + rng.uniform(-0.09, 0.09)))
    schema = find_schema(body.get("response_format"))
    if schema is None:
        return json.dumps({"reason": reason, "score": round(quality, 2)})
    return json.dumps(fill(schema, "", quality, reason, parts, work, rng), ensure_ascii=False)


def find_schema(response_format: Any) -> dict[str, Any] | None:
    """Return the JSON schema of a response format, or None."""
    if not isinstance(response_format, dict):
        return None
    inner = response_format.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else response_format.get("schema")
    return schema if isinstance(schema, dict) else None


def judge_quality(parts: dict[str, str], work: str) -> tuple[float, str]:
    """Return a quality from 0 to 1 and the reason for it."""
    task, reference, steps = parts.get("TASK", ""), parts.get("REFERENCE", ""), parts.get("STEPS", "")
    if not work.strip() or work.strip() == "(empty)":
        return 0.0, "There is no answer."
    if reference:
        return against_reference(work, reference)
    if steps:
        return by_steps(work, steps)
    named = ORDER.search(task)
    if CLAIM.search(work):
        return 0.22, "The answer claims an action, and nothing shows that it was made."
    if VAGUE in work:
        return 0.28, "The answer sends the customer away without a definite word on the request."
    quality, missing = 0.95, []
    if named and named[0] not in work:
        quality, missing = quality - 0.3, [*missing, "the order is not named"]
    if not re.search(r"\d", work.replace(named[0], "") if named else work):
        quality, missing = quality - 0.2, [*missing, "no date, amount or number is given"]
    if len(work) < 80:
        quality, missing = quality - 0.15, [*missing, "the next step is not said"]
    if missing:
        return quality, f"The request is answered, but {' and '.join(missing)}."
    return quality, "The request is answered with the facts that the customer needs."


def against_reference(work: str, reference: str) -> tuple[float, str]:
    """Judge by the facts of the reference that the answer has, and by whether it says the opposite."""
    if bool(REFUSAL.search(reference)) != bool(REFUSAL.search(work)) or (
        CLAIM.search(work) and not CLAIM.search(reference)
    ):
        return 0.08, "The answer contradicts the reference on what is done."
    facts = set(re.findall(r"[A-Z]{2,}-?\d+|\$?\d+(?:\.\d+)?", reference)) or {
        word for word in re.findall(r"\w{5,}", reference.lower()) if word in reference.lower()
    }
    found = {fact for fact in facts if fact in work or fact in work.lower()}
    share = len(found) / len(facts) if facts else 1.0
    if share >= 0.99:
        return 0.95, "Every fact of the reference is in the answer."
    lacking = ", ".join(sorted(facts - found)[:3])
    return 0.15 + 0.45 * share, f"The answer lacks {lacking} of the reference."


def by_steps(work: str, steps: str) -> tuple[float, str]:
    """Judge by the steps: repeated calls, errors that were not put right, claims without a call."""
    calls = re.findall(r"calls (.+)", steps)
    if not calls:
        return (
            (0.2, "An action is claimed and no tool was called.")
            if CLAIM.search(work)
            else (0.5, "No tool was called.")
        )
    repeats = len(calls) - len(set(calls))
    lines = steps.splitlines()
    last_error = next((place for place, line in enumerate(reversed(lines)) if ERROR.search(line)), None)
    if CLAIM.search(work) and last_error is not None and last_error < 3:
        return 0.15, "The last tool reported an error, and the answer says that all went well."
    if repeats >= 3:
        return 0.3, f"The same call was made {repeats + 1} times."
    if last_error is not None:
        return 0.6, "A call failed and was put right."
    return 0.92, "Every call was needed and used."


def fill(
    schema: dict[str, Any], name: str, quality: float, reason: str, parts: dict[str, str], work: str, rng: Random
) -> Any:
    """Fill a schema: levels by quality, evidence by quotes from the work, texts by the reason."""
    if "enum" in schema:
        options = list(schema["enum"])
        return options[min(len(options) - 1, max(0, round(quality * (len(options) - 1))))] if options else None
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((word for word in kind if word != "null"), "string")
    if kind == "object":
        return {
            key: fill(part, key, quality, reason, parts, work, rng)
            for key, part in (schema.get("properties") or {}).items()
            if isinstance(part, dict)
        }
    if kind == "array":
        return quotes(work, parts) if (schema.get("items") or {}).get("type") == "string" else []
    if kind in ("number", "integer"):
        low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 1))
        value = low + quality * (high - low)
        return round(value) if kind == "integer" else round(value, 2)
    if kind == "boolean":
        return quality >= 0.5
    return reason


def quotes(work: str, parts: dict[str, str]) -> list[str]:
    """Return the sentence of the work that says most: with a claim, else with a number, else the first."""
    if not work.strip() or work.strip() == "(empty)":
        return []
    sentences = [
        sentence.strip() for sentence in re.findall(r"[^.!?\n]*(?:\.(?=\d)[^.!?\n]*)*[.!?]?", work) if sentence.strip()
    ]
    telling = [sentence for sentence in sentences if CLAIM.search(sentence)] or [
        s for s in sentences if re.search(r"\d", s)
    ]
    return [(telling or sentences)[0][:300]] if sentences else []
