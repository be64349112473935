"""Whose turn it is at a catalog's write lock: processes that find it taken wait in a queue.

SQLite has no queue: who waits must ask again and again. Of 64 processes that do, some are lucky each time and others
never; and each question wakes a process up, which takes the processor from the one that holds the lock. In a queue
only the first asks, and the system wakes the next one when that has written: it is a lock on a byte of a file beside
the catalog, which the system grants in the order of asking, and takes back from a process that dies. There are two
such lanes, because it takes longer to wake up than to write.

Who finds the lock free takes it without a look at the queue, which keeps the lock in use while the first of the queue
wakes up; but not when that one has noted in the file that it has waited for long.

All this is a courtesy: who has stood in the queue for too long (behind a process that was stopped) asks beside it, and
no write depends on it.

Road not taken: no locks, but a file that tells since when each process waits, for all to look into again and again.
That is fairer still, but eight processes that did nothing but log took half as long again for all that looking.
"""

from __future__ import annotations

import os
import queue
import random
import struct
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from crackseg_tracker.store import locks, threads

LANES = 2
#: How long a note holds that somebody waits: whoever wrote it may be stopped, or dead.
NOTE_SECONDS = 0.03
#: Not the generator that a training seeds: it is to draw the same numbers, whoever else writes meanwhile.
chance = random.SystemRandom()
_NOTE = struct.Struct("d")
_NO_NOTE = _NOTE.pack(0.0)


class _Place:
    """A place in the queue. When a call gives up its turn, the next call of the process takes the place over."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.is_wanted = True
        #: By chance, where there is none free: process numbers, for one, may all be even.
        self.lane = chance.randrange(LANES)
        self.is_queued = False
        self.has_come = False
        self.lock = threading.RLock()  # a signal's handler may come amid that, and want a turn too


class Turns:
    """The queue for one catalog's write lock, as one process stands in it.

    Waiting for a lock of the system has no time limit, so a thread does that. It begins with the first wait.
    """

    def __init__(self, catalog: Path) -> None:
        self._path = catalog.with_name(f"{catalog.name}.queue")
        self._descriptor = -1
        self._inode = 0
        self._is_standing = False
        self._has_noted = False
        self._place: _Place | None = None
        self._places: queue.SimpleQueue[_Place] = queue.SimpleQueue()

    @contextmanager
    def turn(self, seconds: float) -> Generator[bool]:
        """Wait for our turn; False when it has not come within some seconds, or cannot be waited for.

        Inside another turn of this process this is that turn.
        """
        place: _Place | None = None
        try:
            if (known := self._place) is not None and known.is_wanted:
                yield known.has_come  # amid another thread's turn, or, in a signal's handler, amid a wait
                return
            if self._is_open():
                place = self._given_up() or _Place()
                self._take(place)
                yield place.has_come or place.turn.acquire(timeout=seconds)
            else:
                yield False
        finally:
            if place is not None:
                self._quit(place)

    def _given_up(self) -> _Place | None:
        """Give the place that an earlier call gave up before its turn came."""
        place = self._place
        if place is not None:
            with place.lock:
                if place.is_queued:
                    place.is_wanted = True
                    return place
        return None

    def _take(self, place: _Place) -> None:
        if place is self._place:
            return
        self._place = place
        place.has_come = True  # before it is known: a Ctrl-C may come in between, and leaving does no harm
        for _ in range(LANES):
            place.lane = (place.lane + 1) % LANES
            if locks.try_lock_byte(self._descriptor, place.lane):
                break
        else:
            place.has_come = False
            with place.lock:
                self._places.put(place)
                place.is_queued = True

    def _stand(self) -> None:
        while True:
            place = self._places.get()
            locks.wait_for_byte(self._descriptor, place.lane)
            with place.lock:
                place.has_come, place.is_queued = True, False
                if place.is_wanted:
                    place.turn.release()
                else:
                    self._leave(place)

    def _quit(self, place: _Place) -> None:
        with place.lock:
            place.is_wanted = False
            if place.has_come:
                self._leave(place)

    def _leave(self, place: _Place) -> None:
        locks.unlock_byte(self._descriptor, place.lane)
        if self._place is place:
            self._place = None

    def _is_open(self) -> bool:
        if not locks.CAN_QUEUE:
            return False
        try:
            # A training that closes all descriptors may have another file by this number.
            if self._descriptor < 0 or os.fstat(self._descriptor).st_ino != self._inode:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                self._inode = os.fstat(self._descriptor).st_ino
            if not self._is_standing:
                threads.begin(self._stand, "queue")
                self._is_standing = True
        except (OSError, RuntimeError):  # no file, or no thread at the interpreter's end: without a queue then
            return False
        return True

    # What is noted for those who come anew

    def is_somebody_first(self) -> bool:
        """Tell whether somebody has waited for so long that who comes now should let them go first."""
        if self._descriptor < 0:
            return False
        try:
            note = os.pread(self._descriptor, _NOTE.size, 0)
        except OSError:
            return False
        if note == _NO_NOTE or len(note) < _NOTE.size:
            return False
        (until,) = _NOTE.unpack(note)
        return 0 < until - time.monotonic() < NOTE_SECONDS

    def note(self) -> None:
        """Have those who come anew let us go first, for a moment."""
        self._has_noted = True
        self._write(_NOTE.pack(time.monotonic() + NOTE_SECONDS))

    def cross_out(self) -> None:
        """Take the note back."""
        if self._has_noted:
            self._has_noted = False
            self._write(_NO_NOTE)

    def _write(self, note: bytes) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.pwrite(self._descriptor, note, 0)

    def forget(self) -> None:
        """Run in a forked child: the place is the parent's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._is_standing = -1, False
        self._place, self._places = None, queue.SimpleQueue()
