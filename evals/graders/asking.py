"""Ask a judge with messages of the caller's own, for a score or a label: what those two kinds of graders share. Pure.

The judge is asked by structured output for steps of thought and then the result. A server without response formats gets the wanted
shape in words, in a system message before the caller's own, by the client; the caller's messages are never changed.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from evals.chat import NotAMessage, storable, to_openai
from evals.graders.base import (
    INVALID_VARIABLE,
    JUDGE_ANSWER,
    JUDGE_REFUSAL,
    JUDGE_UNAVAILABLE,
    Answered,
    BadConfig,
    GradeResult,
    JudgeUnavailable,
    SampleInput,
    Surroundings,
    digest_of,
    failed,
    skipped,
)
from evals.templating import MissingVariable, render_messages

ASKS = 2  # an answer that says no result is asked for once more
ROLES = ("system", "developer", "user", "assistant")
TEXT_PARTS = ("text", "input_text", "output_text")
PARTS = (*TEXT_PARTS, "input_image", "image_url", "input_audio")
SAMPLING = ("seed", "top_p", "temperature", "max_completion_tokens", "max_completions_tokens", "reasoning_effort")
MAX_MESSAGES = 200
MAX_CHARS = 256_000  # of all messages together, before values go in
MAX_EXPLANATION = 10_000

Read = Callable[[Any], GradeResult]  # what follows "result" in the answer, or the bare answer; raises BadResult


class BadResult(ValueError):
    """The judge's answer says no result; the text says what it says."""


def checked_messages(config: dict[str, Any], name: str = "input") -> list[dict[str, Any]]:
    """Return the messages of the settings. Raises BadConfig with the place that cannot be used."""
    messages = config.get(name)
    if not isinstance(messages, list) or not messages:
        raise BadConfig(f"{name} must be a list of one message or more.", param=name)
    if len(messages) > MAX_MESSAGES:
        raise BadConfig(f"{name} has {len(messages):,} messages; at most {MAX_MESSAGES} are sent.", param=name)
    for place, message in enumerate(messages):
        check_message(message, f"{name}[{place}]")
    try:
        size = len(json.dumps(messages, ensure_ascii=False))
        to_openai([unpacked(message) for message in messages])
    except (NotAMessage, TypeError, ValueError, RecursionError) as error:
        raise BadConfig(f"{name} cannot be sent: {error}", param=name) from None
    if size > MAX_CHARS:
        raise BadConfig(f"{name} is longer than {MAX_CHARS:,} characters.", param=name)
    if storable(messages) != messages:
        raise BadConfig(f"{name} holds a NUL or half a character.", param=name)
    return messages


def check_message(message: Any, place: str) -> None:
    """Raise BadConfig unless a message has a role and content that can be sent."""
    if not isinstance(message, dict):
        raise BadConfig(f"{place} must be an object with role and content.", param=place)
    if message.get("role") not in ROLES:
        raise BadConfig(
            f"{place}.role {message.get('role')!r} is not one of {', '.join(ROLES)}.", param=f"{place}.role"
        )
    content = message.get("content")
    for number, part in enumerate(content if isinstance(content, list) else [content]):
        where = f"{place}.content[{number}]" if isinstance(content, list) else f"{place}.content"
        if isinstance(part, str):
            continue
        if not isinstance(part, dict) or part.get("type") not in PARTS:
            raise BadConfig(f"{where} must be a text or a part of type {', '.join(PARTS)}.", param=where)
        if part["type"] in TEXT_PARTS and not isinstance(part.get("text"), str):
            raise BadConfig(f"{where}.text is missing or not a text.", param=f"{where}.text")
    if content in ([], None):
        raise BadConfig(f"{place}.content is empty.", param=f"{place}.content")


def unpacked(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose content is a text or a list; a lone part stands for a list of one."""
    content = message.get("content")
    return {**message, "content": [content]} if isinstance(content, dict) else message


def checked_sampling(config: dict[str, Any]) -> dict[str, Any]:
    """Return the judge's sampling parameters that were given. Raises BadConfig."""
    given = config.get("sampling_params")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise BadConfig("sampling_params must be an object.", param="sampling_params")
    for name, value in given.items():
        place = f"sampling_params.{name}"
        if name not in SAMPLING:
            raise BadConfig(f"There is no {place}; there are {', '.join(SAMPLING)}.", param=place)
        if value is None:
            continue
        if name == "reasoning_effort":
            fits = isinstance(value, str) and len(value) <= 40
        elif name in ("temperature", "top_p"):
            fits = is_number(value) and 0 <= value <= (2 if name == "temperature" else 1)
        else:
            fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
        if not fits:
            raise BadConfig(f"{place} cannot be {value!r:.60}.", param=place)
    return {name: value for name, value in given.items() if value is not None}


def sent_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """Return sampling as it is sent: temperature 0 where neither it nor a reasoning effort is given, so that a repeat says the same."""
    sent = {name: value for name, value in sampling.items() if name != "max_completions_tokens"}
    if "max_completions_tokens" in sampling:
        sent.setdefault("max_completion_tokens", sampling["max_completions_tokens"])
    if "reasoning_effort" not in sent:
        sent.setdefault("temperature", 0.0)
    return sent


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 and value == value


def result_schema(result: dict[str, Any]) -> dict[str, Any]:
    """Return the response format of an answer: steps of thought first, then `result` by the given schema."""
    step = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"description": {"type": "string"}, "conclusion": {"type": "string"}},
        "required": ["description", "conclusion"],
    }
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"steps": {"type": "array", "items": step}, "result": result},
        "required": ["steps", "result"],
    }
    return {"type": "json_schema", "json_schema": {"name": "grade", "strict": True, "schema": schema}}


async def ask_judge(
    config: dict[str, Any],
    *,
    form: dict[str, Any],
    read: Read,
    sample: SampleInput,
    item: dict[str, Any] | None,
    surroundings: Surroundings,
) -> GradeResult:
    """Return the judge's word on a sample: `read` makes a result of what it answered.

    `config` has `model`, `input` and `sampling_params`. An earlier verdict on the same messages is taken again where the surroundings
    know one.
    """
    model = config["model"]
    try:
        rendered = render_messages(config["input"], item=item, sample=sample.as_dict())
        messages = to_openai([unpacked(message) for message in rendered])
    except MissingVariable as missing:
        return skipped(str(missing), problem=INVALID_VARIABLE, rater=model)
    except NotAMessage as error:
        return failed(str(error), rater=model)
    digest = digest_of(messages, form)
    if surroundings.find_earlier is not None:
        earlier = await surroundings.find_earlier(digest)
        if earlier:
            return replace(earlier[0], cost_usd=0.0, duration_ms=0.0, criteria=())
    if surroundings.ask is None:
        return failed("No judge can be asked here.", problem=JUDGE_UNAVAILABLE, rater=model, input_digest=digest)
    sampling = sent_sampling(config.get("sampling_params") or {})
    cost: float | None = None
    took: float | None = None
    call: dict[str, Any] | None = None
    word = failed("The judge was not asked.")
    for _ in range(ASKS):
        try:
            answer = await surroundings.ask(model=model, messages=messages, sampling=sampling, response_format=form)
        except JudgeUnavailable as error:
            word = failed(str(error), problem=JUDGE_UNAVAILABLE)
            break
        cost = answer.cost_usd if cost is None else cost + (answer.cost_usd or 0.0)
        took = (took or 0.0) + (answer.duration_ms or 0.0)
        call = call_of(answer, messages, sampling, earlier=call)
        word = read_word(answer, read)
        if word.state == "ok":
            break
    return replace(word, rater=model, input_digest=digest, cost_usd=cost, duration_ms=took, call=call)


def read_word(answer: Answered, read: Read) -> GradeResult:
    """Return what an answer means; a refusal, or an answer without a result, is a failed word that says so."""
    if answer.refusal:
        return failed(f"The judge refused: “{shown(answer.refusal)}”.", problem=JUDGE_REFUSAL)
    said = answer_of(answer.text)
    try:
        word = read(said.get("result") if isinstance(said, dict) else said)
    except BadResult as error:
        cut = " It was cut off at the most tokens that it may take." if answer.finish_reason == "length" else ""
        return failed(f"{error}{cut}", problem=JUDGE_ANSWER)
    return replace(word, explanation=explanation_of(said))


def call_of(
    answer: Answered, messages: list[dict[str, Any]], sampling: dict[str, Any], *, earlier: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the record of a call; `usage` adds up what the attempts before it used."""
    usage = dict(answer.usage)
    for name, value in (earlier or {}).get("usage", {}).items():
        if value is not None:
            usage[name] = value + (usage.get(name) or 0)
    return {
        "messages": messages,
        "text": answer.text,
        "refusal": answer.refusal,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "usage": usage,
        "sampling": sampling,
        "asked": ((earlier or {}).get("asked") or 0) + 1,
    }


def answer_of(text: str) -> Any:
    """Return what an answer says: the last JSON object in it that has a `result`, else the JSON value that it is, else the text."""
    decoder, place, found = json.JSONDecoder(), text.find("{"), None
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place = text.find("{", place + 1)
            continue
        if isinstance(value, dict) and "result" in value:
            found = value
        place = text.find("{", end)
    if found is not None:
        return found
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()


def number_of(value: Any) -> float:
    """Return the number that a result is, also where it is written as a text. Raises BadResult."""
    number = math.nan
    if isinstance(value, str) and len(value) < 100:
        try:
            number = float(value.strip().strip("`*\"'"))
        except ValueError:
            number = math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        number = float(value)
    if not math.isfinite(number):
        raise BadResult(f"The judge's answer has no number: {shown_result(value)}.")
    return number


def explanation_of(said: Any) -> str:
    """Return the steps of an answer as lines of text; empty where it has none."""
    steps = said.get("steps") if isinstance(said, dict) else None
    lines = []
    for step in steps if isinstance(steps, list) else []:
        if isinstance(step, dict):
            parts = [str(step.get(name) or "").strip() for name in ("description", "conclusion")]
            lines.append(": ".join(dict.fromkeys(part for part in parts if part)))
        elif isinstance(step, str):
            lines.append(step)
    return "\n".join(line for line in lines if line)[:MAX_EXPLANATION]


def shown_result(value: Any) -> str:
    """Name a result in an error."""
    if isinstance(value, str):
        return f"“{shown(value)}”" if value.strip() else "it is empty"
    return shown(json.dumps(value, ensure_ascii=False, default=str))


def shown(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 120 else f"{plain[:120]}…"
