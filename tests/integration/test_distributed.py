"""Distributed trainings: rank 0 records, the others do as if."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask

from crackseg_tracker import Catalog, ExperimentTracker, tracker
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, MetricError

NewTracker = Callable[..., ExperimentTracker]


@pytest.fixture(autouse=True)
def _says_it_anew() -> None:
    tracker._say_once.cache_clear()


def use(one: ExperimentTracker, artifact: Path) -> dict[str, Any]:
    """Call everything; give what it says in the end."""
    artifact.write_bytes(b"weights")
    with one:
        one.log_metrics({"loss": 0.5, "val/iou": 0.25})
        one.log_metric("val/iou", 0.75)
        one.log_metrics({"loss": [0.4, 0.3]})
        one.log_history("lr", [0, 1], [0.1, 0.01])
        one.log_samples({"image": {"iou": 0.5}})
        one.define_metric("val/iou", "max")
        one.rewind(50)
        one.update_training_progress(1, 2, {"dice": 0.9}, 1.5)
        one.add_artifact("best", "checkpoint", artifact, tags=["best"])
        one.add_tags(["a", "b"])
        one.remove_tags(["a"])
        one.log_params({"x": 1})
        one.update_description("one")
        one.save()
    one.get_artifacts_by_type("checkpoint")
    one.get_experiment_summary()
    known = one.get_metadata_dict()
    for name in ("uid", "timestamp", "created_at", "started_at", "completed_at", "updated_at", "experiment_dir"):
        known.pop(name)
    return known


@pytest.mark.parametrize("durability", ["normal", "full", "buffered"])
def test_another_rank_answers_as_rank_0_and_records_nothing(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, caplog: pytest.LogCaptureFixture, durability: str
) -> None:
    config = {"a": 1, "training": {"epochs": 2}}
    silent = new_tracker("same", config=config, rank=3, durability=durability)
    assert "rank 3" in repr(silent)
    said = use(silent, tmp_path / "best.pt")
    assert not catalog_path.parent.exists()
    assert not (tmp_path / "experiments").exists()
    assert [r.getMessage() for r in caplog.records] == [
        "rank 3 records nothing, rank 0 does (all_ranks=True records each)"
    ]
    assert said == use(new_tracker("same", config=config, rank=0, durability=durability), tmp_path / "best.pt")


def test_two_trackers_of_a_silent_rank_see_one_experiment(new_tracker: NewTracker) -> None:
    new_tracker("shared", rank=1).add_tags(["one"])
    assert new_tracker("shared", rank=1).metadata.tags == ["one"]


def test_misuse_raises_in_every_rank(new_tracker: NewTracker) -> None:
    silent = new_tracker(rank=1)
    with pytest.raises(MetricError):
        silent.log_metrics({"x": "high"})
    with pytest.raises(InvalidTypeError):
        silent.add_tags("one")
    with pytest.raises(InvalidValueError):
        silent.add_artifact("", "checkpoint", "x")
    for rank in (-1, 1.5, "1"):
        with pytest.raises((InvalidTypeError, InvalidValueError), match="rank"):
            new_tracker(rank=rank)


def test_the_variables_of_a_launcher_are_seen(
    monkeypatch: pytest.MonkeyPatch, new_tracker: NewTracker, catalog_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    new_tracker("silent").add_tags(["x"])
    assert not catalog_path.exists()
    new_tracker("overruled", rank=0)
    monkeypatch.setenv("RANK", "0")
    new_tracker("first")
    assert ask(catalog_path, "SELECT experiment_id FROM experiments ORDER BY 1 DESC") == [("overruled",), ("first",)]
    assert ask(catalog_path, "SELECT rank FROM attempt") == [(0,), (0,)]


def test_all_ranks_are_attempts_of_one_experiment(new_tracker: NewTracker, catalog_path: Path) -> None:
    first = new_tracker("shared", rank=0, all_ranks=True)
    others = [new_tracker("shared", rank=rank, all_ranks=True) for rank in (1, 2)]
    with first:
        for one in others:
            with one:
                one.log_metrics({f"rank {one._rank}": 1.0})
            assert first.metadata.status == "running", "the status is rank 0's"
        third = new_tracker("shared", rank=3, all_ranks=True)
        with pytest.raises(ValueError, match="a crash"), third:
            raise ValueError("a crash")
        first.log_metrics({"rank 0": 1.0})
    late = new_tracker("shared", rank=4, all_ranks=True)
    with late:
        late.log_metrics({"rank 4": 1.0})
    assert ask(catalog_path, "SELECT status FROM experiments") == [("completed",)]
    attempts = ask(catalog_path, "SELECT rank, end_reason FROM attempt ORDER BY rank")
    assert [rank for rank, _ in attempts] == [0, 1, 2, 3, 4]
    assert [reason for rank, reason in attempts if rank != 3] == ["completed"] * 4
    assert "ValueError: a crash" in attempts[3][1]
    with Catalog(catalog_path) as catalog:
        assert set(catalog.experiment("shared").best_metrics) == {"rank 0", "rank 1", "rank 2", "rank 4"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_of_a_silent_rank_is_silent(new_tracker: NewTracker, catalog_path: Path) -> None:
    silent = new_tracker(rank=1)
    silent.add_tags(["parent"])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            silent.log_metrics({"x": 1.0})
            silent.add_tags(["child"])
            code = 0 if set(silent.metadata.tags) == {"parent", "child"} else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert silent.metadata.tags == ["parent"]
    assert not catalog_path.exists()


@pytest.mark.parametrize("end", ["", "raise ValueError('x')", "os.kill(os.getpid(), 15)"])
def test_the_exit_of_a_silent_rank_leaves_nothing(tmp_path: Path, catalog_path: Path, end: str) -> None:
    script = """
import os, sys
from crackseg_tracker import ExperimentTracker
tracker = ExperimentTracker(sys.argv[1], "x", catalog=sys.argv[2])
tracker.start_experiment()
tracker.log_metrics({"x": 1.0})
"""
    subprocess.run(
        [sys.executable, "-c", script + end, str(tmp_path / "experiment"), str(catalog_path)],
        env={**os.environ, "WORLD_SIZE": "2", "RANK": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert not (tmp_path / "experiment").exists()
    assert not catalog_path.parent.exists()
