"""Upgrades of real catalogs of every released version: whole before or whole after, with everything in them."""

from __future__ import annotations

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from releases import GOLDEN, backups, golden, put_golden

from crackseg_tracker import Catalog, ExperimentTracker, schema
from crackseg_tracker.errors import CatalogBusyError, CatalogError, OlderCatalogError
from crackseg_tracker.store import guard, upgrading
from crackseg_tracker.store.holders import lock_holders

_UPGRADE = "import sys; from crackseg_tracker import Catalog; Catalog.upgrade(sys.argv[1])"


def test_every_released_version_has_a_golden_catalog() -> None:
    """Promise 11: what was released can be tried for ever."""
    assert {path.name for path in GOLDEN.glob("*.gz")} == {
        f"version-{version}.catalog.gz" for version in range(1, schema.VERSION)
    }


@pytest.fixture
def old(catalog_path: Path) -> Path:
    """A catalog as the first release left it."""
    put_golden(1, catalog_path)
    return catalog_path


def alter(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the tables of the first version, by the columns that they had."""
    with closing(sqlite3.connect(path)) as connection:
        found: dict[str, list[tuple[Any, ...]]] = {}
        for (sql,) in ask_golden("SELECT sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL"):
            name = sql.split()[2]
            columns = [row[1] for row in ask_golden(f"PRAGMA table_info({name})")]
            quoted = ", ".join(f'"{column}"' for column in columns)
            found[name] = connection.execute(f"SELECT {quoted} FROM {name}").fetchall()
        found.pop("alembic_version")
        return {name: sorted(tuple(map(repr, row)) for row in rows) for name, rows in found.items()}


def ask_golden(sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(golden(1).replace(b"\2\2", b"\1\1", 1))
        return connection.execute(sql).fetchall()


def holding(path: Path, sql: str) -> subprocess.Popen[bytes]:
    """A process that has the catalog open, and has begun something in it."""
    script = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print(flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", script, path, sql], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def version_of(path: Path) -> int:
    return ask(path, "PRAGMA user_version")[0][0]


def test_everything_is_there_after_an_upgrade(old: Path) -> None:
    """Promise 11: every row of every table, with a proven backup beside it, for its owner only."""
    before = contents(old)
    assert all(before.values()), "the golden catalog fills every table"
    copy = Catalog.upgrade(old)
    assert copy is not None
    assert backups(old) == [copy]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert contents(old) == before
    assert contents(copy) == before
    assert version_of(copy) == 1
    with Catalog(old) as catalog:
        assert catalog.check() == []
        assert catalog.experiment("done").best_metrics["val/iou"] == 0.75
        assert catalog.experiment("killed").status == "running"
        assert len(catalog.history("val/iou", "killed")) == 20
    ends = ask(old, "SELECT e.experiment_id, a.number, a.end_reason FROM attempt AS a JOIN experiment AS e ON e.id = "
               "a.experiment ORDER BY 1, 2")  # fmt: skip
    assert ends == [
        ("created", 1, ""),
        ("done", 1, "completed"),
        ("failed", 1, "failed"),
        ("killed", 1, ""),
        ("resumed", 1, "aborted"),
        ("resumed", 2, "completed"),
    ]
    assert Catalog.upgrade(old) is None
    assert backups(old) == [copy]


def test_a_tracker_upgrades_a_catalog_asks_to(old: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 11: training goes on by itself, with one line in the log; a look changes nothing."""
    before = hashlib.sha256(old.read_bytes()).digest()
    with pytest.raises(OlderCatalogError, match=r"Catalog\.upgrade"):
        Catalog(old)
    assert hashlib.sha256(old.read_bytes()).digest() == before
    with ExperimentTracker(tmp_path / "new", "new", catalog=old) as tracker:
        tracker.log_metrics({"val/iou": 0.9})
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "backup" in record.getMessage()
    with Catalog(old) as catalog:
        assert [row.experiment_id for row in catalog.best("val/iou", limit=1)] == ["new"]


def test_a_restored_backup_is_upgraded_again(old: Path) -> None:
    """Promise 11: the backup is a catalog of the old version, whole."""
    first = Catalog.upgrade(old)
    assert first is not None
    old.unlink()
    first.rename(old)
    first.write_text("something in the way")
    second = Catalog.upgrade(old)
    assert second is not None
    assert second.name == "catalog.version-1-backup-2.db"
    first.unlink()


def test_a_look_amid_an_upgrade_finds_no_damage(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises 9 and 10: what was read half before and half after it is read again."""
    check = guard.check

    def check_after_an_upgrade(path: Path, connection: sqlite3.Connection, version: int) -> None:
        monkeypatch.setattr(guard, "check", check)
        subprocess.run([sys.executable, "-c", _UPGRADE, old], check=True)
        check(path, connection, version)

    monkeypatch.setattr(guard, "check", check_after_an_upgrade)
    with Catalog(old) as catalog:
        assert len(catalog.experiments()) == 5


@pytest.mark.parametrize("round_", range(6))
def test_killed_during_an_upgrade(old: Path, round_: int) -> None:
    """Promise 11: whole before or whole after, at whatever moment, and the next start upgrades it."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # shown on failure
    before = contents(old)
    # Alembic is loaded first, so that the kill meets the work itself.
    script = "import alembic.command, sqlmodel, os; os.write(1, b'r'); " + _UPGRADE
    child = subprocess.Popen([sys.executable, "-c", script, old], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.read(1) == b"r"
    time.sleep(random.Random(seed).uniform(0.0, 0.3))
    child.kill()
    child.communicate()
    assert contents(old) == before
    version = version_of(old)
    assert version in (1, 2)
    with closing(sqlite3.connect(old)) as connection:
        assert guard.differences(connection, version) == []
    Catalog.upgrade(old)
    assert contents(old) == before
    assert not list(old.parent.glob(".*draft*")), "what a killed backup left is cleaned up by the next"


def test_an_older_writer_goes_on_beside_an_additive_upgrade(old: Path) -> None:
    """Promise 11: what runs keeps running; its rows are in the upgraded catalog."""
    with closing(sqlite3.connect(old, isolation_level=None)) as older:
        older.execute("SELECT count(*) FROM experiment").fetchone()
        Catalog.upgrade(old)
        older.execute("INSERT INTO metric_recent (experiment, step, metric, value, offset_ms) SELECT id, 20, 1, 0.5, 0 "
                      "FROM experiment WHERE experiment_id = 'killed'")  # fmt: skip
    with Catalog(old) as catalog:
        assert catalog.history("val/iou", "killed").rows[-1].step == 20


def test_a_stopped_writer_is_named(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: whoever holds the lock, for good, is named, and nothing was changed."""
    monkeypatch.setattr(upgrading, "WAIT_SECONDS", 0.3)
    child = holding(old, "BEGIN IMMEDIATE")
    try:
        child.send_signal(signal.SIGSTOP)
        assert [holder.pid for holder in lock_holders(old)] == [child.pid]
        with pytest.raises(CatalogBusyError, match=f"process {child.pid}"):
            Catalog.upgrade(old)
    finally:
        child.kill()
        child.communicate()
    assert version_of(old) == 1
    Catalog.upgrade(old)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE VIEW change_log AS SELECT 1 AS mine", "view change_log"),
        ("CREATE TABLE Journal_Writer (mine)", "table Journal_Writer"),
        ("CREATE INDEX experiment_by_status ON experiment (status, project)", "index experiment_by_status"),
    ],
)
def test_a_name_of_the_users_in_the_way(old: Path, statement: str, name: str) -> None:
    """Promise 11: a clear error before anything changes; renamed, it is upgraded."""
    alter(old, statement)
    before = hashlib.sha256(old.read_bytes()).digest()
    with pytest.raises(CatalogError, match=name):
        Catalog.upgrade(old)
    assert hashlib.sha256(old.read_bytes()).digest() == before
    assert backups(old) == []
    alter(old, f"DROP {name}")
    assert Catalog.upgrade(old) is not None


def test_what_the_user_made_survives(old: Path) -> None:
    """Promise 11: tables, views over ours, and indexes."""
    alter(
        old,
        "CREATE TABLE my_notes (note TEXT)",
        "INSERT INTO my_notes VALUES ('kept')",
        "CREATE VIEW my_bests AS SELECT experiment_id, value FROM metric_bests WHERE metric = 'val/iou'",
        "CREATE VIEW my_own AS SELECT experiment_id FROM experiment",
        "CREATE INDEX my_index ON artifact (size_bytes)",
    )
    expected = sorted(ask(old, "SELECT * FROM my_bests"))
    assert expected
    Catalog.upgrade(old)
    assert sorted(ask(old, "SELECT * FROM my_bests")) == expected
    assert len(ask(old, "SELECT * FROM my_own")) == 5
    assert ask(old, "SELECT note FROM my_notes") == [("kept",)]
    assert ask(old, "SELECT 1 FROM sqlite_schema WHERE name = 'my_index'") == [(1,)]


def test_a_catalog_with_a_foreign_trigger_is_not_upgraded(old: Path) -> None:
    """Promises 11 and 18."""
    alter(old, "CREATE TRIGGER spy AFTER INSERT ON attempt BEGIN DELETE FROM experiment; END")
    with pytest.raises(CatalogError, match="spy"):
        Catalog.upgrade(old)
    assert version_of(old) == 1
    assert [path.name for path in old.parent.iterdir()] == [old.name]
    alter(old, "DROP TRIGGER spy")
    Catalog.upgrade(old)
