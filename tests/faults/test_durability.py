"""What a power loss can take: commits that no sync followed. The syncs are counted, and the log is bounded."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from faults.test_crash import _strace_or_skip as strace_or_skip

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.errors import CatalogWriteError
from crackseg_tracker.store import disk, holders, keeper, log
from crackseg_tracker.store.database import Database
from crackseg_tracker.store.log import Log
from crackseg_tracker.store.replay import Replay

NewTracker = Callable[..., ExperimentTracker]
Eventually = Callable[[Callable[[], bool]], None]
Hold = Callable[[], Any]


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch, catalog_path: Path) -> list[float]:
    """When the log of this test's catalog was synced: those of earlier tests are open in the process too."""
    times: list[float] = []
    sync = Log.sync

    def counted(self: Log) -> None:
        sync(self)
        if self.path == Path(f"{catalog_path}-wal"):
            times.append(time.monotonic())

    monkeypatch.setattr(Log, "sync", counted)
    return times


def test_what_is_committed_is_synced_within_five_seconds(
    new_tracker: NewTracker, syncs: list[float], eventually: Eventually
) -> None:
    """Promise 2: off the training thread, whether or not more is logged."""
    tracker = new_tracker()
    for round_ in range(2):
        done = len(syncs)
        committed = time.monotonic()
        tracker.log_metrics({"x": float(round_)})
        eventually(lambda done=done: len(syncs) > done)
        assert syncs[-1] - committed < 5


def test_nothing_new_is_not_synced(new_tracker: NewTracker, syncs: list[float], eventually: Eventually) -> None:
    """Promise 2: an idle process leaves the disk alone."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 1.0})
    eventually(lambda: len(syncs) > 0)
    done = len(syncs)
    time.sleep(2 * keeper.SYNC_SECONDS + 0.5)
    assert len(syncs) <= done + 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_that_asks_for_one_sync_after_the_other_holds_up_no_replay(
    new_tracker: NewTracker, hold_lock: Hold, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Promise 2: in a tight loop metrics are folded more often than a slow disk can sync."""

    tracker = new_tracker()

    def slow(_log: Log) -> None:
        keeper.keeper.sync_soon(tracker._database)  # as the training does meanwhile
        if fails:
            raise CatalogWriteError("the disk fails")

    monkeypatch.setattr(Log, "sync", slow)
    keeper.keeper.sync_soon(tracker._database)
    holder = hold_lock()
    tracker.log_metrics({"x": 1.0})
    assert tracker.metadata.journaled > 0
    holder.let_go()
    eventually(lambda: tracker.metadata.journaled == 0)


def test_a_sync_that_fails_once_is_not_taken_for_good(
    new_tracker: NewTracker,
    catalog_path: Path,
    tmp_path: Path,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Promise 2: the system tells once only that it could not write; what was in the log goes into the database."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 1.0})
    sync, failed = disk.sync_data, threading.Event()
    log = Path(f"{catalog_path}-wal")

    def fails_once(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), log.stat()) and not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(disk, "sync_data", fails_once)
    keeper.keeper.sync_soon(tracker._database)
    eventually(lambda: isinstance(tracker._database.fault, CatalogWriteError))
    assert "may be lost with the power" in caplog.text
    tracker.log_metrics({"x": 2.0})
    eventually(lambda: tracker._database.fault is None and tracker.metadata.journaled == 0)

    def without_the_log() -> list[tuple[float]]:
        copy = shutil.copy(catalog_path, tmp_path / "copy.db")
        with closing(sqlite3.connect(copy)) as connection:
            return connection.execute("SELECT value FROM metrics ORDER BY step").fetchall()

    eventually(lambda: without_the_log()[:1] == [(1.0,)])
    tracker.close()
    assert ask(catalog_path, "SELECT value FROM metrics ORDER BY step") == [(1.0,), (2.0,)]


@pytest.mark.parametrize("end", ["complete_experiment", "abort_experiment", "fail_experiment"])
def test_an_end_is_synced_before_it_returns(new_tracker: NewTracker, syncs: list[float], end: str) -> None:
    """Promise 2: a finished experiment is always synced."""
    tracker = new_tracker()
    tracker.start_experiment()
    before = time.monotonic()
    getattr(tracker, end)(*(["boom"] if end == "fail_experiment" else []))
    assert any(before <= moment <= time.monotonic() for moment in syncs)


_LIFE = """
import os, sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "victim", catalog=sys.argv[2], durability=sys.argv[3])
tracker.start_experiment()
os.write(1, b"begin\\n")
for step in range(20):
    tracker.log_metrics({"x": float(step)})
os.write(1, b"logged\\n")
tracker.complete_experiment()
os.write(1, b"ended\\n")
os._exit(0)
"""


@pytest.mark.parametrize(("durability", "least", "most"), [("normal", 0, 6), ("full", 20, 60)])
def test_syncs_as_the_system_sees_them(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, durability: str, least: int, most: int
) -> None:
    """Promise 2: "full" syncs the log at every call; "normal" does not, but does at the end, whatever the mode."""
    strace = strace_or_skip()
    with new_tracker("first"):
        pass
    trace = tmp_path / "trace"
    subprocess.run(
        [
            *(strace, "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,fdatasync,write"),
            *(sys.executable, "-c", _LIFE, str(tmp_path / "victim"), str(catalog_path), durability),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    lines = trace.read_text().splitlines()
    begin, logged, ended = (
        next(i for i, line in enumerate(lines) if f'"{word}' in line) for word in ("begin", "logged", "ended")
    )

    def syncs_of_the_log(first: int, last: int) -> int:
        return sum("sync(" in line and "catalog.db-wal" in line for line in lines[first:last])

    assert least <= syncs_of_the_log(begin, logged) <= most
    assert syncs_of_the_log(logged, ended) >= 1


def test_the_log_stays_bounded(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 12: checkpoints keep up with a writer in a tight loop, with the keeper beside it."""
    tracker = new_tracker()
    for step in range(12_000):
        tracker.log_metrics({"x": float(step), "y": 1.0, "z": 2.0})
    assert Path(f"{catalog_path}-wal").stat().st_size < 20_000_000


def test_what_is_in_use_of_the_log_is_known(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 12: it is overwritten when it begins anew, so its length says nothing; SQLite tells the truth."""
    tracker = new_tracker()
    database, log = tracker._database, Path(f"{catalog_path}-wal")
    database.connection.execute("PRAGMA wal_autocheckpoint = 0")

    def in_use() -> int:
        with closing(sqlite3.connect(catalog_path, isolation_level=None)) as connection:
            _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            return 32 + frames * (24 + 4096)

    for step in range(400):
        tracker.log_metrics({"x": float(step)})
    longest = database.log.used()
    assert longest == log.stat().st_size == in_use() > 400 * 4096
    assert database.begin_log_anew() is None
    assert database.log.used() == 0
    for step in range(400, 500):
        tracker.log_metrics({"x": float(step)})
        if step % 10 == 0:
            assert 0 < database.log.used() == in_use() < longest == log.stat().st_size
    tracker.complete_experiment()


_READER = """
import os, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM experiment").fetchall()
os.write(1, b"r")
sys.stdin.read()
"""


def test_who_pins_the_log_is_named(
    new_tracker: NewTracker,
    catalog_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    """Promise 12: a foreign reader that holds on to an old state is named once, and is no fault."""
    if not Path("/proc/locks").exists():
        pytest.skip("this system does not tell who holds a lock")
    monkeypatch.setattr(keeper, "LONG_LOG_BYTES", 20_000)
    monkeypatch.setattr(keeper, "LONGEST_LOG_BYTES", 100_000)
    monkeypatch.setattr(log, "CHECKPOINT_FRAMES", 2)
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(catalog_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with closing(reader.stdout) as out:  # type: ignore[type-var]
        assert out is not None
        assert out.read(1) == b"r"
        try:
            if reader.pid not in holders.readers_of(catalog_path):
                pytest.skip("the locks of other processes are not shown here")

            def is_said() -> bool:  # other tests' catalogs, which this process looks after too, may be as long as that
                tracker.log_metrics({"x": 1.0})
                return any(f"{catalog_path}-wal" in m and "begun anew" in m for m in caplog.messages)

            eventually(is_said)
            assert f"process {reader.pid}" in caplog.text
            assert not tracker.metadata.degraded
        finally:
            reader.kill()
            reader.wait(30)
            assert reader.stdin is not None
            reader.stdin.close()


def test_nobody_is_accused_of_a_log_that_is_long_for_a_moment(
    new_tracker: NewTracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 12: one long transaction after the other, with readers that come and go."""
    monkeypatch.setattr(keeper, "LONG_LOG_BYTES", 20_000)
    monkeypatch.setattr(keeper, "LONGEST_LOG_BYTES", 100_000)
    tracker = new_tracker()
    path = tracker._database.path
    for start in range(0, 200_000, 10_000):
        with Catalog(path) as catalog:
            tracker.log_history("loss", range(start, start + 10_000), [0.5] * 10_000)
            keeper.keeper.sync_soon(tracker._database)
            assert catalog.best("loss")
    assert not [message for message in caplog.messages if str(path) in message]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_multiprocessing_keeps_what_it_buffered(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: it leaves by os._exit, without the interpreter's end."""
    script = """
import multiprocessing, sys
from crackseg_tracker import ExperimentTracker, Catalog
def work():
    tracker = ExperimentTracker(sys.argv[1], "child", catalog=sys.argv[2], durability="buffered")
    for step in range(100):
        tracker.log_metrics({"x": float(step)})
context = multiprocessing.get_context("fork")
child = context.Process(target=work)
child.start()
child.join()
print(Catalog(sys.argv[2]).sql("SELECT count(*) FROM metrics").rows[0][0])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "child"), str(catalog_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "100", done.stderr


@pytest.fixture
def synced_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files and folders that were synced."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the name of a descriptor")
    names: list[str] = []

    def noting(sync: Callable[[int], None]) -> Callable[[int], None]:
        def noted(descriptor: int) -> None:
            sync(descriptor)
            names.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

        return noted

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    return names


def test_a_journaled_call_is_synced_with_the_name_of_its_file(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, synced_names: list[str]
) -> None:
    """Promise 2: "full" loses nothing: a file that was synced under a name that was not would be lost."""
    tracker = new_tracker(durability="full")
    tracker.log_metrics({"x": 0.0})
    hold_lock()
    synced_names.clear()
    tracker.log_metrics({"x": 1.0})
    [path] = (catalog_path.parent / "journal").glob("*.journal")
    assert {str(path), str(path.parent), str(catalog_path.parent)} <= set(synced_names)
    synced_names.clear()
    tracker.log_metrics({"x": 2.0})
    assert str(path) in synced_names


def test_what_is_journaled_is_synced_within_five_seconds(
    new_tracker: NewTracker, hold_lock: Hold, synced_names: list[str], eventually: Eventually
) -> None:
    """Promise 2: a lock that is held for long does not widen what a power loss may take."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    hold_lock()
    journaled = time.monotonic()
    tracker.log_metrics({"x": 1.0})
    eventually(lambda: any(name.endswith(".journal") for name in synced_names))
    assert time.monotonic() - journaled < 5


def test_a_long_replay_does_not_hold_up_the_syncs(
    new_tracker: NewTracker,
    catalog_path: Path,
    hold_lock: Hold,
    syncs: list[float],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise 2: while an hour's journal is replayed, what is replayed and journaled is synced all the same."""
    monkeypatch.setattr(keeper, "SYNC_SECONDS", 0.2)
    monkeypatch.setattr(keeper, "REPLAY_SECONDS", 0.1)
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    holder = hold_lock()
    for step in range(1, 1501):
        tracker._recorder.log_calls([({"x": 1.0}, step, 0)])
    steps: list[float] = []
    step_of = Replay.step

    def slow(self: Replay, database: Database, *wait: float) -> None:
        step_of(self, database, *wait)
        time.sleep(0.05)
        steps.append(time.monotonic())

    monkeypatch.setattr(Replay, "step", slow)
    holder.let_go()
    eventually(lambda: ask(catalog_path, "SELECT count(*) FROM metrics") == [(1501,)])
    assert len([moment for moment in syncs if steps[0] < moment < steps[-1]]) >= 1


def test_a_journaled_end_is_synced_with_what_was_committed_before(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, synced_names: list[str]
) -> None:
    """Promise 2: a finished experiment is always synced, the half of it that is in the catalog too."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    hold_lock()
    synced_names.clear()
    tracker.complete_experiment()
    assert {f"{catalog_path}-wal"} < set(synced_names)
    assert any(name.endswith(".journal") for name in synced_names)
