"""Disks and files that fail: full, read-only, input/output errors, a catalog deleted, replaced or moved away."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from faults.conftest import journals
from faults.test_crash import _strace_or_skip as strace_or_skip

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.errors import CatalogWriteError, TrackerError
from crackseg_tracker.store.database import Database

NewTracker = Callable[..., ExperimentTracker]
Eventually = Callable[[Callable[[], bool]], None]


def pragma(tracker: ExperimentTracker, statement: str) -> None:
    database: Database = tracker._database
    with database.lock:
        database.connection.execute(f"PRAGMA {statement}").fetchall()


@pytest.mark.parametrize("durability", ["normal", "full", "buffered"])
def test_a_full_disk(
    new_tracker: NewTracker,
    catalog_path: Path,
    eventually: Eventually,
    durability: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Promise 5: a full catalog raises nothing; the calls are journaled, shown and replayed once there is room."""
    tracker = new_tracker(durability=durability)
    pragma(tracker, "max_page_count = 1")  # SQLite takes as many as the file has
    calls = 100 if durability == "full" else 1500  # each is synced then
    for step in range(calls):
        tracker.log_metrics({"x": float(step), "long name": 1.0})
    tracker.add_artifact("a", "checkpoint", "x" * 5000, description="y" * 5000)
    tracker.save()
    known = tracker.metadata
    assert known.degraded
    assert known.journaled > 0
    assert known.artifact_ids == ["a"]
    assert "full" in caplog.text
    pragma(tracker, "max_page_count = 1000000")
    # The last call is replayed a moment before the next one goes to the catalog again.
    eventually(lambda: not tracker.metadata.degraded)
    assert tracker.metadata.journaled == 0
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY 1") == [
        (step, float(step)) for step in range(calls)
    ]
    assert ask(catalog_path, "SELECT artifact_id FROM artifacts") == [("a",)]


def test_read_only(new_tracker: NewTracker, catalog_path: Path, eventually: Eventually) -> None:
    """Promise 5: a catalog that turned read-only."""
    tracker = new_tracker()
    pragma(tracker, "query_only = ON")
    tracker.start_experiment()
    tracker.log_metrics({"x": 1.0}, step=4)
    tracker.complete_experiment()
    assert (tracker.metadata.status, tracker.metadata.degraded) == ("completed", True)
    assert ask(catalog_path, "SELECT status FROM experiments") == [("created",)]
    pragma(tracker, "query_only = OFF")
    eventually(lambda: tracker.metadata.journaled == 0)
    assert ask(catalog_path, "SELECT status FROM experiments") == [("completed",)]


def remove(catalog_path: Path, tmp_path: Path) -> Path:
    """Move the catalog away with its -wal, as `mv catalog* elsewhere` does."""
    away = tmp_path / "away"
    away.mkdir()
    for path in catalog_path.parent.glob("catalog.db*"):
        path.rename(away / path.name)
    return away / catalog_path.name


def test_deleted_is_noticed_at_the_next_write(new_tracker: NewTracker, catalog_path: Path, tmp_path: Path) -> None:
    """Promise 14: a call that returned is not in a file without a name."""
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.log_metrics({"x": 0.0})
    catalog_path.unlink()
    tracker.log_metrics({"x": 1.0})
    [path] = journals(catalog_path)
    assert len(path.read_bytes().splitlines()) == 2
    tracker.complete_experiment()
    assert (tracker.metadata.status, tracker.metadata.degraded) == ("completed", True)
    assert not catalog_path.exists(), "an empty catalog in its place would hide the loss"


def test_strict_says_that_it_was_deleted(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 14: with strict=True the next write raises."""
    tracker = new_tracker(strict=True)
    tracker.log_metrics({"x": 0.0})
    catalog_path.unlink()
    with pytest.raises(CatalogWriteError, match="deleted or moved away"):
        tracker.log_metrics({"x": 1.0})


def test_strict_goes_on_when_the_file_is_back(
    new_tracker: NewTracker, catalog_path: Path, eventually: Eventually
) -> None:
    """Promise 14: what was moved away and put back is as it was, with strict=True too."""
    tracker = new_tracker(strict=True)
    tracker.log_metrics({"x": 0.0})
    away = catalog_path.with_name("away")
    catalog_path.rename(away)
    eventually(lambda: tracker._database.fault is not None)
    with pytest.raises(CatalogWriteError):
        tracker.log_metrics({"x": 1.0})
    away.rename(catalog_path)
    eventually(lambda: tracker._database.fault is None)
    tracker.log_metrics({"x": 2.0})
    assert ask(catalog_path, "SELECT value FROM metrics ORDER BY step") == [(0.0,), (2.0,)]


def test_a_deleted_catalog_is_made_anew_from_the_journal(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path, eventually: Eventually
) -> None:
    """Promise 1: what was journaled after the loss is in the next catalog, experiment and all."""
    tracker = new_tracker(config={"model": {"depth": 3}}, project="cracks")
    tracker.start_experiment()
    tracker.log_metrics({"x": 0.0})
    created = ask(catalog_path, "SELECT created_at FROM experiments")
    for path in catalog_path.parent.glob("catalog.db*"):
        path.unlink()
    before = datetime.now(UTC)
    tracker.log_metrics({"x": 1.0}, step=5)
    after = datetime.now(UTC)
    tracker.complete_experiment()
    with new_tracker("later"):
        eventually(lambda: ask(catalog_path, "SELECT count(*) FROM experiments") == [(2,)])
    assert ask(catalog_path, "SELECT project, status, uid FROM experiments WHERE experiment_id = 'unet-1'") == [
        ("cracks", "completed", tracker.metadata.uid)
    ]
    assert ask(catalog_path, "SELECT created_at FROM experiments WHERE experiment_id = 'unet-1'") == created
    [(step, value, logged_at)] = ask(catalog_path, "SELECT step, value, logged_at FROM metrics")
    assert (step, value) == (5, 1.0)
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(logged_at) <= after
    assert ask(catalog_path, "SELECT value FROM params WHERE name = 'model.depth'") == [(3,)]
    tracker.add_tags(["afterwards"])
    assert (tracker.metadata.tags, tracker.metadata.status) == (["afterwards"], "completed")
    eventually(lambda: ask(catalog_path, "SELECT experiment_id FROM experiment_tags") == [("unet-1",)])


def test_an_imported_experiment_keeps_its_times_when_it_is_made_anew(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path, eventually: Eventually
) -> None:
    """Promise 1: it was created years before the first point that the catalog has of it."""
    folder = tmp_path / "experiments" / "unet-1"
    folder.mkdir(parents=True)
    origin = {"experiment_id": "unet-1", "created_at": "2019-05-06T07:08:09+00:00", "tags": ["old"]}
    (folder / "experiment_tracker.json").write_text(json.dumps(origin))
    tracker = new_tracker()
    assert tracker.metadata.tags == ["old"]
    for path in catalog_path.parent.glob("catalog.db*"):
        path.unlink()
    before = datetime.now(UTC)
    tracker.log_metrics({"x": 1.0})
    after = datetime.now(UTC)
    with new_tracker("later"):
        eventually(lambda: ask(catalog_path, "SELECT count(*) FROM metrics") == [(1,)])
    [(created_at,)] = ask(catalog_path, "SELECT created_at FROM experiments WHERE experiment_id = 'unet-1'")
    assert datetime.fromisoformat(created_at) == datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC)
    [(logged_at,)] = ask(catalog_path, "SELECT logged_at FROM metrics")
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(logged_at) <= after


def test_moved_away_is_noticed_within_seconds_and_back_within_one(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path, eventually: Eventually
) -> None:
    """Promise 14: a plain mv keeps the file's links; after a few seconds all is journaled, until it is back."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    away = remove(catalog_path, tmp_path)
    calls = 1
    deadline = time.monotonic() + 30
    while not journals(catalog_path):
        tracker.log_metrics({"x": float(calls)})
        calls += 1
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for path in away.parent.iterdir():
        path.rename(catalog_path.parent / path.name)
    eventually(lambda: tracker.metadata.journaled == 0)
    tracker.close()
    assert ask(catalog_path, "SELECT step, value FROM metrics ORDER BY 1") == [(s, float(s)) for s in range(calls)]


def test_replaced_by_a_copy_of_itself(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path, eventually: Eventually
) -> None:
    """Promise 14: a backup that somebody puts in its place takes what comes from then on."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(catalog_path)) as connection:
        connection.execute("VACUUM INTO ?", (str(backup),))
    tracker.log_metrics({"x": 1.0})
    for name in ("catalog.db-wal", "catalog.db-shm"):
        (catalog_path.parent / name).unlink()
    backup.replace(catalog_path)
    tracker.log_metrics({"x": 2.0}, step=2)
    assert len(journals(catalog_path)) == 1
    eventually(lambda: tracker.metadata.journaled == 0)
    tracker.log_metrics({"x": 3.0}, step=3)
    tracker.close()
    assert ask(catalog_path, "SELECT step FROM metrics ORDER BY 1") == [(0,), (2,), (3,)]


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_replaced_by_something_else(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path, content: bytes
) -> None:
    """Promise 10: what stands in its place is left alone, byte for byte, and the training goes on."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    other = tmp_path / "other"
    other.write_bytes(content)
    for name in ("catalog.db-wal", "catalog.db-shm"):
        (catalog_path.parent / name).unlink()
    other.replace(catalog_path)
    for step in range(1, 50):
        tracker.log_metrics({"x": float(step)})
        time.sleep(0.01)
    tracker.complete_experiment()
    assert tracker.metadata.status == "completed"
    assert tracker.metadata.journaled == 50
    tracker.close()
    found = catalog_path.read_bytes()
    catalog_path.unlink()  # it is no catalog that could be whole
    assert found == content


def test_a_deleted_log_loses_nothing(new_tracker: NewTracker, catalog_path: Path, eventually: Eventually) -> None:
    """Promise 14: who deletes catalog.db-wal deletes commits; they are saved from the open file."""
    tracker = new_tracker()
    for step in range(100):
        tracker.log_metrics({"x": float(step)})
    tracker._database.rescue_log()  # as the keeper does every two seconds
    (catalog_path.parent / "catalog.db-wal").unlink()
    tracker._database.rescue_log()
    tracker.log_metrics({"x": 100.0})
    tracker.close()
    assert ask(catalog_path, "SELECT count(*), max(step) FROM metrics") == [(101, 100)]


_TRAINING = """
import os, sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "victim", catalog=sys.argv[2])
tracker.start_experiment()
for step in range(300):
    tracker.log_metrics({"x": float(step), "y": 1.0})
    if step % 50 == 0:
        tracker.add_tags([f"tag-{step}"])
    os.write(1, b"x\\n")
tracker.complete_experiment()
known = tracker.metadata
print("end", known.journaled, known.dropped, known.status)
"""


class _FailingOnce:
    """A connection whose disk fails once amid a transaction, which SQLite then rolls back by itself."""

    def __init__(self, connection: sqlite3.Connection, good: int) -> None:
        self._connection = connection
        self._good = good

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if self._connection.in_transaction and "INTO metric_recent" in sql:
            self._good -= 1
            if self._good == 0:
                self._connection.execute("ROLLBACK")
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = 10
                raise error
        return self._connection.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_a_batch_that_sqlite_rolls_back_is_journaled_whole(
    new_tracker: NewTracker, catalog_path: Path, eventually: Eventually
) -> None:
    """Promise 4: none of its calls is committed by itself and journaled too."""
    tracker = new_tracker(durability="buffered")
    tracker.log_metrics({"x": 0.0})
    tracker.save()
    database: Any = tracker._database
    connection = database.connection
    database._connection = _FailingOnce(connection, good=10)
    for value in range(1, 21):
        tracker.log_metrics({"x": float(value)})
    tracker.save()
    database._connection = connection
    eventually(lambda: tracker.metadata.journaled == 0)
    assert ask(catalog_path, "SELECT step, value FROM metrics ORDER BY 1") == [(i, float(i)) for i in range(21)]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("syscalls", ["pwrite64", "pwrite64,write", "fsync,fdatasync"])
def test_system_calls_that_fail(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, eventually: Eventually, error: str, syscalls: str,
    chance: random.Random,
) -> None:  # fmt: skip
    """Promises 4 and 5: the disk fails from some moment on; the training ends well, and all that was kept is found."""
    strace = strace_or_skip()
    with new_tracker("first"):
        pass  # the catalog is there
    first = chance.randrange(60, 400) if "pwrite64" in syscalls else chance.randrange(1, 4)
    print(f"{syscalls} fail with {error} from the {first}th on")
    # The pipe is a write too: the journal's are told from it by their path, which strace cannot; so both may fail.
    under = [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={syscalls}"]
    under += ["-P", str(catalog_path), "-P", f"{catalog_path}-wal", "-P", str(catalog_path.parent / "journal")]
    under += ["-e", f"inject={syscalls}:error={error}:when={first}+"]
    done = subprocess.run(
        [*under, sys.executable, "-c", _TRAINING, str(tmp_path / "victim"), str(catalog_path)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().split("\n")
    assert lines.count("x") == 300
    assert any(line.startswith("end") and line.endswith("0 completed") for line in lines), lines[-3:]
    with new_tracker("later"):
        eventually(lambda: journals(catalog_path) == [])
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'x'") == [(300,)]
    assert ask(catalog_path, "SELECT status FROM experiments WHERE experiment_id = 'victim'") == [("completed",)]


def test_a_small_tmpfs(tmp_path: Path, new_tracker: NewTracker) -> None:
    """Promises 4 and 5: catalog, journal and experiment on one full disk: the count of what is lost is exact."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = shutil.which("mount")
    if command is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run([command, "-t", "tmpfs", "-o", "size=1m", "none", str(mount)], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        path = mount / "catalog" / "catalog.db"
        tracker = ExperimentTracker(mount / "unet", "unet", catalog=path)
        ballast = mount / "ballast"
        tracker.start_experiment()
        with ballast.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(4096))
            except OSError:
                pass
        for step in range(2000):
            tracker.log_metrics({"x": float(step)}, step=step)
        known = tracker.metadata
        assert known.degraded
        ballast.unlink()
        deadline = time.monotonic() + 30
        while tracker.metadata.journaled and time.monotonic() < deadline:
            time.sleep(0.05)
        tracker.complete_experiment()
        known = tracker.metadata
        assert known.journaled == 0
        found = ask(path, "SELECT count(*) FROM metrics")[0][0]
        assert found + known.dropped == 2000
        with Catalog(path) as catalog:
            assert catalog.check() == []
        tracker._database.close()
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


def test_a_bit_of_the_schema(tmp_path: Path, chance: random.Random) -> None:
    """Promise 10: a flipped bit that makes a text no text is damage, told as such by whoever opens the catalog."""
    original = tmp_path / "original.db"
    with ExperimentTracker(tmp_path / "one", "one", catalog=original) as tracker:
        tracker.log_metrics({"x": 1.0})
    tracker.close()
    with closing(sqlite3.connect(original)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    content = original.read_bytes()
    places = [at for at in range(100, len(content)) if content.startswith((b"CREATE ", b"TABLE ", b" INDEX"), at)]
    refused = 0
    for at in chance.sample(places, min(len(places), 60)):
        copy = tmp_path / f"flipped-{at}.db"
        copy.write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        print(f"byte {at}")  # shown on failure
        try:
            with Catalog(copy) as catalog:
                assert catalog.check() != []
        except TrackerError:
            refused += 1
    assert refused > 10
