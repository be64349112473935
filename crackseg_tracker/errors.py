"""The errors that this library raises, all of one tree.

::

    TrackerError
    ├── InvalidValueError (ValueError)      a value that cannot mean what its argument means
    │   ├── ConfigError                     a config that is no mapping, cyclic, or holds what cannot be stored
    │   └── MetricError                     a metric's name, value or step
    ├── InvalidTypeError (TypeError)        a value of the wrong type
    ├── SettingsError                       the catalog's place cannot be found out or is not supported
    ├── NotFoundError (LookupError)         no such experiment, metric, ...; suggests the nearest
    ├── ExperimentExistsError               the id belongs to an experiment in another folder
    ├── DuplicateExperimentError            the same was trained before (``on_duplicate="error"``)
    ├── ExperimentRunningError              a training is at work on the experiment
    ├── QueryError                          SQL that fails or is not allowed
    └── CatalogError                        the catalog itself
        ├── ForeignCatalogError             the file is not a catalog of ours
        ├── NewerCatalogError               a later release made it
        ├── OlderCatalogError               an earlier release made it: to be upgraded before it is read
        ├── DamagedCatalogError             SQLite cannot read it
        ├── CatalogBusyError                locked by another process, or another call, for too long
        └── CatalogWriteError               full, read-only, gone, input/output error

Every message names the value and the way out. Errors of the driver are translated in one place,
`store.failures.translated`, and stay chained as ``__cause__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class TrackerError(Exception):
    """Whatever this library raises on purpose."""


class InvalidValueError(TrackerError, ValueError):
    """A value that cannot mean what its argument means."""


class InvalidTypeError(TrackerError, TypeError):
    """A value of the wrong type."""


class ConfigError(InvalidValueError):
    """A config that is no mapping, is cyclic, or holds what cannot be stored."""


class MetricError(InvalidValueError):
    """A metric's name, value or step that cannot be recorded."""


class SettingsError(TrackerError):
    """The catalog's place cannot be found out or is not supported."""


class NotFoundError(TrackerError, LookupError):
    """No such experiment, metric, column or the like."""


class ExperimentExistsError(TrackerError):
    """The experiment id already belongs to an experiment in another folder."""


class DuplicateExperimentError(TrackerError):
    """The same was trained before: an experiment with this config, commit and data has completed.

    Attributes:
        experiment_id: The latest that completed.
        best_metrics: Its best value of each metric.
    """

    def __init__(self, message: str, experiment_id: str = "", best_metrics: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.experiment_id = experiment_id
        self.best_metrics = dict(best_metrics or {})


class ExperimentRunningError(TrackerError):
    """A training is at work on the experiment."""


class QueryError(TrackerError):
    """SQL that fails or that is not allowed."""


class CatalogError(TrackerError):
    """The catalog itself cannot be used."""


class ForeignCatalogError(CatalogError):
    """The file is not a catalog of this library."""


class NewerCatalogError(CatalogError):
    """A later release of this library made the file."""


class OlderCatalogError(CatalogError):
    """An earlier release made the file, and it has to be upgraded before it is read."""


class DamagedCatalogError(CatalogError):
    """SQLite cannot read the file."""


class CatalogBusyError(CatalogError):
    """Another process has held the catalog's lock for too long, or another call of ours does."""


class CatalogWriteError(CatalogError):
    """The catalog cannot be written: full, read-only, gone, or an input/output error."""
