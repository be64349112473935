"""What a report says: tables with the SQL behind them, curves, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from crackseg_tracker.errors import NotFoundError
from crackseg_tracker.report.influence import InfluenceRow, influences
from crackseg_tracker.results import Result
from crackseg_tracker.rows import PointRow

if TYPE_CHECKING:
    from crackseg_tracker.catalog import Catalog
    from crackseg_tracker.filters import ExperimentFilters

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_MOST_CURVES = 50
_MOST_COMPARED = 6
_MOST_PICTURES = 24
_MOST_RANKED = 50


class Section(NamedTuple):
    """A table with its title, what to know about it, and the SQL that gave it ("" where Python summed it up)."""

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
    #: The ids that ``:ids`` stands for in the SQL, as a JSON array.
    ids: tuple[str, ...]
    metric: str | None
    mode: str
    units: dict[str, str | None]
    sections: tuple[Section, ...]
    points: tuple[PointRow, ...]
    pictures: tuple[Picture, ...]


_SUMMARY = """SELECT status, count(*) AS experiments, round(sum(training_time_seconds) / 3600.0, 2) AS training_hours,
  min(created_at) AS first_created_at, max(created_at) AS last_created_at
FROM experiments WHERE experiment_id IN (SELECT value FROM json_each(:ids))
GROUP BY status ORDER BY experiments DESC, status"""
_LEADERBOARD = """SELECT rank() OVER (ORDER BY value {order}) AS rank, experiment_id, experiment_name, value, step,
  source, status
FROM metric_bests WHERE metric = :metric AND experiment_id IN (SELECT value FROM json_each(:ids))
ORDER BY value {order}, experiment_number LIMIT 50"""
# The last line of a traceback names the exception: what is before the last line break is taken away.
_FAILURES = """SELECT experiment_id, status, epoch, replace(text, rtrim(text, replace(text, char(10), '')), '') AS error
FROM (SELECT experiment_id, status, current_epoch AS epoch, rtrim(error_message, char(10)) AS text
  FROM experiments WHERE status IN ('failed', 'aborted') AND experiment_id IN (SELECT value FROM json_each(:ids))
  ORDER BY experiment_number DESC LIMIT 50)"""
_LOGGED = """SELECT DISTINCT metric FROM metric_summaries
WHERE experiment_id IN (SELECT value FROM json_each(:ids))"""
_ENVIRONMENT = """SELECT hostname, python_version, pytorch_version, cuda_version, git_branch,
  substr(git_commit, 1, 10) AS git_commit, git_dirty, count(*) AS experiments
FROM experiments WHERE experiment_id IN (SELECT value FROM json_each(:ids))
GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY experiments DESC, 1, 6 LIMIT 50"""
_ARTIFACTS = """SELECT artifact_type, count(*) AS artifacts, sum(size_bytes) AS size_bytes,
  sum(digest_state = 'missing') AS missing
FROM artifacts WHERE experiment_id IN (SELECT value FROM json_each(:ids))
GROUP BY artifact_type ORDER BY artifacts DESC, artifact_type"""
_PICTURES = """SELECT experiment_id, artifact_id, absolute_path FROM artifacts
WHERE kind <> 'folder' AND experiment_id IN (SELECT value FROM json_each(:ids)) ORDER BY artifact_number DESC"""


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
    rows = catalog.experiments(**filters)
    ids = tuple(row.experiment_id for row in rows)
    given = {"ids": json.dumps(ids)}
    known = {name: (mode, unit) for name, mode, unit in catalog.sql("SELECT metric, mode, unit FROM metric_names")}
    if metric is None:
        counts = {name: sum(name in row.best_metrics for row in rows) for name in known}
        logged = {name for (name,) in catalog.sql(_LOGGED, given)}  # those have curves
        order = sorted(
            known,
            key=lambda name: (
                -counts[name],
                name not in logged,
                name.startswith("train"),
                known[name][0] != "max",
                name,
            ),
        )
        metric = next((name for name in order if counts[name]), None)
    elif metric not in known:
        catalog.best(metric, limit=0)  # raises, and suggests the nearest
        raise NotFoundError(f"no metric {metric!r}")
    mode = known[metric][0] if metric else "max"

    def asked(name: str, note: str, query: str, **more: Any) -> Section:
        return Section(name, note, catalog.sql(query, {**given, **more}), query)

    sections = [asked("Summary", f"{len(ids):,} experiments", _SUMMARY)]
    ranked: list[str] = []
    points: Sequence[PointRow] = ()
    if metric is not None:
        ranking = _LEADERBOARD.format(order="DESC" if mode == "max" else "ASC")
        better = "higher" if mode == "max" else "lower"
        leaderboard = asked(f"Leaderboard by {metric}", f"{better} is better", ranking, metric=metric)
        sections.append(leaderboard)
        ranked = [row[1] for row in leaderboard.table]
        matter = influences([(row.params, row.best_metrics.get(metric)) for row in rows])
        if matter:
            note = f"share of the variance of {metric} that each param alone accounts for; no proof of a cause"
            shown = [row._replace(share=round(row.share, 3), adjusted=round(row.adjusted, 3)) for row in matter]
            sections.append(Section("Params that matter", note, Result(InfluenceRow._fields, shown), ""))
        points = catalog.history(metric, ranked[:_MOST_CURVES]).rows
    if len(ranked) > 1:
        compared = catalog.compare(ranked[:_MOST_COMPARED]).params
        note = f"params that differ among the best {min(len(ranked), _MOST_COMPARED)}"
        sections.append(Section("Config differences", note, compared, ""))
    sections += [
        asked("What failed or was aborted", "the newest 50 at most", _FAILURES),
        asked("Artifacts", "", _ARTIFACTS),
        asked("Environment", "", _ENVIRONMENT),
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
        tuple(_pictures(catalog.sql(_PICTURES, given), ranked)),
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
