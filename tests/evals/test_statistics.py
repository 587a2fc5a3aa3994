import json
import math
from collections import defaultdict

import pytest

from evals.statistics import (
    detectable_difference,
    histogram,
    holm,
    items_needed,
    mean_with_interval,
    paired_difference,
    pass_at_k,
    pass_curves,
    pass_hat_k,
    percentile,
    wilson_of_share,
    wilson_over_items,
    with_holm,
)


def read_tau2(path):
    rewards = defaultdict(list)
    for simulation in json.loads(path.read_text())["simulations"]:
        rewards[str(simulation["task_id"])].append(float(simulation["reward_info"]["reward"]))
    return dict(rewards)


def passes_of(rewards):
    return {item: [reward == 1.0 for reward in trials] for item, trials in rewards.items()}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("tudor-gpt4o", [0.7167, 0.6333, 0.6000]),
        ("tudor-gpt5mini", [0.8333, 0.7333, 0.6500]),
        ("chloe-gpt4o", [0.6500, 0.5500, 0.5000]),
        ("chloe-gpt5mini", [0.7667, 0.6833, 0.6500]),
    ],
)
def test_pass_hat_k_of_the_retail_trials_is_the_published_one(shared, policy, expected):
    rewards = read_tau2(shared / f"data/tau2-retail-trials/gpt-4o_retail_policy-{policy}_3trials.json")
    assert [round(value, 4) for value in pass_curves(passes_of(rewards))[0]] == expected


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("tudor", [0.7750, 0.6533, 0.5700, 0.5133, 0.4750, 0.4500]),
        ("chloe", [0.7083, 0.5967, 0.5325, 0.4933, 0.4667, 0.4500]),
    ],
)
def test_pooled_retail_trials_give_the_published_pass_hat_one_to_six(shared, person, expected):
    pooled = defaultdict(list)
    for refiner in ("gpt4o", "gpt5mini"):
        rewards = read_tau2(shared / f"data/tau2-retail-trials/gpt-4o_retail_policy-{person}-{refiner}_3trials.json")
        for item, trials in passes_of(rewards).items():
            pooled[item] += trials
    assert [round(value, 4) for value in pass_curves(pooled)[0]] == expected


@pytest.mark.parametrize(
    ("a", "b", "improved", "regressed", "same"),
    [
        ("tudor-gpt4o", "chloe-gpt4o", 1, 5, 14),
        ("tudor-gpt4o", "tudor-gpt5mini", 5, 4, 11),
        ("chloe-gpt4o", "chloe-gpt5mini", 5, 1, 14),
    ],
)
def test_paired_difference_counts_the_published_improved_and_regressed(shared, a, b, improved, regressed, same):
    folder = shared / "data/tau2-retail-trials"
    one, other = (read_tau2(folder / f"gpt-4o_retail_policy-{name}_3trials.json") for name in (a, b))
    difference = paired_difference(one, other)
    assert (difference.better, difference.worse, difference.equal) == (improved, regressed, same)
    assert difference.low <= difference.value <= difference.high


@pytest.mark.parametrize(
    ("policy", "successes", "expected"),
    [
        ("base-policy", 117, [0.5850, 0.4600, 0.4025, 0.3700, 0.3500]),
        ("refined-10k", 124, [0.6200, 0.4800, 0.4025, 0.3550, 0.3250]),
        ("refined-13k", 122, [0.6100, 0.4600, 0.3750, 0.3250, 0.3000]),
    ],
)
def test_five_trials_give_the_published_totals_and_pass_hat_k(shared, policy, successes, expected):
    content = json.loads((shared / f"data/retail-5trials-outcomes/gpt-4o_{policy}_5trials.json").read_text())
    passes = defaultdict(list)
    for result in content["task_results"]:
        passes[str(result["task_id"])].append(bool(result["success"]))
    assert sum(map(sum, passes.values())) == successes
    assert [round(value, 4) for value in pass_curves(passes)[0]] == expected


def test_telecom_without_a_flaky_task_has_flat_curves(shared):
    rewards = read_tau2(shared / "data/tau2-telecom-4trials/gpt-4.1_telecom_no-user_4trials_5tasks.json")
    hat, at = pass_curves(passes_of(rewards))
    assert [round(value, 4) for value in hat + at] == [0.8] * 8


def test_pass_at_k_and_pass_hat_k_agree_at_k_one_and_are_none_beyond_the_trials():
    assert pass_hat_k(3, 5, 1) == pass_at_k(3, 5, 1) == pytest.approx(0.6)
    assert pass_hat_k(3, 5, 6) is None
    with pytest.raises(ValueError, match="impossible"):
        pass_hat_k(6, 5, 1)


def test_curves_take_only_the_items_that_have_k_trials():
    hat, _ = pass_curves({"a": [True, True], "b": [False]})
    assert hat == [0.5, 1.0]


def test_mean_counts_each_item_once_however_many_trials_it_has():
    mean = mean_with_interval({"a": [1.0, 1.0, 1.0], "b": [0.0]}, scale=(0, 1))
    assert (mean.value, mean.items, mean.scores) == (0.5, 2, 4)
    assert (mean.low, mean.high) == (0.0, 1.0)


def test_mean_interval_is_students_t_over_items():
    mean = mean_with_interval({str(n): [float(n)] for n in range(1, 11)})
    assert mean.value == 5.5
    assert mean.high - mean.value == pytest.approx(2.262157 * 3.0276504 / math.sqrt(10), rel=1e-5)


def test_mean_of_nothing_and_of_one_item_claims_no_interval():
    assert mean_with_interval({}).value is None
    one = mean_with_interval({"a": [0.4], "b": []})
    assert (one.value, one.low, one.items) == (0.4, None, 1)


def test_wilson_of_share_of_known_counts():
    low, high = wilson_of_share(0.8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson_of_share(0.0, 10)[0] == 0.0
    assert wilson_of_share(1.0, 10)[1] == 1.0
    assert wilson_over_items({}) is None


def test_a_difference_present_on_every_item_is_clear_and_its_exact_p_is_two_in_two_to_the_n():
    a = {str(n): [0.2 + n / 100] for n in range(8)}
    b = {str(n): [0.5 + n / 50] for n in range(8)}
    difference = paired_difference(a, b)
    assert difference.is_clear
    assert difference.p_value == pytest.approx(2 / 2**8)
    assert (difference.better, difference.worse) == (8, 0)


def test_equal_scores_give_zero_difference_and_p_one():
    difference = paired_difference({"a": [1.0], "b": [0.0]}, {"a": [1.0], "b": [0.0]})
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1.0)
    assert not difference.is_clear


def test_items_of_one_side_only_are_left_out_of_the_pair():
    assert paired_difference({"a": [1.0], "b": [0.0]}, {"b": [1.0], "c": [1.0]}).items == 1


def test_bootstrap_interval_of_many_items_is_close_to_the_normal_one_and_repeatable():
    a = {str(n): [0.0] for n in range(400)}
    b = {str(n): [math.sin(n) + 0.1] for n in range(400)}
    one, two = paired_difference(a, b), paired_difference(a, b)
    assert one == two
    half = 1.96 * one.spread / 20
    assert one.low == pytest.approx(one.value - half, abs=0.01)
    assert one.high == pytest.approx(one.value + half, abs=0.01)


def test_differences_of_few_values_have_the_interval_and_the_p_of_theory():
    worse, better, equal = 30, 50, 20
    b = {str(n): [value] for n, value in enumerate([-1.0] * worse + [1.0] * better + [0.0] * equal)}
    found = paired_difference({item: [0.0] for item in b}, b)
    half = 1.96 * found.spread / 10
    assert (found.low, found.high) == (pytest.approx(0.2 - half, abs=0.02), pytest.approx(0.2 + half, abs=0.02))
    count = worse + better
    exact = 2 * sum(math.comb(count, k) for k in range(better, count + 1)) / 2**count
    assert found.p_value == pytest.approx(exact, abs=0.006)  # 10,000 draws
    backwards = {item: b[item] for item in reversed(list(b))}
    assert paired_difference({item: [0.0] for item in backwards}, backwards) == found


def test_holm_steps_down_keeps_order_and_leaves_none_alone():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    pair = paired_difference({"a": [0.0], "b": [0.0]}, {"a": [1.0], "b": [1.0]})
    assert [entry.p_adjusted for entry in with_holm([pair, pair])] == [1.0, 1.0]


def test_items_needed_and_detectable_difference_are_each_others_inverse():
    needed = items_needed(spread=0.5, difference=0.1)
    assert needed == 197
    assert detectable_difference(0.5, needed) == pytest.approx(0.1, rel=0.01)
    assert items_needed(0.5, 0) is None


def test_percentiles_lie_between_neighbours():
    assert percentile([], 0.5) is None
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5
    assert percentile([1.0], 0.95) == 1.0


def test_histogram_counts_every_value_and_puts_the_top_of_the_scale_into_the_last_bin():
    bins = histogram([0.0, 0.05, 1.0, 7.0], low=0, high=1, bins=10)
    assert [count for _, _, count in bins] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_wilson_over_items_is_plain_wilson_with_one_trial_and_wider_where_trials_agree():
    once = {str(n): [n < 8] for n in range(10)}
    assert wilson_over_items(once) == pytest.approx(wilson_of_share(0.8, 10), abs=0.02)
    alike = {item: trials * 5 for item, trials in once.items()}
    assert wilson_over_items(alike) == pytest.approx(wilson_over_items(once))
    mixed = {str(n): [True, True, True, True, n % 2 == 0] for n in range(10)}
    low, high = wilson_over_items(mixed)
    assert high - low < 0.25
    assert wilson_over_items({}) is None
