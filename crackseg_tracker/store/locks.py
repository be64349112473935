"""Locks between processes, each held on a file of its own beside the catalog. The system drops them with their process.

Never on the catalog itself: closing any descriptor of it would drop the locks that SQLite holds there.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from crackseg_tracker.folders import make_private_folder

#: Whether the system wakes those who wait for a lock, in the order in which they came.
CAN_QUEUE = sys.platform != "win32"

_CREATION_SUFFIX = ".lock"
_LIVES_FOLDER = "attempts"
_LIFE_LOCK = re.compile(r"[0-9]+-[0-9a-f]{16}\.lock")


@contextmanager
def creation_lock(catalog: Path) -> Generator[None]:
    """Hold the lock under which a catalog is created or upgraded.

    ``PRAGMA journal_mode=WAL`` ignores SQLite's busy timeout, so processes that start at once would fail without it.
    The file stays, for removing it would race with who waits on it.
    """
    descriptor = os.open(catalog.with_name(catalog.name + _CREATION_SUFFIX), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


class LifeLock:
    """Proof that this process lives: a locked file in ``attempts/`` beside the catalog, whose name others are told.

    Raises:
        OSError: Where no file can be made or locked.
    """

    def __init__(self, catalog: Path) -> None:
        folder = catalog.parent / _LIVES_FOLDER
        make_private_folder(folder)
        self.name = f"{os.getpid()}-{secrets.token_hex(8)}.lock"
        self._path = folder / self.name
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _lock(self._descriptor, wait=False)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Remove the file and drop the lock."""
        with suppress(OSError):  # a folder that is gone or read-only by now
            self._path.unlink()
        self.let_go()

    def let_go(self) -> None:
        """Close the descriptor only: a forked child's copy would hold the parent's lock beyond the parent's death."""
        with suppress(OSError):  # whoever closes all descriptors has closed this one too
            os.close(self._descriptor)


def is_life_lock_held(catalog: Path, name: str) -> bool | None:
    """Tell whether a process holds the lock; None when there is no such file, or none that can be asked."""
    if not _LIFE_LOCK.fullmatch(name):  # the name comes from the catalog, which may be a stranger's
        return None
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(catalog.parent / _LIVES_FOLDER / name, flags)
    except OSError:
        return None
    try:
        return not _lock(descriptor, wait=False, shared=True)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def remove_life_locks_of_the_dead(catalog: Path) -> int:
    """Remove the files of killed processes; give their number."""
    removed = 0
    for path in (catalog.parent / _LIVES_FOLDER).glob("*.lock"):
        if is_life_lock_held(catalog, path.name) is False:
            with suppress(OSError):
                path.unlink()
                removed += 1
    return removed


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
        return _lock(descriptor, wait=False)
    except OSError:
        return False


def wait_for_byte(descriptor: int, byte: int) -> None:
    """Take the lock of one byte of a file, after all who asked before. Where none can be had, there is no wait."""
    with suppress(OSError):
        _lock_byte(descriptor, byte, wait=True)


def try_lock_byte(descriptor: int, byte: int) -> bool:
    """Take the lock of one byte of a file, unless another process has it."""
    try:
        _lock_byte(descriptor, byte, wait=False)
    except OSError:
        return False
    return True


def unlock_byte(descriptor: int, byte: int) -> None:
    """Let go of the lock of one byte."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)


def _lock_byte(descriptor: int, byte: int, *, wait: bool) -> None:
    if sys.platform != "win32":
        import fcntl

        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)


def _lock(descriptor: int, *, wait: bool, shared: bool = False) -> bool:
    """Lock the file; False when another process holds it and we do not wait."""
    if sys.platform == "win32":
        import msvcrt

        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.02)
    else:
        import fcntl

        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
