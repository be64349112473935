"""Merging: what another catalog knows comes into this one, and a subset of this one into a new one.

The other catalog is copied first, all pages in one step: that is one state of it, whoever writes to it meanwhile; an
old one can be upgraded in the copy; and a copy that nobody else has can be proven whole before a row of it is believed.
The other file is never written to.

Experiments are then united a few at a time, each batch in a transaction of its own (`store.union` does one experiment).
One transaction for all would keep trainings from writing to this catalog for as long as the merge takes. Each batch is
consistent for itself, for an experiment is in it whole or not at all; and since a union adds only what is missing, a
merge that was cut short is completed by merging again.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple
from urllib.parse import quote

from crackseg_tracker.errors import CatalogWriteError, DamagedCatalogError, InvalidValueError
from crackseg_tracker.progress import Progress
from crackseg_tracker.rows import MergeRow
from crackseg_tracker.settings import Location
from crackseg_tracker.store import changelog, creation, integrity, pairing, union
from crackseg_tracker.store.changelog import Author, Entry
from crackseg_tracker.store.database import Database, now, open_for_reading, pause_for_others
from crackseg_tracker.store.failures import translated
from crackseg_tracker.store.locks import creation_lock
from crackseg_tracker.store.pairing import Pair

#: A batch is a transaction of at most so many experiments, or points, whichever is reached first.
BATCH_EXPERIMENTS = 50
BATCH_POINTS = 100_000


class Options(NamedTuple):
    """How to merge."""

    #: Put behind an id that another experiment here has; None skips the incoming one.
    suffix: str | None
    #: Bring back what was purged here.
    purged: bool
    dry_run: bool
    #: What the log calls the source.
    source: str


def merge(database: Database, source: Path, options: Options, author: Author, progress: Progress) -> list[MergeRow]:
    """Unite a catalog file with this catalog; give what came of each experiment."""
    _refuse_same(database.path, source)
    with _copied(source, database.path) as copy:
        numbers = _experiments(copy)
        rows: list[MergeRow] = []
        done = 0
        progress(0, len(numbers))
        for batch in _batches(numbers):
            with _attached(database, copy), database.transaction(commit=not options.dry_run) as connection:
                rows += unite_all(connection, batch, options, author)
            done += len(batch)
            progress(done, len(numbers))
            pause_for_others()
    return rows


def export(source: Path, target: Path, numbers: Sequence[int], author: Author, progress: Progress) -> list[MergeRow]:
    """Make a catalog of some experiments. It appears whole or not at all, and never in the place of a file."""
    if os.path.lexists(target):
        raise CatalogWriteError(f"{target} exists already; export to another path, or remove it first")
    if not target.parent.is_dir():
        raise CatalogWriteError(f"{target.parent} is not a folder; make it first, or export to another path")
    draft = target.with_name(f".{target.name}.crackseg-tracker-export-{os.getpid()}")
    database = Database(Location(draft, "export"))
    try:
        rows: list[MergeRow] = []
        options = Options(None, False, False, os.fspath(source))
        # One transaction, for nobody waits for the draft: so it is one state of the catalog.
        with _attached(database, source), database.transaction() as connection:
            connection.execute("PRAGMA ignore_check_constraints = OFF")  # the source is not proven here
            for done, number in enumerate(numbers):
                progress(done, len(numbers))
                rows += unite_all(connection, [number], options, author)
        with database.lock, translated(draft):
            database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        _put_in_place(draft, target)
        progress(len(numbers), len(numbers))
        return rows
    finally:
        database.close()
        _remove(draft)


def unite_all(connection: Connection, numbers: Iterable[int], options: Options, author: Author) -> list[MergeRow]:
    """Unite experiments of the attached catalog with those here, inside a transaction."""
    pairing.prepare(connection)
    rows: list[MergeRow] = []
    for theirs in numbers:
        rows += _unite_one(connection, theirs, options, author)
    return rows


def _unite_one(connection: Connection, theirs: int, options: Options, author: Author) -> list[MergeRow]:
    uid, experiment_id, created_ms, directory = connection.execute(
        "SELECT uid, experiment_id, created_ms, directory FROM theirs.experiment WHERE id = ?", (theirs,)
    ).fetchone()
    here = connection.execute(
        "SELECT id, experiment_id, created_ms, deleted_at, purged_at FROM main.experiment WHERE uid = ?", (uid,)
    ).fetchone()

    def told(outcome: str, name: str, detail: str = "", rows: int = 0) -> MergeRow:
        return MergeRow(name, uid, outcome, "experiment", detail, rows, None, None)

    if here is not None and here[4] is not None and not options.purged:
        return [told("skipped", here[1], "it was purged here; purged=True brings it back")]
    if here is not None and here[3] is not None and here[4] is None:
        return [told("skipped", here[1], "it is in the trash here; restore it first")]
    name = experiment_id if here is None or here[4] is not None else here[1]
    renamed: list[Entry] = []
    if here is None or here[4] is not None:
        taken = _taken_by(connection, name)
        if taken is not None and options.suffix is not None:
            name += options.suffix
            renamed.append(Entry("id", "changed", "", experiment_id, name))
            taken = _taken_by(connection, name)
        if taken is not None:
            detail = f"the id {name!r} is another experiment's here; suffix= takes it in under another"
            return [MergeRow(name, uid, "skipped", "experiment", detail, 0, taken, directory)]
        pair = Pair(_add(connection, theirs, name, here[0] if here else None), theirs, 0, known=False)
    else:
        pair = Pair(here[0], theirs, created_ms - here[2], known=True)
    changelog.record(connection, pair.ours, renamed, now(), author)
    tally = union.unite(connection, pair)
    if tally.added or not pair.known:
        merged = Entry("experiment", "merged", "", None, options.source)
        changelog.record(connection, pair.ours, [merged], now(), author)
    outcome = "added" if not pair.known else "extended" if tally.added else "unchanged"
    return [
        told(outcome, name, rows=tally.added),
        *(MergeRow(name, uid, "conflict", *conflict) for conflict in tally.conflicts),
    ]


def _taken_by(connection: Connection, experiment_id: str) -> str | None:
    found = connection.execute(
        "SELECT directory FROM main.experiment WHERE experiment_id = ? AND deleted_at IS NULL", (experiment_id,)
    ).fetchone()
    return None if found is None else found[0]


def _add(connection: Connection, theirs: int, name: str, purged: int | None) -> int:
    """Write down an experiment's row: a new one, or in the place of one that was purged."""
    config, environment = connection.execute(
        "SELECT config, environment FROM theirs.experiment WHERE id = ?", (theirs,)
    ).fetchone()
    facts = (name, pairing.shared_row(connection, "config", config), pairing.environment_row(connection, environment))
    special = ("id", "uid", "experiment_id", "config", "environment", "deleted_at", "purged_at")
    columns = pairing.columns_of(connection, "experiment", *special)
    if purged is None:
        return connection.execute(
            f"INSERT INTO main.experiment (uid, experiment_id, config, environment, {', '.join(columns)}) "
            f"SELECT uid, ?, ?, ?, {', '.join(columns)} FROM theirs.experiment WHERE id = ? RETURNING id",
            (*facts, theirs),
        ).fetchone()[0]
    connection.execute(
        "UPDATE main.experiment AS o SET experiment_id = ?, config = ?, environment = ?, deleted_at = NULL, "
        f"purged_at = NULL, {', '.join(f'{c} = t.{c}' for c in columns)} FROM theirs.experiment AS t "
        "WHERE t.id = ? AND o.id = ?",
        (*facts, theirs, purged),
    )
    return purged


# The other catalog


def _refuse_same(target: Path, source: Path) -> None:
    try:
        same = target.samefile(source)
    except OSError:
        return  # it is not there, which is said when it is opened
    if same:
        raise InvalidValueError(f"{source} is this catalog itself; give another one to merge")


@contextmanager
def _copied(source: Path, target: Path) -> Generator[Path]:
    """Give a copy of a catalog: of one moment, of the current version, proven whole; gone afterwards.

    It lies beside the target, where there is room for what comes out of it, under one name and a lock: so what a killed
    merge leaves is taken away by the next.
    """
    copy = target.with_name(f".{target.name}.crackseg-tracker-merge")
    with closing(open_for_reading(source, older=True)) as connection, creation_lock(copy):
        _remove(copy)
        try:
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            # All pages in one step are one state. VACUUM INTO would leave out free pages, but over a read-only
            # connection SQLite 3.40 fails at it for tables with generated columns.
            with translated(source), closing(sqlite3.connect(copy)) as target_connection:
                connection.backup(target_connection, pages=-1)
            creation.upgrade_copy(copy)
            _prove(copy, source)
            yield copy
        finally:
            _remove(copy)


# Columns that are read as JSON, which nothing in the schema guarantees.
_JSON = {
    "config": ("summary", "missing"),
    "package_set": ("packages",),
    "environment": ("gpu_info",),
    "attempt": ("config_changes",),
}


def _prove(copy: Path, source: Path) -> None:
    """Refuse a catalog of which not every row can be believed: it may be anybody's."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        try:
            problems = integrity.problems(connection)
            for table, columns in _JSON.items():
                for column in columns:
                    if connection.execute(f"SELECT 1 FROM {table} WHERE NOT json_valid({column})").fetchone():
                        problems.append(f"{table}.{column} is not JSON")
            if connection.execute("SELECT 1 FROM param WHERE typeof(value) = 'blob'").fetchone():
                problems.append("param.value is binary")
            # Text that is no UTF-8 would come to light at the first listing.
            for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
                if not table.startswith("metric_") and table != "sample_point":
                    connection.execute(f'SELECT * FROM "{table}"').fetchall()
        except sqlite3.DatabaseError as error:
            problems = [str(error)]
    if problems:
        raise DamagedCatalogError(
            f"{source} is not whole ({'; '.join(problems[:3])}); nothing was merged: restore a backup of it, or "
            "salvage it with the sqlite3 shell's .recover"
        )


def _experiments(copy: Path) -> list[tuple[int, int]]:
    """List the living experiments with their number of points."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        return connection.execute(
            "SELECT e.id, (SELECT coalesce(sum(count), 0) FROM metric_summary AS s WHERE s.experiment = e.id) FROM "
            "experiment AS e WHERE deleted_at IS NULL ORDER BY e.id"
        ).fetchall()


def _batches(experiments: Sequence[tuple[int, int]]) -> Generator[list[int]]:
    batch, weight = list[int](), 0
    for number, points in experiments:
        if batch and (len(batch) >= BATCH_EXPERIMENTS or weight + points > BATCH_POINTS):
            yield batch
            batch, weight = [], 0
        batch.append(number)
        weight += points
    if batch:
        yield batch


@contextmanager
def _attached(database: Database, path: Path) -> Generator[None]:
    """Attach a catalog as ``theirs`` to the writing connection."""
    with database.lock, translated(path):
        connection = database.connection
        connection.execute("ATTACH ? AS theirs", (f"file:{quote(os.fspath(path))}?mode=ro",))
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise DamagedCatalogError(
                f"{path} holds what no catalog can ({error}); nothing of it was merged"
            ) from error
        finally:
            with suppress(sqlite3.ProgrammingError):  # closed, after a disk failed at rolling back
                connection.execute("DETACH theirs")


def _put_in_place(draft: Path, target: Path) -> None:
    try:
        with draft.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.link(draft, target)  # unlike a rename, it fails when somebody made the target meanwhile
    except FileExistsError as error:
        raise CatalogWriteError(f"{target} exists already; export to another path, or remove it first") from error
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP) and not os.path.lexists(target):  # a file system without links
            draft.rename(target)
            return
        raise CatalogWriteError(f"{target} cannot be written ({error.strerror})") from error


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
