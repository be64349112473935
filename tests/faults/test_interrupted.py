"""Ctrl-C, and handlers of the user's signals, amid any call: often enough that they come at every point of it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from asking import ask

from crackseg_tracker import Catalog

PATIENCE = 60

# A handler of our own raises as Ctrl-C does, but only while one of the tracker's calls is under way.
_CTRL_C = """
import json, os, random, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
folder, catalog, durability, seed = sys.argv[1:]
chance = random.Random(int(seed))
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, durability=durability)
is_calling, interrupted = False, 0

def interrupt(*_):
    global is_calling
    if is_calling:
        is_calling = False
        raise KeyboardInterrupt

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
    except KeyboardInterrupt:
        interrupted += 1
is_over = True
presser.join()
tracker.complete_experiment()
print(json.dumps([interrupted, called, returned]))
"""


@pytest.mark.parametrize("durability", ["normal", "buffered", "full"])
def test_each_call_that_returned_is_there_once(
    tmp_path: Path, catalog_path: Path, durability: str, chance: random.Random
) -> None:
    """Promises 1, 4 and 7: Ctrl-C passes through, and the next call goes on with nothing lost, doubled or stuck."""
    seed = str(chance.randrange(2**32))
    command = [sys.executable, "-c", _CTRL_C, str(tmp_path / "unet"), str(catalog_path), durability, seed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    interrupted, called, returned = json.loads(done.stdout)
    assert interrupted > 50
    recorded = [int(value) for (value,) in ask(catalog_path, "SELECT value FROM metrics ORDER BY step")]
    assert recorded == sorted(set(recorded)), "in order, none twice"
    assert set(returned) <= set(recorded) <= set(range(1, called + 1))
    assert ask(catalog_path, "SELECT status FROM experiments") == [("completed",)]
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []


@pytest.mark.parametrize("durability", ["normal", "buffered"])
def test_a_handler_records_amid_a_call_and_waits_for_nobody(
    tmp_path: Path, catalog_path: Path, durability: str, chance: random.Random
) -> None:
    """Promises 1 and 5: many a training saves when Slurm warns it; that may be while a call of ours is under way."""
    script = """
import os, random, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
folder, catalog, durability, seed = sys.argv[1:]
chance = random.Random(int(seed))
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, durability=durability)
handled = 0

def warned(*_):
    global handled
    tracker.log_metrics({"handled": 1.0})
    tracker.log_history("bulk", [handled], [1.0])
    tracker.add_tags(["warned"])
    tracker.save()
    handled += 1

def warn():
    warned_of = 0
    while not is_over:
        time.sleep(chance.uniform(0.0003, 0.003))
        if handled == warned_of:
            warned_of += 1
            os.kill(os.getpid(), signal.SIGUSR1)

signal.signal(signal.SIGUSR1, warned)
is_over = False
warner = threading.Thread(target=warn)
warner.start()
end, called = time.monotonic() + 1.5, 0
while time.monotonic() < end:
    tracker.log_metrics({"x": 1.0})
    tracker.add_tags([f"tag-{called % 50}"])
    called += 1
is_over = True
warner.join()
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
tracker.complete_experiment()
print(called, handled)
"""
    seed = str(chance.randrange(2**32))
    command = [sys.executable, "-c", script, str(tmp_path / "unet"), str(catalog_path), durability, seed]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    called, handled = map(int, done.stdout.split())
    assert handled > 50
    counts = "SELECT metric, count FROM metric_summaries ORDER BY metric"
    assert ask(catalog_path, counts) == [("bulk", handled), ("handled", handled), ("x", called)]
    assert ask(catalog_path, "SELECT count(*) FROM experiment_tags") == [(51,)]
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
