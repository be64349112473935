"""The questions: each is one SELECT or a few of one state, and its answer rows."""

from __future__ import annotations

from typing import Any, Literal

from crackseg_tracker import values
from crackseg_tracker.catalog.arguments import Words, checked_limit, suggestion, words
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.errors import InvalidValueError
from crackseg_tracker.results import Result
from crackseg_tracker.rows import ArtifactRow, BestRow, ExperimentRow, PointRow, TagRow
from crackseg_tracker.schema import STATUSES
from crackseg_tracker.store import reading


class Questions(OpenCatalog):
    """What one asks across experiments."""

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
        for one in words(status, "status"):
            if one not in STATUSES:
                raise InvalidValueError(f"status {one!r} is unknown; {suggestion(one, STATUSES)}")
        filters = reading.Filters()
        filters.any_of("e.project", words(project, "project"))
        filters.any_of("e.status", words(status, "status"))
        filters.any_of('e."group"', words(group, "group"))
        filters.any_like("e.experiment_name", words(name, "name"))
        filters.any_like("e.experiment_id", words(experiment_id, "experiment_id"))
        filters.tagged("experiment_tag", "experiment", "e.id", words(tags, "tags"))
        with self._reading() as connection:
            rows = reading.experiments(connection, filters, checked_limit(limit), checked_limit(offset) or 0)
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
                self._experiment_number(connection, experiment_id)
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
        filters.any_of("e.project", words(project, "project"))
        filters.any_of("e.status", words(status, "status"))
        filters.tagged("experiment_tag", "experiment", "e.id", words(tags, "tags"))
        with self._reading() as connection:
            number, default = self._metric(connection, metric)
            chosen = default if mode is None else values.checked_mode(mode)
            rows = reading.best(connection, metric, number, chosen, checked_limit(limit), filters)
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
        filters.any_of("a.artifact_type", words(artifact_type, "artifact_type"))
        filters.any_of("a.digest_state", words(digest_state, "digest_state"))
        filters.any_like("e.experiment_id", words(experiment_id, "experiment_id"))
        filters.any_like("a.artifact_id", words(artifact_id, "artifact_id"))
        filters.tagged("artifact_tag", "artifact", "a.id", words(tags, "tags"))
        with self._reading() as connection:
            rows = reading.artifacts(connection, filters, checked_limit(limit))
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
            for experiment_id in words(experiments, "experiments"):
                experiment = self._experiment_number(connection, experiment_id)
                for name in words(metric, "metric"):
                    number, _ = self._metric(connection, name)
                    last = values.MAX_STEP if stop is None else stop - 1
                    rows += reading.curve(connection, (experiment, experiment_id), (number, name), start, last)
        return Result(PointRow._fields, rows, PointRow._make)
