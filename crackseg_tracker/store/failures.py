"""What the driver's errors mean, said in our words in this one place."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType

from crackseg_tracker.errors import (
    CatalogBusyError,
    CatalogError,
    CatalogWriteError,
    DamagedCatalogError,
    ForeignCatalogError,
)

_BUSY = (5, 6)
_UNWRITABLE = (8, 10, 13, 14, 23)
_DAMAGED, _NO_DATABASE = 11, 26


def _primary_code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Tell whether another process holds the lock: SQLITE_BUSY with whatever extended code."""
    return _primary_code(error) == 5


def is_storage_fault(error: BaseException) -> bool:
    """Tell whether it is the file, the disk or the lock that failed, not what was asked of them."""
    return isinstance(error, CatalogError) or _primary_code(error) in (*_BUSY, *_UNWRITABLE, _DAMAGED, _NO_DATABASE)


class translated:
    """Turn the driver's errors about a catalog into ours.

    Args:
        path: The catalog.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Raise ours in place of the driver's, and leave all others as they are."""
        if isinstance(error, (sqlite3.DatabaseError, UnicodeDecodeError)):
            ours = _in_our_words(self._path, error)
            if ours is not None:
                raise ours from error


def _in_our_words(path: Path, error: sqlite3.DatabaseError | UnicodeDecodeError) -> CatalogError | None:
    code = _primary_code(error)
    if code in _BUSY:
        return CatalogBusyError(
            f"{path} is locked by another process for too long; find it (fuser {path}) and try again"
        )
    # The driver fails to tell what SQLite says where that quotes a damaged text.
    if code == _DAMAGED or isinstance(error, UnicodeDecodeError):
        return DamagedCatalogError(
            f"{path} is damaged ({error}); restore a backup, or salvage it with the sqlite3 shell's .recover"
        )
    if code == _NO_DATABASE:
        return ForeignCatalogError(f"{path} is not an SQLite database; give another path for the catalog")
    if code in _UNWRITABLE:
        return CatalogWriteError(f"{path} cannot be written ({error}); check disk space and permissions")
    return None
