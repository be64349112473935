"""The metrics' write path.

Points arrive by step (all metrics of one step at once) and are asked for by metric (one curve). Written straight into
a table clustered by metric, a call of three metrics dirties three pages and one more for the summaries; measured, that
is 1.9 times a plain insert. So a call appends to ``metric_recent``, clustered by step: one statement, one page, 0.85
times a plain insert. After at most `FOLD_AFTER` points the rows move on to ``metric_point`` and ``metric_summary``, in
one transaction. Readers see both at any time (`schema.views`), and a killed process loses nothing.

What makes that right: keys in ``metric_recent`` are all beyond the last step of their series. To know that without
looking, a process must be the only one that appends to an experiment: it leaves its token in ``metric_writer``, and
the appending statement does nothing when another process has put its own there since. Whoever finds that, or a step
that is not beyond the last, or a new name, takes the long way: fold, then write into ``metric_point`` directly.

The statements are text, and nothing of SQLAlchemy is loaded to write to a catalog that exists: that takes 0.3 s off the
start of each training. Tests hold them equal to what SQLAlchemy compiles from the SQLModel classes.

Roads not taken: a trigger that keeps the summary (1.9x), a multi-row upsert of the summaries (1.9x), a REAL time per
point (6 bytes more each), a queue (a call that returned would not be on disk).
"""

from __future__ import annotations

import itertools
import logging
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from os import fstat
from sqlite3 import Connection
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from crackseg_tracker.errors import CatalogError, MetricError
from crackseg_tracker.store import summaries
from crackseg_tracker.store.database import WRITE_WAIT_SECONDS, Database, now, translated
from crackseg_tracker.values import assumed_mode, checked_name, checked_step, number

logger = logging.getLogger("crackseg_tracker")

FOLD_AFTER = 512
# Points of one series in a page of 4 KiB, in a training of hours (25 bytes each). SQLite splits a full page and its two
# neighbours into four, of which the first stays 7/8 full, for what comes next is further on. When a page, or a half or
# quarter of one, arrives at a time, the last step first, the room is used: 26 to 27 bytes a point, not 27.5 to 28.
POINTS_OF_A_PAGE = 164
# Folding is not worth waiting for: the points are there, and 512 calls later it is tried again.
FOLD_WAIT_SECONDS = 0.02
# A statement takes 32,766 parameters; calls of more metrics than this are rare and go the long way.
WIDEST_CALL = 256
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


@cache
def _append_sql(count: int) -> str:
    """Append ``count`` points of one step, if the token is still ours."""
    values = ", ".join(f"(?{n}, ?{n + 1})" for n in range(5, 5 + 2 * count, 2))
    return (
        "INSERT INTO metric_recent (experiment, step, metric, value, offset_ms) "
        f"SELECT ?1, ?2, column1, column2, ?3 FROM (VALUES {values}) "
        "WHERE (SELECT token FROM metric_writer WHERE experiment = ?1) = ?4"
    )


@cache
def _insert_sql(count: int, overwriting: bool) -> str:
    """Insert ``count`` points of one series: (step, value, offset_ms) each."""
    rows = ", ".join(f"(?1, ?2, ?{n}, ?{n + 1}, ?{n + 2})" for n in range(3, 3 + 3 * count, 3))
    insert = f"INSERT INTO metric_point (experiment, metric, step, value, offset_ms) VALUES {rows}"
    overwrite = " ON CONFLICT DO UPDATE SET value = excluded.value, offset_ms = excluded.offset_ms"
    return insert + overwrite if overwriting else insert


_VALUE_AT = "SELECT value FROM metric_point WHERE experiment = ? AND metric = ? AND step = ?"


def _fold_after(series: int) -> int:
    """Tell after how many points of so many series to fold: a simple part of a page of each, if `FOLD_AFTER` allows."""
    parts = (POINTS_OF_A_PAGE // part * series for part in (1, 2, 4))
    return next((points for points in parts if points <= FOLD_AFTER), FOLD_AFTER)


class SeriesWriter:
    """Writes the metrics of one experiment; shared by all its trackers in the process."""

    def __init__(self, database: Database, experiment: int, created_ms: int) -> None:
        self._database = database
        self._experiment = experiment
        self._created_ms = created_ms
        #: name -> [metric, last step], for the series that this process may append to.
        self._open: dict[str, list[int]] = {}
        self._unfolded = 0
        self._fold_after = FOLD_AFTER
        database.on_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Know nothing: the parent goes on appending."""
        self._open = {}
        self._unfolded = 0

    def offset_ms(self, moment: float | None = None) -> int:
        """Milliseconds from the creation of the experiment to a moment (Unix time) or to now."""
        return int((time.time() if moment is None else moment) * 1000) - self._created_ms

    def log(self, values: Mapping[str, Any], step: int | None, offset_ms: int | None = None) -> None:
        """Record one call: all of it or nothing, committed on return."""
        if offset_ms is None:
            offset_ms = int(time.time() * 1000) - self._created_ms
        with self._database.lock:
            self._database.raise_fault()
            try:
                if not self._appended(values, step, offset_ms):
                    self._log_the_long_way(values, step, offset_ms)
            except BaseException:
                # Ctrl-C may come between a commit and the note of its step; a rolled back transaction opened nothing.
                self._open = {}
                raise
            if self._unfolded >= self._fold_after:
                self._fold_later_if_busy()

    def _appended(self, values: Mapping[str, Any], step: int | None, offset_ms: int) -> bool:
        """Take the short way, if it is open to all the metrics of the call: one statement, in autocommit."""
        series = self._open
        try:
            known = [series[name] for name in values]
        except (KeyError, TypeError):
            return False
        if not 0 < len(known) <= WIDEST_CALL:
            return False
        last = max([one[1] for one in known]) if step is None else step - 1
        step = last + 1
        parameters: list[Any] = [self._experiment, step, offset_ms, self._database.token]
        for (name, value), one in zip(values.items(), known, strict=True):
            if one[1] > last:
                return False
            parameters.append(one[0])
            parameters.append(value if type(value) is float else number(name, value))
        if not self._append(_append_sql(len(known)), parameters):
            return False
        for one in known:
            one[1] = step
        self._unfolded += len(known)
        return True

    def _append(self, sql: str, parameters: list[Any]) -> bool:
        """Run the statement. False when the token is not ours any more, or when the long way has to find the fault."""
        database = self._database
        connection = database.connection
        # At each call, though it is a tenth of the price: once a millisecond let a call get lost with a replaced file.
        if not fstat(database.watched).st_nlink:
            database.check_in_place()
        try:
            return connection.execute(sql, parameters).rowcount > 0
        except Exception as error:
            if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF != 5 or connection.in_transaction:
                return False
        with translated(database.path):  # 5: locked by another process, so wait
            return database.retrying(lambda: connection.execute(sql, parameters), WRITE_WAIT_SECONDS).rowcount > 0

    def _fold_later_if_busy(self) -> None:
        try:
            self.fold(FOLD_WAIT_SECONDS)
        except CatalogError as error:
            # The call's points are committed all the same.
            self._unfolded = 0
            logger.info("points will be folded later: %s", error)

    def _log_the_long_way(self, values: Mapping[str, Any], step: int | None, offset_ms: int) -> None:
        checked = {checked_name(n): v if type(v) is float else number(n, v) for n, v in values.items()}
        if not checked:
            return
        database = self._database
        if database.connection.in_transaction:
            self._write_step(database.connection, checked, step, offset_ms)
            return
        with database.transaction(wait=WRITE_WAIT_SECONDS) as connection:
            self._write_step(connection, checked, step, offset_ms)

    def _write_step(
        self, connection: Connection, values: Mapping[str, float], step: int | None, offset_ms: int
    ) -> None:
        self._adopt(connection)
        metrics = {name: intern(connection, name) for name in values}
        if step is None:
            step = checked_step(_next_step(connection, self._experiment, values))
        for name, value in values.items():
            self._write_series(connection, name, metrics[name], Points([step], [value], [offset_ms]))

    def log_calls(self, calls: Iterable[tuple[Mapping[str, float], int | None, int]]) -> None:
        """Record calls (values, step, offset_ms) in one transaction; one without a step that is left is dropped."""
        try:
            with self._database.transaction(wait=WRITE_WAIT_SECONDS):
                for values, step, offset_ms in calls:
                    try:
                        self.log(values, step, offset_ms)
                    except MetricError as error:
                        # Only the step after 2^63-1 is found out so late. It must not hold up what follows.
                        logger.warning("metrics %s were dropped: %s", values, error)
        except BaseException:
            self._open = {}
            raise

    def log_many(self, series: Mapping[str, Points], *, following: bool = False) -> None:
        """Record whole series in one transaction; a later point of the same step wins.

        Args:
            series: The points of each metric.
            following: Count their steps from the one after the last of all these metrics.
        """
        database = self._database
        with database.lock:
            database.raise_fault()
            try:
                with database.transaction(wait=WRITE_WAIT_SECONDS) as connection:
                    self._adopt(connection)
                    start = _next_step(connection, self._experiment, series) if following else 0
                    for name, points in series.items():
                        if points.steps:
                            self._write_series(connection, name, intern(connection, name), points.moved(start))
            except BaseException:
                self._open = {}
                raise

    def fold(self, wait: float = WRITE_WAIT_SECONDS) -> None:
        """Move what was appended into the curves and their summaries."""
        if self._database.connection.in_transaction:
            fold(self._database.connection, self._experiment)
        else:
            with self._database.transaction(wait=wait) as connection:
                fold(connection, self._experiment)
        self._unfolded = 0

    def reopen(self) -> None:
        """Forget which series are open: the next call of each goes the long way."""
        self._open = {}

    def _adopt(self, connection: Connection) -> None:
        """Become the one that appends to this experiment, with nothing left in ``metric_recent``."""
        fold(connection, self._experiment)
        self._unfolded = 0
        token = self._database.token
        held = connection.execute(
            "SELECT 1 FROM metric_writer WHERE experiment = ? AND token = ?",
            (self._experiment, token),
        ).fetchone()
        if not held:
            self._open = {}
            connection.execute(
                "INSERT INTO metric_writer VALUES (?, ?) ON CONFLICT DO UPDATE SET token = excluded.token",
                (self._experiment, token),
            )

    def _write_series(self, connection: Connection, name: str, metric: int, points: Points) -> None:
        """Write points of one series into ``metric_point`` and its summary; the series is open then."""
        self._open[name] = [metric, write_series(connection, self._experiment, metric, points)]
        self._fold_after = _fold_after(len(self._open))


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
    start = _next_step(connection, experiment, series) if following else 0
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
        step = checked_step(max((next_steps[name] for name in values), default=0)) if given is None else given
        for name, value in values.items():
            points.setdefault(name, []).append((step, value, offset_ms))
            next_steps[name] = max(next_steps[name], step + 1)
    for name, rows in points.items():
        steps, numbers, offsets = zip(*rows, strict=True)
        write_series(connection, experiment, metrics[name], Points(steps, numbers, offsets))


def _next_step(connection: Connection, experiment: int, names: Iterable[str]) -> int:
    """One more than the last step of all these metrics; 0 when they have none."""
    return max(summaries.read(connection, experiment, intern(connection, name)).next_step for name in names)


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


def fold(connection: Connection, experiment: int) -> None:
    """Move an experiment's recent points into its curves and summaries."""
    metrics = connection.execute(
        "SELECT DISTINCT metric FROM metric_recent WHERE experiment = ?", (experiment,)
    ).fetchall()
    if not metrics:
        return
    # Each series as one run, and backwards: that packs its pages (see `POINTS_OF_A_PAGE`).
    connection.execute(
        "INSERT INTO metric_point (experiment, metric, step, value, offset_ms) SELECT experiment, metric, step, value, "
        "offset_ms FROM metric_recent WHERE experiment = ? ORDER BY metric, step DESC",
        (experiment,),
    )
    for (metric,) in metrics:
        summaries.extend(connection, experiment, metric)
    connection.execute("DELETE FROM metric_recent WHERE experiment = ?", (experiment,))


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


_writers: WeakValueDictionary[tuple[int, int], SeriesWriter] = WeakValueDictionary()


def writer_of(database: Database, experiment: int, created_ms: int) -> SeriesWriter:
    """Give the process's one writer of an experiment's metrics."""
    with database.lock:
        key = (id(database), experiment)
        writer = _writers.get(key)
        if writer is None:
            writer = _writers[key] = SeriesWriter(database, experiment, created_ms)
        return writer
