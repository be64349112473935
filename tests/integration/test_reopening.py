"""An experiment that is opened, begun, started or ended again."""

import json
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from recorded import SIDECAR, dump, statuses

from crackseg_tracker import ExperimentExistsError, ExperimentTracker

Maker = Callable[..., ExperimentTracker]


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
