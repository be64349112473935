"""The queue for the write lock: a courtesy that speeds a crowd up, and that nothing depends on. Real processes."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from conftest import LockHolder

from crackseg_tracker import ExperimentTracker
from crackseg_tracker.store import turns
from crackseg_tracker.store.database import Database

NewTracker = Callable[..., ExperimentTracker]
Hold = Callable[[], LockHolder]
Eventually = Callable[[Callable[[], bool]], None]

_LOCKS = Path("/proc/locks")
pytestmark = pytest.mark.skipif(not _LOCKS.exists(), reason="this system does not tell who holds locks")

_WRITER = """
import sys
from crackseg_tracker import ExperimentTracker
from crackseg_tracker.store import turns
turns.LANES = 1  # so that all tests know who stands behind whom
folder, catalog = sys.argv[1:3]
tracker = ExperimentTracker(folder, folder, catalog=catalog)
tracker.start_experiment()
tracker.log_metrics({"loss": 0.5})
print("ready", flush=True)
sys.stdin.read(1)
tracker.log_metrics({"loss": 0.4})
print("logged", flush=True)
sys.stdin.read(1)
"""


class Writer:
    """Another process that logs when it is told to."""

    def __init__(self, folder: Path, catalog: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder), str(catalog)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.read("ready")

    def read(self, expected: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{expected}\n"

    def log(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("x")
        self.process.stdin.flush()


def queue_of(catalog: Path) -> Path:
    return catalog.with_name(f"{catalog.name}.queue")


def is_queued(catalog: Path) -> bool:
    """Tell whether somebody stands in the queue. (Closing the file would drop this process's own place in it.)"""
    try:
        inode = queue_of(catalog).stat().st_ino
    except FileNotFoundError:
        return False
    return any(f":{inode} 0 0" in line for line in _LOCKS.read_text().splitlines())


def note_in(catalog: Path) -> bytes:
    """Give what is noted for those who come anew. (A copy: see above.)"""
    return subprocess.run(["cat", str(queue_of(catalog))], stdout=subprocess.PIPE, check=False).stdout


@contextmanager
def first_of_queue(
    tmp_path: Path, catalog: Path, hold_lock: Hold, eventually: Eventually
) -> Generator[tuple[Writer, LockHolder]]:
    """Have another process wait first in the queue, for a lock that is held."""
    writer = Writer(tmp_path / "writer", catalog)
    try:
        holder = hold_lock()
        writer.log()
        eventually(lambda: is_queued(catalog))
        yield writer, holder
    finally:
        writer.process.kill()
        writer.process.communicate()


@pytest.fixture
def tracker(new_tracker: NewTracker) -> ExperimentTracker:
    """Be at work: what comes first goes another way than what follows."""
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.log_metrics({"loss": 1.0})
    return tracker


@pytest.fixture(autouse=True)
def _one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LANES", 1)


def let_go_after(seconds: float, holder: LockHolder) -> threading.Timer:
    timer = threading.Timer(seconds, holder.let_go)
    timer.start()
    return timer


def test_the_first_of_the_queue_may_be_stopped(
    tmp_path: Path, tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 6: who stands behind a stopped process asks beside the queue, and no call is journaled for that."""
    with first_of_queue(tmp_path, catalog_path, hold_lock, eventually) as (writer, holder):
        writer.process.send_signal(signal.SIGSTOP)
        timer = let_go_after(0.12, holder)  # beyond the time in the queue, within that of a call
        tracker.log_metrics({"loss": 0.9})
        timer.join()
        assert is_queued(catalog_path)  # by the one that is stopped, still
        assert (tracker.metadata.journaled, tracker.metadata.replayed) == (0, 0)
        for step in range(100):  # and nobody waits for it again
            tracker.log_metrics({"loss": 0.8}, step=2 + step)
        writer.process.send_signal(signal.SIGCONT)
        writer.read("logged")
    tracker.complete_experiment()
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(104,)]


def test_a_forked_child_takes_no_place_along(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promises 6 and 8: a child forked amid a wait holds nobody up, and records with a place of its own."""
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.log_metrics({"loss": 1.0}, step=0)
    holder = hold_lock()
    waiting = threading.Thread(target=tracker.log_metrics, args=({"loss": 0.9}, 1))
    waiting.start()
    eventually(lambda: is_queued(catalog_path))
    let_go_after(0.05, holder)
    pid = os.fork()  # waits for the call of the other thread
    if pid == 0:
        tracker.log_metrics({"loss": 0.8}, step=2)
        os._exit(0)
    waiting.join()
    assert os.waitpid(pid, 0)[1] == 0
    assert not is_queued(catalog_path)
    tracker.log_metrics({"loss": 0.7}, step=3)
    tracker.complete_experiment()
    tracker.close()
    assert ask(catalog_path, "SELECT step FROM metrics ORDER BY step") == [(0,), (1,), (2,), (3,)]


def test_a_call_takes_over_the_place_that_the_one_before_gave_up(
    tmp_path: Path, tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 6: who has waited in vain goes on from where it stood, and leaves no place behind."""
    with first_of_queue(tmp_path, catalog_path, hold_lock, eventually) as (writer, holder):
        queue = tracker._database._turns
        with queue.turn(0.01) as is_ours:
            assert not is_ours
        given_up = queue._place
        assert given_up is not None
        with queue.turn(0.01) as is_ours:
            assert not is_ours
            assert queue._place is given_up
        holder.let_go()
        writer.read("logged")
        eventually(lambda: queue._place is None)  # nobody wanted the turn when it came
        assert not is_queued(catalog_path)
        with queue.turn(0) as is_ours, queue.turn(0) as is_the_same:
            assert is_ours
            assert is_the_same
        assert not is_queued(catalog_path)


def test_who_finds_a_lane_free_takes_that(
    tmp_path: Path,
    tracker: ExperimentTracker,
    catalog_path: Path,
    hold_lock: Hold,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise 6: nobody stands behind another while the other lane is empty."""
    monkeypatch.setattr(turns, "LANES", 2)
    with first_of_queue(tmp_path, catalog_path, hold_lock, eventually) as (writer, holder):
        for _ in range(20):
            with tracker._database._turns.turn(0) as is_ours:
                assert is_ours
        holder.let_go()
        writer.read("logged")


def test_a_wait_draws_none_of_the_numbers_of_a_seeded_training(
    tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold
) -> None:
    """Promise 5: a training draws the same numbers, whoever else writes meanwhile."""
    random.seed(7)
    before = random.getstate()
    timer = let_go_after(0.1, hold_lock())
    for step in range(1, 20):
        tracker.log_metrics({"loss": 0.5}, step=step)
    timer.join()
    assert random.getstate() == before
    tracker.complete_experiment()
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(20,)]


def test_who_has_waited_for_long_is_let_in_first(
    tmp_path: Path, tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 6: it notes that for those who come anew, who stand behind it then, and crosses that out."""
    with first_of_queue(tmp_path, catalog_path, hold_lock, eventually) as (writer, holder):
        queue = tracker._database._turns
        with queue.turn(0.01):
            eventually(queue.is_somebody_first)
        holder.let_go()
        writer.read("logged")
        assert not any(note_in(catalog_path))


@pytest.mark.parametrize("is_noted", [True, False])
def test_who_comes_anew_stands_behind_a_note(
    is_noted: bool, tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 6: metrics and all else, even when the lock is free."""
    timer = let_go_after(0.05, hold_lock())
    tracker.log_metrics({"loss": 0.9})  # has met others from now on
    timer.join()
    turns_taken: list[float] = []
    turn = turns.Turns.turn

    def counted(self: turns.Turns, seconds: float) -> Any:
        turns_taken.append(seconds)
        return turn(self, seconds)

    monkeypatch.setattr(turns.Turns, "turn", counted)
    monkeypatch.setattr(Database, "calm_down", lambda _: None)  # which forgets the others after some seconds
    monkeypatch.setattr(turns.Turns, "is_somebody_first", lambda _: is_noted)
    tracker.log_metrics({"loss": 0.8})
    tracker.add_tags(["anew"])
    assert len(turns_taken) == (2 if is_noted else 0)
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(3,)]


@pytest.mark.parametrize("until", [0.0, -5.0, 3600.0, float("nan"), float("inf")])
def test_a_note_of_the_dead_holds_nobody_up(
    until: float, tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold
) -> None:
    """Promise 6: it is over in a moment, and one that no process of ours wrote is none."""
    timer = let_go_after(0.05, hold_lock())
    tracker.log_metrics({"loss": 0.9})  # has met others from now on, and opens the queue
    timer.join()
    note = [sys.executable, "-S", "-c", _NOTE, str(queue_of(catalog_path)), str(until)]
    subprocess.run(note, check=True)
    assert not tracker._database.is_somebody_first()


_NOTE = """
import struct, sys, time
with open(sys.argv[1], "rb+") as stream:
    stream.write(struct.pack("d", time.monotonic() + float(sys.argv[2])))
"""


def test_a_folder_that_takes_no_file_is_no_fault(
    tracker: ExperimentTracker, catalog_path: Path, hold_lock: Hold
) -> None:
    """Promise 6: where no queue can be made, calls ask again and again as they did."""
    queue_of(catalog_path).mkdir()
    timer = let_go_after(0.08, hold_lock())
    tracker.log_metrics({"loss": 0.9})
    timer.join()
    assert tracker.metadata.journaled == 0
    tracker.complete_experiment()
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(2,)]


def test_ctrl_c_after_the_lock_is_got_leaves_nothing_open(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promises 1 and 7: calls that return afterwards are committed, and others can write."""
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.log_metrics({"loss": 1.0}, step=0)
    leave = turns.Turns._leave  # pyright: ignore[reportPrivateUsage]

    def interrupted(self: turns.Turns, place: Any) -> None:
        leave(self, place)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(turns.Turns, "_leave", interrupted)
    holder = sqlite3.connect(catalog_path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.05, holder.execute, ("ROLLBACK",))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        tracker.add_tags(["lost"])
    timer.join()
    tracker.log_metrics({"loss": 0.9}, step=1)
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(2,)]
    holder.execute("BEGIN IMMEDIATE")
    holder.close()
    tracker.complete_experiment()


# Writers that meet each other leave the log to the keepers: of 64, one reads it at any time, and so SQLite alone would
# never begin it anew.
_BUSY = """
import os, sys, time
from crackseg_tracker import ExperimentTracker
base, catalog = sys.argv[1:3]
pids = []
for number in range(8):
    pid = os.fork()
    if pid == 0:
        with ExperimentTracker(f"{base}/{number}", f"e{number}", catalog=catalog) as tracker:
            end = time.monotonic() + 4
            while time.monotonic() < end:
                tracker.log_metrics({"x": 1.0, "y": 1.0})
                tracker.update_description("d" * 8000)
        os._exit(0)
    pids.append(pid)
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
"""


def test_the_log_is_bounded_however_many_write(tmp_path: Path, catalog_path: Path, new_tracker: NewTracker) -> None:
    """Promise 12: the write-ahead log is begun anew by a keeper when it does not begin so by itself."""
    new_tracker("first").complete_experiment()
    done = subprocess.Popen([sys.executable, "-c", _BUSY, str(tmp_path), str(catalog_path)])
    log = catalog_path.with_name(f"{catalog_path.name}-wal")
    longest, beginnings = 0, set()
    while done.poll() is None:
        if log.exists():
            longest = max(longest, log.stat().st_size)
            with log.open("rb") as file:
                beginnings.add(file.read(32)[16:24])  # drawn anew with each beginning
        time.sleep(0.02)
    assert done.returncode == 0
    print(f"a log of at most {longest // 10**6} MB was begun {len(beginnings)} times")
    assert len(beginnings) > 2
    assert longest < 120_000_000
