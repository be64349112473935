"""`Catalog`: the read side, for scripts and notebooks."""

from __future__ import annotations

import difflib
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

from crackseg_tracker import settings, values
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, NotFoundError, QueryError
from crackseg_tracker.rows import ArtifactRow, BestRow, ExperimentRow, PointRow, Result, TagRow
from crackseg_tracker.schema import STATUSES
from crackseg_tracker.store import integrity, reading
from crackseg_tracker.store.database import keep_for_ever, open_for_reading, translated

Words = str | Sequence[str]


class Catalog:
    """All experiments of a catalog, read-only: training may write meanwhile.

    Args:
        location: Path or SQLAlchemy URL; default: see `crackseg_tracker.settings`.

    Raises:
        CatalogError: There is no catalog yet, or the file is foreign, newer or damaged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from crackseg_tracker import ExperimentTracker
        >>> with TemporaryDirectory() as folder:
        ...     path = f"{folder}/c/catalog.db"
        ...     with ExperimentTracker(f"{folder}/a", "a", catalog=path) as tracker:
        ...         tracker.log_metrics({"iou": 0.7}, step=3)
        ...     with Catalog(path) as catalog:
        ...         [(row.experiment_id, row.value, row.step) for row in catalog.best("iou")]
        [('a', 0.7, 3)]
    """

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

    # Questions

    def experiments(
        self,
        *,
        project: Words | None = None,
        status: Words | None = None,
        tags: Words | None = None,
        name: Words | None = None,
        experiment_id: Words | None = None,
        group: Words | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Result[ExperimentRow]:
        """List experiments, oldest first.

        Args:
            project: One or several.
            status: One or several of created, running, completed, failed, aborted.
            tags: The experiments that have all of them.
            name: Experiment names; ``*`` stands for any characters.
            experiment_id: Ids; ``*`` stands for any characters.
            group: One or several.
            limit: At most so many.
            offset: Skip so many.
        """
        for one in _words(status, "status"):
            if one not in STATUSES:
                raise InvalidValueError(f"status {one!r} is unknown; {_suggestion(one, STATUSES)}")
        filters = reading.Filters()
        filters.any_of("e.project", _words(project, "project"))
        filters.any_of("e.status", _words(status, "status"))
        filters.any_of('e."group"', _words(group, "group"))
        filters.any_like("e.experiment_name", _words(name, "name"))
        filters.any_like("e.experiment_id", _words(experiment_id, "experiment_id"))
        filters.tagged("experiment_tag", "experiment", "e.id", _words(tags, "tags"))
        with self._reading() as connection:
            rows = reading.experiments(connection, filters, _limit(limit), _limit(offset) or 0)
        return Result(ExperimentRow._fields, rows)

    def experiment(self, experiment_id: str) -> ExperimentRow:
        """Give one experiment.

        Raises:
            NotFoundError: Suggests the nearest ids.
        """
        values.checked_text(experiment_id, "experiment_id")
        filters = reading.Filters()
        filters.any_of("e.experiment_id", [experiment_id])
        with self._reading() as connection:
            rows = reading.experiments(connection, filters, 1, 0)
            if not rows:
                known = reading.column(connection, "SELECT experiment_id FROM experiment WHERE deleted_at IS NULL")
                raise NotFoundError(
                    f"no experiment {experiment_id!r} in {self.path}; {_suggestion(experiment_id, known)}"
                )
        return rows[0]

    def best(
        self,
        metric: str,
        mode: Literal["max", "min"] | None = None,
        limit: int | None = 10,
        *,
        project: Words | None = None,
        status: Words | None = None,
        tags: Words | None = None,
    ) -> Result[BestRow]:
        """Rank the experiments by their best value of a metric: best first, ties in order of creation.

        The best is the better, by mode, of the last report and the logged extreme. NaN and infinities never win.

        Args:
            metric: Its name, exactly.
            mode: "max" or "min"; default: as defined for the metric, else assumed from its name.
            limit: At most so many; None for all.
            project: One or several.
            status: One or several.
            tags: The experiments that have all of them.

        Raises:
            NotFoundError: Nobody recorded such a metric; suggests the nearest names.
        """
        values.checked_name(metric)
        filters = reading.Filters()
        filters.any_of("e.project", _words(project, "project"))
        filters.any_of("e.status", _words(status, "status"))
        filters.tagged("experiment_tag", "experiment", "e.id", _words(tags, "tags"))
        with self._reading() as connection:
            number, default = self._metric(connection, metric)
            chosen = default if mode is None else values.checked_mode(mode)
            rows = reading.best(connection, metric, number, chosen, _limit(limit), filters)
        return Result(BestRow._fields, rows)

    def artifacts(
        self,
        artifact_type: Words | None = None,
        tags: Words | None = None,
        experiment_id: Words | None = None,
        *,
        artifact_id: Words | None = None,
        digest_state: Words | None = None,
        limit: int | None = None,
    ) -> Result[ArtifactRow]:
        """List artifacts of all experiments, oldest first.

        Args:
            artifact_type: One or several.
            tags: The artifacts that have all of them.
            experiment_id: Ids of experiments; ``*`` stands for any characters.
            artifact_id: Ids of artifacts; ``*`` stands for any characters.
            digest_state: "hashed", "pending", "missing", "unreadable".
            limit: At most so many.
        """
        filters = reading.Filters()
        filters.any_of("a.artifact_type", _words(artifact_type, "artifact_type"))
        filters.any_of("a.digest_state", _words(digest_state, "digest_state"))
        filters.any_like("e.experiment_id", _words(experiment_id, "experiment_id"))
        filters.any_like("a.artifact_id", _words(artifact_id, "artifact_id"))
        filters.tagged("artifact_tag", "artifact", "a.id", _words(tags, "tags"))
        with self._reading() as connection:
            rows = reading.artifacts(connection, filters, _limit(limit))
        return Result(ArtifactRow._fields, rows)

    def tags(self) -> Result[TagRow]:
        """List all tags with how many experiments and artifacts have them, by name."""
        with self._reading() as connection:
            return Result(TagRow._fields, reading.tags(connection))

    def params(self, experiment_id: str) -> dict[str, str | int | float | None]:
        """Give the params of an experiment by dotted name: its config's and what it logged."""
        self.experiment(experiment_id)
        with self._reading() as connection:
            return dict(
                connection.execute(
                    "SELECT name, value FROM params WHERE experiment_id = ? ORDER BY name",
                    (experiment_id,),
                ).fetchall()
            )

    def history(
        self, metric: Words, experiments: Words, *, start: int = 0, stop: int | None = None
    ) -> Result[PointRow]:
        """Give curves: the points of metrics of experiments, by experiment, metric and step. NaN is NaN.

        Args:
            metric: One or several names.
            experiments: One or several experiment ids.
            start: First step.
            stop: The step before which to stop; default: to the end.
        """
        rows: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for experiment_id in _words(experiments, "experiments"):
                experiment = self._experiment_number(connection, experiment_id)
                for name in _words(metric, "metric"):
                    number, _ = self._metric(connection, name)
                    last = values.MAX_STEP if stop is None else stop - 1
                    rows += reading.curve(connection, (experiment, experiment_id), (number, name), start, last)
        return Result(PointRow._fields, rows, PointRow._make)

    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Result[Any]:
        """Ask in SQL, over the documented views. Read-only, one statement.

        Raises:
            QueryError: The SQL is wrong, or would write, attach or set a pragma.
        """
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidTypeError(f"query {query!r} is a {type(query).__name__}; give a str")
        with self._reading() as connection, reading.guarded(connection):
            try:
                cursor = connection.execute(query, params)
                columns = [c[0] for c in cursor.description or ()]
                return Result(columns, cursor.fetchall())
            except (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError) as error:
                reason = str(error)
                if "not authorized" in reason or "prohibited" in reason:
                    reason += " (a question is one SELECT: it cannot write, attach or set pragmas)"
                shown = query[:500].encode(errors="backslashreplace").decode()
                raise QueryError(f"{reason} in: {shown}") from error

    def check(self) -> list[str]:
        """Prove that the catalog is whole: a list of problems, [] when there is none. Reads every row once."""
        with self._reading() as connection:
            return integrity.problems(connection)

    # The machinery

    def _connection(self) -> sqlite3.Connection:
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is None or held[0] != os.getpid():
            if held is not None:
                keep_for_ever(held[1])  # inherited over a fork: never close it here
            held = self._local.held = (os.getpid(), open_for_reading(self.path))
        return held[1]

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        with translated(self.path):
            yield self._connection()

    def _metric(self, connection: sqlite3.Connection, name: str) -> tuple[int, str]:
        found = connection.execute("SELECT id, mode FROM metric_name WHERE name = ?", (name,)).fetchone()
        if found is None:
            known = reading.column(connection, "SELECT name FROM metric_name ORDER BY id LIMIT 10000")
            raise NotFoundError(f"no metric {name!r} in {self.path}; {_suggestion(name, known)}")
        return found

    def _experiment_number(self, connection: sqlite3.Connection, experiment_id: str) -> int:
        found = connection.execute(
            "SELECT id FROM experiment WHERE experiment_id = ? AND deleted_at IS NULL",
            (experiment_id,),
        ).fetchone()
        if found is None:
            self.experiment(experiment_id)
            raise NotFoundError(f"no experiment {experiment_id!r}")
        return found[0]


def _words(value: Words | None, what: str) -> list[str]:
    if value is None:
        return []
    words: Iterable[Any] = [value] if isinstance(value, str) else value
    try:
        return [values.checked_text(word, what, empty=True) for word in words]
    except TypeError as error:
        if isinstance(error, InvalidTypeError):
            raise
        raise InvalidTypeError(f"{what} {value!r} is a {type(value).__name__}; give a str or several") from error


def _limit(value: int | None) -> int | None:
    return None if value is None else values.checked_step(value, "limit")


def _suggestion(word: str, known: Iterable[str]) -> str:
    options = list(known)
    near = difflib.get_close_matches(word, options, n=3, cutoff=0.5) or options[:5]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else "there is none yet"
