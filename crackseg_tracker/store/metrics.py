"""What the metrics' tables take: points, summaries, reports of bests, results of samples; and what rewinds take back.

Every function works inside the caller's transaction, whichever process that is. The hot path of one call is in
`store.appending`; what that leaves in ``metric_recent`` moves into curves and summaries here (`fold`).

The statements are text, and nothing of SQLAlchemy is loaded to write to a catalog that exists: that takes 0.3 s off the
start of each training. Tests hold them equal to what SQLAlchemy compiles from the SQLModel classes.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import nan
from sqlite3 import Connection
from typing import Any, NamedTuple

from crackseg_tracker.errors import MetricError
from crackseg_tracker.store import summaries
from crackseg_tracker.store.database import now
from crackseg_tracker.values import MAX_STEP, assumed_mode, checked_step, shown

# Points of one series in a page of 4 KiB, in a training of hours (25 bytes each). SQLite splits a full page and its two
# neighbours into four, of which the first stays 7/8 full, for what comes next is further on. When a page, or a half or
# quarter of one, arrives at a time, the last step first, the room is used: 26 to 27 bytes a point, not 27.5 to 28.
POINTS_OF_A_PAGE = 164
# Most of what many rows gain over one is had by 32, all of it by 256.
ROWS_OF_A_STATEMENT = 128

_FINITE = "abs(value) < 9e999"


class Points(NamedTuple):
    """Points of one series as columns of one length; NaN is NULL in the file."""

    steps: Sequence[int]
    values: Sequence[float]
    offsets_ms: Sequence[int]

    def moved(self, by: int) -> Points:
        """Give the points so many steps later."""
        return self._replace(steps=[checked_step(step + by) for step in self.steps]) if by else self

    def backwards(self) -> Points:
        """Give the last point first."""
        return Points(self.steps[::-1], self.values[::-1], self.offsets_ms[::-1])

    def merged(self, other: Points) -> Points:
        """Give the points of both, by step."""
        return Points(*zip(*sorted(itertools.chain(zip(*self, strict=True), zip(*other, strict=True))), strict=True))


@cache
def _insert_sql(count: int, overwriting: bool) -> str:
    """Insert ``count`` points of one series: (step, value, offset_ms) each."""
    rows = ", ".join(f"(?1, ?2, ?{n}, ?{n + 1}, ?{n + 2})" for n in range(3, 3 + 3 * count, 3))
    insert = f"INSERT INTO metric_point (experiment, metric, step, value, offset_ms) VALUES {rows}"
    overwrite = " ON CONFLICT DO UPDATE SET value = excluded.value, offset_ms = excluded.offset_ms"
    return insert + overwrite if overwriting else insert


_VALUE_AT = "SELECT value FROM metric_point WHERE experiment = ? AND metric = ? AND step = ?"


def write_series(connection: Connection, experiment: int, metric: int, points: Points) -> int:
    """Write points of one series into ``metric_point`` and its summary; give its last step."""
    series = (connection, experiment, metric)
    steps, values, _ = points
    summary = summaries.read(*series)
    if steps[0] >= summary.next_step and all(map(operator.lt, steps, steps[1:])):
        _insert(*series, points)
        summary = summary.followed_by(summaries.of_points(steps, values))
    else:
        before = connection.execute(_VALUE_AT, (experiment, metric, steps[0])).fetchone()
        _insert(*series, points, overwriting=True)
        if len(steps) > 1 or before is None or not summary.is_unmoved_by(steps[0], before[0], values[0]):
            summary = summaries.of_file(*series)
    summaries.write(*series, summary)
    return summary.next_step - 1


def write_history(
    connection: Connection, experiment: int, series: Mapping[str, Points], *, following: bool = False
) -> None:
    """Write whole series for whatever process: the one that appends to the experiment has to look again."""
    _take_over(connection, experiment)
    start = next_step(connection, experiment, series) if following else 0
    for name, points in series.items():
        if points.steps:
            write_series(connection, experiment, intern(connection, name), points.moved(start))


def write_calls(
    connection: Connection, experiment: int, calls: Iterable[tuple[Mapping[str, float], int | None, int]]
) -> None:
    """Write calls of ``log_metrics`` (values, step, offset_ms) in order, each series at once."""
    _take_over(connection, experiment)
    metrics: dict[str, int] = {}
    next_steps: dict[str, int] = {}
    points: dict[str, list[tuple[int, float, int]]] = {}
    for values, given, offset_ms in calls:
        for name in values:
            if name not in metrics:
                metrics[name] = intern(connection, name)
                next_steps[name] = summaries.read(connection, experiment, metrics[name]).next_step
        step = _following(values, next_steps.__getitem__) if given is None else given
        for name, value in values.items():
            points.setdefault(name, []).append((step, value, offset_ms))
            next_steps[name] = max(next_steps[name], step + 1)
    for name, rows in points.items():
        steps, numbers, offsets = zip(*rows, strict=True)
        write_series(connection, experiment, metrics[name], Points(steps, numbers, offsets))


def next_step(connection: Connection, experiment: int, names: Iterable[str]) -> int:
    """One more than the last step of all these metrics; 0 when they have none.

    Raises:
        MetricError: The last step is the last that there can be.
    """
    return _following(names, lambda name: summaries.read(connection, experiment, intern(connection, name)).next_step)


def _following(names: Iterable[str], next_step_of: Callable[[str], int]) -> int:
    step, name = max(((next_step_of(name), name) for name in names), default=(0, ""))
    if step > MAX_STEP:
        raise MetricError(f"metric {shown(name)} has step 2^63-1, and none comes after that; give the step")
    return step


def _take_over(connection: Connection, experiment: int) -> None:
    fold(connection, experiment)
    connection.execute("DELETE FROM metric_writer WHERE experiment = ?", (experiment,))


def _insert(connection: Connection, experiment: int, metric: int, points: Points, *, overwriting: bool = False) -> None:
    """Insert points, many with each statement: a third of the time that ``executemany`` takes with a row each."""
    rows = zip(*points, strict=True)
    while batch := list(itertools.chain.from_iterable(itertools.islice(rows, ROWS_OF_A_STATEMENT))):
        connection.execute(_insert_sql(len(batch) // 3, overwriting), (experiment, metric, *batch))


def intern(connection: Connection, name: str) -> int:
    """Give the number of a metric's name; a new name is written down with the mode that it is assumed to have."""
    row = connection.execute("SELECT id FROM metric_name WHERE name = ?", (name,)).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO metric_name (name, mode, mode_source, unit, description) "
            "VALUES (?, ?, 'assumed', '', '') RETURNING id",
            (name, assumed_mode(name)),
        ).fetchone()
    return row[0]


_IS_SHARED = (
    "SELECT EXISTS (SELECT 1 FROM metric_recent WHERE experiment < ?1) "
    "OR EXISTS (SELECT 1 FROM metric_recent WHERE experiment > ?1)"
)


def fold(connection: Connection, experiment: int, appended: Sequence[Sequence[Any]] = (), token: int = 0) -> None:
    """Move an experiment's recent points into its curves and summaries.

    Args:
        connection: In a transaction.
        experiment: Its number.
        appended: The parameters of the calls that put them there, where the caller has them all: that saves reading
            them back, a third of the time.
        token: What the caller appended with; when it is not in force any more, ``appended`` may be somebody else's.
    """
    count, held = connection.execute(
        "SELECT count(*), (SELECT token FROM metric_writer WHERE experiment = ?1) FROM metric_recent "
        "WHERE experiment = ?1",
        (experiment,),
    ).fetchone()
    if not count:
        return
    if held == token and count == sum((len(call) - 4) // 2 for call in appended):
        recent = _series_of(appended)
    else:
        recent = _read_recent(connection, experiment)
    for metric, points in sorted(recent.items()):
        _insert(connection, experiment, metric, points.backwards())  # that packs the pages (`POINTS_OF_A_PAGE`)
        summary = summaries.read(connection, experiment, metric)
        summary = summary.followed_by(summaries.of_points(points.steps, points.values))
        summaries.write(connection, experiment, metric, summary)
    (shared,) = connection.execute(_IS_SHARED, (experiment,)).fetchone()
    if shared:
        connection.execute("DELETE FROM metric_recent WHERE experiment = ?", (experiment,))
    else:  # without a condition SQLite drops whole pages, in a tenth of the time
        connection.execute("DELETE FROM metric_recent")


def _series_of(appended: Sequence[Sequence[Any]]) -> dict[int, Points]:
    """Turn calls (experiment, step, offset_ms, token, then metric and value in turns) into series, column by column."""
    calls_of: dict[tuple[int, ...], list[Sequence[Any]]] = {}
    for call in appended:
        calls_of.setdefault(tuple(call[4::2]), []).append(call)
    series: dict[int, Points] = {}
    for metrics, calls in calls_of.items():
        columns = list(zip(*calls, strict=True))
        for metric, values in zip(metrics, columns[5::2], strict=True):
            points = Points(columns[1], values, columns[2])
            series[metric] = series[metric].merged(points) if metric in series else points
    return series


def _read_recent(connection: Connection, experiment: int) -> dict[int, Points]:
    rows = connection.execute(
        "SELECT metric, step, value, offset_ms FROM metric_recent WHERE experiment = ? ORDER BY metric, step",
        (experiment,),
    )
    recent: dict[int, Points] = {}
    for metric, points in itertools.groupby(rows, operator.itemgetter(0)):
        _, steps, values, offsets = zip(*points, strict=True)
        recent[metric] = Points(steps, [nan if value is None else value for value in values], offsets)
    return recent


def fold_leftovers(connection: Connection, limit: int = 2000) -> None:
    """Fold what killed processes left: readers sum up ``metric_recent`` at each question, so it must stay small.

    Folding a living experiment is harmless, for its writer only relies on the last steps, and they stay.
    """
    experiments = connection.execute(
        "SELECT experiment, count(*) FROM (SELECT experiment FROM metric_recent LIMIT ?) GROUP BY experiment",
        (limit,),
    ).fetchall()
    for experiment, _ in experiments:
        fold(connection, experiment)


def seal(connection: Connection, experiment: int) -> None:
    """Fold and seal an experiment that ended: its bests enter the index, and appending starts with the long way."""
    fold(connection, experiment)
    connection.execute("DELETE FROM metric_writer WHERE experiment = ?", (experiment,))
    connection.execute("UPDATE metric_summary SET sealed = 1 WHERE experiment = ? AND sealed = 0", (experiment,))


def report_best(
    connection: Connection,
    experiment: int,
    attempt: int | None,
    epoch: int,
    values: Mapping[str, float],
    at: str,
) -> None:
    """Record reports of best metrics: every one is a row; the latest finite one is in the summary."""
    for name, value in values.items():
        metric = intern(connection, name)
        connection.execute(
            "INSERT INTO metric_report (experiment, metric, attempt, step, value, reported_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (experiment, metric, attempt, epoch, value, at),
        )
        # A non-finite report makes the row too, so that the name is listed.
        connection.execute(
            "INSERT INTO metric_summary (experiment, metric, count, non_finite_count, sealed) "
            "VALUES (?, ?, 0, 0, 0) ON CONFLICT DO NOTHING",
            (experiment, metric),
        )
        if abs(value) < float("inf"):
            # A training repeats its best at every epoch: the step stays that at which the value was first reported.
            connection.execute(
                "UPDATE metric_summary SET reported_step = ?, reported_value = ? WHERE experiment = ? AND metric = ? "
                "AND reported_value IS NOT ?",
                (epoch, value, experiment, metric, value),
            )


def rewind(connection: Connection, experiment: int, attempt: int | None, step: int) -> None:
    """Take back all that was recorded after a step: kept in ``metric_superseded``, gone from curve and summary."""
    fold(connection, experiment)
    connection.execute("DELETE FROM metric_writer WHERE experiment = ?", (experiment,))
    at = now()
    series = connection.execute(
        "SELECT metric FROM metric_summary WHERE experiment = ? AND last_step > ?",
        (experiment, step),
    ).fetchall()
    columns = "experiment, metric, sample, step, value, offset_ms, attempt, superseded_at"
    connection.execute(
        f"INSERT INTO metric_superseded ({columns}) SELECT experiment, metric, NULL, step, value, offset_ms, ?, ? "
        "FROM metric_point WHERE experiment = ? AND step > ?",
        (attempt, at, experiment, step),
    )
    connection.execute(
        f"INSERT INTO metric_superseded ({columns}) SELECT experiment, metric, sample, step, value, NULL, ?, ? "
        "FROM sample_point WHERE experiment = ? AND step > ?",
        (attempt, at, experiment, step),
    )
    connection.execute("DELETE FROM metric_point WHERE experiment = ? AND step > ?", (experiment, step))
    connection.execute("DELETE FROM sample_point WHERE experiment = ? AND step > ?", (experiment, step))
    for (metric,) in series:
        summaries.write(connection, experiment, metric, summaries.of_file(connection, experiment, metric))
    reports = connection.execute(
        "UPDATE metric_report SET superseded_at = ? WHERE experiment = ? AND step > ? AND superseded_at IS NULL "
        "RETURNING metric",
        (at, experiment, step),
    ).fetchall()
    for (metric,) in set(reports):
        report_again(connection, experiment, metric)


def report_again(connection: Connection, experiment: int, metric: int) -> None:
    """Find the last finite report of a best anew (reports were taken back, or came from another catalog)."""
    left = connection.execute(
        "SELECT step, value FROM metric_report WHERE experiment = ? AND metric = ? AND superseded_at IS NULL "
        f"AND {_FINITE} ORDER BY id",
        (experiment, metric),
    ).fetchall()
    # A repeated report stays the one that it was first: its step, and 0.0 where -0.0 came later.
    first_step, first = left[-1] if left else (None, None)
    for earlier_step, value in reversed(left):
        if value != first:
            break
        first_step, first = earlier_step, value
    connection.execute(
        "UPDATE metric_summary SET reported_step = ?, reported_value = ? WHERE experiment = ? AND metric = ?",
        (first_step, first, experiment, metric),
    )


def log_samples(
    connection: Connection,
    experiment: int,
    split: str,
    rows: Iterable[tuple[str, str, float]],
    step: int | None,
) -> None:
    """Record (sample, metric, value) rows of a split at a step; without one, the step after the split's last."""
    if step is None:
        step = checked_step(
            connection.execute(
                "SELECT coalesce(max(p.step), -1) FROM sample_point AS p JOIN sample AS s ON s.id = p.sample "
                "WHERE p.experiment = ? AND s.split = ?",
                (experiment, split),
            ).fetchone()[0]
            + 1
        )
    metrics: dict[str, int] = {}
    for name, metric, value in rows:
        connection.execute("INSERT INTO sample (split, name) VALUES (?, ?) ON CONFLICT DO NOTHING", (split, name))
        if metric not in metrics:
            metrics[metric] = intern(connection, metric)
        connection.execute(
            "INSERT INTO sample_point SELECT ?, ?, id, ?, ? FROM sample WHERE split = ? AND name = ? "
            "ON CONFLICT DO UPDATE SET value = excluded.value",
            (experiment, metrics[metric], step, value, split, name),
        )
