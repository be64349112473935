"""Relocation of moved folders, and verification of the artifacts' files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crackseg_tracker import Catalog, ExperimentTracker, InvalidTypeError, InvalidValueError

Maker = Callable[..., ExperimentTracker]


def states(catalog: Catalog, **which: object) -> dict[str, str]:
    return {row.artifact_id or Path(row.path).name: row.state for row in catalog.verify(**which)}  # type: ignore[arg-type]


# Relocation


def test_a_moved_folder(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "moved" / "new"
    with new_tracker("a", experiment_dir=old / "a") as tracker:
        (old / "a" / "best.pt").write_bytes(b"weights")
        tracker.add_artifact("best", "checkpoint", old / "a" / "best.pt")
    with new_tracker("b", experiment_dir=tmp_path / "older" / "b") as other:  # no part of "old"
        other.add_artifact("data", "data", old / "a" / "best.pt")
        other.add_artifact("own", "data", other.experiment_dir / "x")
    with Catalog(catalog_path) as catalog:
        new.parent.mkdir()
        shutil.move(old, new)
        assert states(catalog) == {"best": "missing", "data": "missing", "own": "missing"}
        told = catalog.relocate(old, str(new) + "/", dry_run=True)
        assert [(row.experiment_id, row.artifact_id, row.after) for row in told] == [
            ("a", "", str(new / "a")),
            ("a", "best", str(new / "a" / "best.pt")),
            ("b", "data", str(new / "a" / "best.pt")),
        ]
        assert states(catalog)["best"] == "missing"
        assert catalog.relocate(old, new) == told
        assert states(catalog) == {"best": "ok", "data": "ok", "own": "missing"}
        assert catalog.relocate(old, new).rows == ()
        log = [(row.subject, row.item, row.before) for row in catalog.changes() if row.action == "relocated"]
        assert sorted(log) == [
            ("artifact", "best", str(old / "a" / "best.pt")),
            ("artifact", "data", str(old / "a" / "best.pt")),
            ("experiment", "", str(old / "a")),
        ]
        inside = catalog.sql("SELECT artifact_id, inside_path, path FROM artifacts ORDER BY artifact_id").rows
        assert inside[0] == ("best", "best.pt", str(new / "a" / "best.pt"))
        assert inside[1] == ("data", None, str(new / "a" / "best.pt"))
    # The experiment goes on in the folder that it has now.
    with new_tracker("a", experiment_dir=new / "a") as resumed:
        assert resumed.metadata.uid == tracker.metadata.uid
        assert resumed.metadata.checkpoint_paths == [str(new / "a" / "best.pt")]


def test_a_folder_under_a_link(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    """The folder is recorded by its real name, the artifact by the name that was given."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    tracker = new_tracker("a", experiment_dir=tmp_path / "data" / "a")
    tracker.add_artifact("f", "x", tmp_path / "data" / "a" / "f")
    with Catalog(catalog_path) as catalog:
        rows = catalog.relocate(tmp_path / "data" / "a", "/elsewhere/a")
        assert {(row.artifact_id, row.after) for row in rows} == {("", "/elsewhere/a"), ("f", "/elsewhere/a/f")}


def test_paths_of_another_machine_and_the_trash(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    new_tracker("a").add_artifact("f", "x", "/cluster/scratch/me/f.pt")
    new_tracker("b").add_artifact("f", "x", "/cluster/scratch/me2/f.pt")
    with Catalog(catalog_path) as catalog:
        catalog.delete("a")
        [row] = catalog.relocate("/cluster/scratch/me", tmp_path)
        assert (row.experiment_id, row.artifact_id, row.after) == ("a", "f", str(tmp_path / "f.pt"))
        catalog.restore("a")
        assert [a.absolute_path for a in catalog.artifacts()] == [str(tmp_path / "f.pt"), "/cluster/scratch/me2/f.pt"]
        # A relative path stays as it was given.
        new_tracker("c").add_artifact("g", "x", "here.txt")
        catalog.relocate(Path.cwd(), "/there")
        assert catalog.artifacts(artifact_id="g")[0].path == "here.txt"
        assert catalog.artifacts(artifact_id="g")[0].absolute_path == "/there/here.txt"


@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ("relative", "/b", InvalidValueError, "old_prefix 'relative' is relative"),
        ("/a", "b", InvalidValueError, "new_prefix 'b' is relative"),
        ("/", "/b", InvalidValueError, "root"),
        ("", "/b", InvalidValueError, "empty"),
        (3, "/b", InvalidTypeError, "old_prefix 3 is a int"),
    ],
)
def test_prefixes_that_cannot_be_meant(
    new_tracker: Maker, catalog_path: Path, old: str, new: str, error: type[Exception], match: str
) -> None:
    new_tracker("a")
    with Catalog(catalog_path) as catalog, pytest.raises(error, match=match):
        catalog.relocate(old, new)


# Verification


def test_what_verification_finds(new_tracker: Maker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = new_tracker("a")
    folder = tracker.experiment_dir
    names = ("same", "gone", "grown", "cut", "swapped", "touched", "pipe")
    for name in names:
        (folder / f"{name}.pt").write_bytes(b"0123456789")
        tracker.add_artifact(name, "checkpoint", folder / f"{name}.pt")
    tracker.add_artifact("never", "checkpoint", folder / "never.pt")
    tracker.add_artifact("late", "data", folder / "late.txt")
    for name in ("tree", "thinned", "changed-tree"):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "x").write_text("x")
        (folder / name / "y").write_text("y")
        tracker.add_artifact(name, "data", folder / name)
    tracker.add_artifact("the catalog", "data", catalog_path)
    before = (folder / "swapped.pt").stat()
    (folder / "gone.pt").unlink()
    (folder / "grown.pt").write_bytes(b"0123456789+")
    (folder / "cut.pt").write_bytes(b"01234")
    (folder / "swapped.pt").write_bytes(b"9876543210")
    os.utime(folder / "swapped.pt", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(folder / "touched.pt", ns=(1, 1))
    (folder / "pipe.pt").unlink()
    os.mkfifo(folder / "pipe.pt")
    (folder / "late.txt").write_text("late")
    (folder / "stray.pt").write_bytes(b"nobody names me")
    (folder / "notes.txt").write_text("not a checkpoint")
    (folder / "thinned" / "y").unlink()
    (folder / "changed-tree" / "deep" / "x").write_text("xx")
    expected = {
        "same": "ok",
        "gone": "missing",
        "grown": "changed",
        "cut": "truncated",
        "swapped": "ok",  # same size and time: only a full look can tell
        "touched": "ok",
        "pipe": "unreadable",
        "never": "missing",
        "late": "unhashed",
        "tree": "ok",
        "thinned": "truncated",
        "changed-tree": "changed",
        "the catalog": "unhashed",
        "stray.pt": "orphaned",
    }
    with Catalog(catalog_path) as catalog:
        seen: list[tuple[int, int]] = []
        assert states(catalog, progress=lambda *numbers: seen.append(numbers)) == expected
        assert seen == [(n, 13) for n in range(14)]
        assert states(catalog, full=True) == {**expected, "swapped": "changed"}
        assert states(catalog, artifact_id="t*") == {
            "tree": "ok",
            "touched": "ok",
            "the catalog": "unhashed",
            "thinned": "truncated",
            "stray.pt": "orphaned",
        }
        assert states(catalog, artifact_type="data", artifact_id="tree") == {"tree": "ok"}
        assert states(catalog, experiment_id="nowhere") == {}
        # What was read and proven is believed by its new time from now on.
        monkeypatch.setattr("crackseg_tracker.fingerprint._hash_file", None)
        assert states(catalog, artifact_id="touched")["touched"] == "ok"


def test_pending_digests_are_computed(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a")
    folder = tracker.experiment_dir
    for name in ("large", "rewritten"):
        (folder / name).write_bytes(b"x" * (5 * 1024 * 1024))
        tracker.add_artifact(name, "data", folder / name)
    os.utime(folder / "rewritten", ns=(1, 1))
    with Catalog(catalog_path) as catalog:
        assert {a.digest_state for a in catalog.artifacts()} == {"pending"}
        assert states(catalog) == {"large": "ok", "rewritten": "unhashed"}
        large, rewritten = catalog.artifacts()
        assert (large.digest_state, len(large.sha256)) == ("hashed", 64)
        assert (rewritten.digest_state, rewritten.sha256) == ("pending", "")


def test_an_interrupted_verification_keeps_what_it_found(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a")
    for name in ("one", "two"):
        (tracker.experiment_dir / name).write_bytes(b"x" * (5 * 1024 * 1024))
        tracker.add_artifact(name, "data", tracker.experiment_dir / name)

    def stop(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with Catalog(catalog_path) as catalog:
        with pytest.raises(KeyboardInterrupt):
            catalog.verify(progress=stop)
        assert [a.digest_state for a in catalog.artifacts()] == ["hashed", "pending"]


def test_an_artifact_recorded_anew_meanwhile_is_left_alone(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a")
    file = tracker.experiment_dir / "f"
    file.write_bytes(b"x" * (5 * 1024 * 1024))
    tracker.add_artifact("f", "data", file)

    def record_anew(done: int, _total: int) -> None:
        if done == 0:
            other = tracker.experiment_dir / "g"
            other.write_bytes(b"y" * (6 * 1024 * 1024))
            tracker.add_artifact("f", "data", other)

    with Catalog(catalog_path) as catalog:
        catalog.verify(progress=record_anew)
        [artifact] = catalog.artifacts()
        assert (artifact.size_bytes, artifact.digest_state) == (6 * 1024 * 1024, "pending")
