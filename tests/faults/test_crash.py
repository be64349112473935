"""Processes that are killed: what a call acknowledged is there, and the catalog is whole."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from asking import ask

from crackseg_tracker import Catalog, ExperimentTracker

# Each line is written to the pipe after the call it names has returned; the parent believes nothing else.
_LIFE = """
import os, signal, sys
folder, catalog, artifact, kill_after, durability = sys.argv[1:]
from crackseg_tracker import ExperimentTracker
from crackseg_tracker.store import appending

appending.FOLD_AFTER = 40  # every 20 calls the points move into the curves
done = 0

def acknowledge(what):
    global done
    os.write(1, (what + "\\n").encode())
    done += 1
    if done == int(kill_after):
        os.kill(os.getpid(), signal.SIGKILL)

tracker = ExperimentTracker(folder, "victim", config={"a": 1}, catalog=catalog, durability=durability)
acknowledge("created")
tracker.start_experiment()
acknowledge("started")
tracker.update_description("a victim")
acknowledge("described")
tracker.add_tags(["one", "two"])
acknowledge("tagged")
tracker.remove_tags(["two"])
acknowledge("untagged")
tracker.log_params({"extra": 3})
acknowledge("params")
tracker.add_artifact("best", "checkpoint", artifact, tags=["best"])
acknowledge("artifact")
tracker.update_training_progress(3, 9, {"iou": 0.5})
acknowledge("progress")
for step in range(60):
    tracker.log_metrics({"loss": 1 / (step + 1), "iou": step / 60}, step=step)
    acknowledge(f"metrics {step}")
tracker.log_history("bulk", range(100), range(100))
acknowledge("bulk")
tracker.log_samples({"image": {"iou": 0.5}})
acknowledge("samples")
tracker.rewind(49)
acknowledge("rewound")
tracker.complete_experiment()
acknowledge("completed")
tracker.close()
acknowledge("closed")
"""
_BEFORE_METRICS = 8
_CALLS = _BEFORE_METRICS + 60 + 5
# Right after each other call, and after every tenth call of log_metrics.
_POINTS_OF_DEATH = [
    *range(1, _BEFORE_METRICS + 1),
    *range(_BEFORE_METRICS + 10, _BEFORE_METRICS + 61, 10),
    *range(_BEFORE_METRICS + 61, _CALLS + 1),
]


def run_victim(
    tmp_path: Path, catalog: Path, kill_after: int = 0, durability: str = "normal", under: list[str] | None = None
) -> tuple[int, list[str]]:
    """Run the life above; give its return code and what it acknowledged."""
    tmp_path.mkdir(exist_ok=True)
    artifact = tmp_path / "best.pt"
    artifact.write_bytes(b"weights")
    done = subprocess.run(
        [
            *(under or []),
            sys.executable,
            "-c",
            _LIFE,
            *map(str, (tmp_path / "victim", catalog, artifact, kill_after, durability)),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode().splitlines()


def assert_all_there(path: Path, acknowledged: list[str]) -> None:
    """Compare the catalog with what was acknowledged: at least that, at most one call more, and that one whole."""
    if not path.exists():
        assert acknowledged == []
        return
    with Catalog(path) as catalog:
        assert catalog.check() == []
        rows = catalog.experiments().rows
        if not acknowledged and not rows:
            return
        [row] = rows
        assert row.experiment_id == "victim"
        assert catalog.params("victim")["a"] == 1
        if "params" in acknowledged:
            assert catalog.params("victim")["extra"] == 3
    done = set(acknowledged)
    [(status, description, epoch)] = ask(path, "SELECT status, description, current_epoch FROM experiments")
    if "completed" in done:
        assert status == "completed"
    elif "started" in done:
        assert status in ("running", "completed")
    if "described" in done:
        assert description == "a victim"
    tags = {tag for (tag,) in ask(path, "SELECT tag FROM experiment_tags")}
    assert tags in (set(), {"one", "two"}, {"one"})
    if "untagged" in done:
        assert tags == {"one"}
    elif "tagged" in done:
        assert "one" in tags
    if "artifact" in done:
        assert ask(path, "SELECT artifact_id, size_bytes, digest_state FROM artifacts") == [("best", 7, "hashed")]
        assert ask(path, "SELECT tag FROM artifact_tags") == [("best",)]
    if "progress" in done:
        assert epoch == 3
        assert ask(path, "SELECT step, value FROM metric_reports") == [(3, 0.5)]
    steps = [line for line in acknowledged if line.startswith("metrics")]
    for name in ("loss", "iou"):
        found = [s for (s,) in ask(path, "SELECT step FROM metrics WHERE metric = ? ORDER BY step", name)]
        assert found == list(range(len(found)))
        if "rewound" in done:
            assert len(found) == 50
        elif "samples" in done:
            assert len(found) in (50, 60)
        else:
            assert len(found) in (len(steps), len(steps) + 1)
    both = ask(path, "SELECT count(*) FROM metrics WHERE metric IN ('loss', 'iou') GROUP BY step")
    assert all(count == (2,) for count in both), "a call is whole or absent"
    bulk = ask(path, "SELECT count(*) FROM metrics WHERE metric = 'bulk'")[0][0]
    assert bulk in (0, 50, 100)
    if "bulk" in done:
        assert bulk == (50 if "rewound" in done else bulk)
        assert bulk > 0
    if "samples" in done:
        assert ask(path, "SELECT sample, value FROM sample_metrics") == [("image", 0.5)]


def assert_usable(tmp_path: Path, path: Path) -> None:
    """Resume the victim: nothing that the dead process left is in the way."""
    with ExperimentTracker(tmp_path / "victim", "victim", catalog=path) as tracker:
        tracker.log_metrics({"loss": 0.5, "after": 1.0})
        tracker.add_tags(["resumed"])
    assert ask(path, "SELECT status FROM experiments") == [("completed",)]
    assert ask(path, "SELECT count(*) FROM metrics WHERE metric = 'after'") == [(1,)]
    with Catalog(path) as catalog:
        assert catalog.check() == []


def test_the_life_itself(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: without a kill all of it is there (so that the tests below mean something)."""
    code, acknowledged = run_victim(tmp_path, catalog_path)
    assert code == 0
    assert len(acknowledged) == _CALLS
    assert_all_there(catalog_path, acknowledged)


@pytest.mark.parametrize("kill_after", _POINTS_OF_DEATH)
def test_killed_right_after_a_call(tmp_path: Path, catalog_path: Path, kill_after: int) -> None:
    """Promise 1: what returned survives kill -9."""
    code, acknowledged = run_victim(tmp_path, catalog_path, kill_after)
    assert code == -signal.SIGKILL
    assert len(acknowledged) == kill_after
    assert_all_there(catalog_path, acknowledged)
    if kill_after % 7 == 0:
        assert_usable(tmp_path, catalog_path)


def test_killed_by_the_parent_at_any_moment(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: the same, when the kill comes from outside and inside whatever call."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown on failure
    enough = random.Random(seed).randrange(1, _CALLS - 10)
    print(f"killed after at least {enough} calls")
    artifact = tmp_path / "best.pt"
    artifact.write_bytes(b"weights")
    child = subprocess.Popen(
        [sys.executable, "-c", _LIFE, *map(str, (tmp_path / "victim", catalog_path, artifact, 0, "normal"))],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().decode().strip() for _ in range(enough)]
    child.kill()
    acknowledged += child.stdout.read().decode().splitlines()
    child.wait(60)
    child.stdout.close()
    assert_all_there(catalog_path, acknowledged)
    assert_usable(tmp_path, catalog_path)


def _strace_or_skip() -> str:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: nothing can kill a process at its k-th write")
    probe = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, check=False, timeout=60)
    if probe.returncode != 0:
        pytest.skip(f"strace may not trace here: {probe.stderr.decode().strip()[:200]}")
    return strace


# A whole life makes 466 writes: the creation 78, the tracker's first 47, a call of log_metrics 2, a fold 8 more; the
# last are the checkpoint at the end.
@pytest.mark.parametrize(
    ("write", "durability"),
    [
        *((k, "normal") for k in (1, 30, 77, 110, 171, 221, 312, 360, 385, 404, 430)),
        *((k, "full") for k in (110, 221)),
    ],
)
def test_killed_inside_a_call_at_the_kth_write(tmp_path: Path, catalog_path: Path, write: int, durability: str) -> None:
    """Promises 1 and 2: a kill in the middle of a commit, a creation or a checkpoint leaves a whole catalog."""
    under = [_strace_or_skip(), "-f", "-qq", "-o", os.devnull, "-e", "trace=pwrite64"]
    under += ["-e", f"inject=pwrite64:signal=SIGKILL:when={write}"]
    code, acknowledged = run_victim(tmp_path, catalog_path, durability=durability, under=under)
    assert code in (-signal.SIGKILL, 128 + signal.SIGKILL, 0)  # 0: fewer writes than that, with another SQLite
    assert code != 0 or len(acknowledged) == _CALLS
    print(f"{len(acknowledged)} calls acknowledged")  # shown on failure
    assert_all_there(catalog_path, acknowledged)
    assert_usable(tmp_path, catalog_path)


def test_killed_at_the_writes_of_a_fold(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: the call whose points let all of them move into the curves is killed at every other write of it."""
    traced = [_strace_or_skip(), "-f", "-qq", "-e", "trace=pwrite64"]
    log = tmp_path / "writes"
    counted = [*traced, "-o", str(log), "-e", "trace=pwrite64,write"]
    code, _ = run_victim(tmp_path / "whole", tmp_path / "whole" / "catalog" / "catalog.db", under=counted)
    assert code == 0
    writes_before: dict[str, int] = {}
    writes = 0
    for line in log.read_text().splitlines():
        writes += " pwrite64(" in line
        if acknowledged := re.search(r' write\(1, "(metrics \d+)', line):
            writes_before[acknowledged[1]] = writes
    of_each = [writes_before[f"metrics {n}"] - writes_before[f"metrics {n - 1}"] for n in range(1, 60)]
    fold = of_each.index(max(of_each)) + 1
    assert max(of_each) > 2 * min(of_each), "a fold is among them"
    for write in range(writes_before[f"metrics {fold - 1}"] + 1, writes_before[f"metrics {fold}"] + 1, 2):
        folder = tmp_path / str(write)
        path = folder / "catalog" / "catalog.db"
        code, acknowledged = run_victim(
            folder, path, under=[*traced, "-o", os.devnull, "-e", f"inject=pwrite64:signal=SIGKILL:when={write}"]
        )
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        print(f"killed at write {write}, after {acknowledged[-1]}")  # shown on failure
        assert_all_there(path, acknowledged)
