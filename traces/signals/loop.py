"""The run goes in circles: the same few acts three times in a row."""

from collections import defaultdict

from traces.acts import Act, Run
from traces.result_errors import shorten
from traces.signals.base import MAX_EACH, Detector, Limits, Suspicion

ROUNDS = 3  # of a circle in a row
LONGEST = 6  # acts in one round
SAID = 40  # characters that a repeated message must have: "Done." may well be said three times


def sign(act: Act) -> str | None:
    """Return what an act is, for comparing; None for acts that break a circle: what the customer says."""
    if act.kind == "call":
        return None if act.arguments is None else "call\n" + act.key  # None: what it was called with is not known
    if act.role == "assistant":
        return "said\n" + " ".join(act.text.lower().split())
    return None


def find(run: Run, limits: Limits) -> list[Suspicion]:
    """Return where the same acts come three times in a row, and where the agent says the same long words three times."""
    found: list[Suspicion] = []
    by_agent: defaultdict[tuple[bool, str], list[Act]] = defaultdict(list)
    for act in run.acts:
        by_agent[act.is_sub_agent, act.agent_name if act.is_sub_agent else ""].append(act)
    for acts in by_agent.values():
        signs = [sign(act) for act in acts]
        place = 0
        while place < len(acts):
            rounds, length = circle_at(signs, place)
            if rounds >= ROUNDS and any(acts[place + step].kind == "call" for step in range(length)):
                names = list(dict.fromkeys(act.name for act in acts[place : place + length] if act.kind == "call"))
                what = " and ".join(names[:3]) + (" and more" if len(names) > 3 else "")
                last = acts[place + length * (ROUNDS - 1)]
                others = tuple(act.span_id for act in acts[place : place + rounds * length] if act is not last)
                found.append(
                    Suspicion(
                        last.span_id,
                        f"The same {length} step{'s' if length > 1 else ''} {rounds} times in a row: {what}",
                        others[:50],
                    )
                )
                place += rounds * length
            else:  # inside a circle of words alone, none with calls begins before its last rounds
                place += max(1, (rounds - ROUNDS) * length + 1)
        found += repeated_words(acts)
    return found[:MAX_EACH]


def circle_at(signs: list[str | None], place: int) -> tuple[int, int]:
    """Return how many rounds of the shortest circle begin at a place, and its length; (0, 0) where none does."""
    for length in range(1, min(LONGEST, (len(signs) - place) // ROUNDS) + 1):
        first = signs[place : place + length]
        if None in first:
            break
        rounds = 1
        while signs[place + rounds * length : place + (rounds + 1) * length] == first:
            rounds += 1
        if rounds >= ROUNDS:
            return rounds, length
    return 0, 0


def repeated_words(acts: list[Act]) -> list[Suspicion]:
    """Return messages that the agent says for the third time, whatever was said between."""
    said: dict[str, list[Act]] = {}
    for act in acts:
        words = sign(act)
        if act.kind == "message" and words is not None and len(act.text) >= SAID:
            said.setdefault(words, []).append(act)
    return [
        Suspicion(
            same[ROUNDS - 1].span_id,
            f"The agent said the same words {len(same)} times: “{shorten(same[0].text, 120)}”",
            tuple(act.span_id for act in same if act is not same[ROUNDS - 1]),
        )
        for same in said.values()
        if len(same) >= ROUNDS
    ]


def blind(run: Run, limits: Limits) -> str:
    return "" if run.acts else "Neither a message nor a tool call is in this trace."


DETECTOR = Detector(
    name="loop",
    label="Going in circles",
    help="The same steps came three times in a row, or the agent said the same words three times.",
    version=1,
    layer="trajectory",
    find=find,
    blind=blind,
)
