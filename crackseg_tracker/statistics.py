"""Statistics over a handful of trainings, said with their method: pure functions of numbers.

Few seeds say little, and these functions do not say more: where there are too few values, there is a reason in place
of an interval or a p-value.

Methods and their sources:

- Interval of a mean: the bias-corrected and accelerated bootstrap, BCa (Efron 1987, *Better bootstrap confidence
  intervals*, JASA 82). Of up to 7 values, all resamples are gone through, without any random number (Fisher & Hall
  1991, *Bootstrap algorithms for small samples*, J. Stat. Plan. Inference 27); of up to 32, a seeded sample of them.
  Of more, the bounds are those that BCa comes to without resampling: approximate bootstrap confidence, ABC (DiCiccio &
  Efron 1992, *More accurate confidence intervals in exponential families*, Biometrika 79).
  Bootstrap intervals are too narrow for few values (Hesterberg 2015, *What teachers should know about the bootstrap*,
  Am. Stat. 69): for normal values, one of 95 % holds the true mean in about 73 % of cases with 3 values, 83 % with 5,
  91 % with 10.
- Two groups: the unequal variances t test (Welch 1947, *The generalization of "Student's" problem*, Biometrika 34);
  pairs: the paired t test (Student 1908, *The probable error of a mean*, Biometrika 6).
- Effect size of two groups: g, the difference in pooled standard deviations, corrected for few values (Hedges 1981,
  *Distribution theory for Glass's estimator of effect size*, J. Educ. Stat. 6); of pairs: d_z, the mean difference in
  standard deviations of the differences (Lakens 2013, *Calculating and reporting effect sizes*, Front. Psychol. 4).
- Several tests: step-down adjusted p-values (Holm 1979, *A simple sequentially rejective multiple test procedure*,
  Scand. J. Stat. 6).
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import accumulate, combinations_with_replacement
from operator import itemgetter
from statistics import NormalDist
from typing import Any, NamedTuple, cast

from crackseg_tracker.rows import ParamValue

#: With fewer values there is no interval: two say nothing about their spread.
LEAST_FOR_INTERVAL = 3
#: With fewer values in a group (or fewer pairs) there is no p-value, unless the caller insists: t tests assume values
#: that are about normal, and of fewer nobody can see whether they are.
LEAST_FOR_TEST = 5
#: Up to so many values all resamples are gone through: 1,716 different ones of 7.
MOST_FOR_ALL_RESAMPLES = 7
#: Up to so many values there are resamples at all: beyond, they give what ABC gives, for a thousand times the work.
MOST_FOR_RESAMPLES = 32
RESAMPLES = 2000
_FEW = 10
_NORMAL = NormalDist()

_Pick = Callable[[Sequence[float]], tuple[float, ...]]


class StatisticsRow(NamedTuple):
    """A metric over the experiments of a group: ``n`` count, the others are counted as what they lack."""

    #: The params that tell the group from the others.
    group: Mapping[str, ParamValue]
    metric: str
    n: int
    mean: float | None
    sd: float | None
    median: float | None
    min: float | None
    max: float | None
    #: The confidence interval of the mean, and how it was found or why there is none.
    low: float | None
    high: float | None
    interval: str
    #: Left out: without the metric, with NaN or an infinity, not completed (when no status was asked for).
    missing: int
    non_finite: int
    unfinished: int
    experiments: tuple[str, ...]


class ContrastRow(NamedTuple):
    """How two groups compare in a metric; ``difference`` is a's mean minus b's, ``low`` and ``high`` bound it.

    Where there is no p-value, ``reason`` says why.
    """

    metric: str
    a: str
    b: str
    n_a: int
    n_b: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    #: "a" or "b", by the metric's mode; "" where the means are equal or missing.
    better: str
    statistic: float | None
    df: float | None
    p_value: float | None
    #: Adjusted for the number of pairs that were tested together.
    p_holm: float | None
    effect_size: float | None
    effect: str
    method: str
    reason: str
    #: Left out of both groups: as in `StatisticsRow`, and what found no partner.
    missing: int
    non_finite: int
    unfinished: int
    unpaired: int


class Sample(NamedTuple):
    """The finite values of a group by experiment, and how many experiments are left out, by why."""

    values: dict[str, float]
    missing: int
    non_finite: int
    unfinished: int


def sample_of(members: Iterable[tuple[str, str, float | None]], *, any_status: bool) -> Sample:
    """Take the values that count, and count the others.

    Args:
        members: Id, status and value of each experiment; None is no value.
        any_status: False leaves out what is not completed.

    Example:
        >>> members = [("a", "completed", 0.5), ("b", "completed", math.nan), ("c", "failed", 0.1)]
        >>> sample_of(members, any_status=False)
        Sample(values={'a': 0.5}, missing=0, non_finite=1, unfinished=1)
    """
    values: dict[str, float] = {}
    missing = non_finite = unfinished = 0
    for experiment_id, status, value in members:
        if status != "completed" and not any_status:
            unfinished += 1
        elif value is None:
            missing += 1
        elif not math.isfinite(value):
            non_finite += 1
        else:
            values[experiment_id] = value
    return Sample(values, missing, non_finite, unfinished)


class Interval(NamedTuple):
    """A confidence interval of a mean; without bounds where ``method`` says why."""

    low: float | None
    high: float | None
    method: str


class Summary(NamedTuple):
    """What a group of finite values is like; ``sd`` with n - 1, None of a single value."""

    n: int
    mean: float | None
    sd: float | None
    median: float | None
    min: float | None
    max: float | None
    interval: Interval


def summarize(
    values: Sequence[float], confidence: float = 0.95, resamples: int = RESAMPLES, random_seed: int = 0
) -> Summary:
    """Sum up finite values. Their order does not count, and the same values give the same answer always.

    Args:
        values: Finite, shape (n,).
        confidence: Of the interval, from 0.5 to 0.999.
        resamples: Of the bootstrap, with 8 to 32 values.
        random_seed: Of the bootstrap, with 8 to 32 values.

    Example:
        >>> found = summarize([0.70, 0.72, 0.71])
        >>> round(found.mean, 4), round(found.sd, 4), found.median
        (0.71, 0.01, 0.71)
        >>> found.interval.method
        'BCa bootstrap of the mean, all resamples (too narrow for few values)'
    """
    ordered = sorted(values)  # so that no rounding depends on the order in which they came
    n = len(ordered)
    if n == 0:
        return Summary(0, None, None, None, None, None, _too_few(0))
    average = mean(ordered)
    middle = mean(ordered[(n - 1) // 2 : n // 2 + 1])
    interval = bootstrap_interval(ordered, confidence, resamples, random_seed)
    return Summary(n, average, sd(ordered), middle, ordered[0], ordered[-1], interval)


def mean(values: Sequence[float]) -> float:
    """Give the mean, correctly rounded but for the division, and never outside of the values."""
    try:
        average = math.fsum(values) / len(values)
    except OverflowError:
        # A power of two divides exactly, and n values so divided sum up to the largest at most.
        scale = 2.0 ** (len(values) - 1).bit_length()
        average = math.fsum(value / scale for value in values) * (scale / len(values))
    return min(max(average, min(values)), max(values))


def sd(values: Sequence[float]) -> float | None:
    """Give the standard deviation of a sample (n - 1); None of a single value.

    Example:
        >>> sd([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
        2.138089935299395
    """
    if len(values) < 2:
        return None
    average = mean(values)
    # hypot scales, so that neither huge nor tiny values are lost in their squares
    return math.hypot(*(value - average for value in values)) / math.sqrt(len(values) - 1)


# The bootstrap


def bootstrap_interval(
    ordered: Sequence[float], confidence: float = 0.95, resamples: int = RESAMPLES, random_seed: int = 0
) -> Interval:
    """Give the BCa bootstrap interval of the mean of sorted values."""
    n = len(ordered)
    if n < LEAST_FOR_INTERVAL:
        return _too_few(n)
    average = mean(ordered)
    scale = max(ordered[-1] - average, average - ordered[0])
    if scale == 0.0:
        return Interval(average, average, "all values are equal")
    if not math.isfinite(scale):
        return Interval(None, None, "the values are too far apart")
    # Deviations between -1 and 1: no sum or cube of them overflows or vanishes.
    deviations = [(value - average) / scale for value in ordered]
    # Of a mean, the jackknife's skewness is that of the values (Efron 1987, section 7).
    squares = math.fsum(d * d for d in deviations)
    acceleration = math.fsum(d**3 for d in deviations) / (6 * squares**1.5)
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    if n > MOST_FOR_RESAMPLES:
        low, high = (_abc(tail, acceleration) * math.sqrt(squares) / n for tail in tails)
        method = "ABC bootstrap of the mean"
    else:
        is_all = n <= MOST_FOR_ALL_RESAMPLES
        means, weights = _all_means(deviations) if is_all else _some_means(deviations, resamples, random_seed)
        low, high = (_bca(tail, acceleration, means, weights) for tail in tails)
        method = f"BCa bootstrap of the mean, {'all' if is_all else resamples} resamples"
    method += " (too narrow for few values)" if n < _FEW else ""
    # Rounding must not put the bounds outside of the values.
    low, high = max(average + scale * low, ordered[0]), min(average + scale * high, ordered[-1])
    return Interval(low, high, method)


def _too_few(n: int) -> Interval:
    return Interval(None, None, f"n too small: {n}, an interval takes {LEAST_FOR_INTERVAL}")


def _abc(tail: float, acceleration: float) -> float:
    """Give a bound of a mean in its standard errors; the bias correction of a mean is its acceleration."""
    z = acceleration + _NORMAL.inv_cdf(tail)
    return z / (1 - acceleration * z) ** 2


def _bca(tail: float, acceleration: float, means: Sequence[float], weights: Sequence[float]) -> float:
    """Read a bound off the sorted means of resamples, as deviations from the mean.

    Args:
        tail: How probable less is.
        acceleration: Of the values.
        means: Of the resamples, sorted.
        weights: How probable each is, added up.
    """
    # A mean of a resample equals the mean but for its rounding.
    below, upto = bisect_left(means, -1e-12), bisect_right(means, 1e-12)
    share = ((weights[below - 1] if below else 0.0) + (weights[upto - 1] if upto else 0.0)) / 2
    tiny = 1 / (2 * len(means))
    bias = _NORMAL.inv_cdf(min(max(share, tiny), 1 - tiny))
    z = bias + _NORMAL.inv_cdf(tail)
    wanted = _NORMAL.cdf(bias + z / (1 - acceleration * z))
    return means[min(bisect_left(weights, wanted - 1e-12), len(means) - 1)]


def _all_means(deviations: Sequence[float]) -> tuple[list[float], list[float]]:
    """Give the mean of every resample, sorted, and their probabilities, added up."""
    n = len(deviations)
    drawn = sorted((math.fsum(pick(deviations)) / n, weight) for pick, weight in _all_picks(n))
    return [m for m, _ in drawn], list(accumulate(weight for _, weight in drawn))


def _some_means(deviations: Sequence[float], resamples: int, random_seed: int) -> tuple[list[float], list[float]]:
    n = len(deviations)
    means = sorted(math.fsum(pick(deviations)) / n for pick in _some_picks(n, resamples, random_seed))
    return means, [(i + 1) / resamples for i in range(resamples)]


@lru_cache(maxsize=8)
def _all_picks(n: int) -> tuple[tuple[_Pick, float], ...]:
    """Give each set of n places out of n, repetitions allowed, with its multinomial probability."""
    found: list[tuple[_Pick, float]] = []
    for places in combinations_with_replacement(range(n), n):
        orders = math.factorial(n) // math.prod(math.factorial(count) for count in Counter(places).values())
        found.append((_pick(places), orders / n**n))
    return tuple(found)


@lru_cache(maxsize=8)
def _some_picks(n: int, resamples: int, random_seed: int) -> tuple[_Pick, ...]:
    """Draw places once for all groups of a size: drawing costs more than adding up."""
    choices = random.Random(random_seed).choices
    return tuple(_pick(choices(range(n), k=n)) for _ in range(resamples))


def _pick(places: Sequence[int]) -> _Pick:
    return cast(Any, itemgetter)(*places)


# Tests


class Contrast(NamedTuple):
    """How two groups compare, ``difference`` being a's mean minus b's.

    Where there is no p-value, ``reason`` says why. ``low`` and ``high`` bound the difference.
    """

    n_a: int
    n_b: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    statistic: float | None
    df: float | None
    p_value: float | None
    effect_size: float | None
    effect: str
    method: str
    reason: str


def welch(a: Sequence[float], b: Sequence[float], confidence: float = 0.95, least: int = LEAST_FOR_TEST) -> Contrast:
    """Compare the means of two groups of finite values, whose spreads may differ.

    Args:
        a: Shape (n_a,).
        b: Shape (n_b,).
        confidence: Of the interval of the difference.
        least: Values that each group must have for a p-value, from 2.

    Raises:
        ModuleNotFoundError: A p-value is due, and SciPy is missing: ``pip install 'crackseg_tracker[statistics]'``.
    """
    a, b = sorted(a), sorted(b)
    known = _Known(len(a), len(b), "Welch's t test", "Hedges' g", hedges_g(a, b))
    if min(len(a), len(b)) < least:
        smaller = min(len(a), len(b))
        return _untested(known, a, b, f"n too small: {smaller} in a group, a p-value takes {least}")
    error_a, error_b = (sd(a) or 0.0) / math.sqrt(len(a)), (sd(b) or 0.0) / math.sqrt(len(b))
    error = math.hypot(error_a, error_b)
    if error == 0.0:
        return _untested(known, a, b, "no spread: all values of each group are equal")
    if not math.isfinite(error):
        return _untested(known, a, b, "the values are too far apart")
    # As shares of the whole, for the fourth powers of small errors would vanish.
    df = 1 / ((error_a / error) ** 4 / (len(a) - 1) + (error_b / error) ** 4 / (len(b) - 1))
    return _tested(known, (mean(a), mean(b)), mean(a) - mean(b), error, df, confidence)


def paired(a: Sequence[float], b: Sequence[float], confidence: float = 0.95, least: int = LEAST_FOR_TEST) -> Contrast:
    """Compare pairs of finite values, such as two models trained with the same seeds.

    Args:
        a: Shape (n,).
        b: Shape (n,), in the same order.
        confidence: Of the interval of the difference.
        least: Pairs that there must be for a p-value, from 2.

    Raises:
        ModuleNotFoundError: A p-value is due, and SciPy is missing: ``pip install 'crackseg_tracker[statistics]'``.
    """
    differences = sorted(x - y for x, y in zip(a, b, strict=True))
    spread = sd(differences)
    effect = mean(differences) / spread if spread and math.isfinite(spread) else None
    known = _Known(len(a), len(b), "paired t test", "d_z", effect)
    if len(differences) < least:
        return _untested(known, a, b, f"n too small: {len(differences)} pairs, a p-value takes {least}")
    if not spread:
        return _untested(known, a, b, "no spread: the differences of all pairs are equal")
    if not math.isfinite(spread):
        return _untested(known, a, b, "the values are too far apart")
    error = spread / math.sqrt(len(differences))
    return _tested(known, (mean(a), mean(b)), mean(differences), error, len(differences) - 1, confidence)


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Give the difference of the means in pooled standard deviations, corrected for few values.

    None where there is no spread, or only a value in each group.
    """
    df = len(a) + len(b) - 2
    if not a or not b or df < 1:
        return None
    pooled = math.hypot((sd(a) or 0.0) * math.sqrt(len(a) - 1), (sd(b) or 0.0) * math.sqrt(len(b) - 1)) / math.sqrt(df)
    if pooled == 0.0 or df < 2:
        return None
    correction = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
    return correction * (mean(a) - mean(b)) / pooled


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p-values of several tests so that all of them hold together; None was no test.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        adjusted[i] = highest = max(highest, min(1.0, (len(order) - rank) * p))
    return adjusted


class _Known(NamedTuple):
    n_a: int
    n_b: int
    method: str
    effect: str
    effect_size: float | None


def _untested(known: _Known, a: Sequence[float], b: Sequence[float], reason: str) -> Contrast:
    mean_a, mean_b = mean(a) if a else None, mean(b) if b else None
    difference = None if mean_a is None or mean_b is None else mean_a - mean_b
    nothing = dict.fromkeys(("low", "high", "statistic", "df", "p_value"))
    return Contrast(**known._asdict(), mean_a=mean_a, mean_b=mean_b, difference=difference, reason=reason, **nothing)


def _tested(
    known: _Known, means: tuple[float, float], difference: float, error: float, df: float, confidence: float
) -> Contrast:
    special = _scipy_special()
    statistic = difference / error
    half = float(special.stdtrit(df, (1 + confidence) / 2)) * error
    return Contrast(
        **known._asdict(),
        mean_a=means[0],
        mean_b=means[1],
        difference=difference,
        low=difference - half,
        high=difference + half,
        statistic=statistic,
        df=float(df),
        p_value=min(1.0, 2 * float(special.stdtr(df, -abs(statistic)))),
        reason="",
    )


def _scipy_special() -> Any:
    """Load Student's t distribution: only a p-value needs it."""
    try:
        return import_module("scipy.special")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "scipy":
            raise
        raise ModuleNotFoundError(
            "a p-value needs SciPy: pip install 'crackseg_tracker[statistics]'", name="scipy"
        ) from error
