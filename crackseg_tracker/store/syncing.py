"""Work for the disk that is begun and then waited for: meanwhile there is other work, and the wait may have a limit.

A sync takes about as long as all else that an end of an experiment does. And a disk that hangs lets nobody go who asked
it for something: then it is a thread that hangs, and the process ends without it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable

#: What the exit of a process may take in all.
EXIT_SECONDS = 2.0


class Syncing:
    """Work that is under way."""

    def __init__(self, work: Callable[[], None]) -> None:
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


_works: queue.SimpleQueue[Syncing] = queue.SimpleQueue()  # which a signal's handler may put into, amid that
_thread: threading.Thread | None = None
_exit_deadline: float | None = None


def begin(work: Callable[[], None]) -> Syncing:
    """Have the thread do something, when it has done what it was given before.

    Example:
        >>> begin(lambda: None).wait()
        True
    """
    syncing = Syncing(work)
    try:
        start()
    except RuntimeError:  # at the interpreter's end no thread begins any more
        syncing.run()
    else:
        _works.put(syncing)
    return syncing


def start() -> None:
    """Have the thread ready: an exit may need it, when it is too late to begin one."""
    global _thread
    if _thread is None:
        thread = threading.Thread(target=_run, args=(_works,), name="crackseg-tracker-sync", daemon=True)
        thread.start()
        _thread = thread


def exit_deadline() -> float:
    """Give the moment of the monotonic clock by which the exit must be done; it is set by the first question."""
    global _exit_deadline
    if _exit_deadline is None:
        _exit_deadline = time.monotonic() + EXIT_SECONDS
    return _exit_deadline


def _run(works: queue.SimpleQueue[Syncing]) -> None:
    while True:
        works.get().run()


def _after_fork_in_child() -> None:
    global _works, _thread, _exit_deadline
    _works, _thread, _exit_deadline = queue.SimpleQueue(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
