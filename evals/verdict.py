"""The verdict in one sentence: who beats whom, on what, by how much (95% CI a to b), at what cost. Pure."""

from dataclasses import dataclass

from evals.statistics import LEVEL, Difference, detectable_difference, items_needed, items_to_be_sure

MINUS = "\N{MINUS SIGN}"
SMALLEST_SHARE = 0.05  # of the scale: the difference asked for where the observed one is smaller


@dataclass(frozen=True)
class Verdict:
    """`sentence` says the outcome, `trade_off` what speaks against it (or is empty), `advice` what would settle it (or is empty)."""

    sentence: str
    trade_off: str = ""
    advice: str = ""

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.sentence, self.trade_off, self.advice) if part)


@dataclass(frozen=True)
class Side:
    """A candidate as the verdict sees it. `cost_usd` is per sample; `p95_ms` of the answers; None: not known."""

    letter: str
    cost_usd: float | None = None
    p95_ms: float | None = None


def figure(value: float, *, signed: bool = True) -> str:
    """Show a difference with two decimals and a true minus sign: +0.42, −0.22."""
    text = f"{value:+.2f}" if signed else f"{value:.2f}"
    return ("0.00" if text in ("+0.00", "-0.00") else text).replace("-", MINUS)


def interval(low: float, high: float) -> str:
    return f"95% CI {figure(low, signed=False)} to {figure(high, signed=False)}"


def pair_verdict(
    difference: Difference, *, a: Side, b: Side, grader: str, scale: tuple[float, float], final: bool
) -> Verdict:
    """Say how b compares with the baseline a on one grader. `final` is False while samples are still open."""
    if difference.value is None or difference.items == 0:
        return Verdict(f"No item has a score on {grader} for both {a.letter} and {b.letter}{'' if final else ' yet'}.")
    if difference.low is None or difference.high is None:
        return Verdict(
            f"One item says nothing sure about {grader}: {b.letter} differs from {a.letter} by {figure(difference.value)} there."
        )
    between = interval(difference.low, difference.high)
    if not final:
        return running_verdict(difference, a=a, b=b, grader=grader)
    if difference.spread == 0 and difference.value == 0:
        return Verdict(f"{b.letter} and {a.letter} score the same on {grader} on each of {difference.items} items.")
    if not difference.is_clear:
        sentence = f"No clear difference on {grader} between {b.letter} and {a.letter} ({figure(difference.value)}, {between})."
        return Verdict(sentence, trade_off=cost_sentence(a, b), advice=more_items(difference, scale))
    winner, loser, gain = (b, a, difference.value) if difference.value > 0 else (a, b, -difference.value)
    low, high = (difference.low, difference.high) if difference.value > 0 else (-difference.high, -difference.low)
    cost = cost_clause(winner, loser)
    if not difference.is_sure:
        sentence = (
            f"{winner.letter} scores higher than {loser.letter} on {grader} by {figure(gain)} points "
            f"({interval(low, high)}), but {why_unsure(difference)}."
        )
        return Verdict(sentence, trade_off=cost_sentence(a, b), advice=items_for_certainty(difference))
    sentence = (
        f"{winner.letter} beats {loser.letter} on {grader} by {figure(gain)} points ({interval(low, high)}){cost}."
    )
    return Verdict(sentence, trade_off=trade_off(winner, loser))


def running_verdict(difference: Difference, *, a: Side, b: Side, grader: str) -> Verdict:
    """Say who is ahead while the run goes on, and that it is not final."""
    value, low, high = difference.value or 0.0, difference.low or 0.0, difference.high or 0.0
    between = interval(low, high) if value > 0 else interval(-high, -low)
    not_final = f"The result is not final: the {between} after {difference.items} items."
    not_final = not_final.replace("the 95% CI ", "the 95% CI is ")
    if abs(value) < 0.005:
        return Verdict(f"{b.letter} and {a.letter} are level on {grader} so far.", trade_off=not_final)
    ahead, behind = (b, a) if value > 0 else (a, b)
    return Verdict(
        f"{ahead.letter} is ahead of {behind.letter} on {grader} so far, by {figure(abs(value))} points.",
        trade_off=not_final,
    )


def why_unsure(difference: Difference) -> str:
    """Say what keeps a difference whose interval leaves zero out from being sure: its own test, or the tests beside it."""
    p_value, p_adjusted = difference.p_value, difference.p_adjusted
    if p_value is not None and p_value > 1 - LEVEL:
        return f"not beyond chance by the test over the paired items (p {chance(p_value)})"
    return f"not beyond chance once all tests of this comparison are counted (p {chance(p_adjusted)})"


def chance(p_value: float | None) -> str:
    """Show a p with two decimals, or three where two would hide that it is above 0.05: 0.06, 0.051."""
    if p_value is None:
        return "not known"
    return f"{p_value:.3f}" if 0.05 < p_value < 0.055 else f"{p_value:.2f}"


def items_for_certainty(difference: Difference) -> str:
    """Say about how many more items would make a clear but unsure difference sure, or nothing."""
    if difference.p_value is None or difference.value is None:
        return ""
    needed = items_to_be_sure(difference.items, difference.p_value, difference.p_adjusted)
    if needed is None:
        return ""
    more = round_up(needed - difference.items)
    wanted = figure(abs(difference.value), signed=False)
    return f"About {more:,} more {'item' if more == 1 else 'items'} would show a difference of {wanted}."


def more_items(difference: Difference, scale: tuple[float, float]) -> str:
    """Say what would settle an unclear difference: about N more items, or how large a difference these items can show.

    A difference below SMALLEST_SHARE of the scale is not asked for.
    """
    if difference.spread is None or difference.value is None:
        return ""
    if difference.spread == 0:
        return ""
    smallest = SMALLEST_SHARE * (scale[1] - scale[0])
    wanted = max(abs(difference.value), smallest)
    needed = items_needed(difference.spread, wanted)
    more = (needed or 0) - difference.items
    if more > 0:
        return f"About {round_up(more):,} more items would show a difference of {figure(wanted, signed=False)}."
    seen = detectable_difference(difference.spread, difference.items)
    return f"These {difference.items} items would show a difference of {figure(seen or 0.0, signed=False)} or more."


def round_up(count: int) -> int:
    """Round a rough count up to two figures: 37, 130, 2400."""
    size = 10 ** max(0, len(str(count)) - 2)
    return -(-count // size) * size


def cost_clause(winner: Side, loser: Side) -> str:
    """Return the cost of the winner against the loser as the end of a sentence, or nothing where a price is not known."""
    share = cost_share(winner, loser)
    if share is None:
        return ""
    if abs(share) < 0.01:
        return " and costs the same"
    return (
        f" and costs {abs(share):.0%} {'less' if share < 0 else 'more'}"
        if share < 1
        else f" and costs {1 + share:.1f} times as much"
    )


def cost_sentence(a: Side, b: Side) -> str:
    """Return the cost of b against a as a sentence, or nothing."""
    clause = cost_clause(b, a)
    return f"{b.letter}{clause.removeprefix(' and')}." if clause else ""


def cost_share(one: Side, other: Side) -> float | None:
    if one.cost_usd is None or not other.cost_usd:
        return None
    return one.cost_usd / other.cost_usd - 1


def trade_off(winner: Side, loser: Side) -> str:
    """Say what speaks against the winner: it is slower. Its cost stands in the sentence before."""
    if (
        winner.p95_ms is None
        or loser.p95_ms is None
        or winner.p95_ms < loser.p95_ms * 1.1
        or winner.p95_ms - loser.p95_ms < 50
    ):
        return ""
    slow, fast = winner.p95_ms / 1000, loser.p95_ms / 1000
    return f"It is slower: the slowest 5% of answers take {slow:.2f} s or more, against {fast:.2f} s."
