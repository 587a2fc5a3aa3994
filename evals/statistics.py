"""From scores to means, intervals, paired differences and a verdict. Pure; numpy and scipy are loaded on first use.

Values of one grader come as `{item: [value of each trial]}`: items are the independent unit, trials of one item are not, so every
interval is over items and each item counts once, however many of its trials were scored.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist, fmean

LEVEL = 0.95
RESAMPLES = 10_000
EXACT_SIGNS_UP_TO = 14  # items: 2**14 sign patterns are all tried, beyond it RESAMPLES random ones
FEW_VALUES = 4  # items for each distinct difference: from then on draws are counted, not made one by one
BOOTSTRAP_UP_TO = 2_000  # items: beyond it the t interval is as good and costs nothing
Z_TWO_SIDED = 1.959964  # of 95%
Z_POWER = 0.841621  # of 80%
SMALLEST_P = 1e-12

Values = Mapping[str, Sequence[float]]
Passes = Mapping[str, Sequence[bool]]


@dataclass(frozen=True)
class Mean:
    """A mean over items with its 95% interval; the ends are None where fewer than two items were scored."""

    value: float | None
    low: float | None
    high: float | None
    items: int
    scores: int


@dataclass(frozen=True)
class Difference:
    """How b differs from a, item by item. `p_value` is of the paired sign-flip permutation test, `p_adjusted` after Holm."""

    items: int
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    better: int
    worse: int
    equal: int
    spread: float | None  # standard deviation of the per-item differences
    p_adjusted: float | None = None

    @property
    def is_clear(self) -> bool:
        """Say whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def is_sure(self) -> bool:
        """Say whether it is clear also after correction for the other tests of its family, where it has one."""
        return self.is_clear and (self.p_adjusted is None or self.p_adjusted <= 1 - LEVEL)


def item_means(values: Values) -> dict[str, float]:
    """Return each item's mean over its trials; items without a value are left out."""
    return {item: fmean(trials) for item, trials in values.items() if trials}


def mean_with_interval(values: Values, *, scale: tuple[float, float] | None = None) -> Mean:
    """Return the mean of the item means with its t interval over items, cut to the scale."""
    means = list(item_means(values).values())
    scores = sum(len(trials) for trials in values.values())
    if not means:
        return Mean(None, None, None, 0, 0)
    value = fmean(means)
    half = t_half_width(means)
    if half is None:
        return Mean(value, None, None, len(means), scores)
    low, high = value - half, value + half
    if scale is not None:
        low, high = max(low, scale[0]), min(high, scale[1])
    return Mean(value, low, high, len(means), scores)


def t_half_width(values: Sequence[float]) -> float | None:
    """Return half the width of the 95% t interval of a mean, or None below two values."""
    count = len(values)
    if count < 2:
        return None
    return t_quantile(count - 1) * standard_deviation(values) / math.sqrt(count)


@lru_cache(maxsize=4096)
def t_quantile(degrees: int) -> float:
    """Return Student's t at 97.5%."""
    from scipy.special import stdtrit  # scipy.stats has the same and takes seconds to load

    return float(stdtrit(degrees, 0.5 + LEVEL / 2))


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation; 0 below two values."""
    if len(values) < 2:
        return 0.0
    centre = fmean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def wilson_of_share(share: float, size: float) -> tuple[float, float]:
    """Return the Wilson interval of a share seen in `size` independent trials; the size may be a fraction."""
    z2 = Z_TWO_SIDED**2
    centre = (share + z2 / (2 * size)) / (1 + z2 / size)
    half = Z_TWO_SIDED / (1 + z2 / size) * math.sqrt(share * (1 - share) / size + z2 / (4 * size**2))
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def wilson_over_items(passes: Passes) -> tuple[float, float] | None:
    """Return the Wilson interval of the mean pass rate of items, or None without trials.

    Trials of one item are alike, so they count for less than independent ones: the size is that of a simple sample with the same
    variance of the mean, at least the number of items and at most that of the trials. With one trial an item it is plain Wilson.
    """
    rates = [sum(trials) / len(trials) for trials in passes.values() if trials]
    if not rates:
        return None
    items, trials = len(rates), sum(map(len, passes.values()))
    share = fmean(rates)
    variance = standard_deviation(rates) ** 2 / items
    size = share * (1 - share) / variance if variance > 0 else items
    return wilson_of_share(share, min(trials, max(items, size)))


def pass_hat_k(successes: int, trials: int, k: int) -> float | None:
    """Estimate the chance that k independent trials of one item all pass.

    Takes counts for one item (0 <= successes <= trials); k is in trials.
    Returns a probability in [0, 1], or None when trials < k. Raises ValueError for impossible counts.
    Source: Yao et al. 2024, tau-bench, unbiased pass^k = C(successes, k) / C(trials, k).
    """
    check_counts(successes, trials, k)
    return None if trials < k else math.comb(successes, k) / math.comb(trials, k)


def pass_at_k(successes: int, trials: int, k: int) -> float | None:
    """Estimate the chance that at least one of k independent trials of one item passes.

    As `pass_hat_k`. Source: Chen et al. 2021, unbiased pass@k = 1 - C(trials - successes, k) / C(trials, k).
    """
    check_counts(successes, trials, k)
    return None if trials < k else 1 - math.comb(trials - successes, k) / math.comb(trials, k)


def check_counts(successes: int, trials: int, k: int) -> None:
    if not 0 <= successes <= trials or k < 1:
        raise ValueError(f"{successes} successes in {trials} trials with k = {k} are impossible.")


def pass_curves(passes: Passes) -> tuple[list[float | None], list[float | None]]:
    """Return pass^k and pass@k for k = 1 up to the most trials of an item, each the mean over items with k trials or more."""
    counts = [(sum(trials), len(trials)) for trials in passes.values() if trials]
    most = max((trials for _, trials in counts), default=0)
    hat: list[float | None] = []
    at: list[float | None] = []
    for k in range(1, most + 1):
        able = [(good, trials) for good, trials in counts if trials >= k]
        hat.append(fmean(pass_hat_k(good, trials, k) or 0.0 for good, trials in able))
        at.append(fmean(pass_at_k(good, trials, k) or 0.0 for good, trials in able))
    return hat, at


def paired_difference(a: Values, b: Values, *, tolerance: float = 1e-9) -> Difference:
    """Compare b with a on the items that both have. Positive means that b is higher.

    The interval is the percentile bootstrap over items (beyond BOOTSTRAP_UP_TO items the t interval); the seed is fixed, so the same
    scores give the same figures.
    """
    means_a, means_b = item_means(a), item_means(b)
    differences = [means_b[item] - means_a[item] for item in means_a if item in means_b]
    better = sum(difference > tolerance for difference in differences)
    worse = sum(difference < -tolerance for difference in differences)
    equal = len(differences) - better - worse
    if not differences:
        return Difference(0, None, None, None, None, 0, 0, 0, None)
    value = fmean(differences)
    if len(differences) < 2:
        return Difference(1, value, None, None, None, better, worse, equal, None)
    low, high = bootstrap_interval(differences)
    return Difference(
        items=len(differences),
        value=value,
        low=low,
        high=high,
        p_value=sign_flip_p(differences),
        better=better,
        worse=worse,
        equal=equal,
        spread=standard_deviation(differences),
    )


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of the mean of two or more differences."""
    count = len(differences)
    centre = fmean(differences)
    if max(differences) == min(differences):
        return centre, centre
    if count > BOOTSTRAP_UP_TO:
        half = t_half_width(differences) or 0.0
        return centre - half, centre + half
    import numpy as np

    random = np.random.default_rng(20240601)
    values, times = np.unique(np.asarray(differences), return_counts=True)
    if (
        len(values) * FEW_VALUES <= count
    ):  # how often each value is drawn is all that matters: the same, in a tenth of the time
        means = random.multinomial(count, times / count, RESAMPLES) @ values / count
    else:
        source = np.asarray(differences)
        per_chunk = max(1, 2_000_000 // count)
        means = np.concatenate(
            [
                source[random.integers(0, count, (min(per_chunk, RESAMPLES - done), count), dtype=np.int32)].mean(
                    axis=1
                )
                for done in range(0, RESAMPLES, per_chunk)
            ]
        )
    low, high = np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the paired sign-flip permutation test: were the labels a and b exchangeable?"""
    import numpy as np

    source = np.asarray([difference for difference in differences if difference != 0.0])
    count = len(source)
    if count == 0:
        return 1.0
    observed = abs(float(source.sum())) - 1e-12 * float(np.abs(source).sum())
    if count <= EXACT_SIGNS_UP_TO:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1 - 2 * bits) @ source) >= observed).mean())
    random = np.random.default_rng(20240602)
    sizes, times = np.unique(np.abs(source), return_counts=True)
    if len(sizes) * FEW_VALUES <= count:
        sums = (2 * random.binomial(times, 0.5, (RESAMPLES, len(sizes))) - times) @ sizes
        return (int((np.abs(sums) >= observed).sum()) + 1) / (RESAMPLES + 1)
    per_chunk = max(1, 2_000_000 // count)
    extreme = 0
    for done in range(0, RESAMPLES, per_chunk):
        shape = (min(per_chunk, RESAMPLES - done), count)
        signs = random.integers(0, 2, shape, dtype=np.int8).astype(np.float64) * 2 - 1
        extreme += int((np.abs(signs @ source) >= observed).sum())
    return (extreme + 1) / (RESAMPLES + 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p-values, in the order given; None stays None and does not count."""
    ranked = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(ranked):
        highest = max(highest, min(1.0, p * (len(ranked) - rank)))
        adjusted[place] = highest
    return adjusted


def with_holm(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences with their adjusted p-values: all graders and pairs of one comparison are one family."""
    adjusted = holm([difference.p_value for difference in differences])
    return [replace(difference, p_adjusted=p) for difference, p in zip(differences, adjusted, strict=True)]


def detectable_difference(spread: float, items: int) -> float | None:
    """Return the smallest true difference that this many items would show in 80 of 100 comparisons; None below two items."""
    if items < 2:
        return None
    return (Z_TWO_SIDED + Z_POWER) * spread / math.sqrt(items)


def items_needed(spread: float, difference: float) -> int | None:
    """Return how many items show a true difference of this size in 80 of 100 comparisons; None for no difference."""
    if difference == 0:
        return None
    return max(2, math.ceil(((Z_TWO_SIDED + Z_POWER) * spread / abs(difference)) ** 2))


def items_to_be_sure(items: int, p_value: float, p_adjusted: float | None = None) -> int | None:
    """Return about how many items have a test of p_value pass in 80 of 100 comparisons, if the difference is what it seems.

    As the test's own z grows with the root of the items. `p_adjusted`: after correction, which is then asked for as well; it may
    be cut to 1, and the answer is too small then. None where the items show no difference at all.
    """
    if p_value >= 1:
        return None
    normal = NormalDist()
    seen = normal.inv_cdf(1 - max(p_value, SMALLEST_P) / 2)
    level = (1 - LEVEL) * min(1.0, p_value / p_adjusted if p_adjusted else 1.0)
    asked = normal.inv_cdf(1 - max(level, SMALLEST_P) / 2) + Z_POWER
    return max(items + 1, math.ceil(items * (asked / seen) ** 2))


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which `share` of the values lie, between neighbours by straight line; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def histogram(values: Sequence[float], *, low: float, high: float, bins: int = 10) -> list[tuple[float, float, int]]:
    """Return (from, to, count) of equal bins over the scale; values outside it join the outermost bins."""
    if high <= low:
        return [(low, high, len(values))] if values else []
    width = (high - low) / bins
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int((value - low) / width)))] += 1
    return [(low + place * width, low + (place + 1) * width, count) for place, count in enumerate(counts)]
