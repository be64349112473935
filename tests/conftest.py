"""Every test has a home, a working directory and a catalog of its own, and every catalog written is proven whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import Catalog, ExperimentTracker


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    for variable in ("CRACKSEG_TRACKER_CATALOG", "CRACKSEG_TRACKER_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    working = tmp_path / "work"
    working.mkdir()
    monkeypatch.chdir(working)


@pytest.fixture
def catalog_path(tmp_path: Path) -> Iterator[Path]:
    """The path of a catalog that may come to be; proven whole at the end of the test."""
    path = tmp_path / "catalog" / "catalog.db"
    yield path
    if path.exists():
        with Catalog(path) as catalog:
            assert catalog.check() == []


@pytest.fixture
def new_tracker(tmp_path: Path, catalog_path: Path) -> Callable[..., ExperimentTracker]:
    """Make trackers: ``new_tracker("unet-1", config={...})``."""

    def make(experiment_id: str = "unet-1", **options: Any) -> ExperimentTracker:
        options.setdefault("experiment_dir", tmp_path / "experiments" / experiment_id)
        options.setdefault("catalog", catalog_path)
        return ExperimentTracker(experiment_id=experiment_id, **options)

    return make
