"""What whole processes cost: their time, the import, their memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from benchmarks.harness import CALLS, Bench, Row, python, silent

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


def lives(bench: Bench) -> Iterator[Row]:
    """What a process costs from its start to its end, against `import sqlmodel` (in place of raw)."""
    catalog = bench.new_path()
    bench.new_tracker(catalog).complete_experiment()
    numbers = count()
    repetitions = bench.size(11, 3)
    sides = bench.taking_turns(
        repetitions,
        raw=silent(python, "import sqlmodel"),
        ours=silent(lambda: python(OUR_LIFE, catalog, f"run-{next(numbers)}", 1)),
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
