"""Upkeep: proof that the catalog is whole."""

from __future__ import annotations

from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.store import integrity


class Upkeep(OpenCatalog):
    """What keeps a catalog in order."""

    def check(self) -> list[str]:
        """Prove that the catalog is whole: a list of problems, [] when there is none. Reads every row once."""
        with self._reading() as connection:
            return integrity.problems(connection)
