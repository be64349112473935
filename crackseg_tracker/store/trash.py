"""The trash: experiments that are deleted and restored (`store.purging` empties them for good).

Deleting sets ``deleted_at``, which takes an experiment out of every view but ``changes`` and frees its id; all its rows
stay. A tracker that is still at work on it goes on recording into those rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker.errors import ExperimentExistsError, ExperimentRunningError, InvalidValueError, NotFoundError
from crackseg_tracker.rows import TrashRow
from crackseg_tracker.store import changelog, liveness
from crackseg_tracker.store.changelog import Author, Entry


class Trashed(NamedTuple):
    """An experiment in the trash."""

    number: int
    uid: str
    experiment_id: str
    deleted_at: str


def delete(connection: Connection, catalog: Path, experiment: int, at: str, author: Author, force: bool) -> None:
    """Move an experiment to the trash; one that somebody works on, or may work on elsewhere, only by force."""
    (experiment_id,) = connection.execute("SELECT experiment_id FROM experiment WHERE id = ?", (experiment,)).fetchone()
    if not force and liveness.of_experiment(connection, catalog, experiment) in ("alive", "elsewhere"):
        hostname, pid = connection.execute(
            "SELECT hostname, pid FROM attempt WHERE experiment = ? ORDER BY number DESC LIMIT 1", (experiment,)
        ).fetchone() or ("", 0)
        raise ExperimentRunningError(
            f"experiment {experiment_id!r} is running (process {pid} on {hostname}); end it first, or delete it with "
            "force=True: what it goes on recording then lands in the trash"
        )
    connection.execute("UPDATE experiment SET deleted_at = ? WHERE id = ?", (at, experiment))
    changelog.record(connection, experiment, [Entry("experiment", "deleted")], at, author)


def restore(connection: Connection, trashed: Trashed, as_id: str | None, at: str, author: Author) -> str:
    """Take an experiment out of the trash, under its id or another; give the id."""
    experiment_id = as_id or trashed.experiment_id
    check_free(
        connection,
        experiment_id,
        f"restore it under another (restore({trashed.uid!r}, as_id=...)), or rename the other",
    )
    entries = [Entry("experiment", "restored")]
    if experiment_id != trashed.experiment_id:
        entries.append(Entry("id", "changed", "", trashed.experiment_id, experiment_id))
    connection.execute(
        "UPDATE experiment SET deleted_at = NULL, experiment_id = ? WHERE id = ?", (experiment_id, trashed.number)
    )
    changelog.record(connection, trashed.number, entries, at, author)
    return experiment_id


def check_free(connection: Connection, experiment_id: str, way_out: str) -> None:
    """Refuse an id that a living experiment has."""
    taken = connection.execute(
        "SELECT directory FROM experiment WHERE experiment_id = ? AND deleted_at IS NULL", (experiment_id,)
    ).fetchone()
    if taken is not None:
        raise ExperimentExistsError(
            f"experiment_id {experiment_id!r} is taken by the experiment in {taken[0]}; {way_out}"
        )


def find(connection: Connection, uid_or_id: str) -> Trashed:
    """Find one experiment of the trash by uid, or by the id that it had."""
    found = connection.execute(
        "SELECT id, uid, experiment_id, deleted_at FROM experiment WHERE deleted_at IS NOT NULL AND purged_at IS NULL "
        "AND (uid = ?1 OR experiment_id = ?1) ORDER BY deleted_at DESC",
        (uid_or_id,),
    ).fetchall()
    if not found:
        raise NotFoundError(f"no experiment {uid_or_id!r} in the trash; Catalog.trash() lists what is there")
    if len(found) > 1:
        those = ", ".join(f"{uid} (deleted {deleted_at})" for _, uid, _, deleted_at in found)
        raise InvalidValueError(f"experiment {uid_or_id!r} is {len(found)} times in the trash; give a uid: {those}")
    return Trashed(*found[0])


def rows(connection: Connection, numbers: Sequence[int] | None = None) -> list[TrashRow]:
    """List the trash, last deleted first: all of it, or those experiments."""
    found = connection.execute(
        "SELECT experiment_id, uid, experiment_name, project, status, deleted_at, (SELECT coalesce(sum(count), 0) FROM "
        "metric_summary AS s WHERE s.experiment = e.id) + (SELECT count(*) FROM metric_recent AS r WHERE r.experiment "
        "= e.id), (SELECT count(*) FROM artifact AS a WHERE a.experiment = e.id), experiment_dir FROM experiment AS e "
        "WHERE deleted_at IS NOT NULL AND purged_at IS NULL "
        "AND (?1 IS NULL OR id IN (SELECT value FROM json_each(?1))) ORDER BY deleted_at DESC, id DESC",
        (None if numbers is None else json.dumps(numbers),),
    )
    return [TrashRow._make(row) for row in found.fetchall()]
