"""Hostile catalogs are refused before anything of theirs runs; what users add is theirs; files are private."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import Catalog, ExperimentTracker, schema
from crackseg_tracker.errors import (
    CatalogError,
    DamagedCatalogError,
    ForeignCatalogError,
    InvalidValueError,
    SettingsError,
)
from crackseg_tracker.settings import locate
from crackseg_tracker.store import filesystems

NewTracker = Callable[..., ExperimentTracker]


@pytest.fixture
def victim(tmp_path: Path, new_tracker: NewTracker, catalog_path: Path) -> Path:
    """A catalog of a stranger's, whole so far, in a folder of its own."""
    with new_tracker() as tracker:
        tracker.log_metrics({"val/iou": 0.5})
    with Catalog(catalog_path) as catalog:
        return catalog.backup(tmp_path / "stranger" / "catalog.db")


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(path: Path, name: str, old: str, new: str) -> None:
    """Change a statement behind SQLite's back, as an attacker would."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = ? AND sql LIKE '%' || ? || '%'",
            (old, new, name, old),
        ).rowcount
        connection.commit()
    assert changed == 1


def snapshot(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def assert_refused(path: Path, kind: type[CatalogError], name: str) -> None:
    before = snapshot(path)
    for look in (
        lambda: Catalog(path),
        lambda: ExperimentTracker(path.parent.parent / "x", "x", catalog=path),
        lambda: Catalog.upgrade(path),
    ):
        with pytest.raises(kind, match=name):
            look()
    assert snapshot(path) == before, "it is as it was, and has no new files beside it"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE TRIGGER spy AFTER INSERT ON attempt BEGIN DELETE FROM experiment; END", "spy"),
        ("CREATE TRIGGER spy INSTEAD OF DELETE ON experiments BEGIN SELECT 1; END", "spy"),
        ("CREATE TABLE mine (x); CREATE TRIGGER spy AFTER INSERT ON mine BEGIN SELECT 1; END", "spy"),
        (
            "DROP VIEW experiments; CREATE VIEW experiments AS SELECT load_extension('x') AS experiment_id",
            "experiments",
        ),
        ("DROP VIEW params; CREATE TABLE params (experiment_id)", "params"),
        (
            "DROP INDEX artifact_by_type; CREATE INDEX artifact_by_type ON artifact (abs(size_bytes))",
            "artifact_by_type",
        ),
        ("ALTER TABLE artifact ADD COLUMN x TEXT AS (hex(size_bytes)) VIRTUAL", "artifact"),
        ("ALTER TABLE metric_name RENAME TO was; CREATE TABLE metric_name (id, name, mode)", "metric_"),
    ],
)
def test_a_foreign_object_is_refused(victim: Path, statement: str, name: str) -> None:
    """Promises 10 and 18: a trigger, or an object of ours that was changed, is named; nothing of it runs."""
    alter(victim, *statement.split("; CREATE ", 1)[:1], *(f"CREATE {s}" for s in statement.split("; CREATE ", 1)[1:]))
    assert_refused(victim, ForeignCatalogError, name)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("metric_point", "typeof(value) IN ('real', 'null')", "hex(zeroblob(99999999)) > ''"),
        ("metric_summary", "CASE WHEN max_value >= reported_value", "CASE WHEN sqlite_version() > '' "),
        ("experiment_living", "deleted_at IS NULL", "abs(random()) > 0"),
    ],
)
def test_functions_hidden_in_our_tables_are_refused(victim: Path, name: str, old: str, new: str) -> None:
    """Promise 18: CHECKs, generated columns and partial indexes would run at our writes and reads."""
    rewrite(victim, name, old, new)
    assert_refused(victim, ForeignCatalogError, name)


def test_a_missing_table_is_damage(victim: Path) -> None:
    """Promise 10: the table is named."""
    alter(victim, "PRAGMA foreign_keys = OFF", "DROP TABLE metric_writer")
    assert_refused(victim, DamagedCatalogError, "metric_writer")


def test_a_trigger_in_the_log_is_refused_too(victim: Path) -> None:
    """Promise 18: what the write-ahead log adds is looked at before it is used."""
    with closing(sqlite3.connect(victim, isolation_level=None)) as holder:
        holder.execute("PRAGMA wal_autocheckpoint = 0")
        holder.execute("CREATE TRIGGER spy AFTER INSERT ON attempt BEGIN DELETE FROM experiment; END")
        for look in (Catalog, lambda path: ExperimentTracker(path.parent.parent / "x", "x", catalog=path)):
            with pytest.raises(ForeignCatalogError, match="spy"):
                look(victim)


def test_what_users_add_is_theirs(victim: Path, tmp_path: Path) -> None:
    """Promise 18: own tables, views and indexes are allowed, also over ours, and they work."""
    alter(
        victim,
        "CREATE TABLE notes (experiment_id TEXT, note TEXT CHECK (length(note) < 100))",
        "CREATE VIEW best AS SELECT experiment_id, value FROM metric_bests",
        "CREATE INDEX by_size ON artifact (size_bytes)",
        "CREATE VIRTUAL TABLE found USING fts5(text)",
        "ANALYZE",
    )
    with ExperimentTracker(tmp_path / "second", "second", catalog=victim) as tracker:
        tracker.log_metrics({"val/iou": 0.75})
    with Catalog(victim) as catalog:
        assert catalog.check() == []
        assert catalog.sql("SELECT max(value) FROM best").rows[0][0] == 0.75


def test_check_says_what_to_do(victim: Path) -> None:
    """Promise 10: `check` names what is missing, and the way out."""
    alter(victim, "DROP INDEX artifact_by_type", "DROP VIEW params")
    with Catalog(victim) as catalog:
        problems = catalog.check()
    assert len(problems) == 2
    assert all("backup" in problem for problem in problems)


# Backups


def test_a_backup_made_under_load_is_whole(new_tracker: NewTracker, catalog_path: Path, tmp_path: Path) -> None:
    """Promise 13: while four threads write as fast as they can, each backup is one state, and checks itself."""
    stop = threading.Event()
    trackers = [new_tracker(f"load-{n}") for n in range(4)]

    def train(tracker: ExperimentTracker) -> None:
        step = 0
        while not stop.is_set():
            tracker.log_metrics({"a": float(step), "b": -float(step)}, step=step)
            tracker.add_tags([str(step % 50)])
            step += 1
            time.sleep(0.0005)

    threads = [threading.Thread(target=train, args=(tracker,)) for tracker in trackers]
    for thread in threads:
        thread.start()
    try:
        with Catalog(catalog_path) as catalog:
            copies = [catalog.backup(tmp_path / "backups" / f"{n}.db") for n in range(3)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    counts: list[int] = []
    for copy in copies:
        with Catalog(copy) as restored:
            assert restored.check() == []
            [(a, b)] = restored.sql(
                "SELECT sum(metric = 'a'), sum(metric = 'b') FROM metrics WHERE experiment_id = 'load-0'"
            )
            assert a == b, "a call is whole or absent"
            counts.append(a or 0)
    assert counts == sorted(counts)
    assert not list((tmp_path / "backups").glob(".*")), "no drafts are left"


def test_a_backup_replaces_nothing(new_tracker: NewTracker, catalog_path: Path, tmp_path: Path) -> None:
    """Promise 13: what has the name already is somebody's, a dangling link too."""
    new_tracker()
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with Catalog(catalog_path) as catalog:
        for target in (taken, catalog_path, tmp_path, tmp_path / "dangling"):
            with pytest.raises(InvalidValueError, match=r"new path|a folder"):
                catalog.backup(target)
    assert taken.read_text() == "mine"


def test_a_backup_takes_the_place_of_a_lost_catalog(
    new_tracker: NewTracker, catalog_path: Path, tmp_path: Path
) -> None:
    """Promise 13: restoring is moving it; the next training goes on in it."""
    tracker = new_tracker()
    tracker.complete_experiment()
    with Catalog(catalog_path) as catalog:
        copy = catalog.backup(tmp_path / "copy.db")
    tracker._database.close()
    for file in catalog_path.parent.glob("catalog.db*"):
        file.unlink()
    copy.rename(catalog_path)
    again = new_tracker("again")
    again.log_metrics({"x": 1.0})
    with Catalog(catalog_path) as catalog:
        assert {row.experiment_id for row in catalog.experiments()} == {"unet-1", "again"}
        assert catalog.sql("PRAGMA table_list").rows
    assert again._database.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_no_damaged_catalog_passes_as_a_backup(victim: Path, tmp_path: Path) -> None:
    """Promise 13: a backup is proven before it has its name."""
    alter(victim, "UPDATE experiment SET status = 'failed'")
    with Catalog(victim) as catalog, pytest.raises(DamagedCatalogError, match="status"):
        catalog.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))


def shell(*arguments: object, given: bytes = b"") -> bytes:
    sqlite3_shell = shutil.which("sqlite3")
    if sqlite3_shell is None:
        pytest.skip("the sqlite3 shell is not installed")
    return subprocess.run([sqlite3_shell, *map(str, arguments)], input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("way", [".recover", ".dump"])
def test_the_shell_salvages_what_a_damaged_catalog_holds(victim: Path, tmp_path: Path, way: str) -> None:
    """Promise 10: the ways that `Catalog.backup` documents work: here a whole page is gone."""
    if way == ".recover":
        alter(tmp_path / "trivial.db", "CREATE TABLE t (x)")
        try:
            shell(tmp_path / "trivial.db", way)
        except subprocess.CalledProcessError:
            pytest.skip("this sqlite3 shell's .recover fails even on a whole file")
    data = bytearray(victim.read_bytes())
    with closing(sqlite3.connect(victim)) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'artifact_by_type'")
        [(size,)] = connection.execute("PRAGMA page_size")
    data[(page - 1) * size : page * size] = b"\xff" * size
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(data)
    with Catalog(damaged) as catalog:
        assert any(".recover" in problem for problem in catalog.check())
    salvaged = tmp_path / "salvaged.db"
    statements = shell(damaged, way).replace(b"\nROLLBACK; -- due to errors", b"\nCOMMIT;")
    shell(salvaged, given=statements)
    shell(salvaged, f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {schema.VERSION}")
    with Catalog(salvaged) as catalog:
        assert catalog.experiment("unet-1").best_metrics == {"val/iou": 0.5}
        assert catalog.check() == []


# Private files, network file systems, secrets


def test_all_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Promise 21: folders 0700; catalog, log, shared memory, locks, backups 0600."""
    script = """
import os, sys
os.umask(0)
from crackseg_tracker import Catalog, ExperimentTracker, schema
base = sys.argv[1]
tracker = ExperimentTracker(f"{base}/experiments/x", "x", catalog=f"{base}/catalog/catalog.db")
tracker.start_experiment()
tracker.log_metrics({"x": 1.0})
Catalog(f"{base}/catalog/catalog.db").backup(f"{base}/backups/copy.db")
os.kill(os.getpid(), 9)
"""
    base = tmp_path / "base"
    base.mkdir()
    subprocess.run([sys.executable, "-c", script, base], check=False, timeout=60)
    made = sorted(base.rglob("*"))
    assert {"catalog.db", "catalog.db-wal", "catalog.db-shm", "copy.db", "catalog.db.lock"} <= {p.name for p in made}
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def mounts(kind: str, point: Path) -> str:
    return (
        f"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {str(point).replace(' ', chr(92) + '040')} rw - {kind} host:/x rw"
    )


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *(
            (kind, True)
            for kind in ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "9p", "fuse.sshfs")
        ),
        *((kind, False) for kind in ("ext4", "xfs", "btrfs", "overlay", "tmpfs", "fuseblk", "fuse.gocryptfs", "zfs")),
    ],
)
def test_network_file_systems_are_recognised(kind: str, network: bool) -> None:
    """Promise 15: by the mount that the path is on, spaces in its name included."""
    table = mounts(kind, Path("/data/my disk"))
    assert bool(filesystems.network_type(Path("/data/my disk/catalog.db"), table)) is network
    assert filesystems.network_type(Path("/data/my disk 2/catalog.db"), table) == ""


def test_on_a_network_file_system_there_is_no_wal(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 15: SQLite's rollback journal instead, one warning, and everything works."""
    monkeypatch.setattr(filesystems, "network_type", lambda path: "nfs4")
    for number in range(3):
        with new_tracker(f"unet-{number}") as tracker:
            tracker.log_metrics({"x": 1.0})
    assert tracker._database.connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert not Path(f"{catalog_path}-wal").exists()
    [warning] = [r.getMessage() for r in caplog.records if "network" in r.getMessage()]
    assert "nfs4" in warning
    with Catalog(catalog_path) as catalog:
        assert len(catalog.experiments()) == 3
        assert catalog.check() == []


def test_the_journal_mode_can_be_chosen(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 15: who knows better says so; a catalog that moved is given the mode of its new place."""

    def mode(name: str) -> str:
        one = new_tracker(name)
        one._database.close()
        return one._database.connection.execute("PRAGMA journal_mode").fetchone()[0]

    assert mode("local") == "wal"
    monkeypatch.setenv("CRACKSEG_TRACKER_JOURNAL_MODE", "delete")
    assert mode("moved") == "delete"
    monkeypatch.setattr(filesystems, "network_type", lambda path: "nfs4")
    monkeypatch.setenv("CRACKSEG_TRACKER_JOURNAL_MODE", "WAL")
    assert mode("known better") == "wal"
    monkeypatch.setenv("CRACKSEG_TRACKER_JOURNAL_MODE", "off")
    with pytest.raises(SettingsError, match="off"):
        filesystems.journal_mode(catalog_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@host/db",
        "sqlite://user:hunter2@host/db",
        "sqlite:///?password=hunter2",
    ],
)
def test_a_password_in_a_url_is_not_shown(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 20: from whichever setting it comes."""
    found: list[Any] = []
    for settle in (
        lambda: locate(url),
        lambda: (monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", url), locate()),
        lambda: (
            monkeypatch.delenv("CRACKSEG_TRACKER_CATALOG"),
            Path("pyproject.toml").write_text(f'[tool.crackseg_tracker]\ncatalog = "{url}"\n'),
            locate(),
        ),
    ):
        with pytest.raises(SettingsError) as caught:
            settle()
        found.append(str(caught.value))
    assert "hunter2" not in "".join(found)
    assert os.sep in found[-1]
