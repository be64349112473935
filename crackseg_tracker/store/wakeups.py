"""A signal that the main thread slept through is sent to it again.

Python notes a signal at once, but runs its handler in the main thread when that comes out of C. One that arrives in the
last moment before a wait in C, or at another thread, does not end the wait: a process whose SIGTERM has a handler lives
on then, and whoever waits for its death (``multiprocessing.Pool`` does) waits for ever. So a thread is told of each
signal (`signal.set_wakeup_fd`), and has the system interrupt the wait of a main thread that has not begun to handle it.

Road not taken: no handler in children of multiprocessing. They would die at once, but not say that they did.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from crackseg_tracker.store import threads

#: Before each new try. No more of them: C code that does not come back for long is interrupted each time.
PAUSES_SECONDS = (0.02, 0.1, 0.5, 2.0)
#: A training that closes all descriptors gets the lowest numbers for its files: signals must not be written into those.
LOWEST_DESCRIPTOR = 512

_reading, _writing = -1, -1


def watch(is_missed: Callable[[int], bool]) -> None:
    """Look after the signals of this process from now on; in the main thread, and where nobody else is told of them.

    Args:
        is_missed: Tells of a signal that came whether it is ours, and its handler has not begun.
    """
    global _reading, _writing
    if _reading >= 0 or sys.platform == "win32":
        return
    import fcntl

    try:
        _reading, low = os.pipe()
        try:
            _writing = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR)
        finally:
            os.close(low)
        os.set_blocking(_writing, False)
        former = signal.set_wakeup_fd(_writing, warn_on_full_buffer=False)
        if former == -1:
            threads.begin(partial(_remind, _reading, is_missed), "signals")
        else:
            signal.set_wakeup_fd(former)  # an event loop's
    except (OSError, RuntimeError, ValueError):  # no descriptor left, or no thread or interpreter for it
        forget()


def forget() -> None:
    """Have no more signals told; in a forked child that would be to the parent's thread."""
    global _reading, _writing
    with suppress(ValueError):  # not the main thread
        told = signal.set_wakeup_fd(-1)
        if told not in (-1, _writing):
            signal.set_wakeup_fd(told)
    for descriptor in (_reading, _writing):
        if descriptor >= 0:
            os.close(descriptor)
    _reading, _writing = -1, -1


def _remind(reading: int, is_missed: Callable[[int], bool]) -> None:
    main = threading.main_thread().ident
    while main is not None:
        for number in set(os.read(reading, 4096)):
            for pause in PAUSES_SECONDS:
                time.sleep(pause)
                if not is_missed(number):
                    break
                signal.pthread_kill(main, number)
        while select.select([reading], [], [], 0)[0]:  # what was sent from here
            os.read(reading, 4096)
