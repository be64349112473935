"""Plots of rows, with matplotlib (extra ``plot``) and without pyplot's state.

Each is two functions: one computes the data as rows, one draws them, on an ``ax`` or on a new Figure, and gives the
Figure. They know rows, never a catalog::

    points = catalog.history(["val/iou", "train/loss"], ids, points=DRAWN_POINTS)
    save(draw_curves(curve_data(points, smoothing=0.6)), "curves.svg")

==============  ================================================
curves          `curve_data`, `draw_curves`
bars            `bar_data` or `grouped_bar_data`, `draw_bars`
scatter         `scatter_data`, `draw_scatter`
timeline        `timeline_data`, `draw_timeline`
==============  ================================================
"""

from crackseg_tracker.plots.bars import BarRow, bar_data, draw_bars, grouped_bar_data
from crackseg_tracker.plots.curves import DRAWN_POINTS, CurveRow, curve_data, draw_curves
from crackseg_tracker.plots.scatter import ScatterRow, draw_scatter, scatter_data
from crackseg_tracker.plots.style import save
from crackseg_tracker.plots.timeline import TimelineRow, draw_timeline, timeline_data

__all__ = [
    "DRAWN_POINTS",
    "BarRow",
    "CurveRow",
    "ScatterRow",
    "TimelineRow",
    "bar_data",
    "curve_data",
    "draw_bars",
    "draw_curves",
    "draw_scatter",
    "draw_timeline",
    "grouped_bar_data",
    "save",
    "scatter_data",
    "timeline_data",
]
