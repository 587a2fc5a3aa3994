"""The scripted judge: answers a rubric judge's request by rules of thumb, and generic requests for a label or a score. Pure.

It looks at what can be looked at without understanding: whether the answer names what was asked about, agrees with the reference's
facts, says by when, is polite; whether an action was claimed that no tool result shows; whether tool calls repeat, fail, or use
values that nobody gave. A little chance is added, so that repeats differ as those of a real judge do.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from gateway.scripted.chance import Chance
from gateway.scripted.reading import last_user_text, text_of
from gateway.scripted.schema_answers import asked_schema, fill_schema, mentioned

SECTION = re.compile(r"^--- ([A-Z]+) ([0-9a-f]{6,64}) ---$", re.MULTILINE)
LAYER = re.compile(r"\(([^()\s;]+); looks at ([a-z ]+);")
IDENTIFIER = re.compile(r"[$€£]\s?\d[\d,]*(?:\.\d+)?|(?<![\w-])#?[A-Z]{1,4}[-_]?\d{2,}(?![\w-])|\b\d+(?:[.,]\d+)?\b")
WORD = re.compile(r"[^\W\d_]{4,}")
TIMING = re.compile(
    r"\b(?:within|in|by|until|today|tomorrow|next)\b[^.!?]{0,30}\b(?:days?|hours?|week|month|box|monday|friday)\b"
    r"|\btoday\b|\btomorrow\b",
    re.IGNORECASE,
)
POLITE = re.compile(
    r"\b(?:thank|thanks|sorry|please|glad|happy to|apologi[sz]e|hello|hi|understand|let me know|welcome)\b", re.I
)
CLAIM = re.compile(
    r"\b(?:I have|I've|has been|have been|was|is)\s+(?:now\s+|just\s+)?"
    r"(?:refunded|changed|cancelled|canceled|sent|updated|exchanged|made|processed)\b"
    r"|^(?:refunded|done|cancelled|canceled|exchanged|address changed|noted)\b|\ball done\b",
    re.IGNORECASE | re.MULTILINE,
)
REFUSES = re.compile(
    r"\b(?:cannot|can ?not|can't|not been|not yet|has not|have not|no refund|unable|already shipped|has shipped|not shipped|outside)\b",
    re.IGNORECASE,
)
GRANTS = re.compile(
    r"\b(?:refunded|refunding|will be refunded|I am changing|address changed|will change|no problem|sure|goes back)\b",
    re.IGNORECASE,
)
APPROVES = re.compile(r"\b(?:approv|person)", re.I)
FAILED = re.compile(
    r"\b(?:error|exception|timeout|timed out|failed|declined|unavailable|not found|unreachable)\b", re.I
)
STOP_WORDS = """
    that this with have from your will been they them there their what when which would could about into more than then also only
    order please here some such were does each other after before again once
"""
STOP = frozenset(STOP_WORDS.split())


@dataclass
class Sheet:
    """What lies before the judge."""

    task: str = ""
    reference: str = ""
    steps: list[str] = field(default_factory=list)
    answer: str = ""
    layers: dict[str, str] = field(default_factory=dict)  # by criterion

    @property
    def calls(self) -> list[str]:
        return [step for step in self.steps if re.match(r"\d+\. calls ", step)]

    @property
    def results(self) -> list[str]:
        return [step for step in self.steps if re.match(r"\d+\. .{1,80}? answers ", step)]


@dataclass
class Finding:
    """One criterion's share in [0, 1], with the reasons for it and what can be quoted."""

    share: float
    reasons: list[str]
    quotes: list[str]
    minor: str = ""  # the same as the first reason, for a verdict that passes in spite of it

    def said(self, *, is_high: bool) -> str:
        """Return the reasons as text, so that they agree with the verdict."""
        first, *rest = self.reasons or [""]
        return " ".join([self.minor if is_high and self.minor else first, *rest])


def judge(body: dict[str, Any], chance: Chance) -> str:
    """Return the judge's answer as text: JSON where a schema is asked for."""
    schema = asked_schema(body)
    messages = body["messages"]
    sheet = read_sheet(messages)
    properties = schema.get("properties") if schema else None
    if schema is None or not isinstance(properties, dict):
        return plain_verdict(messages, chance)
    if sheet is None:
        return json.dumps(generic_verdict(schema, last_user_text(messages), chance), ensure_ascii=False)
    answer: dict[str, Any] = {}
    summary: list[str] = []
    for name, rule in properties.items():
        levels = level_values(rule)
        if levels is None:
            continue
        finding = look(sheet, name, rule, chance)
        noise = (chance.trial(f"noise {name}") - 0.5) * 0.12
        share = min(max(finding.share + noise, 0.0), 1.0)
        level = levels[round(share * (len(levels) - 1))] if len(levels) != 2 else levels[share >= 0.55]
        said = finding.said(is_high=levels.index(level) * 2 >= len(levels))
        answer[name] = {"evidence": finding.quotes, "reason": said, "level": level}
        summary.append(said)
    for name, rule in properties.items():
        if name not in answer:
            text = " ".join(dict.fromkeys(summary)) or "Nothing could be judged."
            answer[name] = (
                fill_schema(rule, name, text=text, quality=lambda key: chance.trial(key)) if not is_text(rule) else text
            )
    return json.dumps({name: answer[name] for name in properties}, ensure_ascii=False)


def is_text(rule: Any) -> bool:
    return isinstance(rule, dict) and rule.get("type") == "string" and "enum" not in rule


def level_values(rule: Any) -> list[Any] | None:
    """Return a criterion's levels in rising order, or None where this is no criterion."""
    properties = rule.get("properties") if isinstance(rule, dict) else None
    level = properties.get("level") if isinstance(properties, dict) else None
    options = level.get("enum") if isinstance(level, dict) else None
    if not isinstance(options, list) or not options:
        return None
    numbers = [value for value in options if isinstance(value, int | float) and not isinstance(value, bool)]
    return sorted(numbers) if len(numbers) == len(options) else options


def read_sheet(messages: list[Any]) -> Sheet | None:
    """Return what a rubric judge's request fences, or None where nothing is fenced."""
    text = "\n".join(text_of(message) for message in messages if message.get("role") == "user")
    found: dict[str, str] = {}
    at = 0
    while (head := SECTION.search(text, at)) is not None:
        end = text.find(f"\n--- END {head.group(1)} {head.group(2)} ---", head.end())
        stop = end if end >= 0 else len(text)
        content = text[head.end() : stop].strip("\n")
        found.setdefault(head.group(1), "" if content == "(empty)" else content)
        at = stop + 1
    if "ANSWER" not in found:
        return None
    rubric = "\n".join(text_of(message) for message in messages if message.get("role") in ("system", "developer"))
    layers = {key: layer.strip().replace(" ", "_") for key, layer in LAYER.findall(rubric)}
    steps = [line for line in found.get("STEPS", "").splitlines() if re.match(r"\d+\. ", line)]
    return Sheet(found.get("TASK", ""), found.get("REFERENCE", ""), steps, found["ANSWER"], layers)


def look(sheet: Sheet, key: str, rule: dict[str, Any], chance: Chance) -> Finding:
    """Look at what a criterion is about."""
    about = f"{key} {rule.get('description', '')}".lower()
    layer = sheet.layers.get(key, "outcome")
    if layer in ("tool_selection", "trajectory"):
        return look_at_calls(sheet)
    if layer == "tool_arguments":
        return look_at_arguments(sheet)
    if layer == "recovery":
        return look_at_recovery(sheet)
    if not sheet.answer.strip():
        return Finding(0.0, ["There is no answer."], [])
    if re.search(r"\b(?:tone|polite|friendl|empath|kind|courte)", about):
        return look_at_tone(sheet)
    if re.search(r"\b(?:concise|brief|short|length)", about):
        count = len(sheet.answer.split())
        return Finding(min(1.0, 60 / max(count, 1)), [f"The answer has {count} words."], sentences(sheet.answer)[:1])
    if sheet.reference:
        return look_at_reference(sheet)
    return look_at_outcome(sheet)


def look_at_reference(sheet: Sheet) -> Finding:
    """Compare facts and direction of the answer with those of the reference."""
    wanted, given = identifiers(sheet.reference), identifiers(sheet.answer)
    missing = [fact for fact in wanted if fact not in given]
    wanted_words, given_words = content_words(sheet.reference), content_words(sheet.answer)
    shared = len(wanted_words & given_words) / len(wanted_words) if wanted_words else 1.0
    facts = 1 - len(missing) / len(wanted) if wanted else shared
    share = 0.55 * facts + 0.45 * min(1.0, shared * 1.6)
    reasons = []
    if bool(REFUSES.search(sheet.reference)) and GRANTS.search(sheet.answer) and not REFUSES.search(sheet.answer):
        return Finding(0.08, ["The answer grants what the reference refuses."], matching(sheet.answer, GRANTS))
    if not REFUSES.search(sheet.reference) and re.search(r"\b(?:cannot|no refund|unable)\b", sheet.answer, re.I):
        return Finding(0.12, ["The answer refuses what the reference grants."], matching(sheet.answer, REFUSES))
    if APPROVES.search(sheet.reference) and not APPROVES.search(sheet.answer) and "approv" in sheet.reference:
        share = min(share, 0.3)
        reasons.append("The answer does not say that a person has to approve this.")
    if any(re.search(r"[A-Z$€£]", fact) for fact in missing) or 3 * len(missing) > len(wanted) > 0:
        share = min(share, 0.35)
    minor = ""
    if missing:
        reasons.append(f"Missing from the answer: {', '.join(missing[:4])}.")
        if len(reasons) == 1:
            minor = f"It says what matters, and leaves out {', '.join(missing[:4])}."
    elif wanted:
        reasons.append("Every number and name of the reference is in the answer.")
    reasons.append(f"It shares {shared:.0%} of the reference's words.")
    return Finding(share, reasons, best_sentences(sheet.answer, wanted_words | set(wanted)), minor)


def look_at_outcome(sheet: Sheet) -> Finding:
    """Judge the answer alone: is it about the request, does it say what happens and by when, does it claim what nothing shows?"""
    share, reasons = 0.52, []
    asked, given = [fact for fact in identifiers(sheet.task) if len(fact) > 2], identifiers(sheet.answer)
    count = len(sheet.answer.split())
    if asked and any(fact in given for fact in asked):
        share += 0.14
        reasons.append("The answer names what the customer asked about.")
    elif asked:
        share -= 0.1
        reasons.append("The answer does not name what the customer asked about.")
    task_words = content_words(sheet.task)
    share += 0.1 * min(1.0, 2 * len(task_words & content_words(sheet.answer)) / max(len(task_words), 1))
    if TIMING.search(sheet.answer):
        share += 0.16
        reasons.append("It says by when.")
    else:
        reasons.append("It does not say by when.")
    share += 0.1 if POLITE.search(sheet.answer) else -0.04
    claims = matching(sheet.answer, CLAIM)
    if claims and not acted(sheet):
        share -= 0.42
        reasons.insert(0, "It claims an action that nothing here shows.")
    if count < 8:
        share -= 0.22 if count >= 4 else 0.32
        reasons.append("It is too short to be of use." if count < 4 else "It is very short.")
    return Finding(share, reasons, claims or best_sentences(sheet.answer, task_words | set(asked)))


def look_at_tone(sheet: Sheet) -> Finding:
    count = len(POLITE.findall(sheet.answer))
    reason = "It is friendly." if count > 1 else "It is civil." if count else "It has no friendly word."
    return Finding(
        min(1.0, 0.2 + 0.35 * count), [reason], matching(sheet.answer, POLITE) or sentences(sheet.answer)[:1]
    )


def look_at_calls(sheet: Sheet) -> Finding:
    """Count repeated and failed calls, and actions claimed without a call."""
    if not sheet.calls:
        claims = matching(sheet.answer, CLAIM)
        if claims:
            return Finding(0.0, ["An action is claimed, and no tool was called."], claims)
        return Finding(0.35, ["No tool was called."], sentences(sheet.answer)[:1])
    plain = [step.partition(". ")[2] for step in sheet.calls]
    repeated = len(plain) - len(set(plain))
    failed = [step for step in sheet.results if FAILED.search(step)]
    share = 1.0 - 0.35 * min(repeated, 2) - 0.2 * min(len(failed), 2)
    reasons = []
    if repeated:
        reasons.append(f"{'One call is' if repeated == 1 else f'{repeated} calls are'} made again without need.")
    if failed:
        reasons.append(f"{'One result is' if len(failed) == 1 else f'{len(failed)} results are'} an error.")
    if matching(sheet.answer, CLAIM) and not acted(sheet):
        share -= 0.5
        reasons.insert(0, "The answer claims an action that no result confirms.")
    return Finding(
        share, reasons or ["Every call was needed and worked."], [quotable(step) for step in sheet.calls[:2]]
    )


def look_at_arguments(sheet: Sheet) -> Finding:
    """Look for each argument's value in the task and in earlier results."""
    if not sheet.calls:
        return Finding(0.35, ["No tool was called, so there are no values to check."], [])
    known = sheet.task + "\n".join(sheet.results)
    values = [value for step in sheet.calls for value in argument_values(step)]
    unknown = [value for value in values if value not in known]
    share = 1.0 - len(unknown) / max(len(values), 1)
    if not unknown:
        return Finding(share, ["Every value can be traced to the customer or to a result."], [quotable(sheet.calls[0])])
    step = next(step for step in sheet.calls if unknown[0] in step)
    return Finding(min(share, 0.6), [f"Nobody gave the value {unknown[0][:60]}."], [quotable(step)])


def look_at_recovery(sheet: Sheet) -> Finding:
    failed = [place for place, step in enumerate(sheet.steps) if FAILED.search(step) and " answers " in step]
    if not failed:
        return Finding(0.9, ["Nothing failed."], [quotable(step) for step in sheet.results[:1]])
    worked_after = any(" answers " in step and not FAILED.search(step) for step in sheet.steps[failed[-1] + 1 :])
    told = bool(re.search(r"\b(?:sorry|not answering|could not|cannot|problem|error)\b", sheet.answer, re.I))
    quote = [quotable(sheet.steps[failed[-1]])]
    if worked_after:
        return Finding(0.9, ["A call failed, and a later one made up for it."], quote)
    if told:
        return Finding(0.6, ["A call failed, and the answer says so."], quote)
    return Finding(0.1, ["A call failed, and the answer passes over it."], quote)


def acted(sheet: Sheet) -> bool:
    """Say whether a call that changes something was answered without an error."""
    for place, step in enumerate(sheet.steps):
        if re.match(
            r"\d+\. calls (?:create|change|update|cancel|modify|exchange|return|open|send|refund|process)", step
        ):
            after = next((later for later in sheet.steps[place + 1 :] if " answers " in later), "")
            if after and not FAILED.search(after):
                return True
    return False


# Words -----------------------------------------------------------------------------------------------------------


def identifiers(text: str) -> list[str]:
    """Return the numbers, sums and ids of a text, each once, without the commas in sums."""
    return list(dict.fromkeys(found.replace(",", "").replace(" ", "") for found in IDENTIFIER.findall(text[:50_000])))


def content_words(text: str) -> set[str]:
    """Return the words that carry meaning, cut to a rough stem."""
    return {word[:6] for word in WORD.findall(text[:50_000].lower()) if word not in STOP}


def sentences(text: str) -> list[str]:
    """Return a text's sentences as they stand in it, at most 200 characters each."""
    parts = re.split(r"(?<=[.!?])\s+|\n+", text[:50_000])
    return [part.strip()[:200] for part in parts if part.strip()]


def best_sentences(text: str, wanted: set[str]) -> list[str]:
    """Return up to two sentences that hold most of what is looked for."""
    ranked = sorted(sentences(text), key=lambda part: -len((content_words(part) | set(identifiers(part))) & wanted))
    return ranked[:2]


def matching(text: str, pattern: re.Pattern[str]) -> list[str]:
    """Return up to two sentences in which a pattern occurs."""
    return [part for part in sentences(text) if pattern.search(part)][:2]


def quotable(step: str) -> str:
    """Return the part of a step's line that stands in the trace as it is."""
    plain = step.partition(". ")[2]
    return (plain.partition(" answers ")[2] or plain)[:240]


def argument_values(step: str) -> list[str]:
    """Return the values that a call passes, as text."""
    try:
        arguments = json.loads(step.partition(" with ")[2])
    except (ValueError, RecursionError):
        return []
    values = arguments.values() if isinstance(arguments, dict) else []
    return [
        str(value)
        for value in values
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value)
    ]


# Other requests --------------------------------------------------------------------------------------------------


PART = re.compile(r"^([A-Za-z][A-Za-z ]{2,40}):[ \t]*", re.MULTILINE)
GOOD = re.compile(r"\b(?:right|correct|good|yes|pass(?:es|ed)?|true|accurate|helpful|complete|excellent|great)\b", re.I)
BAD = re.compile(
    r"\b(?:not|wrong|incorrect|bad|no|fail(?:s|ed)?|false|inaccurate|unhelpful|incomplete|poor|terrible)\b", re.I
)
MIDDLE = re.compile(r"\b(?:part(?:ly|ial|ially)?|mixed|unsure|neutral|okay|ok|somewhat)\b", re.I)


def generic_verdict(schema: dict[str, Any], text: str, chance: Chance) -> Any:
    """Fill a schema in for a prompt of somebody else's: by its answer and reference where it names them, else by its length."""
    sheet = sheet_of_prompt(text)
    if sheet is None:
        return fill_schema(schema, "answer", text=text, quality=lambda name: generic_quality(text, name, chance))
    finding = look_at_reference(sheet) if sheet.reference else look_at_outcome(sheet)
    share = min(max(finding.share + (chance.trial("noise generic") - 0.5) * 0.1, 0.0), 1.0)
    return fill_schema(
        schema,
        "answer",
        text=finding.said(is_high=share >= 0.55),
        quality=lambda _: share,
        pick=lambda options: label_for(options, share) or mentioned(options, sheet.answer),
    )


def sheet_of_prompt(text: str) -> Sheet | None:
    """Return the parts of a prompt that are headed by a word and a colon; None where none of them is an answer."""
    heads = list(PART.finditer(text[:100_000]))
    parts: dict[str, str] = {}
    for place, head in enumerate(heads):
        end = heads[place + 1].start() if place + 1 < len(heads) else len(text)
        parts.setdefault(head.group(1).strip().lower(), text[head.end() : end].strip())

    def part(*words: str) -> str | None:
        return next(
            (value for name, value in parts.items() if any(re.search(rf"\b{word}\b", name) for word in words)), None
        )

    reference = part("reference", "expected", "ideal", "good answer", "correct answer", "gold")
    rest = {name: value for name, value in parts.items() if value is not reference}
    parts = rest
    answer = part("answer", "output", "response", "reply")
    if answer is None:
        return None
    return Sheet(
        task=part("question", "task", "input", "request", "prompt") or "", reference=reference or "", answer=answer
    )


def label_for(options: list[str], share: float) -> str | None:
    """Return the label that says how good something is; None where the labels do not say good and bad."""
    worth = {
        option: 0.0 if BAD.search(option) else 0.5 if MIDDLE.search(option) else 1.0 if GOOD.search(option) else None
        for option in options
    }
    known = {option: value for option, value in worth.items() if value is not None}
    if {0.0, 1.0} - set(known.values()):
        return None
    wanted = (0.0 if share < 0.35 else 0.5 if share < 0.6 else 1.0) if 0.5 in known.values() else float(share >= 0.55)
    return next(option for option, value in known.items() if value == wanted)


def generic_quality(text: str, name: str, chance: Chance) -> float:
    """Return a share in [0, 1] for a text that nothing is known about: longer and politer is better, with some chance."""
    count = len(text.split())
    base = 0.35 + min(count, 60) / 150 + (0.15 if POLITE.search(text) else 0.0)
    return min(max(base + (chance.trial(f"generic {name}") - 0.5) * 0.3, 0.0), 1.0)


def plain_verdict(messages: list[Any], chance: Chance) -> str:
    """Answer a prompt for a label or a score in words."""
    asked = "\n".join(text_of(message) for message in messages)
    labels = re.search(
        r"(?:one of|labels?|categories|choose from|either)\s{0,5}:?\s{0,5}([\w '\",/\[\]-]{3,200})", asked, re.I
    )
    if labels:
        options = [part.strip(" '\"[]") for part in re.split(r",|/|\bor\b", labels.group(1))]
        options = [option for option in options if option]
        if len(options) > 1:
            rest = asked.replace(labels.group(0), "")
            found = mentioned(options, rest)
            return found or options[int(chance.case("label") * len(options))]
    scale = re.search(
        r"(?<![\d.])(-?\d{1,9}(?:\.\d{1,9})?)\s{0,3}(?:to|and|-|–)\s{0,3}(-?\d{1,9}(?:\.\d{1,9})?)", asked, re.I
    )
    if scale and re.search(r"\b(?:score|rate|rating|grade|number)\b", asked, re.I):
        low, high = float(scale.group(1)), float(scale.group(2))
        value = low + (high - low) * generic_quality(last_user_text(messages), "score", chance)
        return f"{round(value)}" if high - low >= 2 else f"{value:.2f}"
    return "Scripted judge: ask with a response format, with labels, or with a scale, and it gives a verdict."
