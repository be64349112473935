"""Journals put into the catalog: in batches, in order, each record exactly once whoever does it and however often.

The number of the last applied record is committed with the data of its batch (table ``journal_writer``), so a replay
that was killed, or that two processes tried, goes on where the catalog says. A record that cannot be applied for a
reason of its own is counted as dropped and kept in a file beside the journal; it holds up nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

from crackseg_tracker import config as configs
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.schema import ENDS
from crackseg_tracker.store import changes, encoding, journal, locks, metrics
from crackseg_tracker.store.attempts import AttemptChange
from crackseg_tracker.store.changes import Change, NewExperiment, StatusChange, Target
from crackseg_tracker.store.database import Database, now
from crackseg_tracker.store.failures import is_storage_fault
from crackseg_tracker.store.journal import Journal, JournalFile, Record
from crackseg_tracker.store.metric_changes import MetricCalls

# The others want the lock too: a replay tries again later rather than make them wait. (With no wait at all, one of 64
# writers hardly ever found it free.)
LOCK_WAIT_SECONDS = 0.1
# So many calls are appended one by one, as they would have been; more are written down series by series: overwriting is
# faster so.
FEW_CALLS = 32

if TYPE_CHECKING:
    from crackseg_tracker.store.appending import SeriesWriter

logger = logging.getLogger("crackseg_tracker")


class Entry:
    """A record as it is applied: one call of a tracker."""

    def __init__(self, record: Record) -> None:
        self.sequence, self.content = record
        reference, begin, given = self.content
        #: The attempt by its number in the catalog, or by the time at which it began.
        self.attempt: int | str | None = reference
        self.begin = encoding.decode(*begin) if begin else None
        self.changes: list[Change] = [encoding.decode(*one) for one in given]

    @staticmethod
    def content_of(attempt: int | str | None, begin: AttemptChange | None, given: Sequence[Change]) -> list[Any]:
        """Give what the journal holds of a call."""
        return [attempt, encoding.encode(begin) if begin else None, [encoding.encode(change) for change in given]]


class Replay:
    """How far a journal has been read.

    Args:
        source: The journal.
        series: What appends to the experiment, where that is this process: calls that it replays itself need not have
            it look at every series again, which holds up everybody else for ten times as long.
    """

    def __init__(self, source: Journal, series: SeriesWriter | None = None) -> None:
        self.source = source
        #: Where this process's calls begin that the catalog could not take; others' are all of it.
        self.start = self.position = source.start
        self._series = series
        self.applied = 0
        self.dropped = 0
        #: The experiment's number in the catalog, once looked up.
        self.experiment: int | None = None
        #: Numbers of attempts by the time at which they began.
        self.attempts: dict[str, int] = {}
        self.noted = self._unnoted = 0

    def resumed(self) -> Replay:
        """Go on with what will be appended from here on."""
        self.start = self.position
        return self

    @property
    def is_done(self) -> bool:
        """Whether all there is has been applied."""
        return self.position >= self.source.end

    def step(self, database: Database, wait: float = LOCK_WAIT_SECONDS) -> None:
        """Apply one batch, all of it or nothing.

        Raises:
            CatalogError: The catalog does not take it now.
        """
        batch = self.source.batch(self.position)
        lost = self.source.dropped  # by a memory that was full
        self._unnoted = lost - self.noted
        with self._forgetting(), database.transaction(wait=wait) as connection, self._checking(connection):
            experiment = find_or_create(connection, self.source.header)
            applied, dropped = self._apply(connection, experiment, batch.records)
        self.experiment = experiment
        self.noted = lost
        self.applied += applied
        self.dropped += dropped
        # A line without its end is no record: the owner was killed, and nothing follows.
        self.position = batch.next if batch.next > self.position else self.source.end

    def _apply(self, connection: Connection, experiment: int, records: Sequence[Record]) -> tuple[int, int]:
        writer = self.source.writer
        known = connection.execute("SELECT sequence FROM journal_writer WHERE writer = ?", (writer,)).fetchone()
        done = known[0] if known else 0
        applied, dropped = 0, 0
        for group in _grouped(records):
            fresh = [record for record in group if record[0] > done]
            if not fresh:
                self._note_attempts(connection, experiment, group)
                continue
            failed = self._apply_group(connection, experiment, fresh)
            applied += len(fresh) - failed
            dropped += failed
            done = fresh[-1][0]
        connection.execute(
            "INSERT INTO journal_writer (writer, experiment, sequence, replayed, dropped, replayed_at) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET sequence = ?3, replayed = replayed + ?4, "
            "dropped = dropped + ?5, replayed_at = ?6",
            (writer, experiment, done, applied, dropped + self._unnoted, now()),
        )
        (status,) = connection.execute("SELECT status FROM experiment WHERE id = ?", (experiment,)).fetchone()
        if status in ENDS:
            metrics.seal(connection, experiment)
        return applied, dropped

    def _apply_group(self, connection: Connection, experiment: int, group: Sequence[Record]) -> int:
        """Apply records together, or else one by one; give how many could not be."""
        try:
            with self._forgetting(), _savepoint(connection):
                if _is_call(group[0]):
                    self._apply_calls(connection, experiment, [Entry(record) for record in group])
                else:
                    self._apply_entry(connection, experiment, Entry(group[0]))
            return 0
        except Exception as error:
            if is_storage_fault(error) or isinstance(error, MemoryError):
                raise
            if len(group) > 1:
                return sum(self._apply_group(connection, experiment, [record]) for record in group)
            self._reject(group[0], error)
            return 1

    def _forgetting(self) -> AbstractContextManager[None]:
        return self._series.forgetting() if self._series else nullcontext()

    def _checking(self, connection: Connection) -> AbstractContextManager[None]:
        """Check what another process's file says, which may be anything."""
        return nullcontext() if self._series else _checked(connection)

    def _apply_calls(self, connection: Connection, experiment: int, entries: Sequence[Entry]) -> None:
        calls = [call for e in entries for one in e.changes if isinstance(one, MetricCalls) for call in one.calls]
        if self._series and self._series.experiment == experiment and len(calls) <= FEW_CALLS:
            for call in calls:
                self._series.log_within(connection, *call)
        else:
            metrics.write_calls(connection, experiment, calls)

    def _apply_entry(self, connection: Connection, experiment: int, entry: Entry) -> None:
        if isinstance(entry.begin, AttemptChange):
            self.attempts[entry.begin.at] = entry.begin.number(connection, experiment)
        attempt = self.attempts.get(entry.attempt) if isinstance(entry.attempt, str) else entry.attempt
        target = Target(experiment, attempt if _exists(connection, attempt) else None)
        for change in entry.changes:
            if isinstance(change, StatusChange):
                change.apply_late(connection, target)
            else:
                change.apply(connection, target)

    def _note_attempts(self, connection: Connection, experiment: int, group: Sequence[Record]) -> None:
        for record in group:
            begin = Entry(record).begin if record[1][1] else None
            if isinstance(begin, AttemptChange):
                self.attempts[begin.at] = begin.number(connection, experiment)

    def _reject(self, record: Record, error: Exception) -> None:
        logger.warning("a journaled record cannot be applied and is dropped: %s: %s", type(error).__name__, error)
        path = self.source.path
        if path is not None:
            with suppress(OSError):
                descriptor = os.open(path.with_suffix(".rejected"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(journal.framed(*record))


def _grouped(records: Iterable[Record]) -> Generator[list[Record]]:
    """Put calls of log_metrics that follow each other together; every other record is by itself."""
    group: list[Record] = []
    for record in records:
        is_call = _is_call(record)
        if not is_call and group:
            yield group
            group = []
        if is_call:
            group.append(record)
        else:
            yield [record]
    if group:
        yield group


def _is_call(record: Record) -> bool:
    _, begin, given = record[1]
    return begin is None and len(given) == 1 and given[0][0] == MetricCalls.__name__


@contextmanager
def _checked(connection: Connection) -> Generator[None]:
    """Have the schema's checks in force, which our own calls do without."""
    connection.execute("PRAGMA ignore_check_constraints = OFF")
    try:
        yield
    finally:
        connection.execute("PRAGMA ignore_check_constraints = ON")


@contextmanager
def _savepoint(connection: Connection) -> Generator[None]:
    connection.execute("SAVEPOINT record")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk may have rolled back everything
            with suppress(sqlite3.DatabaseError):
                connection.execute("ROLLBACK TO record")
                connection.execute("RELEASE record")
        raise
    connection.execute("RELEASE record")


def _exists(connection: Connection, attempt: int | None) -> bool:
    return connection.execute("SELECT 1 FROM attempt WHERE id = ?", (attempt,)).fetchone() is not None


def header_of(new: NewExperiment, created_ms: int, config: configs.CapturedConfig | None) -> dict[str, Any]:
    """Give the first record of a journal: whose records they are, enough to make the experiment anew."""
    return {
        "format": journal.FORMAT,
        "experiment": new._asdict(),
        "created_ms": created_ms,
        "config": config,
        "pid": os.getpid(),
    }


def find_or_create(connection: Connection, header: dict[str, Any]) -> int:
    """Give the number of a journal's experiment; the catalog may be another one than it was recorded in."""
    new = NewExperiment(**header["experiment"])
    found = connection.execute("SELECT id FROM experiment WHERE uid = ?", (new.uid,)).fetchone()
    if found:
        return found[0]
    taken = connection.execute(
        "SELECT 1 FROM experiment WHERE experiment_id = ? AND deleted_at IS NULL", (new.experiment_id,)
    ).fetchone()
    if taken:
        new = new._replace(experiment_id=f"{new.experiment_id}-{new.uid}")
    logger.warning("experiment %s is not in the catalog that its journal belongs to: made anew", new.experiment_id)
    config = encoding.config_of(header["config"]) or configs.capture(None, Redactor(()))
    number, _ = changes.create_experiment(connection, new, config, created_ms=header.get("created_ms"))
    return number


def replay_ownerless(database: Database, folders: Iterable[Path]) -> int:
    """Replay the journals whose owner is gone; give how many records.

    Raises:
        CatalogError: The catalog takes no writes now; the journals stay.
    """
    applied = 0
    for folder in folders:
        paths = journal.files(folder)
        if not paths:
            continue
        with _one_at_a_time(folder) as ours:  # journals of one dead process must be replayed in their order
            for path in paths if ours else ():
                source = JournalFile.adopt(path)
                if source is None:
                    continue
                try:
                    applied += _replay_all(database, source)
                finally:
                    source.release()
    return applied


def _replay_all(database: Database, source: JournalFile) -> int:
    replay = Replay(source)
    while not replay.is_done:
        replay.step(database)
    database.log.sync()  # before the only other copy goes
    source.discard()
    if replay.applied or replay.dropped:
        logger.info("replayed %d journaled records of %s", replay.applied, source.path)
    return replay.applied


@contextmanager
def _one_at_a_time(folder: Path) -> Generator[bool]:
    try:
        descriptor = os.open(folder / ".replay.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield False
        return
    try:
        yield locks.try_lock(descriptor)
    finally:
        os.close(descriptor)
