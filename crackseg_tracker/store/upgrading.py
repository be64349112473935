"""How an older catalog becomes one of this release: one transaction, after a proven backup, under the creation lock."""

from __future__ import annotations

import glob
import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from crackseg_tracker import schema
from crackseg_tracker.errors import CatalogBusyError, CatalogError
from crackseg_tracker.schema.fingerprints import FORMER_VIEWS
from crackseg_tracker.schema.views import VIEWS, create_view
from crackseg_tracker.store import backup, guard
from crackseg_tracker.store.holders import holders, lock_holders, named

WAIT_SECONDS = 10.0
#: How long to wait for the others to leave: who only looks at the catalog has left by then, who trains has not.
OTHERS_WAIT_SECONDS = 2.0

#: The versions that processes of an older release cannot write to, once they have them open: their upgrade waits until
#: nobody has. The others only add, with defaults: what is running goes on, and only new starts need the new release.
NOT_ADDITIVE: frozenset[int] = frozenset()


def upgrade(path: Path) -> Path | None:
    """Upgrade a catalog; the caller holds the creation lock.

    Returns:
        The backup, kept beside the catalog; None when the catalog is of this version already.

    Raises:
        CatalogBusyError: A process holds the catalog; names it. Nothing was changed.
        CatalogError: The catalog is not as the older release made it, or an object of the user's is in the way.
    """
    with closing(connect(path)) as connection:
        before = version_of(connection)
        if before >= schema.VERSION:
            return None
        guard.check(path, connection, before)
        if in_the_way := guard.names_in_the_way(connection, before):
            raise CatalogError(
                f"{path} cannot be upgraded to schema version {schema.VERSION}: it has a {in_the_way[0]} of yours, "
                "and the new version needs the name; nothing was changed: rename it, then try again"
            )
        if NOT_ADDITIVE.intersection(range(before + 1, schema.VERSION + 1)):
            _keep_out_others(path, connection)
        for leftover in path.parent.glob(f".{glob.escape(path.stem)}.version-*.draft*"):  # of one that was killed
            leftover.unlink(missing_ok=True)
        copy = _backup_path(path, before)
        backup.copy(connection, path, copy)
        try:
            migrate(connection)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise CatalogBusyError(
                f"{path} cannot be upgraded: {named(lock_holders(path))} has held its lock for {WAIT_SECONDS:.0f} s; "
                "nothing was changed: wait for it, end it, or give another catalog"
            ) from error
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # others look at the file first, without the log
    return copy


def _keep_out_others(path: Path, connection: sqlite3.Connection) -> None:
    """Have the catalog to ourselves until the connection is closed, or say who is at work on it."""
    deadline = time.monotonic() + OTHERS_WAIT_SECONDS
    connection.execute("PRAGMA busy_timeout = 0")  # the waiting is done here
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # not for a transaction only: the backup is within it
    while not _lock_out_others(path, connection):
        if time.monotonic() > deadline:
            raise CatalogBusyError(
                f"{path} cannot be upgraded to schema version {schema.VERSION} while an older release works on it: "
                f"{named(holders(path))}; nothing was changed: wait for it, end it, or give another catalog"
            )
        time.sleep(0.02)


def _lock_out_others(path: Path, connection: sqlite3.Connection) -> bool:
    """Take SQLite's exclusive lock on the file; False while anybody has the catalog open.

    A look at who has the file open is not enough: it would see neither other users and containers, nor who opens it
    after the look, finds the old version, and writes to the new one; and it would take for a holder whoever comes to
    upgrade it too. But in WAL mode everybody holds a shared lock for as long as the catalog is open. With a rollback
    journal (on network file systems) only for a statement: there we look as well.
    """
    [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
    if mode != "wal" and holders(path):
        return False
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    connection.execute("COMMIT")
    return True


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a catalog, or an empty file, to this version in one transaction. Alembic is loaded here only."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # before it loads: a user's INFO log shows our one line only
    from alembic.command import upgrade as run_migrations
    from alembic.config import Config
    from sqlalchemy import create_engine, exc, pool

    config = Config()
    config.set_main_option("script_location", "crackseg_tracker:migrations")
    config.set_main_option("path_separator", "os")
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=pool.StaticPool)
    try:
        with engine.connect() as wrapped:
            # pysqlite neither begins nor rolls back around DDL on its own: the driver is in autocommit, BEGIN is ours.
            # Said through SQLAlchemy, or Alembic would commit a transaction of its own.
            wrapped.exec_driver_sql("BEGIN IMMEDIATE")
            before = version_of(connection)  # again: now nobody can change it
            if before < schema.VERSION:
                for name in FORMER_VIEWS.get(before, ()):  # a migration may alter a table that they look at
                    connection.execute(f"DROP VIEW IF EXISTS {name}")
                config.attributes["connection"] = wrapped
                run_migrations(config, schema.REVISION)
                for name in VIEWS:
                    connection.execute(create_view(name))
                connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            wrapped.exec_driver_sql("COMMIT")
    except exc.DBAPIError as error:
        raise (error.orig or error) from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that creates or upgrades: in autocommit, for the driver would not roll back DDL."""
    connection = sqlite3.connect(
        f"file:{quote(os.fspath(path))}?mode=rw", uri=True, timeout=WAIT_SECONDS, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """Tell the schema version of an open file."""
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _backup_path(path: Path, version: int) -> Path:
    """Find a free name; an upgrade that was killed after its backup leaves one."""
    number = 1
    while True:
        suffix = f"-{number}" if number > 1 else ""
        candidate = path.with_name(f"{path.stem}.version-{version}-backup{suffix}{path.suffix}")
        if not os.path.lexists(candidate):
            return candidate
        number += 1
