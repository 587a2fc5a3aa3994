"""Signals: silent failures found by plain rules, one small file each. Pure, and linear in the run.

A detector is a `Detector` in DETECTORS. It takes a run as acts and gives suspicions, each with its place and its reason; it never
makes anything an error. What a run cannot show is said by `blind_spots`, so that no suspicion is not taken for no failure.
"""

from traces.acts import Run
from traces.signals import (
    bad_arguments,
    budget,
    hidden_error,
    ignored_result,
    loop,
    repeated_call,
    unfinished,
    unmade_action,
)
from traces.signals.base import MAX_REASON, Detector, Limits, Suspicion

DETECTORS: dict[str, Detector] = {
    one.name: one
    for one in (
        hidden_error.DETECTOR,
        unmade_action.DETECTOR,
        ignored_result.DETECTOR,
        repeated_call.DETECTOR,
        loop.DETECTOR,
        bad_arguments.DETECTOR,
        budget.DETECTOR,
        unfinished.DETECTOR,
    )
}
VERSION = sum(one.version for one in DETECTORS.values()) + 100 * len(DETECTORS)  # of the whole set

__all__ = ["DETECTORS", "MAX_REASON", "VERSION", "Detector", "Limits", "Suspicion", "blind_spots", "find_signals"]


def find_signals(run: Run, limits: Limits | None = None) -> dict[str, list[Suspicion]]:
    """Return the suspicions of a run by detector; those without any are left out."""
    limits = limits or Limits()
    found = {name: one.find(run, limits) for name, one in DETECTORS.items() if not one.blind(run, limits)}
    return {name: suspicions for name, suspicions in found.items() if suspicions}


def blind_spots(run: Run, limits: Limits | None = None) -> dict[str, str]:
    """Return why some detectors cannot say anything about a run, by detector."""
    limits = limits or Limits()
    return {name: reason for name, one in DETECTORS.items() if (reason := one.blind(run, limits))}
