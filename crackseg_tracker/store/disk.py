"""What a power loss does not take: data and names, synced to the disk."""

from __future__ import annotations

import os
from pathlib import Path


def sync_data(descriptor: int) -> None:
    """Have a file's data survive: as SQLite does it, with what is needed to read them, but not the time of the write.

    Raises:
        OSError: It cannot be synced.
    """
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power loss: that a file is synced does not mean that its name is.

    Raises:
        OSError: It cannot be synced.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return  # Windows syncs names with the file
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
