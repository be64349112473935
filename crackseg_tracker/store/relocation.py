"""Relocation: a folder was moved, and the paths that lead into it follow.

Prefixes are compared by whole parts (``/data/a`` is no prefix of ``/data/ab``), as text: neither folder need exist on
this machine. A folder that was recorded under its real name is found by the name that leads to it too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker import fingerprint
from crackseg_tracker.rows import RelocationRow
from crackseg_tracker.store import changelog
from crackseg_tracker.store.changelog import Author, Entry


class Move(NamedTuple):
    """A folder's name before and after; separators at the end are gone."""

    old: str
    new: str

    def apply(self, path: str) -> str:
        """Give where a path is now; one that is elsewhere stays.

        Example:
            >>> move = Move("/data/a", "/mnt/b")
            >>> move.apply("/data/a/best.pt"), move.apply("/data/ab"), move.apply("/data/a")
            ('/mnt/b/best.pt', '/data/ab', '/mnt/b')
        """
        rest = path[len(self.old) :]
        if not path.startswith(self.old) or (rest and rest[0] not in "/\\"):
            return path
        return self.new + rest


def moves(old_prefix: str, new_prefix: str) -> list[Move]:
    """List the moves that a person means: of the names given, and of what they really lead to."""
    given = Move(old_prefix, new_prefix)
    real = Move(os.path.realpath(old_prefix), os.path.realpath(new_prefix))
    # A folder that was moved and left a link behind leads to its new place already.
    return [given] if real == given or real.old == real.new else [given, real]


def plan(connection: Connection, steps: Sequence[Move]) -> list[RelocationRow]:
    """Tell which folders and paths change: of all experiments, those in the trash too."""
    rows: list[RelocationRow] = []
    for experiment_id, uid, directory in connection.execute(
        "SELECT experiment_id, uid, directory FROM experiment WHERE directory <> '' ORDER BY id"
    ):
        rows += _changed(RelocationRow(experiment_id, uid, "", directory, directory), steps)
    for experiment_id, uid, artifact_id, path in connection.execute(
        "SELECT e.experiment_id, e.uid, a.artifact_id, a.absolute_path FROM artifact AS a "
        "JOIN experiment AS e ON e.id = a.experiment ORDER BY a.id"
    ):
        rows += _changed(RelocationRow(experiment_id, uid, artifact_id, path, path), steps)
    return rows


def apply(connection: Connection, steps: Sequence[Move], at: str, author: Author) -> list[RelocationRow]:
    """Make the changes of `plan`."""
    rows = plan(connection, steps)
    for row in rows:
        number, given, directory = connection.execute(
            "SELECT id, experiment_dir, directory FROM experiment WHERE uid = ?", (row.uid,)
        ).fetchone()
        if not row.artifact_id:
            connection.execute(
                "UPDATE experiment SET directory = ?, experiment_dir = ? WHERE id = ?",
                (row.after, _moved(given, steps), number),
            )
            entry = Entry("experiment", "relocated", "", row.before, row.after)
        else:
            _move_artifact(connection, number, directory, row, steps)
            entry = Entry("artifact", "relocated", row.artifact_id, row.before, row.after)
        changelog.record(connection, number, [entry], at, author)
    return rows


def _move_artifact(
    connection: Connection, experiment: int, directory: str, row: RelocationRow, steps: Sequence[Move]
) -> None:
    """Change an artifact's path. ``directory`` is where the experiment's folder is now."""
    key = (experiment, row.artifact_id)
    path, inside = connection.execute(
        "SELECT path, inside_path FROM artifact WHERE experiment = ? AND artifact_id = ?", key
    ).fetchone()
    # Moved along with the experiment's folder, it has its place in it as before.
    if inside is None or os.fspath(Path(directory, inside)) != row.after:
        inside = fingerprint.inside(Path(row.after), Path(directory))
    connection.execute(
        "UPDATE artifact SET absolute_path = ?, path = ?, inside_path = ? WHERE experiment = ? AND artifact_id = ?",
        (row.after, _moved(path, steps), inside, *key),
    )


def _moved(path: str, steps: Sequence[Move]) -> str:
    return next((after for move in steps if (after := move.apply(path)) != path), path)


def _changed(row: RelocationRow, steps: Sequence[Move]) -> list[RelocationRow]:
    after = _moved(row.before, steps)
    return [] if after == row.before else [row._replace(after=after)]
