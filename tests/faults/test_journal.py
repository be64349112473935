"""The journal as a file: killed owners, torn tails, replays at once, places that cannot be written, status rules."""

from __future__ import annotations

import json
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from faults.conftest import LockHolder, journals

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.store import journal
from crackseg_tracker.store.keeper import keeper

NewTracker = Callable[..., ExperimentTracker]
Hold = Callable[[], LockHolder]
Eventually = Callable[[Callable[[], bool]], None]


def run_victim(tmp_path: Path, catalog_path: Path, hold_lock: Hold, calls: int, last: str = "") -> list[str]:
    """Have a process journal some calls and be killed; give what it acknowledged."""
    script = f"""
import os, signal, sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "victim", catalog=sys.argv[2])
tracker.start_experiment()
tracker.log_metrics({{"x": 0.0}})
os.write(1, b"ready\\n")
sys.stdin.readline()
for step in range(1, {calls} + 1):
    tracker.log_metrics({{"x": float(step), "nan": float("nan")}})
    os.write(1, b"x\\n")
{last}
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "victim"), str(catalog_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    holder = hold_lock()
    out, _ = child.communicate(b"\n", timeout=60)
    assert child.returncode == -signal.SIGKILL
    holder.let_go()
    return out.decode().split()


def test_a_killed_process_loses_nothing_that_it_journaled(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 1: what was journaled survives kill -9, and any later writer puts it into the catalog."""
    end = "tracker.add_tags(['last']); tracker.fail_experiment('boom')"
    assert len(run_victim(tmp_path, catalog_path, hold_lock, 500, end)) == 500
    [left] = journals(catalog_path)
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(1,)]
    with new_tracker("another"):
        eventually(lambda: not left.exists())
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY 1") == [
        (step, float(step)) for step in range(501)
    ]
    assert ask(catalog_path, "SELECT count(*), count(value) FROM metrics WHERE metric = 'nan'") == [(500, 0)]
    assert ask(catalog_path, "SELECT tag FROM experiment_tags") == [("last",)]
    assert ask(catalog_path, "SELECT status, error_message FROM experiments WHERE experiment_id = 'victim'") == [
        ("failed", "boom")
    ]
    assert ask(catalog_path, "SELECT sum(replayed), sum(dropped) FROM journal_writer") == [(502, 0)]


def test_a_living_owner_keeps_its_journal(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually, tmp_path: Path
) -> None:
    """Promise 3: nobody replays what its owner will replay itself, in its order."""
    tracker = new_tracker()
    holder = hold_lock()
    tracker.log_metrics({"x": 1.0})
    [path] = journals(catalog_path)
    assert journal.JournalFile.adopt(path) is None
    holder.let_go()
    eventually(lambda: tracker.metadata.journaled == 0)


def test_replayed_by_eight_at_once(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 3: each record counts once, whoever replays it, and however many try at the same moment."""
    run_victim(tmp_path, catalog_path, hold_lock, 300)
    [left] = journals(catalog_path)
    shutil.copy(left, tmp_path / "copy")
    script = """
import sys
from pathlib import Path
from crackseg_tracker import settings
from crackseg_tracker.store import database, replay
sys.stdin.readline()
path = Path(sys.argv[1])
opened = database.open_database(settings.locate(path))
print(replay.replay_ownerless(opened, [path.parent / "journal"]))
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(catalog_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(8)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
    counts = [int(child.communicate(timeout=60)[0]) for child in children]
    assert sum(counts) == 300
    assert not left.exists()
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'x'") == [(301,)]
    shutil.copy(tmp_path / "copy", left)  # the same file once more: a backup that somebody put back
    with new_tracker("another"):
        eventually(lambda: not left.exists())
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'x'") == [(301,)]
    assert ask(catalog_path, "SELECT replayed FROM journal_writer") == [(300,)]


def test_killed_while_replaying(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, chance: random.Random
) -> None:
    """Promise 3: a replay that is killed goes on where the catalog says."""
    run_victim(tmp_path, catalog_path, hold_lock, 2000)
    script = """
import os, signal, sys
from pathlib import Path
from crackseg_tracker import settings
from crackseg_tracker.store import database, replay
path, left = Path(sys.argv[1]), int(sys.argv[2])
step = replay.Replay.step
def counted(self, *given):
    global left
    step(self, *given)
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
replay.Replay.step = counted
replay.replay_ownerless(database.open_database(settings.locate(path)), [path.parent / "journal"])
"""
    for _ in range(3):
        batches = chance.randrange(3)
        print(f"killed after {batches} batches")
        done = subprocess.run([sys.executable, "-c", script, str(catalog_path), str(batches)], timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
    done = subprocess.run([sys.executable, "-c", script, str(catalog_path), "1000"], timeout=60, check=False)
    assert done.returncode == 0
    assert journals(catalog_path) == []
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY 1") == [
        (step, float(step)) for step in range(2001)
    ]
    assert ask(catalog_path, "SELECT replayed, dropped FROM journal_writer") == [(2000, 0)]


def test_torn_at_every_byte(tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold) -> None:
    """Promise 3: of a file that was cut off anywhere, every whole record is read, and nothing else."""
    tracker = new_tracker()
    holder = hold_lock()
    for step in range(4):
        tracker.log_metrics({"loss": step / 3, "name with ü": float("inf")})
    [path] = journals(catalog_path)
    whole = path.read_bytes()
    holder.let_go()
    tracker.close()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    assert len(ends) == 5  # the header, and four records
    torn = tmp_path / "torn.journal"
    for size in range(len(whole)):
        torn.write_bytes(whole[:size])
        adopted = journal.JournalFile.adopt(torn)
        if size < ends[0]:
            assert adopted is None
            continue
        assert adopted is not None
        assert [number for number, _ in journal.records(adopted)] == list(
            range(1, sum(end <= size for end in ends[1:]) + 1)
        )
        adopted.release()


def test_a_flipped_bit_spoils_its_own_record_only(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, chance: random.Random
) -> None:
    """Promise 3: each record has a checksum; what was damaged is never taken for data."""
    tracker = new_tracker()
    holder = hold_lock()
    for step in range(50):
        tracker.log_metrics({"loss": step / 3})
    [path] = journals(catalog_path)
    whole = path.read_bytes()
    holder.let_go()
    tracker.close()
    start = whole.index(b"\n") + 1
    intact = dict(filter(None, map(journal.unframed, whole[start:].splitlines())))
    for _ in range(100):
        spoilt = bytearray(whole)
        spoilt[chance.randrange(start, len(whole))] ^= 1 << chance.randrange(8)
        file = tmp_path / "spoilt.journal"
        file.write_bytes(spoilt)
        adopted = journal.JournalFile.adopt(file)
        assert adopted is not None
        found = dict(journal.records(adopted))
        adopted.release()
        assert len(found) >= 48  # a line feed that was hit takes its neighbour with it
        assert all(intact[number] == content for number, content in found.items())


def test_an_ownerless_file_with_a_torn_tail_is_replayed(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 3: torn tails are ignored."""
    run_victim(tmp_path, catalog_path, hold_lock, 20)
    [left] = journals(catalog_path)
    left.write_bytes(left.read_bytes()[:-9])
    with new_tracker("another"):
        eventually(lambda: not left.exists())
    assert ask(catalog_path, "SELECT max(step) FROM metrics WHERE metric = 'x'") == [(19,)]


# What a keeper does when nothing wakes it, it does an hour later.
_SHORT = """
import sys, time
from pathlib import Path
from crackseg_tracker import ExperimentTracker
from crackseg_tracker.store import keeper
keeper.SYNC_SECONDS = keeper.keeper._pause = 3600.0
folder, catalog, left = sys.argv[1:]
with ExperimentTracker(folder, "short", catalog=catalog):
    end = time.monotonic() + 30
    while Path(left).exists() and time.monotonic() < end:
        time.sleep(0.01)
sys.exit(Path(left).exists())
"""


def test_a_short_training_replays_what_another_left(tmp_path: Path, catalog_path: Path, hold_lock: Hold) -> None:
    """Promise 3: it begins to at once, not when it next looks after the catalog."""
    run_victim(tmp_path, catalog_path, hold_lock, 20)
    [left] = journals(catalog_path)
    arguments = [str(tmp_path / "short"), str(catalog_path), str(left)]
    assert subprocess.run([sys.executable, "-c", _SHORT, *arguments], timeout=90, check=False).returncode == 0
    assert ask(catalog_path, "SELECT max(step) FROM metrics WHERE metric = 'x'") == [(20,)]


def test_files_are_private_and_hold_no_code_and_no_secret(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold
) -> None:
    """Promises 18, 20 and 21: 0600 in a folder 0700; JSON; secrets replaced before anything is written."""
    with new_tracker(config={"api_key": "hunter2hunter2"}):
        pass
    tracker = new_tracker(config={"api_key": "hunter2hunter2", "new": 1})
    holder = hold_lock()
    tracker.start_experiment()
    tracker.fail_experiment("the key hunter2hunter2 was refused")
    [path] = journals(catalog_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    assert "hunter2" not in text
    assert [json.loads(line.partition(" ")[2])[0] for line in text.splitlines()] == [0, 1, 2]
    holder.let_go()
    tracker.close()


def test_beside_the_experiment_when_the_catalogs_folder_takes_no_journal(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 1: the second place."""
    tracker = new_tracker()
    (catalog_path.parent / "journal").write_text("a file where the folder would be")
    holder = hold_lock()
    tracker.log_metrics({"x": 1.0})
    folder = tmp_path / "experiments" / "unet-1" / "journal"
    assert len(journal.files(folder)) == 1
    holder.let_go()
    eventually(lambda: tracker.metadata.journaled == 0)
    eventually(lambda: journal.files(folder) == [])
    assert ask(catalog_path, "SELECT value FROM metrics") == [(1.0,)]


def test_what_a_killed_process_left_beside_its_experiment_is_found_by_the_resumed_one(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 1: the second place is looked at by whoever records the experiment."""
    with new_tracker("first"):
        (catalog_path.parent / "journal").write_text("a file where the folder would be")
    run_victim(tmp_path, catalog_path, hold_lock, 10)
    [left] = journal.files(tmp_path / "victim" / "journal")
    with ExperimentTracker(tmp_path / "victim", "victim", catalog=catalog_path):
        eventually(lambda: not left.exists())
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'x'") == [(11,)]


def test_in_memory_with_an_exact_count_when_nothing_can_be_written(
    tmp_path: Path,
    new_tracker: NewTracker,
    catalog_path: Path,
    hold_lock: Hold,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Promise 4: the newest are kept, each dropped call is counted, and the experiment says so for ever."""
    tracker = new_tracker()
    tracker.log_metrics({"x": -1.0}, step=0)
    for folder in (catalog_path.parent, tmp_path / "experiments" / "unet-1"):
        (folder / "journal").write_text("a file where the folder would be")
    monkeypatch.setattr(journal, "MEMORY_BYTES", 20_000)
    holder = hold_lock()
    for step in range(1, 1001):
        tracker.log_metrics({"x": float(step)}, step=step)
    assert "kept in memory" in caplog.text
    known = tracker.metadata
    assert known.degraded
    assert known.journaled + known.dropped == 1000
    assert known.dropped > 500
    holder.let_go()
    eventually(lambda: tracker.metadata.journaled == 0)
    found = [step for (step,) in ask(catalog_path, "SELECT step FROM metrics ORDER BY step")]
    assert found == [0, *range(known.dropped + 1, 1001)]
    after = tracker.metadata
    assert (after.replayed, after.dropped, after.degraded) == (1000 - known.dropped, known.dropped, True)
    tracker.close()
    assert new_tracker().metadata.dropped == known.dropped
    assert ask(catalog_path, "SELECT journal_dropped FROM experiments") == [(known.dropped,)]


def test_what_only_memory_had_is_told_at_the_end(tmp_path: Path, catalog_path: Path, new_tracker: NewTracker) -> None:
    """Promise 4: nothing is lost in silence."""
    with new_tracker("first"):
        (catalog_path.parent / "journal").write_text("a file where the folder would be")
    script = """
import sqlite3, sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "victim", catalog=sys.argv[2])
open(sys.argv[1] + "/journal", "w").close()
lock = sqlite3.connect(sys.argv[2], isolation_level=None)
lock.execute("BEGIN IMMEDIATE")
for step in range(7):
    tracker.log_metrics({"x": float(step)})
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "victim"), str(catalog_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "8 calls" in done.stderr  # the end of the attempt is one too


def test_an_end_leaves_in_time_what_takes_longer_to_replay(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 7: whatever the keeper is in the middle of."""
    tracker = new_tracker()
    holder = hold_lock()
    for step in range(100):
        tracker.log_metrics({"x": float(step)})
    backlog = tracker._recorder.backlog
    with backlog._draining:  # as the keeper does
        holder.let_go()
        settle = threading.Thread(target=keeper.settle, args=(0.1,))
        settle.start()
        settle.join(20)
        assert not settle.is_alive()
    eventually(lambda: tracker.metadata.journaled == 0)
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(100,)]


def test_a_replayed_status_keeps_its_time_and_never_overrides_a_later_one(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 3: the process that was killed had failed before somebody completed the experiment."""
    run_victim(tmp_path, catalog_path, hold_lock, 1, "tracker.fail_experiment('early')")
    [left] = journals(catalog_path)
    away = left.rename(tmp_path / left.name)
    resumed = ExperimentTracker(tmp_path / "victim", "victim", catalog=catalog_path)
    resumed.start_experiment()
    resumed.complete_experiment()
    away.rename(left)
    with new_tracker("another"):
        eventually(lambda: not left.exists())
    assert ask(catalog_path, "SELECT status, error_message FROM experiments WHERE experiment_id = 'victim'") == [
        ("completed", "")
    ]
    changes = ask(
        catalog_path,
        "SELECT status FROM status_changes WHERE experiment_id = 'victim' ORDER BY changed_at",
    )
    assert [status for (status,) in changes] == ["created", "running", "failed", "completed"]


@pytest.mark.parametrize(
    "record",
    [
        ["WhateverChange", {"at": "x"}],
        ["StatusChange", {"at": "x", "status": "nice"}],
        ["MetricCalls", {"at": "x", "calls": [[{"x": 7}, 1, 0]]}],
    ],
    ids=["of a later release", "an unknown status", "a value that is no float"],
)
def test_a_record_that_cannot_be_applied_holds_up_nothing(
    record: list[Any],
    tmp_path: Path,
    new_tracker: NewTracker,
    catalog_path: Path,
    hold_lock: Hold,
    eventually: Eventually,
) -> None:
    """Promise 4: it is counted as dropped, and kept in a file beside the journal."""
    run_victim(tmp_path, catalog_path, hold_lock, 3, "tracker.add_tags(['last'])")
    [left] = journals(catalog_path)
    lines = left.read_bytes().splitlines(keepends=True)
    lines[2] = journal.framed(2, [1, None, [record]])
    left.write_bytes(b"".join(lines))
    with new_tracker("another"):
        eventually(lambda: not left.exists())
    assert ask(catalog_path, "SELECT value FROM metrics WHERE metric = 'x' ORDER BY 1") == [(0.0,), (1.0,), (3.0,)]
    assert ask(catalog_path, "SELECT tag FROM experiment_tags") == [("last",)]
    assert ask(catalog_path, "SELECT replayed, dropped FROM journal_writer") == [(3, 1)]
    assert record[0].encode() in left.with_suffix(".rejected").read_bytes()


def test_what_cannot_be_replayed_raises_nowhere(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promises 4 and 5: that no step is left for a call is found out by the replay only; it ends all the same."""
    tracker = new_tracker()
    tracker.log_metrics({"full": 1.0}, step=2**63 - 1)
    holder = hold_lock()
    tracker.log_metrics({"full": 2.0})
    tracker.log_metrics({"x": 3.0})
    assert tracker.metadata.journaled == 2
    tracker.complete_experiment()
    assert tracker.metadata.status == "completed"
    holder.let_go()
    eventually(lambda: not tracker._recorder.backlog.is_open)
    assert (tracker.metadata.dropped, tracker.metadata.degraded) == (1, True)
    assert ask(catalog_path, "SELECT metric, value FROM metrics ORDER BY 1") == [("full", 1.0), ("x", 3.0)]
    assert ask(catalog_path, "SELECT status FROM experiments") == [("completed",)]


def test_the_catalog_lists_what_waits(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 4: readers can see that something is not in the catalog yet."""
    tracker = new_tracker()
    with Catalog(catalog_path) as catalog:
        assert list(catalog.journals()) == []
        holder = hold_lock()
        tracker.log_metrics({"x": 1.0})
        tracker.add_tags(["a"])
        [row] = catalog.journals()
        assert (row.experiment_id, row.records, row.owner_alive) == ("unet-1", 2, True)
        assert Path(row.path).exists()
        holder.let_go()
        tracker.close()
        eventually(lambda: list(catalog.journals()) == [])


def test_every_change_survives_the_encoding(tmp_path: Path, new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 17: floats to the bit, names as they are, integers beyond 2^53."""
    from crackseg_tracker.store import encoding
    from crackseg_tracker.store.metric_changes import MetricCalls

    values = {"a": 5e-324, "b": -0.0, "c": 1.7976931348623157e308, "\0 ü": 0.1, "d": float("-inf")}
    change = MetricCalls(at="2026", calls=[(values, 2**63 - 1, -5)])
    again = encoding.decode(*json.loads(json.dumps(encoding.encode(change))))
    assert isinstance(again, MetricCalls)
    [(found, step, offset)] = again.calls
    assert [(name, value.hex()) for name, value in found.items()] == [(n, v.hex()) for n, v in values.items()]
    assert (step, offset) == (2**63 - 1, -5)
