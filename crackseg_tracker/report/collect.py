"""What a report says: tables with the SQL behind them, curves, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from crackseg_tracker.errors import NotFoundError
from crackseg_tracker.plots import DRAWN_POINTS
from crackseg_tracker.report import queries
from crackseg_tracker.results import Result
from crackseg_tracker.rows import BucketRow

if TYPE_CHECKING:
    from crackseg_tracker.catalog import Catalog
    from crackseg_tracker.filters import ExperimentFilters

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_MOST_CURVES = 50
_MOST_COMPARED = 6
_MOST_PICTURES = 24
_NUMBERS = "SELECT experiment_number FROM experiments WHERE experiment_id IN (SELECT value FROM json_each(?))"


class Section(NamedTuple):
    """A table with its title, what to know about it, and the SQL that gave it."""

    title: str
    note: str
    table: Result[Any]
    sql: str


class Picture(NamedTuple):
    """A picture among the artifacts, where it was when the report was made."""

    experiment_id: str
    artifact_id: str
    path: Path


class Report(NamedTuple):
    """All that a report says."""

    title: str
    made_at: str
    catalog: str
    #: Of all experiments that it is about.
    ids: tuple[str, ...]
    metric: str | None
    mode: str
    units: dict[str, str | None]
    sections: tuple[Section, ...]
    #: Curves of the best experiments, as far as they can be drawn.
    points: tuple[BucketRow, ...]
    pictures: tuple[Picture, ...]


def collect(
    catalog: Catalog, metric: str | None = None, title: str = "Experiments", **filters: Unpack[ExperimentFilters]
) -> Report:
    """Ask a catalog for all that a report says.

    Args:
        catalog: An open one.
        metric: The one to rank by; default: what most of the experiments have; of those one that was logged, not of the
            training split, and where higher is better.
        title: Of the report.
        **filters: See `crackseg_tracker.filters.ExperimentFilters`.

    Raises:
        NotFoundError: Nobody recorded such a metric; suggests the nearest.
    """
    ids = tuple(row.experiment_id for row in catalog.experiments(**filters))
    numbers = [number for (number,) in catalog.sql(_NUMBERS, [json.dumps(ids)])]
    chosen = queries.chosen(numbers)
    known = {name: (mode, unit) for name, mode, unit in catalog.sql("SELECT metric, mode, unit FROM metric_names")}
    if metric is None:
        metric = next((name for (name,) in catalog.sql(f"{chosen}\n{queries.COMMONEST_METRIC}")), None)
    elif metric not in known:
        catalog.best(metric, limit=0)  # raises, and suggests the nearest
        raise NotFoundError(f"no metric {metric!r}")
    mode = known[metric][0] if metric else "max"

    def asked(title: str, note: str, query: str) -> Section:
        return Section(title, note, catalog.sql(query), query)

    sections = [asked("Summary", f"{len(ids):,} experiments", f"{chosen}\n{queries.SUMMARY}")]
    ranked: list[str] = []
    points: Sequence[BucketRow] = ()
    if metric is not None:
        better = "higher" if mode == "max" else "lower"
        ranking = asked(
            f"Leaderboard by {metric}", f"{better} is better", f"{chosen}\n{queries.leaderboard(metric, mode)}"
        )
        ranked = [row[1] for row in ranking.table]
        note = f"share of the variance of {metric} that each param alone accounts for; no proof of a cause"
        sections += [ranking, asked("Params that matter", note, f"{chosen}{queries.influences(metric, mode)}")]
        points = catalog.history(metric, ranked[:_MOST_CURVES], points=DRAWN_POINTS).rows
    best = ranked[:_MOST_COMPARED]
    if len(best) > 1:
        note = f"params that differ among the best {len(best)}"
        sections.append(asked("Config differences", note, queries.config_differences(best)))
    sections += [
        asked("What failed or was aborted", "the newest 50 at most", f"{chosen}\n{queries.FAILURES}"),
        asked("Artifacts", "", f"{chosen}\n{queries.ARTIFACTS}"),
        asked("Environment", "", f"{chosen}\n{queries.ENVIRONMENT}"),
    ]
    return Report(
        title,
        datetime.now(UTC).isoformat(timespec="seconds"),
        str(catalog.path),
        ids,
        metric,
        mode,
        {name: unit for name, (_, unit) in known.items()},
        tuple(section for section in sections if section.table),
        tuple(points),
        tuple(_pictures(catalog.sql(f"{chosen}\n{queries.PICTURES}"), ranked)),
    )


def _pictures(found: Result[Any], ranked: Sequence[str]) -> list[Picture]:
    """Choose the pictures that are still there, of the best experiments first."""
    place = {experiment_id: index for index, experiment_id in enumerate(ranked)}
    named = [Picture(row[0], row[1], Path(row[2])) for row in found if row[2].lower().endswith(PICTURES)]
    named.sort(key=lambda picture: place.get(picture.experiment_id, len(place)))
    there: list[Picture] = []
    for picture in named:
        if len(there) == _MOST_PICTURES:
            break
        if picture.path.is_file():
            there.append(picture)
    return there
