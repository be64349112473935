"""The trash, corrections, and the log of who changed what."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asking import ask

from crackseg_tracker import (
    Catalog,
    CatalogWriteError,
    ExperimentExistsError,
    ExperimentRunningError,
    ExperimentTracker,
    InvalidTypeError,
    InvalidValueError,
    NotFoundError,
    TrackerError,
)
from crackseg_tracker.store.purging import OTHER_TABLES, SERIES_TABLES

Maker = Callable[..., ExperimentTracker]


def ids(catalog: Catalog) -> list[str]:
    return [row.experiment_id for row in catalog.experiments()]


def full_experiment(new_tracker: Maker, experiment_id: str = "unet-1", **options: Any) -> ExperimentTracker:
    """An ended experiment with rows in every table."""
    tracker = new_tracker(experiment_id, config={"lr": 0.1, "for": experiment_id}, **options)
    with tracker:
        tracker.add_tags(["good", "old"])
        tracker.update_description("a description")
        tracker.log_params({"extra": 1})
        for step in range(5):
            tracker.log_metrics({"loss": 1 / (step + 1), "iou": step / 5}, step=step)
        tracker.log_samples({"image": {"iou": 0.5}}, step=2)
        tracker.rewind(3)
        tracker.update_training_progress(3, 9, {"iou": 0.7})
        best = tracker.experiment_dir / "best.pth"
        best.write_bytes(b"weights")
        tracker.add_artifact("best", "checkpoint", best, tags=["kept"])
    return tracker


# Delete and restore


def test_deleted_is_out_of_every_answer_and_comes_back_whole(new_tracker: Maker, catalog_path: Path) -> None:
    full_experiment(new_tracker)
    new_tracker("other")
    views = [
        name
        for (name,) in ask(
            catalog_path, "SELECT name FROM sqlite_schema WHERE type = 'view' AND name NOT LIKE '\\_%' ESCAPE '\\'"
        )
        if name not in ("changes", "catalog_info", "metric_names")
    ]

    def content() -> dict[str, list[Any]]:
        return {
            view: sorted(ask(catalog_path, f"SELECT * FROM {view} WHERE experiment_id = 'unet-1'"), key=repr)
            for view in views
        }

    before = content()
    assert all(before.values())
    with Catalog(catalog_path) as catalog:
        [row] = catalog.delete("unet-1")
        assert (row.experiment_id, row.status, row.points, row.artifacts) == ("unet-1", "completed", 8, 1)
        assert ids(catalog) == ["other"]
        assert not any(content().values())
        assert catalog.trash().rows == (row,)
        assert catalog.check() == []
        assert catalog.restore("unet-1") == ["unet-1"]
        assert catalog.trash().rows == ()
        assert content() == before


def test_several_at_once_or_none(new_tracker: Maker, catalog_path: Path) -> None:
    for name in ("a", "b", "c"):
        new_tracker(name)
    with Catalog(catalog_path) as catalog:
        with pytest.raises(NotFoundError, match=r"'bb'.*'b'"):
            catalog.delete(["a", "bb"])
        assert ids(catalog) == ["a", "b", "c"]
        assert [row.experiment_id for row in catalog.delete(["a", "b", "a"])] == ["b", "a"]
        with pytest.raises(NotFoundError, match=r"'c'.*trash\(\)"):
            catalog.restore(["a", "c"])
        assert ids(catalog) == ["c"]
        assert catalog.restore(["b", "a"]) == ["b", "a"]
        assert ids(catalog) == ["a", "b", "c"]


def test_a_deleted_id_is_free_at_once(new_tracker: Maker, catalog_path: Path) -> None:
    full_experiment(new_tracker)
    with Catalog(catalog_path) as catalog:
        [old] = catalog.delete("unet-1")
        with new_tracker("unet-1", config={"lr": 0.5}) as again:  # in the same folder, which tells of the old one
            assert again.metadata.tags == []
            assert again.metadata.description == ""
            assert again.metadata.uid != old.uid
        with pytest.raises(ExperimentExistsError, match=rf"'unet-1' is taken.*restore\('{old.uid}', as_id=") as error:
            catalog.restore("unet-1")
        assert "rename" in str(error.value)
        assert catalog.restore("unet-1", as_id="unet-1-old") == ["unet-1-old"]
        assert catalog.experiment("unet-1-old").uid == old.uid
        assert catalog.experiment("unet-1").tags == ()
        assert catalog.params("unet-1-old")["lr"] == 0.1
        assert catalog.params("unet-1")["lr"] == 0.5


def test_an_id_that_is_twice_in_the_trash(new_tracker: Maker, catalog_path: Path) -> None:
    with Catalog(new_tracker("a")._database.path) as catalog:
        catalog.delete("a")
        new_tracker("a").add_tags(["second"])
        catalog.delete("a")
        second, first = catalog.trash().rows
        with pytest.raises(InvalidValueError, match=f"2 times.*{second.uid}.*{first.uid}"):
            catalog.restore("a")
        with pytest.raises(ExperimentExistsError):
            catalog.restore([second.uid, first.uid])
        assert len(catalog.trash()) == 2
        with pytest.raises(InvalidValueError, match="as_id 'b' is for one"):
            catalog.restore([second.uid, first.uid], as_id="b")
        assert catalog.restore(second.uid) == ["a"]
        assert catalog.experiment("a").tags == ("second",)
        assert catalog.restore("a", as_id="b") == ["b"]


def test_what_is_running_is_deleted_by_force_only(new_tracker: Maker, catalog_path: Path) -> None:
    """A training whose experiment is deleted goes on, and what it records is in the trash."""
    tracker = new_tracker("a")
    tracker.start_experiment()
    tracker.log_metrics({"loss": 0.5}, step=0)
    with Catalog(catalog_path) as catalog:
        with pytest.raises(ExperimentRunningError, match=rf"'a' is running \(process {os.getpid()} on .*force=True"):
            catalog.delete("a")
        catalog.delete("a", force=True)
        new = new_tracker("a")
        new.log_metrics({"loss": 9.0}, step=0)
        new.close()
        tracker.log_metrics({"loss": 0.4}, step=1)
        tracker.log_metrics({"new metric": 1.0})
        tracker.add_tags(["late"])
        tracker.complete_experiment()
        tracker.close()
        assert [p.value for p in catalog.history("loss", "a")] == [9.0]
        assert new.metadata.tags == []
        beside = json.loads((tracker.experiment_dir / "experiment_tracker.json").read_text())
        assert beside["uid"] == new.metadata.uid
        catalog.delete("a")
        assert catalog.restore(tracker.metadata.uid, as_id="back") == ["back"]
        assert [p.value for p in catalog.history("loss", "back")] == [0.5, 0.4]
        assert catalog.experiment("back").status == "completed"
        assert catalog.experiment("back").tags == ("late",)


# Purge


def test_a_purge_only_tells_unless_it_is_told(new_tracker: Maker, catalog_path: Path) -> None:
    full_experiment(new_tracker)
    with Catalog(catalog_path) as catalog:
        catalog.delete("unet-1")
        before = ask(catalog_path, "SELECT * FROM experiment"), ask(catalog_path, "SELECT * FROM metric_point")
        [told] = catalog.purge(files=True)
        assert told.rows > 15
        assert [Path(f).name for f in told.files] == ["best.pth"]
        assert told.size_bytes == 7
        assert before == (
            ask(catalog_path, "SELECT * FROM experiment"),
            ask(catalog_path, "SELECT * FROM metric_point"),
        )
        assert Path(told.files[0]).exists()
        seen: list[tuple[int, int]] = []
        [done] = catalog.purge(files=True, dry_run=False, progress=lambda *numbers: seen.append(numbers))
        assert done == told
        assert seen == [(0, 1), (1, 1)]
        assert not Path(told.files[0]).exists()
        assert catalog.purge(dry_run=False).rows == ()


def test_a_purge_leaves_nothing_but_blank_rows(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("staying", config={"lr": 1}).add_tags(["old"])
    secret = "what must go"
    with new_tracker("going", experiment_name=secret, config={"a": secret}, group=secret) as tracker:
        tracker.update_description(secret)
        tracker.add_tags([secret])
        tracker.add_artifact(secret, secret, secret, secret, [secret])
        tracker.log_params({"b": secret})
        tracker.log_samples({secret: {"iou": 0.5}})
        tracker.log_metrics({"loss": 1.0}, step=0)
        tracker.fail_experiment(secret)
    with Catalog(catalog_path) as catalog:
        catalog.delete("going")
        catalog.purge(dry_run=False)
        assert catalog.check() == []
        assert ids(catalog) == ["staying"]
        assert catalog.trash().rows == ()
        with pytest.raises(NotFoundError):
            catalog.restore("going")
        log = catalog.changes(subject="experiment")
        assert [(row.experiment_id, row.action) for row in log] == [("going", "purged"), ("going", "deleted")]
    tables = [name for (name,) in ask(catalog_path, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    left = {table for table in tables for row in ask(catalog_path, f"SELECT * FROM {table}") if secret in repr(row)}
    assert left <= {"sample"}  # names of samples are shared by all experiments
    [(number,)] = ask(catalog_path, "SELECT id FROM experiment WHERE experiment_id = 'going'")
    for table in (*SERIES_TABLES, *OTHER_TABLES):
        assert ask(catalog_path, f"SELECT * FROM {table} WHERE experiment = ?", number) == []
    assert ask(catalog_path, "SELECT count(*) FROM config") == [(2,)]  # the staying one's and the empty one


def test_a_purge_knows_every_table(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a")
    with_experiments = ask(
        catalog_path,
        "SELECT m.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' "
        "AND c.name = 'experiment'",
    )
    assert {name for (name,) in with_experiments} == {
        *SERIES_TABLES,
        *OTHER_TABLES,
        "attempt",
        "change_log",
        "journal_writer",
    }


def test_a_tracker_of_a_purged_experiment_harms_nobody(new_tracker: Maker, catalog_path: Path) -> None:
    """Its number is never given to another, so its rows are its own; the next purge takes them."""
    tracker = full_experiment(new_tracker, "a")
    tracker.start_experiment()
    tracker.log_metrics({"loss": 0.5}, step=10)
    with Catalog(catalog_path) as catalog:
        catalog.delete("a", force=True)
        catalog.purge(dry_run=False)
        with new_tracker("b") as other:
            other.log_metrics({"loss": 7.0}, step=0)
        tracker.log_metrics({"loss": 0.4}, step=11)
        tracker.log_metrics({"loss": 0.3, "new": 1.0})
        tracker.update_training_progress(5, 9, {"iou": 0.1})
        tracker.add_tags(["late"])
        tracker.add_artifact("late", "x", "late.txt")
        tracker.log_samples({"image": {"iou": 0.5}})
        tracker.rewind(11)
        tracker.complete_experiment()
        tracker.close()
        assert tracker.metadata.status == "completed"
        assert [(p.step, p.value) for p in catalog.history("loss", "b")] == [(0, 7.0)]
        assert catalog.experiment("b").tags == ()
        assert ids(catalog) == ["b"]
        assert catalog.trash().rows == ()
        assert catalog.check() == []
        [row] = catalog.purge(dry_run=False)
        assert row.uid == tracker.metadata.uid
        assert ask(catalog_path, "SELECT count(*) FROM metric_point") == [(1,)]
        assert catalog.purge(dry_run=False).rows == ()


def test_only_what_is_old_enough_or_named_is_purged(new_tracker: Maker, catalog_path: Path) -> None:
    for name in ("a", "b"):
        new_tracker(name)
    with Catalog(catalog_path) as catalog:
        catalog.delete(["a", "b"])
        with closing(sqlite3.connect(catalog_path)) as connection, connection:
            long_ago = (datetime.now(UTC) - timedelta(days=31)).isoformat(timespec="microseconds")
            connection.execute("UPDATE experiment SET deleted_at = ? WHERE experiment_id = 'a'", (long_ago,))
        assert [row.experiment_id for row in catalog.purge(timedelta(days=30))] == ["a"]
        assert [row.experiment_id for row in catalog.purge(timedelta(days=32))] == []
        assert [row.experiment_id for row in catalog.purge(ids="b")] == ["b"]
        with pytest.raises(InvalidTypeError, match="older_than 30 is a int; give a timedelta"):
            catalog.purge(30)  # type: ignore[arg-type]
        with pytest.raises(NotFoundError, match="'c' in the trash"):
            catalog.purge(ids=["b", "c"], dry_run=False)
        assert len(catalog.trash()) == 2


def test_which_files_a_purge_removes(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    tracker = new_tracker("a")
    folder, outside = tracker.experiment_dir, tmp_path / "outside"
    outside.mkdir()
    for path in (folder / "own.pt", folder / "changed.pt", folder / "gone.pt", folder / "shared.pt", outside / "o.pt"):
        path.write_bytes(b"12345")
    (folder / "link.pt").symlink_to(outside / "o.pt")
    (folder / "way-out").symlink_to(outside)
    (folder / "tree" / "deep").mkdir(parents=True)
    (folder / "tree" / "deep" / "x").write_text("x")
    (folder / "tree" / "link").symlink_to(outside)
    (folder / "grown").mkdir()
    (folder / "not recorded").write_text("mine")
    names = ["own.pt", "changed.pt", "gone.pt", "shared.pt", "link.pt", "way-out/o.pt", "tree", "grown", ".", "never"]
    for name in names:
        tracker.add_artifact(name, "x", folder / name)
    tracker.add_artifact("elsewhere", "x", outside / "o.pt")
    tracker.add_artifact("the catalog", "x", catalog_path.parent)
    new_tracker("b").add_artifact("shared", "x", folder / "shared.pt")
    (folder / "changed.pt").write_bytes(b"123456")
    (folder / "gone.pt").unlink()
    (folder / "grown" / "new").write_text("new")
    with Catalog(catalog_path) as catalog:
        catalog.delete("a")
        told = catalog.purge(files=True).rows
        assert catalog.purge(files=True, dry_run=False).rows == told
    [row] = told
    assert sorted(row.files) == [str(folder / name) for name in ("link.pt", "own.pt", "tree")]
    reasons = {Path(path): reason for path, _, reason in (kept.partition(": ") for kept in row.kept)}
    assert reasons[folder / "changed.pt"] == "it has changed since it was recorded"
    assert reasons[folder / "grown"] == "it has changed since it was recorded"
    assert reasons[folder / "gone.pt"] == "it is not there"
    assert reasons[folder / "shared.pt"] == "experiment 'b' names it too"
    for path in (folder / "way-out" / "o.pt", outside / "o.pt", folder, catalog_path.parent):
        assert reasons[path].startswith("it is not inside the experiment's folder")
    assert (outside / "o.pt").read_bytes() == b"12345"
    assert (folder / "not recorded").exists()
    assert (folder / "shared.pt").exists()
    assert not (folder / "tree").exists()
    assert not (folder / "link.pt").is_symlink()


def test_files_of_a_new_experiment_in_the_same_folder_stay(new_tracker: Maker, catalog_path: Path) -> None:
    old = full_experiment(new_tracker)
    with Catalog(catalog_path) as catalog:
        catalog.delete("unet-1")
        new = new_tracker("unet-1")
        new.add_artifact("best", "checkpoint", new.experiment_dir / "best.pth")
        [row] = catalog.purge(files=True, dry_run=False)
    assert row.files == ()
    assert "experiment 'unet-1' names it too" in row.kept[0]
    assert (old.experiment_dir / "best.pth").read_bytes() == b"weights"


def test_who_asks_for_what_is_in_the_trash_is_told(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a")
    with Catalog(catalog_path) as catalog:
        catalog.delete("a")
        with pytest.raises(NotFoundError, match=r"it is in the trash: restore\('a'\)"):
            catalog.params("a")
        catalog.restore("a")
        assert catalog.params("a") == {}


# Corrections


def test_rename(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a", experiment_name="first")
    new_tracker("b")
    with Catalog(catalog_path) as catalog:
        catalog.rename("a", "c", name="second")
        assert ids(catalog) == ["c", "b"]
        assert catalog.experiment("c").experiment_name == "second"
        tracker.log_metrics({"loss": 1.0}, step=0)
        tracker.close()
        assert [p.value for p in catalog.history("loss", "c")] == [1.0]
        with pytest.raises(ExperimentExistsError, match="'b' is taken"):
            catalog.rename("c", "b", name="third")
        assert catalog.experiment("c").experiment_name == "second"
        catalog.rename("c", "c")
        with pytest.raises(InvalidValueError, match="neither"):
            catalog.rename("c")
        with pytest.raises(InvalidValueError, match="new_id '  ' is empty"):
            catalog.rename("c", "  ")
        with pytest.raises(NotFoundError, match="did you mean"):
            catalog.rename("cc", "d")
        # The old id is free: a tracker that asks for it, in the folder that it had, makes a new experiment.
        assert new_tracker("a").metadata.uid != tracker.metadata.uid
        assert catalog.experiment("c").uid == tracker.metadata.uid


def test_set_tags(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a").add_tags(["x", "y"])
    new_tracker("b")
    with Catalog(catalog_path) as catalog:
        catalog.set_tags(["a", "b"], add=["z", "x"], remove=["y", "never there"])
        assert catalog.experiment("a").tags == catalog.experiment("b").tags == ("x", "z")
        changed = [(row.experiment_id, row.action, row.item) for row in catalog.changes(subject="tag")][:4]
        assert sorted(changed) == [("a", "added", "z"), ("a", "removed", "y"), ("b", "added", "x"), ("b", "added", "z")]
        with pytest.raises(NotFoundError):
            catalog.set_tags(["a", "nowhere"], add=["w"])
        with pytest.raises(InvalidValueError, match="both to add and to remove"):
            catalog.set_tags("a", ["w"], ["w"])
        with pytest.raises(InvalidValueError, match="add '' is empty"):
            catalog.set_tags("a", ["w", ""])
        assert catalog.experiment("a").tags == ("x", "z")


def test_set_description(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a", config={"api_key": "f00dcafe1234"})
    with Catalog(catalog_path) as catalog:
        catalog.set_description("a", "better with attention; key f00dcafe1234, password: hunter22")
        assert catalog.experiment("a").description == "better with attention; key [redacted], password: [redacted]"
        catalog.set_description("a", "")
        assert catalog.changes(subject="description")[0].after == ""
        with pytest.raises(InvalidTypeError):
            catalog.set_description("a", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("hostile", ["'; DROP TABLE experiment; --", "\\", "%", "*", "\x1b[2J", "Ω" * 1000, "a'b\"c"])
def test_hostile_strings(new_tracker: Maker, catalog_path: Path, hostile: str) -> None:
    new_tracker("a")
    new_tracker("b")
    with Catalog(catalog_path) as catalog:
        for call in (catalog.delete, catalog.restore, lambda text: catalog.purge(ids=text)):
            with pytest.raises(NotFoundError):
                call(hostile)
        catalog.rename("a", hostile, hostile)
        catalog.set_tags(hostile, [hostile])
        catalog.set_description(hostile, hostile)
        row = catalog.experiment(hostile)
        assert (row.experiment_name, row.tags, row.description) == (hostile, (hostile,), hostile)
        catalog.delete(hostile)
        assert catalog.restore(hostile) == [hostile]
        catalog.delete(hostile)
        catalog.purge(dry_run=False)
        assert ids(catalog) == ["b"]


def test_upkeep_of_a_catalog_that_cannot_be_written(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    new_tracker("a")
    with Catalog(catalog_path) as catalog, pytest.MonkeyPatch.context() as patch:
        database = catalog._database()
        patch.setattr(
            database, "transaction", lambda: (_ for _ in ()).throw(CatalogWriteError(f"{catalog_path} is read-only"))
        )
        with pytest.raises(TrackerError):
            catalog.delete("a")
    with Catalog(catalog_path) as catalog:
        assert ids(catalog) == ["a"]


# The log


def test_the_log_tells_who_changed_what(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a")
    tracker.start_experiment()
    tracker.add_tags(["x", "y"])
    tracker.add_tags(["x"])
    tracker.remove_tags(["y", "absent"])
    tracker.update_description("one")
    tracker.update_description("one")
    tracker.update_description("two, token=f00dcafe1234")
    file = tracker.experiment_dir / "f.txt"
    file.write_text("1")
    tracker.add_artifact("f", "text", file, tags=["t"])
    tracker.add_artifact("f", "text", file, tags=["t"])
    file.write_text("22")
    tracker.add_artifact("f", "text", file, tags=["t"])
    tracker.complete_experiment()
    with Catalog(catalog_path) as catalog:
        catalog.set_tags("a", ["by hand"])
        catalog.rename("a", name="better")
        log = catalog.changes()
        told = [(row.subject, row.action, row.item, row.before, row.after) for row in reversed(log.rows)]
        artifact_rows = [row for row in told if row[0] == "artifact"]
        assert [row for row in told if row[0] != "artifact"] == [
            ("status", "changed", "", None, "created"),
            ("status", "changed", "", "created", "running"),
            ("tag", "added", "x", None, None),
            ("tag", "added", "y", None, None),
            ("tag", "removed", "y", None, None),
            ("description", "changed", "", "", "one"),
            ("description", "changed", "", "one", "two, token=[redacted]"),
            ("status", "changed", "", "running", "completed"),
            ("tag", "added", "by hand", None, None),
            ("name", "changed", "", "a", "better"),
        ]
        assert [row[:3] for row in artifact_rows] == [("artifact", "added", "f"), ("artifact", "changed", "f")]
        assert '"size_bytes": 1' in str(artifact_rows[1][3])
        assert '"size_bytes": 2' in str(artifact_rows[1][4])
        assert "artifact_type" not in str(artifact_rows[1][4])
        assert [row.attempt for row in log.rows] == [None, None, *[1] * 9, None]
        known = tracker.metadata
        assert {(row.hostname, row.username) for row in log.rows[:-1]} == {(known.hostname, known.username)}


def test_asking_the_log(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("a").add_tags(["x"])
    new_tracker("b").add_tags(["y"])
    with Catalog(catalog_path) as catalog:
        moment = datetime.now(UTC)
        catalog.set_tags("a", ["z"])
        assert [row.item for row in catalog.changes(since=moment)] == ["z"]
        assert [row.item for row in catalog.changes(since=moment.astimezone().replace(tzinfo=None))] == ["z"]
        assert [row.item for row in catalog.changes(since=moment.isoformat(), limit=1)] == ["z"]
        assert [row.item for row in catalog.changes(subject="tag")] == ["z", "y", "x"]
        assert [row.item for row in catalog.changes(experiment_id="a", subject="tag", limit=2)] == ["z", "x"]
        catalog.delete("a")
        assert [row.item for row in catalog.changes(subject="tag")] == ["z", "y", "x"]
        with pytest.raises(InvalidValueError, match="since 'yesterday' is no time"):
            catalog.changes(since="yesterday")
        with pytest.raises(InvalidTypeError, match="since 3"):
            catalog.changes(since=3)  # type: ignore[arg-type]
        with pytest.raises(NotFoundError):
            catalog.changes(experiment_id="nowhere")


def test_pending_changes_are_logged_once_they_are_saved(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a", auto_save=False)
    tracker.add_tags(["x"])
    assert tracker.metadata.tags == ["x"]
    with Catalog(catalog_path) as catalog:
        assert catalog.changes(subject="tag").rows == ()
        tracker.save()
        assert [row.item for row in catalog.changes(subject="tag")] == ["x"]
