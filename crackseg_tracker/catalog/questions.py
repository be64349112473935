"""The questions: each is one SELECT or a few of one state, and its answer rows."""

from __future__ import annotations

from typing import Any, Literal, Unpack

from crackseg_tracker import values
from crackseg_tracker.catalog.arguments import Words, checked_limit, words
from crackseg_tracker.catalog.conditions import (
    any_of,
    check_size,
    experiment_conditions,
    fields_of,
    like,
    one_of,
    tagged,
)
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.filters import ExperimentFilters, OrderBy, SharedFilters
from crackseg_tracker.results import Result
from crackseg_tracker.rows import ArtifactRow, BestRow, ExperimentRow, ParamValue, PointRow, TagRow
from crackseg_tracker.schema import DIGEST_STATES
from crackseg_tracker.store import filtering, reading

_ARTIFACT_FILTERS = (
    *("artifact_type", "tags", "experiment_id", "any_tags", "no_tags", "artifact_id", "path", "digest_state"),
    *("experiment_tags", "limit", "offset", *SharedFilters.__annotations__),
)


class Questions(OpenCatalog):
    """What one asks across experiments."""

    def experiments(
        self,
        *,
        order_by: OrderBy | None = None,
        limit: int | None = None,
        offset: int = 0,
        **filters: Unpack[ExperimentFilters],
    ) -> Result[ExperimentRow]:
        """List the experiments that meet all filters; oldest first unless ordered otherwise.

        Args:
            order_by: The name of a column, a metric (its best) or a param, ascending, or descending with "-" before it;
                one such as ``param("lr").descending`` or ``metric("loss").last.ascending``; or several. Experiments
                that lack the value come last either way, ties in order of creation.
            limit: At most so many.
            offset: Skip so many.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.

        Raises:
            NotFoundError: Nobody has such a metric or param; suggests the nearest.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from crackseg_tracker import Catalog, ExperimentTracker, metric, param
            >>> with TemporaryDirectory() as folder:
            ...     path = f"{folder}/c/catalog.db"
            ...     for depth in (2, 3, 4):
            ...         name, config = f"unet-{depth}", {"depth": depth}
            ...         with ExperimentTracker(f"{folder}/{name}", name, config=config, catalog=path) as tracker:
            ...             tracker.log_metrics({"iou": depth / 5})
            ...     with Catalog(path) as catalog:
            ...         deep = catalog.experiments(where=[param("depth") > 2, metric("iou") < 0.9], order_by="-iou")
            ...         [(row.experiment_id, row.params["depth"], row.best_metrics["iou"]) for row in deep]
            [('unet-4', 4, 0.8), ('unet-3', 3, 0.6)]
        """
        limit, offset = checked_limit(limit), checked_limit(offset) or 0
        with self._reading() as connection:
            selection = self._selection(connection, filters)
            order = self._ordering(connection, order_by)
            sorting = filtering.ordering(order, self._metrics_of(connection, fields_of([], order)))
            rows = reading.experiments(connection, selection, sorting, limit, offset)
        return Result(ExperimentRow._fields, rows)

    def experiment(self, experiment_id: str) -> ExperimentRow:
        """Give one experiment.

        Raises:
            NotFoundError: Suggests the nearest ids.
        """
        values.checked_text(experiment_id, "experiment_id")
        with self._reading() as connection:
            number = self._experiment_number(connection, experiment_id)
            only = filtering.EVERYTHING._replace(where=filtering.Sql(" AND e.id = ?", (number,)))
            return reading.experiments(connection, only, filtering.NOTHING, 1, 0)[0]

    def best(
        self,
        metric: str,
        mode: Literal["max", "min"] | None = None,
        limit: int | None = 10,
        **filters: Unpack[ExperimentFilters],
    ) -> Result[BestRow]:
        """Rank the experiments by their best value of a metric: best first, ties in order of creation.

        The best is the better, by mode, of the last report and the logged extreme. NaN and infinities never win.

        Args:
            metric: Its name, exactly.
            mode: "max" or "min"; default: as defined for the metric, else assumed from its name.
            limit: At most so many; None for all.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.

        Raises:
            NotFoundError: Nobody recorded such a metric; suggests the nearest names.
        """
        values.checked_name(metric)
        limit = checked_limit(limit)
        with self._reading() as connection:
            selection = self._selection(connection, filters)
            number, default = self._metric(connection, metric)
            chosen = default if mode is None else values.checked_mode(mode)
            rows = reading.best(connection, metric, number, chosen, limit, selection)
        return Result(BestRow._fields, rows)

    def artifacts(
        self,
        artifact_type: Words | None = None,
        tags: Words | None = None,
        experiment_id: Words | None = None,
        *,
        any_tags: Words | None = None,
        no_tags: Words | None = None,
        artifact_id: Words | None = None,
        path: Words | None = None,
        digest_state: Words | None = None,
        experiment_tags: Words | None = None,
        limit: int | None = None,
        offset: int = 0,
        **filters: Unpack[SharedFilters],
    ) -> Result[ArtifactRow]:
        """List artifacts of all experiments, oldest first.

        Args:
            artifact_type: One or several.
            tags: The artifacts that have all of them.
            experiment_id: Ids of experiments; ``*`` stands for any characters.
            any_tags: The artifacts that have at least one of them.
            no_tags: The artifacts that have none of them.
            artifact_id: Ids of artifacts; ``*`` stands for any characters.
            path: The path as it was given, the absolute one, or the part inside the experiment's folder; ``*`` stands
                for any characters, slashes too.
            digest_state: "hashed", "pending", "missing", "unreadable".
            experiment_tags: Artifacts of the experiments that have all of these tags.
            limit: At most so many.
            offset: Skip so many.
            **filters: Of their experiments (``status="completed"``); see `crackseg_tracker.filters.SharedFilters`.
        """
        limit, offset = checked_limit(limit), checked_limit(offset) or 0
        conditions = [
            *experiment_conditions(
                {**filters, "experiment_id": experiment_id, "tags": experiment_tags}, _ARTIFACT_FILTERS
            ),
            *one_of("artifact_type", artifact_type, of="artifact"),
            *one_of("digest_state", digest_state, DIGEST_STATES, of="artifact"),
            *like("artifact_id", artifact_id, of="artifact"),
            *tagged(tags, any_tags, no_tags, of="artifact"),
        ]
        if path is not None:
            places = ("path", "absolute_path", "inside_path")
            conditions.append(any_of([one for place in places for one in like(place, path, "path", of="artifact")]))
        check_size(conditions)
        with self._reading() as connection:
            metrics = self._metrics_of(connection, fields_of(conditions))
            selection = filtering.selection(connection, conditions, metrics, "artifact")
            rows = reading.artifacts(connection, selection, limit, offset)
        return Result(ArtifactRow._fields, rows)

    def tags(self) -> Result[TagRow]:
        """List all tags with how many experiments and artifacts have them, by name."""
        with self._reading() as connection:
            return Result(TagRow._fields, reading.tags(connection))

    def params(self, experiment_id: str) -> dict[str, ParamValue]:
        """Give the params of an experiment by dotted name: its config's and what it logged."""
        values.checked_text(experiment_id, "experiment_id")
        with self._reading() as connection:
            return dict(reading.params(connection, self._experiment_number(connection, experiment_id)))

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
