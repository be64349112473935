"""Every test has a home, a working directory and a catalog of its own, and every catalog written is proven whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fill_catalog import Size, fill
from hypothesis import settings

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.store import creation

settings.register_profile("unhurried", deadline=None)  # the machines are shared: a test is not late but held up
settings.load_profile("unhurried")


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
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds; 30 seconds are far more than it needs, on a busy machine too."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, "never came true"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def _created_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new catalog, as the migrations make it."""
    path = tmp_path_factory.mktemp("created") / "catalog.db"
    creation._create(path)
    return path


@pytest.fixture(autouse=True)
def _quick_creation(_created_once: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy what the migrations made once: 60 ms less for each of a thousand tests. Subprocesses create for real."""

    def copy(path: Path) -> None:
        shutil.copy(_created_once, path)
        path.chmod(0o600)

    monkeypatch.setattr(creation, "_create", copy)


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


@pytest.fixture(scope="session")
def filled_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of 60 experiments by ``scripts/fill_catalog.py``, for the whole session: read it, never write to it."""
    path = tmp_path_factory.mktemp("filled") / "catalog" / "catalog.db"
    fill(path, Size(experiments=60, params=12, metrics=5, steps=30, curves=0.34, artifacts=5, samples=4), seed=1)
    with Catalog(path) as catalog:
        assert catalog.check() == []
    return path


@pytest.fixture
def filled_catalog(filled_path: Path) -> Iterator[Catalog]:
    """The filled catalog, open for reading."""
    with Catalog(filled_path) as catalog:
        yield catalog
