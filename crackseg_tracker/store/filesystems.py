"""On which file system a catalog is, and how SQLite may keep its journal there.

The write-ahead log needs memory that all processes share, which no network file system gives to several machines:
SQLite would lose commits without an error. There the catalog gets SQLite's rollback journal, with which readers and
writers wait for each other, and file locks are all that is needed.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Literal

from crackseg_tracker.errors import SettingsError

logger = logging.getLogger("crackseg_tracker")

VARIABLE = "CRACKSEG_TRACKER_JOURNAL_MODE"

# fmt: off
_NETWORK = frozenset((
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre",
    "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs",
    "vboxsf", "wekafs",
))
# fmt: on
# Behind FUSE is anything; these are known to be local, or a view of something local.
_LOCAL_FUSE = frozenset(
    ("bindfs", "encfs", "ext2", "ext4", "fuse-overlayfs", "gocryptfs", "ntfs-3g", "overlayfs", "portal", "unionfs")
)

_warned: set[Path] = set()


def network_type(path: Path, mounts: str | None = None) -> str:
    """Tell the type of the network file system that a path is on; "" where it is local, or the system does not say.

    Args:
        path: Need not exist yet.
        mounts: The text of ``/proc/self/mountinfo``.

    Example:
        >>> network_type(Path("/data/catalog.db"), "2 1 0:2 / /data rw shared:1 - nfs4 host:/x rw")
        'nfs4'
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
        path = Path(os.path.realpath(path))
    deepest, found = -1, ""
    for line in mounts.splitlines():
        mount, _, rest = line.partition(" - ")
        fields, kind = mount.split(" "), rest.split(" ")[0]
        if len(fields) < 5:
            continue
        point = Path(_unescaped(fields[4]))
        depth = len(point.parts)
        if depth >= deepest and path.is_relative_to(point):  # of two on one point, the later covers the earlier
            deepest, found = depth, kind
    family, _, name = found.partition(".")
    if family in ("fuse", "fuseblk"):
        return found if name and name not in _LOCAL_FUSE else ""
    return found if found in _NETWORK else ""


def journal_mode(path: Path) -> Literal["wal", "delete"]:
    """Tell how SQLite may keep its journal: as ``CRACKSEG_TRACKER_JOURNAL_MODE`` says, else as is safe there."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen.lower() == "wal":
        return "wal"
    if chosen.lower() == "delete":
        return "delete"
    if chosen:
        raise SettingsError(f'environment variable {VARIABLE}: {chosen!r} is unknown; give "wal" or "delete"')
    kind = network_type(path)
    if kind and path not in _warned:
        _warned.add(path)
        logger.warning(
            "%s is on a network file system (%s): its write-ahead log is off, so readers and writers wait for each "
            "other; a local path is faster and safer (if only this machine uses it: %s=wal)",
            path,
            kind,
            VARIABLE,
        )
    return "delete" if kind else "wal"


def settle(connection: sqlite3.Connection, path: Path) -> None:
    """Give an open catalog the journal mode of its place: it may have been moved, or restored from a backup."""
    wanted = journal_mode(path)
    [(mode,)] = connection.execute("PRAGMA journal_mode").fetchall()
    if mode == wanted or mode not in ("wal", "delete"):
        return
    try:
        connection.execute(f"PRAGMA journal_mode = {wanted}")
    except sqlite3.OperationalError:  # others have it open in the other mode, so the mode must stay for now
        logger.warning("%s is open elsewhere, so its journal stays in mode %r, and should be %r", path, mode, wanted)


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
