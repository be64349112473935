"""The backlog: what the catalog could not take of an experiment, in order, until it is replayed.

It is a row of journals: one beside the catalog, one beside the experiment where that cannot be written, and memory
where neither can.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from crackseg_tracker.errors import CatalogBusyError
from crackseg_tracker.sidecar import Sidecar
from crackseg_tracker.store import journal, threads
from crackseg_tracker.store.appending import writer_of
from crackseg_tracker.store.attempts import Attempt
from crackseg_tracker.store.changes import Change
from crackseg_tracker.store.database import Database, living
from crackseg_tracker.store.failures import translated
from crackseg_tracker.store.journal import Journal, JournalFile, JournalMemory
from crackseg_tracker.store.keeper import keeper
from crackseg_tracker.store.replay import LOCK_WAIT_SECONDS, Entry, Replay

WARN_AGAIN_SECONDS = 60.0
GIVE_WAY_SECONDS = 0.05
#: A lock that is waited for so long is no longer contention, but a fault.
CONTENTION_SECONDS = 2.0
#: How long a replay waits for its turn, which holds up nobody.
TURN_WAIT_SECONDS = 1.0

logger = logging.getLogger("crackseg_tracker")


class Subject(NamedTuple):
    """The experiment that is recorded."""

    number: int
    uid: str
    #: The origin of its metrics' times, in milliseconds of Unix time; for people it may be older (an imported one).
    created_ms: int
    created_at: str


class Tally(NamedTuple):
    """Calls of this process that went to a journal: how many, and what became of them."""

    journaled: int
    replayed: int
    dropped: int

    @property
    def waiting(self) -> int:
        """How many are not in the catalog yet."""
        return self.journaled - self.replayed - self.dropped


class Backlog:
    """What the catalog could not take of one experiment, in order; shared by its trackers in the process.

    Args:
        database: The catalog.
        subject: The experiment.
        folder: The experiment's folder, which takes the journal when the catalog's cannot be written.
        header: Makes the first record of a journal.
    """

    def __init__(
        self, database: Database, subject: Subject, folder: Path, header: Callable[[], dict[str, Any]]
    ) -> None:
        self.database = database
        self.is_open = False
        self.error: Exception | None = None
        self.subject = subject
        self.folder = folder
        #: What else the process has one of for each experiment: its trackers share it.
        self.sidecar = Sidecar(folder)
        self.series = writer_of(database, subject.number, subject.created_ms)
        self._header = header
        self._lock = threading.RLock()  # a signal's handler may come in the middle of a call, and ends the attempt
        self._draining = threading.Lock()
        self._replays: list[Replay] = []
        #: Replayed whole, and kept until the catalog is synced. Until then they take the next calls: making and syncing
        #: a file for each call that had to wait kept a crowd of writers waiting.
        self._spent: list[Replay] = []
        self._begun: list[Attempt] = []
        self._moved_at = 0.0
        self.replayed_at = 0.0
        #: Changes with every commit of another process.
        self._version_of_others: Any = None
        self._warned_at = float("-inf")
        # Counted in place: a signal's handler that comes amid an addition counts, too.
        self._journaled = self._replayed = self._dropped = 0
        #: What calls that give way wait for.
        self._waiting: list[threading.Lock] = []
        database.on_fork(self._after_fork)

    # Filling it

    def open(self, error: Exception) -> None:
        """Take all that follows."""
        with self._lock:
            if self.is_open:
                return
            self.is_open, self.error, self._moved_at = True, error, time.monotonic()
            if self._spent and self._spent[-1].source.is_whole:
                self._replays = [self._spent.pop().resumed()]
        if not isinstance(error, CatalogBusyError):
            self._warn()
        keeper.take(self)

    def append(self, attempt: Attempt, changes: Sequence[Change], *, synced: bool) -> bool:
        """Append one call. False when the backlog has been closed meanwhile.

        Args:
            attempt: Whose call it is; an attempt that the catalog does not have yet begins with it.
            changes: What the call writes, all of it or nothing.
            synced: Have it survive a power loss, too.
        """
        with self._lock:
            if not self.is_open:
                return False
            begin = attempt.begin if attempt.number is None and not attempt.journaled else None
            reference = attempt.begin.at if attempt.number is None else attempt.number
            self._put(Entry.content_of(reference, begin, changes), synced)
            self._journaled += 1
            if begin:
                attempt.journaled = True
                self._begun.append(attempt)
        return True

    def give_way(self) -> None:
        """Wait a moment for the replay, where others only want the lock too.

        Calls that come faster than they are replayed would keep a crowd of writers journaling for ever: of 64 that
        began at once and logged every 5 ms, which the catalog can take, none came back to it.
        """
        if not isinstance(self.error, CatalogBusyError) or self.is_degraded or self.is_held_here():
            return
        # Not an Event, whose lock a signal's handler would wait for when it comes amid ours, and journals too.
        closed = threading.Lock()
        closed.acquire()
        self._waiting.append(closed)
        if self.is_open:
            closed.acquire(timeout=GIVE_WAY_SECONDS)

    def _put(self, content: Any, synced: bool) -> None:
        while True:
            try:
                if self._replays:
                    self._replays[-1].source.append(content)
                    break
            except OSError as error:
                logger.warning("%s cannot be written any more: %s", self._replays[-1].source.path, error)
            self._replays.append(Replay(self._next_journal(), self.series))
        if synced:
            _sync(self._replays[-1])

    def _next_journal(self) -> Journal:
        """Begin a journal in the next place: beside the catalog, beside the experiment, in memory."""
        tried = {replay.source.path.parent for replay in self._replays if replay.source.path}
        for place in (self.database.path.parent, self.folder):
            folder = place / journal.FOLDER
            if folder not in tried:
                try:
                    return JournalFile.create(folder, self._header())
                except OSError as error:
                    logger.info("no journal can be written in %s: %s", folder, error)
        logger.warning("no journal can be written either: records are kept in memory until the catalog is back")
        return JournalMemory(self._header())

    def _warn(self) -> None:
        if time.monotonic() - self._warned_at > WARN_AGAIN_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("%s; what is recorded meanwhile is journaled, and nothing is lost", self.error)

    # What is known of it

    def is_held_here(self) -> bool:
        """Tell whether this thread is amid a call that holds what a write needs."""
        return threads.holds(self.database.lock) or threads.holds(self._lock)

    @property
    def is_degraded(self) -> bool:
        """Whether it is more than many processes that want the lock at once."""
        contention = isinstance(self.error, CatalogBusyError)
        return self.is_open and not (contention and time.monotonic() - self._moved_at < CONTENTION_SECONDS)

    @property
    def tally(self) -> Tally:
        """The calls that went here so far."""
        with self._lock:
            return Tally(self._journaled, self._replayed, self._dropped + self._unnoted_drops())

    def _unnoted_drops(self) -> int:
        return sum(r.source.dropped - r.noted for r in self._replays)

    @property
    def is_detached(self) -> bool:
        """Whether another catalog has taken the place of the experiment's, where its number means another.

        Calls go there by way of the journal only.
        """
        with self.database.lock, translated(self.database.path):
            look_up = "SELECT id FROM experiment WHERE uid = ?"
            return self.database.connection.execute(look_up, (self.subject.uid,)).fetchall() != [(self.subject.number,)]

    def entries(self) -> list[Entry]:
        """Give what is not in the experiment's own catalog yet, in order."""
        with self.database.lock, self._lock:  # in the order in which a replay takes them
            found: list[Entry] = []
            is_detached = self.is_detached
            for replay in self._replays:
                start = replay.start if is_detached else replay.position
                found += map(Entry, journal.records(replay.source, start))
            return found

    def in_memory(self) -> int:
        """Tell how many calls would be lost with this process."""
        with self._lock:
            sources = [replay.source for replay in self._replays if isinstance(replay.source, JournalMemory)]
        return sum(source.end - source.first for source in sources)

    def sync(self) -> None:
        """Have the journals survive a power loss, while calls go on appending; without a lock (see `store.syncing`)."""
        for replay in list(self._replays):
            _sync(replay)

    # Emptying it

    def drain(self, deadline: float | None = None) -> bool:
        """Replay what is here. True when it is empty, and the next call goes to the catalog.

        Args:
            deadline: The moment of the monotonic clock at which to leave the rest for later.

        Raises:
            CatalogError: The catalog takes no writes yet.
        """
        if self.is_held_here():
            return False  # a signal's handler came amid a call, which relies on what a replay changes
        seconds = -1 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self._draining.acquire(timeout=seconds):
            return False
        try:
            if not self.is_open:
                return True
            if not self.database.lock.acquire(timeout=seconds):  # a thread hangs in the catalog
                return False
            self.database.lock.release()
            if isinstance(self.error, CatalogBusyError) and self.is_degraded:
                self._warn()
            self.database.reconnect_if_replaced()
            if all(replay.is_done for replay in self._replays):  # and so nothing will show whether the catalog is back
                with self.database.transaction(wait=LOCK_WAIT_SECONDS):
                    pass
            self._replay_the_bulk(deadline)
            return self._replay_the_rest(deadline)
        except CatalogBusyError:
            self._note_the_others()
            raise
        finally:
            self._draining.release()

    def _note_the_others(self) -> None:
        """Notice that others write: that is contention, however long it lasts."""
        with self.database.lock, translated(self.database.path):
            (version,) = self.database.connection.execute("PRAGMA data_version").fetchone()
        if version != self._version_of_others:
            self._version_of_others, self._moved_at = version, time.monotonic()

    def let_drain(self, seconds: float) -> None:
        """Let a replay that is under way come to its end."""
        if self._draining.acquire(timeout=seconds):
            self._draining.release()

    def _replay_the_bulk(self, deadline: float | None) -> None:
        """Replay what is here at this moment, while calls go on appending."""
        for replay in list(self._replays):
            end = replay.source.end
            while replay.position < end and not _is_past(deadline):
                with self.database.in_turn(_left(deadline)):
                    self._step(replay)
                time.sleep(0)  # whoever waits for the database's lock comes first

    def _replay_the_rest(self, deadline: float | None) -> bool:
        """Replay what came meanwhile, with the calls waiting: a training in a tight loop appends faster than this."""
        while not _is_past(deadline):
            with self.database.in_turn(_left(deadline)), self.database.lock, self._lock:
                undone = self._undone()
                if undone is None and self.is_detached:
                    return False
                if undone is None:
                    self.is_open = False
                    undone = self._undone()  # a signal's handler may have come in the moment before
                    self.is_open = undone is not None
                if undone is None:
                    self._spent, self._replays = self._spent + self._replays, []
                    self.error = self.database.fault = None
                    waiting, self._waiting = self._waiting, []
                    break
                self._step(undone)
            time.sleep(0.001)
        else:
            return False
        for closed in waiting:
            closed.release()
        return True

    def _undone(self) -> Replay | None:
        return next((replay for replay in self._replays if not replay.is_done), None)

    def spent(self) -> list[tuple[Replay, int]]:
        """Give the journals that are replayed whole, with how far that is: to `discard` when the catalog is synced."""
        with self._lock:
            return [(replay, replay.position) for replay in self._spent]

    def discard(self, spent: Sequence[tuple[Replay, int]]) -> None:
        """Remove journals of which the catalog has all, and a power loss takes nothing."""
        with self._lock:
            done = [r for r, position in spent if r in self._spent and r.position == position and r.is_done]
            self._spent = [replay for replay in self._spent if replay not in done]
        for replay in done:
            replay.source.discard()

    def _step(self, replay: Replay) -> None:
        before = replay.applied, replay.dropped, replay.noted
        replay.step(self.database)
        self._moved_at = self.replayed_at = time.monotonic()
        with self._lock:
            self._count(replay, before)

    def _count(self, replay: Replay, before: tuple[int, int, int]) -> None:
        applied, dropped, noted = before
        self._replayed += replay.applied - applied
        self._dropped += replay.dropped - dropped + replay.noted - noted
        for attempt in self._begun:
            attempt.number = replay.attempts.get(attempt.begin.at, attempt.number)

    def _after_fork(self) -> None:
        """Leave it to the parent, lock and all."""
        for replay in self._replays + self._spent:
            replay.source.release()
        self._replays, self._spent, self._begun = [], [], []
        self.is_open, self.error, self._waiting = False, None, []
        self.sidecar = Sidecar(self.folder)  # whose lock the parent's keeper may have held
        self._journaled = self._replayed = self._dropped = 0
        self._lock, self._draining = threading.RLock(), threading.Lock()


def _sync(replay: Replay) -> None:
    try:
        replay.source.sync()
    except OSError as error:  # it is written all the same, and to write it elsewhere too would record it twice
        logger.warning("%s cannot be synced: %s", replay.source.path, error)


def _left(deadline: float | None) -> float:
    """Tell how long to wait for a turn."""
    return TURN_WAIT_SECONDS if deadline is None else min(TURN_WAIT_SECONDS, max(0.0, deadline - time.monotonic()))


def _is_past(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


_backlogs: WeakValueDictionary[tuple[int, int, str], Backlog] = WeakValueDictionary()


def backlog_of(database: Database, subject: Subject, folder: Path, header: Callable[[], dict[str, Any]]) -> Backlog:
    """Give the process's one backlog of an experiment."""
    with database.lock:
        key = (id(database), subject.number, subject.uid)
        backlog = _backlogs.get(key)
        if backlog is None:
            backlog = _backlogs[key] = Backlog(database, subject, folder, header)
        return backlog


def backlogs_of(database: Database) -> list[Backlog]:
    """Give the process's backlogs of all experiments in a catalog."""
    return [backlog for backlog in living(_backlogs) if backlog.database is database]
