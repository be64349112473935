"""Misuse: an error of our own tree that names the value, and not a row of it in the catalog."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from crackseg_tracker import Catalog, ConfigError, ExperimentTracker, TrackerError

Maker = Callable[..., ExperimentTracker]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}


def cyclic() -> dict[str, Any]:
    config: dict[str, Any] = {"a": {}}
    config["a"]["again"] = config
    return config


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"experiment_id": ""}, "''"),
        ({"experiment_id": " \t"}, r"' \t'"),
        ({"experiment_id": 5}, "5 is a int"),
        ({"experiment_id": None}, "NoneType"),
        ({"experiment_id": b"x"}, "bytes"),
        ({"experiment_id": "\ud800"}, r"'\ud800'"),
        ({"experiment_name": ""}, "''"),
        ({"experiment_name": 3.5}, "3.5 is a float"),
        ({"project": ""}, "''"),
        ({"project": 7}, "7 is a int"),
        ({"group": ["a"]}, "list"),
        ({"group": ""}, "''"),
        ({"durability": "eventually"}, "'eventually'"),
        ({"durability": None}, "None"),
        ({"experiment_dir": 5}, "5 is a int"),
        ({"experiment_dir": ""}, "''"),
        ({"experiment_dir": b"folder"}, "bytes"),
        ({"experiment_dir": "nul\0nul"}, r"nul\x00nul"),
        ({"config": [1, 2]}, "list"),
        ({"config": "training: 5"}, "str"),
        ({"config": 5}, "int"),
        ({"config": {"model": object()}}, "model"),
        ({"config": cyclic()}, "a.again"),
        ({"redact": ["("]}, "("),
        ({"catalog": 5}, "5 is a int"),
        ({"catalog": ""}, "''"),
        ({"catalog": ":memory:"}, ":memory:"),
        ({"catalog": "sqlite://"}, "sqlite://"),
        ({"catalog": "postgresql://anna:geheim@host/db"}, "postgresql"),
    ],
)
def test_a_tracker_that_cannot_be_meant(
    tmp_path: Path, catalog_path: Path, arguments: dict[str, Any], named: str
) -> None:
    given = {"experiment_dir": tmp_path / "e", "experiment_id": "unet-1", "catalog": catalog_path} | arguments
    with pytest.raises(TrackerError) as caught:
        ExperimentTracker(**given)
    assert named in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert not catalog_path.exists()
    assert sorted(names(tmp_path)) == ["work"]
    assert names(tmp_path / "work") == []


@pytest.mark.parametrize("config", [[1], "x", 5, cyclic()])
def test_a_bad_config_is_a_config_error(new_tracker: Maker, config: Any) -> None:
    with pytest.raises(ConfigError):
        new_tracker(config=config)


def test_an_experiment_folder_that_is_a_file(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    new_tracker("other")
    before = dump(catalog_path)
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "inside"):
        with pytest.raises(TrackerError) as caught:
            new_tracker(experiment_dir=folder)
        assert str(file) in str(caught.value)
    assert file.read_text() == "mine"
    assert dump(catalog_path) == before


def test_a_catalog_that_is_a_folder(new_tracker: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(TrackerError) as caught:
        new_tracker(catalog=folder)
    assert str(folder) in str(caught.value)
    assert names(folder) == []


def test_a_catalog_below_a_file(new_tracker: Maker, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(TrackerError) as caught:
        new_tracker(catalog=file / "catalog.db")
    assert str(file / "catalog.db") in str(caught.value)
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_catalog_that_is_not_writable(new_tracker: Maker, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(TrackerError) as caught:
        new_tracker(catalog=folder / "catalog.db")
    assert str(folder / "catalog.db") in str(caught.value)


CALLS: list[tuple[str, tuple[Any, ...], str]] = [
    ("update_training_progress", (-1, 10), "-1"),
    ("update_training_progress", (1, -10), "-10"),
    ("update_training_progress", (1.5, 10), "1.5 is a float"),
    ("update_training_progress", ("3", 10), "'3' is a str"),
    ("update_training_progress", (True, 10), "bool"),
    ("update_training_progress", (None, 10), "NoneType"),
    ("update_training_progress", (2**63, 10), str(2**63)),
    ("update_training_progress", (1, 10, 5), "5 is a int"),
    ("update_training_progress", (1, 10, [("iou", 0.5)]), "list"),
    ("update_training_progress", (1, 10, []), "list"),
    ("update_training_progress", (1, 10, {"dice": 0.5, "iou": "high"}), "'high' is a str"),
    ("update_training_progress", (1, 10, {"iou": None}), "NoneType"),
    ("update_training_progress", (1, 10, {"iou": 1j}), "complex"),
    ("update_training_progress", (1, 10, {"iou": [0.5]}), "list"),
    ("update_training_progress", (1, 10, {5: 0.5}), "5 is a int"),
    ("update_training_progress", (1, 10, {"": 0.5}), "empty"),
    ("update_training_progress", (1, 10, None, -1.0), "-1.0"),
    ("update_training_progress", (1, 10, None, float("nan")), "nan"),
    ("update_training_progress", (1, 10, None, "long"), "'long' is a str"),
    ("add_artifact", ("", "checkpoint", "x"), "''"),
    ("add_artifact", (5, "checkpoint", "x"), "5 is a int"),
    ("add_artifact", ("a", "", "x"), "''"),
    ("add_artifact", ("a", " ", "x"), "' '"),
    ("add_artifact", ("a", None, "x"), "NoneType"),
    ("add_artifact", ("a", "checkpoint", ""), "''"),
    ("add_artifact", ("a", "checkpoint", None), "NoneType"),
    ("add_artifact", ("a", "checkpoint", b"x"), "bytes"),
    ("add_artifact", ("a", "checkpoint", "x", 5), "5 is a int"),
    ("add_artifact", ("a", "checkpoint", "x", "", "best"), "'best' is a single str"),
    ("add_artifact", ("a", "checkpoint", "x", "", ["ok", 5]), "5 is a int"),
    ("add_artifact", ("a", "checkpoint", "x", "", 5), "5 is a int"),
    ("get_artifacts_by_type", (["checkpoint"],), "list"),
    ("add_tags", (["ok", 5],), "5 is a int"),
    ("add_tags", (["ok", ""],), "''"),
    ("add_tags", (["ok", "\udc80"],), r"'\udc80'"),
    ("add_tags", ("best",), "'best' is a single str"),
    ("add_tags", (5,), "5 is a int"),
    ("add_tags", (None,), "NoneType"),
    ("remove_tags", (["kept", 5],), "5 is a int"),
    ("remove_tags", ("kept",), "'kept' is a single str"),
    ("update_description", (5,), "5 is a int"),
    ("update_description", (None,), "NoneType"),
    ("update_description", ("\ud800",), r"'\ud800'"),
    ("log_params", ([1],), "list"),
    ("log_params", (5,), "int"),
    ("log_params", ({"a": 1, "b": object()},), "b"),
    ("log_params", (cyclic(),), "a.again"),
    ("log_metrics", ([("loss", 1.0)],), "list"),
    ("log_metrics", (5,), "5 is a int"),
    ("log_metrics", ({"ok": 1.0, "": 1.0},), "empty"),
    ("log_metrics", ({"ok": 1.0, 5: 1.0},), "5 is a int"),
    ("log_metrics", ({"ok": 1.0, "loss": "low"},), "'low' is a str"),
    ("log_metrics", ({"ok": 1.0, "loss": None},), "NoneType"),
    ("log_metrics", ({"ok": 1.0, "loss": 1j},), "1j is a complex"),
    ("log_metrics", ({"ok": 1.0, "loss": object()},), "object"),
    ("log_metrics", ({"ok": 1.0, "loss": 10**400},), "'loss'"),
    ("log_metrics", ({"ok": 1.0, "loss": 10**5000},), "bits is a int"),
    ("log_metrics", ({"ok": 1.0, "loss": Decimal("1e400")},), "1E+400"),
    ("log_metrics", ({"ok": 1.0, "loss": Decimal("sNaN")},), "sNaN"),
    ("log_metrics", ({"ok": 1.0, "loss": np.longdouble("1e400")},), "1e+400"),
    ("log_metrics", ({"ok": 1.0, "loss": np.ma.array([0.5, 0.5], mask=True).mean()},), "masked"),
    ("log_metrics", ({"ok": 1.0, "loss": np.ma.array([0.5], mask=True)},), "mask"),
    ("log_metrics", ({"ok": 1.0, "loss": np.datetime64("2020-01-01", "ns")},), "2020-01-01"),
    ("log_metrics", ({"ok": 1.0, "loss": np.timedelta64(5, "ns")},), "timedelta64"),
    ("log_metrics", ({"loss": np.array([5], dtype="m8[ns]")},), "and a series is meant"),
    ("log_metrics", ({"loss": 1.0}, [10**5000]), "is a list"),
    ("log_metrics", ({"ok": 1.0, "x" * 1_000_000: "low"},), "'low' is a str"),
    ("log_metrics", (OmegaConf.create({"ok": 1.0, "loss": "???"}),), "loss"),
    ("log_metrics", ({"loss": 1.0}, 10**5000), "bits"),
    ("log_metrics", ({"loss": 1.0}, [0] * 1_000_000), "is a list"),
    ("log_metrics", ({"ok": 1.0, "loss": np.array("5")},), "is a ndarray"),
    ("log_metrics", ({"ok": 1.0, "loss": np.array(1j)},), "complex"),
    ("log_metrics", ({"ok": 1.0, "loss": np.zeros(2)},), "shape (2,)"),
    ("log_metrics", ({"loss": np.zeros((2, 2))},), "shape (2, 2)"),
    ("log_metrics", ({"ok": 1.0, "\ud800": 1.0},), r"\ud800"),
    ("log_metrics", ({"ok": [1.0, 2.0], "loss": [1.0]},), "'loss': 1"),
    ("log_metrics", ({"ok": [1.0, 2.0], "loss": [1.0, "x"]},), "'x' is a str"),
    ("log_metrics", ({"loss": 1.0}, -1), "-1"),
    ("log_metrics", ({"loss": 1.0}, 1.5), "1.5 is a float"),
    ("log_metrics", ({"loss": 1.0}, "3"), "'3' is a str"),
    ("log_metrics", ({"loss": 1.0}, True), "bool"),
    ("log_metrics", ({"loss": 1.0}, 2**63), str(2**63)),
    ("log_metric", ("", 1.0), "empty"),
    ("log_metric", ("loss", "low"), "'low' is a str"),
    ("log_history", ("loss", [0, 1], [1.0]), "2 steps and 1 values"),
    ("log_history", ("loss", [0, 1], [1.0, 2.0], [1.0]), "1 times"),
    ("log_history", ("loss", [0, -1], [1.0, 2.0]), "-1"),
    ("log_history", ("loss", [0, 0.5], [1.0, 2.0]), "0.5 is a float"),
    ("log_history", ("loss", 5, [1.0]), "int"),
    ("log_history", ("loss", [0, 1], [1.0, "x"]), "'x' is a str"),
    ("log_history", ("loss", [0, 1], [1.0, "x"]), "value 1 of a series"),
    ("log_history", ("loss", [0], np.array([5], dtype="m8[ns]")), "is a ndarray"),
    ("log_history", ("loss", [0, 1], np.ma.array([0.5, 0.5], mask=[False, True])), "value 1 of a series"),
    ("rewind", (10**5000,), "bits"),
    ("log_history", ("loss", [0], "x"), "str"),
    ("log_history", ("loss", [0], [1.0], [1e99]), "1e+99"),
    ("log_history", ("", [0], [1.0]), "empty"),
    ("log_history", (5, [0], [1.0]), "5 is a int"),
    ("define_metric", ("loss", "best"), "'best'"),
    ("define_metric", ("", "max"), "empty"),
    ("define_metric", ("loss", "min", 5), "5 is a int"),
    ("rewind", (-1,), "-1"),
    ("rewind", ("x",), "'x' is a str"),
    ("log_samples", ([("image", {"iou": 1.0})],), "list"),
    ("log_samples", ({"image": 5},), "5 is a int"),
    ("log_samples", ({"ok": {"iou": 1.0}, "": {"iou": 1.0}},), "''"),
    ("log_samples", ({"ok": {"iou": 1.0}, 5: {"iou": 1.0}},), "5 is a int"),
    ("log_samples", ({"ok": {"iou": 1.0, "dice": "x"}},), "'x' is a str"),
    ("log_samples", ({"ok": {"iou": 1.0}, "image_017": {"iou": "x"}},), "'image_017'"),
    ("log_samples", ({"ok": {"iou": 1.0}, "image_017": {5: 1.0}},), "'image_017'"),
    ("log_samples", ({"ok": {"iou": 1.0, "": 1.0}},), "empty"),
    ("log_samples", ({"ok": {"iou": 1.0}}, -1), "-1"),
    ("log_samples", ({"ok": {"iou": 1.0}}, None, ""), "''"),
]


@pytest.mark.parametrize(
    ("method", "arguments", "named", "durability"),
    [(*call, "normal") for call in CALLS] + [(*call, "buffered") for call in CALLS if call[0] == "log_metrics"],
)
def test_a_call_that_cannot_be_meant(
    new_tracker: Maker,
    catalog_path: Path,
    method: str,
    arguments: tuple[Any, ...],
    named: str,
    durability: str,
) -> None:
    tracker = new_tracker(durability=durability)
    tracker.add_tags(["kept"])
    tracker.log_metrics({"loss": 0.5}, step=3)
    tracker.close()
    tracker = new_tracker(durability=durability)  # opened again: not even an attempt may begin
    before = dump(catalog_path)
    with pytest.raises(TrackerError) as caught:
        getattr(tracker, method)(*arguments)
    assert named in str(caught.value)
    tracker.save()
    assert dump(catalog_path) == before


@pytest.mark.parametrize(
    ("method", "options", "named"),
    [
        ("experiments", {"status": "complete"}, "'complete'"),
        ("experiments", {"project": 5}, "5 is a int"),
        ("experiments", {"tags": ["ok", 5]}, "5 is a int"),
        ("experiments", {"limit": -1}, "-1"),
        ("experiments", {"limit": "3"}, "'3' is a str"),
        ("experiments", {"offset": -1}, "-1"),
        ("experiment", {"experiment_id": ""}, "''"),
        ("experiment", {"experiment_id": 5}, "5 is a int"),
        ("best", {"metric": ""}, "empty"),
        ("best", {"metric": 5}, "5 is a int"),
        ("best", {"metric": "iou", "mode": "best"}, "'best'"),
        ("best", {"metric": "iou", "limit": -1}, "-1"),
        ("artifacts", {"artifact_type": 5}, "5 is a int"),
        ("artifacts", {"limit": 1.5}, "1.5 is a float"),
        ("params", {"experiment_id": ""}, "''"),
        ("history", {"metric": 5, "experiments": "unet-1"}, "5 is a int"),
        ("changes", {"experiment_id": ["unet-1"]}, "['unet-1'] is a list"),
        ("changes", {"experiment_id": "\ud800"}, r"\ud800"),
        ("rename", {"experiment_id": None, "name": "x"}, "None is a NoneType"),
        ("rename", {"experiment_id": ["unet-1", "unet-1"], "name": "x"}, "is a list"),
        ("set_description", {"experiment_id": [], "description": "x"}, "[] is a list"),
        ("schema", {"view": 5}, "5 is a int"),
        ("sql", {"query": 5}, "5 is a int"),
        ("sql", {"query": "SELECT '\ud800'"}, r"\ud800"),
        ("sql", {"query": "SELECT ?", "params": (2**64,)}, "SELECT ?"),
        ("sql", {"query": "SELECT ?", "params": (object(),)}, "SELECT ?"),
        ("sql", {"query": "SELECT ?", "params": 5}, "SELECT ?"),
    ],
)
def test_a_question_that_cannot_be_meant(
    new_tracker: Maker, catalog_path: Path, method: str, options: dict[str, Any], named: str
) -> None:
    new_tracker().update_training_progress(1, 2, {"iou": 0.5})
    with Catalog(catalog_path) as catalog, pytest.raises(TrackerError) as caught:
        getattr(catalog, method)(**options)
    assert named in str(caught.value)
