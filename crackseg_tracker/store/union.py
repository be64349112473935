"""The union of one experiment here with the same experiment in the attached catalog ``theirs``.

What is missing here is added, each kind of row by what makes it the same row: a point by metric and step, an attempt by
its process and start, a change of status by what and when.

Nothing that is here is overwritten by something that merely differs: that is a conflict, and reported. But an
experiment goes on, and an earlier merge may have caught it half way. So what follows from the history follows it:

- the status is that of the later change, the config that of the later attempt, the progress the farther one;
- a point (or report) that a rewind took back on one side is not on the curve of the other;
- an artifact recorded again, and a description or name changed, *from the very state that is here*, is newer, not
  different.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from sqlite3 import Connection
from typing import Any

from crackseg_tracker.schema import ENDS
from crackseg_tracker.store import metrics, pairing, union_series
from crackseg_tracker.store.pairing import Conflict, Pair, Tally, columns_of, environment_row, in_order, shared_row


def unite(connection: Connection, pair: Pair) -> Tally:
    """Add to an experiment here all that it has there."""
    pairing.clear(connection)
    tally = Tally()
    metrics.fold(connection, pair.ours)
    pairing.map_metrics(connection, pair, tally)
    pairing.map_samples(connection, pair)
    _attempts(connection, pair, tally)
    _facts(connection, pair, tally)
    _params(connection, pair, tally)
    _tags(connection, pair, tally)
    _statuses(connection, pair, tally)
    _artifacts(connection, pair, tally)
    union_series.points(connection, pair, tally)
    union_series.reports(connection, pair, tally)
    _logs(connection, pair, tally)
    if tally.added:
        connection.execute(
            "UPDATE experiment SET updated_at = max(updated_at, (SELECT updated_at FROM theirs.experiment "
            "WHERE id = ?)) WHERE id = ?",
            (pair.theirs, pair.ours),
        )
        (status,) = connection.execute("SELECT status FROM experiment WHERE id = ?", (pair.ours,)).fetchone()
        if status in ENDS:
            metrics.seal(connection, pair.ours)
    return tally


# The experiment itself


def _attempts(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Add attempts; the same process that began at the same time is the same attempt."""
    added: list[int] = []
    for theirs, ended_at, end_reason in connection.execute(
        "SELECT id, ended_at, end_reason FROM theirs.attempt WHERE experiment = ? ORDER BY number", (pair.theirs,)
    ).fetchall():
        found = connection.execute(
            "SELECT o.id FROM main.attempt AS o JOIN theirs.attempt AS t ON t.id = ? WHERE o.experiment = ? "
            "AND o.started_at = t.started_at AND o.hostname = t.hostname AND o.pid = t.pid "
            "AND o.boot_id = t.boot_id AND o.process_started = t.process_started",
            (theirs, pair.ours),
        ).fetchone()
        ours = found[0] if found else _add_attempt(connection, pair, theirs)
        if not found:
            added.append(ours)
        elif not pair.known:  # the blank row of one that was purged
            _fill_attempt(connection, ours, theirs)
        connection.execute("INSERT INTO temp.merge_attempt VALUES (?, ?)", (theirs, ours))
        tally.added += connection.execute(
            "UPDATE attempt SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL AND ? IS NOT NULL",
            (ended_at, end_reason, ours, ended_at),
        ).rowcount
    tally.added += len(added)
    if added and pair.known:
        _follow_last_attempt(connection, pair, added)


def _add_attempt(connection: Connection, pair: Pair, theirs: int) -> int:
    """Add an attempt under its number there, or the next one here; its end is written down by the caller."""
    columns = ", ".join(_attempt_columns(connection))
    # The name of the lock is of their folder; without it the process's other facts tell whether it lives.
    return connection.execute(
        f"INSERT INTO main.attempt ({columns}, experiment, number, config, environment, lock_name) "
        f"SELECT {columns}, ?1, CASE WHEN EXISTS (SELECT 1 FROM main.attempt AS o WHERE o.experiment = ?1 "
        "AND o.number = t.number) THEN (SELECT max(number) + 1 FROM main.attempt WHERE experiment = ?1) "
        "ELSE t.number END, ?2, ?3, '' FROM theirs.attempt AS t WHERE id = ?4 RETURNING id",
        (pair.ours, *_config_and_environment(connection, theirs), theirs),
    ).fetchone()[0]


def _fill_attempt(connection: Connection, ours: int, theirs: int) -> None:
    columns = ", ".join(f"{column} = t.{column}" for column in _attempt_columns(connection))
    connection.execute(
        f"UPDATE main.attempt AS o SET {columns}, config = ?, environment = ?, ended_at = t.ended_at, "
        "end_reason = t.end_reason FROM theirs.attempt AS t WHERE o.id = ? AND t.id = ?",
        (*_config_and_environment(connection, theirs), ours, theirs),
    )


def _attempt_columns(connection: Connection) -> list[str]:
    """List the columns that are copied as they are: all but this catalog's numbers, and the end, which may follow."""
    special = ("id", "experiment", "number", "config", "environment", "lock_name", "ended_at", "end_reason")
    return columns_of(connection, "attempt", *special)


def _config_and_environment(connection: Connection, theirs: int) -> tuple[int | None, int | None]:
    """Give the numbers here of an attempt's config and environment."""
    config, environment = connection.execute(
        "SELECT config, environment FROM theirs.attempt WHERE id = ?", (theirs,)
    ).fetchone()
    return shared_row(connection, "config", config), environment_row(connection, environment)


def _follow_last_attempt(connection: Connection, pair: Pair, added: Sequence[int]) -> None:
    """Take config and environment from the last attempt when that is one of theirs: it resumed the experiment."""
    last, config, environment = connection.execute(
        "SELECT id, config, environment FROM attempt WHERE experiment = ? "
        "ORDER BY started_at DESC, number DESC LIMIT 1",
        (pair.ours,),
    ).fetchone()
    if last in added:
        connection.execute(
            "UPDATE main.experiment AS o SET config = ?, environment = ?, identity_sha256 = t.identity_sha256, "
            "data_fingerprint = t.data_fingerprint FROM theirs.experiment AS t WHERE o.id = ? AND t.id = ?",
            (config, environment, pair.ours, pair.theirs),
        )
        connection.execute("DELETE FROM param WHERE experiment = ? AND source = 'config'", (pair.ours,))


_SUBJECTS = {
    "id": "experiment_id",
    "name": "experiment_name",
    "description": "description",
    "project": "project",
    "group": '"group"',
    "folder": "directory",
}
_WAS = "SELECT 1 FROM {}.change_log WHERE experiment = ? AND subject = ? AND before = ?"


def _facts(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Fill in what is not known here; the progress is the farther one."""
    columns = ", ".join(_SUBJECTS.values())
    ours = connection.execute(f"SELECT {columns} FROM main.experiment WHERE id = ?", (pair.ours,)).fetchone()
    theirs = connection.execute(f"SELECT {columns} FROM theirs.experiment WHERE id = ?", (pair.theirs,)).fetchone()
    for (subject, column), mine, other in zip(_SUBJECTS.items(), ours, theirs, strict=True):
        if not other or mine == other:
            continue
        if connection.execute(_WAS.format("main"), (pair.ours, subject, other)).fetchone():
            continue  # theirs is what ours was changed from
        newer = connection.execute(_WAS.format("theirs"), (pair.theirs, subject, mine)).fetchone()
        if not mine or (newer and subject in ("name", "description")):
            connection.execute(f"UPDATE experiment SET {column} = ? WHERE id = ?", (other, pair.ours))
            tally.added += 1
        elif subject != "folder" or not _relocated(connection, pair):
            tally.conflicts.append(Conflict("experiment", subject, 1, mine, other))
    tally.added += connection.execute(
        "UPDATE main.experiment AS o SET current_epoch = max(o.current_epoch, t.current_epoch), total_epochs = "
        "max(o.total_epochs, t.total_epochs), training_time_seconds = max(o.training_time_seconds, "
        "t.training_time_seconds) FROM theirs.experiment AS t WHERE o.id = ? AND t.id = ? AND (o.current_epoch < "
        "t.current_epoch OR o.total_epochs < t.total_epochs OR o.training_time_seconds < t.training_time_seconds)",
        (pair.ours, pair.theirs),
    ).rowcount


def _relocated(connection: Connection, pair: Pair) -> bool:
    return bool(
        connection.execute(
            "SELECT 1 FROM main.change_log WHERE experiment = ?1 AND subject = 'experiment' AND action = 'relocated' "
            "UNION ALL SELECT 1 FROM theirs.change_log WHERE experiment = ?2 AND subject = 'experiment' "
            "AND action = 'relocated'",
            (pair.ours, pair.theirs),
        ).fetchone()
    )


def _params(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Add params: those of the config only where both have one config."""
    (config,) = connection.execute("SELECT config FROM theirs.experiment WHERE id = ?", (pair.theirs,)).fetchone()
    (ours,) = connection.execute("SELECT config FROM main.experiment WHERE id = ?", (pair.ours,)).fetchone()
    same_config = shared_row(connection, "config", config) == ours
    wanted = "experiment = ?2 AND (source = 'logged' OR ?3)"
    tally.added += connection.execute(
        "INSERT INTO main.param (experiment, name, value, type, text, source) "
        "SELECT ?1, name, value, type, text, source "
        f"FROM theirs.param WHERE {wanted} ON CONFLICT DO NOTHING",
        (pair.ours, pair.theirs, same_config),
    ).rowcount
    if pair.known:
        differing = connection.execute(
            f"SELECT t.name, o.text, t.text FROM (SELECT * FROM theirs.param WHERE {wanted}) AS t JOIN main.param AS o "
            "ON o.experiment = ?1 AND o.name = t.name WHERE o.text <> t.text OR o.type <> t.type ORDER BY t.name",
            (pair.ours, pair.theirs, same_config),
        )
        tally.conflicts += [Conflict("param", name, 1, mine, other) for name, mine, other in differing.fetchall()]


def _tags(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Add tags, but not those that were taken off here since they were put on there."""
    tally.added += connection.execute(
        "INSERT INTO main.experiment_tag (experiment, tag, added_at) "
        "SELECT ?1, tag, added_at FROM theirs.experiment_tag AS t WHERE experiment = ?2 AND NOT EXISTS "
        "(SELECT 1 FROM main.change_log AS l WHERE l.experiment = ?1 AND l.subject = 'tag' "
        "AND l.action = 'removed' AND l.item = t.tag AND l.changed_at >= t.added_at) "
        "ON CONFLICT DO UPDATE SET added_at = excluded.added_at WHERE excluded.added_at < added_at",
        (pair.ours, pair.theirs),
    ).rowcount


def _statuses(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Unite the changes of status in their order; the last one is the status."""
    columns = ("status", "message", "changed_at", "hostname", "username")
    ours, theirs = _both(connection, pair, "status_change", columns)
    ours = _ending_in_status(connection, "main", pair.ours, ours)
    theirs = _ending_in_status(connection, "theirs", pair.theirs, theirs)
    missing = [row for row in theirs if row not in ours]
    if not missing:
        return
    tally.added += len(missing)
    united = in_order(ours, missing, columns.index("changed_at"))
    _rewrite(connection, pair, "status_change", columns, united)
    if not pair.known:
        return
    if set(ours) - set(theirs) and ours[-1][0] != theirs[-1][0]:
        tally.conflicts.append(Conflict("experiment", "status", 1, ours[-1][0], theirs[-1][0]))
    if united[-1] not in ours:
        connection.execute(
            "UPDATE main.experiment AS o SET status = t.status, error_message = t.error_message, completed_at = "
            "t.completed_at, started_at = coalesce(min(o.started_at, t.started_at), o.started_at, t.started_at) "
            "FROM theirs.experiment AS t WHERE o.id = ? AND t.id = ?",
            (pair.ours, pair.theirs),
        )


def _ending_in_status(
    connection: Connection, side: str, experiment: int, changes: list[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Order the changes so that the last one is the status: one that was replayed late has a later number, not time."""
    (status,) = connection.execute(f"SELECT status FROM {side}.experiment WHERE id = ?", (experiment,)).fetchone()
    if not changes or changes[-1][0] == status:
        return changes
    return sorted(changes, key=lambda change: change[2])


def _both(
    connection: Connection, pair: Pair, table: str, columns: Sequence[str]
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Read the rows of both sides in order, the attempt (as numbered here) last."""
    names = ", ".join(columns)
    ours = connection.execute(
        f"SELECT {names}, attempt FROM main.{table} WHERE experiment = ? ORDER BY id", (pair.ours,)
    ).fetchall()
    theirs = connection.execute(
        f"SELECT {names}, m.ours FROM theirs.{table} AS t LEFT JOIN temp.merge_attempt AS m ON m.theirs = t.attempt "
        "WHERE t.experiment = ? ORDER BY t.id",
        (pair.theirs,),
    ).fetchall()
    return ours, theirs


def _rewrite(
    connection: Connection, pair: Pair, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Write a history anew: its order is that of the rows' numbers."""
    connection.execute(f"DELETE FROM main.{table} WHERE experiment = ?", (pair.ours,))
    connection.executemany(
        f"INSERT INTO main.{table} (experiment, {', '.join(columns)}, attempt) VALUES (?{', ?' * (len(columns) + 1)})",
        [(pair.ours, *row) for row in rows],
    )


# Artifacts


@cache
def _unseen(side: str, other: str) -> str:
    """Tell whether a side's log has a change of an artifact that the other's has not."""
    return (
        f"EXISTS (SELECT 1 FROM {side}.change_log AS l WHERE l.experiment = ? AND l.subject = 'artifact' AND "
        "l.action = 'changed' AND l.item = ? AND NOT EXISTS (SELECT 1 FROM "
        f"{other}.change_log AS k WHERE k.experiment = ? AND k.subject = 'artifact' AND k.item = l.item AND "
        "k.changed_at = l.changed_at AND k.after IS l.after))"
    )


def _artifacts(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Add artifacts; one recorded again since it was as it is here takes the place of what is here."""
    columns = columns_of(connection, "artifact", "id", "experiment", "attempt", "artifact_id")
    found = connection.execute(
        "SELECT t.id, t.artifact_id, o.id, t.created_at = o.created_at, t.updated_at > o.updated_at, t.updated_at < "
        "o.updated_at, o.sha256, t.sha256, o.artifact_type || ' ' || o.path, t.artifact_type || ' ' || t.path, "
        "o.digest_state = 'pending' AND t.digest_state = 'hashed' AND o.modified_ns IS t.modified_ns "
        "FROM theirs.artifact AS t LEFT JOIN main.artifact AS o ON o.experiment = ?1 AND o.artifact_id = t.artifact_id "
        "WHERE t.experiment = ?2 ORDER BY t.id",
        (pair.ours, pair.theirs),
    ).fetchall()
    for theirs, artifact_id, ours, same_origin, newer, older, sha_here, sha_there, here, there, to_fill in found:
        if ours is None:
            (ours,) = connection.execute(
                f"INSERT INTO main.artifact (experiment, artifact_id, attempt, {', '.join(columns)}) SELECT ?, ?, "
                f"m.ours, {', '.join(columns)} FROM theirs.artifact AS t LEFT JOIN temp.merge_attempt AS m "
                "ON m.theirs = t.attempt WHERE t.id = ? RETURNING id",
                (pair.ours, artifact_id, theirs),
            ).fetchone()
        elif newer and same_origin and not _changed_here(connection, pair, artifact_id):
            connection.execute(
                "UPDATE main.artifact AS o SET "
                "attempt = (SELECT ours FROM temp.merge_attempt WHERE theirs = t.attempt), "
                f"{', '.join(f'{c} = t.{c}' for c in columns)} FROM theirs.artifact AS t WHERE o.id = ? AND t.id = ?",
                (ours, theirs),
            )
            connection.execute("DELETE FROM main.artifact_tag WHERE artifact = ?", (ours,))
        elif to_fill:
            connection.execute(
                "UPDATE main.artifact AS o SET sha256 = t.sha256, digest_state = t.digest_state, size_bytes = "
                "t.size_bytes, file_count = t.file_count FROM theirs.artifact AS t WHERE o.id = ? AND t.id = ?",
                (ours, theirs),
            )
        else:
            differs = (sha_here and sha_there and sha_here != sha_there) or (not same_origin and here != there)
            if differs and not (older and same_origin and not _changed_there(connection, pair, artifact_id)):
                tally.conflicts.append(
                    Conflict("artifact", artifact_id, 1, f"{here} {sha_here[:12]}", f"{there} {sha_there[:12]}")
                )
            continue
        tally.added += 1
        connection.execute(
            "INSERT INTO main.artifact_tag SELECT ?, tag FROM theirs.artifact_tag WHERE artifact = ? "
            "ON CONFLICT DO NOTHING",
            (ours, theirs),
        )


def _changed_here(connection: Connection, pair: Pair, artifact_id: str) -> bool:
    parameters = (pair.ours, artifact_id, pair.theirs)
    return bool(connection.execute(f"SELECT {_unseen('main', 'theirs')}", parameters).fetchone()[0])


def _changed_there(connection: Connection, pair: Pair, artifact_id: str) -> bool:
    parameters = (pair.theirs, artifact_id, pair.ours)
    return bool(connection.execute(f"SELECT {_unseen('theirs', 'main')}", parameters).fetchone()[0])


# Logs


def _logs(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Add what the change log tells (not of merges: they are of one catalog), and how far journals were replayed."""
    columns = ("subject", "action", "item", "before", "after", "changed_at", "hostname", "username")
    names = ", ".join(columns)
    same = " AND ".join(f"o.{column} IS t.{column}" for column in columns)
    tally.logged += connection.execute(
        f"INSERT INTO main.change_log (experiment, attempt, {names}) SELECT ?1, m.ours, {names} FROM theirs.change_log "
        "AS t LEFT JOIN temp.merge_attempt AS m ON m.theirs = t.attempt WHERE t.experiment = ?2 AND t.action <> "
        f"'merged' AND NOT EXISTS (SELECT 1 FROM main.change_log AS o WHERE o.experiment = ?1 AND {same} "
        "AND o.attempt IS m.ours) ORDER BY t.id",
        (pair.ours, pair.theirs),
    ).rowcount
    counted = columns_of(connection, "journal_writer", "writer", "experiment")
    tally.logged += connection.execute(
        f"INSERT INTO main.journal_writer (writer, experiment, {', '.join(counted)}) SELECT writer, ?, "
        f"{', '.join(counted)} FROM theirs.journal_writer WHERE experiment = ? ON CONFLICT (writer) DO UPDATE SET "
        f"{', '.join(f'{c} = excluded.{c}' for c in counted)} WHERE excluded.sequence > sequence",
        (pair.ours, pair.theirs),
    ).rowcount
