"""Ctrl-C, and handlers of the user's signals, amid any call: often enough that they come at every point of it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from faults.conftest import LockHolder, journals

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.store import changes
from crackseg_tracker.store.sketch import sketch

NewTracker = Callable[..., ExperimentTracker]
Hold = Callable[[], LockHolder]
Eventually = Callable[[Callable[[], bool]], None]

PATIENCE = 60

# A handler of the user raises, as Ctrl-C does, but only while one of the tracker's calls is under way.
_CTRL_C = """
import json, os, random, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
folder, catalog, durability, error, seed = sys.argv[1:]
chance = random.Random(int(seed))
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, durability=durability)
is_calling, raised, passed = False, 0, 0

class Preempted(Exception):
    pass

Error = {"KeyboardInterrupt": KeyboardInterrupt, "Preempted": Preempted}[error]

def interrupt(*_):
    global is_calling, raised
    if is_calling:
        is_calling = False
        raised += 1
        raise Error

def press():
    while not is_over:
        time.sleep(chance.uniform(0.0003, 0.003))
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, interrupt)
is_over = False
presser = threading.Thread(target=press)
presser.start()
returned, called = [], 0
end = time.monotonic() + 2.5
while time.monotonic() < end:
    calls = [tracker.save, tracker.get_metadata, tracker.start_experiment, tracker.complete_experiment]
    call = chance.choice([None] * 20 + calls)
    try:
        is_calling = True
        if call is None:
            called += 1
            tracker.log_metrics({"x": float(called)})
            returned.append(called)
        else:
            call()
        is_calling = False
    except Error:
        passed += 1
is_over = True
presser.join()
tracker.complete_experiment()
print(json.dumps([raised, passed, called, returned]))
"""


@pytest.mark.parametrize(
    ("durability", "error"),
    [
        ("normal", "KeyboardInterrupt"),
        ("buffered", "KeyboardInterrupt"),
        ("full", "KeyboardInterrupt"),
        ("normal", "Preempted"),
    ],
)
def test_each_call_that_returned_is_there_once(
    tmp_path: Path, catalog_path: Path, durability: str, error: str, chance: random.Random
) -> None:
    """Promises 1, 4 and 7: Ctrl-C passes through, and the next call goes on with nothing lost, doubled or stuck."""
    given = [str(tmp_path / "unet"), str(catalog_path), durability, error, str(chance.randrange(2**32))]
    command = [sys.executable, "-c", _CTRL_C, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    raised, passed, called, returned = json.loads(done.stdout)
    assert raised > 50
    assert passed == raised
    recorded = [int(value) for (value,) in ask(catalog_path, "SELECT value FROM metrics ORDER BY step")]
    assert recorded == sorted(set(recorded)), "in order, none twice"
    assert set(returned) <= set(recorded) <= set(range(1, called + 1))
    assert ask(catalog_path, "SELECT status FROM experiments") == [("completed",)]
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []


@pytest.mark.parametrize(("durability", "strict"), [("normal", ""), ("buffered", ""), ("normal", "strict")])
def test_a_handler_records_amid_a_call_and_waits_for_nobody(
    tmp_path: Path, catalog_path: Path, durability: str, strict: str, chance: random.Random
) -> None:
    """Promises 1 and 5: many a training saves when Slurm warns it; that may be while a call of ours is under way.

    Each call makes a row of its own, so that one which is rolled back, or recorded twice, shows.
    """
    script = """
import os, random, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
folder, catalog, durability, strict, seed = sys.argv[1:]
chance = random.Random(int(seed))
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, durability=durability, strict=bool(strict))

def record(who, number):
    tracker.log_metrics({who: 1.0})
    tracker.log_history(f"{who} in bulk", [number], [1.0])
    tracker.log_samples({who: {"iou": 1.0}}, step=number)
    tracker.update_training_progress(1, 1, {f"best of {who}": float(number)})
    tracker.add_tags([f"{who} {number % 50}"])

def warned(*_):
    global handled
    record("handler", handled)
    tracker.save()
    handled += 1

def warn():
    warned_of = 0
    while not is_over:
        time.sleep(chance.uniform(0.0003, 0.003))
        if handled == warned_of:
            warned_of += 1
            os.kill(os.getpid(), signal.SIGUSR1)

handled = called = 0
signal.signal(signal.SIGUSR1, warned)
is_over = False
warner = threading.Thread(target=warn)
warner.start()
end = time.monotonic() + 2.5
while time.monotonic() < end or called < 50 or handled < 50:
    record("training", called)
    called += 1
    for _ in range(50):
        tracker.log_metrics({"often": 1.0})
is_over = True
warner.join()
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
tracker.complete_experiment()
print(called, handled)
"""
    given = [str(tmp_path / "unet"), str(catalog_path), durability, strict, str(chance.randrange(2**32))]
    done = subprocess.run(
        [sys.executable, "-c", script, *given], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    called, handled = map(int, done.stdout.split())
    wanted = {"training": called, "training in bulk": called, "handler": handled, "handler in bulk": handled}
    counts = dict(ask(catalog_path, "SELECT metric, count(*) FROM metrics GROUP BY metric"))
    assert counts == wanted | {"often": 50 * called}
    samples = "SELECT sample, count(*) FROM sample_metrics GROUP BY sample"
    assert dict(ask(catalog_path, samples)) == {"training": called, "handler": handled}
    reports = "SELECT metric, count(*) FROM metric_reports GROUP BY metric"
    assert dict(ask(catalog_path, reports)) == {"best of training": called, "best of handler": handled}
    assert ask(catalog_path, "SELECT count(*) FROM experiment_tags") == [(100,)]
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []


@pytest.mark.parametrize("durability", ["normal", "buffered"])
def test_a_handler_ends_the_experiment_and_leaves_amid_a_call(
    tmp_path: Path, catalog_path: Path, durability: str, chance: random.Random
) -> None:
    """Promises 1 and 7: preempted, says the handler, and exits; the call that it came amid is rolled back or whole."""
    script = """
import os, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
folder, catalog, durability, pause = sys.argv[1:]
tracker = ExperimentTracker(folder, folder[-6:], catalog=catalog, durability=durability)
tracker.start_experiment()

def preempted(*_):
    tracker.log_metrics({"left": 1.0})
    tracker.abort_experiment("preempted")
    sys.exit(3)

def preempt():
    time.sleep(float(pause))
    os.kill(os.getpid(), signal.SIGUSR1)

signal.signal(signal.SIGUSR1, preempted)
threading.Thread(target=preempt).start()
called = 0
try:
    while True:
        tracker.log_metrics({"x": 1.0})
        called += 1
        tracker.add_tags([f"tag-{called % 50}"])
finally:
    print(called)
"""
    expected = []
    for number in range(6):
        folder = tmp_path / f"unet-{number}"
        pause = str(chance.uniform(0.02, 0.1))
        command = [sys.executable, "-c", script, str(folder), str(catalog_path), durability, pause]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 3, done.stderr
        expected.append((folder.name, "aborted", "preempted", int(done.stdout)))
    experiments = ask(catalog_path, "SELECT experiment_id, status, error_message FROM experiments ORDER BY 1")
    assert experiments == [row[:3] for row in expected]
    counts = dict(ask(catalog_path, "SELECT experiment_id, count FROM metric_summaries WHERE metric = 'x'"))
    assert all(counts[name] - called in (0, 1) for name, _, _, called in expected)
    assert ask(catalog_path, "SELECT count(*) FROM metrics WHERE metric = 'left'") == [(6,)]
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []
        assert list(catalog.journals()) == []


def test_a_handler_that_comes_amid_a_journaled_call_journals_too(
    tmp_path: Path, catalog_path: Path, new_tracker: NewTracker, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 1: what it records is in the file, not in memory: the process is killed, and all of it is found."""
    script = """
import os, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
folder, catalog = sys.argv[1:]
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog)
tracker.start_experiment()
tracker.log_metrics({"x": 1.0, "handled": 1.0})
print("ready", flush=True)
sys.stdin.readline()
handled = called = sent = 0

def warned(*_):
    global handled
    tracker.log_metrics({"handled": 1.0})
    handled += 1

def warn():
    global sent
    while sent < 40:
        time.sleep(0.002)
        if handled == sent:
            sent += 1
            os.kill(os.getpid(), signal.SIGUSR1)

tracker.log_metrics({"x": 1.0})
tracker._recorder.backlog.give_way = lambda: None  # which comes to its end when the lock is held for two seconds
signal.signal(signal.SIGUSR1, warned)
warner = threading.Thread(target=warn)
warner.start()
while handled < 40:
    tracker.log_metrics({"x": 1.0})
    called += 1
print(called, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "unet"), str(catalog_path)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    holder = hold_lock()
    out, _ = child.communicate("\n", timeout=PATIENCE)
    assert len(journals(catalog_path)) == 1
    holder.let_go()
    new_tracker("other").start_experiment()  # which replays it
    expected = [("handled", 41), ("x", int(out) + 2)]
    eventually(lambda: ask(catalog_path, "SELECT metric, count FROM metric_summaries ORDER BY 1") == expected)
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []


@pytest.mark.parametrize("end", ["raise ValueError", "os.kill(os.getpid(), signal.SIGTERM)", ""])
def test_a_handler_that_saves_amid_the_last_flush_waits_for_nobody(
    tmp_path: Path, catalog_path: Path, end: str
) -> None:
    """Promise 7: the process is ending, and its buffer is being flushed, when the user's signal comes."""
    script = f"""
import os, signal, sys
from crackseg_tracker import ExperimentTracker
from crackseg_tracker.store import appending
folder, catalog = sys.argv[1:]
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, durability="buffered")
tracker.start_experiment()
tracker.log_metrics({{"x": 1.0}})
tracker.save()
signal.signal(signal.SIGUSR1, lambda *_: tracker.save())
offset_ms = appending.SeriesWriter.offset_ms

def amid(self, moment=None):
    os.kill(os.getpid(), signal.SIGUSR1)
    return offset_ms(self, moment)

for _ in range(3):
    tracker.log_metrics({{"x": 1.0}})
appending.SeriesWriter.offset_ms = amid
{end}
"""
    command = [sys.executable, "-c", script, str(tmp_path / "unet"), str(catalog_path)]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert time.monotonic() - begin < 10
    assert done.returncode == {"": 0, "r": 1, "o": -signal.SIGTERM}[end[:1]], done.stderr
    assert ask(catalog_path, "SELECT count FROM metric_summaries") == [(4,)]


def test_a_handler_in_a_rank_that_records_nothing_leaves_nothing(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 8: what it records amid a call is kept as little as all else, in no journal either."""
    script = """
import os, signal, sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "unet-1", catalog=sys.argv[2], rank=1)
tracker.start_experiment()
handled = []

class Loss:
    def __float__(self):
        os.kill(os.getpid(), signal.SIGUSR1)
        return 0.5

def warned(*_):
    tracker.log_metrics({"loss": 0.5})
    tracker.add_tags(["warned"])
    handled.append(tracker.metadata.degraded)

signal.signal(signal.SIGUSR1, warned)
tracker.log_metrics({"loss": 0.5})
tracker.log_metrics({"loss": Loss()})
assert handled == [False], handled
tracker.complete_experiment()
"""
    work = tmp_path / "alone"
    work.mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "unet"), str(catalog_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd=work)
    assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == []
    assert not catalog_path.exists()


def test_ctrl_c_as_the_buffers_thread_begins(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Promise 1: the next call begins it; where there can be none, each call is committed at once."""

    def interrupted(*_: object) -> None:
        raise error

    error: BaseException = KeyboardInterrupt()
    tracker = new_tracker(durability="buffered")
    with monkeypatch.context() as patch:
        patch.setattr("crackseg_tracker.store.buffer.threads.begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tracker.log_metrics({"x": 0.0})
        error = RuntimeError("can't start new thread")
        tracker.log_metrics({"x": 1.0})
        tracker.log_metrics({"x": 2.0})
        assert ask(catalog_path, "SELECT step, value FROM metrics") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    tracker.log_metrics({"x": 3.0})
    eventually(lambda: ask(catalog_path, "SELECT count(*) FROM metrics") == [(4,)])


def test_a_look_that_ctrl_c_ends_leaves_no_transaction_open(
    new_tracker: NewTracker,
    catalog_path: Path,
    hold_lock: Hold,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Promise 5: it would keep the log from being copied, and what is left open all the same is rolled back."""
    tracker = new_tracker()
    connection = tracker._database.connection
    holder = hold_lock()
    tracker.log_metrics({"x": 1.0})

    class Interrupting:
        in_transaction = property(lambda self: connection.in_transaction)

        def execute(self, sql: str, *parameters: Any) -> Any:
            found = connection.execute(sql, *parameters)
            if sql == "BEGIN":
                raise KeyboardInterrupt
            return found

    with monkeypatch.context() as patch:
        patch.setattr(tracker._database, "_connection", Interrupting())
        with tracker._database.lock, pytest.raises(KeyboardInterrupt):
            sketch(tracker._database.connection, 1)
    with tracker._database.lock:
        assert not connection.in_transaction
        connection.execute("BEGIN")  # as if it had come in the moment in which nobody can help it
    holder.let_go()
    tracker.log_metrics({"x": 2.0})
    eventually(lambda: ask(catalog_path, "SELECT step, value FROM metrics") == [(0, 1.0), (1, 2.0)])
    with tracker._database.lock:
        assert not connection.in_transaction


def test_a_handler_saves_amid_a_save(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Promise 1: what it adds afterwards stays pending: the interrupted save has not written that."""
    tracker = new_tracker(auto_save=False)

    def warned(*_: object) -> None:
        tracker.save()
        tracker.add_tags(["warned"])

    apply, handler = changes.ProgressChange.apply, signal.signal(signal.SIGUSR1, warned)

    def amid(self: changes.ProgressChange, *where: Any) -> None:
        monkeypatch.setattr(changes.ProgressChange, "apply", apply)
        signal.raise_signal(signal.SIGUSR1)
        apply(self, *where)

    monkeypatch.setattr(changes.ProgressChange, "apply", amid)
    try:
        tracker.update_training_progress(1, 10, {"iou": 0.5})
        tracker.save()
    finally:
        signal.signal(signal.SIGUSR1, handler)
    tracker.close()
    eventually(lambda: ask(catalog_path, "SELECT tag FROM experiment_tags") == [("warned",)])
    assert ask(catalog_path, "SELECT current_epoch FROM experiments") == [(1,)]
