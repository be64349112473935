"""Metrics: what a call records, what it refuses, and what the views say of it."""

from __future__ import annotations

import math
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, MetricError
from crackseg_tracker.store import appending

MAX_STEP = 2**63 - 1
NewTracker = Callable[..., ExperimentTracker]


def points(path: Path, metric: str, experiment_id: str = "unet-1") -> list[tuple[int, Any]]:
    return ask(
        path,
        "SELECT step, value FROM metrics WHERE metric = ? AND experiment_id = ? ORDER BY step",
        metric,
        experiment_id,
    )


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


class FakeTensor:
    """As much of a torch tensor as the tracker may rely on."""

    def __init__(self, value: Any, shape: tuple[int, ...] = ()) -> None:
        self._value = value
        self.shape = shape

    def item(self) -> Any:
        if math.prod(self.shape) != 1:
            raise RuntimeError("a Tensor with several elements cannot be converted to Scalar")
        return self._value

    def tolist(self) -> Any:
        return self._value


# Steps


def test_without_a_step_it_is_one_more_than_the_largest_last_step_of_the_call(
    new_tracker: NewTracker, catalog_path: Path
) -> None:
    tracker = new_tracker()
    tracker.log_metrics({"a": 1.0})
    tracker.log_metrics({"b": 2.0}, step=7)
    tracker.log_metrics({"a": 3.0})
    tracker.log_metrics({"a": 4.0, "b": 5.0})
    tracker.log_metrics({"c": 6.0})
    assert points(catalog_path, "a") == [(0, 1.0), (1, 3.0), (8, 4.0)]
    assert points(catalog_path, "b") == [(7, 2.0), (8, 5.0)]
    assert points(catalog_path, "c") == [(0, 6.0)]


def test_the_same_step_overwrites_and_the_summary_is_right(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    for step, value in enumerate([0.5, 0.9, 0.1, 0.4]):
        tracker.log_metrics({"iou": value}, step=step)
    tracker.log_metrics({"iou": 0.3}, step=1)  # it was the highest
    tracker.log_metrics({"iou": 0.45}, step=2)  # it was the lowest
    tracker.log_metrics({"iou": 0.35}, step=3)  # it was the last
    tracker.log_metrics({"iou": 0.6}, step=0)  # it was the first
    assert points(catalog_path, "iou") == [(0, 0.6), (1, 0.3), (2, 0.45), (3, 0.35)]
    assert ask(
        catalog_path,
        "SELECT count, first_step, first_value, last_step, last_value, min_step, min_value, "
        "max_step, max_value FROM metric_summaries",
    ) == [(4, 0, 0.6, 3, 0.35, 1, 0.3, 0, 0.6)]


def test_falling_and_repeating_steps(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    for step in [9, 8, 3, 8, 0, 9, 12, 3]:
        tracker.log_metrics({"x": float(step)}, step=step)
    assert points(catalog_path, "x") == [(s, float(s)) for s in (0, 3, 8, 9, 12)]
    assert ask(catalog_path, "SELECT count, first_step, last_step FROM metric_summaries") == [(5, 0, 12)]


def test_the_largest_step_and_none_beyond_it(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.log_metrics({"x": 1.0}, step=MAX_STEP)
    with pytest.raises(MetricError, match="step"):
        tracker.log_metrics({"x": 2.0})
    with pytest.raises(MetricError, match="step"):
        tracker.log_metrics({"x": 2.0, "new": 2.0})
    with pytest.raises(MetricError, match="step"):
        tracker.log_metrics({"x": [2.0]})
    assert points(catalog_path, "x") == [(MAX_STEP, 1.0)]
    assert points(catalog_path, "new") == []


# Values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (2**53 + 1, float(2**53 + 1)),
        (True, 1.0),
        (False, 0.0),
        (Decimal("0.1"), 0.1),
        (Decimal("-Infinity"), -math.inf),
        (np.float64(0.1), 0.1),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(0.1), float(np.float16(0.1))),
        (np.longdouble(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.uint64(2**64 - 1), float(2**64 - 1)),
        (np.bool_(True), 1.0),
        (np.array(0.25), 0.25),
        (np.array([0.25]), 0.25),
        (np.array([[0.25]], dtype=np.float32), 0.25),
        (FakeTensor(0.75), 0.75),
        (FakeTensor(2), 2.0),
        (FakeTensor(True, (1, 1)), 1.0),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        (math.inf, math.inf),
    ],
    ids=lambda value: f"{type(value).__name__}:{value!s:.30}",
)
def test_any_number_is_taken_as_documented(
    new_tracker: NewTracker, catalog_path: Path, value: Any, expected: float
) -> None:
    tracker = new_tracker()
    tracker.log_metrics({"x": value, "y": 0.5}, step=0)  # the long way
    tracker.log_metrics({"x": value, "y": 0.5}, step=1)  # the short one
    assert [bits(v) for _, v in points(catalog_path, "x")] == [bits(expected)] * 2


def test_nan_is_null_in_sql_and_nan_in_python(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    for step, value in enumerate([math.nan, 0.5, -math.inf, math.inf, np.float32("nan")]):
        tracker.log_metrics({"iou": value}, step=step)
    assert points(catalog_path, "iou") == [
        (0, None),
        (1, 0.5),
        (2, -math.inf),
        (3, math.inf),
        (4, None),
    ]
    assert ask(
        catalog_path,
        "SELECT count, non_finite_count, first_non_finite_step, first_value, last_value, "
        "min_value, max_value FROM metric_summaries",
    ) == [(5, 4, 0, None, None, 0.5, 0.5)]
    with Catalog(catalog_path) as catalog:
        found = [row.value for row in catalog.history("iou", "unet-1")]
        assert math.isnan(found[0])
        assert found[1:4] == [0.5, -math.inf, math.inf]
        assert [(row.value, row.step) for row in catalog.best("iou", "max")] == [(0.5, 1)]
        assert [(row.value, row.step) for row in catalog.best("iou", "min")] == [(0.5, 1)]


@pytest.mark.parametrize(
    ("metrics", "kind", "words"),
    [
        ([("a", 1.0)], InvalidTypeError, "list"),
        ("abc", InvalidTypeError, "str"),
        ({"ok": 1.0, "": 1.0}, MetricError, "empty"),
        ({"ok": 1.0, 3: 1.0}, InvalidTypeError, "3"),
        ({"ok": 1.0, "bad": "0.5"}, MetricError, "bad.*str"),
        ({"ok": 1.0, "bad": None}, MetricError, "bad.*NoneType"),
        ({"ok": 1.0, "bad": 1j}, MetricError, "bad.*complex"),
        ({"ok": 1.0, "bad": np.complex64(1j)}, MetricError, "bad"),
        ({"ok": 1.0, "bad": [1.0, 2.0]}, MetricError, "bad.*list"),
        ({"ok": 1.0, "bad": np.zeros(3)}, MetricError, "bad.*shape"),
        ({"ok": 1.0, "bad": FakeTensor([1.0, 2.0], (2,))}, MetricError, "bad.*FakeTensor"),
        ({"ok": 1.0, "bad": np.zeros((2, 2))}, MetricError, "bad.*shape"),
        ({"ok": 1.0, "bad": 10**400}, MetricError, "bad"),
        ({"ok": 1.0, "bad": object()}, MetricError, "bad.*object"),
        ({"ok": 1.0, "bad\ud800": 1.0}, InvalidValueError, "surrogate"),
        ({"ok": [1.0, 2.0], "bad": [1.0]}, MetricError, "unequal.*bad"),
        ({"ok": [1.0, 2.0], "bad": [1.0, "x"]}, MetricError, "bad.*x"),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_bad_input_is_named_and_none_of_the_call_recorded(
    new_tracker: NewTracker,
    catalog_path: Path,
    metrics: Any,
    kind: type[Exception],
    words: str,
    is_known: bool,
) -> None:
    tracker = new_tracker()
    if is_known:
        tracker.log_metrics({"ok": 0.0, "bad": 0.0}, step=0)
    before = ask(catalog_path, "SELECT * FROM metrics")
    with pytest.raises(kind, match=f"(?s){words}"):
        tracker.log_metrics(metrics)
    with pytest.raises(kind, match=f"(?s){words}"):
        tracker.log_metrics(metrics, step=5)
    assert ask(catalog_path, "SELECT * FROM metrics") == before


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (-1, MetricError),
        (2**63, MetricError),
        (1.0, InvalidTypeError),
        (1.5, InvalidTypeError),
        ("1", InvalidTypeError),
        (True, InvalidTypeError),
    ],
)
def test_bad_steps(new_tracker: NewTracker, catalog_path: Path, step: Any, kind: type[Exception]) -> None:
    tracker = new_tracker()
    calls: list[Callable[[], None]] = [
        lambda: tracker.log_metrics({"x": 1.0}, step=step),
        lambda: tracker.log_metric("x", 1.0, step),
        lambda: tracker.log_history("x", [0, step], [1.0, 2.0]),
        lambda: tracker.log_samples({"image": {"x": 1.0}}, step=step),
        lambda: tracker.rewind(step),
    ]
    for call in calls:
        with pytest.raises(kind, match="step"):
            call()
    assert ask(catalog_path, "SELECT * FROM metrics") == []
    assert ask(catalog_path, "SELECT * FROM sample_metrics") == []


def test_numpy_steps_and_other_mappings(new_tracker: NewTracker, catalog_path: Path) -> None:
    from types import MappingProxyType

    tracker = new_tracker()
    tracker.log_metrics(MappingProxyType({"x": 1.0}), step=np.int64(4))
    tracker.log_metric("x", 2.0, np.uint8(5))
    tracker.log_metrics({}, step=9)
    assert points(catalog_path, "x") == [(4, 1.0), (5, 2.0)]


# Bulk


@pytest.mark.parametrize("durability", ["normal", "full", "buffered"])
def test_arrays_are_a_point_per_step(new_tracker: NewTracker, catalog_path: Path, durability: str) -> None:
    tracker = new_tracker(durability=durability)
    tracker.log_metrics({"x": 0.5}, step=1)
    tracker.log_metrics({"x": [1.0, 2.0], "y": (3, 4)})
    tracker.log_metrics({"x": np.array([9.0, 8.0])}, step=2)
    tracker.log_metrics({"z": FakeTensor([0.1, 0.2], (2,)), "x": range(2)}, step=10)
    tracker.save()
    assert points(catalog_path, "x") == [(1, 0.5), (2, 9.0), (3, 8.0), (10, 0.0), (11, 1.0)]
    assert points(catalog_path, "y") == [(2, 3.0), (3, 4.0)]
    assert points(catalog_path, "z") == [(10, 0.1), (11, 0.2)]


def test_log_history(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.log_history("loss", range(1000), np.linspace(1, 0, 1000))
    tracker.log_history("loss", [5, 2000, 5], [7.0, 0.5, 9.0], times=[1.7e9, 1.7e9 + 0.25, 1.7e9])
    tracker.log_history("loss", [], [])
    tracker.log_history("lr", iter([3, 1]), (0.1, 0.2))
    found = dict(points(catalog_path, "loss"))
    assert len(found) == 1001
    assert (found[0], found[5], found[999], found[2000]) == (1.0, 9.0, 0.0, 0.5)
    assert points(catalog_path, "lr") == [(1, 0.2), (3, 0.1)]
    assert ask(catalog_path, "SELECT logged_at FROM metrics WHERE step = 2000") == [("2023-11-14T22:13:20.250+00:00",)]
    assert ask(
        catalog_path,
        "SELECT count, max_step, max_value, last_step FROM metric_summaries WHERE metric = 'loss'",
    ) == [(1001, 5, 9.0, 2000)]
    tracker.log_metrics({"loss": 0.1})
    assert points(catalog_path, "loss")[-1] == (2001, 0.1)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 1000])
def test_a_bulk_of_any_length_comes_back_bit_for_bit(new_tracker: NewTracker, catalog_path: Path, count: int) -> None:
    odd = [0.1, -0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 1 / 3]
    values = [odd[n % len(odd)] for n in range(count)]
    tracker = new_tracker()
    tracker.log_history("up", range(count), values)
    tracker.log_history("down", range(count, 0, -1), values)
    tracker.log_history("twice", [*range(count), *range(count)], [0.5] * count + values)
    for name, wanted in (("up", values), ("down", values[::-1]), ("twice", values)):
        assert [bits(value) for _, value in points(catalog_path, name)] == [bits(value) for value in wanted]


def test_a_series_where_a_number_is_meant_is_not_written_out(new_tracker: NewTracker) -> None:
    tracker = new_tracker()
    with pytest.raises(MetricError, match=r"\[0.5, 0.5, .*\.\.\.\] is a list") as caught:
        tracker.log_metrics({"loss": [0.5] * 100_000, "lr": 0.1})
    assert len(str(caught.value)) < 300
    assert "log_history" in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        ([0, 1], [1.0]),
        ([0], [1.0, 2.0]),
        ([0, 1], [1.0, 2.0], [1.7e9]),
        ([0], ["a"]),
        ([0], 1.0),
        (0, [1.0]),
        ([0], [1.0], ["yesterday"]),
        ([0], [1.0], [math.nan]),
        ([0.5], [1.0]),
        ([0], [[1.0, 2.0]]),
    ],
)
def test_log_history_refuses_what_does_not_fit(
    new_tracker: NewTracker, catalog_path: Path, call: tuple[Any, ...]
) -> None:
    tracker = new_tracker()
    with pytest.raises((MetricError, InvalidTypeError)):
        tracker.log_history("loss", *call)
    assert ask(catalog_path, "SELECT * FROM metrics") == []


# Size


def test_a_point_of_a_long_training_takes_27_bytes(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used() -> int:
        [(bytes_,)] = ask(
            catalog_path,
            "SELECT (p.page_count - f.freelist_count) * s.page_size "
            "FROM pragma_page_count AS p, pragma_freelist_count AS f, pragma_page_size AS s",
        )
        return bytes_

    trackers = [new_tracker("unet-1"), new_tracker("unet-2")]
    for tracker in trackers:
        tracker.start_experiment()
    before, start = used(), time.time()
    for step in range(1200):  # four hours
        monkeypatch.setattr(time, "time", lambda now=start + 12.345 * step: now)
        for tracker in trackers:
            tracker.log_metrics(dict.fromkeys(["loss", "lr", "val/loss", "val/iou", "val/dice"], 0.1), step)
    for tracker in trackers:
        tracker.complete_experiment()
    assert used() - before <= 27 * 1200 * 2 * 5


# Modes


def test_modes_are_assumed_visibly_until_defined(new_tracker: NewTracker, catalog_path: Path) -> None:
    for name, value in (("a", 0.2), ("b", 0.3)):
        with new_tracker(name) as tracker:
            tracker.log_metrics({"val/focalLoss": value, "val/iou": value, "score": value}, step=0)
    tracker.define_metric("score", "min", unit="px", description="of the contour")
    tracker.define_metric("not logged yet", "max")
    assert ask(catalog_path, "SELECT * FROM metric_names ORDER BY metric") == [
        ("not logged yet", "max", "defined", "", ""),
        ("score", "min", "defined", "px", "of the contour"),
        ("val/focalLoss", "min", "assumed", "", ""),
        ("val/iou", "max", "assumed", "", ""),
    ]
    tracker.define_metric("score", "max")
    assert ask(catalog_path, "SELECT mode, unit FROM metric_names WHERE metric = 'score'") == [("max", "px")]
    with Catalog(catalog_path) as catalog:
        assert [row.experiment_id for row in catalog.best("val/focalLoss")] == ["a", "b"]
        assert [row.experiment_id for row in catalog.best("val/iou")] == ["b", "a"]
        assert [row.experiment_id for row in catalog.best("score")] == ["b", "a"]
    with pytest.raises(InvalidValueError, match="lowest"):
        tracker.define_metric("score", "lowest")  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="empty"):
        tracker.define_metric("", "max")


# Rewind


@pytest.mark.parametrize("is_resumed", [False, True])
def test_rewind_keeps_what_it_takes_back(new_tracker: NewTracker, catalog_path: Path, is_resumed: bool) -> None:
    tracker = new_tracker()
    tracker.start_experiment()
    for epoch, iou in enumerate([0.1, 0.6, 0.4, 0.9, 0.2]):
        tracker.log_metrics({"iou": iou, "early": 1.0} if epoch < 2 else {"iou": iou}, step=epoch)
        tracker.log_samples({"image": {"iou": iou}}, step=epoch)
        tracker.update_training_progress(epoch, 5, {"iou": iou + 0.01})
    tracker.log_metrics({"late": 1.0}, step=4)
    if is_resumed:
        tracker.fail_experiment("killed")
        tracker.start_experiment()
    tracker.rewind(2)
    attempt = 2 if is_resumed else 1
    assert points(catalog_path, "iou") == [(0, 0.1), (1, 0.6), (2, 0.4)]
    assert points(catalog_path, "late") == []
    assert ask(
        catalog_path,
        "SELECT metric, split, sample, step, value, attempt FROM superseded_metrics " "ORDER BY metric, sample, step",
    ) == [
        ("iou", None, None, 3, 0.9, attempt),
        ("iou", None, None, 4, 0.2, attempt),
        ("iou", "val", "image", 3, 0.9, attempt),
        ("iou", "val", "image", 4, 0.2, attempt),
        ("late", None, None, 4, 1.0, attempt),
    ]
    assert ask(
        catalog_path,
        "SELECT metric, count, last_step, max_step, max_value FROM metric_summaries ORDER BY 1",
    ) == [("early", 2, 1, 0, 1.0), ("iou", 3, 2, 1, 0.6)]
    assert ask(catalog_path, "SELECT step, value FROM metric_reports ORDER BY step") == [
        (0, 0.11),
        (1, 0.61),
        (2, 0.41000000000000003),
    ]
    with Catalog(catalog_path) as catalog:
        [best] = catalog.best("iou")
        assert (best.value, best.step, best.source) == (0.6, 1, "logged")
        assert list(catalog.best("late")) == []
    assert tracker.metadata.best_metrics["iou"] == 0.41000000000000003
    tracker.log_metrics({"iou": 0.7})
    tracker.log_metrics({"late": 0.7})
    assert points(catalog_path, "iou")[-1] == (3, 0.7)
    assert points(catalog_path, "late") == [(0, 0.7)]
    tracker.rewind(3)  # nothing is after it
    assert len(ask(catalog_path, "SELECT * FROM superseded_metrics")) == 5


def test_rewind_is_seen_by_another_tracker_of_the_process(new_tracker: NewTracker, catalog_path: Path) -> None:
    first, second = new_tracker(), new_tracker()
    for step in range(5):
        first.log_metrics({"x": 1.0}, step=step)
    second.rewind(1)
    first.log_metrics({"x": 2.0})
    first.log_metrics({"x": 3.0})
    assert points(catalog_path, "x") == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 3.0)]


# Samples


def test_samples_answer_two_questions_in_sql(new_tracker: NewTracker, catalog_path: Path) -> None:
    for name, shift in (("A", 0.3), ("B", 0.0)):
        with new_tracker(name) as tracker:
            for epoch in range(2):
                tracker.log_samples(
                    {
                        f"image_{n:03}": {
                            "iou": n / 100 + (shift if n % 5 == 0 else 0.0) + epoch / 1000,
                            "dice": 0.5,
                        }
                        for n in range(40)
                    }
                )
    better = (
        "SELECT a.sample, a.value - b.value FROM sample_metrics AS a JOIN sample_metrics AS b "
        "USING (split, sample, metric, step) WHERE a.experiment_id = 'A' AND b.experiment_id = 'B' "
        "AND metric = 'iou' AND step = 1 AND a.value - b.value >= 0.1 ORDER BY sample"
    )
    worst = (
        "SELECT sample FROM sample_metrics WHERE experiment_id = 'A' AND metric = 'iou' "
        "AND step = 1 ORDER BY value LIMIT 10"
    )
    with Catalog(catalog_path) as catalog:
        rows = [tuple(row) for row in catalog.sql(better)]
        assert [row[0] for row in rows] == [f"image_{n:03}" for n in range(0, 40, 5)]
        assert all(row[1] == pytest.approx(0.3) for row in rows)
        found = [row[0] for row in catalog.sql(worst)]
        assert found == [f"image_{n:03}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 11, 12)]


def test_samples_overwrite_take_steps_per_split_and_keep_nan(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.log_samples({"i": {"iou": 0.1}})
    tracker.log_samples({"i": {"iou": 0.2}}, step=0)
    tracker.log_samples({"i": {"iou": math.nan}, "j": {"iou": np.float32(0.5)}})
    tracker.log_samples({"i": {"iou": 0.3}}, split="test")
    assert ask(catalog_path, "SELECT split, sample, step, value FROM sample_metrics ORDER BY 1, 2, 3") == [
        ("test", "i", 0, 0.3),
        ("val", "i", 0, 0.2),
        ("val", "i", 1, None),
        ("val", "j", 1, 0.5),
    ]
    bad: list[Any] = [[1], {"i": 0.5}, {"": {"iou": 1.0}}, {"i": {"": 1.0}}, {"k": {"iou": "x"}}]
    for samples in bad:
        with pytest.raises((InvalidTypeError, InvalidValueError)):
            tracker.log_samples(samples)
    with pytest.raises(InvalidValueError, match="split"):
        tracker.log_samples({"i": {"iou": 0.5}}, split="")
    assert len(ask(catalog_path, "SELECT * FROM sample_metrics")) == 4


# Folding


def test_points_that_somebody_else_folded_are_not_folded_again(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "FOLD_AFTER", 7)
    tracker = new_tracker()
    for step in range(20):
        tracker.log_metrics({"x": step / 2})
        if step % 4 == 2:
            new_tracker(f"other-{step}")  # a new experiment folds what it finds, in case its process was killed
    assert ask(catalog_path, "SELECT step, value FROM metrics ORDER BY step") == [(s, s / 2) for s in range(20)]
    assert ask(catalog_path, "SELECT count, min_value, max_step FROM metric_summaries") == [(20, 0.0, 19)]


_ANOTHER_PROCESS = """
import sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "unet-1", catalog=sys.argv[2])
for value in (100.0, 101.0, 102.0, 103.0):
    tracker.log_metrics({"x": value})
"""


def test_points_of_another_process_are_not_taken_for_ours(new_tracker: NewTracker, catalog_path: Path) -> None:
    """It appends as many as we have in memory: the first of its calls goes straight into the curve."""
    tracker = new_tracker()
    for value in (0.0, 1.0, 2.0, 3.0):
        tracker.log_metrics({"x": value})
    subprocess.run([sys.executable, "-c", _ANOTHER_PROCESS, tracker.experiment_dir, catalog_path], check=True)
    tracker.log_metrics({"x": 200.0})
    expected = [0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0, 103.0, 200.0]
    assert ask(catalog_path, "SELECT value FROM metrics ORDER BY step") == [(value,) for value in expected]
    assert ask(catalog_path, "SELECT count, max_step, last_value FROM metric_summaries") == [(9, 8, 200.0)]


def test_two_shapes_of_calls_are_folded_into_one_curve(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "FOLD_AFTER", 30)
    tracker = new_tracker()
    for step in range(40):
        tracker.log_metrics({"x": math.nan if step == 7 else -step} if step % 3 else {"y": 1.0, "x": -step}, step)
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY step") == [
        (step, None if step == 7 else -float(step)) for step in range(40)
    ]
    columns = "count, non_finite_count, first_non_finite_step, min_step, max_value"
    assert ask(catalog_path, f"SELECT {columns} FROM metric_summaries WHERE metric = 'x'") == [(40, 1, 7, 39, 0.0)]


# Reading


def test_history_of_several_metrics_and_experiments(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "FOLD_AFTER", 7)
    for name in ("b", "a"):
        tracker = new_tracker(name)
        for step in range(10):
            tracker.log_metrics({"x": step / 2, "y": -step}, step=step * 3)
    with Catalog(catalog_path) as catalog:
        rows = catalog.history(["y", "x"], ["a", "b"], slice(3, 9))
        assert [tuple(row) for row in rows] == [
            (experiment, metric, step, step / 6 if metric == "x" else -step / 3)
            for experiment in ("a", "b")
            for metric in ("y", "x")
            for step in (3, 6)
        ]
        assert len(catalog.history("x", "a").rows) == 10
        with pytest.raises(LookupError, match="x"):
            catalog.history("xx", "a")
        with pytest.raises(LookupError, match="no experiment"):
            catalog.history("x", "c")


def test_the_columns_of_the_summaries_are_the_contract(new_tracker: NewTracker, catalog_path: Path) -> None:
    new_tracker().log_metrics({"x": 1.0}, step=3)
    connection = sqlite3.connect(catalog_path)
    connection.row_factory = sqlite3.Row
    [row] = connection.execute("SELECT * FROM metric_summaries").fetchall()
    connection.close()
    assert dict(row) == {
        "experiment_id": "unet-1",
        "metric": "x",
        "count": 1,
        "non_finite_count": 0,
        "first_non_finite_step": None,
        "first_step": 3,
        "first_value": 1.0,
        "last_step": 3,
        "last_value": 1.0,
        "min_step": 3,
        "min_value": 1.0,
        "max_step": 3,
        "max_value": 1.0,
    }


# Names


def test_names_are_never_changed_or_merged(new_tracker: NewTracker, catalog_path: Path) -> None:
    names = ["a", "A", " a", "a ", " ", "\t", "a\0b", "a\0c", "é", "e\u0301", "Ω", "🦠", "a'b", 'a"b']
    tracker = new_tracker()
    for step in range(2):
        tracker.log_metrics({name: float(i) for i, name in enumerate(names)}, step=step)
    assert dict(ask(catalog_path, "SELECT metric, value FROM metrics WHERE step = 1")) == {
        name: float(i) for i, name in enumerate(names)
    }
    with Catalog(catalog_path) as catalog:
        for i, name in enumerate(names):
            assert [row.value for row in catalog.history(name, "unet-1")] == [i, i]
            assert [row.value for row in catalog.best(name, "max")] == [i]


def test_names_of_a_megabyte(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    long = "ü" * 2**19
    for step in range(3):
        tracker.log_metrics({long + "1": 1.0, long + "2": 2.0}, step=step)
    assert points(catalog_path, long + "2") == [(0, 2.0), (1, 2.0), (2, 2.0)]
    assert ask(catalog_path, "SELECT count(*) FROM metric_names") == [(2,)]


def test_3000_names_in_one_call(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    for step in range(3):
        tracker.log_metrics({f"layer_{n}/norm": n + step for n in range(3000)})
    assert ask(catalog_path, "SELECT step, count(*), sum(value) FROM metrics GROUP BY step ORDER BY step") == [
        (s, 3000, sum(range(3000)) + 3000.0 * s) for s in range(3)
    ]
    assert ask(catalog_path, "SELECT count(*), min(count), max(count) FROM metric_summaries") == [(3000, 3, 3)]


# Ends


def test_a_point_after_the_end_unseals_and_close_seals_again(new_tracker: NewTracker, catalog_path: Path) -> None:
    def sealed() -> dict[str, int]:
        return dict(
            ask(
                catalog_path,
                "SELECT n.name, s.sealed FROM metric_summary AS s JOIN metric_name AS n " "ON n.id = s.metric",
            )
        )

    tracker = new_tracker()
    for step in range(3):
        tracker.log_metrics({"iou": 0.5, "dice": 0.6}, step=step)
    assert sealed() == {"iou": 0, "dice": 0}
    tracker.complete_experiment()
    assert sealed() == {"iou": 1, "dice": 1}
    assert ask(catalog_path, "SELECT count(*) FROM metric_recent") == [(0,)]
    for value in (0.7, 0.8, 0.6):
        tracker.log_metrics({"iou": value})
    assert sealed() == {"iou": 0, "dice": 1}
    bests = "SELECT metric, value, step FROM metric_bests ORDER BY metric"
    expected = [("dice", 0.6, 0), ("iou", 0.8, 4)]
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []
        assert [(r.value, r.step) for r in catalog.best("iou")] == [(0.8, 4)]
    assert ask(catalog_path, bests) == expected
    tracker.close()
    assert sealed() == {"iou": 1, "dice": 1}
    assert ask(catalog_path, bests) == expected
    tracker.start_experiment()
    tracker.log_metrics({"iou": 0.9, "dice": 0.9})
    assert ask(catalog_path, bests) == [("dice", 0.9, 6), ("iou", 0.9, 6)]


# Processes


_TURNS = """
import sys
from crackseg_tracker import ExperimentTracker
folder, catalog = sys.argv[1:]
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog)
for line in sys.stdin:
    step = None if line.strip() == "next" else int(line)
    tracker.log_metrics({"x": 2.0, "child": 1.0}, step=step)
    print("done", flush=True)
"""


def test_two_processes_take_turns_on_one_experiment(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path
) -> None:
    """Promise 8: neither loses what the other wrote, and steps go on from the other's."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 1.0, "parent": 1.0})
    child = subprocess.Popen(
        [sys.executable, "-c", _TURNS, str(tmp_path / "experiments" / "unet-1"), str(catalog_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        expected = [(0, 1.0)]
        for turn in range(30):
            for _ in range(turn % 3):
                child.stdin.write("next\n")
                child.stdin.flush()
                assert child.stdout.readline() == "done\n"
                expected.append((len(expected), 2.0))
            for _ in range(turn % 4):
                tracker.log_metrics({"x": 1.0, "parent": 1.0})
                expected.append((len(expected), 1.0))
        child.stdin.write("0\n")  # a step of the parent's
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"
        expected[0] = (0, 2.0)
    finally:
        child.stdin.close()
        assert child.wait(60) == 0
        child.stdout.close()
    assert points(catalog_path, "x") == expected
    assert ask(catalog_path, "SELECT count(*) FROM attempts") == [(2,)]
    assert ask(catalog_path, "SELECT count, last_step, last_value FROM metric_summaries WHERE metric = 'x'") == [
        (len(expected), *expected[-1])
    ]


def test_a_rewind_keeps_a_repeated_report_as_it_was_first(
    new_tracker: Callable[..., ExperimentTracker], catalog_path: Path
) -> None:
    tracker = new_tracker()
    for epoch, loss in enumerate([0.0, -0.0, 1.0]):
        tracker.update_training_progress(epoch, 3, {"loss": loss})
    tracker.rewind(1)
    [best] = Catalog(catalog_path).best("loss")
    assert (math.copysign(1, best.value), best.step) == (1, 0)
