"""The write-ahead log beside a catalog: synced in time, begun anew before it is long, and missed when it is deleted.

Unlike the database the file carries no locks, so it may be opened beside SQLite. What is read of its format
(https://sqlite.org/fileformat2.html#walformat) cannot change: older releases of SQLite must read it too.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from pathlib import Path
from sqlite3 import Connection
from typing import BinaryIO

from crackseg_tracker.errors import CatalogWriteError
from crackseg_tracker.store import disk

#: A call dirties one page, and the same few pages again and again: a checkpoint costs the same two syncs for 2,000
#: frames (8 MB of log) as for the usual 1,000, and comes half as often.
CHECKPOINT_FRAMES = 2000

_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_SALTS = slice(16, 24)


class Log:
    """The write-ahead log of one catalog, as a file."""

    def __init__(self, catalog: Path) -> None:
        self.path = Path(f"{catalog}-wal")
        #: The system says once only that it lost what it had to write: the next sync succeeds all the same.
        self.failed_syncs = 0
        #: The file that was seen last, by device and inode.
        self._seen: tuple[int, int] | None = None
        #: What marks the frames that are all in the database: the next write gives the log other salts.
        self._copied_salts = b""
        self.forget_threads()

    def forget_threads(self) -> None:
        """Run in a forked child: a thread of the parent may have been in the middle of a sync."""
        self._syncing = threading.Lock()

    def sync(self) -> None:
        """Have all that is committed survive a power loss. This waits for nobody, and holds up nobody.

        Raises:
            CatalogWriteError: It cannot be synced.
        """
        try:
            with self._syncing:
                descriptor = os.open(self.path, os.O_RDWR)
                try:
                    disk.sync_data(descriptor)
                except OSError:
                    self.failed_syncs += 1
                    raise
                finally:
                    os.close(descriptor)
        except FileNotFoundError:
            return  # all is in the database, which SQLite synced when it removed the log
        except OSError as error:
            raise CatalogWriteError(
                f"{self.path} cannot be synced ({error.strerror}); check the disk and permissions"
            ) from error

    def used(self) -> int:
        """Give the bytes that are in use: a log that is begun anew is overwritten, and as long as before."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                header = file.read(_HEADER_BYTES)
                salts = header[_SALTS]
                if len(header) < _HEADER_BYTES or salts == self._copied_salts:
                    return 0
                frame_bytes = _FRAME_HEADER_BYTES + int.from_bytes(header[8:12])
                frames = range((os.fstat(file.fileno()).st_size - _HEADER_BYTES) // frame_bytes)
                used = bisect_left(frames, True, key=lambda n: _salts_of(file, n * frame_bytes) != salts)
                return _HEADER_BYTES + used * frame_bytes
        except OSError:
            return 0

    def begin_anew(self, connection: Connection) -> int | None:
        """Copy the log into the database and have it begun anew, unless another process does.

        Returns:
            None; or, when somebody reads what is not the newest state, how many frames could be copied: as many as the
            last time when that is the same reader.

        SQLite begins it anew by itself only when nobody is at it in that moment, and of many writers one always is.

        Road not taken: ``TRUNCATE``. To give back the 26 MB that eight busy writers filled within 0.4 s kept them
        waiting for 40 ms, and a log that grows costs more, to write and to sync, than one that is overwritten.

        Args:
            connection: One of its own, for the copying and syncing must hold up no call.
        """
        for _ in range(2):  # what comes during the first, long copying is the more that the last has to do
            somebody_does, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if somebody_does:
                return None
            if frames - copied > CHECKPOINT_FRAMES:
                return copied
        # What came meanwhile is left to copy: this keeps writers waiting for some milliseconds.
        before = self._salts()
        is_read, _, copied = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        if is_read:
            return copied
        self._copied_salts = before
        return None

    def _salts(self) -> bytes:
        try:
            with open(self.path, "rb", buffering=0) as file:
                return file.read(_HEADER_BYTES)[_SALTS]
        except OSError:
            return b""

    def is_missing(self) -> bool:
        """Tell whether the file that was there at the last question is not there any more."""
        try:
            status = self.path.stat()
            there = (status.st_dev, status.st_ino)
        except FileNotFoundError:
            there = None
        if self._seen is not None and there != self._seen:
            return True
        self._seen = there
        return False

    def forget(self) -> None:
        """Know of no file: the next one that is there is the right one."""
        self._seen = None


def _salts_of(file: BinaryIO, offset: int) -> bytes:
    file.seek(_HEADER_BYTES + offset + 8)
    return file.read(8)
