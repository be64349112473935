"""A lock between processes, held on a file of its own beside the catalog."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


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
