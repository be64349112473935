"""Short ways to name an experiment, for people who type."""

from __future__ import annotations

from crackseg_tracker import values
from crackseg_tracker.catalog.questions import Questions
from crackseg_tracker.errors import InvalidValueError, NotFoundError


class References(Questions):
    """What a reference means."""

    def resolve(self, reference: str) -> str:
        """Give the id of the experiment that a reference means.

        Args:
            reference: An id; the beginning of exactly one; ``@latest``, the experiment that was made last; or
                ``@best:METRIC``, the first of `best`.

        Raises:
            NotFoundError: Nothing begins so; suggests the nearest ids.
            InvalidValueError: Several ids begin so (names them), or the word after ``@`` is unknown.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from crackseg_tracker import Catalog, ExperimentTracker
            >>> with TemporaryDirectory() as folder:
            ...     path = f"{folder}/c/catalog.db"
            ...     for name in ("unet-1", "unet-2", "segformer"):
            ...         ExperimentTracker(f"{folder}/{name}", name, catalog=path).close()
            ...     with Catalog(path) as catalog:
            ...         catalog.resolve("seg"), catalog.resolve("@latest"), catalog.resolve("unet-1")
            ('segformer', 'segformer', 'unet-1')
        """
        values.checked_text(reference, "experiment")
        with self._reading() as connection:
            exact = connection.execute(
                "SELECT experiment_id FROM experiment WHERE experiment_id = ? AND deleted_at IS NULL", (reference,)
            ).fetchone()
            if exact:
                return exact[0]
            if reference.startswith("@"):
                return self._special(reference)
            beginning = connection.execute(
                "SELECT experiment_id FROM experiment WHERE experiment_id >= ? AND experiment_id < ? || char(0x10ffff) "
                "AND deleted_at IS NULL ORDER BY id DESC LIMIT 11",
                (reference, reference),
            ).fetchall()
            if not beginning:
                self._experiment_number(connection, reference)
        if len(beginning) > 1:
            names = ", ".join(name for (name,) in beginning[:10]) + (", ..." if len(beginning) > 10 else "")
            raise InvalidValueError(f"{reference!r} is the beginning of several experiments: {names}")
        return beginning[0][0]

    def _special(self, reference: str) -> str:
        word, _, metric = reference[1:].partition(":")
        if word == "latest" and not metric:
            with self._reading() as connection:
                found = connection.execute(
                    "SELECT experiment_id FROM experiment WHERE deleted_at IS NULL ORDER BY id DESC LIMIT 1"
                ).fetchone()
            if found is None:
                raise NotFoundError(f"{reference!r}: there is no experiment in {self.path} yet")
            return found[0]
        if word == "best" and metric:
            best = self.best(metric, limit=1)
            if not best:
                raise NotFoundError(f"{reference!r}: no experiment in {self.path} has a finite {metric!r}")
            return best[0].experiment_id
        raise InvalidValueError(f"{reference!r} is unknown; give @latest, or @best:METRIC as in @best:val/iou")
