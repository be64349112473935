"""``experiment_tracker.json`` beside the experiment, ours and another tracker's."""

import json
import os
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from recorded import SIDECAR, names, posix, sidecar

from crackseg_tracker import ExperimentTracker

Maker = Callable[..., ExperimentTracker]


KEPT = "experiment_tracker.origin.json"


ORIGIN_FIELDS = {
    "experiment_id": str,
    "experiment_name": str,
    "timestamp": str,
    "status": str,
    "description": str,
    "tags": list,
    "config_hash": str,
    "config_summary": dict,
    "python_version": str,
    "pytorch_version": str,
    "platform": str,
    "cuda_available": bool,
    "cuda_version": str,
    "total_epochs": int,
    "current_epoch": int,
    "best_metrics": dict,
    "training_time_seconds": float,
    "artifact_ids": list,
    "checkpoint_paths": list,
    "metric_files": list,
    "visualization_files": list,
    "git_commit": str,
    "git_branch": str,
    "git_dirty": bool,
    "hostname": str,
    "username": str,
    "memory_gb": float,
    "gpu_info": dict,
    "created_at": str,
    "started_at": str,
    "completed_at": str,
    "updated_at": str,
}


def test_the_file_has_the_shape_of_the_origin(new_tracker: Maker) -> None:
    tracker = new_tracker(config={"training": {"epochs": 2}}, project="roads")
    assert not (tracker.experiment_dir / SIDECAR).exists()
    tracker.complete_experiment()
    data = sidecar(tracker)
    assert {name: type(data[name]) for name in ORIGIN_FIELDS} == ORIGIN_FIELDS
    assert {name: data[name] for name in tracker.get_metadata_dict()} == tracker.get_metadata_dict()
    assert (data["project"], data["error_message"]) == ("roads", "")
    for name in ("timestamp", "created_at", "completed_at", "updated_at"):
        assert datetime.fromisoformat(data[name]).tzinfo is not None
    assert names(tracker.experiment_dir) == [SIDECAR]


@posix
def test_what_is_made_is_private(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    tracker = new_tracker(experiment_dir=tmp_path / "outputs" / "deep" / "unet-1")
    tracker.complete_experiment()

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(catalog_path.parent) == 0o700
    assert mode(tracker.experiment_dir) == 0o700
    for path in (*catalog_path.parent.iterdir(), *tracker.experiment_dir.iterdir()):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path


@posix
def test_parents_that_are_made_are_private(new_tracker: Maker, tmp_path: Path) -> None:
    new_tracker(experiment_dir=tmp_path / "outputs" / "deep" / "unet-1").complete_experiment()
    assert stat.S_IMODE((tmp_path / "outputs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "outputs" / "deep").stat().st_mode) == 0o700


def test_a_file_that_cannot_be_written_is_no_error(
    new_tracker: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = new_tracker()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    tracker.complete_experiment()
    assert tracker.metadata.status == "completed"
    assert "No space left" in caplog.text
    assert names(tracker.experiment_dir) == []


def test_the_origins_file_is_imported_and_kept(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "unet-1"
    folder.mkdir(parents=True)
    text = json.dumps(
        {
            "experiment_id": "unet-1",
            "experiment_name": "unet",
            "status": "failed",
            "description": "A first try\nError: out of memory",
            "tags": ["old", "unet"],
            "current_epoch": 4,
            "total_epochs": 10,
            "best_metrics": {"iou": 0.5, "dice": "n/a"},
            "training_time_seconds": 60.5,
            "artifact_ids": ["best", "last"],
            "checkpoint_paths": ["checkpoints/best.pth", "checkpoints/last.pth"],
            "metric_files": [],
            "visualization_files": [],
            "created_at": "2024-12-01T12:00:00.123456",
            "started_at": "2024-12-01T12:00:01",
            "completed_at": "2024-12-01T13:00:00",
        }
    )
    (folder / SIDECAR).write_text(text)
    tracker = new_tracker()
    assert (folder / SIDECAR).read_text() == text
    known = tracker.metadata
    assert (known.status, known.description, known.error_message) == ("failed", "A first try", "out of memory")
    assert sorted(known.tags) == ["old", "unet"]
    assert (known.current_epoch, known.total_epochs, known.training_time_seconds) == (4, 10, 60.5)
    assert known.best_metrics == {"iou": 0.5}
    assert known.artifact_ids == ["best", "last"]
    assert known.checkpoint_paths == ["checkpoints/best.pth", "checkpoints/last.pth"]
    local = datetime(2024, 12, 1, 12, 0, 0, 123456).astimezone()
    assert datetime.fromisoformat(known.created_at) == local
    assert known.started_at < known.completed_at

    tracker.start_experiment()
    tracker.complete_experiment()
    assert sidecar(tracker)["status"] == "completed"
    assert sorted(names(folder)) == [SIDECAR, KEPT]
    assert (folder / KEPT).read_text() == text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b'{"tags": 5, "status": [], "best_metrics": "x"}', b"null"]
)
def test_a_damaged_file_is_kept(new_tracker: Maker, tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "experiments" / "unet-1"
    folder.mkdir(parents=True)
    (folder / SIDECAR).write_bytes(content)
    tracker = new_tracker()
    known = tracker.metadata
    assert (known.status, known.tags, known.best_metrics) == ("created", [], {})
    tracker.complete_experiment()
    assert (folder / KEPT).read_bytes() == content
    assert sidecar(tracker)["status"] == "completed"


def test_our_own_file_is_not_kept(new_tracker: Maker) -> None:
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.complete_experiment()
    assert names(tracker.experiment_dir) == [SIDECAR]
