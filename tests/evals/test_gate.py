import pytest

from evals.gate import ABOVE, BELOW, CANNOT_TELL, Outcomes, judge_gate, sample_outcome


@pytest.mark.parametrize(
    ("is_answered", "verdicts", "outcome"),
    [
        (True, [("ok", True), ("ok", True)], True),
        (True, [("ok", True), ("ok", False)], False),
        (True, [("failed", None), ("ok", False)], False),
        (True, [("ok", True), ("failed", None)], None),
        (True, [("ok", True), ("skipped", None)], None),
        (True, [("ok", True), ("ok", None)], True),
        (True, [("ok", None)], None),
        (True, [], None),
        (False, [("ok", True)], None),
    ],
)
def test_a_sample_passes_only_when_every_grader_with_a_pass_mark_says_so(is_answered, verdicts, outcome):
    assert sample_outcome(is_answered, verdicts) is outcome


@pytest.mark.parametrize(
    ("counts", "floor", "code"),
    [
        ([(9, 1, 0)], 0.9, ABOVE),
        ([(8, 2, 0)], 0.9, BELOW),
        ([(9, 0, 1)], 0.9, ABOVE),
        ([(8, 1, 1)], 0.9, CANNOT_TELL),
        ([(7, 2, 1)], 0.9, BELOW),
        ([(0, 0, 10)], 0.0, CANNOT_TELL),
        ([(10, 0, 0), (1, 9, 0)], 0.5, BELOW),
        ([(10, 0, 0), (0, 0, 3)], 0.5, CANNOT_TELL),
        ([], 0.5, CANNOT_TELL),
        ([(1, 9, 0)], None, ABOVE),
        ([(0, 0, 5)], None, CANNOT_TELL),
    ],
)
def test_the_gate_passes_only_what_is_surely_above_the_floor(counts, floor, code):
    assert judge_gate([Outcomes("A", *numbers) for numbers in counts], floor).code == code


def test_the_reason_names_the_candidate_and_its_figures():
    assert judge_gate([Outcomes("A gpt", 8, 2, 0)], 0.9).reason == "Below the floor of 90%: A gpt passed 8 of 10."
