"""Backups: whole, proven, and there under their name only when they are both."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from crackseg_tracker import schema
from crackseg_tracker.errors import CatalogWriteError, DamagedCatalogError, InvalidValueError
from crackseg_tracker.folders import make_private_folder
from crackseg_tracker.progress import Progress, no_progress
from crackseg_tracker.store import disk, filesystems, guard, integrity


def write(source: Path, target: Path, progress: Progress = no_progress) -> None:
    """Copy a catalog as it is at one moment, whoever writes meanwhile; nobody waits for it. Raises as `copy` does."""
    # Not mode=ro: SQLite 3.40 then trips over the generated columns ("has 16 columns but 18 values").
    with closing(_connect(source)) as connection:
        copy(connection, source, target, progress)


def copy(connection: sqlite3.Connection, source: Path, target: Path, progress: Progress = no_progress) -> None:
    """Copy the catalog over a connection that is open, which may be the only one that others are not kept out by.

    ``VACUUM INTO`` reads one state in one go; the stepped backup API starts anew with each commit of another process,
    beside a fast writer for ever.

    Raises:
        InvalidValueError: The target exists, or is a folder.
        CatalogError: The source is damaged (nothing is left at the target), or the target cannot be written.
    """
    if target.is_dir():
        raise InvalidValueError(f"{target} is a folder; give the path of a file in it, e.g. {target / source.name}")
    if os.path.lexists(target):
        raise _exists(target)
    try:
        make_private_folder(target.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".draft", dir=target.parent)  # 0600
    except OSError as error:
        raise CatalogWriteError(f"{target} cannot be written ({error.strerror}); give another path") from error
    os.close(descriptor)
    draft = Path(name)
    try:
        progress(0, 1 + integrity.PROOFS)
        connection.execute("VACUUM INTO ?", (name,))
        _prove(draft, source, lambda done, total: progress(1 + done, 1 + total))
        _move_into_place(draft, target)
    finally:
        for leftover in (draft, Path(f"{name}-wal"), Path(f"{name}-shm"), Path(f"{name}-journal")):
            leftover.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    name = f"file:{quote(os.fspath(path))}?mode=rw"
    connection = sqlite3.connect(name, uri=True, timeout=10, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _prove(draft: Path, source: Path, progress: Progress) -> None:
    with closing(_connect(draft)) as connection:
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
        if version == schema.VERSION:
            problems = integrity.problems(connection, progress)
        else:
            problems = integrity.damage(connection) + guard.differences(connection, version)
        if problems:
            raise DamagedCatalogError(f"{source} cannot be backed up as it is: {'; '.join(problems[:5])}")
        # As the catalog is, so that it can simply be put in its place.
        filesystems.settle(connection, draft)


def _move_into_place(draft: Path, target: Path) -> None:
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, target)  # unlike a rename it never replaces what somebody else has put there meanwhile
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise _exists(target) from None
        draft.replace(target)
    with suppress(OSError):  # not everywhere can a folder be synced
        disk.sync_folder(target.parent)


def _exists(target: Path) -> InvalidValueError:
    return InvalidValueError(f"{target} exists, and a backup replaces nothing; give a new path")
