"""How an attempt ends: by an exception, by a signal, or with the interpreter.

A signal's default action goes on as if we were not there: the end is recorded, then the process dies of the signal.
Handlers of the user are left alone, and so is a handler that replaces ours. In a forked child ours are gone, so that
``terminate()`` ends a DataLoader's worker at once.

Road not taken: raising SystemExit on SIGTERM, which unwinds the user's frames. It may take longer than the scheduler
waits, be caught on the way, and gives another exit status than before.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType, TracebackType
from typing import Any

from crackseg_tracker.errors import CatalogError
from crackseg_tracker.store import buffer, lives, wakeups
from crackseg_tracker.store.syncing import EXIT_SECONDS, exit_deadline

logger = logging.getLogger("crackseg_tracker")

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_WITHOUT_A_WORD = "the interpreter exited before an end was recorded"

_takes_signals = False
_is_dying = False
#: What a thread that forks let through before.
_masks: dict[int, set[Any]] = {}
_previous_hook: Any = None
_finalizer_of = 0


def of_exception(error: BaseException | None) -> tuple[str, str]:
    """Tell which end an exception means, and its message.

    Example:
        >>> of_exception(None), of_exception(KeyboardInterrupt()), of_exception(ValueError("x"))[0]
        (('completed', ''), ('aborted', 'KeyboardInterrupt'), 'failed')
    """
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "completed", ""
    if isinstance(error, (KeyboardInterrupt, GeneratorExit, SystemExit)):
        return "aborted", f"{type(error).__name__}: {error}".rstrip(": ")
    try:
        return "failed", "".join(traceback.format_exception(error))
    except Exception:  # an exception whose own __str__ raises
        return "failed", type(error).__name__


def watch() -> None:
    """Have the end of the process recorded. Called when it may begin an attempt; does no harm when called again."""
    global _previous_hook, _takes_signals
    if not _takes_signals and threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _on_signal)
        _takes_signals = all(signal.getsignal(number) is _on_signal for number in _SIGNALS)
        if any(signal.getsignal(number) is _on_signal for number in _SIGNALS):
            wakeups.watch(_is_missed)
    if _previous_hook is None:
        _previous_hook, sys.excepthook = sys.excepthook, _on_uncaught
    _watch_the_end_of_a_child()


def _watch_the_end_of_a_child() -> None:
    """Children of multiprocessing leave by ``os._exit``, without atexit; they run these finalizers."""
    global _finalizer_of
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        if _finalizer_of != os.getpid():
            util.Finalize(None, _at_exit, exitpriority=0)
        _finalizer_of = os.getpid()


def _end(status: str, message: str, deadline: float, *, is_handling: bool = False) -> None:
    ended: list[lives.OpenAttempts] = []
    for attempts in lives.everywhere():
        try:
            attempts.abandon_call(deadline)
            if is_handling:
                buffer.flush_all_here(EXIT_SECONDS / 8)
            else:
                buffer.flush_all_before(deadline - EXIT_SECONDS / 4)
            attempts.end_all(status, message, deadline)
            ended.append(attempts)
        except Exception as error:
            trace = not isinstance(error, CatalogError)  # which says all there is to say
            logger.warning("the process shows as dead: its end could not be recorded (%s)", error, exc_info=trace)
    for attempts in ended:  # when all are written: one disk may hang, and another not
        attempts.wait_for_sync(deadline)


def _is_missed(number: int) -> bool:
    return number in _SIGNALS and signal.getsignal(number) is _on_signal and not _is_dying


def _on_signal(number: int, _frame: FrameType | None) -> None:
    global _is_dying
    if _is_dying:
        return
    _is_dying = True
    try:
        _end("aborted", signal.Signals(number).name, time.monotonic() + EXIT_SECONDS, is_handling=True)
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        _is_dying = False  # the first process of a container does not die of it


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    try:
        if not hasattr(sys, "ps1"):  # at a prompt the process goes on
            _end(*of_exception(error), exit_deadline())
    finally:
        _previous_hook(kind, error, trace)


def _at_exit() -> None:
    error = sys.exception()
    status, message = ("aborted", _WITHOUT_A_WORD) if error is None else of_exception(error)
    _end(status, message, exit_deadline())


def _before_fork() -> None:
    # A signal to the child that came before our handler is gone there would be noted, and forgotten with the fork.
    if hasattr(signal, "pthread_sigmask"):
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _after_fork() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    global _is_dying, _takes_signals
    _is_dying = _takes_signals = False
    for number in _SIGNALS:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL)
    wakeups.forget()
    _after_fork()


# Registered after those of the store that close connections, and so called before them.
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
