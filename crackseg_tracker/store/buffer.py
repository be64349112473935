"""``durability="buffered"``: calls queue up, and a thread commits them in order at most 50 ms later."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from crackseg_tracker.store import threads
from crackseg_tracker.store.database import Database, living
from crackseg_tracker.store.metric_changes import Call
from crackseg_tracker.store.recording import Recorder
from crackseg_tracker.store.syncing import exit_deadline
from crackseg_tracker.values import checked_name, number

PERIOD_SECONDS = 0.025
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
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._idle = True
        self._flushing = threading.Lock()
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
        if self._thread is None:
            _flush_when_a_child_ends()
            self._thread = threads.begin(self._run, "buffer")
        self._wake.set()

    def flush(self, wait: float = -1) -> None:
        """Record all that was queued before, in one transaction.

        Args:
            wait: For so many seconds, when somebody else is at it; negative waits for the end.
        """
        if not self._flushing.acquire(timeout=wait):
            return
        try:
            queue = self._queue
            if not queue:
                return
            offset_ms = self._recorder.series.offset_ms
            batch: list[Call] = [(*queue[i][:2], offset_ms(queue[i][2])) for i in range(len(queue))]
            self._recorder.log_calls(batch)
            for _ in batch:
                queue.popleft()
        finally:
            self._flushing.release()

    def flush_before(self, deadline: float) -> None:
        """Flush, unless a thread hangs in the catalog until a moment of the monotonic clock."""
        lock = self._database.lock
        if not self._queue or not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return
        lock.release()  # which the thread needs that is flushing, if one is
        try:
            self.flush(max(0.0, deadline - time.monotonic()))
        except Exception:
            logger.warning("metrics could not be committed", exc_info=True)

    def _after_fork(self) -> None:
        """Leave the queue to the parent, which flushed it before the fork or still has it."""
        self._queue.clear()
        self._thread = None
        self._idle = True
        self._wake = threading.Event()
        self._flushing = threading.Lock()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                time.sleep(PERIOD_SECONDS)
                try:
                    self.flush()
                except Exception:
                    # The queue still has the batch: the next round, `save` or the exit tries again.
                    logger.warning("metrics could not be committed; trying again", exc_info=True)
                    time.sleep(1)
            self._idle = True
            if self._queue:
                self._idle = False
                self._wake.set()


def _flush_when_a_child_ends() -> None:
    """Have a process that `multiprocessing` forked flush at its end: it leaves by ``os._exit``, without `atexit`."""
    if "multiprocessing.util" in sys.modules:
        from multiprocessing import util

        util.Finalize(None, flush_all, exitpriority=100)


def flush_all(wait: float = -1) -> None:
    """Flush every buffer of the process (at exit, before a fork, and in a signal's handler, which may not wait)."""
    for buffer in living(_buffers):
        try:
            buffer.flush(wait)
        except Exception:
            logger.warning("metrics could not be committed", exc_info=True)


def _at_exit() -> None:
    for buffer in living(_buffers):
        buffer.flush_before(exit_deadline())


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=flush_all)
