"""Training curves: of several experiments and metrics, smoothed, with their bests, or as means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from crackseg_tracker.errors import InvalidValueError
from crackseg_tracker.plots import style
from crackseg_tracker.rows import BucketRow, PointRow
from crackseg_tracker.values import assumed_mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: As many points of a curve as a picture can show, for `Catalog.history`: longer ones are read as sums of ranges.
DRAWN_POINTS = 1_000
_MOST_COLOURED = 7


class CurveRow(NamedTuple):
    """One point of a curve as drawn.

    ``value`` is as logged, or the mean of the ``points`` of a range of steps, or that of ``n`` experiments.
    ``low`` and ``high`` are the least and the greatest of the range, or one standard deviation below and above the mean
    of at least two experiments, else None. ``smoothed`` is ``value`` without smoothing. ``best`` is the best that is in
    the row, and ``lost`` how many of its points are not finite.
    """

    label: str
    metric: str
    step: int
    value: float
    smoothed: float
    low: float | None
    high: float | None
    n: int
    is_best: bool
    points: int
    best: float
    lost: int


def curve_data(
    points: Iterable[PointRow | BucketRow],
    *,
    smoothing: float = 0.0,
    groups: Mapping[str, str] | None = None,
    modes: Mapping[str, str] | None = None,
) -> list[CurveRow]:
    """Compute the curves of points, as `Catalog.history` gives them: each, or summed up over ranges of steps.

    Args:
        points: By experiment, metric and step. ``catalog.history(..., points=DRAWN_POINTS)`` gives what can be seen.
        smoothing: From 0 (none) to below 1: the weight of what came before, in an exponential mean without the bias
            towards the first value; of each point, also where a row sums up several.
        groups: Experiment id -> name of its group: a curve for each group, the mean over its experiments at each step.
            Where some of them have no point, the mean is over fewer, and ``n`` says so.
        modes: Metric -> "max" or "min"; default: assumed from the name.

    Example:
        >>> from crackseg_tracker.rows import PointRow
        >>> points = [PointRow("a", "iou", 0, 0.4), PointRow("b", "iou", 0, 0.6), PointRow("a", "iou", 1, 0.7)]
        >>> [(row.label, row.step, row.value, row.is_best) for row in curve_data(points)]
        [('a', 0, 0.4, False), ('a', 1, 0.7, True), ('b', 0, 0.6, True)]
        >>> [(row.value, row.n) for row in curve_data(points, groups={"a": "unet", "b": "unet"})]
        [(0.5, 2), (0.7, 1)]
    """
    if not 0 <= smoothing < 1:
        raise InvalidValueError(
            f"smoothing {smoothing!r} is outside 0 to below 1; give 0.6 for a little, 0.95 for much"
        )
    buckets = [row if isinstance(row, BucketRow) else _alone(row) for row in points]
    series = _by_step(buckets) if groups is None else _grouped(buckets, groups)
    rows: list[CurveRow] = []
    for (metric, label), by_step in series.items():
        mode = (modes or {}).get(metric) or assumed_mode(metric)
        summed = [
            _row(label, metric, step, by_step[step], mode, is_group=groups is not None) for step in sorted(by_step)
        ]
        finite = [(row.best, row.step) for row in summed if isfinite(row.best)]
        best = (max if mode == "max" else min)(finite, key=lambda point: point[0])[1] if finite else None
        rows += [
            row._replace(smoothed=smoothed, is_best=row.step == best)
            for row, smoothed in zip(summed, _smoothed(summed, smoothing), strict=True)
        ]
    return rows


#: Of a metric and a label, by step, the buckets of each experiment.
_Series = dict[tuple[str, str], dict[int, dict[str, list[BucketRow]]]]


def _alone(row: PointRow) -> BucketRow:
    value = row.value
    return BucketRow(*row[:3], row.step, 1, int(value != value), value, value, value, value)


def _by_step(buckets: Iterable[BucketRow]) -> _Series:
    series: _Series = {}
    for one in buckets:
        step = (one.first_step + one.last_step) // 2
        series.setdefault((one.metric, one.experiment_id), {})[step] = {one.experiment_id: [one]}
    return series


def _grouped(buckets: Sequence[BucketRow], groups: Mapping[str, str]) -> _Series:
    """Bring experiments to common steps: those of different lengths were summed up over different ranges."""
    ranges: dict[tuple[str, str], list[BucketRow]] = {}
    for one in buckets:
        ranges.setdefault((one.metric, one.experiment_id), []).append(one)
    widths: dict[str, int] = {}
    for (metric, _), own in ranges.items():
        is_summed = any(one.points > 1 for one in own)
        width = -(-(own[-1].last_step - own[0].first_step + 1) // len(own)) if is_summed else 1
        widths[metric] = max(widths.get(metric, 1), width)
    series: _Series = {}
    for one in buckets:
        width = widths[one.metric]
        by_step = series.setdefault((one.metric, groups.get(one.experiment_id, one.experiment_id)), {})
        for cell in range(one.first_step // width, one.last_step // width + 1):
            by_step.setdefault(cell * width + width // 2, {}).setdefault(one.experiment_id, []).append(one)
    return series


def _row(
    label: str, metric: str, step: int, experiments: Mapping[str, Sequence[BucketRow]], mode: str, *, is_group: bool
) -> CurveRow:
    """Sum up what is at a step; of several experiments the finite means count, of one its value as it is."""
    counts = [sum(one.points for one in own) for own in experiments.values()]
    means = [sum(one.mean * one.points for one in own) / sum(one.points for one in own) for own in experiments.values()]
    lost = sum(max(one.nan_count, not isfinite(one.mean)) for own in experiments.values() for one in own)
    finite = [mean for mean in means if isfinite(mean)]
    value, low, high, n = means[0], None, None, 1
    if len(means) > 1:
        value, n = sum(finite) / len(finite) if finite else nan, len(finite)
    if n > 1:
        deviation = sqrt(sum((mean - value) ** 2 for mean in finite) / (n - 1))
        low, high = value - deviation, value + deviation
    best = value
    if not is_group:
        [[only]] = experiments.values()
        best = only.max if mode == "max" else only.min
        if only.points > 1 and isfinite(only.min) and isfinite(only.max):
            low, high = only.min, only.max
    return CurveRow(label, metric, step, value, value, low, high, n, False, max(counts), best, lost)


def _smoothed(rows: Sequence[CurveRow], weight: float) -> list[float]:
    if not weight:
        return [row.value for row in rows]
    smooth: list[float] = []
    total, seen = 0.0, 0
    for row in rows:
        if isfinite(row.value):
            kept = weight**row.points
            total = kept * total + (1 - kept) * row.value
            seen += row.points
            smooth.append(total / (1 - weight**seen))
        else:
            smooth.append(nan)
    return smooth


def draw_curves(
    rows: Sequence[CurveRow],
    ax: Axes | None = None,
    *,
    log: bool = False,
    units: Mapping[str, str | None] | None = None,
    title: str | None = None,
    step_name: str = "step",
) -> Figure:
    """Draw curves, each metric on axes of its own; on one ``ax`` that is given, each in a line style of its own.

    The seven best by the first metric have colours, the others are grey. Where curves were smoothed, the values as
    logged are drawn faintly beneath. Bands are one standard deviation over experiments, or go from the least to the
    greatest of the points that were summed up. A circle marks the best; a cross at the bottom, a value that is not
    finite.
    """
    metrics = style.ordered(row.metric for row in rows)
    labels = _ranked(rows)
    if ax is not None:
        figure, panels = style.figure_of(ax), [ax] * max(len(metrics), 1)
    else:
        figure, panels = style.new_figure(7.2 if len(metrics) < 2 else 5.2 * len(metrics), 4.2, max(len(metrics), 1))
    if not rows:
        style.say_empty(panels[0], "no points")
        return figure
    coloured = labels if len(labels) <= _MOST_COLOURED + 1 else labels[:_MOST_COLOURED]
    looks = {label: _look(index) for index, label in enumerate(coloured)}
    series: dict[tuple[str, str], list[CurveRow]] = {}
    for row in rows:
        series.setdefault((row.metric, row.label), []).append(row)
    for index, (metric, panel) in enumerate(zip(metrics, panels, strict=True)):
        for label in reversed(labels):  # the best on top
            if (metric, label) in series:
                own_style = ("-", "--", ":", "-.")[index % 4] if ax is not None and len(metrics) > 1 else None
                _draw_series(panel, series[metric, label], looks.get(label), own_style, few=len(labels) <= 8)
        _finish(panel, rows, metric, log=log, unit=(units or {}).get(metric), step_name=step_name)
    if ax is not None and len(metrics) > 1:
        cast(Any, ax).set_title("")  # the legend tells the metrics apart
    heading = title if title is not None else labels[0] if len(labels) == 1 else None
    if heading and ax is None:
        cast(Any, figure).suptitle(style.plain(heading, 80), fontsize=11, color=style.INK)
    _explain(figure, panels, labels, looks, ax, rows)
    return figure


def _ranked(rows: Sequence[CurveRow]) -> list[str]:
    """Order the labels by their best of the first metric; those without one come last."""
    labels = style.ordered(row.label for row in rows)
    if not rows:
        return labels
    first = rows[0].metric
    bests = {row.label: row.best for row in rows if row.metric == first and row.is_best}
    # Which way is better shows in the rows themselves: no value of a curve is better than its best.
    higher = all(row.best <= bests[row.label] for row in rows if row.metric == first and isfinite(row.best))
    return sorted(labels, key=lambda label: (label not in bests, (-1 if higher else 1) * bests.get(label, 0.0)))


def _look(index: int) -> dict[str, Any]:
    dashes = ("-", (0, (5, 1.5)), (0, (1.5, 1)))[index // len(style.COLOURS) % 3]
    return {"color": style.COLOURS[index % len(style.COLOURS)], "linestyle": dashes}


def _draw_series(
    ax: Any, rows: Sequence[CurveRow], look: dict[str, Any] | None, own_style: str | None, *, few: bool
) -> None:
    chosen = dict(look or {"color": style.GREY, "linestyle": "-"})
    if own_style:
        chosen["linestyle"] = own_style
    steps = [row.step for row in rows]
    values = [row.value if isfinite(row.value) else nan for row in rows]
    smoothed = any(row.smoothed != row.value and isfinite(row.value) for row in rows)
    if smoothed and look:
        ax.plot(steps, values, color=chosen["color"], linewidth=0.8, alpha=0.3)
    if look and any(row.low is not None for row in rows):
        low = [nan if row.low is None else row.low for row in rows]
        high = [nan if row.high is None else row.high for row in rows]
        ax.fill_between(steps, low, high, color=chosen["color"], alpha=0.16, linewidth=0)
    width = 1.7 if look and few else 1.3 if look else 0.7
    # One point alone is no line.
    marker = "o" if len(rows) == 1 else None
    ax.plot(
        steps,
        [row.smoothed if isfinite(row.smoothed) else nan for row in rows],
        linewidth=width,
        alpha=1 if look else 0.55,
        marker=marker,
        markersize=4,
        zorder=3 if look else 2,
        **chosen,
    )
    if look:
        best = [row for row in rows if row.is_best]
        ax.plot(
            [row.step for row in best],
            [row.best for row in best],
            "o",
            color="white",
            markeredgecolor=chosen["color"],
            markeredgewidth=1.6,
            markersize=6,
            zorder=5,
        )
        lost = [row.step for row in rows if row.lost]
        ax.plot(lost, [0.015] * len(lost), "x", color=chosen["color"], transform=ax.get_xaxis_transform(), zorder=5)


def _finish(ax: Any, rows: Sequence[CurveRow], metric: str, *, log: bool, unit: str | None, step_name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    style.tidy(ax)
    ax.set_xlabel(style.plain(step_name), color=style.INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.set_title(style.with_unit(metric, unit), fontsize=10, color=style.INK, loc="left")
    ax.margins(x=0.02)
    if log:
        ax.set_yscale("log", nonpositive="mask")
        hidden = sum(row.metric == metric and row.value <= 0 for row in rows)
        if hidden:
            ax.text(
                *(1, 1.01, f"{hidden} value{'' if hidden == 1 else 's'} at or below 0 not shown"),
                transform=ax.transAxes,
                ha="right",
                fontsize=8,
                color=style.INK,
            )


def _explain(
    figure: Figure,
    panels: Sequence[Any],
    labels: Sequence[str],
    looks: Mapping[str, dict[str, Any]],
    ax: Axes | None,
    rows: Sequence[CurveRow],
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    metrics = style.ordered(row.metric for row in rows)

    handles: list[Any] = []
    if len(labels) > 1:
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.label] = max(counts.get(row.label, 0), row.n)
        for label, look in looks.items():
            number = f" (n={counts[label]})" if counts[label] > 1 else ""
            handles.append(Line2D([], [], linewidth=1.8, label=style.plain(label) + number, **look))
        others = len(labels) - len(looks)
        if others:
            handles.append(
                Line2D([], [], color=style.GREY, linewidth=0.9, label=f"{others} other{'' if others == 1 else 's'}")
            )
    if ax is not None and len(metrics) > 1:
        handles += [
            Line2D([], [], color=style.INK, linestyle=("-", "--", ":", "-.")[i % 4], label=style.plain(metric))
            for i, metric in enumerate(metrics)
        ]
    if any(row.low is not None for row in rows):
        at_once = max((row.points for row in rows if row.low is not None and row.n == 1), default=0)
        band = f"least to greatest of {at_once:,} steps" if at_once else "± 1 standard deviation"
        handles.append(Patch(color=style.GREY, alpha=0.35, linewidth=0, label=band))
    if any(row.smoothed != row.value and isfinite(row.value) for row in rows):
        handles.append(Line2D([], [], color=style.INK, linewidth=0.8, alpha=0.45, label="as logged; bold: smoothed"))
    handles.append(
        Line2D([], [], color="white", marker="o", markeredgecolor=style.INK, markeredgewidth=1.4, label="best")
    )
    kept: dict[str, Any] = {"handles": handles, "fontsize": 8.5, "frameon": False, "labelcolor": style.INK}
    if ax is None and len(labels) > 1:
        loc = "center" if cast(Any, figure).get_suptitle() else "upper"  # below a title, however long
        cast(Any, figure).legend(loc=f"outside right {loc}", **kept)
    else:
        panels[0].legend(loc="best", **kept)
