"""Safekeeping: backups, upgrades, and an end for what died without one."""

from __future__ import annotations

import os
from pathlib import Path

from crackseg_tracker import settings
from crackseg_tracker.catalog.arguments import words
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.filters import Words
from crackseg_tracker.progress import Progress, no_progress
from crackseg_tracker.results import Result
from crackseg_tracker.rows import SweptRow
from crackseg_tracker.store import backup, creation, sweeping
from crackseg_tracker.store.database import open_database
from crackseg_tracker.store.failures import translated


class Safekeeping(OpenCatalog):
    """What keeps a catalog and the truth about its experiments."""

    def backup(self, path: str | os.PathLike[str], *, progress: Progress | None = None) -> Path:
        """Copy the catalog as it is now into a new file, while training writes; the copy is proven whole first.

        The file appears under its name when it is complete, readable for its owner only. To restore, stop the training
        and put it in the place of the catalog. Without a backup, the ``sqlite3`` shell salvages what a damaged catalog
        still holds; the second way is for shells whose ``.recover`` fails::

            sqlite3 catalog.db .recover | sqlite3 salvaged.db
            sqlite3 catalog.db .dump | sed "s/^ROLLBACK; -- due to errors/COMMIT;/" | sqlite3 salvaged.db
            sqlite3 salvaged.db "PRAGMA application_id = 1129534539; PRAGMA user_version = 2"

        Args:
            path: A new file; missing folders are made.
            progress: Called with how many steps are done, and of how many: the copy, and each proof that it is whole.

        Raises:
            InvalidValueError: The file exists: a backup replaces nothing.
            CatalogError: The catalog is damaged, or the file cannot be written.
        """
        target = settings.locate(path).path
        with translated(target):
            backup.write(self.path, target, progress or no_progress)
        return target

    @staticmethod
    def upgrade(location: str | os.PathLike[str] | None = None) -> Path | None:
        """Bring a catalog of an earlier release to this one's version, and give the backup that is kept beside it.

        An `ExperimentTracker` does so when it opens one. A `Catalog` does not: a look must not lock out a colleague's
        earlier release.

        Args:
            location: Path or SQLAlchemy URL; default: see `crackseg_tracker.settings`.

        Returns:
            None when there was nothing to upgrade.

        Raises:
            CatalogBusyError: A process that cannot go on beside an upgrade works on it; names it.
            CatalogError: There is no catalog, or it is foreign, newer or damaged, or something of yours has a name that
                the new version needs. Nothing was changed.
        """
        found = settings.locate(location)
        with translated(found.path):
            return creation.upgrade(found)

    def sweep(self, dry_run: bool = False, *, also: Words | None = None) -> Result[SweptRow]:
        """Mark as aborted the running experiments whose process is dead, and say which.

        Dead is what facts prove (host, boot, process number and start time, a held lock), never what a clock suggests:
        a stopped or slow training is alive. One that ran on another host is "elsewhere", and left alone.

        Args:
            dry_run: Change nothing, only tell.
            also: Ids of experiments elsewhere that you know to be dead.

        Raises:
            NotFoundError: No such experiment in ``also``; suggests the nearest.
            InvalidValueError: An experiment in ``also`` is not running, or its process is alive.
        """
        ids = words(also, "also")
        if dry_run:
            with self._reading() as connection:
                known = [self._experiment_number(connection, one) for one in ids]
                rows = sweeping.find_dead(connection, self.path, known)
        else:
            with open_database(self.location).transaction() as connection:
                known = [self._experiment_number(connection, one) for one in ids]
                rows = sweeping.end_dead(connection, self.path, known)
        return Result(SweptRow._fields, rows)
