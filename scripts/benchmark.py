"""Measure crackseg_tracker against raw `sqlite3` doing the same work in the same run.

    python scripts/benchmark.py                      the whole table, on stdout as Markdown
    python scripts/benchmark.py --quick              fewer repetitions, smaller catalogs
    python scripts/benchmark.py --only calls bulk    some of it (the names are in --help)
    python scripts/benchmark.py --peer-python mlflow=/venvs/mlflow/bin/python

"Raw" is a table with a row per point, (experiment TEXT, name TEXT, step INTEGER, value REAL, time REAL), in WAL mode
with synchronous=NORMAL, one explicit transaction per call, and no summaries. Ours and raw take turns in blocks, so
that both see the same machine; every figure is the median over the repetitions. Set TMPDIR to choose the disk.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, NamedTuple
from unittest import mock

import benchmark_questions

from crackseg_tracker import Catalog, ExperimentTracker

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("loss", "val/iou", "val/dice")
CALLS = 2000
BLOCK = 50  # calls of one side before the other has its turn

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
            "CREATE TABLE IF NOT EXISTS point " "(experiment TEXT, name TEXT, step INTEGER, value REAL, time REAL)"
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


def improving_metrics(step: int) -> Metrics:
    return {"loss": 1 / (step + 1), "val/iou": 1 - 1 / (step + 2), "val/dice": 1 - 1 / (step + 3)}


def timed_calls(log: Callable[[Metrics, int], object], calls: Sequence[Metrics], first: int) -> list[float]:
    """Time each call by itself."""
    taken = []
    for step, metrics in enumerate(calls, first):
        start = time.perf_counter_ns()
        log(metrics, step)
        taken.append((time.perf_counter_ns() - start) / 1e9)
    return taken


# Writing


#: Name, how it is computed from the calls of one repetition, and the bound.
STATISTICS: list[tuple[str, Callable[[list[float]], float], float | None]] = [
    ("p50", median, 1.4),
    ("mean", fmean, 1.4),
    ("p95", lambda calls: quantiles(calls, n=100)[94], 1.5),
    ("p99", lambda calls: quantiles(calls, n=100)[98], None),
    ("longest", max, 2.0),
]


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


PROCESSES = 8
CALLS_OF_EACH = 500
_barrier: Any = None


def _meet_at(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _one_of_many(side: str, path: Path, number: int) -> tuple[float, float, float]:
    """Log from one of several processes: when it began and ended, and its longest call."""
    name = f"process-{number}-of-{PROCESSES}"
    if side == "ours":
        log = ExperimentTracker(path.parent / name, name, catalog=path).log_metrics
    else:
        log = Raw(path, name).log
    block = [random_metrics(step) for step in range(CALLS_OF_EACH)]
    _barrier.wait(60)
    start = time.perf_counter()
    taken = timed_calls(log, block, 0)
    return start, time.perf_counter(), max(taken)


def processes(bench: Bench) -> Iterator[Row]:
    """Eight processes, each with an experiment of its own, on one catalog."""
    wanted = PROCESSES * CALLS_OF_EACH * len(NAMES)
    walls: dict[str, list[float]] = {"raw": [], "ours": []}
    longest: dict[str, list[float]] = {"raw": [], "ours": []}
    lost = {"raw": 0, "ours": 0}
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES, _meet_at, (context.Barrier(PROCESSES),)) as pool:
        for repetition in range(bench.size(7, 2) + 1):
            for side in ("raw", "ours") if repetition % 2 else ("ours", "raw"):
                path = bench.new_path()
                _ = bench.new_tracker(path) if side == "ours" else Raw(path)  # makes the file
                tasks = [(side, path, number) for number in range(PROCESSES)]
                found = pool.starmap(_one_of_many, tasks, chunksize=1)
                if repetition:
                    starts, ends, most = zip(*found, strict=True)
                    walls[side].append(max(ends) - min(starts))
                    longest[side].append(max(most))
                    table = "metrics" if side == "ours" else "point"
                    with sqlite3.connect(path) as connection:
                        (there,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                    lost[side] += wanted - there
    work = f"{PROCESSES} processes x {CALLS_OF_EACH} calls"
    sides = {side: median(one) for side, one in walls.items()}
    yield Row(f"{work}: wall", **sides, unit="s", bound=1.3)
    sides = {side: median(one) for side, one in longest.items()}
    yield Row(f"{work}: longest", **sides, unit="s", bound=0.1, absolute=True)
    yield Row(f"{work}: lost", **lost, unit="", bound=0, absolute=True)


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
        return time.perf_counter() - start

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
    """A new experiment and its end, in a process that has had one."""
    catalog = bench.new_path()
    raw = Raw(bench.new_path()).connection
    raw.execute("CREATE TABLE run (id INTEGER PRIMARY KEY, name TEXT, status TEXT, at REAL)")

    def raw_run() -> None:
        insert = "INSERT INTO run (name, status, at) VALUES (?, ?, ?)"
        run = raw.execute(insert, ("unet-resnet34", "running", time.time())).lastrowid
        raw.execute("UPDATE run SET status = 'completed', at = ? WHERE id = ?", (time.time(), run))

    def ours() -> None:
        bench.new_tracker(catalog).complete_experiment()

    sides = bench.taking_turns(bench.size(100, 20), raw=raw_run, ours=ours)
    yield Row("new experiment + end", **sides, unit="s", bound=0.002, absolute=True)


# Reading


def filled_catalog(bench: Bench, size: int, *, check: bool) -> tuple[Path, sqlite3.Connection]:
    """Make a catalog of finished experiments, and the same facts in tables made by hand."""
    path, points = bench.new_path(), 5
    tracker = bench.new_tracker(path)
    tracker.add_tags(["baseline", "fold-1"])
    tracker.log_metrics(random_metrics(0), 0)
    tracker.complete_experiment()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        numbers = range(2, size + 1)

        def copy_first(table: str, key: str, **changed: str) -> None:
            info = connection.execute(f"PRAGMA table_info({table})").fetchall()
            columns = [f'"{c[1]}"' for c in info if c[1] != "id" or key == "id"]
            changed[key] = "?1"
            values = ", ".join(changed.get(c.strip('"'), c) for c in columns)
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} " f"WHERE {key} = 1",
                [(number,) for number in numbers],
            )

        unique = {c: f"{c} || '-' || ?1" for c in ("experiment_id", "uid", "directory")}
        copy_first("experiment", "id", **unique)
        copy_first("attempt", "experiment")
        mine = "(SELECT id FROM attempt WHERE experiment = ?1)"
        copy_first("status_change", "experiment", attempt=mine)
        copy_first("experiment_tag", "experiment")
        metrics = [n for (n,) in connection.execute("SELECT id FROM metric_name ORDER BY id")]
        series = [(e, m, [random.random() for _ in range(points)]) for e in numbers for m in metrics]
        connection.executemany(
            "INSERT INTO metric_summary (experiment, metric, count, non_finite_count, first_step, "
            "first_value, last_step, last_value, min_step, min_value, max_step, max_value, sealed) "
            "VALUES (?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, 1)",
            (
                (e, m, points, v[0], points - 1, v[-1], v.index(min(v)), min(v), v.index(max(v)), max(v))
                for e, m, v in series
            ),
        )
        connection.executemany(
            "INSERT INTO metric_point VALUES (?, ?, ?, ?, ?)",
            ((e, m, step, v, 1000 * step) for e, m, vs in series for step, v in enumerate(vs)),
        )
    connection.close()
    if check:
        with Catalog(path) as catalog:
            problems = catalog.check()
        if problems:
            raise SystemExit(f"the catalog that was filled for reading is not whole: {problems}")
    raw = Raw(bench.new_path()).connection
    raw.execute("ATTACH ? AS catalog", (str(path),))
    raw.execute(
        "CREATE TABLE run AS SELECT experiment_number, experiment_id, experiment_name, project, "
        '"group", status, description, current_epoch, total_epochs, training_time_seconds, '
        "error_message, created_at, started_at, completed_at, updated_at, experiment_dir, hostname, "
        "git_commit, config_sha256, uid FROM catalog.experiments"
    )
    raw.execute("CREATE TABLE tag AS SELECT experiment, tag FROM catalog.experiment_tag")
    raw.execute("CREATE TABLE param AS SELECT experiment, name, value FROM catalog.param")
    raw.execute("CREATE TABLE artifact AS SELECT experiment, artifact_id FROM catalog.artifact")
    raw.execute(
        "CREATE TABLE best AS SELECT metric, experiment_number, experiment_id, value, step " "FROM catalog.metric_bests"
    )
    raw.execute("CREATE INDEX best_by_value ON best (metric, value)")
    raw.execute("DETACH catalog")
    return path, raw


def reading(bench: Bench) -> Iterator[Row]:
    """The best ten, asked of `Catalog` and in SQL of the view; and a list of all experiments."""
    top = "experiment_id, value, step FROM {} WHERE metric = 'val/iou' ORDER BY value DESC LIMIT 10"
    for size in (5_000, bench.size(50_000, 10_000)):
        path, raw = filled_catalog(bench, size, check=size == 5_000)
        plain = sqlite3.connect(path)
        with Catalog(path) as catalog:
            found = bench.taking_turns(
                bench.size(301, 101),
                raw=lambda raw=raw: _fetch(raw, f"SELECT {top.format('best')}"),
                ours=lambda catalog=catalog: _drop(catalog.best("val/iou")),
                view=lambda plain=plain: _fetch(plain, f"SELECT {top.format('metric_bests')}"),
            )
            yield Row(f"best 10 of {size:,}", found["raw"], found["ours"], "s", 0.0003, True)
            yield Row(f"best 10 of {size:,}, by SQL", found["raw"], found["view"], "s", 0.0001, True)
            if size == 5_000:
                sides = bench.taking_turns(
                    bench.size(15, 5),
                    raw=lambda raw=raw: _fetch(
                        raw,
                        "SELECT * FROM run ORDER BY experiment_number",
                        "SELECT experiment, tag FROM tag",
                        "SELECT experiment_number, metric, value FROM best",
                        "SELECT experiment, name, value FROM param",
                        "SELECT experiment, count(*) FROM artifact GROUP BY experiment",
                    ),
                    ours=lambda catalog=catalog: _drop(catalog.experiments()),
                )
                yield Row("5,000 experiments into a list", **sides, unit="s", bound=1.5)


def curve(bench: Bench) -> Iterator[Row]:
    """One curve of 100,000 points; raw has it alone in its table and need not sort."""
    steps, values = range(100_000), [random.random() for _ in range(100_000)]
    path = bench.new_path()
    tracker, raw = bench.new_tracker(path), Raw(bench.new_path())
    tracker.log_history("loss", steps, values)
    raw.insert([(raw.experiment, "loss", s, v, 0.0) for s, v in zip(steps, values, strict=True)])
    query = f"SELECT experiment, name, step, value FROM point WHERE experiment = '{raw.experiment}'"
    with Catalog(path) as catalog:
        sides = bench.taking_turns(
            bench.size(21, 5),
            raw=lambda: _fetch(raw.connection, f"{query} AND name = 'loss'"),
            ours=lambda: _drop(catalog.history("loss", tracker.experiment_id)),
        )
    yield Row("one curve of 100,000 points", **sides, unit="s", bound=1.2)


def _fetch(connection: sqlite3.Connection, *queries: str) -> None:
    for query in queries:
        connection.execute(query).fetchall()


def _drop(answer: object) -> None:
    """Let a side return nothing, so that its time counts."""


# Whole processes

IMPORT = """
from time import perf_counter
start = perf_counter()
import {}
print(perf_counter() - start)
"""
LIFE = """
import sys
from random import random
path, name, calls = sys.argv[1:]
{}
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):  # ru_maxrss would count the process that started this one
        print(int(line.split()[1]) / 1024)
"""
OUR_LIFE = LIFE.format("""
from crackseg_tracker import ExperimentTracker
with ExperimentTracker(f"{path}-{name}", name, catalog=path) as tracker:
    for step in range(int(calls)):
        tracker.log_metrics({"loss": random(), "val/iou": random(), "val/dice": random()}, step)
""")
RAW_LIFE = LIFE.format("""
import sqlite3, time
connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = NORMAL")
connection.execute("CREATE TABLE IF NOT EXISTS point (experiment, name, step, value, time)")
for step in range(int(calls)):
    connection.execute("BEGIN")
    rows = [(name, m, step, random(), time.time()) for m in ("loss", "val/iou", "val/dice")]
    connection.executemany("INSERT INTO point VALUES (?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
""")


def python(script: str, *arguments: object, interpreter: str = sys.executable) -> str:
    """Run a script; the first run of each is not counted, so that .pyc files are there."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [interpreter, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def lives(bench: Bench) -> Iterator[Row]:
    """What a process costs from its start to its end, against `import sqlmodel` (in place of raw)."""
    catalog = bench.new_path()
    bench.new_tracker(catalog).complete_experiment()
    numbers = count()
    repetitions = bench.size(11, 3)
    sides = bench.taking_turns(
        repetitions,
        raw=lambda: _drop(python("import sqlmodel")),
        ours=lambda: _drop(python(OUR_LIFE, catalog, f"run-{next(numbers)}", 1)),
    )
    work = "a process: import, tracker, one call, end (raw: `import sqlmodel`)"
    yield Row(work, **sides, unit="s", bound=1.4)
    sides = bench.taking_turns(
        repetitions,
        raw=lambda: float(python(IMPORT.format("sqlite3"))),
        ours=lambda: float(python(IMPORT.format("crackseg_tracker"))),
    )
    yield Row("`import crackseg_tracker`", **sides, unit="s", bound=0.05, absolute=True)
    other = bench.new_path()
    sides = bench.taking_turns(
        bench.size(3, 1),
        raw=lambda: float(python(RAW_LIFE, other, "run", CALLS)),
        ours=lambda: float(python(OUR_LIFE, catalog, f"run-{next(numbers)}", CALLS)),
    )
    yield Row("peak memory of 2,000 calls", **sides, unit="MiB", bound=60, absolute=True)


BENCHMARKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    one.__name__: one
    for one in (
        *(calls, training, buffered, processes, bulk, disk, experiments),
        *(reading, curve, lives),
    )
}


def _in_rows(work: Callable[[Bench], Iterator[tuple[Any, ...]]]) -> Callable[[Bench], Iterator[Row]]:
    return lambda bench: (Row(*figures) for figures in work(bench))


BENCHMARKS |= {one.__name__: _in_rows(one) for one in benchmark_questions.benchmarks()}

# Peers: how each begins, and how it logs one call. The loop around them is the same for all.

PEER = """
import json, os, random, statistics, sys, time
folder = sys.argv[1]
os.chdir(folder)
{}
taken = []
for step in range(2000):
    metrics = {{name: random.random() for name in ("loss", "val/iou", "val/dice")}}
    start = time.perf_counter()
    {}
    taken.append(time.perf_counter() - start)
print("\\n" + json.dumps(statistics.median(taken)), flush=True)
os._exit(0)
"""
PEERS = {
    "mlflow": (
        "import mlflow\nmlflow.set_tracking_uri(f'sqlite:///{folder}/mlflow.db')\nmlflow.start_run()",
        "mlflow.log_metrics(metrics, step=step, synchronous=True)",
    ),
    "trackio": (
        "os.environ['TRACKIO_DIR'] = folder\nimport trackio\ntrackio.init(project='benchmark')",
        "trackio.log(metrics, step=step)",
    ),
    "tensorboardX": (
        "from tensorboardX import SummaryWriter\nwriter = SummaryWriter(folder)",
        "[writer.add_scalar(name, value, step) for name, value in metrics.items()]",
    ),
    "wandb": (
        "os.environ['WANDB_MODE'] = 'offline'\nimport wandb\nrun = wandb.init(dir=folder)",
        "run.log(metrics, step=step)",
    ),
    "aim": (
        "from aim import Run\nrun = Run(repo=folder, system_tracking_interval=None)",
        "[run.track(value, name=name, step=step) for name, value in metrics.items()]",
    ),
}


def peer(bench: Bench, name: str, interpreter: str) -> Row:
    """Let a peer do the 2,000 calls, in its own environment, with raw beside it."""
    script = PEER.format(*PEERS[name])
    block = [random_metrics(step) for step in range(CALLS)]

    def theirs() -> float:
        folder = bench.new_path().parent
        return json.loads(python(script, folder, interpreter=interpreter).splitlines()[-1])

    sides = bench.taking_turns(
        bench.size(3, 1),
        raw=lambda: median(timed_calls(Raw(bench.new_path()).log, block, 0)),
        theirs=theirs,
    )
    return Row(f"{name}: 2,000 calls x 3 metrics, p50", sides["raw"], sides["theirs"], "s", None)


# The report


def shown(value: float | None, unit: str) -> str:
    """Write a figure with three digits and its unit."""
    if value is None:
        return ""
    if unit == "s":
        factor, unit = next((f, u) for f, u in ((1e6, "us"), (1e3, "ms"), (1, "s")) if value * f < 1000 or f == 1)
        value *= factor
    digits = 0 if value >= 100 or not unit else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def markdown(rows: Sequence[Row]) -> str:
    """Write the table."""
    lines = ["| work | raw | ours | ratio | bound | met? |", "|---|--:|--:|--:|--:|---|"]
    for row in rows:
        bound = ""
        if row.bound is not None:
            bound = shown(row.bound, row.unit) if row.absolute else f"{row.bound:.1f}x"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        met = {None: "", True: "yes", False: "**no**"}[row.is_met]
        raw, ours = shown(row.raw, row.unit), shown(row.ours, row.unit)
        lines.append(f"| {row.work} | {raw} | {ours} | {ratio} | {bound} | {met} |")
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """Tell what the figures were taken on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "load_before": load,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "folder": tempfile.gettempdir(),
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller catalogs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table, not on stdout")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME", default=[],
                        help=f"of {', '.join(BENCHMARKS)}")  # fmt: skip
    parser.add_argument("--peer-python", nargs="+", metavar="NAME=PATH", default=[],
                        help=f"the interpreter that has a peer: {', '.join(PEERS)}")  # fmt: skip
    options = parser.parse_args(arguments)
    options.peers = dict(text.partition("=")[::2] for text in options.peer_python)
    for name, path in options.peers.items():
        if name not in PEERS or not path:
            parser.error(f"--peer-python {name}={path}: give NAME=PATH with one of {list(PEERS)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    facts, rows, named = machine(), [], {}
    works: dict[str, Callable[[Bench], Iterator[Row]]] = {
        name: work for name, work in BENCHMARKS.items() if name in (options.only or BENCHMARKS)
    }
    for name, path in options.peers.items():
        works[name] = lambda bench, name=name, path=path: iter([peer(bench, name, path)])
    begin = time.perf_counter()
    for name, work in works.items():
        start = time.perf_counter()
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            named[name] = list(work(Bench(Path(folder), quick=options.quick)))
        rows += named[name]
        print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
    missed = [row.work for row in rows if row.is_met is False]
    total = time.perf_counter() - begin
    print(f"{total:.0f} s in all; beyond the bound: {missed or 'none'}", file=sys.stderr)
    if options.json:
        figures = [
            {"name": name, **row._asdict(), "ratio": row.ratio, "is_met": row.is_met}
            for name, found in named.items()
            for row in found
        ]
        facts |= {"quick": options.quick, "seconds": total}
        options.json.write_text(json.dumps({"machine": facts, "rows": figures}, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    else:
        print(markdown(rows), end="")


if __name__ == "__main__":
    main()
