"""The keeper: one thread of the process for what must not wait, and must not hold up the training.

It replays what this process journaled as soon as the catalog takes writes again, and the journals of processes that are
gone; it syncs what was committed, so that a power loss takes at most the last seconds; and it looks whether the
catalog's file is still in its place and its write-ahead log bounded.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from crackseg_tracker.errors import CatalogError
from crackseg_tracker.store import holders, journal, replay, syncing, threads
from crackseg_tracker.store.database import Database
from crackseg_tracker.store.replay import Replay
from crackseg_tracker.store.syncing import exit_deadline

if TYPE_CHECKING:
    from crackseg_tracker.store.backlog import Backlog

#: How often commits are synced; a power loss takes at most this and the time of a sync.
SYNC_SECONDS = 2.0
OWNERLESS_SECONDS = 10.0
#: Checkpoints keep the write-ahead log at some 8 MB, unless a reader holds on to an old state of it, or there is a
#: reader at any time.
LONG_LOG_BYTES = 16 * 1024 * 1024
LONGEST_LOG_BYTES = 64 * 1024 * 1024
WARN_AGAIN_SECONDS = 600.0
#: A close waits so long for the sync of what was journaled; what is not synced then stays in the journal too.
SYNC_WAIT_SECONDS = 0.5
FIRST_PROBE_SECONDS, LAST_PROBE_SECONDS = 0.02, 0.5
#: A long replay leaves off in between: what is committed and journaled meanwhile has to be synced in time.
REPLAY_SECONDS = 1.0

logger = logging.getLogger("crackseg_tracker")


class _Charge:
    """What the keeper knows of a catalog."""

    def __init__(self, database: Database) -> None:
        self.home = os.fspath(database.path.parent)
        self.folders = {self.home}  # as text: a process may have made thousands
        #: Those in which journals are looked for next.
        self.due = set(self.folders)
        self.fault: CatalogError | None = None
        self.longest_log = LONG_LOG_BYTES
        #: How many of its frames could be copied at the last try, when somebody read it.
        self.copied: int | None = None
        self.warned_of_log_at = float("-inf")
        #: What `Database.commits` gave when all was synced.
        self.synced: tuple[int, int] | None = None
        #: So many failed syncs have been made good for: what they were for was written anew.
        self.mended = 0
        #: Whether somebody wants a sync before its time.
        self.is_asked_for = False
        self.tasks: dict[object, Callable[[], None]] = {}
        self.looked_at = time.monotonic()
        self.searched_at = float("-inf")


class Keeper:
    """The thread, and what it looks after."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._charges: WeakKeyDictionary[Database, _Charge] = WeakKeyDictionary()
        self._backlogs: list[Backlog] = []
        self._pause = SYNC_SECONDS
        #: Free when there is something to do. A signal's handler may free it amid that, which hangs with an Event.
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._lock = threading.RLock()  # a signal's handler may come in the middle, and journals too
        self._thread: threading.Thread | None = None

    def look_after(self, database: Database, folder: Path) -> None:
        """Look after a catalog from now on, and replay what others left in journals beside it or in a folder."""
        with self._lock:
            charge = self._charges.get(database)
            if charge is None:
                charge = self._charges[database] = _Charge(database)
            charge.folders.add(own := os.fspath(folder))
            for place in (own, charge.home):
                if journal.are_in(f"{place}/{journal.FOLDER}"):  # else each of a thousand experiments would wake it
                    charge.due.add(place)
                    self._wake()
            if self._thread is None:
                self._thread = threads.begin(self._run, "keeper")

    def take(self, backlog: Backlog) -> None:
        """Replay a backlog as soon as the catalog takes it; until then it is kept alive here."""
        with self._lock:
            if backlog not in self._backlogs:
                self._backlogs.append(backlog)
            self._pause = FIRST_PROBE_SECONDS
        self._wake()

    def sync_soon(self, database: Database) -> None:
        """Sync what was committed off the calling thread: the next checkpoint then finds little left to wait for.

        Where many write, checkpoints are left to this thread (`Database.contended`), and a sync holds up the others: it
        comes in its time, unless the log is long by then.
        """
        charge = self._charges.get(database)
        if charge and not (database.contended and database.log.used() <= charge.longest_log):
            charge.is_asked_for = True
            self._wake()

    def do_soon(self, database: Database, key: object, task: Callable[[], None]) -> None:
        """Do something within some seconds that no call needs to wait for, unless it is not wanted any more by then."""
        if charge := self._charges.get(database):
            charge.tasks[key] = task

    def do_not(self, database: Database, key: object) -> None:
        """Take back what was to be done soon."""
        if charge := self._charges.get(database):
            charge.tasks.pop(key, None)

    def settle(self, seconds: float, sync_seconds: float = SYNC_WAIT_SECONDS) -> list[int]:
        """Replay what can be replayed within some seconds, in the calling thread (at a close, and at exit).

        The sync that then lets the journals go is waited for as well, for some more seconds.

        Returns:
            How many calls of each experiment are left that only this process's memory has.
        """
        deadline = time.monotonic() + seconds
        while self._drain(deadline) and time.monotonic() < deadline:
            time.sleep(FIRST_PROBE_SECONDS)
        for database in {backlog.database for backlog in self._backlogs if backlog.spent()}:
            spent = self._spent_of(database)
            with suppress(CatalogError):
                if self.begin_sync(database).wait(time.monotonic() + sync_seconds) and not self._is_unsure(database):
                    self._discard(spent)
        return [count for backlog in list(self._backlogs) if (count := backlog.in_memory())]

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it is awake
            self._asleep.release()

    def _run(self) -> None:
        while True:
            self._asleep.acquire(timeout=self._pause)
            try:
                with self._lock:
                    charges = list(self._charges.items())
                for database, charge in charges:
                    if charge.is_asked_for or time.monotonic() - charge.looked_at >= SYNC_SECONDS:
                        self._look_at(database, charge)
                self._pause = self._pause_after_replay()
                for database, charge in charges:
                    self._replay_ownerless(database, charge)
            except Exception:
                logger.warning("upkeep failed; trying again", exc_info=True)

    def _pause_after_replay(self) -> float:
        """Replay for a moment, and tell how long to wait before the next time."""
        start = time.monotonic()
        if not self._drain(start + REPLAY_SECONDS):
            return SYNC_SECONDS
        if any(backlog.replayed_at > start for backlog in list(self._backlogs)):
            return FIRST_PROBE_SECONDS
        return min(self._pause * 1.5, LAST_PROBE_SECONDS)

    def _drain(self, deadline: float | None = None) -> bool:
        """Replay what is journaled; tell whether some of it has to wait."""
        for backlog in list(self._backlogs):
            with suppress(CatalogError):
                backlog.drain(deadline)
        return any(backlog.is_open for backlog in list(self._backlogs))

    def _look_at(self, database: Database, charge: _Charge) -> None:
        """Sync what was committed, and look whether the catalog's files are whole and in their places."""
        charge.is_asked_for, charge.looked_at = False, time.monotonic()
        try:
            self._sync(database, charge)
            database.check_in_place()
            database.rescue_log()
        except CatalogError as error:
            database.fault = charge.fault = error  # the next write finds it, and is journaled
        else:
            if charge.fault is not None and database.fault is charge.fault:
                database.fault = None  # nobody wrote meanwhile, or strictly
            charge.fault = None
        self._bound_log(database, charge)
        for key in list(charge.tasks):
            try:
                if task := charge.tasks.pop(key, None):
                    task()
            except Exception as error:  # of a strict tracker, which nobody is there to hear of
                logger.info("%s: %s", database.path, error)

    def _sync(self, database: Database, charge: _Charge) -> None:
        """Sync what was journaled and committed; journals of which the catalog has all are not needed any more."""
        spent, commits, failures = self._spent_of(database), database.commits(), database.log.failed_syncs
        if commits != charge.synced or self._is_unsure(database):
            try:
                if self._is_unsure(database):
                    database.checkpoint()
                self._sync_files(database)
            except CatalogError as error:
                if failures == charge.mended:
                    logger.warning("%s; what was committed in the last seconds may be lost with the power", error)
                raise
            charge.synced, charge.mended = commits, failures
        self._discard(spent)

    def begin_sync(self, database: Database) -> syncing.Syncing:
        """Begin to sync what was journaled and committed, in another thread."""
        return database.syncer.begin(partial(self._sync_files, database))

    def _sync_files(self, database: Database) -> None:
        for backlog in self._backlogs_of(database):
            backlog.sync()
        database.log.sync()

    def _is_unsure(self, database: Database) -> bool:
        """Tell whether a sync failed, and what it was for has not been written anew."""
        charge = self._charges.get(database)
        return charge is None or database.log.failed_syncs != charge.mended

    def _spent_of(self, database: Database) -> list[tuple[Backlog, list[tuple[Replay, int]]]]:
        return [(backlog, backlog.spent()) for backlog in self._backlogs_of(database)]

    def _discard(self, spent: list[tuple[Backlog, list[tuple[Replay, int]]]]) -> None:
        for backlog, replays in spent:
            backlog.discard(replays)
            self._let_go(backlog)

    def _backlogs_of(self, database: Database) -> list[Backlog]:
        return [backlog for backlog in list(self._backlogs) if backlog.database is database]

    def _let_go(self, backlog: Backlog) -> None:
        with self._lock:
            if not backlog.is_open and not backlog.spent() and backlog in self._backlogs:
                self._backlogs.remove(backlog)

    def _replay_ownerless(self, database: Database, charge: _Charge) -> None:
        with self._lock:
            if time.monotonic() - charge.searched_at > OWNERLESS_SECONDS:
                charge.searched_at = time.monotonic()
                charge.due = set(charge.folders)
            due, charge.due = sorted(charge.due), set()
        with suppress(CatalogError):
            replay.replay_ownerless(database, [Path(folder, journal.FOLDER) for folder in due])

    def _bound_log(self, database: Database, charge: _Charge) -> None:
        """Have the write-ahead log begun anew when it does not by itself; say who keeps it from that."""
        database.calm_down()
        size = database.log.used()
        if size <= charge.longest_log or database.private or not database.is_in_place():
            return
        before, charge.copied = charge.copied, None
        is_begun_anew = False
        with suppress(CatalogError):
            charge.copied = database.begin_log_anew()
            is_begun_anew = charge.copied is None
        # A reader may stay for hours: trying again and again would hold up the writers.
        charge.longest_log = LONG_LOG_BYTES + (0 if is_begun_anew else size)
        # Of many writers one always reads; who keeps the log from being copied any further reads on and on.
        is_pinned = charge.copied is not None and charge.copied == before
        if is_pinned and size > LONGEST_LOG_BYTES and time.monotonic() - charge.warned_of_log_at > WARN_AGAIN_SECONDS:
            charge.warned_of_log_at = time.monotonic()
            own = {os.getpid(): "this process"}
            readers = [own.get(pid, f"process {pid}") for pid in holders.readers_of(database.path)]
            logger.warning(
                "%s-wal has grown to %d MB: it cannot be begun anew while somebody reads an old state (%s); "
                "end that query or close that program",
                database.path,
                size // 1_000_000,
                ", ".join(readers) or "the system does not tell who",
            )


keeper = Keeper()


def _at_exit() -> None:
    left = max(0.0, exit_deadline() - time.monotonic())
    for lost in keeper.settle(left / 2, left / 4):
        logger.warning("%d calls that could be kept in memory only are lost", lost)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=keeper._reset)  # pyright: ignore[reportPrivateUsage]
