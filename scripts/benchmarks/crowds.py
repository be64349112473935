"""What it costs to write to one catalog from many processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import NAMES, Bench, Raw, Row, random_metrics, timed_calls

from crackseg_tracker import Catalog, ExperimentTracker

PROCESSES = 8
CALLS_OF_EACH = 500
CROWD = 64
PAUSE_SECONDS = 0.005
_barrier: Any = None


def _meet_at(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _one_of_many(side: str, path: Path, number: int, repetition: int) -> tuple[float, float, float]:
    """Log from one of several processes: when it began and ended, and its longest call."""
    name, tracker = f"process-{number}-of-{PROCESSES}-{repetition}", None
    if side == "ours":
        tracker = ExperimentTracker(path.parent / name, name, catalog=path)
        log = tracker.log_metrics
    else:
        log = Raw(path, name).log
    block = [random_metrics(step) for step in range(CALLS_OF_EACH)]
    _barrier.wait(60)
    start = time.perf_counter()
    taken = timed_calls(log, block, 0)
    end = time.perf_counter()
    _barrier.wait(60)
    if tracker is not None:
        tracker.complete_experiment()
    return start, end, max(taken)


def _make(bench: Bench, side: str) -> Path:
    """Make the file, which all then open."""
    path = bench.new_path()
    if side == "ours":
        bench.new_tracker(path).complete_experiment()
    else:
        Raw(path)
    return path


def processes(bench: Bench) -> Iterator[Row]:
    """Eight processes, each with an experiment of its own, on one catalog: one that is in use, and a new one."""
    calls = f"{PROCESSES} processes x {CALLS_OF_EACH} calls"
    used = {side: _make(bench, side) for side in ("raw", "ours")}
    others = [sqlite3.connect(path) for path in used.values()]  # so that no log is removed in between
    for other in others:
        other.execute("SELECT 1 FROM sqlite_schema").fetchone()
    walls, longest, lost = _together(bench, lambda side: used[side])
    for other in others:
        other.close()
    new_walls, new_longest, new_lost = _together(bench, lambda side: _make(bench, side))
    longest = {side: max(one, new_longest[side]) for side, one in longest.items()}
    lost = {side: one + new_lost[side] for side, one in lost.items()}
    yield Row(f"{calls}: wall", **walls, unit="s", bound=1.3)
    yield Row(f"{calls}, new catalog: wall", **new_walls, unit="s", bound=None)
    yield Row(f"{calls}: longest", **longest, unit="s", bound=0.1, absolute=True)
    yield Row(f"{calls}: lost", **lost, unit="", bound=0, absolute=True)


def _together(
    bench: Bench, path_of: Callable[[str], Path]
) -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
    """Have the processes log; give each side's median wall time and longest call, and how many points it lost.

    Wall is from the first begin to the last end. The first repetition is not timed.
    """
    walls: dict[str, list[float]] = {"raw": [], "ours": []}
    longest: dict[str, list[float]] = {"raw": [], "ours": []}
    lost = {"raw": 0, "ours": 0}
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, _meet_at, (context.Barrier(PROCESSES),)) as pool:
        for repetition in range(bench.size(7, 2) + 1):
            for side in ("raw", "ours") if repetition % 2 else ("ours", "raw"):
                path = path_of(side)
                before = _points(side, path)
                tasks = [(side, path, number, repetition) for number in range(PROCESSES)]
                starts, ends, most = zip(*pool.starmap(_one_of_many, tasks, chunksize=1), strict=True)
                if side == "ours":
                    _let_replay(path)
                lost[side] += PROCESSES * CALLS_OF_EACH * len(NAMES) - (_points(side, path) - before)
                if repetition:
                    walls[side].append(max(ends) - min(starts))
                    longest[side].append(max(most))
    medians = [{side: median(one) for side, one in taken.items()} for taken in (walls, longest)]
    return medians[0], medians[1], lost


def _points(side: str, path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        table = "metrics" if side == "ours" else "point"
        (there,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return there


def _one_of_the_crowd(side: str, path: Path, number: int, seconds: float) -> tuple[float, int, int]:
    """Log with pauses, as trainings do, from one of many processes: the longest call, all calls, those journaled."""
    name = f"process-{number}"
    if side == "raw":
        log, tracker = Raw(path, name).log, None
    else:
        tracker = ExperimentTracker(path.parent / name, name, catalog=path)
        tracker.start_experiment()
        log = tracker.log_metrics
    log(random_metrics(0), 0)
    _barrier.wait(120)
    time.sleep(1 + random.random())  # trainings of many processes do not go on in step
    before = _journaled(tracker)  # amid the beginnings of all the others
    step, longest, end = 0, 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        step += 1
        longest = max(longest, *timed_calls(log, [random_metrics(step)], step))
        time.sleep(random.uniform(0, 2 * PAUSE_SECONDS))
    journaled = _journaled(tracker) - before
    if tracker is not None:
        tracker.complete_experiment()
        tracker.close()
    return longest, step + 1, journaled


def _let_replay(path: Path) -> None:
    """Wait until what was journaled is in the catalog: the processes that did are alive, and do that."""
    end = time.monotonic() + 60
    with Catalog(path) as catalog:
        while list(catalog.journals()) and time.monotonic() < end:
            time.sleep(0.1)


def _journaled(tracker: ExperimentTracker | None) -> int:
    return tracker.metadata.journaled + tracker.metadata.replayed if tracker else 0


def crowd(bench: Bench) -> Iterator[Row]:
    """64 processes that have begun, on one catalog: what waits for too long for its lock goes to a journal."""
    longest: dict[str, float] = {}
    lost: dict[str, int] = {}
    journaled = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(CROWD, _meet_at, (context.Barrier(CROWD),)) as pool:
        for side in ("raw", "ours"):
            path = _make(bench, side)
            tasks = [(side, path, number, bench.size(6, 2)) for number in range(CROWD)]
            most, calls, waited = zip(*pool.starmap(_one_of_the_crowd, tasks, chunksize=1), strict=True)
            longest[side] = max(most)
            journaled += sum(waited)
            if side == "ours":
                _let_replay(path)
            lost[side] = sum(calls) * len(NAMES) - _points(side, path)
    work = f"{CROWD} processes, {PAUSE_SECONDS * 1000:.0f} ms between calls"
    yield Row(f"{work}: longest", **longest, unit="s", bound=0.3, absolute=True)
    yield Row(f"{work}: journaled", raw=None, ours=journaled, unit="", bound=0, absolute=True)
    yield Row(f"{work}: lost", **lost, unit="", bound=0, absolute=True)
