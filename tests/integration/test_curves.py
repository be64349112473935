"""Curves: every point, or summed up in buckets, of what was folded and of what is recent."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crackseg_tracker import Catalog, ExperimentTracker, InvalidTypeError, InvalidValueError, NotFoundError
from crackseg_tracker.rows import BucketRow

Maker = Callable[..., ExperimentTracker]
values = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0])


def summed_up(points: list[tuple[int, float]], first: int, last: int, count: int) -> list[tuple[Any, ...]]:
    """Sum up in plain Python what `Catalog.history(points=count)` does in SQL."""
    within = [(step, value) for step, value in points if first <= step <= last]
    if not within:
        return []
    lowest, span = within[0][0], within[-1][0] - within[0][0] + 1
    count = min(count, span)
    rows: list[tuple[Any, ...]] = []
    for number in range(count):
        low, high = lowest + number * span // count, lowest + (number + 1) * span // count
        bucket = [(step, value) for step, value in within if low <= step < high]
        if bucket:
            numbers = [value for _, value in bucket if not math.isnan(value)]
            mean = sum(numbers) / len(numbers) if numbers else math.nan
            lowest_value, highest_value = min(numbers, default=math.nan), max(numbers, default=math.nan)
            nans = len(bucket) - len(numbers)
            ends = (lowest_value, highest_value, mean, bucket[-1][1])
            rows.append((bucket[0][0], bucket[-1][0], len(bucket), nans, *ends))
    return rows


@given(
    folded=st.dictionaries(st.integers(0, 60), values, min_size=1, max_size=30),
    recent=st.lists(values, max_size=20),
    count=st.integers(1, 90),
    first=st.integers(0, 40),
    length=st.integers(0, 80),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_buckets(
    new_tracker: Maker,
    catalog_path: Path,
    folded: dict[int, float],
    recent: list[float],
    count: int,
    first: int,
    length: int,
) -> None:
    numbers.append(len(numbers))
    name = f"e{numbers[-1]}"
    tracker = new_tracker(name)
    points = sorted(folded.items())
    tracker.log_history("loss", [step for step, _ in points], [value for _, value in points])
    for value in recent:
        points.append((points[-1][0] + 1, value))
        tracker.log_metrics({"loss": value}, points[-1][0])
    with Catalog(catalog_path) as catalog:
        for steps, low, high in ((None, 0, 2**63 - 1), (slice(first, first + length), first, first + length - 1)):
            found = catalog.history("loss", name, steps, points=count)
            expected = summed_up(points, low, high, count)
            assert len(found) <= count
            assert [row[2:] for row in found] == [pytest.approx(row, rel=1e-9, nan_ok=True) for row in expected]
            exact = catalog.history("loss", name, steps)
            assert repr([(row.step, row.value) for row in exact]) == repr([p for p in points if low <= p[0] <= high])


numbers: list[int] = []


def test_several_curves(new_tracker: Maker, catalog_path: Path) -> None:
    for name in ("a", "b"):
        tracker = new_tracker(name)
        tracker.log_metrics({"x": [1.0, 3.0, 2.0, 5.0]})
        tracker.log_metrics({"y": 0.0}, step=0)
    with Catalog(catalog_path) as catalog:
        found = catalog.history(["y", "x"], ["b", "a"], points=2)
        assert [(row.experiment_id, row.metric, row.first_step, row.last_step, row.max) for row in found] == [
            ("b", "y", 0, 0, 0.0),
            ("b", "x", 0, 1, 3.0),
            ("b", "x", 2, 3, 5.0),
            ("a", "y", 0, 0, 0.0),
            ("a", "x", 0, 1, 3.0),
            ("a", "x", 2, 3, 5.0),
        ]
        assert found[1] == BucketRow("b", "x", 0, 1, 2, 0, 1.0, 3.0, 2.0, 3.0)
        assert len(catalog.history("x", "a", slice(7, None), points=5)) == 0
        assert len(catalog.history("x", "a", slice(0, 0), points=5)) == 0
        assert [row.step for row in catalog.history("x", "a", slice(2, None))] == [2, 3]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"points": 0}, InvalidValueError, "points 0"),
        ({"points": 10**6}, InvalidValueError, "points 1000000"),
        ({"points": 1.5}, InvalidTypeError, "1.5 is a float"),
        ({"steps": 5}, InvalidTypeError, "5 is a int"),
        ({"steps": slice(0, 10, 2)}, InvalidValueError, "points="),
        ({"steps": slice(-1, 10)}, InvalidValueError, "-1"),
        ({"steps": slice(0, "x")}, InvalidTypeError, "'x' is a str"),
        ({"metric": "los"}, NotFoundError, "'los'.*'loss'"),
        ({"experiments": "unet-2"}, NotFoundError, "'unet-2'.*'unet-1'"),
    ],
)
def test_a_curve_that_cannot_be_meant(
    new_tracker: Maker, catalog_path: Path, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    new_tracker().log_metrics({"loss": 0.5})
    with Catalog(catalog_path) as catalog, pytest.raises(error, match=said):
        catalog.history(**{"metric": "loss", "experiments": "unet-1", **options})
