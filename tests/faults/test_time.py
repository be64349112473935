"""Clocks that jump, clocks that are wrong, and two who claim to be the same experiment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crackseg_tracker import Catalog, ExperimentTracker

NewTracker = Callable[..., ExperimentTracker]
Eventually = Callable[[Callable[[], bool]], None]

# A process whose clock can be set, before anything asks it for the time.
_CLOCK = """
import datetime, sys, time
ahead = 0.0
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + ahead
time.time_ns = lambda: real_ns() + int(ahead * 1e9)
class Clock(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return cls.fromtimestamp(time.time(), zone)
datetime.datetime = Clock
from crackseg_tracker import Catalog, ExperimentTracker
folder, catalog = sys.argv[1:3]
"""


def run(script: str, folder: Path, catalog: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _CLOCK + script, str(folder), str(catalog)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("step", [-3600.0, -86400.0 * 365, 3600.0, 86400.0 * 3650])
def test_the_clock_is_set_while_a_training_runs(tmp_path: Path, catalog_path: Path, step: float) -> None:
    """Promise 1: order and ends do not depend on the clock: daylight saving, NTP, a battery that died."""
    run(
        f"""
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog)
tracker.start_experiment()
tracker.log_metrics({{"x": 1.0}})
ahead = {step}
for value in (2.0, 3.0):
    tracker.log_metrics({{"x": value}})
tracker.update_training_progress(1, 2, {{"iou": 0.5}})
tracker.update_training_progress(2, 2, {{"iou": 0.4}})
tracker.complete_experiment()
""",
        tmp_path / "unet-1",
        catalog_path,
    )
    with Catalog(catalog_path) as catalog:
        row = catalog.experiment("unet-1")
        assert (row.status, row.best_metrics) == ("completed", {"iou": 0.4, "x": 3.0})
        assert list(catalog.sql("SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY step")) == [
            (0, 1.0),
            (1, 2.0),
            (2, 3.0),
        ]
        assert [s for (s,) in catalog.sql("SELECT status FROM status_changes ORDER BY rowid")][-1] == "completed"


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_the_clock_is_set_while_the_end_is_journaled(tmp_path: Path, catalog_path: Path, step: float) -> None:
    """Promise 3: an end that is replayed comes after its own start, whatever the clock said at either."""
    run(
        f"""
import sqlite3
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog)
tracker.start_experiment()
holder = sqlite3.connect(catalog, isolation_level=None)
holder.execute("BEGIN IMMEDIATE")
ahead = {step}
tracker.log_metrics({{"x": 1.0}})
tracker.complete_experiment()
assert tracker.metadata.status == "completed"
assert tracker.metadata.journaled
holder.execute("ROLLBACK")
tracker.close()
while tracker.metadata.journaled:
    time.sleep(0.01)
holder.close()
""",
        tmp_path / "unet-1",
        catalog_path,
    )
    with Catalog(catalog_path) as catalog:
        assert catalog.experiment("unet-1").status == "completed"


@pytest.mark.parametrize("year", [1970, 9000])
def test_a_clock_that_is_wrong_by_decades(tmp_path: Path, catalog_path: Path, year: int) -> None:
    """Promise 1: a machine without a clock trains as any other; others list it, and go on beside it."""
    start = datetime(year, 1, 2, tzinfo=UTC).timestamp()
    run(
        f"""
ahead = {start} - real()
with ExperimentTracker(folder, "lost-in-time", catalog=catalog) as tracker:
    for step in range(10):
        tracker.log_metrics({{"x": float(step)}})
""",
        tmp_path / "lost-in-time",
        catalog_path,
    )
    with ExperimentTracker(tmp_path / "now", "now", catalog=catalog_path) as tracker:
        tracker.log_metrics({"x": 1.0})
    with Catalog(catalog_path) as catalog:
        rows = {row.experiment_id: row for row in catalog.experiments()}
        assert rows["lost-in-time"].created_at.startswith(f"{year}-01-02")
        assert catalog.best("x").rows[0].experiment_id == "lost-in-time"


def test_two_processes_claim_one_id_for_two_folders(tmp_path: Path, catalog_path: Path) -> None:
    """Promise 9: of those that create the same id at once one has it, the other is told whose it is."""
    script = """
from crackseg_tracker.errors import ExperimentExistsError
sys.stdin.read()
try:
    with ExperimentTracker(folder, "unet-1", catalog=catalog) as tracker:
        tracker.log_metrics({"x": 1.0})
    print("mine")
except ExperimentExistsError as error:
    print(error)
"""
    folders = [tmp_path / f"folder-{number}" for number in range(4)]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CLOCK + script, str(folder), str(catalog_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]
    said = [child.communicate(timeout=60)[0].strip() for child in children]
    assert said.count("mine") == 1
    winner = folders[said.index("mine")]
    assert all(str(winner) in text for text in said if text != "mine")
    with Catalog(catalog_path) as catalog:
        [row] = catalog.experiments()
        assert row.experiment_dir == str(winner)
        assert list(catalog.sql("SELECT count(*) FROM metrics")) == [(1,)]
