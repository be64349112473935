"""``durability="buffered"``: calls queue up, and a thread commits them in order at most 50 ms later."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from crackseg_tracker.store import threads
from crackseg_tracker.store.database import Database, living
from crackseg_tracker.store.metric_changes import Call
from crackseg_tracker.store.recording import Recorder
from crackseg_tracker.store.syncing import Syncing, exit_deadline
from crackseg_tracker.values import checked_name, number

PERIOD_SECONDS, RETRY_SECONDS = 0.025, 1.0
LONGEST_QUEUE = 100_000

logger = logging.getLogger("crackseg_tracker")

_buffers: WeakValueDictionary[int, MetricBuffer] = WeakValueDictionary()


class MetricBuffer:
    """The queue of one tracker."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database = database
        self._recorder = recorder
        #: Calls, each with its moment (Unix time).
        self._queue: deque[tuple[dict[str, float], int | None, float]] = deque()
        self._names: set[str] = set()
        self._thread: threading.Thread | None = None
        #: What wakes the thread up: None for calls that can wait, else a flush that is waited for.
        self._requests: queue.SimpleQueue[Syncing | None] = queue.SimpleQueue()
        self._idle = True
        self._is_flushing = False
        _buffers[id(self)] = self
        database.on_fork(self._after_fork)

    def log(self, values: Mapping[str, Any], step: int | None) -> None:
        """Queue one call, checked.

        Raises:
            MetricError: Names the value; nothing of the call is queued.
        """
        call = dict(values)  # the caller may change his
        is_checked = self._names.issuperset(call)
        for value in call.values():
            if type(value) is not float:
                is_checked = False
        if not is_checked:
            call = {checked_name(name): number(name, value) for name, value in call.items()}
            self._names.update(call)
        if len(self._queue) >= LONGEST_QUEUE:
            self.flush()  # the calls come faster than the thread commits them: from here on they wait
        self._queue.append((call, step, time.time()))
        if self._idle:
            self._rouse()

    def _rouse(self) -> None:
        self._idle = False
        try:
            self._ask(None)
        except BaseException:  # Ctrl-C: else no later call would ask either
            self._idle = True
            raise

    def _ask(self, request: Syncing | None) -> None:
        try:
            if self._thread is None:
                _flush_when_a_child_ends()
                self._thread = threads.begin(self._run, "buffer")
        except RuntimeError:  # of as many as there may be, or at the interpreter's end: none begins any more
            self._idle = True
            (request or Syncing(self._is_flushed)).run()
        else:
            self._requests.put(request)

    def flush(self, deadline: float | None = None) -> None:
        """Have all recorded that was queued before.

        The thread does it: Ctrl-C comes to the main thread only, and amid a commit of its own it could not tell whether
        the calls are in the catalog, and would record them again, at the next steps. But a signal's handler that came
        amid a call holds what the thread would wait for, and at the interpreter's end there is no thread.

        Args:
            deadline: Wait for it until this moment of the monotonic clock.
        """
        if not self._queue:
            return
        if self._recorder.backlog.is_held_here() or sys.is_finalizing():
            self.flush_here(0)
            return
        request = Syncing(self.flush_here)
        self._ask(request)
        request.wait(deadline)

    def flush_here(self, wait: float = -1) -> None:
        """Record all that was queued before, in one transaction, in this thread.

        Args:
            wait: For so many seconds, when another thread is at work on the catalog; negative waits for the end.
        """
        lock = self._database.lock  # of two that flush, the second finds what came meanwhile
        if not lock.acquire(timeout=wait):
            return
        try:
            if not self._is_flushing:  # else a handler came amid this very flush, which goes on afterwards
                self._is_flushing = True
                try:
                    self._flush()
                finally:
                    self._is_flushing = False
        finally:
            lock.release()

    def _flush(self) -> None:
        calls = self._queue
        if calls:
            offset_ms = self._recorder.series.offset_ms
            batch: list[Call] = [(*calls[i][:2], offset_ms(calls[i][2])) for i in range(len(calls))]
            self._recorder.log_calls(batch)
            for _ in batch:
                calls.popleft()

    def flush_before(self, deadline: float) -> None:
        """Flush, unless a thread hangs in the catalog until a moment of the monotonic clock."""
        lock = self._database.lock
        if not self._queue or not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return
        lock.release()  # which the thread needs that is flushing, if one is
        self.flush(deadline)

    def _after_fork(self) -> None:
        """Leave the queue to the parent, which flushed it before the fork or still has it."""
        self._queue.clear()
        self._thread = None
        self._requests = queue.SimpleQueue()
        self._idle = True
        self._is_flushing = False

    def _run(self) -> None:
        pause = PERIOD_SECONDS
        while True:
            request = self._requests.get()
            deadline = time.monotonic() + pause
            while request is None and (left := deadline - time.monotonic()) > 0:
                with suppress(queue.Empty):
                    request = self._requests.get(timeout=left)
            self._idle = True  # what is queued from here on asks again
            pause = PERIOD_SECONDS
            if request is not None:
                request.run()  # who waits for it hears what went wrong
            elif not self._is_flushed():
                pause = RETRY_SECONDS
            if self._queue:
                self._rouse()

    def _is_flushed(self) -> bool:
        """Flush; what could not be recorded is in the queue still."""
        try:
            self.flush_here()
        except Exception:
            logger.warning("metrics could not be committed; trying again", exc_info=True)
            return False
        return True


def _flush_when_a_child_ends() -> None:
    """Have a process that `multiprocessing` forked flush at its end: it leaves by ``os._exit``, without `atexit`."""
    if "multiprocessing.util" in sys.modules:
        from multiprocessing import util

        util.Finalize(None, flush_all, exitpriority=100)


def flush_all() -> None:
    """Flush every buffer of the process (before a fork, and where it leaves without `atexit`)."""
    _of_each(MetricBuffer.flush)


def flush_all_here(wait: float) -> None:
    """Flush every buffer in this thread: a signal's handler may hold what another thread would wait for.

    Args:
        wait: For so many seconds, when another thread is at work on the catalog.
    """
    _of_each(lambda buffer: buffer.flush_here(wait))


def flush_all_before(deadline: float) -> None:
    """Flush every buffer until a moment of the monotonic clock, unless a thread hangs in the catalog."""
    _of_each(lambda buffer: buffer.flush_before(deadline))


def _of_each(flush: Callable[[MetricBuffer], None]) -> None:
    for buffer in living(_buffers):
        try:
            flush(buffer)
        except Exception:
            logger.warning("metrics could not be committed", exc_info=True)


def _at_exit() -> None:
    flush_all_before(exit_deadline())


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=flush_all)
