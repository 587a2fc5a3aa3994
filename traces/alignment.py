"""Two runs side by side: their acts aligned by step, and where they part. Pure.

Acts that are the same (tool and arguments, or the same words) are paired first, by the longest common sequence; what lies between is
paired by tool or speaker. A thousand acts on each side take a few hundredths of a second; time and memory grow with the product of
both, so of a longer run the first MAX_ACTS are compared.
"""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from rapidfuzz.distance import LCSseq

from traces.acts import Act, Run, canonical

SAME = "same"
CHANGED = "changed"
ONLY_A = "only_a"
ONLY_B = "only_b"
SPACE = re.compile(r"\s+")
MAX_ACTS = 10_000  # of each run: the longest common sequence of so many takes 12.5 MB
KEPT = 1  # equal steps shown on each side of a difference; the others are folded
FEWEST = 3  # equal steps in a row that are worth folding


@dataclass(frozen=True)
class Pair:
    """One step of one run or of both. `what` says what of a changed step differs: arguments, result, or text."""

    state: str
    a: Act | None
    b: Act | None
    what: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """A stretch of an alignment: pairs to show, or equal ones that are folded away. `first` is the number of its first step."""

    pairs: tuple[Pair, ...]
    is_folded: bool
    first: int


@dataclass
class Alignment:
    """Two runs, step by step. `parting` is the place of the first pair that is not the same, None where there is none.

    `left_out` says how many acts of the one and of the other run come after those that are compared.
    """

    pairs: list[Pair] = field(default_factory=list)
    parting: int | None = None
    left_out: tuple[int, int] = (0, 0)

    def count(self, state: str) -> int:
        return sum(pair.state == state for pair in self.pairs)


def align(a: Run, b: Run) -> Alignment:
    """Align two runs. A call with the same arguments and another result is changed: the world, not the agent, differed."""
    left, right = a.acts[:MAX_ACTS], b.acts[:MAX_ACTS]
    pairs: list[Pair] = []
    for tag, i1, i2, j1, j2 in blocks([sign(act) for act in left], [sign(act) for act in right]):
        if tag == "equal":
            pairs += [compare(left[i], right[j]) for i, j in zip(range(i1, i2), range(j1, j2), strict=True)]
        else:
            pairs += align_gap(left[i1:i2], right[j1:j2])
    parting = next((place for place, pair in enumerate(pairs) if pair.state != SAME), None)
    return Alignment(pairs, parting, (len(a.acts) - len(left), len(b.acts) - len(right)))


def sign(act: Act) -> Hashable:
    """Return what makes two acts the same step."""
    if act.kind == "call":
        return "call", act.key, act.is_sub_agent and act.agent_name
    return "said", act.role, SPACE.sub(" ", act.text).strip(), act.is_sub_agent and act.agent_name


def rough_sign(act: Act) -> Hashable:
    """Return what makes two acts worth standing side by side: the same tool, or the same speaker."""
    return act.kind, act.name if act.kind == "call" else act.role, act.is_sub_agent and act.agent_name


def blocks(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[str, int, int, int, int]]:
    """Return the stretches of two sequences, equal or not, by the longest common sequence."""
    found: list[tuple[str, int, int, int, int]] = []
    for op in LCSseq.opcodes(left, right):
        tag = "equal" if op.tag == "equal" else "gap"
        if found and found[-1][0] == tag == "gap":
            _, i1, _, j1, _ = found[-1]
            found[-1] = (tag, i1, op.src_end, j1, op.dest_end)
        else:
            found.append((tag, op.src_start, op.src_end, op.dest_start, op.dest_end))
    return found


def align_gap(left: Sequence[Act], right: Sequence[Act]) -> list[Pair]:
    """Pair what is not the same: the same tool or speaker side by side, the rest alone."""
    pairs: list[Pair] = []
    for tag, i1, i2, j1, j2 in blocks([rough_sign(act) for act in left], [rough_sign(act) for act in right]):
        if tag == "equal":
            pairs += [compare(left[i], right[j]) for i, j in zip(range(i1, i2), range(j1, j2), strict=True)]
        else:
            pairs += [Pair(ONLY_A, act, None) for act in left[i1:i2]]
            pairs += [Pair(ONLY_B, None, act) for act in right[j1:j2]]
    return pairs


def compare(a: Act, b: Act) -> Pair:
    """Return two acts that stand side by side, with what differs."""
    what = []
    if a.kind == "call":
        if a.key != b.key:
            what.append("arguments")
        if a.is_error != b.is_error:
            what.append("outcome")
        elif (a.has_result or b.has_result) and canonical(a.result) != canonical(b.result):
            what.append("result")
    elif SPACE.sub(" ", a.text).strip() != SPACE.sub(" ", b.text).strip():
        what.append("text")
    return Pair(CHANGED if what else SAME, a, b, tuple(what))


def fold(alignment: Alignment) -> list[Fold]:
    """Return an alignment with equal stretches folded away, all but the steps beside a difference."""
    stretches: list[Fold] = []
    pairs, place = alignment.pairs, 0
    while place < len(pairs):
        end = place
        is_same = pairs[place].state == SAME
        while end < len(pairs) and (pairs[end].state == SAME) == is_same:
            end += 1
        before, after = (KEPT if place else 0), (KEPT if end < len(pairs) else 0)
        if is_same and end - place - before - after >= FEWEST:
            inner = (place + before, end - after)
            parts = ((place, inner[0], False), (*inner, True), (inner[1], end, False))
        else:
            parts = ((place, end, False), (end, end, False), (end, end, False))
        stretches += [Fold(tuple(pairs[i:j]), hidden, i + 1) for i, j, hidden in parts if j > i]
        place = end
    return stretches


def alone(alignment: Alignment, state: str) -> tuple[int, int | None, float | None]:
    """Return how many steps one run has alone, and their tokens and cost; None where nothing is known."""
    acts = [act for pair in alignment.pairs if pair.state == state for act in (pair.a or pair.b,) if act is not None]
    tokens = [act.tokens for act in acts if act.tokens is not None]
    costs = [act.cost_usd for act in acts if act.cost_usd is not None]
    return len(acts), sum(tokens) if tokens else None, sum(costs) if costs else None
