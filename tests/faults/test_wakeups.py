"""A signal ends a training that has slept through it, and an event loop goes on being told of its own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asking import ask

#: Much less than the sleeps below, and enough for a machine that is busy with other tests.
PATIENCE = 10

_START = """
import asyncio, os, signal, sys, threading, time
from crackseg_tracker import ExperimentTracker
def start():
    tracker = ExperimentTracker(sys.argv[1], "victim", catalog=sys.argv[2])
    tracker.start_experiment()
    return tracker
"""


def run(tmp_path: Path, catalog: Path, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _START + script, str(tmp_path / "victim"), str(catalog)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_signal_that_the_main_thread_slept_through_ends_it_all_the_same(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: so it is when the signal comes in the last moment before a wait in C, which this stands for."""
    begin = time.monotonic()
    done = run(
        tmp_path,
        catalog_path,
        """
tracker = start()
signal.signal(signal.SIGUSR1, lambda *_: None)  # Slurm warns with it
def take_the_signal():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    time.sleep(0.005)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # noted here; the wait of the main thread goes on
    time.sleep(50)
threading.Thread(target=take_the_signal, daemon=True).start()
lock = threading.Lock()
lock.acquire()
lock.acquire(timeout=50)
""",
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert time.monotonic() - begin < PATIENCE
    assert ask(catalog_path, "SELECT status, error_message FROM experiments") == [("aborted", "SIGTERM")]


def test_a_child_that_is_ended_as_it_begins_ends_alone(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: it dies of the signal at once, as without us, and the training goes on."""
    done = run(
        tmp_path,
        catalog_path,
        """
import multiprocessing
tracker = start()
codes = set()
for _ in range(30):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(50,))
    child.start()
    child.terminate()
    child.join()
    codes.add(child.exitcode)
time.sleep(0.5)
tracker.complete_experiment()
print(codes)
""",
    )
    assert (done.returncode, done.stdout) == (0, f"{{{-signal.SIGTERM}}}\n"), done.stderr
    assert ask(catalog_path, "SELECT status FROM experiments") == [("completed",)]


def test_a_training_that_closes_all_descriptors(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: its own files get their numbers; no signal is written into them, and nothing of them is read."""
    done = run(
        tmp_path,
        catalog_path,
        """
start().complete_experiment()
signal.signal(signal.SIGUSR1, lambda *_: None)
os.closerange(3, 2000)
opened = [os.open(sys.argv[1] + ".txt", os.O_RDWR | os.O_CREAT) for _ in range(40)]
os.write(opened[0], b"not ours to read")
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.2)
if os.fork() == 0:
    print(signal.getsignal(signal.SIGTERM).name, flush=True)
    os._exit(0)
os.wait()
print([os.lseek(one, 0, os.SEEK_CUR) for one in opened] == [16] + [0] * 39, os.path.getsize(sys.argv[1] + ".txt"))
sys.stdout.flush()
os._exit(0)
""",
    )
    assert done.stdout == "SIG_DFL\nTrue 16\n", done.stderr


def test_two_signals_at_once_are_one_end(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 7: a scheduler that sends SIGTERM again, and a terminal that hangs up too, change nothing."""
    done = run(
        tmp_path,
        catalog_path,
        """
tracker = start()
def insist():
    for _ in range(50):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
threading.Thread(target=insist, daemon=True).start()
time.sleep(50)
""",
    )
    assert done.returncode in (-signal.SIGTERM, -signal.SIGHUP), done.stderr
    assert "Traceback" not in done.stderr
    assert [status for (status,) in ask(catalog_path, "SELECT status FROM status_changes ORDER BY changed_at")] == [
        "created",
        "running",
        "aborted",
    ]


@pytest.mark.parametrize("order", ["start(); listen()", "listen(); start()"])
def test_an_event_loop_goes_on_being_told(tmp_path: Path, catalog_path: Path, order: str) -> None:
    """Promise 1: it finds out about its signals in the same way, and there can be one only."""
    done = run(
        tmp_path,
        catalog_path,
        f"""
async def main():
    heard = asyncio.Event()
    def listen():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
    {order}
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(heard.wait(), 30)
asyncio.run(main())
""",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_is_told_of_nothing(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: its signals are its own; with a tracker of its own it is told again, by descriptors of its own."""
    done = run(
        tmp_path,
        catalog_path,
        """
start().complete_experiment()
before = signal.set_wakeup_fd(-1)
signal.set_wakeup_fd(before)
if os.fork() == 0:
    print(before >= 512, signal.set_wakeup_fd(-1), os.path.exists(f"/proc/self/fd/{before}"), flush=True)
    os._exit(0)
os.wait()
""",
    )
    assert done.stdout == "True -1 False\n", done.stderr


def test_handlers_of_the_user_need_nothing_of_this(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 1: where no signal is ours, no thread waits for one, and nobody is told."""
    done = run(
        tmp_path,
        catalog_path,
        """
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda *_: None)
start().complete_experiment()
print(signal.set_wakeup_fd(-1), any("signals" in thread.name for thread in threading.enumerate()))
""",
    )
    assert done.stdout == "-1 False\n", done.stderr
