"""A lock between processes, held on a file of its own beside the catalog."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

# Where SQLite's readers lock a write-ahead log's index (https://sqlite.org/walformat.html, "WAL locks").
_FIRST_READ_LOCK, _LAST_READ_LOCK = 123, 127


@contextmanager
def creation_lock(catalog: Path) -> Generator[None]:
    """Hold the lock under which a catalog is created or upgraded.

    ``PRAGMA journal_mode=WAL`` ignores SQLite's busy timeout, so processes that start at once would fail without it.
    The system drops the lock with its process; the file stays, for removing it would race with who waits on it.
    """
    descriptor = os.open(catalog.with_name(catalog.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt

            while True:
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
                    break
                except OSError:  # LK_LOCK gives up after ten seconds
                    continue
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unlock(descriptor: int) -> None:
    """Let go of the lock."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def try_lock(descriptor: int) -> bool:
    """Take the lock of a file that is open, unless somebody has it; it is held until the descriptor is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def readers_of(catalog: Path) -> list[int]:
    """List the processes that are reading a catalog at this moment; [] where the system does not tell."""
    try:
        status = Path(f"{catalog}-shm").stat()
        held = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return []
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    readers: set[int] = set()
    for line in held.splitlines():
        # 12: POSIX  ADVISORY  READ 4711 fd:01:1234 124 124
        fields = line.split()
        if len(fields) != 8 or fields[3] != "READ" or fields[5] != file or not fields[7].isdigit():
            continue
        if int(fields[6]) <= _LAST_READ_LOCK and int(fields[7]) >= _FIRST_READ_LOCK:
            readers.add(int(fields[4]))
    return sorted(readers)
