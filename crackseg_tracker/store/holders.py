"""Which processes of this machine are at work on a catalog: for messages that name them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Where SQLite's readers lock a write-ahead log's index (https://sqlite.org/walformat.html, "WAL locks").
_FIRST_READ_LOCK, _LAST_READ_LOCK = 123, 127


class Holder(NamedTuple):
    """A process that has a catalog open."""

    pid: int
    command: str

    def __str__(self) -> str:
        """Show it as people look for it."""
        return f"{self.pid} ({self.command})" if self.command else str(self.pid)


def holders(catalog: Path) -> list[Holder]:
    """List the other processes that have the catalog open, as far as this user may see; [] without ``/proc``."""
    try:
        wanted = catalog.stat()
    except OSError:
        return []
    return [
        Holder(int(entry.name), _command(entry))
        for entry in Path("/proc").glob("[0-9]*")
        if int(entry.name) != os.getpid() and _has_open(entry, wanted)
    ]


def lock_holders(catalog: Path) -> list[Holder]:
    """List those that hold a lock for writing; where the system does not say, all that have the catalog open."""
    locks = _locks_on(catalog, _index_of(catalog))
    writers = {lock.pid for lock in locks if lock.kind == "WRITE"}
    everyone = holders(catalog)
    return [holder for holder in everyone if holder.pid in writers] or everyone


def readers_of(catalog: Path) -> list[int]:
    """List the processes, this one too, that are reading a catalog at this moment; [] where the system does not say."""
    locks = _locks_on(_index_of(catalog))
    return sorted(
        {
            lock.pid
            for lock in locks
            if lock.kind == "READ" and lock.first <= _LAST_READ_LOCK and lock.last >= _FIRST_READ_LOCK
        }
    )


def named(found: list[Holder]) -> str:
    """Name processes in a sentence.

    Example:
        >>> named([Holder(7, "python train.py"), Holder(8, "")]), named([])
        ('process 7 (python train.py), process 8', 'another process')
    """
    return ", ".join(f"process {holder}" for holder in found) or "another process"


class _Lock(NamedTuple):
    """A lock on some bytes of a file."""

    kind: str
    pid: int
    first: int
    last: int


def _locks_on(*files: Path) -> list[_Lock]:
    """List who holds which lock, as far as the system says."""
    inodes: set[str] = set()
    for file in files:
        with suppress(OSError):
            inodes.add(str(file.stat().st_ino))
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found: list[_Lock] = []
    for line in lines:
        # 12: POSIX  ADVISORY  READ 4711 fd:01:1234 124 124
        fields = line.split()
        # By the inode alone: of some file systems (btrfs) the device is another one here than `stat` says.
        if len(fields) == 8 and fields[5].rpartition(":")[2] in inodes:
            last = sys.maxsize if fields[7] == "EOF" else int(fields[7])
            found.append(_Lock(fields[3], int(fields[4]), int(fields[6]), last))
    return found


def _index_of(catalog: Path) -> Path:
    return Path(f"{catalog}-shm")


def _has_open(process: Path, wanted: os.stat_result) -> bool:
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
            except OSError:
                continue
    except OSError:  # gone meanwhile, or somebody else's
        return False
    return False


def _command(process: Path) -> str:
    try:
        line = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""
    # It goes to a terminal, and may be of any length.
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())[:80]
