"""Which files a purge may remove, and their removal.

Only what is provably the purged experiment's own: a path that one of its artifacts names, inside its folder with every
link resolved, with the very content that was recorded, and that no artifact of an experiment that stays names too (a
new experiment may have taken id and folder). A link is removed, never what it leads to.
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left
from collections.abc import Collection
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker import fingerprint


class ArtifactFile(NamedTuple):
    """What is recorded of an artifact's file or folder, and the folder of its experiment."""

    path: str
    kind: str
    size_bytes: int | None
    modified_ns: int | None
    sha256: str
    directory: str


class Decision(NamedTuple):
    """What becomes of a path: removed, or kept for a reason."""

    path: str
    size_bytes: int
    kept_because: str = ""


def files_of(connection: Connection, experiment: int) -> list[ArtifactFile]:
    """List the files that the artifacts of an experiment name, each once."""
    found = connection.execute(
        "SELECT a.absolute_path, a.kind, a.size_bytes, a.modified_ns, a.sha256, e.directory FROM artifact AS a "
        "JOIN experiment AS e ON e.id = a.experiment WHERE a.experiment = ? AND a.kind <> 'missing' "
        "GROUP BY a.absolute_path ORDER BY a.id",
        (experiment,),
    )
    return [ArtifactFile._make(row) for row in found.fetchall()]


class Claims:
    """The paths that must stay: what experiments beside the purged ones name, their folders, and the catalog's own."""

    def __init__(self, connection: Connection, catalog: Path, purged: Collection[int]) -> None:
        own = os.path.realpath(catalog)
        #: path -> why it must stay
        self._named = dict.fromkeys((own, f"{own}-wal", f"{own}-shm"), "it belongs to the catalog")
        # Under both names that a file has: as recorded, and in its experiment's folder with links resolved.
        for number, experiment_id, path, directory, inside in connection.execute(
            "SELECT e.id, e.experiment_id, a.absolute_path, e.directory, a.inside_path FROM artifact AS a "
            "JOIN experiment AS e ON e.id = a.experiment"
        ):
            if number not in purged:
                reason = f"experiment {experiment_id!r} names it too"
                self._named[path] = reason
                if inside is not None:
                    self._named[os.fspath(Path(directory, inside))] = reason
        beneath = dict(self._named)
        for number, experiment_id, directory in connection.execute(
            "SELECT id, experiment_id, directory FROM experiment WHERE directory <> ''"
        ):
            if number not in purged:
                beneath[directory] = f"experiment {experiment_id!r} has its folder there"
        self._beneath = sorted(beneath.items())

    def decide(self, file: ArtifactFile) -> Decision:
        """Tell what is to become of a file."""
        if not os.path.lexists(file.path):
            return Decision(file.path, 0, "it is not there")
        folder = Path(os.path.realpath(file.directory))
        path = Path(os.path.realpath(Path(file.path).parent), Path(file.path).name)
        if not file.directory or folder not in path.parents:
            return Decision(file.path, 0, f"it is not inside the experiment's folder {file.directory}")
        if reason := self._reason(file.path) or self._reason(os.fspath(path)):
            return Decision(file.path, 0, reason)
        if path.is_symlink():
            return Decision(file.path, 0)
        facts = fingerprint.examine(path, hash_up_to=0)
        same = facts.kind == file.kind and facts.size_bytes == file.size_bytes
        # Time for a file, the listing for a folder, whose time says nothing of the folders in it.
        same = same and (
            facts.sha256 == file.sha256 if file.kind == "folder" else facts.modified_ns == file.modified_ns
        )
        if not same:
            return Decision(file.path, 0, "it has changed since it was recorded")
        return Decision(file.path, facts.size_bytes or 0)

    def remove(self, file: ArtifactFile) -> Decision:
        """Remove a file if `decide` says so; what cannot be removed is kept, with the reason."""
        decision = self.decide(file)
        if decision.kept_because:
            return decision
        path = Path(file.path)
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            return Decision(file.path, 0, "it is not there")
        except OSError as error:
            return Decision(file.path, 0, f"it cannot be removed ({error.strerror})")
        return decision

    def _reason(self, path: str) -> str:
        """Tell why a path must stay: it, something beneath it, or a folder above it is another's."""
        if path in self._named:
            return self._named[path]
        place = bisect_left(self._beneath, (path + os.sep,))
        if place < len(self._beneath) and self._beneath[place][0].startswith(path + os.sep):
            return self._beneath[place][1]
        return next((self._named[os.fspath(p)] for p in Path(path).parents if os.fspath(p) in self._named), "")
