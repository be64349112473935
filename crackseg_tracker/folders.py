"""Folders that only their owner can enter."""

from __future__ import annotations

from pathlib import Path


def make_private_folder(folder: Path) -> bool:
    """Create the folder and its missing parents, each 0700 (``Path.mkdir(parents=True)`` gives only the last).

    Returns:
        Whether it was not there before.
    """
    try:
        return _make(folder)
    except FileNotFoundError:
        make_private_folder(folder.parent)
        return _make(folder)


def _make(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        if not folder.is_dir():
            raise
        return False
    return True
