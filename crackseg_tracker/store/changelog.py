"""The change log: who changed which tag, description, name, id or artifact, when.

=============  ===============================  ==========================  ==========================================
subject        action                           item                        before, after
=============  ===============================  ==========================  ==========================================
tag            added, removed                   the tag
description    changed                                                      the texts
name, id       changed                                                      the texts
artifact       added, changed                   the artifact's id           JSON of the facts that differ
artifact       relocated                        the artifact's id           the absolute paths
experiment     deleted, restored, purged
experiment     relocated                                                    the folders
experiment     merged                                                       the catalog that it came from (after)
=============  ===============================  ==========================  ==========================================

Written in the transaction of the change itself, and only for what really changed: a tag that was there already is no
change. The view ``changes`` unites it with the changes of status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker.rows import ChangeRow


class Entry(NamedTuple):
    """One change of one experiment."""

    subject: str
    action: str
    item: str = ""
    before: str | None = None
    after: str | None = None


class Author(NamedTuple):
    """Who: an attempt, which says it all, or a person at another process (upkeep)."""

    attempt: int | None = None
    hostname: str = ""
    username: str = ""


def record(connection: Connection, experiment: int, entries: Iterable[Entry], at: str, author: Author) -> None:
    """Write entries down, in the transaction of the change."""
    connection.executemany(
        "INSERT INTO change_log (experiment, subject, action, item, before, after, changed_at, attempt, hostname, "
        "username) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(experiment, *entry, at, *author) for entry in entries],
    )


def change_tags(
    connection: Connection, experiment: int, added: Sequence[str], removed: Sequence[str], at: str
) -> list[Entry]:
    """Add and remove tags of an experiment; give what really changed."""
    entries = [
        Entry("tag", "added", tag)
        for tag in added
        if connection.execute(
            "INSERT INTO experiment_tag (experiment, tag, added_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (experiment, tag, at),
        ).rowcount
    ]
    entries += [
        Entry("tag", "removed", tag)
        for tag in removed
        if connection.execute("DELETE FROM experiment_tag WHERE experiment = ? AND tag = ?", (experiment, tag)).rowcount
    ]
    return entries


_COLUMNS = {"description": "description", "name": "experiment_name", "id": "experiment_id"}


def change(connection: Connection, experiment: int, subject: str, text: str) -> list[Entry]:
    """Replace the description, name or id of an experiment; give what really changed."""
    column = _COLUMNS[subject]
    (before,) = connection.execute(f"SELECT {column} FROM experiment WHERE id = ?", (experiment,)).fetchone()
    if before == text:
        return []
    connection.execute(f"UPDATE experiment SET {column} = ? WHERE id = ?", (text, experiment))
    return [Entry(subject, "changed", "", before, text)]


def changes(
    connection: Connection, since: str | None, experiment: int | None, subjects: Sequence[str], limit: int | None
) -> list[ChangeRow]:
    """Read the log, newest first."""
    conditions, parameters = ["1"], list[str | int]()
    if since is not None:
        conditions.append("changed_at >= ?")
        parameters.append(since)
    if experiment is not None:
        conditions.append("experiment_number = ?")
        parameters.append(experiment)
    if subjects:
        conditions.append(f"subject IN ({', '.join('?' * len(subjects))})")
        parameters += subjects
    found = connection.execute(
        f"SELECT {', '.join(ChangeRow._fields)} FROM changes WHERE {' AND '.join(conditions)} "
        "ORDER BY changed_at DESC, change_number DESC LIMIT ?",
        (*parameters, -1 if limit is None else limit),
    )
    return [ChangeRow._make(row) for row in found.fetchall()]
