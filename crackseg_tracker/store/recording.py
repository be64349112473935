"""Where a write either commits or is journaled: `Recorder.write`, and `Recorder.log` for metrics.

While all is well a call goes straight to the catalog, and nothing here costs it anything. The first call that the
catalog cannot take opens the experiment's backlog (`store.backlog`): it and all that follow are appended there, so that
the order is kept, until the keeper (`store.keeper`) has replayed them and closes it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

from crackseg_tracker.errors import CatalogError, MetricError
from crackseg_tracker.schema import ENDS
from crackseg_tracker.sidecar import FILE
from crackseg_tracker.store import liveness, metrics, reading
from crackseg_tracker.store.attempts import Attempt, AttemptChange
from crackseg_tracker.store.backlog import Backlog, Subject, backlogs_of
from crackseg_tracker.store.changes import AttemptEnd, Change, StatusChange, Target, end_attempt
from crackseg_tracker.store.database import WRITE_WAIT_SECONDS, AmidAnotherCallError, Database, now
from crackseg_tracker.store.failures import translated
from crackseg_tracker.store.keeper import keeper
from crackseg_tracker.store.lives import own_attempts
from crackseg_tracker.store.metric_changes import Call, HistoryChange, MetricCalls
from crackseg_tracker.store.sketch import sketch
from crackseg_tracker.values import checked_name, number

logger = logging.getLogger("crackseg_tracker")

# What journaling absorbs: the catalog does not work. Anything else is misuse, or must get through to the user. (The
# driver's own errors are those that `store.failures.translated` has no word for, such as a table that is not there.)
FAULTS = (CatalogError, sqlite3.OperationalError, sqlite3.IntegrityError)


class Recorder:
    """Records what one tracker does, in the catalog or else in the journal.

    Args:
        database: The catalog.
        subject: The experiment.
        backlog: What the catalog could not take of it.
        begin: Tells what begins an attempt of this process.
        redact: Cleans what an exception says that ends the process.
        strict: Raise storage faults instead.
        synced: Have journaled calls survive a power loss (the catalog's commits do so by its own setting).
    """

    def __init__(
        self,
        database: Database,
        subject: Subject,
        backlog: Backlog,
        begin: Callable[[], AttemptChange],
        redact: Callable[[str], str],
        *,
        strict: bool = False,
        synced: bool = False,
    ) -> None:
        self._redact = redact
        self.series = backlog.series
        self.backlog = backlog
        self.attempt: Attempt | None = None
        self._database = database
        self._experiment = subject.number
        self._begin = begin
        self._strict = strict
        self._synced = synced
        self._has_ended = False
        self._lives = own_attempts(database)
        #: Whether the attempt started the experiment, whose status is then its to end.
        self._started = False
        database.on_fork(self._after_fork)
        self._have_it_kept()

    def _have_it_kept(self) -> None:
        if not self._database.private:
            keeper.look_after(self._database, self.backlog.folder)

    def log(self, values: Mapping[str, Any], step: int | None) -> None:
        """Record one call of ``log_metrics``."""
        failure = None
        if not self.backlog.is_open:
            try:
                self.series.log(values, step)
                return
            except FAULTS as error:
                failure = error
        checked = {checked_name(name): number(name, value) for name, value in values.items()}
        self._log_call((checked, step, self.series.offset_ms()), failure)

    def log_calls(self, calls: Sequence[Call]) -> None:
        """Record calls of ``log_metrics`` that were buffered, in one transaction."""
        failure = None
        if not self.backlog.is_open:
            try:
                self.series.log_calls(calls)
                return
            except FAULTS as error:
                failure = error
        for call in calls:
            self._log_call(call, failure, gives_way=False)
            failure = None

    def _log_call(self, call: Call, failure: Exception | None, *, gives_way: bool = True) -> None:
        self._write_or_journal(
            lambda: self.series.log(*call),
            lambda: [MetricCalls(calls=[call])],
            failure=failure,
            gives_way=gives_way,
        )

    def log_history(self, series: Mapping[str, metrics.Points], *, following: bool = False) -> None:
        """Record whole series.

        Args:
            series: The points of each metric.
            following: Count their steps from the one after the last of all these metrics.
        """
        self._write_or_journal(
            lambda: self.series.log_many(series, following=following),
            lambda: [HistoryChange(series=series, following=following)],
        )

    def write(self, *given: Change, resume: bool = False, synced: bool = False, gives_way: bool = True) -> None:
        """Record changes, all of them or none; the first of a process begin its attempt.

        Args:
            given: The changes.
            resume: Begin a new attempt when the experiment has ended.
            synced: If they are journaled, have them survive a power loss, whatever the durability.
            gives_way: See `_write_or_journal`.
        """

        def commit() -> None:
            with self._target(resume=resume) as (connection, target):
                for change in given:
                    change.apply(connection, target)

        if resume and self._has_ended and self.backlog.is_open:
            self.attempt = None
        self._write_or_journal(commit, lambda: given, synced=synced, gives_way=gives_way)
        for change in given:
            if isinstance(change, StatusChange):
                self._has_ended, self._started = change.status in ENDS, change.status == "running"
            if isinstance(change, AttemptEnd) or (isinstance(change, StatusChange) and self._has_ended):
                self._lives.ended(self)

    @contextmanager
    def ending(self, *given: Change) -> Generator[None]:
        """Record an end, which survives a power loss when the block is left; inside, something else can be done."""
        self.write(*given, synced=True)
        if self._database.private:
            yield
            return
        is_journaled = self.backlog.is_open
        sync = self._database.syncer.begin(self._database.log.sync)
        try:
            yield
        finally:
            try:
                sync.wait()
            except CatalogError as error:
                if not is_journaled:
                    self._absorb(error)
                    self.write(*given, synced=True)

    def finish(self) -> None:
        """Replay what can be replayed now, and seal the metrics of an experiment that has ended."""
        if self.backlog.is_open:
            keeper.settle(WRITE_WAIT_SECONDS)
        self.backlog.let_drain(WRITE_WAIT_SECONDS)
        if not self.backlog.is_open:
            try:
                with self._database.transaction(wait=WRITE_WAIT_SECONDS) as connection:
                    ended = self._status(connection) in ENDS
                    if ended:
                        metrics.seal(connection, self._experiment)
                        end_attempt(connection, self.attempt.number if self.attempt else None, "closed", now())
                if ended:
                    self._lives.ended(self)
            except FAULTS as error:
                if self._strict:
                    raise
                logger.info("the metrics are not sealed yet: %s", error)

    def end_with_process(self, status: str, message: str) -> None:
        """Record that the process ends, and how; the experiment ends too, unless another process goes on with it."""
        if self.attempt is None or (self.attempt.number is None and not self.attempt.journaled):
            return  # nothing was written
        text = self._redact(message)
        if self._started and self.status() == "running" and not self._has_others():
            self.write(StatusChange(status=status, message=text), gives_way=False)
            self._refresh_sidecar()
        else:
            self.write(AttemptEnd(reason=text or status), gives_way=False)

    def _refresh_sidecar(self) -> None:
        number = self.backlog.sidecar.number()
        try:
            with self.preview(()) as connection:
                known = reading.metadata(connection, self._experiment)
            self.backlog.sidecar.write(number, known._asdict())
        except (*FAULTS, OSError) as error:
            logger.warning("%s could not be written: %s", self.backlog.folder / FILE, error)

    def _has_others(self) -> bool:
        try:
            with self._database.lock, translated(self._database.path):
                return liveness.has_others(self._database.connection, self._database.path, self._experiment)
        except FAULTS:
            return False

    def status(self) -> str:
        """Tell the experiment's status; "" when the catalog cannot tell."""
        return self._known("status") or ""

    def is_deleted(self) -> bool:
        """Tell whether somebody put the experiment into the trash."""
        return self._known("deleted_at") is not None

    def _known(self, column: Literal["status", "deleted_at"]) -> str | None:
        try:
            with self.preview(()) as connection:
                row = connection.execute(
                    f"SELECT {column} FROM experiment WHERE id = ?", (self._experiment,)
                ).fetchone()
        except FAULTS:
            if self._strict:
                raise
            return None
        return row[0] if row else None

    def begin_attempt(self) -> None:
        """Have an attempt before the first metric, which does not name it."""
        if self.attempt is None:
            self.write()

    def _write_or_journal(
        self,
        write: Callable[[], None],
        given: Callable[[], Sequence[Change]],
        *,
        synced: bool = False,
        failure: Exception | None = None,
        gives_way: bool = True,
    ) -> None:
        """Write to the catalog, or append to the backlog: in the one place where that is decided.

        Args:
            write: Writes to the catalog.
            given: What it writes, for the backlog.
            synced: If it is journaled, have it survive a power loss.
            failure: What came of a try already: a call waits for the lock once.
            gives_way: Whether a call that finds the backlog open waits a moment for the replay. Not where the caller
                holds what a replay needs, or brings many calls at once.
        """
        while True:
            if not self.backlog.is_open:
                if failure is None:
                    try:
                        write()
                        return
                    except FAULTS as error:
                        failure = error
                if self._database.private:
                    return  # nobody ever sees what it has: there is nothing to keep
                self._absorb(failure)
            elif self._strict and self.backlog.error and not isinstance(self.backlog.error, AmidAnotherCallError):
                raise self.backlog.error
            if self.backlog.append(self._known_attempt(), given(), synced=synced or self._synced):
                if failure is None and gives_way:
                    self.backlog.give_way()
                return

    def _absorb(self, error: Exception) -> None:
        """Have this call and the next ones journaled, or raise."""
        if isinstance(error, AmidAnotherCallError):  # no fault, and no matter of other experiments
            self.backlog.open(error)
            return
        if self._strict:
            raise error
        if isinstance(error, CatalogError):
            self._database.fault = error
            for backlog in backlogs_of(self._database):  # the experiments beside it need not wait as long
                backlog.open(error)
        else:
            self.backlog.open(error)

    @contextmanager
    def _target(self, *, resume: bool = False) -> Generator[tuple[sqlite3.Connection, Target]]:
        """Hold a transaction with the attempt that it belongs to."""
        database = self._database
        with database.lock:  # held over the commit too: of two threads, one begins the attempt
            database.raise_fault()
            attempt = self._known_attempt()  # asks git and the system: not while others wait for the file's lock
            with database.transaction(wait=WRITE_WAIT_SECONDS) as connection:
                if resume and attempt.number is not None and (status := self._status(connection)) in ENDS:
                    end_attempt(connection, attempt.number, status, now())
                    attempt = Attempt(self._begin())
                number = attempt.number or attempt.begin.number(connection, self._experiment)
                yield connection, Target(self._experiment, number)
            attempt.number = number
            if attempt is not self.attempt:
                self.begin(attempt)

    def _known_attempt(self) -> Attempt:
        if self.attempt is None:
            self._have_it_kept()  # a forked child has no keeper yet
            attempt = Attempt(self._begin())
            if self.attempt is None:  # else a signal's handler that came amid this has begun one
                self.begin(attempt)
        return cast(Attempt, self.attempt)

    def begin(self, attempt: Attempt) -> None:
        """Go on with an attempt, which lives until its end is recorded."""
        self.attempt, self._started = attempt, False
        self._lives.began(self)

    def _status(self, connection: sqlite3.Connection) -> str:
        return connection.execute("SELECT status FROM experiment WHERE id = ?", (self._experiment,)).fetchone()[0]

    def _after_fork(self) -> None:
        """In a forked child: what it writes is an attempt of its own."""
        self.attempt, self._started = None, False

    # Looking

    @contextmanager
    def preview(self, pending: Sequence[Change]) -> Generator[sqlite3.Connection]:
        """Give a connection that shows what is journaled or pending as if it were written."""
        database = self._database
        if not pending and not self.backlog.is_open:
            with database.lock, translated(database.path):
                yield database.connection
        elif self.backlog.is_open:
            with database.lock, translated(database.path):
                entries = self.backlog.entries()
                former = database.former if self.backlog.is_detached else None
                connection = sketch(former or database.connection, self._experiment)
            try:
                for entry in entries:
                    self._apply(connection, entry.changes)
                self._apply(connection, pending)
                yield connection
            finally:
                connection.close()
        else:
            with database.transaction(commit=False, wait=WRITE_WAIT_SECONDS) as connection:
                self._apply(connection, pending)
                yield connection

    def _apply(self, connection: sqlite3.Connection, given: Sequence[Change]) -> None:
        target = Target(self._experiment, self.attempt.number if self.attempt else None)
        for change in given:
            try:
                change.apply(connection, target)
            except MetricError as error:  # no step comes after the last one; a replay drops and counts it
                logger.info("a call that waits to be replayed cannot be: %s", error)
