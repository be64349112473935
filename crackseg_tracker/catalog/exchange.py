"""Exchange: one catalog into another, and a part of one as a catalog of its own."""

from __future__ import annotations

import os
from typing import Unpack

from crackseg_tracker import settings, values
from crackseg_tracker.catalog.arguments import words
from crackseg_tracker.catalog.opened import OpenCatalog
from crackseg_tracker.catalog.upkeep import Upkeep, author
from crackseg_tracker.errors import InvalidValueError
from crackseg_tracker.filters import ExperimentFilters, Words
from crackseg_tracker.progress import Progress, no_progress
from crackseg_tracker.results import Result
from crackseg_tracker.rows import MergeRow
from crackseg_tracker.store import merging
from crackseg_tracker.store.merging import Options


class Exchange(Upkeep):
    """What catalogs give each other."""

    def merge(
        self,
        other: str | os.PathLike[str] | OpenCatalog,
        *,
        suffix: str | None = None,
        purged: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Result[MergeRow]:
        """Take in all experiments of another catalog (but not its trash). What is here is never overwritten.

        Experiments are the same by uid. One that is not here yet is added; one that is known gets what it lacks:
        points, reports, samples, params, tags, artifacts, attempts, changes of status, the log. What differs is
        reported as a conflict, and ours stays. Status, config and progress follow the later changes, so an experiment
        that was merged half way is completed by merging again. Merging twice changes nothing the second time.

        The other catalog may be in use (one moment of it is merged) and of an older version; it is never written to.
        It is merged a few experiments at a time, each as a whole: trainings write to this catalog meanwhile, and a
        merge that was cut short is completed by the next.

        Args:
            other: Its path or URL, or a `Catalog`.
            suffix: What to put behind an incoming id that another experiment has here. None: such an experiment is
                skipped, and reported.
            purged: Bring back also what was purged here.
            dry_run: Only tell what would happen.
            progress: Called with how many experiments are done, and of how many.

        Returns:
            A row per experiment, and one per conflict.

        Raises:
            InvalidValueError: It is this catalog itself.
            CatalogError: There is no such catalog, or it is foreign, newer or damaged. Nothing is changed.
        """
        if suffix is not None:
            values.checked_text(suffix, "suffix")
        source = other.path if isinstance(other, OpenCatalog) else settings.locate(other).path
        options = Options(suffix, purged, dry_run, os.fspath(source))
        rows = merging.merge(self._database(), source, options, author(), progress or no_progress)
        return Result(MergeRow._fields, rows)

    def export(
        self,
        path: str | os.PathLike[str],
        ids: Words | None = None,
        *,
        progress: Progress | None = None,
        **filters: Unpack[ExperimentFilters],
    ) -> Result[MergeRow]:
        """Write some experiments into a new catalog, with all that belongs to them: one moment of this catalog.

        Args:
            path: The new file, which must not exist. It appears whole or not at all.
            ids: Ids; default: all that meet the filters.
            progress: Called with how many experiments are done, and of how many.
            **filters: See `crackseg_tracker.filters.ExperimentFilters`.

        Returns:
            A row per experiment.

        Raises:
            CatalogWriteError: The file exists or cannot be written.
            NotFoundError: There is no such experiment.
        """
        target = settings.locate(path).path
        if ids is not None and filters:
            raise InvalidValueError("ids and filters are both given; give one of them")
        chosen = [row.experiment_id for row in self.experiments(**filters)] if ids is None else words(ids, "ids")
        if not chosen:
            raise InvalidValueError(f"no experiment is chosen for {target}; give ids or wider filters")
        with self._reading() as connection:
            numbers = [self._experiment_number(connection, one) for one in dict.fromkeys(chosen)]
        return Result(MergeRow._fields, merging.export(self.path, target, numbers, author(), progress or no_progress))
