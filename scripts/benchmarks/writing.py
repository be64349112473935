"""What it costs to write: calls one by one and in bulk; what they take on the disk."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from statistics import fmean, median, quantiles
from unittest import mock

from benchmarks.harness import CALLS, Bench, Metrics, Raw, Row, random_metrics, timed_calls

BLOCK = 50  # calls of one side before the other has its turn
#: Name, how it is computed from the calls of one repetition, and the bound.
STATISTICS: list[tuple[str, Callable[[list[float]], float], float | None]] = [
    ("p50", median, 1.4),
    ("mean", fmean, 1.4),
    ("p95", lambda calls: quantiles(calls, n=100)[94], 1.5),
    ("p99", lambda calls: quantiles(calls, n=100)[98], None),
    ("longest", max, 2.0),
]


def improving_metrics(step: int) -> Metrics:
    return {"loss": 1 / (step + 1), "val/iou": 1 - 1 / (step + 2), "val/dice": 1 - 1 / (step + 3)}


def calls(bench: Bench) -> Iterator[Row]:
    """2,000 calls of three metrics, one after the other."""
    for kind, values in (("random", random_metrics), ("improving", improving_metrics)):
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(bench.size(11, 3)):
            tracker, raw = bench.new_tracker(), Raw(bench.new_path())
            taken: dict[str, list[float]] = {"raw": [], "ours": []}
            for number, first in enumerate(range(0, CALLS, BLOCK)):
                block = [values(step) for step in range(first, first + BLOCK)]
                turns = [("raw", raw.log), ("ours", tracker.log_metrics)]
                for side, log in turns if number % 2 else turns[::-1]:
                    taken[side] += timed_calls(log, block, first)
            tracker.complete_experiment()
            for name, statistic, _ in STATISTICS:
                for side, one in taken.items():
                    found.setdefault(name, {}).setdefault(side, []).append(statistic(one))
        for name, _, bound in STATISTICS:
            sides = {side: median(one) for side, one in found[name].items()}
            yield Row(f"2,000 calls x 3 {kind} metrics: {name}", **sides, unit="s", bound=bound)


def training(bench: Bench) -> Iterator[Row]:
    """The same with 5 ms of other work between the calls: it pushes us out of the processor's caches."""
    memory = bytearray(16_000_000)

    def work() -> None:
        end = time.perf_counter() + 0.005
        while time.perf_counter() < end:
            bytes(memory)

    tracker, raw = bench.new_tracker(), Raw(bench.new_path())
    taken: dict[str, list[float]] = {"raw": [], "ours": []}
    for step in range(bench.size(900, 200)):
        metrics = [random_metrics(step)]
        turns = [("raw", raw.log), ("ours", tracker.log_metrics)]
        for side, log in turns if step % 2 else turns[::-1]:
            work()
            taken[side] += timed_calls(log, metrics, step)
    tracker.complete_experiment()
    sides = {side: median(one) for side, one in taken.items()}
    yield Row("a call after 5 ms of other work: p50", **sides, unit="s", bound=1.5)


def buffered(bench: Bench) -> Iterator[Row]:
    """The same 2,000 calls with durability="buffered"."""
    block = [random_metrics(step) for step in range(CALLS)]

    def ours() -> float:
        tracker = bench.new_tracker(durability="buffered")
        taken = timed_calls(tracker.log_metrics, block, 0)
        tracker.complete_experiment()
        return median(taken)

    sides = bench.taking_turns(
        bench.size(11, 3),
        raw=lambda: median(timed_calls(Raw(bench.new_path()).log, block, 0)),
        ours=ours,
    )
    yield Row('durability="buffered": p50', **sides, unit="s", bound=2.5e-6, absolute=True)
    until = median(_until_committed(bench, bench.size(50, 5)))
    yield Row('durability="buffered": until it is committed', None, until, unit="s", bound=0.05, absolute=True)


def _until_committed(bench: Bench, calls: int) -> Iterator[float]:
    """Log now and then, and look from another connection when each call is there."""
    path = bench.new_path()
    tracker = bench.new_tracker(path, durability="buffered")
    with contextlib.closing(sqlite3.connect(path)) as other:
        for step in range(calls):
            start = time.perf_counter()
            tracker.log_metrics(random_metrics(step), step)
            while other.execute("SELECT max(step) FROM metrics").fetchone() != (step,):
                time.sleep(0.0005)
            yield time.perf_counter() - start
    tracker.complete_experiment()


def bulk(bench: Bench) -> Iterator[Row]:
    """100,000 points of one metric in one call; the lists are prepared beforehand on both sides."""
    steps, values = list(range(100_000)), [random.random() for _ in range(100_000)]
    rows = [
        ("unet-resnet34-000001", "loss", step, value, 1.8e9 + step) for step, value in zip(steps, values, strict=True)
    ]

    def ours() -> float:
        tracker = bench.new_tracker()
        start = time.perf_counter()
        tracker.log_history("loss", steps, values)
        taken = time.perf_counter() - start
        tracker.complete_experiment()
        return taken

    def raw() -> float:
        side = Raw(bench.new_path())
        start = time.perf_counter()
        side.insert(rows)
        return time.perf_counter() - start

    sides = bench.taking_turns(bench.size(9, 3), raw=raw, ours=ours)
    yield Row("100,000 points in bulk", **sides, unit="s", bound=1.0)


def disk(bench: Bench) -> Iterator[Row]:
    """Points that arrive step by step, ten seconds apart, of five metrics of four experiments."""
    names = ("train/loss", "train/lr", "val/loss", "val/iou", "val/dice")
    steps, experiments = bench.size(2000, 500), 4

    def used(connection: sqlite3.Connection) -> int:
        pages, free, size = (
            connection.execute(f"PRAGMA {fact}").fetchone()[0] for fact in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    catalog, path = bench.new_path(), bench.new_path()
    trackers = [bench.new_tracker(catalog) for _ in range(experiments)]
    raws = [Raw(path, tracker.experiment_id) for tracker in trackers]
    sides = {"raw": raws[0].connection, "ours": sqlite3.connect(catalog)}
    before = {side: used(connection) for side, connection in sides.items()}
    now = time.time()
    with mock.patch("time.time") as clock:
        for step in range(steps):
            clock.return_value = now + 10 * step
            for tracker, raw in zip(trackers, raws, strict=True):
                metrics = {name: random.random() for name in names}
                tracker.log_metrics(metrics, step)
                raw.log(metrics, step)
    for tracker in trackers:
        tracker.complete_experiment()
    points = steps * experiments * len(names)
    found = {side: (used(c) - before[side]) / points for side, c in sides.items()}
    yield Row("bytes per point on disk", **found, unit="B", bound=27, absolute=True)


def experiments(bench: Bench) -> Iterator[Row]:
    """A new experiment and its end, in a process that has had some: raw and ours in turns of ten, as in a sweep."""
    catalog = bench.new_path()
    raw = Raw(bench.new_path()).connection
    raw.execute("CREATE TABLE run (id INTEGER PRIMARY KEY, name TEXT, status TEXT, at REAL)")

    def raw_run() -> None:
        insert = "INSERT INTO run (name, status, at) VALUES (?, ?, ?)"
        run = raw.execute(insert, ("unet-resnet34", "running", time.time())).lastrowid
        raw.execute("UPDATE run SET status = 'completed', at = ? WHERE id = ?", (time.time(), run))

    def ours() -> None:
        bench.new_tracker(catalog).complete_experiment()

    def ten(one: Callable[[], None]) -> Callable[[], float]:
        def seconds_of_one() -> float:
            start = time.perf_counter()
            for _ in range(10):
                one()
            return (time.perf_counter() - start) / 10

        return seconds_of_one

    sides = bench.taking_turns(bench.size(30, 3), raw=ten(raw_run), ours=ten(ours))
    yield Row("new experiment + end", **sides, unit="s", bound=0.002, absolute=True)
