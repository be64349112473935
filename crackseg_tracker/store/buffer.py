"""``durability="buffered"``: calls queue up, and a thread commits them in order at most 50 ms later."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakSet

from crackseg_tracker.errors import MetricError
from crackseg_tracker.store.database import Database
from crackseg_tracker.store.metrics import SeriesWriter

PERIOD_SECONDS = 0.025

logger = logging.getLogger("crackseg_tracker")

_buffers: WeakSet[MetricBuffer] = WeakSet()


class MetricBuffer:
    """The queue of one tracker."""

    def __init__(self, database: Database, writer: Callable[[], SeriesWriter]) -> None:
        self._database = database
        self._writer = writer
        self._queue: deque[tuple[dict[str, float], int | None, float]] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._idle = True
        self._flushing = threading.Lock()
        _buffers.add(self)
        database.on_fork(self._after_fork)

    def log(self, values: dict[str, float], step: int | None) -> None:
        """Queue one call; the values are checked already."""
        self._queue.append((values, step, time.time()))
        if self._idle:
            self._idle = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="crackseg-tracker", daemon=True)
                self._thread.start()
            self._wake.set()

    def flush(self) -> None:
        """Commit all that was queued before, in one transaction."""
        with self._flushing:
            queue = self._queue
            if not queue:
                return
            batch = [queue[i] for i in range(len(queue))]
            writer = self._writer()
            try:
                with self._database.transaction():
                    for values, step, moment in batch:
                        try:
                            writer.log(values, step, writer.offset_ms(moment))
                        except MetricError as error:
                            # Only the step after 2^63-1 is found out so late. It must not hold up what follows.
                            logger.warning("metrics %s were dropped: %s", values, error)
            except BaseException:
                writer.reopen()
                raise
            for _ in batch:
                queue.popleft()

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


def flush_all() -> None:
    """Flush every buffer of the process (at exit and before a fork)."""
    for buffer in list(_buffers):
        try:
            buffer.flush()
        except Exception:
            logger.warning("metrics could not be committed", exc_info=True)


atexit.register(flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=flush_all)
