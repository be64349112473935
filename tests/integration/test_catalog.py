import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import (
    Catalog,
    CatalogError,
    ExperimentTracker,
    ForeignCatalogError,
    NewerCatalogError,
    NotFoundError,
    QueryError,
    Result,
    SettingsError,
    schema,
)
from crackseg_tracker.settings import locate

Maker = Callable[..., ExperimentTracker]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def catalog(new_tracker: Maker, catalog_path: Path) -> Iterator[Catalog]:
    """Three experiments of two projects."""
    with new_tracker(
        "unet-1", experiment_name="unet", project="roads", group="sweep", config={"lr": 0.1, "model": "unet"}
    ) as one:
        one.add_tags(["good", "old"])
        one.update_training_progress(3, 9, {"iou": 0.7, "loss": 0.3})
        one.log_metrics({"dice": 0.6}, step=0)
        one.log_metrics({"dice": 0.8}, step=1)
        one.log_metrics({"dice": math.nan}, step=2)
        one.add_artifact("best", "checkpoint", "1/best.pth", "b", ["best", "kept"])
        one.add_artifact("metrics", "metrics", "1/m.json")
    two = new_tracker("unet-2", experiment_name="unet_b", project="roads", config={"lr": 0.2})
    two.add_tags(["good"])
    two.update_training_progress(4, 9, {"iou": 0.9, "loss": 0.5})
    two.log_metrics({"dice": 0.7}, step=0)
    two.add_artifact("best", "checkpoint", "2/best.pth", tags=["best"])
    two.fail_experiment("broke")
    three = new_tracker("seg-1", experiment_name="seg", project="bridges")
    three.update_training_progress(5, 9, {"iou": 0.7, "loss": math.nan})
    with Catalog(catalog_path) as catalog:
        yield catalog


def ids(rows: Any) -> list[str]:
    return [row.experiment_id for row in rows]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["unet-1", "unet-2", "seg-1"]),
        ({"project": "roads"}, ["unet-1", "unet-2"]),
        ({"project": ["bridges", "nowhere"]}, ["seg-1"]),
        ({"status": "completed"}, ["unet-1"]),
        ({"status": ["failed", "created"]}, ["unet-2", "seg-1"]),
        ({"tags": "good"}, ["unet-1", "unet-2"]),
        ({"tags": ["good", "old"]}, ["unet-1"]),
        ({"tags": "Good"}, []),
        ({"name": "unet"}, ["unet-1"]),
        ({"name": "unet*"}, ["unet-1", "unet-2"]),
        ({"name": "unet?b"}, []),
        ({"experiment_id": "*-1"}, ["unet-1", "seg-1"]),
        ({"experiment_id": ["seg-1", "unet-2"]}, ["unet-2", "seg-1"]),
        ({"group": "sweep"}, ["unet-1"]),
        ({"project": "roads", "status": "failed"}, ["unet-2"]),
        ({"limit": 2}, ["unet-1", "unet-2"]),
        ({"limit": 0}, []),
        ({"offset": 1}, ["unet-2", "seg-1"]),
        ({"offset": 1, "limit": 1}, ["unet-2"]),
    ],
)
def test_experiments(catalog: Catalog, filters: dict[str, Any], found: list[str]) -> None:
    assert ids(catalog.experiments(**filters)) == found


def test_an_experiment(catalog: Catalog) -> None:
    row = catalog.experiment("unet-2")
    assert (row.status, row.error_message, row.tags) == ("failed", "broke", ("good",))
    assert dict(row.best_metrics)["iou"] == 0.9
    with pytest.raises(AttributeError):
        row.status = "completed"  # type: ignore[misc]
    with pytest.raises(NotFoundError, match=r"unet-3.*did you mean 'unet-[12]'"):
        catalog.experiment("unet-3")


@pytest.mark.parametrize(
    ("metric", "options", "found"),
    [
        ("iou", {}, [("unet-2", 0.9, 4), ("unet-1", 0.7, 3), ("seg-1", 0.7, 5)]),
        ("iou", {"mode": "min"}, [("unet-1", 0.7, 3), ("seg-1", 0.7, 5), ("unet-2", 0.9, 4)]),
        ("iou", {"limit": 1}, [("unet-2", 0.9, 4)]),
        ("iou", {"limit": None, "project": "bridges"}, [("seg-1", 0.7, 5)]),
        ("iou", {"status": "completed"}, [("unet-1", 0.7, 3)]),
        ("iou", {"tags": ["good", "old"]}, [("unet-1", 0.7, 3)]),
        ("loss", {}, [("unet-1", 0.3, 3), ("unet-2", 0.5, 4)]),
        ("loss", {"mode": "max"}, [("unet-2", 0.5, 4), ("unet-1", 0.3, 3)]),
        ("dice", {}, [("unet-1", 0.8, 1), ("unet-2", 0.7, 0)]),
        ("dice", {"mode": "min"}, [("unet-1", 0.6, 0), ("unet-2", 0.7, 0)]),
    ],
)
def test_best(catalog: Catalog, metric: str, options: dict[str, Any], found: list[Any]) -> None:
    rows = catalog.best(metric, **options)
    assert [(row.experiment_id, row.value, row.step) for row in rows] == found
    assert {row.source for row in rows} == {"logged" if metric == "dice" else "reported"}
    assert {row.metric for row in rows} == {metric}


def test_best_is_the_better_of_report_and_log(new_tracker: Maker, catalog_path: Path) -> None:
    for number, (reported, logged) in enumerate([(0.9, 0.8), (0.6, 0.7)]):
        tracker = new_tracker(f"e{number}")
        tracker.update_training_progress(5, 9, {"iou": reported})
        tracker.log_metrics({"iou": logged}, step=2)
        if number:
            tracker.complete_experiment()
    with Catalog(catalog_path) as catalog:
        assert [(row.value, row.step, row.source) for row in catalog.best("iou")] == [
            (0.9, 5, "reported"),
            (0.7, 2, "logged"),
        ]


def test_best_of_an_unknown_metric(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match=r"'iuo'.*'iou'"):
        catalog.best("iuo")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["1/best.pth", "1/m.json", "2/best.pth"]),
        ({"artifact_type": "checkpoint"}, ["1/best.pth", "2/best.pth"]),
        ({"artifact_type": ["metrics", "x"]}, ["1/m.json"]),
        ({"tags": "best"}, ["1/best.pth", "2/best.pth"]),
        ({"tags": ["best", "kept"]}, ["1/best.pth"]),
        ({"experiment_id": "unet-2"}, ["2/best.pth"]),
        ({"experiment_id": "*-1"}, ["1/best.pth", "1/m.json"]),
        ({"artifact_id": "m*"}, ["1/m.json"]),
        ({"digest_state": "missing", "limit": 1}, ["1/best.pth"]),
        ({"digest_state": "hashed"}, []),
    ],
)
def test_artifacts(catalog: Catalog, filters: dict[str, Any], found: list[str]) -> None:
    assert [row.path for row in catalog.artifacts(**filters)] == found


def test_tags_params_history(catalog: Catalog) -> None:
    assert [tuple(row) for row in catalog.tags()] == [("best", 0, 2), ("good", 2, 0), ("kept", 0, 1), ("old", 1, 0)]
    assert catalog.params("unet-1") == {"lr": 0.1, "model": "unet"}
    assert catalog.params("seg-1") == {}
    with pytest.raises(NotFoundError, match="unet-1"):
        catalog.params("unet-11")
    points = catalog.history("dice", ["unet-1", "unet-2"])
    assert [(row.experiment_id, row.step) for row in points] == [
        ("unet-1", 0),
        ("unet-1", 1),
        ("unet-1", 2),
        ("unet-2", 0),
    ]
    assert math.isnan(points[2].value)
    assert [row.step for row in catalog.history("dice", "unet-1", slice(1, 2))] == [1]
    assert len(catalog.history("iou", "unet-1")) == 0
    for metric, experiment in (("dicee", "unet-1"), ("dice", "unet-9")):
        with pytest.raises(NotFoundError, match="did you mean"):
            catalog.history(metric, experiment)


def test_sql(catalog: Catalog) -> None:
    result = catalog.sql("SELECT experiment_id AS id, current_epoch FROM experiments WHERE project = ?", ["roads"])
    assert result.columns == ("id", "current_epoch")
    assert result.dicts() == [{"id": "unet-1", "current_epoch": 3}, {"id": "unet-2", "current_epoch": 4}]
    named = catalog.sql("SELECT count(*) FROM artifacts WHERE path LIKE :like", {"like": "%.pth"})
    assert named.rows == ((2,),)
    assert catalog.sql("WITH t(x) AS (VALUES (1), (2)) SELECT sum(x) FROM t").rows == ((3,),)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM experiment",
        "UPDATE experiment SET status = 'failed'",
        "INSERT INTO metric_name (name) VALUES ('x')",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "DROP VIEW experiments",
        "ATTACH ':memory:' AS other",
        "PRAGMA query_only = OFF",
        "PRAGMA user_version = 7",
        "PRAGMA writable_schema = ON",
        "BEGIN",
        "VACUUM INTO 'copy.db'",
        "SELECT 1; SELECT 2",
        "SELECT 1; DELETE FROM experiment",
        "SELEKT 1",
        "SELECT * FROM nowhere",
        "SELECT load_extension('x')",
        "SELECT ?",
    ],
)
def test_sql_that_is_refused(catalog: Catalog, query: str) -> None:
    before = catalog.path.read_bytes()
    with pytest.raises(QueryError) as caught:
        catalog.sql(query)
    assert query in str(caught.value)
    assert catalog.path.read_bytes() == before
    assert names(Path()) == []
    assert len(catalog.experiments()) == 3  # the connection is none the worse


def test_to_pandas(catalog: Catalog) -> None:
    frame = catalog.best("iou").to_pandas()
    assert list(frame["experiment_id"]) == ["unet-2", "unet-1", "seg-1"]
    assert frame["value"].dtype == float
    assert list(catalog.experiments(project="none").to_pandas().columns) == list(catalog.experiments().columns)


def test_a_result(catalog: Catalog) -> None:
    result = catalog.experiments()
    assert isinstance(result, Result)
    assert isinstance(result.rows, tuple)
    assert len(result) == 3
    assert result[-1].experiment_id == "seg-1"
    assert ids(result[:2]) == ["unet-1", "unet-2"]
    assert result == catalog.experiments()
    assert result != catalog.tags()
    assert result.dicts()[0]["experiment_id"] == "unet-1"
    assert "3 rows" in repr(result)


# Files that are not ours


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.commit()


def newer(path: Path) -> None:
    ExperimentTracker(path.parent / "e", "e", catalog=path.parent / "source" / "c.db").close()
    with closing(sqlite3.connect(path.parent / "source" / "c.db")) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA user_version = 99")


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


@pytest.mark.parametrize("opener", ["tracker", "catalog"])
@pytest.mark.parametrize(
    ("make", "error"), [(foreign, ForeignCatalogError), (newer, NewerCatalogError), (garbage, ForeignCatalogError)]
)
def test_a_file_of_others_is_left_alone(
    tmp_path: Path, make: Callable[[Path], None], error: type[Exception], opener: str
) -> None:
    path = tmp_path / "others" / "file.db"
    path.parent.mkdir()
    make(path)
    before, beside = path.read_bytes(), sorted(names(path.parent))
    with pytest.raises(error) as caught:
        Catalog(path) if opener == "catalog" else ExperimentTracker(tmp_path / "new", "new", catalog=path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(names(path.parent)) == beside
    assert not (tmp_path / "new").exists()


def test_a_folder_and_nothing_are_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="folder"):
        Catalog(tmp_path / "work")
    with pytest.raises(CatalogError, match="no catalog"):
        Catalog(tmp_path / "absent" / "catalog.db")
    assert sorted(names(tmp_path)) == ["work"]


@pytest.mark.parametrize(
    ("location", "named"),
    [(":memory:", ":memory:"), ("sqlite:///:memory:", ":memory:"), ("postgresql://anna:geheim@h/db", "postgresql")],
)
def test_places_that_are_not_supported(location: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Catalog(location)
    assert named in str(caught.value)
    assert "geheim" not in str(caught.value)


# Where the catalog is


def test_the_setting_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "crackseg_tracker")

    def made(**options: Any) -> Path:
        caplog.clear()
        ExperimentTracker(tmp_path / "e", "e", **options)
        with Catalog(options.get("catalog")) as catalog:
            assert ids(catalog.experiments()) == ["e"]
            assert str(catalog.path) in caplog.text
            assert catalog.location.setting in caplog.text
            assert catalog.check() == []
            return catalog.path

    home = made()
    assert home.is_relative_to(tmp_path / "home")
    assert home.parent.name == "catalog"

    (tmp_path / "pyproject.toml").write_text('[tool.crackseg_tracker]\ncatalog = "data/catalog.db"\n')
    (tmp_path / "work" / "pyproject.toml").write_text("[tool.black]\n")
    assert made() == tmp_path / "data" / "catalog.db"

    monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", "variable/catalog.db")
    assert made() == tmp_path / "work" / "variable" / "catalog.db"

    assert made(catalog=tmp_path / "argument" / "catalog.db") == tmp_path / "argument" / "catalog.db"
    url = f"sqlite:///{(tmp_path / 'url' / 'catalog.db').as_posix()}"
    assert made(catalog=url) == tmp_path / "url" / "catalog.db"


@pytest.mark.parametrize("value", ['":memory:"', '"postgresql://h/db"', "5", '""'])
def test_a_pyproject_that_names_no_file(tmp_path: Path, value: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.crackseg_tracker]\ncatalog = {value}\n")
    with pytest.raises(SettingsError, match="pyproject"):
        Catalog()


def test_a_newer_version_that_only_the_wal_has_is_refused(new_tracker: Any, catalog_path: Path) -> None:
    new_tracker("a").start_experiment()
    newer = sqlite3.connect(catalog_path)
    try:
        newer.execute("PRAGMA wal_autocheckpoint = 0")
        newer.execute("PRAGMA user_version = 99")
        newer.commit()
        with pytest.raises(NewerCatalogError, match="99"):
            Catalog(catalog_path)
    finally:
        newer.execute(f"PRAGMA user_version = {schema.VERSION}")
        newer.commit()
        newer.close()


def test_a_file_beside_the_new_catalog_is_left_alone(new_tracker: Any, catalog_path: Path) -> None:
    catalog_path.parent.mkdir()
    mine = catalog_path.with_name(catalog_path.name + ".new")
    mine.write_text("mine")
    new_tracker("a")
    assert mine.read_text() == "mine"


def test_the_nearest_table_decides_even_without_a_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "pyproject.toml").write_text('[tool.crackseg_tracker]\ncatalog = "far.db"\n')
    monkeypatch.chdir(inner)
    assert locate().path == tmp_path / "outer" / "far.db"
    (inner / "pyproject.toml").write_text("[tool.crackseg_tracker]\n")
    assert locate().setting == "user data folder"


@pytest.mark.parametrize("path", ["x" * 5000, "a\udc80.db"])
def test_a_path_that_no_file_can_have_is_refused_in_our_words(new_tracker: Maker, path: str) -> None:
    with pytest.raises((CatalogError, SettingsError)):
        new_tracker("a", catalog=path)
    assert names(Path.cwd()) == []
