"""Samples that come with a row (`{"item": …, "sample": …}`): what graders see of them, and what is stored as the answer. Pure."""

import json
from typing import Any

from evals.chat import plain_text
from evals.graders.base import SampleInput
from evals.grading import json_or_none

LISTS = ("messages", "steps", "spans", "tool_calls", "tool_results", "available_tools")


def complete(given: dict[str, Any]) -> dict[str, Any]:
    """Return a given sample with what follows from it filled in: `output_text`, `output_json`, `output_tools`, `choices`.

    What nothing can supply stays absent, so that a reference to it fails. An empty sample stays empty.
    """
    if not given:
        return {}
    values = dict(given)
    message = given_message(given)
    if not isinstance(values.get("output_text"), str):
        values.pop("output_text", None)
        text = text_of_given(given, message)
        if text is not None:
            values["output_text"] = text
    text = values.get("output_text")
    calls = tool_calls_of(message)
    if not isinstance(values.get("output_tools"), list):
        values["output_tools"] = calls
    if not isinstance(values.get("choices"), list) and (text is not None or calls or values["output_tools"]):
        answer: dict[str, Any] = {"role": "assistant", "content": text}
        if values["output_tools"]:
            answer["tool_calls"] = values["output_tools"]
        reason = given.get("finish_reason")
        values["choices"] = [{"index": 0, "message": answer, "finish_reason": reason or "stop"}]
    if "output_json" not in values and text is not None:
        parsed = json_or_none(text)
        if parsed is not None:
            values["output_json"] = parsed
    for name in LISTS:
        values.setdefault(name, [])
    return values


def given_message(given: dict[str, Any]) -> dict[str, Any]:
    """Return the answering message of a given sample: of its first choice, else the last of its output; empty without one."""
    choices, output = given.get("choices"), given.get("output")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        if isinstance(message, dict):
            return message
    if isinstance(output, list) and output and isinstance(output[-1], dict):
        return output[-1]
    return {}


def text_of_given(given: dict[str, Any], message: dict[str, Any]) -> str | None:
    """Return the answer's text from its message, else from the last thing that the steps say; None where nothing says it."""
    if "content" in message or tool_calls_of(message):
        return plain_text(message.get("content"))
    steps = given.get("steps")
    for step in reversed(steps if isinstance(steps, list) else []):
        if (
            isinstance(step, dict)
            and step.get("type") == "message"
            and step.get("role") in (None, "assistant", "agent")
        ):
            return plain_text(step.get("content"))
    return None


def tool_calls_of(message: dict[str, Any]) -> list[Any]:
    calls = message.get("tool_calls")
    return calls if isinstance(calls, list) else []


def sample_from_given(given: dict[str, Any] | None, recorded: SampleInput | None = None) -> SampleInput:
    """Return what graders see of a row's sample, over what its recorded trace holds, where it names one.

    Without either there is no sample: every reference to it fails, and graders that look at the item alone work.
    """
    own = complete(given or {})
    values = own if recorded is None else {**own, **recorded.as_dict(), **(given or {}), **texts_of(own)}
    sample = recorded or SampleInput()
    for name in ("output_text", "model", "trace_id"):
        if isinstance(values.get(name), str):
            setattr(sample, name, values[name])
    for name in (*LISTS, "output_tools", "choices"):
        if isinstance(values.get(name), list):
            setattr(sample, name, [entry for entry in values[name] if isinstance(entry, dict)])
    if isinstance(values.get("usage"), dict):
        sample.usage = values["usage"]
    said = values.get("input")
    sample.input = said if isinstance(said, str) else sample.input
    sample.output_json = values.get("output_json")
    sample.given = values
    return sample


def texts_of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the answer among a sample's values: what was filled in there goes before what the trace says."""
    names = ("output_text", "output_json", "output_tools", "choices")
    return {name: values[name] for name in names if values.get(name)}


def given_answer(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return the message that is stored as a given sample's answer, with its finish reason and model where they are said."""
    values = complete(given or {})
    message: dict[str, Any] = {"role": "assistant", "content": values.get("output_text", "")}
    if values.get("output_tools"):
        message["tool_calls"] = [call for call in values["output_tools"] if isinstance(call, dict)]
    first = values["choices"][0] if values.get("choices") else {}
    reason = values.get("finish_reason") or (first.get("finish_reason") if isinstance(first, dict) else None)
    if isinstance(reason, str):
        message["finish_reason"] = reason
    if isinstance(values.get("model"), str):
        message["model"] = values["model"]
    return message


def given_thread(given: dict[str, Any] | None) -> list[Any]:
    """Return what was said before a given sample's answer, as far as it says so."""
    given = given or {}
    for name in ("input", "messages"):
        found = given.get(name)
        if isinstance(found, list):
            return found
        if isinstance(found, str) and found:
            return [{"role": "user", "content": found}]
    return []


def text_of_json(value: Any) -> str:
    """Return a JSON value as one text that the same value always has."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
