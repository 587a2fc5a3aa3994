"""The sentences of the overview, from its figures. Pure."""

from typing import Protocol


class Figures(Protocol):
    """Runs of one period: how many, how many failed, how many recovered from a failed step."""

    @property
    def runs(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def recovered(self) -> int: ...


SURE = 2.0  # standard errors: a change of the share of errors smaller than this is not called a change


def count(number: int, noun: str, plural: str = "") -> str:
    """Say a count with its noun: 1 run, 2,400 runs."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """Show a share as whole percent, and what is above zero never as 0%."""
    if 0 < share < 0.005:
        return "less than 1%"
    if 0.995 < share < 1:
        return "more than 99%"
    return f"{share:.0%}"


def headline(now: Figures, *, total: int, days: int, agents: int) -> str:
    """Say in a sentence what is here."""
    if total == 0:
        return "No runs yet"
    if now.runs == 0:
        return f"No runs in the last {days} days"
    by = f" by {count(agents, 'agent')}" if agents > 1 else ""
    if now.errors == 0:
        return f"{count(now.runs, 'run')}{by} in the last {days} days, none ended in an error"
    return f"{count(now.runs, 'run')}{by} in the last {days} days, {percent(now.errors / now.runs)} ended in an error"


def change(now: Figures, before: Figures, *, days: int) -> str:
    """Say what changed against the period before: the number of runs, and the share of errors where the change is more than chance."""
    if not now.runs:
        return ""
    if not before.runs:
        return f"There were no runs in the {days} days before."
    ratio = now.runs / before.runs
    if 0.9 <= ratio <= 1.1:
        volume = f"About as many runs as in the {days} days before ({before.runs:,})"
    elif ratio >= 2:
        volume = f"{ratio:.1f} times as many runs as in the {days} days before ({before.runs:,})"
    else:
        volume = f"{abs(ratio - 1):.0%} {'more' if ratio > 1 else 'fewer'} runs than in the {days} days before ({before.runs:,})"
    share, past = now.errors / now.runs, before.errors / before.runs
    pooled = (now.errors + before.errors) / (now.runs + before.runs)
    spread = (pooled * (1 - pooled) * (1 / now.runs + 1 / before.runs)) ** 0.5
    if spread == 0 or abs(share - past) < SURE * spread:
        return f"{volume}; no clear change in the share of errors."
    return (
        f"{volume}; the share of errors {'rose' if share > past else 'fell'} from {percent(past)} to {percent(share)}."
    )


def low_scores(low: int, scored: int) -> str:
    """Say how many of the runs that came with a score did not pass, or nothing."""
    return f"{low:,} of {count(scored, 'scored run')} did not pass." if low else ""


def samples_apart(number: int) -> str:
    """Say that the answers of comparisons are not counted, or nothing."""
    if not number:
        return ""
    return f"{count(number, 'answer')} of {'a comparison is' if number == 1 else 'comparisons are'} not counted here"


def recovered_runs(now: Figures) -> str:
    """Say how many runs end well although a step in them failed, or nothing."""
    if not now.recovered:
        return ""
    verb = (
        "says it ended well although a step failed"
        if now.recovered == 1
        else "say they ended well although a step failed"
    )
    return f"{count(now.recovered, 'more run')} {verb}."
