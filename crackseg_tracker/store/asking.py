"""SQL that users write: compiled under an authorizer that allows only reading, and run within the caller's bounds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from sqlite3 import Connection
from typing import Any, NamedTuple

#: How many steps of SQLite's machine (about half a millisecond) may pass without a look at the clock and at Ctrl-C.
STEPS = 10_000

_PRAGMAS = {
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
}
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


class Bounds(NamedTuple):
    """How much a question may take; None is no bound."""

    rows: int | None = None
    seconds: float | None = None
    value_bytes: int | None = None


class TimeIsUpError(Exception):
    """The question took longer than its bound."""


def ask(
    connection: Connection, query: str, params: Sequence[Any] | Mapping[str, Any], bounds: Bounds
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one statement that reads; give the names of the columns, and the rows.

    Raises:
        TimeIsUpError: It took longer than the bound.
        sqlite3.Error, sqlite3.Warning: What the driver says.
    """
    with _reading_only(connection), _interruptible(connection, bounds.seconds), _short_values(connection, bounds):
        cursor = connection.execute(query, params)
        rows = cursor.fetchall() if bounds.rows is None else list(islice(cursor, bounds.rows))
        columns = [column[0] for column in cursor.description or ()]
        cursor.close()
    return columns, rows


@contextmanager
def _reading_only(connection: Connection) -> Generator[None]:
    """Allow only reading: whatever the SQL says, the authorizer refuses the rest when it is compiled."""

    def authorize(action: int, first: str | None, second: str | None, *_: Any) -> int:
        if action == sqlite3.SQLITE_PRAGMA:
            return sqlite3.SQLITE_OK if first in _PRAGMAS else sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and second == "load_extension":
            return sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
            return sqlite3.SQLITE_OK  # json_each() and its like are declared by it; SQLite itself refuses a real one
        return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY

    connection.set_authorizer(authorize)
    try:
        yield
    finally:
        connection.set_authorizer(None)


@contextmanager
def _interruptible(connection: Connection, seconds: float | None) -> Generator[None]:
    """Stop the query when its time is up, or when a signal's handler raises (Ctrl-C).

    SQLite calls back every few steps. Python runs the handlers of signals when the callback begins to run, before a
    function could enter a ``try``; a generator is inside of its own all the time.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    raised: list[BaseException] = []

    def ticks() -> Generator[int]:
        try:
            while deadline is None or time.monotonic() < deadline:
                yield 0
            raised.append(TimeIsUpError())
        except GeneratorExit:
            raise
        except BaseException as error:
            raised.append(error)
        yield 1

    ticking = ticks()
    next(ticking)
    connection.set_progress_handler(ticking.__next__, STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if raised:
            raise raised[0] from error
        raise
    finally:
        connection.set_progress_handler(None, 0)
        ticking.close()


@contextmanager
def _short_values(connection: Connection, bounds: Bounds) -> Generator[None]:
    """Let SQLite neither read nor make a longer text or blob: the clock cannot stop one call of a function."""
    if bounds.value_bytes is None:
        yield
        return
    connection.execute("SELECT 1 FROM sqlite_schema").fetchone()  # reads the schema, whose texts may be longer
    before = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(bounds.value_bytes, 2**31 - 1))
    try:
        yield
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)
