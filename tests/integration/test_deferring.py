"""`auto_save=False`: what is deferred, and when it is written."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from asking import ask
from recorded import dump, sidecar, statuses

from crackseg_tracker import Catalog, ExperimentTracker

Maker = Callable[..., ExperimentTracker]


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
