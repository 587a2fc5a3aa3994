from dataclasses import replace

from evals.statistics import paired_difference
from evals.verdict import Side, pair_verdict

A, B = Side("A", cost_usd=0.0210, p95_ms=9_800), Side("B", cost_usd=0.0130, p95_ms=11_900)


def scores(values):
    return {str(place): [value] for place, value in enumerate(values)}


def say(a, b, *, final=True, one=A, other=B, scale=(1.0, 5.0)):
    return pair_verdict(
        paired_difference(scores(a), scores(b)), a=one, b=other, grader="correctness", scale=scale, final=final
    )


def test_a_clear_win_says_who_on_what_by_how_much_at_what_cost_and_the_trade_off():
    verdict = say([3.0] * 40, [3.4, 3.5] * 20)
    assert verdict.sentence.startswith("B beats A on correctness by +0.45 points (95% CI 0.43 to 0.46)")
    assert verdict.sentence.endswith("and costs 38% less.")
    assert verdict.trade_off == "It is slower: the slowest 5% of answers take 11.90 s or more, against 9.80 s."


def test_a_clear_loss_names_the_baseline_as_the_winner_with_a_positive_gain():
    verdict = say([3.4, 3.5] * 20, [3.0] * 40)
    assert verdict.sentence.startswith(
        "A beats B on correctness by +0.45 points (95% CI 0.43 to 0.46) and costs 62% more."
    )


def test_a_win_that_does_not_survive_correction_for_the_other_tests_is_not_called_one():
    difference = paired_difference(scores([3.0] * 12), scores([3.0, 3.0, 3.4] * 4))
    assert difference.is_clear
    words = {"a": A, "b": B, "grader": "correctness", "scale": (1.0, 5.0), "final": True}
    unsure = pair_verdict(replace(difference, p_value=0.02, p_adjusted=0.08), **words)
    assert unsure.sentence.startswith("B scores higher than A on correctness by +0.13 points (95% CI ")
    assert unsure.sentence.endswith("but not beyond chance once all tests of this comparison are counted (p 0.08).")
    assert unsure.advice == "About 13 more items would show a difference of 0.13."
    assert "beats" not in unsure.text
    assert pair_verdict(replace(difference, p_adjusted=0.04), **words).sentence.startswith("B beats A")


def test_where_the_only_test_does_not_pass_no_other_test_is_blamed_and_the_advice_asks_for_more():
    difference = paired_difference(scores([0.5] * 5), scores([0.6, 0.65, 0.68, 0.7, 0.77]))
    assert difference.is_clear
    assert difference.p_value == 0.0625  # 2 of 32 signs: five items cannot say more
    unsure = pair_verdict(
        replace(difference, p_adjusted=difference.p_value), a=A, b=B, grader="correctness", scale=(0.0, 1.0), final=True
    )
    assert unsure.sentence.endswith("), but not beyond chance by the test over the paired items (p 0.06).")
    assert "all tests" not in unsure.text
    assert unsure.advice == "About 7 more items would show a difference of 0.18."


def test_a_p_just_above_the_level_is_not_shown_as_the_level():
    difference = paired_difference(scores([3.0] * 12), scores([3.0, 3.0, 3.4] * 4))
    words = {"a": A, "b": B, "grader": "correctness", "scale": (1.0, 5.0), "final": True}
    assert "(p 0.051)" in pair_verdict(replace(difference, p_value=0.0509, p_adjusted=0.0509), **words).sentence


def test_an_interval_with_zero_is_no_clear_difference_and_says_how_many_more_items():
    verdict = say([1, 5] * 10, [5, 1, 1, 5] * 5)
    assert verdict.sentence.startswith(
        "No clear difference on correctness between B and A (0.00, 95% CI \N{MINUS SIGN}"
    )
    assert verdict.advice.startswith("About ")
    assert verdict.advice.endswith("more items would show a difference of 0.20.")


def test_while_samples_are_open_the_result_is_said_not_to_be_final():
    verdict = say([3.0] * 10, [3.4, 3.5] * 5, final=False)
    assert verdict.sentence == "B is ahead of A on correctness so far, by +0.45 points."
    assert "not final" in verdict.trade_off
    assert "after 10 items" in verdict.trade_off


def test_nothing_scored_and_one_item_claim_nothing():
    assert "No item has a score" in say([], []).text
    assert "One item says nothing sure" in say([1.0], [2.0]).text


def test_unknown_prices_are_not_spoken_of():
    assert "cost" not in say([3.0] * 40, [3.4, 3.5] * 20, one=Side("A"), other=Side("B")).text


def test_identical_scores_are_said_to_be_the_same():
    assert say([1.0, 2.0], [1.0, 2.0]).text == "B and A score the same on correctness on each of 2 items."
