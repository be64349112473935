"""An open catalog: where it is, a connection per thread, and the numbers behind the names."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from crackseg_tracker import settings, values
from crackseg_tracker.catalog.arguments import suggestion
from crackseg_tracker.catalog.conditions import experiment_conditions, fields_of, order_terms
from crackseg_tracker.errors import InvalidValueError, NotFoundError
from crackseg_tracker.filters import ColumnField, Condition, Field, MetricField, Order, ParamField
from crackseg_tracker.store import comparing, filtering, reading
from crackseg_tracker.store.database import keep_for_ever, open_for_reading
from crackseg_tracker.store.failures import translated


class OpenCatalog:
    """What `Catalog`'s questions and upkeep stand on. Safe to share between threads; survives a fork."""

    def __init__(self, location: str | os.PathLike[str] | None = None) -> None:
        self.location = settings.locate(location)
        self.path = self.location.path
        self._local = threading.local()
        _ = self._connection()

    def __repr__(self) -> str:
        """Show which catalog."""
        return f"<Catalog {self.path}>"

    def __enter__(self) -> Self:
        """Give the catalog."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close this thread's connection; the next question opens it again."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid():
            held[1].close()
        self._local.held = None

    def _connection(self) -> sqlite3.Connection:
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is None or held[0] != os.getpid():
            if held is not None:
                keep_for_ever(held[1])  # inherited over a fork: never close it here
            held = self._local.held = (os.getpid(), open_for_reading(self.path))
        return held[1]

    def _is_own_file(self, path: str) -> bool:
        """Tell whether a path is a file of this catalog: opening and closing one cancels the locks of the process."""
        for suffix in ("", "-wal", "-shm"):
            try:
                if Path(path).samefile(f"{self.path}{suffix}"):
                    return True
            except (OSError, ValueError):
                continue
        return False

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with translated(self.path):
            yield self._connection()

    def _metric(self, connection: sqlite3.Connection, name: str) -> tuple[int, str]:
        found = connection.execute("SELECT id, mode FROM metric_name WHERE name = ?", (name,)).fetchone()
        if found is None:
            near = suggestion(name, reading.metric_names(connection))
            raise NotFoundError(f"no metric {name!r} in {self.path}; {near}")
        return found

    def _selection(self, connection: sqlite3.Connection, filters: Mapping[str, Any]) -> filtering.Selection:
        """Check the filters of experiments (see `ExperimentFilters`), and turn them into SQL."""
        return self._selected(connection, experiment_conditions(filters))

    def _selected(self, connection: sqlite3.Connection, conditions: Sequence[Condition]) -> filtering.Selection:
        """Turn conditions into SQL."""
        return filtering.selection(connection, conditions, self._metrics_of(connection, fields_of(conditions)))

    def _ordering(self, connection: sqlite3.Connection, order_by: object) -> list[Order]:
        """Give what to order by; a name is a column's, else a metric's (its best) or a param's."""
        return [
            term if isinstance(term, Order) else self._order_by_name(connection, term) for term in order_terms(order_by)
        ]

    def _order_by_name(self, connection: sqlite3.Connection, term: str) -> Order:
        name, descending = term.removeprefix("-"), term.startswith("-")
        if name in filtering.COLUMNS:
            return Order(ColumnField(name), descending)
        fields: list[Field] = []
        if reading.is_metric(connection, name):
            fields.append(MetricField(name))
        if reading.is_param(connection, name):
            fields.append(ParamField(name))
        if not fields:
            known = [*filtering.COLUMNS, *reading.metric_names(connection), *reading.param_names(connection)]
            raise NotFoundError(f"no column, metric or param {name!r} to order by; {suggestion(name, known)}")
        if len(fields) > 1:
            raise InvalidValueError(
                f"order_by {name!r} is a metric and a param; give metric({name!r}) or param({name!r})"
            )
        return Order(fields[0], descending)

    def _metrics_of(self, connection: sqlite3.Connection, fields: Iterable[Field]) -> dict[str, tuple[int, str]]:
        """Give number and mode of the metrics that are spoken of; all names must be known to the catalog."""
        metrics: dict[str, tuple[int, str]] = {}
        for field in fields:
            if isinstance(field, MetricField) and field.name not in metrics:
                metrics[field.name] = self._metric(connection, field.name)
            elif isinstance(field, ParamField) and not reading.is_param(connection, field.name):
                near = suggestion(field.name, reading.param_names(connection))
                raise NotFoundError(f"no param {field.name!r} in {self.path}; {near}")
        return metrics

    def _experiment_number(self, connection: sqlite3.Connection, experiment_id: str) -> int:
        values.checked_text(experiment_id, "experiment_id", empty=True)
        found = connection.execute(
            "SELECT id FROM experiment WHERE experiment_id = ? AND deleted_at IS NULL",
            (experiment_id,),
        ).fetchone()
        if found is None:
            raise NotFoundError(
                f"no experiment {experiment_id!r} in {self.path}; {_way_out(connection, experiment_id)}"
            )
        return found[0]

    def _experiment_numbers(self, connection: sqlite3.Connection, experiment_ids: Sequence[str]) -> list[int]:
        known = comparing.numbers(connection, experiment_ids)
        return [known.get(one) or self._experiment_number(connection, one) for one in experiment_ids]


def _way_out(connection: sqlite3.Connection, experiment_id: str) -> str:
    """Say where an experiment that is not there may be."""
    trashed = "SELECT 1 FROM experiment WHERE experiment_id = ? AND deleted_at IS NOT NULL AND purged_at IS NULL"
    if connection.execute(trashed, (experiment_id,)).fetchone():
        return f"it is in the trash: restore({experiment_id!r}) takes it out"
    known = reading.column(connection, "SELECT experiment_id FROM experiment WHERE deleted_at IS NULL")
    return suggestion(experiment_id, known)
