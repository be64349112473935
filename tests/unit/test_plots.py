import math
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crackseg_tracker import InvalidValueError
from crackseg_tracker.plots import (
    BarRow,
    TimelineRow,
    bar_data,
    curve_data,
    draw_bars,
    draw_curves,
    draw_scatter,
    draw_timeline,
    grouped_bar_data,
    save,
    scatter_data,
    timeline_data,
)
from crackseg_tracker.rows import BestRow, BucketRow, ExperimentRow, PointRow
from crackseg_tracker.statistics import StatisticsRow

HOSTILE = "_$x_{\\frac$ \x1b[31m\n路 <script>"


def points(count: int, metrics: tuple[str, ...] = ("val/iou",), steps: int = 20) -> list[PointRow]:
    return [
        PointRow(f"unet-{i}", metric, step, (i + 1) / 60 + math.log1p(step) / 10)
        for i in range(count)
        for metric in metrics
        for step in range(steps)
    ]


def best_row(name: str, value: float) -> BestRow:
    return BestRow(name, "unet", value, 3, "logged", "max", "completed", "roads", "iou")


def texts(figure: Any) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def drawn(figure: Any, tmp_path: Path, kind: str = "svg") -> bytes:
    save(figure, tmp_path / f"plot.{kind}")
    return (tmp_path / f"plot.{kind}").read_bytes()


# What is computed


def test_a_curve_is_as_logged() -> None:
    rows = curve_data(
        [PointRow("a", "loss", 0, 1.0), PointRow("a", "loss", 5, 0.25), PointRow("a", "loss", 6, math.nan)]
    )
    assert [(row.step, row.value, row.smoothed, row.is_best) for row in rows[:2]] == [
        (0, 1.0, 1.0, False),
        (5, 0.25, 0.25, True),
    ]
    assert math.isnan(rows[2].value)
    assert not rows[2].is_best
    [best] = [r for r in curve_data(points(1, ("loss",)), modes={"loss": "max"}) if r.is_best]
    assert best.step == 19


def test_smoothing_is_an_unbiased_exponential_mean() -> None:
    rows = curve_data(
        [PointRow("a", "iou", step, value) for step, value in enumerate([1.0, 2.0, math.inf, 4.0])], smoothing=0.5
    )
    assert rows[0].smoothed == 1.0
    assert rows[1].smoothed == pytest.approx((0.25 * 1 + 0.5 * 2) / 0.75)
    assert math.isnan(rows[2].smoothed)
    assert rows[3].smoothed == pytest.approx((0.125 * 1 + 0.25 * 2 + 0.5 * 4) / 0.875)
    for wrong in (-0.1, 1, 1.5):
        with pytest.raises(InvalidValueError, match="smoothing"):
            curve_data([], smoothing=wrong)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 0.99))
def test_smoothing_stays_between_the_extremes(values: list[float], weight: float) -> None:
    rows = curve_data([PointRow("a", "iou", step, value) for step, value in enumerate(values)], smoothing=weight)
    slack = 1e-6 * max(1, *map(abs, values))
    assert all(min(values) - slack <= row.smoothed <= max(values) + slack for row in rows)


def test_groups_are_means_with_a_standard_deviation() -> None:
    given = [PointRow("a", "iou", 0, 0.4), PointRow("a", "iou", 1, 0.9), PointRow("b", "iou", 0, 0.6)]
    given += [PointRow("c", "iou", 0, math.nan), PointRow("other", "iou", 0, 0.1)]
    rows = curve_data(given, groups={"a": "g", "b": "g", "c": "g"})
    first, second, other = rows
    assert (first.label, first.value, first.n) == ("g", 0.5, 2)
    assert first.high == pytest.approx(0.5 + math.sqrt(0.02))
    assert (second.value, second.low, second.n, second.is_best) == (0.9, None, 1, True)
    assert other.label == "other"


def bucket(name: str, first: int, last: int, mean: float, spread: float = 0.0, nans: int = 0) -> BucketRow:
    low, high = mean - spread, mean + spread
    return BucketRow(name, "iou", first, last, last - first + 1, nans, low, high, mean, high)


def test_a_long_curve_is_drawn_from_ranges_of_steps(tmp_path: Path) -> None:
    rows = curve_data(
        [bucket("a", 0, 9, 0.5, 0.25), bucket("a", 10, 19, 0.625, 0.25, nans=3), bucket("a", 20, 20, 0.7)]
    )
    assert [(row.step, row.value, row.low, row.high, row.points) for row in rows] == [
        (4, 0.5, 0.25, 0.75, 10),
        (14, 0.625, 0.375, 0.875, 10),
        (20, 0.7, None, None, 1),
    ]
    assert [(row.best, row.lost) for row in rows if row.is_best] == [(0.875, 3)]
    figure = draw_curves(rows)
    drawn(figure, tmp_path)
    assert "least to greatest of 10 steps" in texts(figure)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[14]]
    circles = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in circles] == [[0.875]]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_smoothing_of_ranges_is_that_of_their_points(means: list[float], weight: float) -> None:
    ranges = [bucket("a", 4 * i, 4 * i + 3, mean) for i, mean in enumerate(means)]
    each = [PointRow("a", "iou", step, means[step // 4]) for step in range(4 * len(means))]
    whole = [row.smoothed for row in curve_data(each, smoothing=weight)]
    assert [row.smoothed for row in curve_data(ranges, smoothing=weight)] == pytest.approx(whole[3::4])


def test_groups_of_curves_of_different_lengths_do_not_zigzag() -> None:
    """Each was summed up over ranges of its own, so that hardly a step is common to two of them."""
    long = [bucket("long", 7 * i, 7 * i + 6, 1.0) for i in range(100)]
    short = [bucket("short", 4 * i, 4 * i + 3, 3.0) for i in range(100)]
    rows = curve_data([*long, *short], groups={"long": "g", "short": "g"})
    assert len(rows) == 100
    assert [row.n for row in rows] == [2] * 58 + [1] * 42  # the short one ends in step 399
    assert {row.value for row in rows if row.n == 2} == {2.0}
    assert all(row.step < 406 for row in rows if row.n == 2)


def test_bars_of_a_ranking_and_of_groups() -> None:
    assert bar_data([best_row("a", 0.7)]) == [BarRow("a", 0.7, None, None, 1)]

    empty = StatisticsRow._make([None] * len(StatisticsRow._fields))
    found = [
        empty._replace(group={"model.encoder": "r50", "lr": 0.1}, mean=0.75, low=0.65, high=0.85, n=5),
        empty._replace(group={}, mean=0.5, n=1),
        empty._replace(group={"model.encoder": "none"}, n=0),
    ]
    assert grouped_bar_data(found) == [
        BarRow("encoder=r50, lr=0.1", 0.75, 0.65, 0.85, 5),
        BarRow("all", 0.5, None, None, 1),
    ]


def test_scatter_pairs_what_both_have() -> None:
    ys = {"a": 0.5, "b": 0.6, "c": math.nan, "d": 0.7}
    assert [row.x for row in scatter_data({"a": 1, "b": 0.5, "c": 1}, ys)] == [1, 0.5]
    assert [row.x for row in scatter_data({"a": 1, "b": "two", "d": None}, ys)] == ["1", "two", "None"]
    assert [row.x for row in scatter_data({"a": True, "b": False}, ys)] == ["True", "False"]
    assert scatter_data({"a": math.inf}, ys) == []
    assert scatter_data({"a": 1}, ys, {"a": "r34"})[0].group == "r34"


def test_the_timeline_of_experiments() -> None:
    empty = ExperimentRow._make([None] * len(ExperimentRow._fields))
    now = datetime(2026, 1, 2, tzinfo=UTC)

    def row(name: str, status: str, started: str | None, completed: str | None) -> ExperimentRow:
        return empty._replace(
            experiment_id=name,
            status=status,
            created_at="2026-01-01T00:00:00.000000+00:00",
            started_at=started,
            completed_at=completed,
        )

    given = [
        row("late", "running", "2026-01-01T12:00:00.000000+00:00", None),
        row("done", "completed", "2026-01-01T01:00:00.000000+00:00", "2026-01-01T03:00:00.000000+00:00"),
        row("never", "created", None, None),
    ]
    bars = timeline_data(given, now)
    assert [bar.experiment_id for bar in bars] == ["never", "done", "late"]
    assert [bar.end - bar.start for bar in bars] == [timedelta(0), timedelta(hours=2), timedelta(hours=12)]


# What is drawn


@pytest.mark.parametrize("count", [1, 3, 8, 9, 50])
def test_curves_are_readable_with_few_and_with_many(count: int, tmp_path: Path) -> None:
    figure = draw_curves(curve_data(points(count, ("val/iou", "loss")), smoothing=0.5), units={"loss": "nats"})
    drawn(figure, tmp_path)
    shown = texts(figure)
    assert "loss (nats)" in shown
    assert "as logged; bold: smoothed" in shown
    assert f"unet-{count - 1}" in shown  # the best of all
    assert ("others" in shown) == (count > 8)
    if count > 8:
        assert f"{count - 7} others" in shown
        assert "unet-0" not in shown


def test_curves_over_seeds_have_a_band(tmp_path: Path) -> None:
    figure = draw_curves(curve_data(points(3), groups=dict.fromkeys(["unet-0", "unet-1", "unet-2"], "unet")))
    drawn(figure, tmp_path)
    [axes] = figure.axes
    assert len(axes.collections) == 1
    assert "standard deviation" in texts(figure)
    with_others = draw_curves(curve_data(points(3), groups={"unet-0": "g", "unet-1": "g"}))
    assert "g (n=2)" in texts(with_others)


def test_what_is_not_finite_or_not_positive_is_told(tmp_path: Path) -> None:
    rows = curve_data([PointRow("a", "loss", s, v) for s, v in enumerate([1.0, math.nan, 0.0, -1.0, math.inf, 0.1])])
    figure = draw_curves(rows, log=True)
    drawn(figure, tmp_path)
    assert figure.axes[0].get_yscale() == "log"
    assert "2 values at or below 0 not shown" in texts(figure)
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[1, 4]]


def test_a_given_ax_is_drawn_on(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9))
    axes: Any = figure.subplots(2, 2)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert draw_curves(curve_data(points(2, ("iou", "loss"))), axes[0][0]) is figure
    assert draw_bars(bar_data([best_row("a", 0.7)]), axes[0][1], metric="iou", title="best") is figure
    assert draw_scatter(scatter_data({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a": "x", "b": "y"}), axes[1][0]) is figure
    assert draw_timeline([TimelineRow("a", "running", now, now)], axes[1][1], title="when") is figure
    assert all(ax.lines or ax.patches for ax in figure.axes)
    drawn(figure, tmp_path, "png")


def test_bars_tell_value_interval_and_count(tmp_path: Path) -> None:
    figure = draw_bars([BarRow("a", 0.61, 0.58, 0.64, 5), BarRow("b", -0.5, None, None, 1)], metric="iou", unit="%")
    drawn(figure, tmp_path)
    shown = texts(figure)
    assert "0.61 [0.58, 0.64]  n=5" in shown
    assert "-0.5000" in shown
    assert "iou (%)" in shown
    many = draw_bars([BarRow(f"e{i}", 1 / (i + 1), None, None, 1) for i in range(100)])
    assert "40 more not shown" in texts(many)


def test_scatter_takes_the_axis_that_fits(tmp_path: Path) -> None:
    learning_rates = {"a": 1e-4, "b": 1e-2, "c": 1e-1}
    ys = {"a": 0.5, "b": 0.9, "c": 0.7}
    figure = draw_scatter(scatter_data(learning_rates, ys), x_name="lr", y_name="iou", units={"iou": "%"})
    drawn(figure, tmp_path)
    assert figure.axes[0].get_xscale() == "log"
    assert "b" in texts(figure).split("\n")
    assert "iou (%)" in texts(figure)
    assert draw_scatter(scatter_data({"a": -1, "b": 5}, ys), log_x=True).axes[0].get_xscale() == "linear"
    words = draw_scatter(scatter_data({"a": "adam", "b": "sgd", "c": "adam"}, ys), mode="min")
    assert [label.get_text() for label in words.axes[0].get_xticklabels()] == ["adam", "sgd"]
    many = draw_scatter(
        scatter_data({str(i): i for i in range(12)}, {str(i): i for i in range(12)}, {str(i): i for i in range(12)})
    )
    assert "5 others" in texts(many)


def test_the_timeline_names_up_to_sixty(tmp_path: Path) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        TimelineRow(f"e{i}", "failed", start + timedelta(hours=i), start + timedelta(hours=i + 2)) for i in range(61)
    ]
    assert "e59" in texts(draw_timeline(rows[:60]))
    figure = draw_timeline(rows)
    drawn(figure, tmp_path)
    assert "e59" not in texts(figure)
    assert "61 experiments" in texts(figure)


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    for figure in (draw_curves([]), draw_bars([]), draw_scatter([]), draw_timeline([])):
        assert texts(figure).strip()
        drawn(figure, tmp_path)


def test_hostile_names_are_drawn_as_names(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    figures = [
        draw_curves(curve_data([PointRow(n, HOSTILE, 0, 1.0) for n in (HOSTILE, "b")]), title=HOSTILE),
        draw_bars([BarRow(HOSTILE, 1.0, None, None, 1)], metric=HOSTILE, title=HOSTILE),
        draw_scatter(scatter_data({"a": HOSTILE, "b": "x"}, {"a": 1, "b": 2}, {"a": HOSTILE}), x_name=HOSTILE),
        draw_timeline([TimelineRow(HOSTILE, HOSTILE, now, now)]),
    ]
    for figure in figures:
        svg = drawn(figure, tmp_path)
        assert b"<script" not in svg
        assert b"\x1b" not in svg
        drawn(figure, tmp_path, "png")


def test_files(tmp_path: Path) -> None:
    figure = draw_bars([BarRow("a", 1.0, None, None, 1)])
    assert drawn(figure, tmp_path, "png").startswith(b"\x89PNG")
    assert drawn(figure, tmp_path, "pdf").startswith(b"%PDF")
    assert drawn(figure, tmp_path) == drawn(draw_bars([BarRow("a", 1.0, None, None, 1)]), tmp_path)
    with pytest.raises(InvalidValueError, match=r"\.png, \.svg, \.pdf"):
        save(figure, tmp_path / "plot.gif")
    assert not (tmp_path / "plot.gif").exists()


def test_no_state_of_pyplot_and_no_matplotlib_before_it_is_needed() -> None:
    code = (
        "import sys; from crackseg_tracker.plots import draw_bars, BarRow, curve_data; "
        "assert 'matplotlib' not in sys.modules; draw_bars([BarRow('a', 1.0, None, None, 1)]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'crackseg_tracker\[plot\]'"):
        draw_bars([])
