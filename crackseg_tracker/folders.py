"""Folders that only their owner can enter."""

from __future__ import annotations

import os
from pathlib import Path


def make_private_folder(folder: Path) -> None:
    """Create the folder and its missing parents, each 0700 (``Path.mkdir(parents=True)`` gives only the last)."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        make_private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


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
