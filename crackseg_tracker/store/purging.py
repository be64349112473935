"""Purging: what is in the trash goes for good, the rows always, the artifacts' files if asked.

An experiment is emptied, but its row and its attempts' rows stay behind, blank. SQLite would give their numbers to the
next experiment, and a tracker that is still open on the purged one would write into that; so it writes into the blank
one, which the next purge empties again. It also keeps the uid: a purged experiment does not come back with the next
merge, nor with the ``experiment_tracker.json`` in its folder.

Many short transactions, not a long one: a training that writes meanwhile waits for none of them long, and no file is
removed under the lock. The first puts the experiment beyond restoring, so a purge that is cut short is taken up again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from sqlite3 import Connection

from crackseg_tracker import config as configs
from crackseg_tracker.progress import Progress
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.rows import PurgeRow
from crackseg_tracker.store import changelog, changes, metrics, removal
from crackseg_tracker.store.changelog import Author, Entry
from crackseg_tracker.store.database import Database, now, pause_for_others
from crackseg_tracker.store.removal import Claims, Decision
from crackseg_tracker.store.trash import Trashed

#: The tables of what belongs to one metric of an experiment: emptied together, series by series.
SERIES_TABLES = (
    "metric_recent",
    "metric_point",
    "metric_report",
    "metric_superseded",
    "sample_point",
    "metric_summary",
)
#: The other tables of what belongs to one experiment. ``attempt`` is blanked, ``change_log`` keeps the deletion, and
#: ``journal_writer`` stays: it says which records of a journal were replayed.
OTHER_TABLES = ("metric_writer", "artifact", "experiment_tag", "param", "status_change")

#: What a transaction may remove; one longer series is removed in one all the same.
BATCH_POINTS = 50_000


def plan(connection: Connection, trash: Sequence[Trashed], claims: Claims | None) -> list[PurgeRow]:
    """Tell what `purge` would remove."""
    return [
        _report(
            trashed,
            _count_rows(connection, trashed.number),
            [claims.decide(file) for file in removal.files_of(connection, trashed.number)] if claims else [],
        )
        for trashed in trash
    ]


def purge(
    database: Database, trash: Sequence[Trashed], claims: Claims | None, author: Author, progress: Progress
) -> list[PurgeRow]:
    """Empty experiments of the trash; give what was removed."""
    reports: list[PurgeRow] = []
    for done, trashed in enumerate(trash):
        progress(done, len(trash))
        with database.transaction() as connection:
            if not _begin(connection, trashed):
                continue  # it was restored a moment ago
            rows = _count_rows(connection, trashed.number)
            files = removal.files_of(connection, trashed.number) if claims else []
            series = _series(connection, trashed.number)
        decisions = [claims.remove(file) for file in files] if claims else []
        for some in series:
            with database.transaction() as connection:
                _empty(connection, trashed.number, some)
            pause_for_others()
        with database.transaction() as connection:
            _blank(connection, trashed.number, author)
        reports.append(_report(trashed, rows, decisions))
    progress(len(trash), len(trash))
    _remove_unused(database)
    return reports


def to_purge(connection: Connection, before: str, uids: Collection[str] | None) -> list[Trashed]:
    """List what was deleted before a time, oldest first, with what trackers recorded of experiments purged before."""
    beside = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} AS t WHERE t.experiment = e.id)"
        for table in ("metric_summary", "status_change", "experiment_tag", "artifact", "param")
    )
    found = connection.execute(
        "SELECT id, uid, experiment_id, deleted_at FROM experiment AS e WHERE deleted_at <= ? "
        f"AND (purged_at IS NULL OR {beside}) ORDER BY deleted_at, id",
        (before,),
    ).fetchall()
    return [Trashed(*row) for row in found if uids is None or row[1] in uids]


def _report(trashed: Trashed, rows: int, decisions: Sequence[Decision]) -> PurgeRow:
    return PurgeRow(
        experiment_id=trashed.experiment_id,
        uid=trashed.uid,
        deleted_at=trashed.deleted_at,
        rows=rows,
        files=tuple(d.path for d in decisions if not d.kept_because),
        size_bytes=sum(d.size_bytes for d in decisions),
        kept=tuple(f"{d.path}: {d.kept_because}" for d in decisions if d.kept_because),
    )


def _count_rows(connection: Connection, experiment: int) -> int:
    """Count the rows of an experiment; its points by their summaries."""
    (points,) = connection.execute(
        "SELECT coalesce(sum(count), 0) FROM metric_summary WHERE experiment = ?", (experiment,)
    ).fetchone()
    counted = [table for table in (*SERIES_TABLES, *OTHER_TABLES) if table != "metric_point"]
    return points + sum(
        connection.execute(f"SELECT count(*) FROM {table} WHERE experiment = ?", (experiment,)).fetchone()[0]
        for table in counted
    )


def _begin(connection: Connection, trashed: Trashed) -> bool:
    found = connection.execute(
        "UPDATE experiment SET purged_at = coalesce(purged_at, ?) WHERE id = ? AND deleted_at IS NOT NULL",
        (now(), trashed.number),
    )
    metrics.seal(connection, trashed.number)
    return found.rowcount > 0


def _series(connection: Connection, experiment: int) -> list[list[int]]:
    """List the metrics of an experiment in groups, each of so many points that a transaction removes them quickly."""
    found = connection.execute(
        "SELECT metric, coalesce((SELECT count FROM metric_summary AS s WHERE s.experiment = ?1 AND s.metric = "
        "m.metric), 0) FROM (SELECT metric FROM metric_summary WHERE experiment = ?1 UNION SELECT metric FROM "
        "sample_point WHERE experiment = ?1 UNION SELECT metric FROM metric_superseded WHERE experiment = ?1) AS m",
        (experiment,),
    )
    groups: list[list[int]] = []
    room = 0
    for metric, points in found.fetchall():
        if points > room or not groups:
            groups.append([])
            room = BATCH_POINTS
        groups[-1].append(metric)
        room -= points
    return groups


def _empty(connection: Connection, experiment: int, series: Sequence[int]) -> None:
    for table in SERIES_TABLES:
        connection.executemany(
            f"DELETE FROM {table} WHERE experiment = ? AND metric = ?", [(experiment, metric) for metric in series]
        )


def _blank(connection: Connection, experiment: int, author: Author) -> None:
    """Remove the rest; the rows that stay say nothing but that the experiment and its attempts were."""
    connection.execute(
        "DELETE FROM artifact_tag WHERE artifact IN (SELECT id FROM artifact WHERE experiment = ?)", (experiment,)
    )
    for table in OTHER_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE experiment = ?", (experiment,))
    connection.execute("DELETE FROM change_log WHERE experiment = ? AND subject <> 'experiment'", (experiment,))
    connection.execute("UPDATE change_log SET before = NULL, after = NULL WHERE experiment = ?", (experiment,))
    nothing = changes.ensure_config(connection, configs.capture(None, Redactor()))
    connection.execute(
        "UPDATE experiment SET experiment_name = '', project = '', \"group\" = NULL, description = '', "
        "experiment_dir = '', directory = '', config = ?, environment = NULL, error_message = '', current_epoch = 0, "
        "total_epochs = 0, training_time_seconds = 0.0, data_fingerprint = '', identity_sha256 = '' WHERE id = ?",
        (nothing, experiment),
    )
    connection.execute(
        "UPDATE attempt SET command_line = '', config = ?, config_changes = '{}', environment = NULL, end_reason = '' "
        "WHERE experiment = ?",
        (nothing, experiment),
    )
    changelog.record(connection, experiment, [Entry("experiment", "purged")], now(), author)


def _remove_unused(database: Database) -> None:
    """Remove the shared configs, environments, packages and git differences that nothing uses any more."""
    for table, users in (
        ("config", "SELECT config FROM experiment UNION SELECT config FROM attempt"),
        (
            "environment",
            "SELECT environment AS u FROM experiment WHERE u > 0 UNION SELECT environment AS u FROM "
            "attempt WHERE u > 0",
        ),
        ("package_set", "SELECT package_set AS u FROM environment WHERE u > 0"),
        ("git_diff", "SELECT git_diff AS u FROM environment WHERE u > 0"),
    ):
        # A hundred at a time: SQLite looks for the users of each by a scan.
        removed = 1
        while removed:
            with database.transaction() as connection:
                removed = connection.execute(
                    f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE id NOT IN ({users}) LIMIT 100)"
                ).rowcount
            pause_for_others()
