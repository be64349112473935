"""The leaderboard as bars, with intervals where there are several experiments behind a bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from crackseg_tracker.formatting import human_text, number_text
from crackseg_tracker.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crackseg_tracker.rows import BestRow
    from crackseg_tracker.statistics import StatisticsRow

_MOST_BARS = 60


class BarRow(NamedTuple):
    """One bar: a value, the interval around it (None where there is none), and of how many experiments it is."""

    label: str
    value: float
    low: float | None
    high: float | None
    n: int


def bar_data(rows: Iterable[BestRow]) -> list[BarRow]:
    """Compute the bars of a ranking, as `Catalog.best` gives it.

    Example:
        >>> from crackseg_tracker.rows import BestRow
        >>> bar_data([BestRow("a", "unet", 0.7, 3, "logged", "max", "completed", "roads", "iou")])
        [BarRow(label='a', value=0.7, low=None, high=None, n=1)]
    """
    return [BarRow(row.experiment_id, row.value, None, None, 1) for row in rows]


def grouped_bar_data(rows: Iterable[StatisticsRow]) -> list[BarRow]:
    """Compute the bars of groups, as `Catalog.statistics` gives them: the mean, its interval, how many experiments."""
    return [BarRow(_group_name(row.group), row.mean, row.low, row.high, row.n) for row in rows if row.mean is not None]


def _group_name(group: Mapping[str, object]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]}={human_text(value)}" for name, value in group.items()) or "all"


def draw_bars(
    rows: Sequence[BarRow],
    ax: Axes | None = None,
    *,
    metric: str = "",
    unit: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw bars from zero, best on top, each with its value; whiskers are intervals. At most 60, and says so."""
    shown = [row for row in rows if isfinite(row.value)][:_MOST_BARS]
    figure, canvas = style.canvas_of(ax, 7.2, max(1.4, 0.9 + 0.24 * len(shown)))
    if not shown:
        style.say_empty(canvas, "no values")
        return figure
    style.tidy(canvas, grid="x")
    places = range(len(shown))
    canvas.barh(places, [row.value for row in shown], height=0.72, color=style.COLOURS[5], zorder=2)
    for place, row in zip(places, shown, strict=True):
        if row.low is not None and row.high is not None:
            canvas.plot([row.low, row.high], [place, place], color=style.INK, linewidth=1.4, zorder=4)
            canvas.plot([row.low, row.high], [place, place], "|", color=style.INK, markersize=6, zorder=4)
        end = max(row.value, row.high or row.value, 0.0)
        count = f"  n={row.n}" if row.n > 1 else ""
        canvas.annotate(
            f"{_value_text(row)}{count}",
            (end, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=style.INK,
        )
    canvas.set_yticks(places, [style.plain(row.label, 44) for row in shown], fontsize=8.5)
    canvas.set_ylim(len(shown) - 0.4, -0.6)
    low, high = canvas.get_xlim()
    canvas.set_xlim(low if low < 0 else 0, high + 0.12 * (high - min(low, 0)))  # room for the values
    canvas.set_xlabel(style.with_unit(metric, unit), color=style.INK)
    hidden = len(rows) - len(shown)
    heading = style.plain(title, 80) if title else ""
    if hidden:
        heading = f"{heading}  ({hidden} more not shown)".strip()
    if heading:
        canvas.set_title(heading, fontsize=10, loc="left", color=style.INK)
    return figure


def _value_text(row: BarRow) -> str:
    if row.low is None or row.high is None:
        return f"{row.value:#.4g}" if 1e-3 <= abs(row.value) < 1e4 else number_text(float(f"{row.value:.4g}"))
    return f"{row.value:.4g} [{row.low:.3g}, {row.high:.3g}]"
