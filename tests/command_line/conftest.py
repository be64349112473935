"""The catalogs that commands are tried on."""

from pathlib import Path

import pytest

from command_line.calling import Maker, fill
from crackseg_tracker import Catalog, ExperimentTracker


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog that nobody changes: three experiments of a project, and one that never started."""
    folder = tmp_path_factory.mktemp("command-line")
    path = folder / "catalog" / "catalog.db"
    fill(lambda name, **options: ExperimentTracker(folder / name, name, catalog=path, **options))
    with Catalog(path) as catalog:
        assert catalog.check() == []
    return path


@pytest.fixture
def catalog(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalog that nobody changes, named by the environment."""
    monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", str(filled))
    return filled


@pytest.fixture
def own_catalog(new_tracker: Maker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same experiments in a catalog of the test's own, named by the environment."""
    fill(new_tracker)
    monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", str(catalog_path))
    return catalog_path
