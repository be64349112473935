"""Proof that a catalog is whole: SQLite's own checks, foreign keys, our invariants, and the schema as declared."""

from __future__ import annotations

import hashlib
import sqlite3
from sqlite3 import Connection
from typing import Any, cast

from crackseg_tracker import schema
from crackseg_tracker.progress import Progress, no_progress
from crackseg_tracker.schema.views import VIEWS, create_view
from crackseg_tracker.store import guard

# What must hold between the rows, beyond what the schema can say: a query that finds the offenders, and its meaning.
INVARIANTS = {
    "points of series without a summary": "SELECT DISTINCT experiment, metric FROM (SELECT experiment, metric FROM "
    "metric_point UNION SELECT experiment, metric FROM metric_recent) AS p WHERE NOT EXISTS (SELECT 1 FROM "
    "metric_summary AS s WHERE s.experiment = p.experiment AND s.metric = p.metric)",
    "recent points that are not beyond their series": "SELECT r.experiment, r.metric, r.step FROM metric_recent AS r "
    "JOIN metric_summary AS s USING (experiment, metric) WHERE r.step <= coalesce(s.last_step, -1)",
    "recent points of sealed series": "SELECT DISTINCT r.experiment, r.metric FROM metric_recent AS r "
    "JOIN metric_summary AS s USING (experiment, metric) WHERE s.sealed = 1",
    "summaries that differ from their points": "SELECT s.experiment, s.metric FROM metric_summary AS s LEFT JOIN ("
    "SELECT experiment, metric, count(*) AS n, min(step) AS first, max(step) AS last, "
    "min(CASE WHEN abs(value) < 9e999 THEN value END) AS low, max(CASE WHEN abs(value) < 9e999 THEN value END) AS "
    "high, sum(CASE WHEN abs(value) < 9e999 THEN 0 ELSE 1 END) AS odd, min(CASE WHEN abs(value) < 9e999 THEN NULL "
    "ELSE step END) AS first_odd FROM metric_point GROUP BY experiment, metric) AS p USING (experiment, metric) "
    "WHERE s.count <> coalesce(p.n, 0) OR s.first_step IS NOT p.first OR s.last_step IS NOT p.last OR s.min_value IS "
    "NOT p.low OR s.max_value IS NOT p.high OR s.non_finite_count <> coalesce(p.odd, 0) OR s.first_non_finite_step "
    "IS NOT p.first_odd",
    "summaries whose steps and values are not a point": "SELECT s.experiment, s.metric, t.step FROM metric_summary AS "
    "s JOIN (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4) AS k JOIN (SELECT 1) AS one JOIN "
    "metric_point AS t ON t.experiment = s.experiment AND t.metric = s.metric AND t.step = CASE k.n WHEN 1 THEN "
    "s.first_step WHEN 2 THEN s.last_step WHEN 3 THEN s.min_step ELSE s.max_step END WHERE t.value IS NOT CASE k.n "
    "WHEN 1 THEN s.first_value WHEN 2 THEN s.last_value WHEN 3 THEN s.min_value ELSE s.max_value END",
    "best reports that differ from the reports": "SELECT s.experiment, s.metric FROM metric_summary AS s WHERE "
    "s.reported_value IS NOT (SELECT value FROM metric_report AS r WHERE r.experiment = s.experiment AND r.metric = "
    "s.metric AND r.superseded_at IS NULL AND abs(value) < 9e999 ORDER BY r.id DESC LIMIT 1)",
    "experiments that are purged but not deleted": "SELECT experiment_id FROM experiment WHERE purged_at IS NOT NULL "
    "AND deleted_at IS NULL",
    "contents that differ from their digest": "SELECT 'config', id FROM config WHERE sha256 <> digest(CAST(text AS "
    "BLOB)) UNION ALL SELECT 'package_set', id FROM package_set WHERE sha256 <> digest(CAST(packages AS BLOB)) "
    "UNION ALL SELECT 'git_diff', id FROM git_diff WHERE sha256 <> digest(CAST(text AS BLOB))",
    # The last by number, or by time: a change that was journaled and replayed late keeps its own time.
    "experiments whose status is not their last change": "SELECT e.experiment_id FROM experiment AS e WHERE e.status "
    "<> (SELECT status FROM status_change AS c WHERE c.experiment = e.id ORDER BY c.id DESC LIMIT 1) "
    "AND e.status <> (SELECT status FROM status_change AS c WHERE c.experiment = e.id "
    "ORDER BY c.changed_at DESC, c.id DESC LIMIT 1)",
}

#: SQLite's own, and the invariants.
PROOFS = 1 + len(INVARIANTS)


def problems(connection: Connection, progress: Progress = no_progress) -> list[str]:
    """List what is wrong with the catalog; [] when it is whole. Reads everything once."""
    progress(0, PROOFS)
    found = damage(connection) or schema_differences(connection)
    if not found:
        connection.create_function("digest", 1, _digest, deterministic=True)
        connection.execute("BEGIN")  # one state for all the questions, whoever writes meanwhile
        try:
            for done, (meaning, sql) in enumerate(INVARIANTS.items(), start=1):
                progress(done, PROOFS)
                rows = connection.execute(f"{sql} LIMIT 5").fetchall()
                found += [f"{meaning}: {', '.join(map(str, rows))}"] if rows else []
        finally:
            connection.execute("COMMIT")
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def damage(connection: Connection) -> list[str]:
    """List what SQLite itself finds wrong, whatever the schema."""
    try:
        found = [f"SQLite: {message}" for (message,) in connection.execute("PRAGMA integrity_check") if message != "ok"]
    except sqlite3.DatabaseError as error:  # damage that stops the check itself
        found = [f"SQLite: {error}"]
    if found:
        return [*found, "restore a backup, or salvage the file with the sqlite3 shell's .recover"]
    return [
        f"row {row} of {table} refers to a missing row of {parent}; restore a backup, or delete the row"
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check")
    ]


def schema_differences(connection: Connection) -> list[str]:
    """List where header and schema are not as this release makes them (see `guard`)."""
    found: list[str] = []
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (schema.APPLICATION_ID, schema.VERSION):
        found.append(f"header: application_id {application:#x}, version {version}")
    return found or guard.differences(connection)


def declared_connection() -> Connection:
    """Make the schema as the classes declare it, in memory."""
    from sqlalchemy import create_engine, pool
    from sqlmodel import SQLModel

    from crackseg_tracker.schema import tables

    connection = sqlite3.connect(":memory:", isolation_level=None)
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=pool.StaticPool)
    # Users may have SQLModel tables of their own in the same registry.
    own: list[Any] = [
        cast(Any, t).__table__
        for t in vars(tables).values()
        if isinstance(t, type) and issubclass(t, SQLModel) and t.__module__ == tables.__name__
    ]
    SQLModel.metadata.create_all(engine, tables=own)
    for name in VIEWS:
        connection.execute(create_view(name))
    return connection
