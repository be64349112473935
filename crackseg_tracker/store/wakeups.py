"""A main thread that sleeps through a signal is woken up.

Python notes a signal at once, but runs its handler in the main thread when that comes out of C. One that arrives in the
last moment before a wait in C, or at another thread, does not end the wait: a process whose SIGTERM has a handler lives
on then, and whoever waits for its death (``multiprocessing.Pool`` does) waits for ever. So a thread is told of each
signal (`signal.set_wakeup_fd`), and interrupts the main thread's wait until that has begun to handle it.

It does so with SIGURG, to which nothing happens: what tells of a signal may be a child, which shares the descriptor for
a moment. There can be one who is told only. Where an event loop is, that stays so, and this does nothing.

Road not taken: no handler in children of multiprocessing. They would die at once, but not say that they did.
"""

from __future__ import annotations

import os
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
#: A training that closes all descriptors gets the lowest numbers for its files: those must not be taken for ours.
LOWEST_DESCRIPTOR = 512

_descriptors: list[int] = []


def watch(is_missed: Callable[[int], bool]) -> None:
    """Look after the signals of this process from now on. For the main thread.

    Args:
        is_missed: Tells of a signal that came whether it is ours, and its handler has not begun.
    """
    if _descriptors or sys.platform == "win32" or signal.getsignal(signal.SIGURG) is not signal.SIG_DFL:
        return
    try:
        reading, writing = _high_pipe()
        _descriptors.extend((reading, writing))
        os.set_blocking(writing, False)
        told = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        if told == -1:
            signal.signal(signal.SIGURG, _do_nothing)
            threads.begin(partial(_wake_up, reading, is_missed), "signals")
        else:
            signal.set_wakeup_fd(told, warn_on_full_buffer=False)
            forget()
    except (OSError, RuntimeError, ValueError):  # no descriptor left, or no thread or interpreter for it
        forget()


def forget() -> None:
    """Have no more signals told; in a forked child that would be to the parent's thread."""
    if not _descriptors:
        return
    with suppress(ValueError):  # not the main thread
        told = signal.set_wakeup_fd(-1)
        if told not in (-1, *_descriptors):
            signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        if signal.getsignal(signal.SIGURG) is _do_nothing:
            signal.signal(signal.SIGURG, signal.SIG_DFL)
    while _descriptors:
        with suppress(OSError):
            os.close(_descriptors.pop())


def _high_pipe() -> tuple[int, int]:
    import fcntl
    import resource

    lowest = min(LOWEST_DESCRIPTOR, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    low = os.pipe()
    try:
        reading, writing = (fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, lowest) for one in low)
    finally:
        for one in low:
            os.close(one)
    return reading, writing


def _wake_up(reading: int, is_missed: Callable[[int], bool]) -> None:
    main = threading.main_thread().ident
    with suppress(OSError):  # a training that closes all descriptors has closed this one too
        while main is not None and (numbers := os.read(reading, 4096)):
            for pause in PAUSES_SECONDS:
                if not any(map(is_missed, numbers)):
                    break
                time.sleep(pause)
                if any(map(is_missed, numbers)):
                    signal.pthread_kill(main, signal.SIGURG)


def _do_nothing(_number: int, _frame: object) -> None:
    """Have a wait interrupted: what the system ignores interrupts none."""
