"""Many processes and threads, forks and spawns on one catalog: nothing is lost and nothing counted twice."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from soak import children

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.store.backlog import Subject, backlog_of, backlogs_of

NewTracker = Callable[..., ExperimentTracker]
PROCESSES = 8
PATIENCE = 30
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# The barrier: each says that it is ready, and starts when the parent closes its stdin.
_READY = """
import os, sys, threading
import crackseg_tracker
from crackseg_tracker import ExperimentTracker
number, base, catalog = int(sys.argv[1]), sys.argv[2], sys.argv[3]
os.write(1, b"r")
sys.stdin.read()
"""


def run_at_once(script: str, base: Path, catalog: Path, count: int = PROCESSES) -> None:
    """Run a script in so many processes, all let go at the same moment; every one must succeed."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _READY + script, str(n), str(base), str(catalog)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for n in range(count)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.read(1) == b"r", child.communicate()[1].decode()
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
            child.stdin = None
        failures = [child.communicate(timeout=PATIENCE)[1].decode() for child in children if child.wait(PATIENCE) != 0]
        assert failures == []
    finally:
        for child in children:
            child.kill()
            child.communicate()


def run_alone(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def in_child(work: Callable[[], None]) -> int:
    """Fork, do the work in the child, leave it without the interpreter's exit, and give its return code."""
    pid = children.start(work)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the forked child hangs")


def test_eight_open_one_experiment_at_once(tmp_path: Path, catalog_path: Path) -> None:
    """Promises 8 and 9: one reserves the id, the others are attempts on it; tags and artifacts merge as rows."""
    script = """
tracker = ExperimentTracker(f"{base}/shared", "shared", catalog=catalog)
for i in range(25):
    tracker.add_tags([f"{number}-{i}", "common", f"common-{i}"])
    tracker.remove_tags([f"{number}-{i - 1}"] if i % 5 == 0 and i else [])
    tracker.add_artifact(f"{number}-{i}", "checkpoint", f"{base}/{number}-{i}.pt", tags=[f"of-{number}"])
    tracker.add_artifact("contended", "metrics", f"{base}/{number}.json", tags=[str(number)])
    tracker.update_training_progress(i, 25, {f"best-{number}": i / 25})
tracker.close()
"""
    run_at_once(script, tmp_path, catalog_path)
    removed = {i - 1 for i in range(5, 25, 5)}
    with Catalog(catalog_path) as catalog:
        expected = {f"{n}-{i}" for n in range(PROCESSES) for i in range(25) if i not in removed}
        expected |= {"common", *(f"common-{i}" for i in range(25))}
        row = catalog.experiment("shared")
        assert set(row.tags) == expected
        assert row.best_metrics == {f"best-{n}": 24 / 25 for n in range(PROCESSES)}
        artifacts = {a.artifact_id: a for a in catalog.artifacts()}
        assert set(artifacts) == {"contended", *(f"{n}-{i}" for n in range(PROCESSES) for i in range(25))}
        assert all(a.tags == (f"of-{i.split('-')[0]}",) for i, a in artifacts.items() if i != "contended")
        [writer] = artifacts["contended"].tags  # path and tags are of the same call
        assert artifacts["contended"].path == f"{tmp_path}/{writer}.json"
    attempts = [a for (a,) in ask(catalog_path, "SELECT attempt FROM attempts ORDER BY attempt")]
    assert attempts == list(range(1, PROCESSES + 1))


def test_eight_processes_of_four_threads_log_metrics(tmp_path: Path, catalog_path: Path) -> None:
    """Promises 1 and 8: exact counts afterwards, on experiments of their own and on a shared one."""
    script = """
failures = []
def train(thread):
    try:
        own = ExperimentTracker(f"{base}/{number}-{thread}", f"{number}-{thread}", catalog=catalog)
        shared = ExperimentTracker(f"{base}/shared", "shared", catalog=catalog)
        for step in range(60):
            own.log_metrics({"loss": 1 / (step + 1), "iou": step / 60, "who": number * 4 + thread})
            if step % 3 == 0:
                shared.log_metrics({f"{number}-{thread}": float(step)})
                shared.log_metrics({"together": 1.0})
        own.complete_experiment()
    except BaseException as error:
        failures.append(error)
        raise
threads = [threading.Thread(target=train, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(len(failures))
"""
    run_at_once(script, tmp_path, catalog_path)
    everyone = [f"{n}-{t}" for n in range(PROCESSES) for t in range(4)]
    counts = "SELECT metric, count(*), min(step), max(step), sum(value) FROM metrics WHERE experiment_id = ? GROUP BY 1"
    for who, name in enumerate(everyone):
        rows = {row[0]: row[1:] for row in ask(catalog_path, counts, name)}
        assert rows["iou"] == (60, 0, 59, pytest.approx(sum(range(60)) / 60))
        assert rows["who"] == (60, 0, 59, 60.0 * who)
        assert rows["loss"][:3] == (60, 0, 59)
    rows = {row[0]: row[1:] for row in ask(catalog_path, counts, "shared")}
    together = rows.pop("together")
    assert together == (640, 0, 639, 640.0)  # 32 threads, 20 calls each, every step given once
    assert rows == dict.fromkeys(everyone, (20, 0, 19, 570.0))
    summaries = dict(ask(catalog_path, "SELECT metric, count FROM metric_summaries WHERE experiment_id = 'shared'"))
    assert summaries == {"together": 640, **dict.fromkeys(everyone, 20)}


@needs_fork
def test_a_fault_while_other_threads_make_trackers(new_tracker: NewTracker, tmp_path: Path) -> None:
    """Promise 8: the backlogs of a catalog are listed while others come and go."""
    database = new_tracker()._database
    deadline = time.monotonic() + 1

    def make() -> None:
        for number in itertools.count():
            if time.monotonic() > deadline:
                return
            _made = [backlog_of(database, Subject(50 * number + i, "", 0, ""), tmp_path, dict) for i in range(50)]

    maker = threading.Thread(target=make)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        maker.start()
        while maker.is_alive():
            backlogs_of(database)
    finally:
        sys.setswitchinterval(interval)
        maker.join()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("durability", ["normal", "full", "buffered"])
def test_fork_while_logging(new_tracker: NewTracker, catalog_path: Path, durability: str) -> None:
    """Promise 8: both log to the same experiment and both keep everything, in whichever order they end."""
    tracker = new_tracker(durability=durability)
    for step in range(50):
        tracker.log_metrics({"parent": float(step), "both": 1.0})

    def work() -> None:
        for step in range(50):
            tracker.log_metrics({"child": float(step), "both": 2.0})
        tracker.close()

    assert in_child(work) == 0
    for step in range(50, 100):
        tracker.log_metrics({"parent": float(step), "both": 1.0})
    assert in_child(work) == 0  # a second one, after the parent wrote again
    tracker.log_metrics({"parent": 100.0})
    tracker.complete_experiment()
    parent = ask(catalog_path, "SELECT value FROM metrics WHERE metric = 'parent' ORDER BY step")
    assert parent == [(float(s),) for s in range(101)]  # the steps go on from those of both
    child = ask(catalog_path, "SELECT value FROM metrics WHERE metric = 'child' ORDER BY step")
    assert child == [(float(s),) for s in range(50)] * 2
    both = ask(catalog_path, "SELECT value, count(*) FROM metrics WHERE metric = 'both' GROUP BY value")
    assert both == [(1.0, 100), (2.0, 100)]
    assert ask(catalog_path, "SELECT attempt FROM attempts ORDER BY 1") == [(1,), (2,), (3,)]


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("durability", ["normal", "buffered"])
def test_fork_while_other_threads_log(new_tracker: NewTracker, catalog_path: Path, durability: str) -> None:
    """Promise 8: a fork in the middle of another thread's call neither hangs the child nor breaks the call."""
    tracker = new_tracker(durability=durability)
    stop = threading.Event()
    logged = [0, 0]

    def train(thread: int) -> None:
        while not stop.is_set():
            tracker.log_metrics({f"thread-{thread}": 1.0})
            logged[thread] += 1
            time.sleep(0.001)  # a training step: without any pause the child would wait for the lock, not for the fork

    threads = [threading.Thread(target=train, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):

            def work(number: int = number) -> None:
                tracker.log_metrics({f"child-{number}": 1.0})
                tracker.add_tags([f"child-{number}"])
                tracker.save()

            assert in_child(work) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    tracker.save()
    found = dict(ask(catalog_path, "SELECT metric, count(*) FROM metrics GROUP BY metric"))
    assert found == {
        **{f"thread-{n}": logged[n] for n in range(2)},
        **{f"child-{n}": 1 for n in range(5)},
    }
    assert set(tracker.metadata.tags) == {f"child-{n}" for n in range(5)}


def test_a_spawned_child_opens_its_own(tmp_path: Path, new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 8: a process started anew while the parent's tracker is open is another attempt."""
    tracker = new_tracker("spawned")
    tracker.log_metrics({"x": 1.0})
    script = """
import sys
from crackseg_tracker import ExperimentTracker
with ExperimentTracker(sys.argv[1], "spawned", catalog=sys.argv[2]) as tracker:
    tracker.log_metrics({"x": 2.0})
"""
    done = run_alone(script, tmp_path / "experiments" / "spawned", catalog_path)
    assert done.returncode == 0, done.stderr
    tracker.log_metrics({"x": 3.0})
    assert ask(catalog_path, "SELECT step, value FROM metrics ORDER BY step") == [(0, 1.0), (1, 2.0), (2, 3.0)]


# durability="buffered" and "full"


def test_buffered_is_all_there_after_save_in_order(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 1: what `save` returned for is committed; of two calls of one step the later wins."""
    tracker = new_tracker(durability="buffered")
    for n in range(2000):
        tracker.log_metrics({"x": float(n), "nan": math.nan})
        tracker.log_metrics({"overwritten": float(n)}, step=0)
    tracker.save()
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY step") == [
        (n, float(n)) for n in range(2000)
    ]
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'overwritten'") == [(0, 1999.0)]


def test_buffered_commits_by_itself(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 1: a thread commits without being asked (that it takes at most 50 ms is the benchmark's to show)."""
    tracker = new_tracker(durability="buffered")
    for round_ in range(3):
        tracker.log_metrics({"x": 1.0})
        deadline = time.monotonic() + PATIENCE
        while ask(catalog_path, "SELECT count(*) FROM metrics") != [(round_ + 1,)]:
            assert time.monotonic() < deadline, "never committed"
            time.sleep(0.01)


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "raise ValueError('a crash')", "del tracker"])
def test_buffered_is_all_there_after_the_interpreters_exit(tmp_path: Path, catalog_path: Path, end: str) -> None:
    """Promise 1: nobody needs to close."""
    script = f"""
import sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "unet-1", catalog=sys.argv[2], durability="buffered")
for n in range(1000):
    tracker.log_metrics({{"x": float(n)}})
{end}
"""
    done = run_alone(script, tmp_path / "unet", catalog_path)
    assert done.returncode == (1 if "ValueError" in end else 0), done.stderr
    assert ask(catalog_path, "SELECT count(*), sum(value), max(step) FROM metrics") == [(1000, 499500.0, 999)]


@needs_fork
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_buffered_is_committed_before_a_fork(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 8: the child sees what was logged before it was born, and does not log it again."""
    tracker = new_tracker(durability="buffered")
    for n in range(500):
        tracker.log_metrics({"x": float(n)})

    def work() -> None:
        assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(500,)]
        tracker.log_metrics({"x": 500.0})
        tracker.save()

    assert in_child(work) == 0
    tracker.save()
    assert ask(catalog_path, "SELECT step, value FROM metrics ORDER BY step") == [(n, float(n)) for n in range(501)]


@pytest.mark.parametrize(
    "call", ["complete_experiment", "abort_experiment", "close", "get_metadata", "start_experiment"]
)
def test_an_end_and_a_look_flush_what_is_buffered(new_tracker: NewTracker, catalog_path: Path, call: str) -> None:
    """Promise 1: after these calls returned, the buffered points are in the catalog."""
    tracker = new_tracker(durability="buffered")
    for n in range(100):
        tracker.log_metrics({"x": float(n)})
    getattr(tracker, call)()
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(100,)]


def test_a_call_that_cannot_be_recorded_does_not_hold_up_the_others(
    new_tracker: NewTracker, catalog_path: Path
) -> None:
    """Promise 4: of buffered calls only the impossible one (no step is left for it) is missing, and it is counted."""
    tracker = new_tracker(durability="buffered")
    tracker.log_metrics({"full": 1.0}, step=2**63 - 1)
    for number in range(2):
        tracker.log_metrics({"full": 2.0})
        tracker.log_metrics({"x": 3.0 + number})
        tracker.save()
    assert (tracker.metadata.dropped, tracker.metadata.degraded) == (2, True)
    assert ask(catalog_path, "SELECT journal_dropped FROM experiments") == [(2,)]
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY 1") == [(0, 3.0), (1, 4.0)]


def test_full_syncs_every_commit(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 2: synchronous is FULL (2), NORMAL (1) by default; the points are there at once either way."""

    def synchronous(tracker: ExperimentTracker) -> Sequence[Any]:
        return tracker._database.connection.execute("PRAGMA synchronous").fetchone()

    tracker = new_tracker("normal")
    assert synchronous(tracker) == (1,)
    tracker = new_tracker("full", durability="full")
    assert synchronous(tracker) == (2,)
    for n in range(20):
        tracker.log_metrics({"x": float(n)})
        assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(n + 1,)]
    tracker._database.close()
    tracker.log_metrics({"x": 20.0})
    assert synchronous(tracker) == (2,), "a connection opened again is as strict"
