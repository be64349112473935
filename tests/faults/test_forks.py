"""Forks amid what this library's threads do beside the training: a child must find nothing locked for ever."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import ask

from crackseg_tracker import ExperimentTracker
from crackseg_tracker.settings import locate
from crackseg_tracker.store.database import open_database

NewTracker = Callable[..., ExperimentTracker]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_a_child(work: Callable[[], object]) -> int:
    """Fork, do something, and give the status; a child that hangs is ended by an alarm."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_amid_the_copying_of_the_log(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 8: SQLite notes locks per process; those of a checkpoint in another thread must not be copied."""
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.log_metrics({"loss": 1.0}, step=0)
    reader = sqlite3.connect(catalog_path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM experiment").fetchone()  # which the copying waits for, with the lock held
    tracker.log_metrics({"loss": 0.9}, step=1)
    database = open_database(locate(catalog_path))
    copying = threading.Thread(target=database.begin_log_anew)
    copying.start()
    time.sleep(0.008)

    def record() -> None:
        for step in range(2, 5):
            tracker.log_metrics({"loss": 0.8}, step=step)
        assert tracker.metadata.journaled == tracker.metadata.replayed == 0

    assert in_a_child(record) == 0
    copying.join()
    reader.close()
    tracker.complete_experiment()
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(5,)]


def test_amid_the_writing_of_the_file_beside_an_experiment(
    new_tracker: NewTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 8: the keeper writes it some seconds after a start, just when workers are forked."""
    replace, is_inside = os.replace, threading.Event()

    def slow(*paths: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            is_inside.set()
            time.sleep(0.5)
        replace(*paths)

    monkeypatch.setattr(os, "replace", slow)
    tracker = new_tracker()
    tracker.start_experiment()
    assert is_inside.wait(30)

    def record() -> None:
        tracker.log_metrics({"loss": 1.0}, step=0)
        tracker.close()

    assert in_a_child(record) == 0
    tracker.complete_experiment()
