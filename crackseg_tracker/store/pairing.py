"""An experiment here and the same one in the attached catalog ``theirs``: which number there is which number here.

Numbers of metrics, samples, attempts, configs and environments differ between catalogs, so each is looked up by name or
content, or made. What was found is kept in scratch tables, for the statements of `store.union` to join with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any, NamedTuple

from crackseg_tracker.store import metrics
from crackseg_tracker.store.changes import ensure_row, environment_digest


class Pair(NamedTuple):
    """The numbers of an experiment in both catalogs."""

    ours: int
    theirs: int
    #: What to add to their ``offset_ms``: both count from the creation.
    shift_ms: int
    #: Whether it was here before.
    known: bool


class Conflict(NamedTuple):
    """A fact that differs; ours stays."""

    subject: str
    item: str
    rows: int
    ours: str
    theirs: str


@dataclass
class Tally:
    """What came of a union."""

    added: int = 0
    #: Rows of the logs, which are no reason to call an experiment changed.
    logged: int = 0
    conflicts: list[Conflict] = field(default_factory=list)


_MAPS = ("merge_metric", "merge_sample", "merge_attempt")
_GONE = ("merge_gone_here", "merge_gone_there")


def prepare(connection: Connection) -> None:
    """Make the scratch tables of a connection; to be called inside a transaction."""
    for name in _MAPS:
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} (theirs INTEGER PRIMARY KEY, ours INTEGER)")
    for name in _GONE:
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} (metric, sample, step, value, offset_ms)")


def clear(connection: Connection) -> None:
    """Empty the scratch tables for the next experiment."""
    for name in (*_MAPS, *_GONE):
        connection.execute(f"DELETE FROM temp.{name}")


def columns_of(connection: Connection, table: str, *without: str) -> list[str]:
    """List a table's columns, quoted."""
    found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return [f'"{name}"' for (name,) in found if name not in without]


def shared_row(connection: Connection, table: str, number: int | None) -> int | None:
    """Give the number here of their config, package set or git difference; written down when it is not here yet."""
    if number is None:
        return None
    (sha256,) = connection.execute(f"SELECT sha256 FROM theirs.{table} WHERE id = ?", (number,)).fetchone()
    found = connection.execute(f"SELECT id FROM main.{table} WHERE sha256 = ?", (sha256,)).fetchone()
    if found is None:
        columns = ", ".join(columns_of(connection, table, "id"))
        found = connection.execute(
            f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM theirs.{table} WHERE id = ? RETURNING id",
            (number,),
        ).fetchone()
    return found[0]


def environment_row(connection: Connection, number: int | None) -> int | None:
    """Give the number here of their environment."""
    if number is None:
        return None
    cursor = connection.execute("SELECT * FROM theirs.environment WHERE id = ?", (number,))
    facts = dict(zip((c[0] for c in cursor.description), cursor.fetchone(), strict=True))
    facts["package_set"] = shared_row(connection, "package_set", facts["package_set"])
    facts["git_diff"] = shared_row(connection, "git_diff", facts["git_diff"])
    # Not their digest: older releases made it of numbers that mean something in one catalog only.
    del facts["id"], facts["sha256"]
    contents = (_sha256_of(connection, table, facts[table]) for table in ("package_set", "git_diff"))
    return ensure_row(connection, "main.environment", environment_digest(facts, *contents), facts)


def _sha256_of(connection: Connection, table: str, number: int | None) -> str | None:
    found = connection.execute(f"SELECT sha256 FROM main.{table} WHERE id = ?", (number,)).fetchone()
    return found and found[0]


def map_metrics(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Find the metrics' numbers; a definition outranks an assumption, two that differ are a conflict."""
    found = connection.execute(
        "SELECT n.id, n.name, n.mode, n.mode_source, n.unit, n.description FROM theirs.metric_name AS n WHERE n.id IN "
        "(SELECT metric FROM theirs.metric_summary WHERE experiment = ?1 UNION SELECT metric FROM theirs.metric_report "
        "WHERE experiment = ?1 UNION SELECT metric FROM theirs.sample_point WHERE experiment = ?1 UNION SELECT metric "
        "FROM theirs.metric_superseded WHERE experiment = ?1) ORDER BY n.id",
        (pair.theirs,),
    ).fetchall()
    for theirs, name, mode, source, unit, description in found:
        ours = metrics.intern(connection, name)
        connection.execute("INSERT INTO temp.merge_metric VALUES (?, ?)", (theirs, ours))
        here = connection.execute(
            "SELECT mode, mode_source, unit, description FROM metric_name WHERE id = ?", (ours,)
        ).fetchone()
        if source == "defined" and here[1] == "assumed":
            connection.execute("UPDATE metric_name SET mode = ?, mode_source = 'defined' WHERE id = ?", (mode, ours))
        elif source == "defined" and here[0] != mode:
            tally.conflicts.append(Conflict("metric", f"mode of {name}", 1, here[0], mode))
        for column, mine, other in (("unit", here[2], unit), ("description", here[3], description)):
            if other and not mine:
                connection.execute(f"UPDATE metric_name SET {column} = ? WHERE id = ?", (other, ours))
            elif other and mine != other:
                tally.conflicts.append(Conflict("metric", f"{column} of {name}", 1, mine, other))


def map_samples(connection: Connection, pair: Pair) -> None:
    """Find the samples' numbers."""
    used = (
        "SELECT sample FROM theirs.sample_point WHERE experiment = ?1 UNION SELECT sample FROM "
        "theirs.metric_superseded WHERE experiment = ?1"
    )
    connection.execute(
        f"INSERT INTO main.sample (split, name) SELECT split, name FROM theirs.sample WHERE id IN ({used}) "
        "ON CONFLICT DO NOTHING",
        (pair.theirs,),
    )
    connection.execute(
        "INSERT INTO temp.merge_sample SELECT t.id, o.id FROM theirs.sample AS t JOIN main.sample AS o "
        f"ON o.split = t.split AND o.name = t.name WHERE t.id IN ({used})",
        (pair.theirs,),
    )


def in_order(ours: Sequence[tuple[Any, ...]], theirs: Sequence[tuple[Any, ...]], time: int) -> list[tuple[Any, ...]]:
    """Put two histories into one by time; within each the order stays, whatever its clock did."""
    timed: list[tuple[str, tuple[Any, ...]]] = []
    for history in (ours, theirs):
        latest = ""
        for row in history:
            latest = max(latest, row[time])
            timed.append((latest, row))
    return [row for _, row in sorted(timed, key=lambda pair: pair[0])]
