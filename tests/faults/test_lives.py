"""How attempts end, and who is alive: real processes, real signals."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asking import ask

from crackseg_tracker import Catalog, ExperimentRunningError, ExperimentTracker
from crackseg_tracker.errors import InvalidValueError, NotFoundError
from crackseg_tracker.store import liveness

NewTracker = Callable[..., ExperimentTracker]
PATIENCE = 90

_START = """
import os, signal, sys, threading, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup ignores it
from crackseg_tracker import ExperimentTracker
folder, catalog = sys.argv[1:3]
tracker = ExperimentTracker(folder, "victim", catalog=catalog)
tracker.start_experiment()
tracker.log_metrics({"loss": 0.5})
"""
_WAIT = """
print("ready", flush=True)
time.sleep(300)
"""


def run(tmp_path: Path, catalog: Path, rest: str, start: str = _START) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", start + rest, str(tmp_path / "victim"), str(catalog)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@contextmanager
def running(tmp_path: Path, catalog: Path, rest: str = _WAIT, start: str = _START) -> Iterator[subprocess.Popen[str]]:
    """A process that has started its experiment; killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", start + rest, str(tmp_path / "victim"), str(catalog)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate()[1]
        yield child
    finally:
        child.kill()
        child.communicate()


def end_of(path: Path) -> tuple[str, str]:
    """The status, and what explains it."""
    [end] = ask(path, "SELECT status, error_message FROM experiments")
    return end


def lives(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return liveness.of_experiment(connection, path, 1)
    finally:
        connection.close()


def wait_for(path: Path, expected: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while lives(path) != expected:
        assert time.monotonic() < deadline, lives(path)
        time.sleep(0.01)


def locks(path: Path) -> list[str]:
    return [lock.name for lock in (path.parent / "attempts").iterdir()]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_aborts_and_kills_as_before(tmp_path: Path, catalog_path: Path, name: str) -> None:
    """Promise 7: SIGTERM is recorded as aborted within 2 s, and the process dies of the signal."""
    with running(tmp_path, catalog_path) as child:
        before = time.monotonic()
        child.send_signal(getattr(signal, name))
        assert child.wait(PATIENCE) == -getattr(signal, name)
        assert time.monotonic() - before < 10  # a moment, unless the machine is busy
    assert end_of(catalog_path) == ("aborted", name)
    assert ask(catalog_path, "SELECT ended_at IS NOT NULL, end_reason FROM attempt") == [(1, "aborted")]
    assert locks(catalog_path) == []


def test_ctrl_c_outside_the_block_aborts(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: Ctrl-C is recorded as aborted, and passes through."""
    with running(tmp_path, catalog_path) as child:
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE) == -signal.SIGINT
        assert child.stderr is not None
        assert "KeyboardInterrupt" in child.stderr.read()
    assert end_of(catalog_path) == ("aborted", "KeyboardInterrupt")


def test_signals_are_the_main_threads(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: no thread of ours takes a signal, which then would not interrupt what the training waits in."""
    told = """
status, ours = {}, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
for thread in threading.enumerate():
    if thread.name.startswith("crackseg-tracker-"):
        lines = open(f"/proc/self/task/{thread.native_id}/status").read().splitlines()
        blocked = int(next(line for line in lines if line.startswith("SigBlk"))[7:], 16)
        status[thread.name[17:]] = all(blocked >> (number - 1) & 1 for number in ours)
print(dict(sorted(status.items())))
"""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc")
    done = run(tmp_path, catalog_path, told)
    assert done.stdout == "{'keeper': True, 'signals': True, 'sync': True}\n"


@pytest.mark.parametrize("inside", [True, False])
def test_a_crash_is_failed_with_its_traceback(tmp_path: Path, catalog_path: Path, inside: bool) -> None:
    """Promise 7: with or without the block, and the user's exception is the one that is shown."""
    block = (
        "with tracker:\n    raise ValueError('the loss is a goose')"
        if inside
        else "raise ValueError('the loss is a goose')"
    )
    done = run(tmp_path, catalog_path, block)
    assert done.returncode == 1
    assert "ValueError: the loss is a goose" in done.stderr
    assert done.stderr.count("Traceback") == 1
    status, message = end_of(catalog_path)
    assert status == "failed"
    assert "ValueError: the loss is a goose" in message


def test_secrets_in_a_crash_are_redacted(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 20: what the exception says is cleaned as everything else."""
    start = _START.replace('"victim", ', '"victim", config={"api_key": "hunter2hunter2"}, ')
    run(tmp_path, catalog_path, "raise ValueError('hunter2hunter2 was refused')", start)
    assert end_of(catalog_path)[0] == "failed"
    assert "hunter2" not in "".join(map(str, ask(catalog_path, "SELECT * FROM attempt, status_change")))
    assert "hunter2" not in (tmp_path / "victim" / "experiment_tracker.json").read_text()


@pytest.mark.parametrize("rest", ["", "sys.exit(0)", "sys.exit(3)", "del tracker"])
def test_an_exit_without_an_end_is_aborted(tmp_path: Path, catalog_path: Path, rest: str) -> None:
    """Promise 7: an interpreter that simply exits leaves no experiment running, whatever became of the tracker."""
    done = run(tmp_path, catalog_path, rest)
    assert done.stderr == ""
    assert end_of(catalog_path) == ("aborted", "the interpreter exited before an end was recorded")
    assert '"status": "aborted"' in (tmp_path / "victim" / "experiment_tracker.json").read_text()
    assert locks(catalog_path) == []


@pytest.mark.parametrize("call", ["complete_experiment()", "fail_experiment('x')", "abort_experiment('x')"])
def test_a_recorded_end_stays(tmp_path: Path, catalog_path: Path, call: str) -> None:
    """Promise 7: an exit, and even a crash, after the end changes nothing."""
    run(tmp_path, catalog_path, f"tracker.{call}\nraise ValueError('while cleaning up')")
    assert end_of(catalog_path)[0] == {"c": "completed", "f": "failed", "a": "aborted"}[call[0]]
    assert len(ask(catalog_path, "SELECT 1 FROM status_change")) == 3


def test_an_experiment_that_never_started_stays_created(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: only its attempt has ended, and says how."""
    run(tmp_path, catalog_path, "", _START.replace("tracker.start_experiment()", ""))
    assert end_of(catalog_path) == ("created", "")
    assert ask(catalog_path, "SELECT end_reason FROM attempt") == [
        ("the interpreter exited before an end was recorded",)
    ]


def test_buffered_metrics_survive_sigterm(tmp_path: Path, catalog_path: Path) -> None:
    """Promises 1 and 7: what was waiting in the buffer is committed before the end."""
    start = _START.replace('"victim", ', '"victim", durability="buffered", ')
    rest = "for n in range(999): tracker.log_metrics({'loss': float(n)})\nos.kill(os.getpid(), signal.SIGTERM)"
    assert run(tmp_path, catalog_path, rest, start).returncode == -signal.SIGTERM
    assert ask(catalog_path, "SELECT count(*) FROM metrics") == [(1000,)]
    assert end_of(catalog_path) == ("aborted", "SIGTERM")


def test_sigterm_while_the_keeper_is_told_of_a_backlog(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: the end of another experiment is journaled amid that, and waits for nothing."""
    rest = """
from crackseg_tracker.store.keeper import keeper
import sqlite3
class Backlogs(list):
    def append(self, backlog):
        super().append(backlog)
        os.kill(os.getpid(), signal.SIGTERM)
other = ExperimentTracker(folder + "-2", "other", catalog=catalog)
other.start_experiment()
keeper._backlogs = Backlogs()
holder = sqlite3.connect(catalog, isolation_level=None)
holder.execute("BEGIN IMMEDIATE")
threading.Timer(20, os._exit, [1]).start()
tracker.log_metrics({"loss": 0.25})
"""
    assert run(tmp_path, catalog_path, rest).returncode == -signal.SIGTERM
    ExperimentTracker(tmp_path / "later", "later", catalog=catalog_path).start_experiment()
    deadline = time.monotonic() + PATIENCE
    ends = "SELECT status FROM experiments WHERE experiment_id <> 'later'"
    while ask(catalog_path, ends) != [("aborted",), ("aborted",)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_keeper_may_be_woken_in_the_middle_of_being_woken(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: a signal's handler comes at any line of the call that asks for a sync, and journals."""
    rest = """
from crackseg_tracker.store.keeper import keeper
def handler(*_):
    keeper.take(tracker._recorder.backlog)
    return handler
threading.Timer(20, os._exit, [1]).start()
sys.settrace(handler)
keeper.sync_soon(tracker._database)
sys.settrace(None)
os._exit(0)
"""
    assert run(tmp_path, catalog_path, rest).returncode == 0


@pytest.mark.parametrize("round_", range(5))
def test_sigterm_in_the_middle_of_calls(tmp_path: Path, catalog_path: Path, round_: int) -> None:
    """Promises 1 and 7: at whatever moment the signal comes, acknowledged calls are there and the end is recorded."""
    rest = """
print("ready", flush=True)
step = 0
while True:
    step += 1
    tracker.log_metrics({"x": float(step), "y": 1.0}, step=step)
    tracker.add_tags([str(step)])
    os.write(1, b"%d\\n" % step)
"""
    with running(tmp_path, catalog_path, rest) as child:
        assert child.stdout is not None
        for _ in range(10 + 7 * round_):
            child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        last = [line for line in child.stdout.read().splitlines() if line]
        assert child.wait(PATIENCE) == -signal.SIGTERM
        acknowledged = int(last[-1]) if last else 10 + 7 * round_
    assert end_of(catalog_path) == ("aborted", "SIGTERM")
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'x'")[0][0] in (
        acknowledged,
        acknowledged + 1,
    )
    assert len(ask(catalog_path, "SELECT 1 FROM experiment_tags")) in (acknowledged, acknowledged + 1)


def test_sigterm_while_another_thread_logs(tmp_path: Path, catalog_path: Path) -> None:
    """Promises 7 and 8: training in a thread, the signal's handler in the main one."""
    rest = """
def train():
    while True:
        tracker.log_metrics({"x": 1.0})
        tracker.update_description("busy")
threading.Thread(target=train, daemon=True).start()
print("ready", flush=True)
time.sleep(300)
"""
    with running(tmp_path, catalog_path, rest) as child:
        time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE) == -signal.SIGTERM
    assert end_of(catalog_path) == ("aborted", "SIGTERM")


def test_a_locked_catalog_holds_up_no_exit(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: exit handlers take at most 2 s; what could not be recorded shows as dead, and is swept."""
    with running(tmp_path, catalog_path) as child:
        blocker = sqlite3.connect(catalog_path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE) == -signal.SIGTERM
        assert time.monotonic() - before < 10  # 0.2 s, unless the machine is busy
        blocker.close()
    if end_of(catalog_path)[0] == "running":
        assert lives(catalog_path) == "dead"


def test_a_handler_of_the_user_is_left_alone(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: theirs is called, before or after ours would have been set, and nothing of ours is in the way."""
    handler = """
def mine(number, frame):
    print("mine", flush=True)
    tracker.complete_experiment()
    os._exit(0)
signal.signal(signal.SIGTERM, mine)
"""
    before = _START.replace("tracker.start", handler + "tracker.start")
    for start in (before, _START + handler):
        with running(tmp_path, catalog_path, start=start) as child:
            child.send_signal(signal.SIGTERM)
            assert child.wait(PATIENCE) == 0
            assert child.stdout is not None
            assert child.stdout.read() == "mine\n"
        assert end_of(catalog_path) == ("completed", "")


def test_a_hook_of_the_user_is_called(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: a user's sys.excepthook sees the exception, as before."""
    hook = "import sys\nsys.excepthook = lambda kind, error, trace: print('mine', error)\n"
    done = run(tmp_path, catalog_path, "raise ValueError('x')", hook + _START)
    assert done.stdout == "mine x\n"
    assert end_of(catalog_path)[0] == "failed"


def test_terminating_a_forked_worker_ends_nothing(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 8: a DataLoader's workers are terminated, exit and crash; the parent's attempt goes on."""
    rest = """
import multiprocessing
context = multiprocessing.get_context("fork")
started = context.Event()
def work():
    started.set()
    time.sleep(300)
worker = context.Process(target=work)
worker.start()
started.wait()
worker.terminate()
worker.join()
assert worker.exitcode == -signal.SIGTERM, worker.exitcode
for end in (lambda: None, lambda: sys.exit(1), lambda: 1 / 0):
    worker = context.Process(target=end)
    worker.start()
    worker.join()
assert tracker.metadata.status == "running"
print("ready", flush=True)
time.sleep(300)
"""
    with running(tmp_path, catalog_path, rest):
        assert lives(catalog_path) == "alive"
        assert ask(catalog_path, "SELECT ended_at FROM attempt") == [(None,)]
        assert len(locks(catalog_path)) == 1


def test_a_forked_child_does_not_keep_its_dead_parent_alive(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 16: an orphaned worker lets go of the lock that its parent held."""
    rest = """
child = os.fork()
if child == 0:
    os.close(1); os.close(2)
    time.sleep(120)
    os._exit(0)
print("ready", flush=True)
print(child, flush=True)
time.sleep(300)
"""
    with running(tmp_path, catalog_path, rest) as victim:
        assert victim.stdout is not None
        child = int(victim.stdout.readline())
        assert lives(catalog_path) == "alive"
        victim.kill()
        victim.wait(PATIENCE)
        wait_for(catalog_path, "dead")  # the orphan may take a moment to start
        os.kill(child, 0)  # and lives
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_that_trains_ends_its_own(tmp_path: Path, catalog_path: Path, method: str) -> None:
    """Promises 7 and 8: children of multiprocessing leave without atexit; their ends are recorded all the same."""
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing, sys
from crackseg_tracker import ExperimentTracker
def train(folder, catalog, name):
    tracker = ExperimentTracker(f"{folder}/{name}", name, catalog=catalog)
    tracker.start_experiment()
    tracker.log_metrics({"loss": 1.0})
    if name == "crashed":
        raise ValueError("a crash")
if __name__ == "__main__":
    folder, catalog, method = sys.argv[1:]
    for name in ("left", "crashed"):
        child = multiprocessing.get_context(method).Process(target=train, args=(folder, catalog, name))
        child.start()
        child.join()
""")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(catalog_path), method],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "ValueError: a crash" in done.stderr
    ends = dict(ask(catalog_path, "SELECT experiment_id, status FROM experiments"))
    assert ends == {"left": "aborted", "crashed": "failed"}
    assert locks(catalog_path) == []


# Who is alive


@pytest.mark.parametrize("stop", [signal.SIGSTOP, None])
def test_a_stopped_process_is_alive(tmp_path: Path, catalog_path: Path, stop: int | None) -> None:
    """Promise 16: a slow one is never declared dead, however long ago it wrote."""
    with running(tmp_path, catalog_path) as child:
        if stop:
            child.send_signal(stop)
        connection = sqlite3.connect(catalog_path)
        connection.execute("UPDATE attempt SET started_at = '1970-01-01T00:00:00.000000+00:00'")
        connection.execute("UPDATE experiment SET updated_at = '1970-01-01T00:00:00.000000+00:00'")
        connection.commit()
        connection.close()
        assert lives(catalog_path) == "alive"
        with Catalog(catalog_path) as catalog:
            assert [row.liveness for row in (*catalog.experiments(), *catalog.attempts())] == ["alive", "alive"]
            assert list(catalog.sweep()) == []
            with pytest.raises(ExperimentRunningError):
                catalog.delete("victim")


def test_a_killed_process_is_dead_and_swept(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 16: dry_run tells, sweep marks as aborted with the reason and who said so; a resume goes on."""
    with running(tmp_path, catalog_path) as child:
        child.kill()
        wait_for(catalog_path, "dead")  # the child is not waited for: a zombie is dead too
    assert len(locks(catalog_path)) == 1
    with Catalog(catalog_path) as catalog:
        assert [row.liveness for row in (*catalog.experiments(), *catalog.attempts())] == ["dead", "dead"]
        catalog.delete("victim")
        catalog.restore("victim")
        [told] = catalog.sweep(dry_run=True)
        assert told.experiment_id == "victim"
        assert told.pid == child.pid
        assert end_of(catalog_path)[0] == "running"
        assert list(catalog.sweep()) == [told]
        assert list(catalog.sweep()) == []
    assert locks(catalog_path) == []
    status, message = end_of(catalog_path)
    assert status == "aborted"
    assert str(child.pid) in message
    [(host, user)] = ask(catalog_path, "SELECT hostname, username FROM status_change WHERE status = 'aborted'")
    assert host
    assert user
    with ExperimentTracker(tmp_path / "victim", "victim", catalog=catalog_path) as tracker:
        tracker.log_metrics({"loss": 0.25})
    assert end_of(catalog_path) == ("completed", "")


def test_a_reused_process_number_is_not_the_dead_one(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 16: the same number with another start time is another process."""
    tracker = new_tracker()
    tracker.start_experiment()
    connection = sqlite3.connect(catalog_path)
    connection.execute("UPDATE attempt SET lock_name = ''")
    connection.commit()
    assert lives(catalog_path) == "alive"
    connection.execute("UPDATE attempt SET process_started = '1'")
    connection.commit()
    assert lives(catalog_path) == "dead"
    connection.close()


def test_what_runs_elsewhere_is_left_alone_unless_named(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 16: of another host one knows nothing; the user may."""
    for name in ("far", "near"):
        new_tracker(name).start_experiment()
    connection = sqlite3.connect(catalog_path)
    connection.execute("UPDATE attempt SET hostname = 'far', boot_id = 'x', lock_name = '' WHERE experiment = 1")
    connection.commit()
    connection.close()
    with Catalog(catalog_path) as catalog:
        assert lives(catalog_path) == "elsewhere"
        assert list(catalog.sweep()) == []
        with pytest.raises(InvalidValueError, match="near"):
            catalog.sweep(also="near")
        with pytest.raises(NotFoundError, match="far"):
            catalog.sweep(also="fra")
        [row] = catalog.sweep(also=["far"])
        assert row.experiment_id == "far"
        assert "declared dead" in row.reason
        with pytest.raises(InvalidValueError, match="aborted"):
            catalog.sweep(also="far")


def test_one_of_several_processes_leaves(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 16: the experiment is the other's to end, and shows as alive."""
    with running(tmp_path, catalog_path):
        run(tmp_path, catalog_path, "")
        assert end_of(catalog_path) == ("running", "")
        assert lives(catalog_path) == "alive"
        reasons = "SELECT number, end_reason FROM attempt ORDER BY number"
        assert ask(catalog_path, reasons) == [(1, ""), (2, "the interpreter exited before an end was recorded")]


def test_closing_ends_the_attempt_on_an_ended_experiment(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 16: a tag added a year later is an attempt that ends with `close`; on a running experiment it goes on."""
    new_tracker().complete_experiment()
    later = new_tracker()
    later.add_tags(["paper"])
    later.close()
    ends = ask(catalog_path, "SELECT number, end_reason FROM attempt ORDER BY number")
    assert ends == [(1, "completed"), (2, "closed")]
    later.start_experiment()
    later.close()
    assert len(locks(catalog_path)) == 1
    assert lives(catalog_path) == "alive"
    later.complete_experiment()
