"""Random faults between random calls: accepted = committed + journaled + dropped, and in the end all of it is found."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import ask

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.store.database import Database

NewTracker = Callable[..., ExperimentTracker]
Eventually = Callable[[Callable[[], bool]], None]


class Faults:
    """Faults that come and go while the calls are made, each without another process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locker = sqlite3.connect(database.path, isolation_level=None, timeout=10, check_same_thread=False)

    def lock(self) -> None:
        self._locker.execute("BEGIN IMMEDIATE")

    def full(self) -> None:
        self._pragma("max_page_count = 1")

    def read_only(self) -> None:
        self._pragma("query_only = ON")

    def gone(self) -> None:
        self._database.path.rename(self._database.path.with_name("elsewhere"))

    def none(self) -> None:
        """Heal everything."""
        if self._locker.in_transaction:
            self._locker.execute("ROLLBACK")
        elsewhere = self._database.path.with_name("elsewhere")
        if elsewhere.exists():
            elsewhere.rename(self._database.path)
        self._pragma("max_page_count = 1000000")
        self._pragma("query_only = OFF")

    def close(self) -> None:
        self.none()
        self._locker.close()

    def _pragma(self, statement: str) -> None:
        with self._database.lock:
            self._database.connection.execute(f"PRAGMA {statement}").fetchall()


@pytest.mark.parametrize("durability", ["normal", "buffered"])
def test_random_faults_between_random_calls(
    new_tracker: NewTracker,
    catalog_path: Path,
    eventually: Eventually,
    chance: random.Random,
    durability: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promises 3, 4 and 5: whatever fails and heals meanwhile, each call counts once, in order, and is seen at once."""
    monkeypatch.setattr("crackseg_tracker.store.recording.WRITE_WAIT_SECONDS", 0.02)
    monkeypatch.setattr("crackseg_tracker.store.appending.WRITE_WAIT_SECONDS", 0.02)
    tracker = new_tracker(durability=durability)
    faults = Faults(tracker._database)
    curve: dict[int, float] = {}
    tags: set[str] = set()
    description, epoch = "", 0
    for number in range(400):
        if chance.random() < 0.05:
            faults.none()
            kind = chance.choice(["lock", "full", "read_only", "gone", "none", "none"])
            print(f"{number}: {kind}")
            getattr(faults, kind)()
        what = chance.random()
        if what < 0.6:
            step = chance.choice([None, None, number, chance.randrange(50)])
            tracker.log_metrics({"x": float(number)}, step=step)
            curve[max(curve, default=-1) + 1 if step is None else step] = float(number)
        elif what < 0.7:
            tag = f"tag {chance.randrange(20)}"
            (tracker.add_tags if tag not in tags else tracker.remove_tags)([tag])
            tags ^= {tag}
        elif what < 0.8:
            description = f"description {number}"
            tracker.update_description(description)
        elif what < 0.85:
            epoch = number
            tracker.update_training_progress(number, 1000, {"best": float(number)})
        elif what < 0.9:
            start = chance.randrange(50)
            tracker.log_history("x", range(start, start + 5), [float(number)] * 5)
            curve |= dict.fromkeys(range(start, start + 5), float(number))
        elif what < 0.93 and curve:
            back = chance.randrange(max(curve) + 1)
            tracker.rewind(back)
            curve = {step: value for step, value in curve.items() if step <= back}
        else:
            known = tracker.metadata
            assert (set(known.tags), known.description, known.current_epoch) == (tags, description, epoch)
            assert known.dropped == 0
        if chance.random() < 0.1:
            time.sleep(0.02)
    faults.none()
    tracker.complete_experiment()
    eventually(lambda: tracker.metadata.journaled == 0)
    tracker.close()
    faults.close()
    assert dict(ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x'")) == curve
    assert {tag for (tag,) in ask(catalog_path, "SELECT tag FROM experiment_tags")} == tags
    assert ask(catalog_path, "SELECT description, current_epoch, status FROM experiments") == [
        (description, epoch, "completed")
    ]
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []


# Forks the writers before anything is open, lets all of them go at once, and prints what each has seen.
_MANY = """
import os, sys, time
from crackseg_tracker import ExperimentTracker
base, catalog, processes, calls, pause = *sys.argv[1:3], *map(int, sys.argv[3:5]), float(sys.argv[5])
ready, go = os.pipe(), os.pipe()
pids = []
for number in range(processes):
    pid = os.fork()
    if pid == 0:
        tracker = ExperimentTracker(f"{base}/{number}", f"e{number}", catalog=catalog)
        tracker.start_experiment()
        tracker.log_metrics({"x": 0.0, "y": 1.0})
        os.write(ready[1], b"r")
        os.close(go[1])
        os.read(go[0], 1)
        waited = []
        for step in range(1, calls + 1):
            before = time.perf_counter()
            tracker.log_metrics({"x": float(step), "y": 1.0})
            waited.append(time.perf_counter() - before)
            if pause:
                time.sleep(pause)
        known = tracker.metadata
        tracker.complete_experiment()
        tracker.close()
        os.write(1, f"{max(waited)} {sum(w > 0.3 for w in waited)} {known.journaled + known.replayed}\\n".encode())
        os._exit(0)
    pids.append(pid)
for _ in pids:
    os.read(ready[0], 1)
os.close(go[1])
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("pause", [0.005, 0.0])
def test_sixty_four_processes_on_one_catalog(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, pause: float, eventually: Eventually
) -> None:
    """Promises 6 and 9: no error, every record is found, and hardly a call waits for longer than the bound."""
    with new_tracker("first"):
        pass
    processes, calls = 64, 40 if pause else 100
    done = subprocess.run(
        [sys.executable, "-c", _MANY, *map(str, (tmp_path, catalog_path, processes, calls, pause))],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    longest, slow, journaled = zip(*(map(float, line.split()) for line in done.stdout.splitlines()), strict=True)
    print(f"longest call {max(longest):.3f} s, {sum(slow):.0f} above 300 ms, {sum(journaled):.0f} journaled")
    with new_tracker("later"), Catalog(catalog_path) as catalog:
        eventually(lambda: list(catalog.journals()) == [])
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'x'") == [(processes * (calls + 1),)]
    assert ask(catalog_path, "SELECT count(*) FROM experiments WHERE status = 'completed'") == [(processes + 2,)]
    # The bound is on the waiting for the lock. With fewer processors than writers, time also passes beside it.
    assert sum(slow) <= 0.01 * processes * calls
