"""A metric against a param or another metric: one dot for each experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from crackseg_tracker.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ScatterRow(NamedTuple):
    """One experiment: x is a number, or a text where the param is one; ``group`` gives the colour."""

    experiment_id: str
    x: float | str
    y: float
    group: str


def scatter_data(
    xs: Mapping[str, object], ys: Mapping[str, float], groups: Mapping[str, object] | None = None
) -> list[ScatterRow]:
    """Pair the values of experiments that have both; a bool, a missing value and a list of values are texts.

    Args:
        xs: Experiment id -> param or metric.
        ys: Experiment id -> metric.
        groups: Experiment id -> what the colour tells.

    Example:
        >>> [(row.x, row.y) for row in scatter_data({"a": 0.1, "b": "adam"}, {"a": 0.5, "b": 0.7, "c": 0.9})]
        [('0.1', 0.5), ('adam', 0.7)]
    """
    both = [name for name in ys if name in xs and isfinite(ys[name])]
    numeric = all(isinstance(xs[name], (int, float)) and not isinstance(xs[name], bool) for name in both)
    rows: list[ScatterRow] = []
    for name in both:
        x: Any = xs[name]
        group = str((groups or {}).get(name, ""))
        if not numeric:
            rows.append(ScatterRow(name, str(x), ys[name], group))
        elif isfinite(x):
            rows.append(ScatterRow(name, x, ys[name], group))
    return rows


def draw_scatter(
    rows: Sequence[ScatterRow],
    ax: Axes | None = None,
    *,
    x_name: str = "",
    y_name: str = "",
    group_name: str = "",
    units: Mapping[str, str | None] | None = None,
    log_x: bool | None = None,
    mode: str = "max",
    title: str | None = None,
) -> Figure:
    """Draw dots; the best is named. Texts stand side by side, their dots spread so that none hides another.

    Args:
        rows: As `scatter_data` gives them.
        ax: Draws there instead of on a new figure.
        x_name: The param or metric.
        y_name: The metric.
        group_name: What the colours tell.
        units: Metric -> unit.
        log_x: A logarithmic axis; default: where numbers above zero span more than a factor of 30.
        mode: "max" or "min": which y is the best.
        title: Above the plot.
    """
    figure, canvas = style.canvas_of(ax, 6.4, 4.4)
    if not rows:
        style.say_empty(canvas, "no experiment has both values")
        return figure
    style.tidy(canvas)
    numbers = [row.x for row in rows if not isinstance(row.x, str)]
    places: Mapping[str, float]
    if numbers:
        places = {row.experiment_id: row.x for row in rows if not isinstance(row.x, str)}
        spread = min(numbers) > 0 and max(numbers) / min(numbers) > 30
        if (spread if log_x is None else log_x) and min(numbers) > 0:
            canvas.set_xscale("log")
    else:
        places = _side_by_side(canvas, rows)
    groups = style.ordered(row.group for row in sorted(rows, key=lambda row: row.group))
    markers = "osD^vP*X"
    for index, group in enumerate(groups[:8]):
        own = [row for row in rows if row.group == group or (index == 7 and row.group in groups[7:])]
        canvas.plot(
            [places[row.experiment_id] for row in own],
            [row.y for row in own],
            markers[index],
            color=style.COLOURS[index % len(style.COLOURS)],
            markeredgecolor="white",
            markeredgewidth=0.7,
            markersize=7.5,
            alpha=0.85,
            label=style.plain(group if index < 7 or len(groups) <= 8 else f"{len(groups) - 7} others") or " ",
        )
    _name_the_best(canvas, rows, places, mode)
    canvas.set_xlabel(style.with_unit(x_name, (units or {}).get(x_name)), color=style.INK)
    canvas.set_ylabel(style.with_unit(y_name, (units or {}).get(y_name)), color=style.INK)
    canvas.margins(0.08)
    if len(groups) > 1:
        where: dict[str, Any] = {"loc": "outside right upper"} if ax is None else {"loc": "best"}
        holder: Any = figure if ax is None else canvas
        holder.legend(title=style.plain(group_name), fontsize=8.5, title_fontsize=8.5, frameon=False, **where)
    if title:
        canvas.set_title(style.plain(title, 80), fontsize=10, loc="left", color=style.INK)
    return figure


def _side_by_side(canvas: Any, rows: Sequence[ScatterRow]) -> Mapping[str, float]:
    names = sorted({str(row.x) for row in rows})
    canvas.set_xticks(range(len(names)), [style.plain(name, 24) for name in names], fontsize=8.5)
    if sum(map(len, names)) > 60:
        canvas.tick_params(axis="x", rotation=30)
        for label in canvas.get_xticklabels():
            label.set_ha("right")
    canvas.set_xlim(-0.6, len(names) - 0.4)
    places: dict[str, float] = {}
    for place, name in enumerate(names):
        own = sorted((row for row in rows if row.x == name), key=lambda row: row.y)
        for index, row in enumerate(own):
            # A fixed zigzag, not chance: the same data give the same picture.
            places[row.experiment_id] = place + (0 if len(own) == 1 else ((index * 2) % 5 - 2) * 0.09)
    return places


def _name_the_best(canvas: Any, rows: Iterable[ScatterRow], places: Mapping[str, float], mode: str) -> None:
    best = (max if mode == "max" else min)(rows, key=lambda row: row.y)
    point = canvas.transData.transform((places[best.experiment_id], best.y))
    right = canvas.transAxes.inverted().transform(point)[0]  # the name goes to the side that has room
    canvas.annotate(
        style.plain(best.experiment_id),
        (places[best.experiment_id], best.y),
        xytext=(-8 if right > 0.5 else 8, 6 if mode == "max" else -6),
        textcoords="offset points",
        ha="right" if right > 0.5 else "left",
        va="bottom" if mode == "max" else "top",
        fontsize=8,
        color=style.INK,
        zorder=6,
    )
