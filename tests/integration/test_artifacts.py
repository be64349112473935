"""Files that an experiment produced, recorded and hashed."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import ask

from crackseg_tracker import ExperimentTracker

Maker = Callable[..., ExperimentTracker]


LARGE = 5 * 1024 * 1024  # beyond what is hashed at once


def large_file(folder: Path) -> Path:
    path = folder / "large.pth"
    path.write_bytes(b"\1" * LARGE)
    return path


def test_artifacts_say_what_they_were(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    tracker = new_tracker()
    inside = tracker.experiment_dir / "checkpoints" / "best.pth"
    inside.parent.mkdir()
    inside.write_bytes(b"weights")
    model = tmp_path / "saved_model"
    (model / "deep").mkdir(parents=True)
    (model / "a.bin").write_bytes(b"12345")
    (model / "deep" / "b.bin").write_bytes(b"678")
    tracker.add_artifact("file", "checkpoint", inside, "the best", ["best", "best", "kept"])
    tracker.add_artifact("folder", "model", str(model))
    tracker.add_artifact("gone", "metrics", "not/there.json")
    columns = "artifact_id, kind, size_bytes, file_count, digest_state, inside_path, path, absolute_path"
    file, folder, gone = ask(catalog_path, f"SELECT {columns} FROM artifacts ORDER BY artifact_number")
    assert file == ("file", "file", 7, None, "hashed", "checkpoints/best.pth", str(inside), str(inside))
    assert folder[:6] == ("folder", "folder", 8, 2, "hashed", None)
    assert gone[:7] == ("gone", "missing", None, None, "missing", None, "not/there.json")
    assert gone[7] == str(Path.cwd() / "not" / "there.json")
    digests = dict(ask(catalog_path, "SELECT artifact_id, sha256 FROM artifacts"))
    assert digests["file"] == hashlib.sha256(b"weights").hexdigest()
    assert len(digests["folder"]) == 64
    assert digests["gone"] == ""
    assert ask(catalog_path, "SELECT tag FROM artifact_tags ORDER BY tag") == [("best",), ("kept",)]
    known = tracker.metadata
    assert known.artifact_ids == ["file", "folder", "gone"]
    assert (known.checkpoint_paths, known.metric_files, known.visualization_files) == (
        [str(inside)],
        ["not/there.json"],
        [],
    )


@pytest.mark.parametrize("finish", ["save", "close", "complete_experiment"])
def test_a_large_file_is_hashed_later(new_tracker: Maker, catalog_path: Path, tmp_path: Path, finish: str) -> None:
    path = large_file(tmp_path)
    tracker = new_tracker()
    tracker.add_artifact("large", "checkpoint", path)
    row = "SELECT digest_state, size_bytes, sha256 FROM artifacts"
    assert ask(catalog_path, row) == [("pending", LARGE, "")]
    getattr(tracker, finish)()
    assert ask(catalog_path, row) == [("hashed", LARGE, hashlib.sha256(b"\1" * LARGE).hexdigest())]


def test_a_large_file_of_a_deferring_tracker_is_hashed(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    path = large_file(tmp_path)
    with new_tracker(auto_save=False) as tracker:
        tracker.add_artifact("large", "checkpoint", path)
    assert ask(catalog_path, "SELECT digest_state FROM artifacts") == [("hashed",)]


def test_a_large_file_that_changed_gets_no_wrong_digest(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    path = large_file(tmp_path)
    tracker = new_tracker()
    tracker.add_artifact("large", "checkpoint", path)
    path.write_bytes(b"\2" * (LARGE + 1))
    tracker.save()
    [(state, digest)] = ask(catalog_path, "SELECT digest_state, sha256 FROM artifacts")
    assert (state, digest) == ("pending", "")


def test_the_same_artifact_id_updates_its_row(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    tracker = new_tracker()
    first, second = tmp_path / "1.pth", tmp_path / "2.pth"
    first.write_bytes(b"1")
    second.write_bytes(b"22")
    tracker.add_artifact("best", "checkpoint", first, "one", ["old"])
    tracker.add_artifact("last", "checkpoint", "last.pth")
    [(created,)] = ask(catalog_path, "SELECT created_at FROM artifacts WHERE artifact_id = 'best'")
    tracker.add_artifact("best", "checkpoint", second, "two", ["new"])
    assert ask(catalog_path, "SELECT artifact_id, path, description, size_bytes FROM artifacts") == [
        ("best", str(second), "two", 2),
        ("last", "last.pth", "", None),
    ]
    assert ask(catalog_path, "SELECT tag FROM artifact_tags") == [("new",)]
    [(kept, updated)] = ask(catalog_path, "SELECT created_at, updated_at FROM artifacts WHERE artifact_id = 'best'")
    assert created == kept < updated
    assert tracker.get_artifacts_by_type("checkpoint") == [str(second), "last.pth"]


def test_two_experiments_may_use_one_artifact_id(new_tracker: Maker, catalog_path: Path) -> None:
    for name in ("a", "b"):
        new_tracker(name).add_artifact("best", "checkpoint", f"{name}.pth")
    assert new_tracker("a").get_artifacts_by_type("checkpoint") == ["a.pth"]
    assert ask(catalog_path, "SELECT count(*) FROM artifacts") == [(2,)]
