"""Verification: are the artifacts' files still what was recorded?

The fast way looks at size and time of modification, and reads a file only where the time differs and the size does not
(copied folders have new times). ``full`` reads every file. A digest that was never taken is taken now if the file is
still as recorded: of other content than was recorded, a digest would be worse than none.

Nothing is locked while files are read; what was found out is written down in short transactions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker import fingerprint
from crackseg_tracker.fingerprint import FileFacts
from crackseg_tracker.rows import VerificationRow


class Recorded(NamedTuple):
    """What is recorded of one artifact."""

    number: int
    experiment_id: str
    artifact_id: str
    artifact_type: str
    path: str
    directory: str
    facts: FileFacts


class Finding(NamedTuple):
    """What became of an artifact, and the facts to write down where something new is known."""

    recorded: Recorded
    row: VerificationRow
    learned: FileFacts | None = None


def verify(artifact: Recorded, catalog: Path, full: bool) -> Finding:
    """Look at one artifact's file."""
    recorded, path = artifact.facts, Path(artifact.path)
    if not artifact.path or _is_catalog(path, catalog):
        # Opening the database file by another way than SQLite's drops the process's locks on it.
        state, detail = ("missing", "no path") if not artifact.path else ("unhashed", "it is the catalog itself")
        return Finding(artifact, _row(artifact, state, None, detail))
    found = fingerprint.examine(path, hash_up_to=0)
    if found.kind == "missing":
        detail = "" if recorded.kind != "missing" else "it was missing when it was recorded"
        return Finding(artifact, _row(artifact, "missing", None, detail))
    if recorded.kind == "missing":
        detail = "it was missing when it was recorded and is there now: add it again"
        return Finding(artifact, _row(artifact, "unhashed", found.size_bytes, detail))
    if found.kind != recorded.kind:
        detail = f"a {recorded.kind} was recorded, a {found.kind} is there"
        return Finding(artifact, _row(artifact, "changed", found.size_bytes, detail))
    if recorded.kind == "folder":
        return _verify_folder(artifact, path, found)
    return _verify_file(artifact, path, found, full)


def _verify_file(artifact: Recorded, path: Path, found: FileFacts, full: bool) -> Finding:
    recorded = artifact.facts

    def told(state: str, detail: str = "", learned: FileFacts | None = None) -> Finding:
        return Finding(artifact, _row(artifact, state, found.size_bytes, detail), learned)

    if found.digest_state == "unreadable":
        return told("unreadable", "it cannot be read")
    if recorded.size_bytes is not None and found.size_bytes != recorded.size_bytes:
        return told("truncated" if (found.size_bytes or 0) < recorded.size_bytes else "changed")
    same_time = found.modified_ns == recorded.modified_ns
    if not recorded.sha256 and not same_time:
        detail = "it was written again before its digest was taken: add it again"
        return told("unhashed", detail if recorded.modified_ns else "it could not be read when it was recorded")
    if recorded.sha256 and same_time and not full:
        return told("ok")
    done = fingerprint.digest(path, found)
    if done.digest_state == "pending":
        return told("changed", "it is being written")
    if done.digest_state != "hashed":
        return told(done.digest_state, "it cannot be read")
    if recorded.sha256 and done.sha256 != recorded.sha256:
        return told("changed", "the content differs")
    # The content is proven: from now on its new time stands for it.
    return told("ok", "" if recorded.sha256 else "hashed now", None if recorded == done else done)


def _verify_folder(artifact: Recorded, path: Path, found: FileFacts) -> Finding:
    """Compare a folder's listing (names and sizes), which is what its digest is of."""
    recorded = artifact.facts
    done = fingerprint.digest(path, found)
    if done.digest_state != "hashed":
        return Finding(artifact, _row(artifact, "unreadable", None, "it cannot be listed"))
    if not recorded.sha256:
        if done.modified_ns != recorded.modified_ns:
            detail = "it was written to before its listing was taken: add it again"
            return Finding(artifact, _row(artifact, "unhashed", done.size_bytes, detail))
        return Finding(artifact, _row(artifact, "ok", done.size_bytes, "hashed now"), done)
    if done.sha256 != recorded.sha256:
        fewer = (done.file_count or 0) < (recorded.file_count or 0)
        detail = f"{done.file_count} files, {recorded.file_count} were recorded"
        return Finding(artifact, _row(artifact, "truncated" if fewer else "changed", done.size_bytes, detail))
    return Finding(artifact, _row(artifact, "ok", done.size_bytes, ""), None if recorded == done else done)


def orphans(artifacts: Sequence[Recorded], named: set[str]) -> Iterator[VerificationRow]:
    """Find files that lie where an experiment's checkpoints lie, end like them, and belong to no artifact.

    Args:
        artifacts: The artifacts that are verified.
        named: See `named_paths`.
    """
    places: dict[tuple[str, str], Recorded] = {}
    for artifact in artifacts:
        path = Path(artifact.path)
        if artifact.artifact_type == "checkpoint" and artifact.facts.kind == "file" and path.suffix:
            folder = os.path.realpath(path.parent)
            if artifact.directory and Path(folder).is_relative_to(os.path.realpath(artifact.directory)):
                places.setdefault((folder, path.suffix), artifact)
    for (folder, suffix), artifact in sorted(places.items()):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue  # its artifacts are reported as missing or unreadable
        for entry in entries:
            if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False) and entry.path not in named:
                yield VerificationRow(
                    artifact.experiment_id,
                    "",
                    "checkpoint",
                    entry.path,
                    "orphaned",
                    None,
                    entry.stat(follow_symlinks=False).st_size,
                    "no artifact names it",
                )


def _row(artifact: Recorded, state: str, found_bytes: int | None, detail: str) -> VerificationRow:
    return VerificationRow(
        artifact.experiment_id,
        artifact.artifact_id,
        artifact.artifact_type,
        artifact.path,
        state,
        artifact.facts.size_bytes,
        found_bytes,
        detail,
    )


def _is_catalog(path: Path, catalog: Path) -> bool:
    real = os.path.realpath(path)
    own = os.path.realpath(catalog)
    return real in (own, f"{own}-wal", f"{own}-shm")


def recorded(connection: Connection, keys: Sequence[tuple[str, str]]) -> list[Recorded]:
    """Read what is recorded of artifacts of living experiments, given as pairs of ids."""
    found = connection.execute(
        "SELECT a.id, e.experiment_id, a.artifact_id, a.artifact_type, a.absolute_path, e.directory, a.kind, "
        "a.size_bytes, a.modified_ns, a.file_count, a.sha256, a.digest_state FROM json_each(?) AS k JOIN experiment "
        "AS e ON e.experiment_id = k.value ->> 0 AND e.deleted_at IS NULL JOIN artifact AS a ON a.experiment = e.id "
        "AND a.artifact_id = k.value ->> 1 ORDER BY a.id",
        (json.dumps(keys),),
    )
    return [Recorded._make((*row[:6], FileFacts._make(row[6:]))) for row in found.fetchall()]


def named_paths(connection: Connection) -> set[str]:
    """List the paths that artifacts of living experiments name: as recorded, and with links to the folder resolved."""
    named: set[str] = set()
    for path, directory, inside in connection.execute(
        "SELECT a.absolute_path, e.directory, a.inside_path FROM artifact AS a JOIN experiment AS e "
        "ON e.id = a.experiment WHERE e.deleted_at IS NULL"
    ):
        named.add(path)
        if inside is not None:
            named.add(os.fspath(Path(directory, inside)))
    return named


def write_down(connection: Connection, finding: Finding) -> None:
    """Write down what was learned of a file, unless the artifact was recorded anew meanwhile."""
    before, learned = finding.recorded.facts, finding.learned
    assert learned is not None
    connection.execute(
        "UPDATE artifact SET sha256 = ?, digest_state = ?, size_bytes = ?, modified_ns = ?, file_count = ? "
        "WHERE id = ? AND sha256 = ? AND digest_state = ? AND size_bytes IS ? AND modified_ns IS ? "
        "AND absolute_path = ?",
        (
            learned.sha256,
            learned.digest_state,
            learned.size_bytes,
            learned.modified_ns,
            learned.file_count,
            finding.recorded.number,
            before.sha256,
            before.digest_state,
            before.size_bytes,
            before.modified_ns,
            finding.recorded.path,
        ),
    )
