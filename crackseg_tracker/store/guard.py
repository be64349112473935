"""Whether a file's schema is ours: looked at before anything of it runs.

A trigger, a view, a CHECK or a generated column is SQL that runs when we read or write, and ``trusted_schema=OFF``
stops only the worst of it. So our own objects must be exactly as we made them, and triggers are nobody's. Tables, views
and indexes that a user added are left alone: nothing of theirs runs unless they ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker import schema
from crackseg_tracker.errors import DamagedCatalogError, ForeignCatalogError
from crackseg_tracker.schema.fingerprints import FORMER_VIEWS, TABLES_AND_INDEXES, fingerprint
from crackseg_tracker.schema.views import VIEWS, create_view

_OBJECTS = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"


def check(path: Path, connection: Connection, version: int) -> None:
    """Refuse a catalog in which something would run that is not ours, or that lacks a table.

    Raises:
        ForeignCatalogError: A trigger, or an object of ours that was changed; names it.
        DamagedCatalogError: A table is missing, or no release made this version.
    """
    if version not in TABLES_AND_INDEXES:
        raise DamagedCatalogError(
            f"{path} says that it has schema version {version}, which no release made; {_RESTORE}"
        )
    for fault in _faults(connection, version):
        if fault.kind == "trigger":
            raise ForeignCatalogError(
                f"{path} has a trigger {fault.name!r}, which would run at our writes; it was left untouched: if you "
                f"know it, drop it with the sqlite3 shell (DROP TRIGGER {fault.name})"
            )
        if fault.what == "changed":
            raise ForeignCatalogError(
                f"{path}: the {fault.kind} {fault.name!r} is not as this library made it, and may run anything; it "
                f"was left untouched: {_RESTORE}"
            )
        if fault.kind == "table":
            raise DamagedCatalogError(f"{path}: the table {fault.name!r} is missing; {_RESTORE}")


def differences(connection: Connection, version: int = schema.VERSION) -> list[str]:
    """List what differs from the schema as we made it, each with what to do; [] when nothing does."""
    return [str(fault) for fault in _faults(connection, version)]


def names_in_the_way(connection: Connection, version: int) -> list[str]:
    """List the user's objects that have a name which this version needs and the given one did not have."""
    before = {key.split()[1] for key in TABLES_AND_INDEXES[version]}.union(FORMER_VIEWS[version])
    needed = {key.split()[1] for key in TABLES_AND_INDEXES[schema.VERSION]}.union(VIEWS) - before
    return [f"{kind} {name}" for kind, name, _ in connection.execute(_OBJECTS) if name.lower() in needed]


_RESTORE = "restore a backup, or salvage its data with the sqlite3 shell's .recover"


class _Fault(NamedTuple):
    kind: str
    name: str
    what: str

    def __str__(self) -> str:
        if self.kind == "trigger":
            return f"trigger {self.name} is foreign: drop it (DROP TRIGGER {self.name})"
        return f"{self.kind} {self.name} is {'missing' if self.what == 'missing' else 'not as declared'}; {_RESTORE}"


def _faults(connection: Connection, version: int) -> Iterator[_Fault]:
    digests = TABLES_AND_INDEXES[version]
    # An older version's views are never read: the upgrade drops them.
    views = {f"view {name}": name for name in VIEWS} if version == schema.VERSION else {}
    missing = {*digests, *views}
    ours = {key.split()[1] for key in missing}
    for kind, name, sql in connection.execute(_OBJECTS).fetchall():
        key = f"{kind} {name}"
        missing.discard(key)
        as_made = fingerprint(sql) == digests[key] if key in digests else key in views and sql == create_view(name)
        if kind == "trigger" or (name.lower() in ours and not as_made):
            yield _Fault(kind, name, "changed")
    for key in sorted(missing):
        kind, name = key.split()
        yield _Fault(kind, name, "missing")
