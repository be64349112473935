"""The threads of this library: none keeps a process alive, and none takes a signal that is meant for the training.

The system gives a signal to any thread that does not block it, and Python has the main thread handle it: but only when
that comes out of what it waits in, which the signal does not interrupt when another thread took it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any


def begin(work: Callable[[], object], name: str) -> threading.Thread:
    """Begin a thread.

    Raises:
        RuntimeError: At the interpreter's end no thread begins any more.
    """
    thread = threading.Thread(target=_without_signals, args=(work,), name=f"crackseg-tracker-{name}", daemon=True)
    thread.start()
    return thread


def _without_signals(work: Callable[[], object]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    work()


def holds(lock: Any) -> bool:
    """Tell whether this thread holds an RLock: then a call came amid another one, as a signal's handler does."""
    return lock._is_owned()  # what threading.Condition asks, too
