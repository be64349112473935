"""The hot path of ``log_metrics``: one statement that appends to ``metric_recent``, committed on return.

Points arrive by step (all metrics of one step at once) and are asked for by metric (one curve). Written straight into
a table clustered by metric, a call of three metrics dirties three pages and one more for the summaries; measured, that
is 1.9 times a plain insert. So a call appends to ``metric_recent``, clustered by step: one statement, one page, 0.85
times a plain insert. After some `FOLD_AFTER` points the rows move on to ``metric_point`` and ``metric_summary``, in
one transaction. Readers see both at any time (`schema.views`), and a killed process loses nothing.

What makes that right: keys in ``metric_recent`` are all beyond the last step of their series. To know that without
looking, a process must be the only one that appends to an experiment: it leaves its token in ``metric_writer``, and
the appending statement does nothing when another process has put its own there since. Whoever finds that, or a step
that is not beyond the last, or a new name, takes the long way: fold, then write into ``metric_point`` directly.

Roads not taken: a trigger that keeps the summary (1.9x), a multi-row upsert of the summaries (1.9x), a REAL time per
point (6 bytes more each), a queue (a call that returned would not be on disk), looking only once a millisecond whether
the file is still there (a tenth of the price less, and a call was lost with a replaced file).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache, partial
from os import fstat
from sqlite3 import Connection, DatabaseError
from sqlite3 import Error as SQLiteError
from typing import Any
from weakref import WeakValueDictionary

from crackseg_tracker.errors import CatalogBusyError, CatalogError, CatalogWriteError, MetricError
from crackseg_tracker.store import metrics
from crackseg_tracker.store.database import WRITE_WAIT_SECONDS, AmidAnotherCallError, Database, now
from crackseg_tracker.store.failures import is_busy, translated
from crackseg_tracker.store.keeper import keeper
from crackseg_tracker.store.metrics import POINTS_OF_A_PAGE, Points
from crackseg_tracker.store.turns import chance
from crackseg_tracker.values import checked_name, number, shown

logger = logging.getLogger("crackseg_tracker")

FOLD_AFTER = 512
# Where others want the lock too, up to so many times as many are folded at once: that takes it for less time in all.
# How many is drawn: processes that began together would all fold at the same moment.
CROWDED = 8
# Folding is not worth waiting for: the points are there, and some hundred calls later it is tried again.
FOLD_WAIT_SECONDS = 0.02
# A statement takes 32,766 parameters; calls of more metrics than this are rare and go the long way.
WIDEST_CALL = 256


@cache
def _append_sql(count: int) -> str:
    """Append ``count`` points of one step, if the token is still ours."""
    values = ", ".join(f"(?{n}, ?{n + 1})" for n in range(5, 5 + 2 * count, 2))
    return (
        "INSERT INTO metric_recent (experiment, step, metric, value, offset_ms) "
        f"SELECT ?1, ?2, column1, column2, ?3 FROM (VALUES {values}) "
        "WHERE (SELECT token FROM metric_writer WHERE experiment = ?1) = ?4"
    )


def _fold_after(series: int) -> int:
    """Tell after how many points of so many series to fold: a simple part of a page of each, if `FOLD_AFTER` allows."""
    parts = (POINTS_OF_A_PAGE // part * series for part in (1, 2, 4))
    return next((points for points in parts if points <= FOLD_AFTER), FOLD_AFTER)


class SeriesWriter:
    """Writes the metrics of one experiment; shared by all its trackers in the process."""

    def __init__(self, database: Database, experiment: int, created_ms: int) -> None:
        self._database = database
        self.experiment = experiment
        self._created_ms = created_ms
        #: name -> [metric, last step], for the series that this process may append to.
        self._open: dict[str, list[int]] = {}
        #: The parameters of the calls that were appended since the last fold.
        self._appended: list[list[Any]] = []
        self._unfolded = 0
        self._fold_after = FOLD_AFTER
        self._patience = 1
        self._looked_at = 0
        #: Whether a call is under way: a signal's handler that comes amid it may call, too.
        self._is_amid = False
        database.on_fork(self._forget)

    def _forget(self) -> None:
        """Know nothing: the next call of each series goes the long way."""
        self._open = {}
        self._appended = []

    def offset_ms(self, moment: float | None = None) -> int:
        """Milliseconds from the creation of the experiment to a moment (Unix time) or to now."""
        return int((time.time() if moment is None else moment) * 1000) - self._created_ms

    def log(self, values: Mapping[str, Any], step: int | None, offset_ms: int | None = None) -> None:
        """Record one call: all of it or nothing, committed on return."""
        if offset_ms is None:
            offset_ms = int(time.time() * 1000) - self._created_ms
        database = self._database
        with database.lock:
            if database.fault is not None:
                raise database.fault
            if self._is_amid or database.connection.in_transaction:
                raise AmidAnotherCallError(database.path)
            self._is_amid = True
            try:
                if not self._append(values, step, offset_ms):
                    self._log_the_long_way(values, step, offset_ms)
                if self._unfolded >= self._fold_after * self._patience:
                    self._fold_later_if_busy()
            except CatalogBusyError:
                raise  # nothing was written, and what is known stays true
            except BaseException:
                self._forget()  # Ctrl-C may come between a commit and the note of its step
                raise
            finally:
                self._is_amid = False

    def _append(self, values: Mapping[str, Any], step: int | None, offset_ms: int) -> bool:
        """Take the short way, if it is open to all the metrics of the call: one statement, in autocommit.

        Each microsecond here is a microsecond of every call, so this is one function: split in three, it took 3 more.
        """
        if not 0 < len(values) <= WIDEST_CALL:
            return False
        known, database = self._open, self._database
        series: list[list[int]] = []
        try:
            if step is None:
                step = max([known[name][1] for name in values]) + 1
            parameters: list[Any] = [self.experiment, step, offset_ms, database.token]
            for name, value in values.items():
                one = known[name]
                metric, last = one
                if last >= step:
                    return False
                series.append(one)
                parameters += metric, value if type(value) is float else number(name, value)
        except (KeyError, TypeError):  # a new name, or none at all
            return False
        if not fstat(database.watched).st_nlink:
            database.check_in_place()
        connection = database.connection
        sql = _append_sql(len(series))
        if database.contended and offset_ms != self._looked_at and self._must_queue(connection, offset_ms):
            appended = self._append_when_free(connection, sql, parameters)
        else:
            try:
                appended = connection.execute(sql, parameters).rowcount > 0
            except (SQLiteError, OverflowError) as error:  # all else is a signal handler's, and passes through
                if not is_busy(error) or connection.in_transaction:
                    return False  # the long way finds the fault
                appended = self._append_when_free(connection, sql, parameters)
        if appended:
            for one in series:
                one[1] = step
            self._appended.append(parameters)
            self._unfolded += len(series)
        return appended

    def _must_queue(self, connection: Connection, offset_ms: int) -> bool:
        """Tell whether to let others go first; asked once in a millisecond, for it takes a system call."""
        self._looked_at = offset_ms
        return not connection.in_transaction and self._database.is_somebody_first()

    def _append_when_free(self, connection: Connection, sql: str, parameters: list[Any]) -> bool:
        if self._patience == 1:
            self._patience = chance.randint(2, CROWDED)
        with translated(self._database.path):
            append = partial(connection.execute, sql, parameters)
            cursor = self._database.retrying(append, WRITE_WAIT_SECONDS, in_turn=True)
        return cursor.rowcount > 0

    def _fold_later_if_busy(self) -> None:
        try:
            with self._database.transaction(wait=FOLD_WAIT_SECONDS) as connection:
                self._fold(connection)
            keeper.sync_soon(self._database)
        except (CatalogError, DatabaseError) as error:
            # The call's points are committed all the same.
            self._unfolded = 0
            logger.info("points will be folded later: %s", error)

    def _fold(self, connection: Connection) -> None:
        """Move what was appended into the curves and their summaries."""
        appended, self._appended, self._unfolded, self._patience = self._appended, [], 0, 1
        metrics.fold(connection, self.experiment, appended, self._database.token)

    def _log_the_long_way(self, values: Mapping[str, Any], step: int | None, offset_ms: int) -> None:
        checked = {checked_name(n): v if type(v) is float else number(n, v) for n, v in values.items()}
        if checked:
            with self.forgetting(), self._database.transaction(wait=WRITE_WAIT_SECONDS) as connection:
                self._write_step(connection, checked, step, offset_ms)

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        """Hold a transaction that changes what is known, but not amid a call that relies on that."""
        if self._is_amid:
            raise AmidAnotherCallError(self._database.path)
        with self.forgetting(), self._database.transaction(wait=WRITE_WAIT_SECONDS) as connection:
            yield connection

    @contextmanager
    def forgetting(self) -> Generator[None]:
        """Forget what is known when a transaction inside fails."""
        try:
            yield
        except BaseException:
            self._forget()
            raise

    def _write_step(
        self, connection: Connection, values: Mapping[str, float], step: int | None, offset_ms: int
    ) -> None:
        self._adopt(connection)
        numbers = {name: metrics.intern(connection, name) for name in values}
        if step is None:
            step = metrics.next_step(connection, self.experiment, values)
        for name, value in values.items():
            self._write_series(connection, name, numbers[name], Points([step], [value], [offset_ms]))

    def log_calls(self, calls: Iterable[tuple[Mapping[str, float], int | None, int]]) -> None:
        """Record calls (values, step, offset_ms) in one transaction; one without a step that is left is dropped."""
        database = self._database
        with database.lock:
            database.raise_fault()
            with self._transaction() as connection:
                dropped = 0
                for call in calls:
                    try:
                        self.log_within(connection, *call)
                    except MetricError as error:
                        # Only the step after 2^63-1 is found out so late. It must not hold up what follows.
                        logger.warning("metrics %s were dropped: %s", shown(call[0]), error)
                        dropped += 1
                if dropped:
                    self._count_dropped(connection, dropped)

    def _count_dropped(self, connection: Connection, calls: int) -> None:
        connection.execute(
            "INSERT INTO journal_writer (writer, experiment, sequence, replayed, dropped, replayed_at) "
            "VALUES (?, ?, 1, 0, ?, ?) ON CONFLICT DO UPDATE SET sequence = sequence + 1, "
            "dropped = dropped + excluded.dropped, replayed_at = excluded.replayed_at",
            (f"buffer-{self._database.token}-{self.experiment}", self.experiment, calls, now()),
        )

    def log_within(self, connection: Connection, values: Mapping[str, float], step: int | None, offset_ms: int) -> None:
        """Record one call inside a transaction; when that is rolled back, what is known must be forgotten."""
        if values and not self._append(values, step, offset_ms):
            if not connection.in_transaction:  # else this call would be committed, and those before it not
                raise CatalogWriteError(f"{self._database.path} cannot be written (SQLite rolled back); check the disk")
            self._write_step(connection, values, step, offset_ms)
        if self._unfolded >= self._fold_after * self._patience:
            self._fold(connection)

    def log_many(self, series: Mapping[str, Points], *, following: bool = False) -> None:
        """Record whole series in one transaction; a later point of the same step wins.

        Args:
            series: The points of each metric.
            following: Count their steps from the one after the last of all these metrics.
        """
        database = self._database
        with database.lock:
            database.raise_fault()
            with self._transaction() as connection:
                self._adopt(connection)
                start = metrics.next_step(connection, self.experiment, series) if following else 0
                for name, points in series.items():
                    if points.steps:
                        self._write_series(connection, name, metrics.intern(connection, name), points.moved(start))

    def _adopt(self, connection: Connection) -> None:
        """Become the one that appends to this experiment, with nothing left in ``metric_recent``."""
        self._fold(connection)
        token = self._database.token
        held = connection.execute(
            "SELECT 1 FROM metric_writer WHERE experiment = ? AND token = ?",
            (self.experiment, token),
        ).fetchone()
        if not held:
            self._open = {}
            connection.execute(
                "INSERT INTO metric_writer VALUES (?, ?) ON CONFLICT DO UPDATE SET token = excluded.token",
                (self.experiment, token),
            )

    def _write_series(self, connection: Connection, name: str, metric: int, points: Points) -> None:
        """Write points of one series into ``metric_point`` and its summary; the series is open then."""
        self._open[name] = [metric, metrics.write_series(connection, self.experiment, metric, points)]
        self._fold_after = _fold_after(len(self._open))


_writers: WeakValueDictionary[tuple[int, int], SeriesWriter] = WeakValueDictionary()


def writer_of(database: Database, experiment: int, created_ms: int) -> SeriesWriter:
    """Give the process's one writer of an experiment's metrics."""
    with database.lock:
        key = (id(database), experiment)
        writer = _writers.get(key)
        if writer is None:
            writer = _writers[key] = SeriesWriter(database, experiment, created_ms)
        return writer
