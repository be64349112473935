import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker import schema as declared_schema
from crackseg_tracker.schema.fingerprints import TABLES_AND_INDEXES, fingerprint
from crackseg_tracker.schema.views import VIEWS
from crackseg_tracker.store import upgrading
from crackseg_tracker.store.integrity import declared_connection, schema_differences


@pytest.fixture
def altered(tmp_path: Path, new_tracker: Callable[..., ExperimentTracker], catalog_path: Path) -> Path:
    """A copy of a catalog, to be altered: the catalog itself is proven whole at the end."""
    new_tracker().complete_experiment()
    copy = tmp_path / "altered.db"
    with closing(sqlite3.connect(catalog_path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def shape(connection: sqlite3.Connection) -> dict[tuple[str, str], object]:
    """Describe every object by what SQLite makes of it, not by how its statement was typed."""
    shapes: dict[tuple[str, str], object] = {}
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall():
        text = "".join((sql or "").split()).replace('"', "")
        if kind == "table" and name != "alembic_version":
            shapes[kind, name] = (
                connection.execute("SELECT wr, strict FROM pragma_table_list(?)", (name,)).fetchall(),
                connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall(),
                sorted(connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (name,)).fetchall()),
                sorted(part.split("CHECK", 1)[1] for part in text.split(",") if "CHECK" in part),
            )
        elif kind != "table" and sql:
            shapes[kind, name] = text
    return shapes


def differences(path: Path, *statements: str) -> list[str]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        return schema_differences(connection)


def test_the_migrations_make_the_declared_schema(
    new_tracker: Callable[..., ExperimentTracker], catalog_path: Path
) -> None:
    new_tracker()
    with Catalog(catalog_path) as catalog:
        assert catalog.check() == []
    with closing(sqlite3.connect(catalog_path)) as connection, closing(declared_connection()) as declared:
        assert schema_differences(connection) == []
        assert shape(connection) == shape(declared)
        objects = connection.execute("SELECT name, type FROM sqlite_schema").fetchall()
        assert {name for name, kind in objects if kind == "view"} == set(VIEWS)
        tables = connection.execute(
            "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
            "AND name NOT LIKE 'sqlite%' AND name <> 'alembic_version'"
        ).fetchall()
        assert tables
        assert [name for name, strict in tables if not strict] == []
        assert connection.execute("PRAGMA application_id").fetchone() == (declared_schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (declared_schema.VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_fingerprints_are_those_of_the_migrations() -> None:
    """If not, and the change is meant: ``python scripts/fingerprint_schema.py``."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrading.migrate(connection)
        objects = connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('table', 'index') AND sql IS NOT NULL"
        ).fetchall()
    made = {f"{kind} {name}": fingerprint(sql) for kind, name, sql in objects if name != "alembic_version"}
    assert made == TABLES_AND_INDEXES[declared_schema.VERSION]


def test_a_dropped_index_is_found(altered: Path) -> None:
    [problem] = differences(altered, "DROP INDEX artifact_by_type")
    assert "artifact_by_type" in problem
    assert "missing" in problem


def test_a_changed_index_is_found(altered: Path) -> None:
    [problem] = differences(altered, "DROP INDEX artifact_by_type", "CREATE INDEX artifact_by_type ON artifact (kind)")
    assert "artifact_by_type" in problem
    assert "declared" in problem


def test_an_added_trigger_is_found(altered: Path) -> None:
    [problem] = differences(altered, "CREATE TRIGGER spy AFTER INSERT ON artifact BEGIN SELECT 1; END")
    assert "spy" in problem


def test_a_changed_view_is_found(altered: Path) -> None:
    [problem] = differences(altered, "DROP VIEW experiment_tags", "CREATE VIEW experiment_tags AS SELECT 1 AS tag")
    assert "experiment_tags" in problem


def test_a_dropped_view_is_found(altered: Path) -> None:
    [problem] = differences(altered, "DROP VIEW catalog_info")
    assert "catalog_info" in problem


def test_an_added_column_is_found(altered: Path) -> None:
    [problem] = differences(altered, "ALTER TABLE attempt ADD COLUMN mood TEXT")
    assert "attempt" in problem


def test_a_dropped_table_is_found(altered: Path) -> None:
    found = differences(altered, "PRAGMA foreign_keys = OFF", "DROP TABLE metric_writer")
    assert any("metric_writer" in problem for problem in found)


@pytest.mark.parametrize("pragma", ["user_version", "application_id"])
def test_a_changed_header_is_found(altered: Path, pragma: str) -> None:
    [problem] = differences(altered, f"PRAGMA {pragma} = 4711")
    assert "header" in problem


def test_things_of_the_user_are_allowed(altered: Path) -> None:
    assert (
        differences(
            altered,
            "CREATE TABLE my_notes (note TEXT)",
            "CREATE VIEW my_view AS SELECT experiment_id FROM experiments",
            "CREATE INDEX my_index ON artifact (size_bytes)",
        )
        == []
    )
    with Catalog(altered) as catalog:
        assert catalog.check() == []


def test_check_finds_what_is_altered(altered: Path) -> None:
    differences(altered, "DROP INDEX artifact_by_type")
    with Catalog(altered) as catalog:
        assert any("artifact_by_type" in problem for problem in catalog.check())


def test_check_finds_a_missing_parent(altered: Path) -> None:
    differences(altered, "PRAGMA foreign_keys = OFF", "UPDATE attempt SET experiment = 4711")
    with Catalog(altered) as catalog:
        assert any("attempt" in problem for problem in catalog.check())


def test_check_finds_a_broken_invariant(altered: Path) -> None:
    differences(altered, "UPDATE experiment SET status = 'failed'")
    with Catalog(altered) as catalog:
        assert any("status" in problem for problem in catalog.check())


def test_check_finds_a_changed_content(altered: Path) -> None:
    """A flipped bit in a text is no damage to SQLite, whose pages have no checksums; the digest tells."""
    differences(altered, "UPDATE config SET text = replace(text, '{', '[')")
    with Catalog(altered) as catalog:
        [problem] = catalog.check()
    assert problem.startswith("contents that differ from their digest: ('config', 1)")
