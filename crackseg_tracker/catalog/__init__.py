"""`Catalog`: the read side, for scripts and notebooks."""

from __future__ import annotations

from crackseg_tracker.catalog.comparison import Comparisons
from crackseg_tracker.catalog.evaluation import Evaluation
from crackseg_tracker.catalog.exchange import Exchange
from crackseg_tracker.catalog.journals import Journals
from crackseg_tracker.catalog.references import References
from crackseg_tracker.catalog.safekeeping import Safekeeping
from crackseg_tracker.catalog.sql import Sql

__all__ = ["Catalog"]


class Catalog(References, Exchange, Comparisons, Evaluation, Sql, Journals, Safekeeping):
    """All experiments of a catalog, read-only: training may write meanwhile.

    Args:
        location: Path or SQLAlchemy URL; default: see `crackseg_tracker.settings`.

    Raises:
        CatalogError: There is no catalog yet, or the file is foreign, newer, older (see `upgrade`) or damaged.

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
