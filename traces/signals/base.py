"""What a detector takes and gives. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from traces.acts import Run

MAX_REASON = 500  # characters
MAX_EACH = 20  # suspicions of one detector in one run: the rest would say nothing new


@dataclass(frozen=True)
class Suspicion:
    """One place in a run that looks like a failure nobody reported. Never a verdict, and never an error by itself."""

    span_id: str
    reason: str
    others: tuple[str, ...] = ()  # further spans that belong to it


@dataclass(frozen=True)
class Limits:
    """What a detector may know beside the run: the project's budgets and the run's figures, and how long nothing has come."""

    budgets: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)
    quiet_s: float = 0.0


@dataclass(frozen=True)
class Detector:
    """One kind of suspicion. `blind` says why a run cannot show it, or an empty text where it can.

    `version` goes up with each change of what is found: runs that an older version looked at are looked at again.
    """

    name: str
    label: str
    help: str
    version: int
    layer: str
    find: Callable[[Run, Limits], list[Suspicion]]
    blind: Callable[[Run, Limits], str]


def needs_calls(run: Run, limits: Limits) -> str:
    """Say that a run shows no tool calls: whether there were any is not known where none was offered and none was made."""
    if run.calls:
        return ""
    if any(record.available_tools is not None for record in run.records):
        return ""  # it could have called one, and did not
    return "No tool call is in this trace."


def needs_results(run: Run, limits: Limits) -> str:
    """Say that a run shows no results of tools."""
    reason = needs_calls(run, limits)
    if reason or not run.calls:
        return reason
    if any(call.has_result for call in run.calls):
        return ""
    hidden = any(not record.content_recorded for record in run.records)
    return "The sender was told not to send content." if hidden else "The tools' results were not sent."


def needs_words(run: Run, limits: Limits) -> str:
    """Say that a run shows nothing that was said."""
    if any(act.text for act in run.messages):
        return ""
    hidden = any(not record.content_recorded for record in run.records)
    return "The sender was told not to send content." if hidden else "No message is in this trace."
