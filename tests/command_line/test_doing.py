"""The commands that change a catalog, copy it, or prove it whole."""

import contextlib
import json
import sqlite3
from pathlib import Path

from releases import put_golden

from command_line.calling import Maker, completed, ids, lines, run
from crackseg_tracker import Catalog


def test_tag_untag_describe_rename(own_catalog: Path) -> None:
    assert "baseline, new" in run("tag", "unet-1", "new").stderr
    assert ids("list", "--tag", "new") == ["unet-1"]
    assert "no tags" in run("untag", "unet-1", "new", "baseline").stderr
    run("describe", "@best:val/iou", "the good one")
    run("describe", "seg", "-", typed="from\nstdin")
    run("rename", "unet-1", "unet-one", "--name", "first")
    with Catalog(own_catalog) as catalog:
        assert catalog.experiment("unet-2").description == "the good one"
        assert catalog.experiment("seg-1").description == "from\nstdin"
        assert catalog.experiment("unet-one").experiment_name == "first"
    assert "give a new id, --name, or both" in run("rename", "unet-2", code=2).stderr
    assert "seg-1" in run("rename", "unet-2", "seg-1", code=1).stderr


def test_changes(own_catalog: Path) -> None:
    run("tag", "unet-1", "new")
    newest = ("changes", "--subject", "tag", "--experiment", "unet-1", "--since", "1h", "--limit", "1")
    [row] = json.loads(run(*newest, "--format", "json").stdout)
    assert (row["experiment_id"], row["action"], row["item"]) == ("unet-1", "added", "new")
    assert lines("changes", "--since", "2100-01-01") == []


def test_delete_asks_first(own_catalog: Path) -> None:
    asked = run("delete", "unet-1", "seg-1", typed="n\n", code=1)
    assert "Move 2 experiments to the trash? [y/N]" in asked.stderr
    assert "nothing was changed" in asked.stderr
    assert "unet-1-name" in asked.stderr
    assert "--yes" in run("delete", "unet-1", typed="", code=2).stderr
    assert ids("delete", "unet-1", "--dry-run") == ["unet-1"]
    assert len(ids("list")) == 4
    assert run("delete", "unet-1", "seg-1", typed="y\n").exit_code == 0
    assert ids("list") == ["unet-2", "never"]
    run("delete", "unet-2", "--yes", "--force")
    assert ids("trash") == ["unet-2", "seg-1", "unet-1"] or set(ids("trash")) == {"unet-2", "seg-1", "unet-1"}
    assert completed("restore u") == ["unet-2", "unet-1"]


def test_restore(own_catalog: Path) -> None:
    run("delete", "unet-1", "--yes")
    assert "unet-one: restored" in run("restore", "unet-1", "--as", "unet-one").stderr
    assert "unet-one" in ids("list")
    assert "nobody" in run("restore", "nobody", code=1).stderr


def test_purge(own_catalog: Path) -> None:
    assert lines("purge", "--yes") == []
    run("delete", "unet-1", "seg-1", "--yes")
    assert lines("purge", "--older-than", "1d", "--yes") == []
    assert ids("purge", "--dry-run", "--files", "unet-1") == ["unet-1"]
    assert "nothing was changed" in run("purge", typed="n\n", code=1).stderr
    assert len(ids("trash")) == 2
    assert ids("purge", "unet-1", "--yes") == ["unet-1"]
    assert ids("trash") == ["seg-1"]
    assert "Remove 1 experiment for good?" in run("purge", typed="y\n").stderr
    assert ids("trash") == []
    assert "is no age" in run("purge", "--older-than", "old", code=2).stderr


def test_verify(own_catalog: Path, new_tracker: Maker, tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"weights")
    with new_tracker("whole") as tracker:
        tracker.add_artifact("model", "checkpoint", tmp_path / "best.pth", tags=["kept"])
    sound = run("verify", "--experiment", "whole")
    assert (sound.stdout, sound.stderr) == ("", "1 artifact: no problems\n")
    assert "ok" in run("verify", "--experiment", "whole", "--all", "--full").stdout
    found = run("verify", "--type", "checkpoint", "--tag", "best", "--id", "b*", "--project", "roads", code=3)
    assert "3 artifacts: 3 problems" in found.stderr
    assert found.stdout.count("\tmissing\t") == 3


def test_relocate(own_catalog: Path, tmp_path: Path) -> None:
    old, new = str(tmp_path / "experiments"), "/data/moved"
    assert len(lines("relocate", old, new, "--dry-run")) >= 4
    assert "nothing was changed" in run("relocate", old, new, typed="n\n", code=1).stderr
    run("relocate", old, new, "--yes")
    assert [row[0] for row in lines("list", "--columns", "experiment_dir", "--id", "unet-1")] == ["/data/moved/unet-1"]
    assert lines("relocate", old, new) == []


def test_export_and_merge(own_catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "exported.db"
    assert set(ids("export", str(path), "--tag", "paper")) == {"unet-2", "seg-1"}
    assert set(ids("list", "--catalog", str(path))) == {"unet-2", "seg-1"}
    assert str(path) in run("export", str(path), code=1).stderr
    merged = lines("merge", "--catalog", str(path), str(own_catalog), "--dry-run")
    assert len(merged) == 4
    run("merge", "--catalog", str(path), str(own_catalog), "--suffix", "-2", "--purged")
    assert set(ids("list", "--catalog", str(path))) == {"unet-1", "unet-2", "seg-1", "never"}
    assert "error: " in run("merge", str(tmp_path / "none.db"), code=1).stderr
    with Catalog(path) as catalog:
        assert catalog.check() == []


def test_backup(own_catalog: Path, tmp_path: Path) -> None:
    assert "whole" in run("backup", str(tmp_path / "copy.db")).stderr
    assert ids("list", "--catalog", str(tmp_path / "copy.db")) == ids("list")
    assert "exists" in run("backup", str(tmp_path / "copy.db"), code=2).stderr


def test_upgrade(catalog_path: Path) -> None:
    put_golden(1, catalog_path)
    assert "crackseg-tracker upgrade" in run("list", "--catalog", str(catalog_path), code=1).stderr
    assert "the backup is" in run("upgrade", "--catalog", str(catalog_path)).stderr
    assert "nothing to upgrade" in run("upgrade", "--catalog", str(catalog_path)).stderr
    assert ids("list", "--catalog", str(catalog_path))


def test_sweep(own_catalog: Path, new_tracker: Maker) -> None:
    new_tracker("dead").start_experiment()
    with contextlib.closing(sqlite3.connect(own_catalog)) as connection, connection:
        connection.execute("UPDATE attempt SET boot_id = 'another', hostname = 'elsewhere', lock_name = 'gone'")
    assert ids("sweep", "--dry-run") == []
    assert ids("sweep", "--also", "dead", "--dry-run") == ["dead"]
    assert ids("list", "--status", "running") == ["dead"]
    assert ids("sweep", "--also", "dead") == ["dead"]
    assert ids("list", "--status", "aborted") == ["dead"]


def test_check(catalog: Path) -> None:
    whole = run("check")
    assert whole.stdout == ""
    assert "no problems" in whole.stderr


def test_check_names_what_makes_others_refuse_a_catalog(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "hurt.db"
    run("backup", str(path))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER spy AFTER INSERT ON experiment BEGIN SELECT 1; END")
    at = ("--catalog", str(path))
    assert "has a trigger 'spy'" in run("list", *at, code=1).stderr
    found = run("check", *at, code=3)
    assert found.stderr == f"{path}: 1 problem\n"
    assert "has a trigger 'spy'" in found.stdout
    assert "DROP TRIGGER spy" in found.stdout
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER spy")
    assert "no problems" in run("check", *at).stderr
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged" in run("check", *at, code=3).stdout
    path.write_bytes(b"no database " * 100)
    assert "is not an SQLite database" in run("check", *at, code=3).stdout


def test_check_finds_problems(new_tracker: Maker, tmp_path: Path) -> None:
    path = tmp_path / "hurt" / "catalog.db"
    new_tracker("a", catalog=path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP INDEX artifact_by_type")
    connection.close()
    found = run("check", "--catalog", str(path), code=3)
    assert "index artifact_by_type is missing" in found.stdout
    assert "1 problem" in found.stderr
