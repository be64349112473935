"""Work for the disk that is begun and then waited for: meanwhile there is other work, and the wait may have a limit.

A sync takes about as long as all else that an end of an experiment does. And a disk that hangs lets nobody go who asked
it for something: then it is a thread that hangs, and the process ends without it.

What a catalog's thread for that (`Syncer`) does must take none of the locks under which calls are made: a signal's
handler may wait for it amid a call that holds them.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable

from crackseg_tracker.store import threads

#: What the exit of a process may take in all.
EXIT_SECONDS = 2.0
#: So long after an exit was to be done, another one has begun: threads may train on after the main one failed.
ANOTHER_EXIT_SECONDS = 10.0


class Syncing:
    """Work that is under way."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        """Do the work."""
        try:
            self._work()
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def wait(self, deadline: float | None = None) -> bool:
        """Wait for the end of the work, and raise what it raised; False when that has not come by a moment.

        Args:
            deadline: The moment of the monotonic clock.
        """
        if not self._done.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
            return False
        self._done.release()
        if self._error is not None:
            raise self._error
        return True


class Syncer:
    """The thread for one catalog's disk.

    Example:
        >>> Syncer().begin(lambda: None).wait()
        True
    """

    def __init__(self) -> None:
        self._works: queue.SimpleQueue[Syncing] = queue.SimpleQueue()  # a signal's handler may put into it, amid that
        self._thread: threading.Thread | None = None

    def begin(self, work: Callable[[], None]) -> Syncing:
        """Have the thread do something, when it has done what it was given before."""
        syncing = Syncing(work)
        try:
            self.start()
        except RuntimeError:  # at the interpreter's end no thread begins any more
            syncing.run()
            return syncing
        if sys.is_finalizing():  # and those that had begun are gone
            syncing.run()
        else:
            self._works.put(syncing)
            time.sleep(0)  # the thread goes first: what the caller does meanwhile is Python, and would keep it out
        return syncing

    def start(self) -> None:
        """Have the thread ready: an exit may need it, when it is too late to begin one."""
        if self._thread is None:
            self._thread = threads.begin(self._run, "sync")

    def _run(self) -> None:
        while True:
            self._works.get().run()


_exit_deadline = float("-inf")


def exit_deadline() -> float:
    """Give the moment of the monotonic clock by which the exit must be done; it is set by the first question."""
    global _exit_deadline
    if time.monotonic() > _exit_deadline + ANOTHER_EXIT_SECONDS:
        _exit_deadline = time.monotonic() + EXIT_SECONDS
    return _exit_deadline
