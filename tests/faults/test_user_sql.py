"""SQL from strangers: whatever is asked through `Catalog.sql`, nothing is written anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.errors import TrackerError

NewTracker = Callable[..., ExperimentTracker]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM experiment",
        "INSERT INTO experiment_tag SELECT * FROM experiment_tag RETURNING *",
        "WITH one AS (SELECT 1) UPDATE experiment SET status = 'failed' RETURNING id",
        "DROP VIEW experiments",
        "CREATE TEMP TABLE t (x)",
        "SELECT 1; DELETE FROM experiment",
        "ATTACH 'stolen.db' AS stolen",
        "VACUUM INTO 'stolen.db'",
        "VACUUM",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA user_version = 99",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "SELECT load_extension('stolen')",
        "SELECT writefile('stolen.db', 'x')",
        "SELECT readfile('/etc/passwd')",
        "BEGIN IMMEDIATE",
        "SAVEPOINT mine",
        "EXPLAIN QUERY PLAN SELECT 1; DROP TABLE experiment",
    ],
)
def test_what_would_write_is_refused(new_tracker: NewTracker, catalog_path: Path, sql: str) -> None:
    """Promise 19: and the next question works, on the same data, with writers undisturbed."""
    with new_tracker() as tracker:
        tracker.log_metrics({"x": 1.0})
        with Catalog(catalog_path) as catalog:
            before = list(catalog.sql("SELECT * FROM experiments"))
            with pytest.raises(TrackerError):
                catalog.sql(sql)
            assert list(catalog.sql("SELECT * FROM experiments")) == before
            tracker.log_metrics({"x": 2.0})
            assert not tracker.metadata.degraded
            assert list(catalog.sql("SELECT count(*) FROM metrics")) == [(2,)]
    assert list(Path.cwd().glob("stolen*")) == []


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM sqlite_schema a, sqlite_schema b, sqlite_schema c, sqlite_schema d, sqlite_schema e",
    ],
)
def test_what_would_never_end_ends(new_tracker: NewTracker, catalog_path: Path, sql: str) -> None:
    """Promise 19: within the bound that the caller gives, and a training beside it does not notice."""
    with new_tracker() as tracker, Catalog(catalog_path) as catalog:
        begun = time.monotonic()
        with pytest.raises(TrackerError):
            catalog.sql(sql, timeout=0.2)
        assert time.monotonic() - begun < 10
        tracker.log_metrics({"x": 1.0})
        assert not tracker.metadata.degraded
