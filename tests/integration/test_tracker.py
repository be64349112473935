import hashlib
import json
import logging
import math
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from omegaconf import OmegaConf

from crackseg_tracker import Catalog, ExperimentExistsError, ExperimentTracker
from crackseg_tracker.store import opening

Maker = Callable[..., ExperimentTracker]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


SIDECAR = "experiment_tracker.json"
KEPT = "experiment_tracker.origin.json"
LARGE = 5 * 1024 * 1024  # beyond what is hashed at once

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and forks are POSIX")


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    names = [name for (name,) in ask(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: ask(path, f"SELECT * FROM {name}") for name in names}


def statuses(path: Path) -> list[str]:
    return [status for (status,) in ask(path, "SELECT status FROM status_change ORDER BY id")]


def sidecar(tracker: ExperimentTracker) -> dict[str, Any]:
    return json.loads((tracker.experiment_dir / SIDECAR).read_text(encoding="utf-8"))


def large_file(folder: Path) -> Path:
    path = folder / "large.pth"
    path.write_bytes(b"\1" * LARGE)
    return path


# The context manager


def test_a_block_that_ends_is_completed(
    new_tracker: Maker, catalog_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with new_tracker() as tracker:
        assert tracker.metadata.status == "running"
        eventually((tracker.experiment_dir / SIDECAR).exists)
        assert sidecar(tracker)["status"] == "running"
    assert tracker.metadata.status == "completed"
    assert tracker.metadata.error_message == ""
    assert statuses(catalog_path) == ["created", "running", "completed"]
    assert sidecar(tracker)["status"] == "completed"


def test_a_block_that_raises_is_failed_with_its_traceback(new_tracker: Maker, catalog_path: Path) -> None:
    def explode() -> None:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="CUDA out of memory"), new_tracker() as tracker:
        explode()
    known = new_tracker().metadata
    assert known.status == "failed"
    assert "Traceback" in known.error_message
    assert "in explode" in known.error_message
    assert "RuntimeError: CUDA out of memory" in known.error_message
    assert statuses(catalog_path) == ["created", "running", "failed"]
    assert sidecar(tracker)["error_message"] == known.error_message


def test_ctrl_c_aborts(new_tracker: Maker, catalog_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_tracker() as tracker:
        raise KeyboardInterrupt
    assert tracker.metadata.status == "aborted"
    assert statuses(catalog_path) == ["created", "running", "aborted"]


@pytest.mark.parametrize(("code", "status"), [(None, "completed"), (0, "completed"), (3, "aborted")])
def test_exit_ends_a_block(new_tracker: Maker, code: int | None, status: str) -> None:
    with pytest.raises(SystemExit), new_tracker() as tracker:
        raise SystemExit(code)
    assert tracker.metadata.status == status


def test_an_end_inside_the_block_stands(new_tracker: Maker, catalog_path: Path) -> None:
    with new_tracker() as tracker:
        tracker.abort_experiment("enough")
    assert tracker.metadata.status == "aborted"
    assert tracker.metadata.error_message == "enough"
    assert statuses(catalog_path) == ["created", "running", "aborted"]


def test_an_end_inside_a_block_that_raises_stands(new_tracker: Maker, catalog_path: Path) -> None:
    with pytest.raises(ValueError, match="late"), new_tracker() as tracker:  # noqa: PT012
        tracker.complete_experiment()
        raise ValueError("late")
    assert tracker.metadata.status == "completed"
    assert statuses(catalog_path) == ["created", "running", "completed"]


def test_an_exception_that_cannot_be_shown_is_recorded(new_tracker: Maker) -> None:
    class SpitefulError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(SpitefulError), new_tracker() as tracker:
        raise SpitefulError
    assert tracker.metadata.status == "failed"
    assert "SpitefulError" in tracker.metadata.error_message


# auto_save=False


def test_deferred_changes_are_for_own_eyes_until_saved(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "best.pth"
    file.write_bytes(b"weights")
    tracker = new_tracker(auto_save=False)
    before = dump(catalog_path)
    tracker.update_description("new")
    tracker.add_tags(["a", "b"])
    tracker.remove_tags(["a"])
    tracker.update_training_progress(2, 10, {"iou": 0.5}, 12.5)
    tracker.log_params({"seed": 7})
    tracker.add_artifact("best", "checkpoint", file, tags=["best"])

    known = tracker.metadata
    assert (known.description, known.tags, known.current_epoch, known.total_epochs) == ("new", ["b"], 2, 10)
    assert known.best_metrics == {"iou": 0.5}
    assert known.training_time_seconds == 12.5
    assert known.checkpoint_paths == [str(file)]
    assert tracker.get_artifacts_by_type("checkpoint") == [str(file)]
    assert tracker.get_experiment_summary()["artifact_count"] == 1
    assert dump(catalog_path) == before
    with Catalog(catalog_path) as catalog:
        row = catalog.experiment("unet-1")
        assert (row.description, row.tags, row.current_epoch, dict(row.best_metrics)) == ("", (), 0, {})
        assert len(catalog.artifacts()) == 0
        assert catalog.params("unet-1") == {}
        with closing(sqlite3.connect(catalog_path)) as observer:
            version = observer.execute("PRAGMA data_version").fetchone()
            tracker.save()
            assert observer.execute("PRAGMA data_version").fetchone() != version
        row = catalog.experiment("unet-1")
        assert (row.description, row.tags, row.current_epoch, dict(row.best_metrics)) == (
            "new",
            ("b",),
            2,
            {"iou": 0.5},
        )
        assert [one.artifact_id for one in catalog.artifacts()] == ["best"]
        assert catalog.params("unet-1") == {"seed": 7}
    saved = dump(catalog_path)
    tracker.save()
    assert dump(catalog_path) == saved


@pytest.mark.parametrize("how", ["close", "with"])
def test_deferred_changes_are_saved_at_the_end(new_tracker: Maker, catalog_path: Path, how: str) -> None:
    if how == "close":
        tracker = new_tracker(auto_save=False)
        tracker.add_tags(["kept"])
        tracker.close()
    else:
        with new_tracker(auto_save=False) as tracker:
            tracker.add_tags(["kept"])
    assert ask(catalog_path, "SELECT tag FROM experiment_tags") == [("kept",)]
    assert sidecar(tracker)["tags"] == ["kept"]


def test_status_and_metrics_are_not_deferred(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker(auto_save=False)
    assert ask(catalog_path, "SELECT experiment_id, status FROM experiments") == [("unet-1", "created")]
    tracker.start_experiment()
    tracker.add_tags(["pending"])
    tracker.log_metrics({"loss": 0.5}, step=0)
    assert statuses(catalog_path) == ["created", "running"]
    assert ask(catalog_path, "SELECT metric, step, value FROM metrics") == [("loss", 0, 0.5)]
    tracker.complete_experiment()
    assert statuses(catalog_path) == ["created", "running", "completed"]
    assert ask(catalog_path, "SELECT * FROM experiment_tags") == []
    tracker.close()
    assert ask(catalog_path, "SELECT tag FROM experiment_tags") == [("pending",)]


def test_deferred_changes_are_one_transaction(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    tracker = new_tracker(auto_save=False, strict=True)
    tracker.add_tags(["x"])
    tracker.update_description("y")
    tracker.add_artifact("a", "checkpoint", tmp_path / "none")
    with closing(sqlite3.connect(catalog_path, isolation_level=None)) as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON artifact BEGIN SELECT raise(ABORT, 'refused'); END")
        before = dump(catalog_path)
        with pytest.raises(Exception, match="refused"):
            tracker.save()
        assert dump(catalog_path) == before
        other.execute("DROP TRIGGER refuse")
    tracker.save()
    assert ask(catalog_path, "SELECT description FROM experiments") == [("y",)]
    assert ask(catalog_path, "SELECT artifact_id FROM artifacts") == [("a",)]


# Opening again


def test_opening_again_writes_nothing(new_tracker: Maker, catalog_path: Path) -> None:
    first = new_tracker(config={"lr": 0.1})
    first.start_experiment()
    first.close()
    before, text = dump(catalog_path), (first.experiment_dir / SIDECAR).read_bytes()
    with closing(sqlite3.connect(catalog_path)) as observer:
        version = observer.execute("PRAGMA data_version").fetchone()
        again = new_tracker(config={"lr": 0.2})
        assert again.metadata.status == "running"
        assert again.get_artifacts_by_type("checkpoint") == []
        again.get_metadata_dict()
        again.save()
        again.close()
        assert observer.execute("PRAGMA data_version").fetchone() == version
    assert dump(catalog_path) == before
    assert (first.experiment_dir / SIDECAR).read_bytes() == text


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.add_tags(["x"]),
        lambda t: t.update_description("x"),
        lambda t: t.log_metrics({"loss": 0.5}),
        lambda t: t.log_metric("loss", 0.5),
        lambda t: t.log_history("loss", [0, 1], [0.5, 0.4]),
        lambda t: t.log_samples({"image": {"iou": 0.5}}),
        lambda t: t.update_training_progress(1, 2),
        lambda t: t.add_artifact("a", "checkpoint", "a.pth"),
        lambda t: t.log_params({"seed": 1}),
        lambda t: t.start_experiment(),
        lambda t: t.complete_experiment(),
        lambda t: t.rewind(3),
    ],
)
def test_the_first_write_begins_another_attempt(
    new_tracker: Maker, catalog_path: Path, write: Callable[[ExperimentTracker], None]
) -> None:
    new_tracker().close()
    again = new_tracker()
    assert ask(catalog_path, "SELECT count(*) FROM attempts") == [(1,)]
    write(again)
    write(again)
    assert ask(catalog_path, "SELECT attempt, config_changes FROM attempts") == [(1, "{}"), (2, "{}")]


def test_a_changed_config_is_a_revision(new_tracker: Maker, catalog_path: Path) -> None:
    first = new_tracker(config={"lr": 0.1, "epochs": 3, "old": "x"})
    first.add_tags(["kept"])
    again = new_tracker(config={"lr": 0.2, "epochs": 3, "new": True})
    assert again.metadata.config_hash == first.metadata.config_hash
    again.add_tags(["more"])
    assert again.metadata.tags == ["kept", "more"]
    [(_, nothing), (_, text)] = ask(catalog_path, "SELECT attempt, config_changes FROM attempts ORDER BY attempt")
    assert json.loads(nothing) == {}
    changes = json.loads(text)
    assert set(changes) == {"lr", "old", "new"}
    assert changes["lr"] == ["0.1", "0.2"]
    assert changes["old"][1] is None
    assert changes["new"][0] is None
    hashes = ask(catalog_path, "SELECT config_sha256 FROM attempts ORDER BY attempt")
    assert hashes[0] != hashes[1]
    assert ask(catalog_path, "SELECT name, value FROM params ORDER BY name") == [("epochs", 3), ("lr", 0.2), ("new", 1)]


def test_the_same_config_is_stored_once(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a", config={"x": 1, "y": 2})
    new_tracker("b", config={"y": 2, "x": 1})
    assert ask(catalog_path, "SELECT count(DISTINCT config_sha256) FROM experiments") == [(1,)]
    assert ask(catalog_path, "SELECT count(*) FROM config") == [(1,)]


def test_no_config_is_no_revision(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker(config={"lr": 0.1})
    new_tracker().add_tags(["x"])
    assert ask(catalog_path, "SELECT name FROM params") == [("lr",)]
    assert ask(catalog_path, "SELECT config_changes FROM attempts") == [("{}",), ("{}",)]


def test_another_folder_is_refused(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    first = new_tracker()
    before = dump(catalog_path)
    with pytest.raises(ExperimentExistsError) as caught:
        new_tracker(experiment_dir=tmp_path / "elsewhere")
    assert "'unet-1'" in str(caught.value)
    assert str(first.experiment_dir) in str(caught.value)
    assert "another id" in str(caught.value)
    assert dump(catalog_path) == before
    assert not (tmp_path / "elsewhere").exists()


def test_the_same_folder_by_another_name_is_the_same(new_tracker: Maker, tmp_path: Path) -> None:
    first = new_tracker()
    link = tmp_path / "link"
    link.symlink_to(first.experiment_dir, target_is_directory=True)
    assert new_tracker(experiment_dir=link).metadata.uid == first.metadata.uid


def test_a_start_after_an_end_resumes(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.start_experiment()
    started = tracker.metadata.started_at
    tracker.log_metrics({"loss": 0.5}, step=0)
    tracker.complete_experiment()
    assert tracker.metadata.completed_at
    tracker.start_experiment()
    assert tracker.metadata.status == "running"
    assert tracker.metadata.completed_at == ""
    assert tracker.metadata.started_at == started
    tracker.log_metrics({"loss": 0.4}, step=1)
    tracker.start_experiment()  # is running already
    tracker.complete_experiment()
    assert statuses(catalog_path) == ["created", "running", "completed", "running", "completed"]
    assert ask(catalog_path, "SELECT attempt FROM attempts ORDER BY 1") == [(1,), (2,)]
    assert ask(catalog_path, "SELECT step, value FROM metrics ORDER BY step") == [(0, 0.5), (1, 0.4)]


def test_a_later_end_of_another_kind_stands_and_warns(
    new_tracker: Maker, catalog_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = new_tracker()
    tracker.start_experiment()
    tracker.complete_experiment()
    assert caplog.records == []
    tracker.fail_experiment("after all")
    assert tracker.metadata.status == "failed"
    assert tracker.metadata.error_message == "after all"
    assert statuses(catalog_path) == ["created", "running", "completed", "failed"]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for word in ("unet-1", "completed", "failed"):
        assert word in record.getMessage()
    tracker.complete_experiment()
    assert tracker.metadata.status == "completed"
    assert tracker.metadata.error_message == ""


def test_the_same_end_again_is_no_change(
    new_tracker: Maker, catalog_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = new_tracker()
    tracker.complete_experiment()
    tracker.complete_experiment()
    assert statuses(catalog_path) == ["created", "completed"]
    assert caplog.records == []


@pytest.mark.parametrize("message", [ValueError("x\ud800"), None, 5, "", "a\0b"])
def test_failing_never_raises(new_tracker: Maker, message: Any) -> None:
    tracker = new_tracker()
    tracker.fail_experiment(message)
    assert tracker.metadata.status == "failed"


# Config and secrets


def test_no_secret_reaches_the_disk(
    new_tracker: Maker, catalog_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--api_key=GEHEIM-argv-1"])
    config = {
        "db": {"password": "GEHEIM-config-2", "user": "anna"},
        "wandb": {"api_key": "GEHEIM-config-3"},
        "url": "https://anna:GEHEIM-url-4@example.org/x",
        "badge": "GEHEIM-custom-5",
        "max_tokens": 512,
    }
    tracker = new_tracker(config=config, redact=["badge"])
    tracker.log_params({"hf": {"token": "GEHEIM-param-6"}})
    with pytest.raises(RuntimeError), tracker:
        raise RuntimeError("login failed: password=GEHEIM-error-7, GEHEIM-config-2")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == SIDECAR for path in files)
    for path in files:
        assert b"GEHEIM" not in path.read_bytes(), path
    with Catalog(catalog_path) as catalog:
        params = catalog.params("unet-1")
    assert (params["db.user"], params["max_tokens"]) == ("anna", 512)
    assert params["db.password"] == params["hf.token"] == "[redacted]"
    assert "login failed" in tracker.metadata.error_message


def test_what_a_config_lacks_is_listed(new_tracker: Maker, catalog_path: Path) -> None:
    config = OmegaConf.create({"a": "???", "b": "${nowhere}", "c": {"d": "${c.e}", "e": 3}, "training": {"epochs": 9}})
    tracker = new_tracker(config=config)
    assert sorted(tracker.metadata.config_missing) == ["a", "b"]
    assert tracker.metadata.config_summary == {"epochs": 9}
    assert tracker.metadata.total_epochs == 9
    assert ("c.d", 3, "int") in ask(catalog_path, "SELECT name, value, type FROM params")


def test_params_keep_their_types(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker(config={"lr": 0.001, "huge": 2**70, "flag": True, "none": None, "a.b": "x", "xs": [1, "y"]})
    tracker.log_params({"lr": 0.01, "nested": {"seed": 3}})
    found = {
        name: (value, source) for name, value, source in ask(catalog_path, "SELECT name, value, source FROM params")
    }
    assert found["lr"] == (0.01, "logged")
    assert found["huge"] == (str(2**70), "config")
    assert found["flag"] == (1, "config")
    assert found["none"] == (None, "config")
    assert found["nested.seed"] == (3, "logged")
    assert found[r"a\.b"] == ("x", "config")
    assert ask(catalog_path, "SELECT experiment_id FROM params WHERE name = 'lr' AND value < 0.1") == [("unet-1",)]


# Artifacts


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


# The file beside the experiment

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


# Where things are


@pytest.mark.parametrize(
    ("argument", "variable", "config", "project"),
    [
        ("arg", "env", {"project_name": "cfg"}, "arg"),
        (None, "env", {"project_name": "cfg"}, "env"),
        (None, None, {"project_name": "cfg"}, "cfg"),
        (None, None, {"x": 1}, "default"),
        (None, None, None, "default"),
    ],
)
def test_the_project(
    new_tracker: Maker,
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    variable: str | None,
    config: dict[str, Any] | None,
    project: str,
) -> None:
    if variable:
        monkeypatch.setenv("CRACKSEG_TRACKER_PROJECT", variable)
    tracker = new_tracker(project=argument, config=config, group="sweep-1")
    assert (tracker.metadata.project, tracker.metadata.group) == (project, "sweep-1")


def test_a_change_of_directory_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Path.cwd()
    tracker = ExperimentTracker("outputs/unet", "unet-1", catalog="data/catalog.db")
    elsewhere = tmp_path / "hydra"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with tracker:
        tracker.log_metrics({"loss": 0.5})
        tracker.add_artifact("here", "metrics", "metrics.json")
    assert names(elsewhere) == []
    assert (start / "outputs" / "unet" / SIDECAR).exists()
    assert ask(start / "data" / "catalog.db", "SELECT status FROM experiments") == [("completed",)]
    assert ask(start / "data" / "catalog.db", "SELECT absolute_path FROM artifacts") == [
        (str(elsewhere / "metrics.json"),)
    ]


# Several at once


@pytest.mark.parametrize("is_same_folder", [True, False])
def test_an_id_that_another_takes_in_the_last_moment(
    tmp_path: Path, catalog_path: Path, monkeypatch: pytest.MonkeyPatch, is_same_folder: bool
) -> None:
    make_folder, others = opening.make_private_folder, []

    def slow(folder: Path) -> None:
        monkeypatch.undo()
        theirs = folder if is_same_folder else tmp_path / "theirs"
        others.append(ExperimentTracker(theirs, "unet-1", "theirs", catalog=catalog_path))
        make_folder(folder)

    monkeypatch.setattr(opening, "make_private_folder", slow)
    if is_same_folder:
        tracker = ExperimentTracker(tmp_path / "unet-1", "unet-1", "ours", catalog=catalog_path)
        tracker.add_tags(["found"])
        assert others[0].metadata.tags == ["found"]
    else:
        with pytest.raises(ExperimentExistsError, match="theirs"):
            ExperimentTracker(tmp_path / "unet-1", "unet-1", "ours", catalog=catalog_path)
    assert ask(catalog_path, "SELECT experiment_name FROM experiments") == [("theirs",)]


def test_two_trackers_of_one_experiment_merge(new_tracker: Maker) -> None:
    one, two = new_tracker(), new_tracker()
    one.add_tags(["a", "b"])
    two.add_tags(["b", "c"])
    one.add_artifact("x", "checkpoint", "x")
    two.add_artifact("y", "checkpoint", "y")
    one.update_training_progress(1, 5, {"iou": 0.5})
    two.update_training_progress(2, 5, {"dice": 0.6})
    two.remove_tags(["a"])
    for tracker in (one, two):
        assert sorted(tracker.metadata.tags) == ["b", "c"]
        assert tracker.metadata.artifact_ids == ["x", "y"]
        assert tracker.metadata.best_metrics == {"iou": 0.5, "dice": 0.6}


def test_two_deferring_trackers_merge(new_tracker: Maker, catalog_path: Path) -> None:
    one, two = new_tracker(auto_save=False), new_tracker(auto_save=False)
    one.add_tags(["a"])
    two.add_tags(["b"])
    two.save()
    one.save()
    assert ask(catalog_path, "SELECT tag FROM experiment_tags ORDER BY tag") == [("a",), ("b",)]


def test_threads_share_a_tracker(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker()

    def work(number: int) -> None:
        for turn in range(10):
            tracker.add_tags([f"{number}-{turn}"])
            tracker.add_artifact(f"{number}-{turn}", "checkpoint", "x")
            assert tracker.metadata.status == "created"

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(catalog_path, "SELECT count(*) FROM experiment_tags") == [(40,)]
    assert ask(catalog_path, "SELECT count(*) FROM artifacts") == [(40,)]
    assert ask(catalog_path, "SELECT count(*) FROM attempts") == [(1,)]


FORK = """
import gc, os, sys
from crackseg_tracker import ExperimentTracker

folder, catalog, way = sys.argv[1:]
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, auto_save=way != "deferred")
tracker.__enter__()
tracker.add_tags(["before"])
child = os.fork()
if child == 0:
    if way != "silent":
        tracker.add_tags(["child"])
        tracker.log_metrics({"loss": 0.25}, step=1)
    tracker.save()
    tracker.__exit__(None, None, None)  # a worker that leaves the block does not end the parent's experiment
    if way == "exit":
        os._exit(0)
    del tracker
    gc.collect()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
tracker.log_metrics({"loss": 0.5}, step=2)
tracker.add_tags(["after"])
assert tracker.metadata.status == "running", tracker.metadata.status
tracker.__exit__(None, None, None)
"""


@posix
@pytest.mark.parametrize("way", ["exit", "interpreter-end", "silent", "deferred"])
def test_a_forked_child_leaves_the_parent_whole(catalog_path: Path, tmp_path: Path, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "e"), str(catalog_path), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    child = [] if way in ("silent", "deferred-silent") else ["child"]
    tags = [tag for (tag,) in ask(catalog_path, "SELECT tag FROM experiment_tags ORDER BY tag")]
    assert tags == sorted(["after", "before", *child])
    values = [value for (value,) in ask(catalog_path, "SELECT value FROM metrics ORDER BY step")]
    assert values == ([0.25, 0.5] if child else [0.5])
    assert statuses(catalog_path) == ["created", "running", "completed"]


# What a training can run into


def test_an_epoch_above_the_total_is_recorded(new_tracker: Maker, caplog: pytest.LogCaptureFixture) -> None:
    tracker = new_tracker()
    tracker.update_training_progress(10, 10)
    assert caplog.records == []
    for epoch in (11, 12, 13):  # of which a long training has many: the log says it once
        tracker.update_training_progress(epoch, 10)
    assert (tracker.metadata.current_epoch, tracker.metadata.total_epochs) == (13, 10)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "11" in record.getMessage()


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_an_odd_best_is_kept_and_never_wins(new_tracker: Maker, catalog_path: Path, odd: float) -> None:
    tracker = new_tracker()
    other = new_tracker("unet-2")
    other.update_training_progress(1, 9, {"iou": odd, "loss": odd})
    tracker.update_training_progress(1, 9, {"iou": odd})
    tracker.update_training_progress(2, 9, {"iou": 0.5, "loss": 0.1})
    tracker.update_training_progress(3, 9, {"iou": odd})
    assert tracker.metadata.best_metrics == {"iou": 0.5, "loss": 0.1}
    json.dumps(other.get_metadata_dict(), allow_nan=False)
    reports = ask(
        catalog_path, "SELECT step, value FROM metric_reports WHERE experiment_id = 'unet-1' AND metric = 'iou'"
    )
    kept = None if math.isnan(odd) else odd
    assert reports == [(1, kept), (2, 0.5), (3, kept)]
    with Catalog(catalog_path) as catalog:
        assert [(row.experiment_id, row.value, row.step) for row in catalog.best("iou")] == [("unet-1", 0.5, 2)]
        assert [row.value for row in catalog.best("loss")] == [0.1]


def test_bests_are_merged_as_reported(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.update_training_progress(1, 9, {"iou": 0.7, "dice": 0.8}, 10.0)
    tracker.update_training_progress(2, 9, {"iou": 0.6})
    known = tracker.metadata
    assert known.best_metrics == {"iou": 0.6, "dice": 0.8}
    assert known.training_time_seconds == 10.0
    assert ask(catalog_path, "SELECT metric, step, value FROM metric_reports") == [
        ("iou", 1, 0.7),
        ("dice", 1, 0.8),
        ("iou", 2, 0.6),
    ]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"best_metrics": {"iou": 10**400, "dice": 0.5}}),
        json.dumps({"training_time_seconds": 10**400, "current_epoch": True}),
        '{"best_metrics": {"\\ud800": 1.0}, "tags": [" ", "kept"]}',
    ],
)
def test_an_origin_file_with_impossible_values_is_imported_as_far_as_it_goes(new_tracker: Maker, text: str) -> None:
    folder = Path("origin")
    folder.mkdir()
    (folder / SIDECAR).write_text(text)
    metadata = new_tracker("old", experiment_dir=folder).metadata
    assert metadata.status == "created"
    assert metadata.best_metrics.get("iou") is None
    assert metadata.tags in ([], ["kept"])


def test_a_failure_whose_message_cannot_be_shown_is_recorded(new_tracker: Maker) -> None:
    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    tracker = new_tracker()
    tracker.fail_experiment(Unshowable())  # type: ignore[arg-type]
    assert (tracker.metadata.status, tracker.metadata.error_message) == ("failed", "Unshowable")


def test_another_end_takes_the_text_of_the_one_before(new_tracker: Maker, caplog: pytest.LogCaptureFixture) -> None:
    tracker = new_tracker()
    tracker.fail_experiment("boom")
    tracker.abort_experiment()
    assert (tracker.metadata.status, tracker.metadata.error_message) == ("aborted", "")
    assert "had ended as failed" in caplog.text


def test_a_secret_that_one_tracker_saw_is_not_written_by_another(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("first", config={"api_key": "SEKRET-98765"}).start_experiment()
    second = new_tracker("first")
    second.fail_experiment("refused: SEKRET-98765")
    assert second.metadata.error_message == "refused: [redacted]"
    assert b"SEKRET-98765" not in (second.experiment_dir / SIDECAR).read_bytes()


def test_an_imported_error_is_redacted(new_tracker: Maker) -> None:
    folder = Path("origin")
    folder.mkdir()
    (folder / SIDECAR).write_text(json.dumps({"status": "failed", "error_message": "password=SEKRET-98765"}))
    tracker = new_tracker("old", experiment_dir=folder)
    tracker.close()
    assert "SEKRET" not in tracker.metadata.error_message
    assert b"SEKRET" not in (folder / SIDECAR).read_bytes()


def test_a_log_of_info_has_one_line_of_a_new_catalog(tmp_path: Path, catalog_path: Path) -> None:
    """Hydra shows INFO of all loggers: what Alembic loads and does is not the user's."""
    script = (
        "import logging, sys\nlogging.basicConfig(level=logging.INFO)\n"
        "from crackseg_tracker import ExperimentTracker\n"
        "with ExperimentTracker(sys.argv[1], 'unet-1', catalog=sys.argv[2]) as tracker:\n"
        "    tracker.log_metrics({'loss': 0.5})\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "unet"), str(catalog_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == [f"INFO:crackseg_tracker:created the catalog {catalog_path} (catalog argument)"]
