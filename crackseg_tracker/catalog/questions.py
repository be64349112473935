"""The questions: each is one SELECT or a few of one state, and its answer rows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Unpack, overload

from crackseg_tracker import fingerprint, values
from crackseg_tracker.catalog.arguments import bucket_count, checked_limit, step_range, words
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
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError
from crackseg_tracker.filters import ExperimentFilters, MetricField, OrderBy, SharedFilters, Words
from crackseg_tracker.results import Result
from crackseg_tracker.rows import (
    ArtifactRow,
    AttemptRow,
    BestRow,
    BucketRow,
    ExperimentRow,
    LeaderboardRow,
    ParamValue,
    PointRow,
    StatusChangeRow,
    TagRow,
    WhenceRow,
)
from crackseg_tracker.schema import DIGEST_STATES
from crackseg_tracker.store import curves, filtering, reading

_DIGEST = re.compile("[0-9a-f]{4,64}")

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
            rows = reading.experiments(connection, self.path, selection, sorting, limit, offset)
        return Result(ExperimentRow._fields, rows)

    def experiment(self, experiment_id: str) -> ExperimentRow:
        """Give one experiment.

        Raises:
            NotFoundError: Suggests the nearest ids.
        """
        with self._reading() as connection:
            number = self._experiment_number(connection, experiment_id)
            only = filtering.EVERYTHING._replace(where=filtering.Sql(" AND e.id = ?", (number,)))
            return reading.experiments(connection, self.path, only, filtering.NOTHING, 1, 0)[0]

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

    def leaderboard(
        self, metrics: Words, limit: int | None = 10, **filters: Unpack[ExperimentFilters]
    ) -> Result[LeaderboardRow]:
        """Rank the experiments by their best of the first metric, with their best of the others beside it.

        Args:
            metrics: One or several names. Experiments without a value of the first have no rank and are left out.
            limit: At most so many; None for all.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.

        Raises:
            NotFoundError: Nobody recorded such a metric; suggests the nearest names.
        """
        names = [values.checked_name(name) for name in words(metrics, "metrics")]
        if not names:
            raise InvalidValueError("metrics is empty; give at least the one to rank by")
        limit = checked_limit(limit)
        with self._reading() as connection:
            selection = self._selection(connection, filters)
            numbers = self._metrics_of(connection, [MetricField(name) for name in names])
            found = reading.leaderboard(connection, numbers, limit, selection)
        rows: list[LeaderboardRow] = []
        for place, (row, bests) in enumerate(found, start=1):
            tied = bool(rows) and rows[-1].values[names[0]] == bests[names[0]]
            rank = rows[-1].rank if tied else place
            rows.append(LeaderboardRow(rank, row.experiment_id, row.experiment_name, bests, row.status, row.project))
        return Result(LeaderboardRow._fields, rows)

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

    def whence(self, path_or_digest: str | os.PathLike[str]) -> Result[WhenceRow]:
        """Tell which experiments made a file or folder, newest first: by content, wherever it was moved or copied to.

        A file is hashed; of a folder, the names and sizes in it are. When no artifact has that content, those that were
        recorded at that path are given with ``match`` "path": it has changed since, or was never hashed. An empty
        answer means that no experiment recorded it.

        Args:
            path_or_digest: A path, or a sha256 in hexadecimal or its beginning, from four digits on.

        Raises:
            InvalidValueError: The digits begin several digests.
        """
        if not isinstance(path_or_digest, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(path_or_digest).__name__
            raise InvalidTypeError(f"path_or_digest {path_or_digest!r} is a {kind}; give a path or a sha256")
        given = values.checked_text(os.fspath(path_or_digest), "path_or_digest")
        if self._is_own_file(given):
            raise InvalidValueError(
                f"{given!r} is the catalog itself; hashing it would drop the locks that SQLite holds"
            )
        facts = fingerprint.examine(Path(given), hash_up_to=values.MAX_STEP)
        facts = fingerprint.digest(Path(given), facts)
        digest = given.lower().removeprefix("sha256:")
        with self._reading() as connection:
            found: list[tuple[Any, ...]] = []
            match = "content"
            if facts.sha256:
                found = reading.made_by(connection, "a.sha256 = ? AND a.kind = ?", (facts.sha256, facts.kind))
            elif facts.kind == "missing" and _DIGEST.fullmatch(digest):
                digests = reading.digests(connection, digest)
                if len(digests) > 1:
                    raise InvalidValueError(
                        f"{given!r} begins several digests, {' and '.join(digests)}; give more digits"
                    )
                found = reading.made_by(connection, "a.sha256 = ?", digests) if digests else []
            if not found:
                match = "path"
                found = reading.made_by(connection, "a.absolute_path = ?", [os.path.abspath(given)])
        return Result(WhenceRow._fields, [WhenceRow._make((*row[:2], match, *row[2:])) for row in found])

    def status_changes(
        self, *, limit: int | None = None, offset: int = 0, **filters: Unpack[ExperimentFilters]
    ) -> Result[StatusChangeRow]:
        """List the changes of status of the experiments that meet all filters, oldest first.

        Args:
            limit: At most so many.
            offset: Skip so many.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.
        """
        limit, offset = checked_limit(limit), checked_limit(offset) or 0
        with self._reading() as connection:
            found = reading.status_changes(connection, self._selection(connection, filters), limit, offset)
        return Result(StatusChangeRow._fields, found, StatusChangeRow._make)

    def attempts(
        self, *, limit: int | None = None, offset: int = 0, **filters: Unpack[ExperimentFilters]
    ) -> Result[AttemptRow]:
        """List the processes that worked on the experiments that meet all filters, oldest first.

        Args:
            limit: At most so many.
            offset: Skip so many.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.
        """
        limit, offset = checked_limit(limit), checked_limit(offset) or 0
        with self._reading() as connection:
            rows = reading.attempts(connection, self.path, self._selection(connection, filters), limit, offset)
        return Result(AttemptRow._fields, rows)

    def tags(self) -> Result[TagRow]:
        """List all tags with how many experiments and artifacts have them, by name."""
        with self._reading() as connection:
            return Result(TagRow._fields, reading.tags(connection))

    def params(self, experiment_id: str) -> dict[str, ParamValue]:
        """Give the params of an experiment by dotted name: its config's and what it logged."""
        with self._reading() as connection:
            return dict(reading.params(connection, self._experiment_number(connection, experiment_id)))

    @overload
    def history(
        self, metric: Words, experiments: Words, steps: slice | None = None, points: None = None
    ) -> Result[PointRow]: ...
    @overload
    def history(
        self, metric: Words, experiments: Words, steps: slice | None = None, *, points: int
    ) -> Result[BucketRow]: ...
    def history(
        self, metric: Words, experiments: Words, steps: slice | None = None, points: int | None = None
    ) -> Result[PointRow] | Result[BucketRow]:
        """Give curves, by experiment, metric and step: all points, or summed up in buckets. NaN is NaN.

        Args:
            metric: One or several names.
            experiments: One or several experiment ids.
            steps: ``slice(100, 200)`` for the steps from 100 to 199; default: all.
            points: The number of buckets at most. Each sums up an equal range of steps (see `BucketRow`); those without
                points are left out. A plot of 1,000 buckets shows every peak of 1,000,000 points.

        Raises:
            NotFoundError: There is no such metric or experiment; suggests the nearest.
        """
        first, last = step_range(steps)
        count = None if points is None else bucket_count(points)
        rows: list[tuple[Any, ...]] = []
        with self._reading() as connection:
            for experiment_id in words(experiments, "experiments"):
                experiment = self._experiment_number(connection, experiment_id)
                for name in words(metric, "metric"):
                    series = curves.Series(experiment_id, name, experiment, self._metric(connection, name)[0])
                    if count is None:
                        rows += curves.points(connection, series, first, last)
                    else:
                        rows += curves.buckets(connection, series, first, last, count)
        if count is None:
            return Result(PointRow._fields, rows, PointRow._make)
        return Result(BucketRow._fields, rows, BucketRow._make)
