"""Your experiments are a database: an embedded, SQLite-backed experiment tracker.

In training code::

    with ExperimentTracker("outputs/unet-1", "unet-1", "unet", config) as tracker:
        for epoch in range(epochs):
            tracker.log_metrics({"loss": loss, "val/iou": iou}, step=epoch)
        tracker.add_artifact("model-best", "checkpoint", path, tags=["best"])

In a script or notebook::

    Catalog().best("val/iou")

Names are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crackseg_tracker.catalog import Catalog
    from crackseg_tracker.errors import (
        CatalogBusyError,
        CatalogError,
        CatalogWriteError,
        ConfigError,
        DamagedCatalogError,
        DuplicateExperimentError,
        ExperimentExistsError,
        ExperimentRunningError,
        ForeignCatalogError,
        InvalidTypeError,
        InvalidValueError,
        MetricError,
        NewerCatalogError,
        NotFoundError,
        OlderCatalogError,
        QueryError,
        SettingsError,
        TrackerError,
    )
    from crackseg_tracker.filters import metric, param
    from crackseg_tracker.results import Result
    from crackseg_tracker.rows import Metadata
    from crackseg_tracker.tracker import ExperimentTracker

    __version__: str

__all__ = [
    "Catalog",
    "CatalogBusyError",
    "CatalogError",
    "CatalogWriteError",
    "ConfigError",
    "DamagedCatalogError",
    "DuplicateExperimentError",
    "ExperimentExistsError",
    "ExperimentRunningError",
    "ExperimentTracker",
    "ForeignCatalogError",
    "InvalidTypeError",
    "InvalidValueError",
    "Metadata",
    "MetricError",
    "NewerCatalogError",
    "NotFoundError",
    "OlderCatalogError",
    "QueryError",
    "Result",
    "SettingsError",
    "TrackerError",
    "__version__",
    "metric",
    "param",
]

_HOMES = {
    "Catalog": "catalog",
    "ExperimentTracker": "tracker",
    "Metadata": "rows",
    "Result": "results",
    "metric": "filters",
    "param": "filters",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("crackseg_tracker")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
