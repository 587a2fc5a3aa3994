"""The agent looked something up, and nothing of the answer appears in what followed."""

import re
from collections.abc import Iterator
from typing import Any

from traces.acts import Run, canonical
from traces.pointers import parse_text
from traces.result_errors import error_in
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion, needs_results, needs_words
from traces.signals.unmade_action import READER

WORD = re.compile(r"[^\W_][\w@.#:/-]*[^\W_]|\d+")
FEWEST = 8  # new words that a result must bring: less is a receipt, not an answer
MOST = 4000  # words of a result that are looked at
ANSWER = 20  # words that the agent must have said after: less tells nothing of what it used
LENGTH = 4  # characters of a word that says something; with a digit, 2


def words_of(value: Any) -> set[str]:
    """Return the words that a result tells, those of its keys included: a list of products may have their names as keys."""
    found: set[str] = set()
    for text in leaves(parse_text(value)):
        for word in WORD.findall(text.lower()):
            if len(word) >= LENGTH or (len(word) >= 2 and any(char.isdigit() for char in word)):
                found.add(word)
        if len(found) > MOST:
            break
    return found


def leaves(value: Any) -> Iterator[str]:
    """Give the values inside a value as text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif isinstance(value, bool) or value is None:
        return
    else:
        yield str(value)


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return look-ups whose answer told something new of which nothing was used, although the agent went on and answered.

    A call that was asked again in other words is left out: its answer was read, and found wanting.
    """
    acts = [act for act in run.acts if not act.is_sub_agent]
    last_used: dict[str, int] = {}  # the last act of the agent that uses a word
    for place, act in enumerate(acts):
        said = (
            act.text
            if act.kind == "message" and act.role == "assistant"
            else canonical(act.arguments)
            if act.kind == "call"
            else ""
        )
        if said:
            last_used.update(dict.fromkeys(WORD.findall(said.lower()), place))
    spoken = [0] * len(acts)  # words that the agent says after each act
    count = 0
    for place in range(len(acts) - 1, -1, -1):
        spoken[place] = count
        if acts[place].kind == "message" and acts[place].role == "assistant":
            count += len(acts[place].text.split())
    last_of = {act.name: place for place, act in enumerate(acts) if act.kind == "call"}
    seen: set[str] = set()
    found = []
    for place, act in enumerate(acts):
        if act.kind == "message":
            seen |= set(WORD.findall(act.text.lower()))
            continue
        seen |= set(WORD.findall(canonical(act.arguments).lower()))
        if not act.has_result or not READER.match(act.name):
            continue
        words = words_of(act.result)
        fresh = words - seen
        seen |= words
        if (
            len(fresh) < FEWEST
            or act.is_error
            or error_in(act.result)
            or spoken[place] < ANSWER
            or last_of[act.name] > place
        ):
            continue
        parts = {
            part for word in words for part in re.split(r"[@.#:/-]", word) if len(part) >= LENGTH or part.isdigit()
        }
        if all(last_used.get(word, place) <= place for word in words | parts):
            found.append(
                Suspicion(
                    act.span_id,
                    f"{act.name} answered, and nothing of its answer appears in what the agent said or did after",
                )
            )
    return found[:MAX_EACH]


def blind(run: Run, limits: Limits) -> str:
    return needs_results(run, limits) or needs_words(run, limits)


DETECTOR = Detector(
    name="ignored_result",
    label="Result not used",
    help="The agent looked something up, and nothing of the answer appears in what it said or did after.",
    version=1,
    layer="trajectory",
    find=find,
    blind=blind,
)
