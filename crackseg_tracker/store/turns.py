"""Whose turn it is at a catalog's write lock: processes that found it taken wait in a queue.

SQLite has no queue: who waits must ask again and again. Of 64 processes that do, some are lucky each time and others
never; and each question wakes a process up, which takes the processor from the one that holds the lock. In a queue
only the first asks, and the system wakes the next one when that has written: it is a ``flock`` on a file beside the
catalog, which the system grants in the order of asking, and takes back from a process that dies.

The queue is a courtesy. Who finds the lock free takes it without a look at the queue, and who has stood in it for too
long (behind a process that was stopped) asks beside it: no write depends on it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from crackseg_tracker.store import locks, threads


class _Place:
    """A place in the queue, which is either taken (by its turn) or given up, whichever comes first."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self._decided = threading.Lock()

    def decide(self) -> bool:
        """Be the first to decide it; False when that was done."""
        return self._decided.acquire(blocking=False)


class Turns:
    """The queue for one catalog's write lock, as one process stands in it. One thread asks at a time.

    Waiting for a ``flock`` has no time limit, so a thread does that. It begins with the first wait.
    """

    def __init__(self, catalog: Path) -> None:
        self._path = catalog.with_name(f"{catalog.name}.queue")
        self._descriptor = -1
        self._is_standing = False
        self._place: _Place | None = None
        self._places: queue.SimpleQueue[_Place] = queue.SimpleQueue()

    @contextmanager
    def turn(self, seconds: float) -> Generator[bool]:
        """Wait for our turn; False when it has not come within some seconds, or cannot be waited for."""
        # A place may be left from before, behind a stopped process; or this is a signal's handler, amid a wait.
        if self._place is not None or not self._is_open():
            yield False
            return
        place = self._place = _Place()
        is_first = True  # before it is known: a Ctrl-C may come in between, and leaving does no harm
        try:
            is_first = locks.try_lock(self._descriptor)
            if is_first:
                yield True
            else:
                self._places.put(place)
                yield place.turn.acquire(timeout=seconds)
        finally:
            if is_first or not place.decide():
                self._leave()

    def _is_open(self) -> bool:
        if not self._is_standing and locks.CAN_QUEUE:
            try:
                if self._descriptor < 0:
                    self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                threads.begin(self._stand, "queue")
                self._is_standing = True
            except (OSError, RuntimeError):  # no file, or no thread at the interpreter's end: without a queue then
                return False
        return self._is_standing

    def _stand(self) -> None:
        while True:
            place = self._places.get()
            locks.wait_for(self._descriptor)
            if place.decide():
                place.turn.release()
            else:
                self._leave()

    def _leave(self) -> None:
        locks.unlock(self._descriptor)
        self._place = None

    def forget(self) -> None:
        """Run in a forked child: the place is the parent's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._is_standing = -1, False
        self._place, self._places = None, queue.SimpleQueue()
