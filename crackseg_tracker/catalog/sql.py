"""Questions in SQL, and what the views are."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from crackseg_tracker import values
from crackseg_tracker.catalog.arguments import checked_limit, suggestion
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, NotFoundError, QueryError
from crackseg_tracker.results import Result
from crackseg_tracker.rows import ColumnRow
from crackseg_tracker.schema.contract import CONTRACT
from crackseg_tracker.store import asking

#: Below this, SQLite could not even read the declarations of its own functions.
SMALLEST_VALUE_BOUND = 1_000


class Sql(OpenCatalog):
    """What one asks in SQL."""

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] = (),
        *,
        timeout: float | None = None,
        limit: int | None = None,
        max_value_bytes: int | None = None,
        explain: bool = False,
    ) -> Result[Any]:
        """Ask in SQL, over the documented views (see `schema`). Read-only, one statement; Ctrl-C stops it.

        Args:
            query: One SELECT. Values go in as ``?`` or ``:name``, never into the text.
            params: The values: a sequence for ``?``, a mapping for ``:name``.
            timeout: Stop after so many seconds.
            limit: Give the first so many rows and read no further.
            max_value_bytes: Stop at a text or blob that is longer, stored or made by the query (at least 1000). For
                SQL of strangers give all three: the clock alone cannot stop one call of a function on huge values.
            explain: Give SQLite's plan instead, a row for each step.

        Raises:
            QueryError: The SQL is wrong, would write, attach or set a pragma, or takes more than it may.

        Example::

            catalog.sql("SELECT experiment_id, value FROM leaderboard WHERE metric = ? AND rank <= 3", ["val/iou"])
        """
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidTypeError(f"query {query!r} is a {type(query).__name__}; give a str")
        bounds = _checked_bounds(timeout, limit, max_value_bytes)
        with self._reading() as connection:
            try:
                columns, rows = asking.ask(
                    connection, f"EXPLAIN QUERY PLAN {query}" if explain else query, params, bounds
                )
            except asking.TimeIsUpError as error:
                raise QueryError(f"it took longer than timeout={timeout} in: {_shown(query)}") from error
            except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
                raise QueryError(f"{_reason(error, query, bounds)} in: {_shown(query)}") from error
        if not columns:
            raise QueryError(f"there is no question in: {_shown(query)}")
        return Result(("step",), _plan(rows)) if explain else Result(columns, rows)

    @staticmethod
    def schema(view: str | None = None) -> Result[ColumnRow]:
        """Describe the views that `sql` is asked over: each column with its type, unit and meaning.

        They are the same in every catalog of this release, so it takes none.

        Args:
            view: Of this one only; default: of all.

        Raises:
            NotFoundError: There is no such view; suggests the nearest.
        """
        if view is not None and values.checked_text(view, "view", empty=True) not in CONTRACT:
            raise NotFoundError(f"no view {view!r}; {suggestion(view, CONTRACT)}")
        rows = [
            ColumnRow(name, *column)
            for name, described in CONTRACT.items()
            if view in (None, name)
            for column in described.columns
        ]
        return Result(ColumnRow._fields, rows)


def _checked_bounds(seconds: float | None, rows: int | None, value_bytes: int | None) -> asking.Bounds:
    rows, value_bytes = checked_limit(rows, "limit"), checked_limit(value_bytes, "max_value_bytes")
    if seconds is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):  # pyright: ignore
            raise InvalidTypeError(f"timeout {seconds!r} is a {type(seconds).__name__}; give a number")
        if not (isfinite(seconds) and seconds > 0):
            raise InvalidValueError(f"timeout is {seconds}; give a number above 0, or None for no bound")
    if value_bytes is not None and value_bytes < SMALLEST_VALUE_BOUND:
        raise InvalidValueError(f"max_value_bytes is {value_bytes}; give at least {SMALLEST_VALUE_BOUND}")
    return asking.Bounds(rows, seconds, value_bytes)


def _reason(error: Exception, query: str, bounds: asking.Bounds) -> str:
    """Say what is wrong with the query, and the way out where there is one."""
    reason = str(error)
    if (
        "not authorized" in reason
        or "authorization denied" in reason
        or "prohibited" in reason
        or "may not be modified" in reason
    ):
        return f"{reason} (a question is one SELECT: it cannot write, attach or set pragmas)"
    if "one statement" in reason:
        return f"{reason} (ask one question at a time)"
    if "too big" in reason and bounds.value_bytes is not None:
        return f"{reason} (a value is longer than max_value_bytes={bounds.value_bytes})"
    if found := re.fullmatch(r"no such table: (?:main\.)?(.+)", reason):
        return f"{reason}; {suggestion(found[1], CONTRACT)}"
    if found := re.fullmatch(r"no such column: (?:.+\.)?(.+)", reason):
        asked = [view for name, view in CONTRACT.items() if re.search(rf"\b{name}\b", query)]
        known = {column.name for view in asked or CONTRACT.values() for column in view.columns}
        return f"{reason}; {suggestion(found[1], sorted(known))}"
    return reason


def _shown(query: str) -> str:
    return query[:500].encode(errors="backslashreplace").decode()


def _plan(rows: list[tuple[Any, ...]]) -> list[tuple[str]]:
    """Write SQLite's tree of steps, each below its parent by two spaces."""
    depths = {0: -1}
    steps: list[tuple[str]] = []
    for number, parent, _, step in rows:
        depths[number] = depths[parent] + 1
        steps.append(("  " * depths[number] + step,))
    return steps
