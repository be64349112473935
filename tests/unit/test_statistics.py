"""Against worked examples of the literature, SciPy, and what must hold for any numbers."""

import math
import sys
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crackseg_tracker.statistics import (
    bootstrap_interval,
    hedges_g,
    holm,
    mean,
    paired,
    sd,
    summarize,
    welch,
)

unhurried = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
anything = st.floats(allow_nan=False, allow_infinity=False)

# Student (1908), from Cushny and Peebles: hours of sleep gained with two forms of a drug, by ten patients.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

# Darwin's maize (Fisher 1935, The Design of Experiments, chapter 3): heights in eighths of an inch, crossed minus self.
MAIZE = [49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_students_sleep() -> None:
    found = paired(LAEVO, DEXTRO)
    assert found.difference == pytest.approx(1.58)
    assert found.statistic == pytest.approx(4.0621, abs=1e-4)
    assert found.df == 9
    assert found.p_value == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(0.7001, abs=1e-4), pytest.approx(2.4599, abs=1e-4))
    assert found.effect_size == pytest.approx(4.0621 / math.sqrt(10), abs=1e-4)
    assert (found.effect, found.method, found.reason) == ("d_z", "paired t test", "")


def test_the_sleep_as_if_unpaired() -> None:
    """As R's t.test(extra ~ group, data = sleep) says."""
    found = welch(LAEVO, DEXTRO)
    assert found.statistic == pytest.approx(1.8608, abs=1e-4)
    assert found.df == pytest.approx(17.776, abs=1e-3)
    assert found.p_value == pytest.approx(0.07939, abs=1e-5)
    assert (found.low, found.high) == (pytest.approx(-0.2054832, abs=1e-6), pytest.approx(3.3654832, abs=1e-6))
    assert (found.effect, found.method) == ("Hedges' g", "Welch's t test")


def test_darwins_maize() -> None:
    """Fisher finds t = 2.148 with 14 degrees of freedom, just beyond 5 %."""
    found = paired(MAIZE, [0.0] * 15)
    assert found.statistic == pytest.approx(2.148, abs=1e-3)
    assert found.p_value == pytest.approx(0.0497, abs=1e-4)


def test_hedges_g_by_hand() -> None:
    """Means 5 and 3, pooled standard deviation sqrt(2.5), and J(8) = 0.9027 (Hedges 1981, table 1)."""
    g = hedges_g([3.0, 4, 5, 6, 7], [1.0, 2, 3, 4, 5])
    assert g == pytest.approx(2 / math.sqrt(2.5) * 0.9027, abs=1e-4)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([None, 0.04, None]) == [None, 0.04, None]


@pytest.mark.parametrize("seed", range(5))
def test_as_scipy(seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = draw.normal(0.7, 0.1, 5 + seed), draw.normal(0.75, 0.02, 9 - seed)
    ours, theirs = welch(a.tolist(), b.tolist(), 0.9), scipy.stats.ttest_ind(a, b, equal_var=False)
    interval = theirs.confidence_interval(0.9)
    assert [ours.statistic, ours.df, ours.p_value, ours.low, ours.high] == pytest.approx(
        [theirs.statistic, theirs.df, theirs.pvalue, interval.low, interval.high]
    )
    shorter = min(len(a), len(b))
    ours, theirs = paired(a[:shorter].tolist(), b[:shorter].tolist()), scipy.stats.ttest_rel(a[:shorter], b[:shorter])
    interval = theirs.confidence_interval(0.95)
    assert [ours.statistic, ours.df, ours.p_value, ours.low, ours.high] == pytest.approx(
        [theirs.statistic, theirs.df, theirs.pvalue, interval.low, interval.high]
    )


@pytest.mark.parametrize("n", [6, 7, 8, 15, 32, 33, 200])
def test_the_interval_as_scipys_bca(n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    ours = bootstrap_interval(sorted(values.tolist()), resamples=5000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", random_state=1
    ).confidence_interval
    tolerance = 0.05 * (theirs.high - theirs.low)
    assert (ours.low, ours.high) == (
        pytest.approx(theirs.low, abs=tolerance),
        pytest.approx(theirs.high, abs=tolerance),
    )


def test_what_the_interval_says_of_itself() -> None:
    methods = [bootstrap_interval([float(i) for i in range(n)]).method for n in (1, 2, 3, 8, 10, 33)]
    assert methods == [
        "n too small: 1, an interval takes 3",
        "n too small: 2, an interval takes 3",
        "BCa bootstrap of the mean, all resamples (too narrow for few values)",
        "BCa bootstrap of the mean, 2000 resamples (too narrow for few values)",
        "BCa bootstrap of the mean, 2000 resamples",
        "ABC bootstrap of the mean",
    ]


def test_the_interval_of_three_values_by_hand() -> None:
    """All 27 resamples of -1, 0, 1: the bias and the acceleration are 0, so 2.5 % is the lowest mean (1 of 27)."""
    assert bootstrap_interval([-1.0, 0.0, 1.0])[:2] == (-1.0, 1.0)
    # At 80 %, 10 % of 27 is the third lowest: -2/3, after -1 once and -2/3 thrice.
    low, high, _ = bootstrap_interval([-1.0, 0.0, 1.0], 0.8)
    assert (low, high) == (pytest.approx(-2 / 3), pytest.approx(2 / 3))


def test_few_or_equal_values() -> None:
    assert summarize([])[:6] == (0, None, None, None, None, None)
    assert summarize([0.5])[:6] == (1, 0.5, None, 0.5, 0.5, 0.5)
    two = summarize([0.25, 0.75])
    assert two[:6] == (2, 0.5, pytest.approx(0.3535534), 0.5, 0.25, 0.75)
    assert (two.interval.low, two.interval.high) == (None, None)


@pytest.mark.parametrize("test", [welch, paired])
def test_too_few_for_a_p_value(test: Any) -> None:
    found = test([1.0, 2, 3, 5], [2.0, 4, 5, 5])
    assert (found.p_value, found.low, found.statistic) == (None, None, None)
    assert found.reason.startswith("n too small: 4 ")
    assert found.difference == -1.25
    assert found.effect_size is not None
    assert test([1.0, 2, 3, 5], [2.0, 4, 5, 5], least=4).p_value is not None


@pytest.mark.parametrize("test", [welch, paired])
@pytest.mark.parametrize("values", [([], []), ([1.0], [2.0])])
def test_hardly_any_values(test: Any, values: Any) -> None:
    found = test(*values)
    assert (found.p_value, found.effect_size) == (None, None)
    assert found.reason.startswith("n too small")


@pytest.mark.parametrize("test", [welch, paired])
def test_no_spread(test: Any) -> None:
    found = test([1.0] * 6, [2.0] * 6)
    assert (found.p_value, found.effect_size, found.difference) == (None, None, -1.0)
    assert found.reason.startswith("no spread")


@pytest.mark.parametrize("test", [welch, paired])
def test_values_at_the_ends_of_the_doubles(test: Any) -> None:
    huge = [1.7e308, -1.7e308, 1e308, 0.0, 5.0]
    assert test(huge, huge[::-1]).reason == "the values are too far apart"
    tiny = test([1e-300, 2e-300, 3e-300, 4e-300, 5e-300], [2e-300, 2e-300, 3e-300, 4e-300, 6e-300])
    usual = test([1.0, 2, 3, 4, 5], [2.0, 2, 3, 4, 6])
    assert tiny.p_value == pytest.approx(usual.p_value)


@pytest.mark.parametrize("test", [welch, paired])
def test_without_scipy(test: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'crackseg_tracker\[statistics\]'"):
        test(LAEVO, DEXTRO)
    assert test(LAEVO[:3], DEXTRO[:3]).reason.startswith("n too small")
    assert summarize(LAEVO).interval.low is not None


@unhurried
@given(st.lists(anything, min_size=1, max_size=12), st.randoms())
def test_the_order_of_values_does_not_count(values: list[float], random: Any) -> None:
    shuffled = values[:]
    random.shuffle(shuffled)
    assert summarize(shuffled) == summarize(values)


@unhurried
@given(st.lists(anything, min_size=1, max_size=40))
def test_a_summary_lies_within_the_values(values: list[float]) -> None:
    found = summarize(values, resamples=200)
    low, high = min(values), max(values)
    assert found.mean is not None
    assert found.median is not None
    assert low <= found.mean <= high
    assert low <= found.median <= high
    assert (found.min, found.max, found.n) == (low, high, len(values))
    if found.interval.low is not None and found.interval.high is not None:
        assert low <= found.interval.low <= found.mean <= found.interval.high <= high


@unhurried
@example(5e-324, 2)
@example(1.7e308, 4)
@given(anything, st.integers(1, 50))
def test_constant_values_have_no_spread(value: float, n: int) -> None:
    found = summarize([value] * n)
    assert (found.mean, found.median, found.min, found.max) == (value,) * 4
    assert found.sd == (None if n == 1 else 0.0)
    if n >= 3:
        assert found.interval == (value, value, "all values are equal")


@unhurried
@given(st.lists(numbers, min_size=3, max_size=9), st.sampled_from([0.5, 2.0, 1024.0]))
def test_a_unit_scales_the_interval(values: list[float], factor: float) -> None:
    before = bootstrap_interval(sorted(values), resamples=300)
    after = bootstrap_interval(sorted(value * factor for value in values), resamples=300)
    assert before.low is not None
    assert before.high is not None
    assert (after.low, after.high) == (before.low * factor, before.high * factor)


@unhurried
@given(st.lists(numbers, min_size=3, max_size=20))
def test_more_confidence_is_a_wider_interval(values: list[float]) -> None:
    ordered = sorted(values)
    lows, highs, _ = zip(*(bootstrap_interval(ordered, c, 300) for c in (0.5, 0.8, 0.95, 0.999)), strict=True)
    assert list(lows) == sorted(lows, reverse=True)
    assert list(highs) == sorted(highs)


@unhurried
@given(st.lists(st.floats(0, 1), max_size=20), st.randoms())
def test_holm_keeps_the_order_and_only_adds(p_values: list[float], random: Any) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert q is not None
        assert p <= q <= 1.0
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)
    if p_values:
        assert min(adjusted) == min(1.0, len(p_values) * min(p_values))
    order = list(range(len(p_values)))
    random.shuffle(order)
    assert holm([p_values[i] for i in order]) == [adjusted[i] for i in order]


@unhurried
@given(st.lists(numbers, min_size=5, max_size=12), st.lists(numbers, min_size=5, max_size=12))
def test_swapping_the_groups_turns_the_sign(a: list[float], b: list[float]) -> None:
    one, other = welch(a, b), welch(b, a)
    assert one.difference == -other.difference
    assert (one.p_value, one.reason) == (other.p_value, other.reason)
    if one.effect_size is not None:
        assert one.effect_size == -other.effect_size
    if one.low is not None:
        assert (one.low, one.high) == (-other.high, -other.low)


@unhurried
@given(st.lists(st.tuples(numbers, numbers), min_size=5, max_size=12), st.randoms())
def test_the_order_of_pairs_does_not_count(pairs: list[tuple[float, float]], random: Any) -> None:
    found = paired(*zip(*pairs, strict=True))
    shuffled = pairs[:]
    random.shuffle(shuffled)
    assert paired(*zip(*shuffled, strict=True)) == found


@unhurried
@given(st.lists(numbers, min_size=2, max_size=30))
def test_mean_and_sd_as_the_standard_library(values: list[float]) -> None:
    import statistics

    assert mean(values) == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-12)
    assert sd(values) == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9)


def test_intervals_hold_about_as_often_as_the_docstring_says() -> None:
    """Seeded, so it either always passes or never does."""
    draw = np.random.default_rng(20261125)
    for n, promised in ((3, 0.73), (5, 0.83), (10, 0.91)):
        samples = draw.normal(size=(600, n)).tolist()
        intervals = [bootstrap_interval(sorted(sample), resamples=500) for sample in samples]
        held = sum(i.low <= 0 <= i.high for i in intervals if i.low is not None and i.high is not None) / len(samples)
        assert held == pytest.approx(promised, abs=0.04)


def test_a_wrong_pairing_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0, 2.0], [1.0])
