"""How a catalog comes to be: recognised, created whole, or upgraded, by any number of processes at once."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from crackseg_tracker import schema
from crackseg_tracker.errors import (
    CatalogError,
    CatalogWriteError,
    DamagedCatalogError,
    ForeignCatalogError,
    NewerCatalogError,
    OlderCatalogError,
)
from crackseg_tracker.folders import make_private_folder
from crackseg_tracker.settings import Location
from crackseg_tracker.store import filesystems, guard, upgrading
from crackseg_tracker.store.locks import creation_lock

logger = logging.getLogger("crackseg_tracker")


def recognise(path: Path) -> int | None:
    """Tell the schema version of the file, or None when there is none yet (absent or empty).

    Reads with ``immutable=1``: that leaves no ``-wal`` beside a stranger's file, and closing it keeps the locks
    which this process may hold on the same file (plain ``open(path).close()`` would drop them). But it takes no lock
    either: beside another process's upgrade it can see pages of before and of after, so what is found wrong in a file
    that changed meanwhile is looked at again.

    Raises:
        CatalogError: When the file is foreign, newer, damaged, or no file. It is byte for byte as it was.
    """
    while True:
        before = _state(path)
        try:
            return _look(path)
        except CatalogError:
            if _state(path) == before:
                raise


def _state(path: Path) -> tuple[object, ...]:
    """Give what changes when a process writes to the file, or is about to: its log comes first."""
    try:
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns, _has_log(path)
    except OSError:
        return ()


def _look(path: Path) -> int | None:
    try:
        if path.is_dir():
            raise CatalogWriteError(f"{path} is a folder; give the path of a file in it, e.g. {path / 'catalog.db'}")
        if not path.exists() or path.stat().st_size == 0:
            return None
        connection = sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro&immutable=1", uri=True)
        try:
            # A process killed within a checkpoint leaves a header that counts more pages than the file has; the
            # -wal, which is not looked at here, has them. This setting makes SQLite read the header all the same.
            connection.execute("PRAGMA writable_schema = ON")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            check_header(path, application, version)
            if not _has_log(path):  # what a log adds is looked at when the catalog is opened with it
                guard.check(path, connection, version)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise ForeignCatalogError(f"{path} is not an SQLite database; give another path for the catalog") from error
        if "unable to open" in str(error):
            raise CatalogWriteError(f"{path} cannot be read; check its permissions") from error
        raise DamagedCatalogError(
            f"{path} is damaged ({error}); restore a backup, or salvage it with the sqlite3 shell's .recover"
        ) from error
    except OSError as error:
        raise CatalogWriteError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    return version


def _has_log(path: Path) -> bool:
    try:
        return Path(f"{path}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def check_header(path: Path, application: int, version: int) -> None:
    """Refuse what is not a catalog of ours, or newer than this release."""
    if application != schema.APPLICATION_ID:
        raise ForeignCatalogError(
            f"{path} is an SQLite database of another program (application_id {application:#x}); it was left "
            "untouched: give another path for the catalog"
        )
    if version > schema.VERSION:
        raise NewerCatalogError(
            f"{path} has schema version {version}, this release knows up to {schema.VERSION}; it was left "
            "untouched: upgrade with pip install -U crackseg_tracker"
        )


def check_opened(path: Path, connection: sqlite3.Connection, *, older: bool = False) -> None:
    """Refuse an open file that is not a catalog of this version (or an ``older`` one), with our schema.

    Raises:
        OlderCatalogError: It has to be upgraded first.
    """
    [(application,)] = connection.execute("PRAGMA application_id").fetchall()
    [(version,)] = connection.execute("PRAGMA user_version").fetchall()
    check_header(path, application, version)
    if version < schema.VERSION and not older:
        raise OlderCatalogError(
            f"{path} has schema version {version}, this release reads {schema.VERSION}: upgrade it with "
            "crackseg-tracker upgrade, with Catalog.upgrade(path), or by opening an ExperimentTracker on it; each "
            "keeps a backup beside it"
        )
    guard.check(path, connection, version)


def ensure(location: Location) -> None:
    """Make sure that a catalog of the current version is at the location."""
    path = location.path
    if recognise(path) == schema.VERSION:
        return
    try:
        make_private_folder(path.parent)
        with creation_lock(path):
            if recognise(path) is None:
                _create(path)
                logger.info("created the catalog %s (%s)", path, location.setting)
            else:
                _upgrade(path)
    except OSError as error:
        raise CatalogWriteError(
            f"the catalog {path} cannot be created ({error.strerror or error}); choose another path with catalog= "
            "or CRACKSEG_TRACKER_CATALOG"
        ) from error


def upgrade(location: Location) -> Path | None:
    """Upgrade the catalog at the location; give its backup, or None when there was nothing to do."""
    path = location.path
    if recognise(path) is None:
        raise CatalogError(f"there is no catalog at {path}; an ExperimentTracker with this path creates one")
    try:
        with creation_lock(path):
            return _upgrade(path)
    except OSError as error:
        raise CatalogWriteError(f"the catalog {path} cannot be upgraded ({error.strerror or error})") from error


def upgrade_copy(path: Path) -> None:
    """Bring a catalog that nobody else knows of (a copy) to the current version, without a backup."""
    with closing(upgrading.connect(path)) as connection:
        guard.check(path, connection, upgrading.version_of(connection))
        upgrading.migrate(connection)


def _upgrade(path: Path) -> Path | None:
    copy = upgrading.upgrade(path)
    if copy is not None:
        logger.warning("upgraded the catalog %s to schema version %d; the backup is %s", path, schema.VERSION, copy)
    return copy


def _create(path: Path) -> None:
    """Build the catalog under another name and move it into place: it appears whole or not at all."""
    draft = path.with_name(f".{path.name}.crackseg-tracker-draft")
    for leftover in (
        draft,
        draft.with_name(draft.name + "-wal"),
        draft.with_name(draft.name + "-shm"),
    ):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(upgrading.connect(draft)) as connection:
            upgrading.migrate(connection)
            filesystems.settle(connection, path)
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
