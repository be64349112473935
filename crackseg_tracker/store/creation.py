"""How a catalog comes to be: recognised, created whole, or upgraded, by any number of processes at once."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from crackseg_tracker import schema
from crackseg_tracker.errors import (
    CatalogWriteError,
    DamagedCatalogError,
    ForeignCatalogError,
    NewerCatalogError,
)
from crackseg_tracker.folders import make_private_folder
from crackseg_tracker.settings import Location
from crackseg_tracker.store.locks import creation_lock

logger = logging.getLogger("crackseg_tracker")


def recognise(path: Path) -> int | None:
    """Tell the schema version of the file, or None when there is none yet (absent or empty).

    Reads with ``immutable=1``: that leaves no ``-wal`` beside a stranger's file, and closing it keeps the locks
    which this process may hold on the same file (plain ``open(path).close()`` would drop them).

    Raises:
        CatalogError: When the file is foreign, newer, damaged, or no file. It is byte for byte as it was.
    """
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
    check_header(path, application, version)
    return version


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


def ensure(location: Location) -> None:
    """Make sure that a catalog of the current version is at the location."""
    path = location.path
    if recognise(path) == schema.VERSION:
        return
    try:
        make_private_folder(path.parent)
        with creation_lock(path):
            version = recognise(path)
            if version is None:
                _create(path)
                logger.info("created the catalog %s (%s)", path, location.setting)
            elif version < schema.VERSION:
                _migrate(path)
                logger.info("upgraded the catalog %s from schema version %d to %d", path, version, schema.VERSION)
    except OSError as error:
        raise CatalogWriteError(
            f"the catalog {path} cannot be created ({error.strerror or error}); choose another path with catalog= "
            "or CRACKSEG_TRACKER_CATALOG"
        ) from error


def upgrade(path: Path) -> None:
    """Bring a catalog that nobody else knows of (a copy) to the current version."""
    version = recognise(path)
    if version is not None and version < schema.VERSION:
        _migrate(path)


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
        _migrate(draft)
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _migrate(path: Path) -> None:
    """Run the packaged migrations on the file. Alembic is loaded here only: no start on an existing catalog pays it."""
    from alembic.command import upgrade
    from alembic.config import Config
    from sqlalchemy import create_engine, pool

    from crackseg_tracker.schema import views

    engine = create_engine("sqlite://", creator=lambda: _plain(path), poolclass=pool.NullPool)
    config = Config()
    config.set_main_option("script_location", "crackseg_tracker:migrations")
    config.set_main_option("path_separator", "os")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a user's INFO log shows our one line only
    with engine.connect() as connection:
        # pysqlite neither begins nor rolls back around DDL on its own: the driver is in autocommit, BEGIN is ours.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        for name in views.VIEWS:  # before the migrations: SQLite alters no table that a broken view looks at
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        upgrade(config, schema.REVISION)
        for name in views.VIEWS:
            connection.exec_driver_sql(views.create_view(name))
        connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION}")
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def _plain(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)
