"""``plot``: pictures of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.options import (
    Filters,
    catalog_option,
    file_options,
    filter_options,
    group_choice,
    limit_options,
    metric_argument,
    mode_option,
    sort_option,
)
from crackseg_tracker.cli.output import counted, say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crackseg_tracker import Catalog

Command = TypeVar("Command", bound=Callable[..., Any])


class _Metrics(NamedTuple):
    """What is known of metrics by name: which direction is better, and the unit."""

    modes: Mapping[str, str]
    units: Mapping[str, str | None]


@click.group("plot")
def plot_command() -> None:
    """Draw curves, bars, a scatter plot or a timeline into a file.

    The ending of the file says the format: .png, .svg or .pdf. Needs the extra: pip install 'crackseg_tracker[plot]'.
    """


@plot_command.command("curves")
@catalog_option
@metric_argument("metrics", many=True)
@click.option("--experiment", multiple=True, metavar="ID", shell_complete=completion.ids, help="Of an experiment.")
@filter_options()
@sort_option
@limit_options(None)
@click.option("--smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0, metavar="0..1", help="How much.")
@click.option("--log", is_flag=True, help="A logarithmic scale.")
@click.option(
    "--group-by", metavar="PARAM", shell_complete=completion.params, help="The mean and a band over a param's values."
)
@file_options
def curves_command(
    catalog: str | None,
    metrics: tuple[str, ...],
    experiment: tuple[str, ...],
    filters: Filters,
    sort: tuple[str, ...],
    limit: int | None,
    smoothing: float,
    log: bool,
    group_by: str | None,
    path: str,
) -> None:
    """Draw curves of metrics.

    With more than eight, the seven best have colours; --sort=-val/iou --limit 10 draws the best ten.
    """
    from crackseg_tracker import Catalog
    from crackseg_tracker.plots import DRAWN_POINTS, curve_data, draw_curves

    with Catalog(catalog) as opened:
        chosen: Any = dict(filters(opened))
        if experiment:
            chosen["experiment_id"] = [opened.resolve(one) for one in experiment]
        rows = opened.experiments(**chosen, order_by=list(sort) or None, limit=limit)
        groups = None if group_by is None else _values(opened, group_by, [row.experiment_id for row in rows])
        points = opened.history(list(metrics), [row.experiment_id for row in rows], points=DRAWN_POINTS)
        known = _metrics(opened)
    data = curve_data(points, smoothing=smoothing, groups=groups, modes=known.modes)
    _write(draw_curves(data, log=log, units=known.units), path, len({point.experiment_id for point in points}))


@plot_command.command("bars")
@catalog_option
@metric_argument()
@mode_option
@click.option(
    "--group-by",
    multiple=True,
    metavar="PARAM",
    shell_complete=completion.params,
    help="The mean and its interval of each group instead; as in stats.",
)
@filter_options()
@limit_options(20)
@file_options
def bars_command(
    catalog: str | None,
    metric: str,
    mode: Any,
    group_by: tuple[str, ...],
    filters: Filters,
    limit: int | None,
    path: str,
) -> None:
    """Draw a ranking as bars.

    By the best value of a metric, or the means of groups.
    """
    from crackseg_tracker import Catalog
    from crackseg_tracker.plots import bar_data, draw_bars, grouped_bar_data

    with Catalog(catalog) as opened:
        if group_by:
            rows = grouped_bar_data(opened.statistics(metric, group_choice(group_by), mode=mode, **filters(opened)))[
                : limit or None
            ]
        else:
            rows = bar_data(opened.best(metric, mode, limit or None, **filters(opened)))
        unit = _metrics(opened).units.get(metric)
    _write(draw_bars(rows, metric=metric, unit=unit), path, sum(row.n for row in rows))


@plot_command.command("scatter")
@catalog_option
@click.argument("field", shell_complete=completion.params)
@metric_argument()
@filter_options()
@click.option("--colour-by", metavar="PARAM", shell_complete=completion.params, help="What the colours tell.")
@click.option("--log/--linear", "log_x", default=None, help="The axis of FIELD; default: as fits its values.")
@file_options
def scatter_command(
    catalog: str | None,
    field: str,
    metric: str,
    filters: Filters,
    colour_by: str | None,
    log_x: bool | None,
    path: str,
) -> None:
    """Draw METRIC (its best) against FIELD, a param or another metric."""
    from crackseg_tracker import Catalog
    from crackseg_tracker.plots import draw_scatter, scatter_data

    with Catalog(catalog) as opened:
        chosen = filters(opened)
        ys = {row.experiment_id: row.value for row in opened.best(metric, None, None, **chosen)}
        xs = _values(opened, field, list(ys))
        groups = None if colour_by is None else _values(opened, colour_by, list(ys))
        known = _metrics(opened)
    rows = scatter_data(xs, ys, groups)
    figure = draw_scatter(
        rows,
        x_name=field,
        y_name=metric,
        group_name=colour_by or "",
        units=known.units,
        log_x=log_x,
        mode=known.modes[metric],
    )
    _write(figure, path, len(rows))


@plot_command.command("timeline")
@catalog_option
@filter_options()
@sort_option
@limit_options(None)
@file_options
def timeline_command(
    catalog: str | None, filters: Filters, sort: tuple[str, ...], limit: int | None, path: str
) -> None:
    """Draw when experiments ran, and how they ended."""
    from crackseg_tracker import Catalog
    from crackseg_tracker.plots import draw_timeline, timeline_data

    with Catalog(catalog) as opened:
        rows = timeline_data(opened.experiments(**filters(opened), order_by=list(sort) or None, limit=limit))
    _write(draw_timeline(rows), path, len(rows))


def _metrics(catalog: Catalog) -> _Metrics:
    known = catalog.sql("SELECT metric, mode, unit FROM metric_names")
    return _Metrics({name: mode for name, mode, _ in known}, {name: unit for name, _, unit in known})


def _values(catalog: Catalog, name: str, ids: list[str]) -> dict[str, Any]:
    """Give a param or the best of a metric for experiments; those without one are left out."""
    from crackseg_tracker.cli.parsing import field
    from crackseg_tracker.filters import ParamField

    meant = field(name, catalog)
    found: dict[str, Any] = {}
    for row in catalog.experiments(experiment_id=ids):
        values: Mapping[str, Any] = row.params if isinstance(meant, ParamField) else row.best_metrics
        if meant.name in values:
            found[row.experiment_id] = values[meant.name]
    return found


def _write(figure: Figure, path: str, count: int) -> None:
    from crackseg_tracker.plots import save

    save(figure, Path(path))
    say(f"{path}: {counted(count)}")
