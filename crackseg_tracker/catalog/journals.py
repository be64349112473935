"""What waits in journals for the catalog."""

from __future__ import annotations

from pathlib import Path

from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.results import Result
from crackseg_tracker.rows import JournalRow
from crackseg_tracker.store import journal


class Journals(OpenCatalog):
    """What is not in the catalog yet."""

    def journals(self) -> Result[JournalRow]:
        """List what was recorded while the catalog could take no writes, and is not in it yet, oldest first.

        A process replays its own journal as soon as the catalog is back; that of a process which is gone is replayed by
        the next one that records anything. Those beside an experiment (where the catalog's folder took none) are listed
        for experiments that have not ended.
        """
        with self._reading() as connection:
            folders = connection.execute(
                "SELECT directory FROM experiment WHERE status IN ('created', 'running') ORDER BY id"
            ).fetchall()
            replayed = dict(connection.execute("SELECT writer, sequence FROM journal_writer"))
        places = [self.path.parent, *(Path(folder) for (folder,) in folders)]
        rows = [
            JournalRow(seen.header["experiment"]["experiment_id"], seen.records, seen.size_bytes, seen.owned, str(path))
            for place in places
            for path in journal.files(place / journal.FOLDER)
            if (seen := journal.inspect(path, replayed)) is not None and seen.records
        ]
        return Result(JournalRow._fields, rows)
