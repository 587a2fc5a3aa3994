"""Texts and runs of a hostile shape: signals, story and acts take a time that grows with their length, not with its square."""

import time

import pytest

from tests.factories import make_span
from tests.traces.signals.test_signals import ASKED, make_run
from traces.acts import Act, Run, read_run
from traces.signals import find_signals
from traces.story import tell_story

MANY = 20_000
TEXTS = {
    "newlines": "a" + "\n" * 2 * MANY + "b",
    "brackets": "[" * 2 * MANY,
    "links": "[a](" * MANY,
    "pictures": "![" * MANY,
    "hashes": "#" * 2 * MANY,
    "markers": "#" * MANY + "a" + "#" * MANY + "b",
    "spaces": "- a" + " " * 2 * MANY + "b",
    "digits": "a-1" * MANY,
    "late newlines": "Traceback (most recent call last)\n" + "\n" * 19_900 + "b",
    "late words": "Traceback (most recent call last)\n" + "a." * 9_900,
    "stars": "*a" * MANY,
}


def said(text, *, role="assistant", agent_name="", **more):
    return Act("message", "s", role=role, text=text, agent_name=agent_name, is_sub_agent=bool(agent_name), **more)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_text_holds_signals_or_story_up(text):
    run = make_run(ASKED, ("agent", text), ("read_page", {"url": text}, text), ("agent", "Yes."), ("user", text))
    begun = time.monotonic()
    find_signals(run)
    story = tell_story(run)
    assert [one.parts for one in story.sentences]
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    "acts",
    [
        [said("Yes.") for _ in range(MANY)],
        [said(f"Yes, {number % 5}.") for number in range(MANY)],
        [said("Yes.", agent_name=f"helper {number}") for number in range(MANY)],
    ],
    ids=["equal messages", "a circle of messages", "agents"],
)
def test_a_long_run_is_looked_at_in_time(acts):
    begun = time.monotonic()
    find_signals(Run(acts))
    assert time.monotonic() - begun < 3


def test_results_without_ids_find_their_calls_in_time():
    calls = [{"role": "assistant", "content": None, "tool_calls": [{"name": "look", "arguments": {"n": number}}]}
             for number in range(MANY)]  # fmt: skip
    results = [{"role": "tool", "name": "look", "content": f"r{number}"} for number in range(MANY)]
    entry = {"span_id": "s", "is_error": False, "content": None}
    begun = time.monotonic()
    run = read_run([make_span(span_id="s")], entries=[{**entry, **one} for one in (*calls, *results)])
    assert time.monotonic() - begun < 3
    assert [(call.arguments["n"], call.result) for call in run.calls[::5000]] == [
        (number, f"r{number}") for number in range(0, MANY, 5000)
    ]


def test_calls_that_begin_to_repeat_at_the_end_of_equal_messages_are_found():
    call = {"name": "look", "arguments": {"a": 1}}
    acts = [said("Yes.") for _ in range(7)]
    for _ in range(3):
        acts += [Act("call", "c", role="assistant", has_result=True, result="x", **call), said("Yes.")]
    (one,) = find_signals(Run(acts))["loop"]
    assert one.reason == "The same 2 steps 3 times in a row: look"
