"""When experiments ran: a bar for each, coloured and hatched by its status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from crackseg_tracker.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crackseg_tracker.rows import ExperimentRow

_LOOKS: dict[str, dict[str, Any]] = {
    "completed": {"facecolor": style.COLOURS[2]},
    "running": {"facecolor": style.COLOURS[5]},
    "failed": {"facecolor": style.COLOURS[1], "hatch": "////"},
    "aborted": {"facecolor": style.COLOURS[4], "hatch": "...."},
    "created": {"facecolor": style.GREY},
}
_MOST_LABELS = 60


class TimelineRow(NamedTuple):
    """One experiment: from its start (its creation, if it never started) to its end, or to now while it runs."""

    experiment_id: str
    status: str
    start: datetime
    end: datetime


def timeline_data(rows: Iterable[ExperimentRow], now: datetime | None = None) -> list[TimelineRow]:
    """Compute the bars of experiments, as `Catalog.experiments` gives them, by their start.

    Args:
        rows: Experiments.
        now: Until when running ones are drawn; default: the present.
    """
    present = now or datetime.now(UTC)
    bars: list[TimelineRow] = []
    for row in rows:
        start = datetime.fromisoformat(row.started_at or row.created_at)
        if row.completed_at:
            end = datetime.fromisoformat(row.completed_at)
        else:
            end = present if row.status == "running" else datetime.fromisoformat(row.started_at or row.created_at)
        bars.append(TimelineRow(row.experiment_id, row.status, start, max(start, end)))
    return sorted(bars, key=lambda bar: bar.start)


def draw_timeline(rows: Sequence[TimelineRow], ax: Axes | None = None, *, title: str | None = None) -> Figure:
    """Draw a bar for each experiment, the first on top. More than 60 have no names, to stay readable."""
    figure, canvas = style.canvas_of(ax, 8.0, min(max(1.6, 1.1 + 0.2 * len(rows)), 14))
    if not rows:
        style.say_empty(canvas, "no experiments")
        return figure
    import matplotlib.dates
    from matplotlib.patches import Patch

    style.tidy(canvas, grid="x")
    dates: Any = matplotlib.dates
    starts = [float(dates.date2num(row.start)) for row in rows]
    ends = [float(dates.date2num(row.end)) for row in rows]
    whole = max(ends) - min(starts) or 1 / 1440
    for place, (row, start, end) in enumerate(zip(rows, starts, ends, strict=True)):
        look = _LOOKS.get(row.status, {"facecolor": style.GREY})
        # The shortest is still seen: a sliver of the whole.
        canvas.barh(
            place, max(end - start, whole * 0.004), left=start, height=0.72, edgecolor="white", linewidth=0.4, **look
        )
    if len(rows) <= _MOST_LABELS:
        canvas.set_yticks(range(len(rows)), [style.plain(row.experiment_id, 40) for row in rows], fontsize=8)
    else:
        canvas.set_yticks([])
        canvas.set_ylabel(f"{len(rows)} experiments", color=style.INK)
    canvas.set_ylim(len(rows) - 0.4, -0.6)
    canvas.set_xlim(min(starts) - 0.01 * whole, max(ends) + 0.02 * whole)
    locator = dates.AutoDateLocator(minticks=3, maxticks=7)
    canvas.xaxis.set_major_locator(locator)
    canvas.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    canvas.set_xlabel("time (UTC)", color=style.INK)
    seen = [status for status in _LOOKS if any(row.status == status for row in rows)]
    handles = [Patch(label=status, edgecolor="white", **_LOOKS[status]) for status in seen]
    kept: dict[str, Any] = {"handles": handles, "fontsize": 8.5, "frameon": False, "labelcolor": style.INK}
    if ax is None:
        cast(Any, figure).legend(loc="outside upper right", ncols=len(handles), **kept)
    else:
        canvas.legend(loc="best", **kept)
    if title:
        canvas.set_title(style.plain(title, 80), fontsize=10, loc="left", color=style.INK)
    return figure
