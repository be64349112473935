"""The attempts that this process has begun and not ended: the lock that proves it alive, and how they end with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from crackseg_tracker.errors import CatalogBusyError, CatalogError
from crackseg_tracker.store.database import Database
from crackseg_tracker.store.keeper import keeper
from crackseg_tracker.store.locks import LifeLock
from crackseg_tracker.store.syncing import Syncing

logger = logging.getLogger("crackseg_tracker")


class OpenAttempt(Protocol):
    """An attempt that this process works on; a `store.recording.Recorder`."""

    def end_with_process(self, status: str, message: str) -> None:
        """Record that the process ends, and how."""
        ...


class OpenAttempts:
    """The open attempts of this process in one catalog. They share one lock, for they live and die together.

    It is held until the process ends, not until its last attempt does: making the file anew took each of a thousand
    experiments in a row a tenth of a millisecond.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: list[OpenAttempt] = []
        self._lock: LifeLock | None = None
        self._sync: Syncing | None = None
        database.on_fork(self._after_fork)

    def lock_name(self) -> str:
        """Hold the lock, before an attempt that names it is there for others to see; "" where none can be had."""
        if self._database.private:
            return ""
        with self._database.lock:
            if self._lock is None:
                try:
                    self._lock = LifeLock(self._database.path)
                except OSError as error:
                    logger.info(
                        "no lock beside %s: %s; liveness is told by process numbers", self._database.path, error
                    )
                    return ""
            return self._lock.name

    def began(self, attempt: OpenAttempt) -> None:
        """Note an attempt, and hold on to it: its tracker may be gone before the process ends."""
        if not self._database.private:
            from crackseg_tracker.store import endings  # it ends what is noted here

            endings.watch()
            self._database.syncer.start()
        with self._database.lock:
            if not any(known is attempt for known in self._open):
                self._open.append(attempt)

    def ended(self, attempt: OpenAttempt) -> None:
        """Forget an attempt whose end is recorded."""
        with self._database.lock:  # another thread may be about to begin one
            self._open = [known for known in self._open if known is not attempt]

    def abandon_call(self, deadline: float) -> None:
        """Roll back the call of ours that a signal interrupted: it never returns, and so it promised nothing."""
        with _held(self._database, deadline):
            # Only what this thread was in the middle of can be open: another thread would hold the lock.
            if self._open and self._database.connection.in_transaction:
                self._database.connection.execute("ROLLBACK")

    def end_all(self, status: str, message: str, deadline: float) -> None:
        """Record that the process ends, and how, before a moment of the monotonic clock."""
        database = self._database
        with _held(database, deadline):
            has_written = bool(self._open) and not database.private
            with database.hurrying():
                for attempt in list(self._open):
                    if not database.private and time.monotonic() < deadline:
                        attempt.end_with_process(status, message)
                    self.ended(attempt)
            if self._lock is not None:
                self._lock.release()
                self._lock = None
        if has_written:
            self._sync = keeper.begin_sync(database)

    def wait_for_sync(self, deadline: float) -> None:
        """Wait until a power loss does not take the end any more, or until a moment of the monotonic clock."""
        sync, self._sync = self._sync, None
        try:
            if sync is not None and not sync.wait(deadline):
                logger.warning(
                    "%s: the disk did not sync the end in time; a power loss may take it, so check the disk",
                    self._database.path,
                )
        except CatalogError as error:
            logger.warning("%s", error)

    def _after_fork(self) -> None:
        """In a forked child: the attempts are the parent's, and so is the lock."""
        if self._lock is not None:
            self._lock.let_go()
        self._lock = None
        self._open = []


_all: dict[Database, OpenAttempts] = {}


def own_attempts(database: Database) -> OpenAttempts:
    """Give the open attempts of this process in a catalog."""
    with database.lock:
        if database not in _all:
            _all[database] = OpenAttempts(database)
        return _all[database]


def everywhere() -> list[OpenAttempts]:
    """Give those of every catalog."""
    return list(_all.values())


@contextmanager
def _held(database: Database, deadline: float) -> Generator[None]:
    if not database.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise CatalogBusyError(f"{database.path}: another thread has been at work on it for too long")
    try:
        yield
    finally:
        database.lock.release()
