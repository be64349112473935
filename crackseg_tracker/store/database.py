"""One connection per process to one catalog: transactions, waiting for the lock, forks.

Threads share the connection behind a lock of ours: that is fair and costs 0.1 us, where two connections would wait
for each other by sleeping. A forked child must neither use nor close what it inherits (closing it would drop the
parent's locks, and commits of the parent could vanish), so it keeps that open for ever and opens its own.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar
from urllib.parse import quote
from weakref import WeakKeyDictionary, WeakValueDictionary

from crackseg_tracker.errors import CatalogBusyError, CatalogError, CatalogWriteError
from crackseg_tracker.settings import Location
from crackseg_tracker.store import creation, filesystems, syncing, threads, upgrading
from crackseg_tracker.store.failures import is_busy, translated
from crackseg_tracker.store.log import CHECKPOINT_FRAMES, Log
from crackseg_tracker.store.turns import Turns, chance

#: How long to wait for a lock that another process holds: before a training starts, and while one waits for us.
#: (Ten seconds were too few for one of 64 that started at once on two busy cores.)
LOCK_WAIT_SECONDS = 30.0
WRITE_WAIT_SECONDS = 0.2
PAUSE_SECONDS = 0.003
#: Who stands in the queue (`store.turns`) asks only when it is the first; not for ever, for that one may be stopped.
QUEUE_SECONDS = 0.12
TURN_PAUSE_SECONDS = 0.001
#: The first of the queue that has waited for so long is let in before those who come anew.
COURTESY_SECONDS = 0.03
CROWD_CHECKPOINT_FRAMES = 50000
#: Who begins the log anew keeps writers waiting for so long at most, until those who read it are done.
LOG_WAIT_SECONDS = 0.02

logger = logging.getLogger("crackseg_tracker")

T = TypeVar("T")

_open_databases: dict[Path, Database] = {}
_private_databases: dict[Path, PrivateDatabase] = {}
_databases: WeakValueDictionary[int, Database] = WeakValueDictionary()
_registry_lock = threading.Lock()
_held_over_fork: list[Any] = []


def now() -> str:
    """Tell the time as it is stored: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class AmidAnotherCallError(CatalogBusyError):
    """A call from a signal's handler that came amid a call of its own thread, which holds what this one asks for.

    It is journaled: written within the other's transaction it would not be durable on return, and lost with that.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: called amid another call of the same thread, as by a signal's handler; call again later"
        )


class Database:
    """The process's writing connection to one catalog. Get it with `open_database`."""

    def __init__(self, location: Location) -> None:
        self.path = location.path
        self.location = location
        self.lock = threading.RLock()
        #: Who appends to ``metric_recent``: drawn anew in each process.
        self.token = 0
        self._fork_listeners: WeakKeyDictionary[object, Callable[[Any], None]] = WeakKeyDictionary()
        self.full_sync = False
        #: Whether nobody else can ever open it, and nothing is kept (see `PrivateDatabase`).
        self.private = False
        #: Secret values that the process's trackers saw: none of them may write one down (see `Redactor.share`).
        self.secrets: list[str] = []
        #: Why the catalog takes no writes at the moment; they are journaled until the keeper finds that it does again.
        self.fault: Exception | None = None
        #: The file that is open, by a descriptor that says how many links it has left. (One of ``O_PATH`` may be closed
        #: as one likes; closing any other would drop SQLite's locks.)
        self.watched = -1
        #: The connection to the file that was replaced: what was known until then can still be read.
        self.former: sqlite3.Connection | None = None
        self.log = Log(self.path)
        self._connection: sqlite3.Connection | None = None
        self._turns = Turns(self.path)
        self.syncer = syncing.Syncer()
        #: Held while SQLite is at work without `lock`: no fork may come amid that.
        self.copying = threading.Lock()
        self._checkpoint_frames = CHECKPOINT_FRAMES
        self.contended = False
        _databases[id(self)] = self

    @property
    def connection(self) -> sqlite3.Connection:
        """The driver connection, opened when first needed."""
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self.watched >= 0 and not (self.path.exists() and self.path.stat().st_size):
            # A training that goes on must not put an empty catalog in the place of the lost one.
            raise CatalogWriteError(f"{self.path} is gone; put it back, or start a new training to make a new one")
        with translated(self.path):
            creation.ensure(self.location)
            connection = self._open(0)  # SQLite's own wait is unfair (a call of eight writers took 187 ms): `retrying`
            self.retrying(lambda: connection.execute("PRAGMA synchronous").fetchone())
            connection.execute(f"PRAGMA synchronous = {'FULL' if self.full_sync else 'NORMAL'}")
            _check_version(self.path, connection)
            filesystems.settle(connection, self.path)
            connection.execute("PRAGMA foreign_keys = ON")
            # Our values are checked before they get here; `Catalog.check` still applies the schema's checks. They took
            # 3 to 4 % of a call of `log_metrics`, and more of a status, for which SQLite made a table of the five.
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_FRAMES}")
            connection.execute("PRAGMA journal_size_limit = 67108864")  # once a reader that held it up is gone
            connection.execute("PRAGMA trusted_schema = OFF")
        self.token = secrets.randbits(62)
        self._checkpoint_frames = CHECKPOINT_FRAMES
        self._watch()
        return connection

    def _open(self, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(os.fspath(self.path))}?mode=rw",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )

    def _watch(self) -> None:
        if self.watched >= 0 and hasattr(os, "O_PATH"):
            os.close(self.watched)
        self.watched = os.open(self.path, getattr(os, "O_PATH", os.O_RDONLY))

    def is_in_place(self) -> bool:
        """Tell whether the file that is open is still the one at the path."""
        try:
            return self.watched < 0 or os.path.samestat(os.fstat(self.watched), self.path.stat())
        except OSError:
            return False

    def check_in_place(self) -> None:
        """Raise `CatalogWriteError` when the file was deleted, moved away or replaced under us."""
        if not self.is_in_place():
            what = "was replaced by another file" if self.path.exists() else "was deleted or moved away"
            raise CatalogWriteError(f"{self.path} {what} while an experiment was being recorded; put it back")

    def reconnect_if_replaced(self) -> None:
        """Open the file that is at the path now, when it is another than the one that is open."""
        with self.lock:
            if not self.is_in_place() and self.path.exists():
                former = self._connection
                self._connection = self._connect()
                self.log.forget()
                if former is not None:  # closing it would delete the -wal at the path, which is another's
                    keep_for_ever(former)
                    self.former = former

    def raise_fault(self) -> None:
        """Raise what is wrong with the catalog at the moment, if anything is."""
        if self.fault is not None:
            raise self.fault

    def require_full_sync(self) -> None:
        """Sync every commit from now on (``durability="full"`` of any tracker of the process)."""
        with self.lock:
            self.full_sync = True
            self.connection.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def transaction(self, *, commit: bool = True, wait: float = LOCK_WAIT_SECONDS) -> Generator[sqlite3.Connection]:
        """Hold the write lock: all that happens inside is committed together, or not at all on an error.

        Args:
            commit: False rolls back at the end (to see what pending changes would give).
            wait: For so many seconds, when another process holds the lock.
        """
        is_amid = threads.holds(self.lock)
        with self.lock, translated(self.path):
            connection = self.connection
            if connection.in_transaction and is_amid:
                raise AmidAnotherCallError(self.path)
            self._roll_back(connection)  # what nobody is amid was left open by a Ctrl-C
            self.check_in_place()
            try:
                self.retrying(lambda: connection.execute("BEGIN IMMEDIATE"), wait, in_turn=True)
                yield connection
                if commit:
                    self.retrying(lambda: connection.execute("COMMIT"), wait)
                else:
                    connection.execute("ROLLBACK")
            except BaseException:
                self._roll_back(connection)
                raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except sqlite3.DatabaseError:  # a disk that fails may fail here too; the file rolls back when it is opened
                self.close()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read over the writing connection, so that a tracker sees what it has just written."""
        with self.lock, translated(self.path):
            return self.retrying(lambda: self.connection.execute(sql, parameters).fetchall())

    def retrying(self, work: Callable[[], Any], wait: float = LOCK_WAIT_SECONDS, *, in_turn: bool = False) -> Any:
        """Do the work, again and again for as long as another process holds the lock.

        Args:
            work: What fails at once when the lock is taken.
            wait: For so many seconds.
            in_turn: Let those go first who came first.
        """
        if not (in_turn and self.contended and self.is_somebody_first()):
            try:
                return work()
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
        start = time.monotonic()
        if not in_turn:
            return self._ask(work, start, wait, first=False)
        self._expect_others(True)
        with self._turns.turn(min(QUEUE_SECONDS, wait)) as first:
            try:
                return self._ask(work, start, wait, first=first)
            finally:
                if first:
                    self._turns.cross_out()

    def _ask(self, work: Callable[[], Any], start: float, wait: float, *, first: bool) -> Any:
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() - start > wait:
                    raise
            if first and time.monotonic() - start > COURTESY_SECONDS:
                self._turns.note()
            # Shorter pauses make everybody slower: of eight writers, those that asked in vain took half of the machine.
            time.sleep(chance.uniform(0.5, 1.5) * (TURN_PAUSE_SECONDS if first else PAUSE_SECONDS))

    def is_somebody_first(self) -> bool:
        """Tell whether others have waited for the write lock for so long that we should let them go first."""
        return self._turns.is_somebody_first()

    @contextmanager
    def in_turn(self, seconds: float) -> Generator[None]:
        """Wait for our turn at the write lock before the block, which asks for it, and outside of our own locks.

        Args:
            seconds: No longer than this.
        """
        with self._turns.turn(seconds):
            yield

    def _expect_others(self, crowded: bool) -> None:
        """Leave checkpoints to the keeper while others write too.

        They do not make SQLite begin the log anew then (`begin_log_anew` does), and each commit of each process would
        copy and sync what came since the last.
        """
        self.contended = crowded
        frames = CROWD_CHECKPOINT_FRAMES if crowded else CHECKPOINT_FRAMES
        if frames != self._checkpoint_frames and self._connection is not None:
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {frames}")
            self._checkpoint_frames = frames

    def calm_down(self) -> None:
        """Note that nobody else was met since the last time."""
        with self.lock:
            if self.contended:
                self.contended = False
            else:
                self._expect_others(False)

    def on_fork(self, forget: MethodType) -> None:
        """Have a bound method called in a forked child, in which nothing known about the catalog holds any more."""
        with self.lock:
            self._fork_listeners[forget.__self__] = forget.__func__

    @contextmanager
    def hurrying(self) -> Generator[None]:
        """Have commits leave syncing to one sync at the end, for which what is left of the process's time is meant.

        (But SQLite syncs the head of a log that begins anew, and all of a rollback journal.)
        """
        with self.lock:
            if self._connection is None or self._connection.in_transaction:
                yield
                return
            try:
                self._set_syncing(0, full=False)
                yield
            finally:  # of other threads, one may go on
                self._set_syncing(self._checkpoint_frames, full=self.full_sync)

    def _set_syncing(self, checkpoint_frames: int, *, full: bool) -> None:
        """Say how many frames of log make a commit copy and sync them, and whether it syncs the log each time."""
        if self._connection is not None:
            with suppress(sqlite3.DatabaseError):  # in a transaction that a signal came amid, "full" cannot be set
                self._connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_frames}")
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def rescue_log(self) -> None:
        """Notice that the write-ahead log was deleted: it is open still, so what it has goes into the database."""
        with self.lock, translated(self.path):
            if self._connection is not None and self.log.is_missing():
                self.checkpoint()
                self.close()
                logger.warning("%s-wal was deleted; what it had was saved into the database", self.path)

    def checkpoint(self) -> None:
        """Copy what the write-ahead log has into the database, as far as no reader holds that up, and sync both."""
        with self.lock, translated(self.path):
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def begin_log_anew(self) -> int | None:
        """Have the write-ahead log begun anew (see `Log.begin_anew`)."""
        with self.copying, translated(self.path), closing(self._open(LOG_WAIT_SECONDS)) as connection:
            return self.log.begin_anew(connection)

    def commits(self) -> tuple[int, int]:
        """Give what changes with everything that this process commits."""
        with self.lock:
            return self.token, 0 if self._connection is None else self._connection.total_changes

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            connection, self._connection = self._connection, None
            self.log.forget()
            if connection is None:
                return
            if self.is_in_place():
                with suppress(sqlite3.DatabaseError):
                    connection.close()
            else:  # SQLite would delete the -wal at the path, which may be another catalog's by now
                keep_for_ever(connection)

    def abandon(self) -> None:
        """Never close the connection: the disk hangs, and the process ends all the same."""
        if self._connection is not None:
            keep_for_ever(self._connection)

    def _forget_inherited(self) -> None:
        """Run in a forked child: keep the parent's handle open and untouched, for ever."""
        if self._connection is not None:
            keep_for_ever(self._connection)
        self._connection = None
        self._turns.forget()
        self.log.forget_threads()
        self.syncer, self.copying = syncing.Syncer(), threading.Lock()
        self.lock = threading.RLock()  # a thread of the parent may have held the old one
        for listener, forget in list(self._fork_listeners.items()):
            forget(listener)


class PrivateDatabase(Database):
    """A catalog in the memory of a process that is to record nothing: every call works, and its answers make sense."""

    def __init__(self, location: Location) -> None:
        # Not the path of the catalog: nothing of ours may be looked for, or left, beside that.
        super().__init__(Location(Path("in memory only") / location.path.name, location.setting))
        self.private = True
        self.watched = os.open(os.devnull, os.O_RDONLY)  # a file that nobody deletes

    def is_in_place(self) -> bool:
        """Nobody can move memory."""
        return True

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=512)
        upgrading.migrate(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        self.token = secrets.randbits(62)
        return connection

    def _forget_inherited(self) -> None:
        """Run in a forked child: memory has no locks to lose, and the copy is the child's own."""
        connection, self._connection = self._connection, None
        super()._forget_inherited()
        self._connection = connection


def open_privately(location: Location) -> Database:
    """Give the process's one private stand-in for a catalog."""
    with _registry_lock:
        if location.path not in _private_databases:
            _private_databases[location.path] = PrivateDatabase(location)
        return _private_databases[location.path]


def open_database(location: Location) -> Database:
    """Give the process's one `Database` of a catalog."""
    with _registry_lock:
        database = _open_databases.get(location.path)
        if database is None or not database.is_in_place():  # a new training makes a new catalog, or opens what is there
            database = _open_databases[location.path] = Database(location)
    with database.lock:
        _ = database.connection
    return database


def open_for_reading(path: Path, *, older: bool = False) -> sqlite3.Connection:
    """Open a connection that cannot write, or raise what `creation.recognise` says about the file.

    Args:
        path: The catalog.
        older: Open one of an earlier release too (to be copied, and the copy upgraded).
    """
    if creation.recognise(path) is None:
        raise CatalogError(f"there is no catalog at {path} yet; an ExperimentTracker with this path creates it")
    with translated(path):
        name = f"file:{quote(os.fspath(path))}?mode=ro"
        connection = sqlite3.connect(name, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            if os.access(path.parent, os.W_OK):
                raise
            # WAL needs a file beside the catalog; in a read-only folder (an archive) nobody writes.
            connection.close()
            connection = sqlite3.connect(name + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
        _check_version(path, connection, older=older)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _check_version(path: Path, connection: sqlite3.Connection, *, older: bool = False) -> None:
    """Look at the header and the schema again, now with the WAL: a newer release may be at work on the file."""
    try:
        creation.check_opened(path, connection, older=older)
    except CatalogError:
        connection.close()
        raise


def living(known: WeakValueDictionary[Any, T]) -> list[T]:
    """List the values of such a dictionary; its own ``values()`` fails when another thread adds one meanwhile."""
    return [value for reference in known.valuerefs() if (value := reference()) is not None]


def pause_for_others() -> None:
    """Leave the lock alone for a moment: work of many transactions on end would keep out whoever waits for it."""
    time.sleep(0.005)


def keep_for_ever(connection: sqlite3.Connection) -> None:
    """Give a handle a reference that is never taken back: not even the interpreter's end must close it."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _before_fork() -> None:
    # SQLite notes a file's locks per process: a child forked amid another thread's write would see it locked for ever.
    for database in living(_databases):
        for lock in (database.lock, database.copying):
            lock.acquire()
            _held_over_fork.append(lock)


def _after_fork_in_parent() -> None:
    while _held_over_fork:
        _held_over_fork.pop().release()


def _after_fork_in_child() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()
    _held_over_fork.clear()
    for database in living(_databases):
        database._forget_inherited()  # pyright: ignore[reportPrivateUsage]


def _close_all() -> None:
    for database in living(_databases):
        # The last one to close a catalog syncs it.
        if not database.syncer.begin(database.close).wait(syncing.exit_deadline()):
            database.abandon()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
