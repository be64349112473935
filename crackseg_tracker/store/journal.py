"""The journal: an append-only file of records that the catalog could not take.

A line for each record: eight hexadecimal digits of CRC-32, a space, JSON. Python writes a float with as many digits as
bring the same float back, NaN and infinities included, so JSON is exact; and anybody can read the file. The first line
says whose records they are. A line that was cut off, or whose checksum is wrong, is passed over: it was never
acknowledged.

The owner holds a ``flock`` on its file for as long as it lives: the system drops that with the process, so a file whose
lock is free has no owner, and anybody may replay it. A file's name is never used again, and its ``writer`` names it in
the table ``journal_writer``.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from crackseg_tracker.folders import make_private_folder
from crackseg_tracker.store import disk, locks

FOLDER = "journal"
SUFFIX = ".journal"
FORMAT = 1
#: Of records in memory, where no folder can be written: the oldest are dropped, and counted.
MEMORY_BYTES = 32 * 1024 * 1024
#: A batch of records is about so long: it is applied in one transaction, while others wait for the lock.
BATCH_BYTES = 16 * 1024

Record = tuple[int, Any]


class Batch(NamedTuple):
    """Records in order, each with its sequence number, and where the next batch begins."""

    records: list[Record]
    next: int


def framed(sequence: int, content: Any) -> bytes:
    r"""Write a record as a line.

    Example:
        >>> framed(1, {"value": float("nan")})
        b'3e625dd8 [1, {"value": NaN}]\n'
    """
    text = json.dumps([sequence, content]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def unframed(line: bytes) -> Record | None:
    """Read a line; None when it is not whole.

    Example:
        >>> unframed(framed(1, [0.1])), unframed(framed(1, [0.1])[:-2])
        ((1, [0.1]), None)
    """
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if len(checksum) != 8 or int(checksum, 16) != zlib.crc32(text):
            return None
        sequence, content = json.loads(text)
    except ValueError:
        return None
    return sequence, content


def _next_line(journal: JournalFile | JournalMemory, content: Any) -> tuple[int, bytes]:
    """Frame a record with the next number: one later, where a signal's handler that came amid this has appended."""
    while True:
        sequence = journal.sequence + 1
        line = framed(sequence, content)
        if sequence == journal.sequence + 1:
            return sequence, line


class JournalFile:
    """A journal on disk. The one who has it open holds its lock."""

    def __init__(self, path: Path, descriptor: int, header: Any) -> None:
        self.path = path
        self.header = header
        self.writer = path.name.removesuffix(SUFFIX)
        self.dropped = 0
        #: Whether the last line has its end; what comes after one that does not would be broken too.
        self.is_whole = True
        self.sequence = 0
        self._descriptor = descriptor
        self._start = len(framed(0, header))
        self._size = os.fstat(descriptor).st_size
        self._synced = 0

    @classmethod
    def create(cls, folder: Path, header: Any) -> JournalFile:
        """Begin a file.

        Raises:
            OSError: When the folder cannot be written.
        """
        make_private_folder(folder)
        # By age, for those of one process are replayed in the order in which they were written.
        path = folder / f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            locks.try_lock(descriptor)  # before it has the name under which others look for files without an owner
            line = framed(0, header)
            if os.write(descriptor, line) != len(line):
                raise OSError(28, os.strerror(28))
            draft.rename(path)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                draft.unlink()
            raise
        return cls(path, descriptor, header)

    @classmethod
    def adopt(cls, path: Path) -> JournalFile | None:
        """Open a file whose owner is gone; None when it has one, or is gone itself."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError:
            return None
        first = None
        if locks.try_lock(descriptor) and os.fstat(descriptor).st_nlink:
            first = _header(descriptor)
        if first is None or first[1].get("format") != FORMAT:  # a later release's is left to that
            os.close(descriptor)
            return None
        return cls(path, descriptor, first[1])

    @property
    def start(self) -> int:
        """Where the first batch begins."""
        return self._start

    @property
    def end(self) -> int:
        """Where the next record will be."""
        return self._size

    def append(self, content: Any) -> None:
        """Append a record: once this returns, a killed process does not lose it.

        Raises:
            OSError: Nothing of it counts then.
        """
        sequence, line = _next_line(self, content)
        if not self.is_whole:  # Ctrl-C ended the call before, or this is in a handler that came amid it
            line = b"\n" + line
        # Before it is written: after a Ctrl-C in between, a number is missing and none given twice.
        self.sequence, self.is_whole = sequence, False
        if os.write(self._descriptor, line) != len(line):
            # A disk that fills up takes a part. What cannot be cut off again is passed over by its checksum.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise OSError(28, os.strerror(28))
        self._size = os.fstat(self._descriptor).st_size
        self.is_whole = True

    def sync(self) -> None:
        """Have it survive a power loss.

        Raises:
            OSError: It may not.
        """
        size, descriptor = self._size, self._descriptor
        if size == self._synced or descriptor < 0:
            return
        disk.sync_data(descriptor)
        if not self._synced:  # the file and its folder may be new
            disk.sync_folder(self.path.parent)
            disk.sync_folder(self.path.parent.parent)
        self._synced = size

    def batch(self, position: int) -> Batch:
        """Read about `BATCH_BYTES` of records, at least one if there is one."""
        data = os.pread(self._descriptor, BATCH_BYTES, position)
        end = data.rfind(b"\n") + 1
        if end == 0 and data:
            data = _line_at(self._descriptor, position)
            end = len(data) if data.endswith(b"\n") else 0
        lines = data[:end].splitlines(keepends=True)
        return Batch([record for line in lines if (record := unframed(line)) is not None], position + end)

    def discard(self) -> None:
        """Remove the file: all of it is in the catalog."""
        with suppress(OSError):
            self.path.unlink()
        self.release()

    def release(self) -> None:
        """Let go of the lock, which leaves the file to whoever comes."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class JournalMemory:
    """The same in memory, for when nothing can be written: bounded, and what is dropped is counted."""

    path = None
    is_whole = False  # what it had is in the catalog, and nothing is won by keeping it

    def __init__(self, header: Any) -> None:
        self.header = header
        self.writer = f"memory-{secrets.token_hex(12)}"
        self.dropped = 0
        self.start = 0
        self._lines: deque[bytes] = deque()
        self.first = 0
        self._bytes = 0
        self.sequence = 0

    @property
    def end(self) -> int:
        """Where the next record will be."""
        return self.first + len(self._lines)

    def append(self, content: Any) -> None:
        """Keep a record, and drop the oldest when there are too many."""
        sequence, line = _next_line(self, content)
        self.sequence = sequence
        self._lines.append(line)
        self._bytes += len(line)
        while self._bytes > MEMORY_BYTES:
            self._bytes -= len(self._lines.popleft())
            self.first += 1
            self.dropped += 1

    def sync(self) -> None:
        """Nothing here survives a power loss."""

    def batch(self, position: int) -> Batch:
        """Read some records."""
        records: list[Record] = []
        index, size = max(position, self.first) - self.first, 0
        while index < len(self._lines) and size < BATCH_BYTES:
            line = self._lines[index]
            record = unframed(line)
            assert record is not None
            records.append(record)
            index, size = index + 1, size + len(line)
        return Batch(records, self.first + index)

    def discard(self) -> None:
        """Forget the records: all of them are in the catalog."""
        self._lines.clear()

    def release(self) -> None:
        """Nothing is held."""


Journal = JournalFile | JournalMemory


def records(journal: Journal, start: int | None = None) -> Iterator[Record]:
    """Give the records of a journal in order: all of them, or those from a position on."""
    position = journal.start if start is None else start
    while position < journal.end:
        batch = journal.batch(position)
        if batch.next <= position:
            return
        yield from batch.records
        position = batch.next


class Inspected(NamedTuple):
    """What a journal looks like from outside."""

    header: Any
    #: Those that the catalog does not have.
    records: int
    size_bytes: int
    owned: bool


def inspect(path: Path, replayed: Mapping[str, int]) -> Inspected | None:
    """Look at a journal that may be somebody's, and leave it as it is; None when it cannot be read.

    Args:
        path: The file.
        replayed: The last record of each writer that the catalog has: a journal is kept until that is synced.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        owned = not locks.try_lock(descriptor)
        locks.unlock(descriptor)
        first = _header(descriptor)
        if first is None:
            return None
        seen = JournalFile(path, descriptor, first[1])
        done = replayed.get(seen.writer, 0)
        return Inspected(first[1], sum(sequence > done for sequence, _ in records(seen)), seen.end, owned)
    finally:
        os.close(descriptor)


def are_in(folder: str) -> bool:
    """Tell whether a folder has journals."""
    if not os.access(folder, os.F_OK):  # most have none, and the exception costs ten times as much
        return False
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(SUFFIX) for entry in entries)
    except OSError:
        return False


def files(folder: Path) -> list[Path]:
    """List the journals of a folder, oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))
    except OSError:
        return []


def _header(descriptor: int) -> Record | None:
    line = _line_at(descriptor, 0)
    return unframed(line) if line.endswith(b"\n") else None


def _line_at(descriptor: int, position: int) -> bytes:
    """Read one line, however long (a bulk of points is one record)."""
    parts: list[bytes] = []
    while part := os.pread(descriptor, 1024 * 1024, position):
        end = part.find(b"\n") + 1
        parts.append(part[: end or None])
        if end:
            break
        position += len(part)
    return b"".join(parts)
