"""Which processes of this machine are at work on a catalog: for messages that name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


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
    inodes: set[str] = set()
    for suffix in ("", "-shm"):
        try:
            inodes.add(str(Path(f"{catalog}{suffix}").stat().st_ino))
        except OSError:
            continue
    writers: set[int] = set()
    try:
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: POSIX  ADVISORY  WRITE 4711 fd:00:123456 120 120
            fields = line.split()
            if len(fields) >= 6 and fields[3] == "WRITE" and fields[5].rpartition(":")[2] in inodes:
                writers.add(int(fields[4]))
    except (OSError, ValueError):
        pass
    everyone = holders(catalog)
    return [holder for holder in everyone if holder.pid in writers] or everyone


def named(found: list[Holder]) -> str:
    """Name processes in a sentence.

    Example:
        >>> named([Holder(7, "python train.py"), Holder(8, "")]), named([])
        ('process 7 (python train.py), process 8', 'another process')
    """
    return ", ".join(f"process {holder}" for holder in found) or "another process"


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
