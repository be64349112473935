"""An open catalog: where it is, a connection per thread, and the numbers behind the names."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

from crackseg_tracker import settings
from crackseg_tracker.catalog.arguments import suggestion
from crackseg_tracker.errors import NotFoundError
from crackseg_tracker.store import reading
from crackseg_tracker.store.database import keep_for_ever, open_for_reading, translated


class OpenCatalog:
    """What `Catalog`'s questions and upkeep stand on. Safe to share between threads; survives a fork."""

    def __init__(self, location: str | os.PathLike[str] | None = None) -> None:
        self.location = settings.locate(location)
        self.path = self.location.path
        self._local = threading.local()
        _ = self._connection()

    def __repr__(self) -> str:
        """Show which catalog."""
        return f"<Catalog {self.path}>"

    def __enter__(self) -> Self:
        """Give the catalog."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close this thread's connection; the next question opens it again."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid():
            held[1].close()
        self._local.held = None

    def _connection(self) -> sqlite3.Connection:
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is None or held[0] != os.getpid():
            if held is not None:
                keep_for_ever(held[1])  # inherited over a fork: never close it here
            held = self._local.held = (os.getpid(), open_for_reading(self.path))
        return held[1]

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with translated(self.path):
            yield self._connection()

    def _metric(self, connection: sqlite3.Connection, name: str) -> tuple[int, str]:
        found = connection.execute("SELECT id, mode FROM metric_name WHERE name = ?", (name,)).fetchone()
        if found is None:
            known = reading.column(connection, "SELECT name FROM metric_name ORDER BY id LIMIT 10000")
            raise NotFoundError(f"no metric {name!r} in {self.path}; {suggestion(name, known)}")
        return found

    def _experiment_number(self, connection: sqlite3.Connection, experiment_id: str) -> int:
        found = connection.execute(
            "SELECT id FROM experiment WHERE experiment_id = ? AND deleted_at IS NULL",
            (experiment_id,),
        ).fetchone()
        if found is None:
            known = reading.column(connection, "SELECT experiment_id FROM experiment WHERE deleted_at IS NULL")
            raise NotFoundError(f"no experiment {experiment_id!r} in {self.path}; {suggestion(experiment_id, known)}")
        return found[0]
