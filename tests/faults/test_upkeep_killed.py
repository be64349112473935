"""A merge or a purge that is killed leaves a whole catalog, and the next one completes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crackseg_tracker import Catalog, ExperimentTracker

_KILLED = """
import os, signal, sys
from crackseg_tracker import Catalog
from crackseg_tracker.store import merging, purging, union_series

catalog, other, kill_at, where = sys.argv[1:]
merging.BATCH_EXPERIMENTS = 2
calls = 0

def dying(work):
    def call(*arguments):
        global calls
        calls += 1
        if calls == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*arguments)
    return call

if where == "inside":  # in the middle of a transaction, half of an experiment written
    union_series.points = dying(union_series.points)
    Catalog(catalog).merge(other)
elif where == "between":
    merging.pause_for_others = dying(merging.pause_for_others)
    Catalog(catalog).merge(other)
else:
    purging.pause_for_others = dying(purging.pause_for_others)
    Catalog(catalog).purge(files=True, dry_run=False)
"""
EXPERIMENTS = 5


def fill(path: Path, folder: Path) -> None:
    for number in range(EXPERIMENTS):
        with ExperimentTracker(folder / f"e{number}", f"e{number}", catalog=path) as tracker:
            for step in range(20):
                tracker.log_metrics({"loss": step / 7, "iou": step / 9}, step=step)
            (folder / f"e{number}" / "best.pt").write_bytes(b"weights")
            tracker.add_artifact("best", "checkpoint", folder / f"e{number}" / "best.pt", tags=["best"])


def die(catalog: Path, other: Path, kill_at: int, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(catalog), str(other), str(kill_at), where],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(
    ("kill_at", "where"), [(1, "inside"), (4, "inside"), (5, "inside"), (1, "between"), (2, "between")]
)
def test_a_merge_that_is_killed(tmp_path: Path, catalog_path: Path, kill_at: int, where: str) -> None:
    """Promise 1: what was merged is there, each experiment as a whole; merging again brings the rest."""
    other = tmp_path / "other" / "catalog.db"
    fill(other, tmp_path / "there")
    with ExperimentTracker(tmp_path / "here", "here", catalog=catalog_path) as tracker:
        tracker.log_metrics({"first": 1.0}, step=0)
    die(catalog_path, other, kill_at, where)
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []
        there = [row.experiment_id for row in catalog.experiments() if row.experiment_id != "here"]
        whole_batches = (kill_at - 1) // 2 * 2 if where == "inside" else kill_at * 2
        assert there == [f"e{number}" for number in range(whole_batches)]
        for experiment_id in there:
            assert len(catalog.history(["loss", "iou"], experiment_id)) == 40
        rows = catalog.merge(other)
        assert [row.outcome for row in rows] == ["unchanged"] * len(there) + ["added"] * (EXPERIMENTS - len(there))
        assert {row.outcome for row in catalog.merge(other)} == {"unchanged"}
        assert len(catalog.artifacts(tags="best")) == EXPERIMENTS
    assert not [path for path in catalog_path.parent.iterdir() if "merge" in path.name]


@pytest.mark.parametrize("kill_at", [1, 2, 5, 6])
def test_a_purge_that_is_killed(tmp_path: Path, catalog_path: Path, kill_at: int) -> None:
    """Promise 1: what has begun to go does not come back, and the next purge takes the rest, files too."""
    fill(catalog_path, tmp_path / "experiments")
    with Catalog(catalog_path) as catalog:
        catalog.delete([f"e{number}" for number in range(EXPERIMENTS)])
    die(catalog_path, catalog_path, kill_at, "purge")
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []
        begun = EXPERIMENTS - len(catalog.trash())
        assert begun == min(kill_at, EXPERIMENTS)
        catalog.purge(files=True, dry_run=False)
        assert catalog.trash().rows == ()
        assert catalog.purge().rows == ()
        assert catalog.sql("SELECT count(*) FROM metric_point").rows == ((0,),)
    assert list(tmp_path.glob("experiments/*/best.pt")) == []
