"""What every benchmark stands on: a row of figures, a folder of its own, turns for both sides, and the yardstick."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from crackseg_tracker import ExperimentTracker

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = ("loss", "val/iou", "val/dice")
CALLS = 2000

Metrics = dict[str, float]


class Row(NamedTuple):
    """One line of the table. Units: "s" (shown as us, ms or s), "B", "MiB" or "" (a count)."""

    work: str
    raw: float | None
    ours: float
    unit: str
    #: At most so many times raw; or, where `absolute`, at most so much. None: reported only.
    bound: float | None
    absolute: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times raw."""
        return self.ours / self.raw if self.raw else None

    @property
    def is_met(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        measured = self.ours if self.absolute else self.ratio
        return None if self.bound is None or measured is None else measured <= self.bound


class Bench:
    """What a benchmark function gets: a folder of its own, and how thorough to be."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self._numbers = count()

    def size(self, thorough: int, quick: int) -> int:
        """Choose by `--quick`."""
        return quick if self.quick else thorough

    def new_path(self, suffix: str = ".db") -> Path:
        """Give a path that was never used."""
        folder = self.folder / f"{next(self._numbers)}"
        folder.mkdir()
        return folder / f"it{suffix}"

    def new_tracker(self, catalog: Path | None = None, **options: Any) -> ExperimentTracker:
        """Start an experiment, by default in a catalog of its own."""
        name = f"unet-resnet34-{next(self._numbers):06}"
        path = catalog or self.new_path()
        tracker = ExperimentTracker(self.folder / name, name, catalog=path, **options)
        tracker.start_experiment()
        return tracker

    def taking_turns(self, repetitions: int, **sides: Callable[[], float | None]) -> dict[str, float]:
        """Give the median of each side: what it returns, else the seconds it takes. Once before, untimed."""
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for repetition in range(repetitions + 1):
            order = list(sides) if repetition % 2 else list(sides)[::-1]
            for side in order:
                start = time.perf_counter()
                result = sides[side]()
                elapsed = time.perf_counter() - start
                if repetition:
                    taken[side].append(elapsed if result is None else result)
        return {side: median(values) for side, values in taken.items()}


class Raw:
    """The yardstick: what one would write by hand with the standard library."""

    def __init__(self, path: Path, experiment: str = "unet-resnet34-000001") -> None:
        self.experiment = experiment
        self.connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS point (experiment TEXT, name TEXT, step INTEGER, value REAL, time REAL)"
        )

    def log(self, metrics: Metrics, step: int) -> None:
        """Record one call."""
        now = time.time()
        self.insert([(self.experiment, name, step, v, now) for name, v in metrics.items()])

    def insert(self, rows: Sequence[tuple[str, str, int, float, float]]) -> None:
        """Insert rows in one transaction."""
        self.connection.execute("BEGIN")
        self.connection.executemany("INSERT INTO point VALUES (?, ?, ?, ?, ?)", rows)
        self.connection.execute("COMMIT")


def random_metrics(step: int) -> Metrics:
    return {name: random.random() for name in NAMES}


def timed_calls(log: Callable[[Metrics, int], object], calls: Sequence[Metrics], first: int) -> list[float]:
    """Time each call by itself."""
    taken = []
    for step, metrics in enumerate(calls, first):
        start = time.perf_counter_ns()
        log(metrics, step)
        taken.append((time.perf_counter_ns() - start) / 1e9)
    return taken


def silent(ask: Callable[..., object], *given: object) -> Callable[[], None]:
    """Have a side return nothing, so that its time counts."""

    def asked() -> None:
        ask(*given)

    return asked


def python(script: str, *arguments: object, interpreter: str = sys.executable) -> str:
    """Run a script; the first run of each is not counted, so that .pyc files are there."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [interpreter, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()
