"""Whether a run may pass a gate: every sample passed, did not, or nobody can tell. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

ABOVE, BELOW, CANNOT_TELL = 0, 1, 2  # exit codes


@dataclass(frozen=True)
class Outcomes:
    """How many samples of a candidate passed, did not, or have no verdict (no answer, or a grader without a word)."""

    label: str
    passed: int
    failed: int
    unknown: int

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.unknown

    @property
    def rate(self) -> float | None:
        """Return the pass rate of the samples with a verdict; None without any."""
        judged = self.passed + self.failed
        return self.passed / judged if judged else None


@dataclass(frozen=True)
class GateResult:
    """The exit code and the reason in words."""

    code: int
    reason: str


def sample_outcome(is_answered: bool, verdicts: Sequence[tuple[str, bool | None]]) -> bool | None:
    """Return True when every grader with a pass mark passed, False when one did not, None when that cannot be told.

    Takes (state, passed) of each grader. One that does not pass settles it, whatever the others failed to say. A grader without a
    pass mark (state ok, passed None) has no say; one that failed or was skipped leaves the sample without a verdict.
    """
    if not is_answered:
        return None
    if any(passed is False for _, passed in verdicts):
        return False
    if any(state != "ok" for state, _ in verdicts):
        return None
    return True if any(passed is True for _, passed in verdicts) else None


def judge_gate(candidates: Sequence[Outcomes], floor: float | None) -> GateResult:
    """Hold the candidates' pass rates against the floor: all of them must reach it.

    Samples without a verdict are taken as passed and as not passed; where that decides, nobody can tell. Nothing graded is never a pass.
    """
    if not candidates or any(candidate.passed + candidate.failed == 0 for candidate in candidates):
        empty = next((candidate.label for candidate in candidates if candidate.passed + candidate.failed == 0), "")
        return GateResult(CANNOT_TELL, f"Could not tell: no sample of {empty or 'any candidate'} has a verdict.")
    if floor is None:
        unknown = sum(candidate.unknown for candidate in candidates)
        return GateResult(ABOVE, "No floor was given." + (f" {unknown} samples have no verdict." if unknown else ""))
    below = [candidate for candidate in candidates if (candidate.passed + candidate.unknown) / candidate.total < floor]
    if below:
        worst = min(below, key=lambda candidate: candidate.rate or 0.0)
        return GateResult(
            BELOW, f"Below the floor of {floor:.0%}: {worst.label} passed {worst.passed} of {worst.total}."
        )
    unsure = [candidate for candidate in candidates if candidate.passed / candidate.total < floor]
    if unsure:
        one = unsure[0]
        return GateResult(
            CANNOT_TELL,
            f"Could not tell: {one.label} passed {one.passed} of {one.total}, and {one.unknown} have no verdict; the floor is {floor:.0%}.",
        )
    return GateResult(ABOVE, f"Above the floor of {floor:.0%}.")
