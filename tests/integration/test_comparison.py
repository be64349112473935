import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import (
    Catalog,
    ExperimentTracker,
    InvalidTypeError,
    InvalidValueError,
    NotFoundError,
)

Maker = Callable[..., ExperimentTracker]


def config(encoder: str = "resnet34", seed: int = 1, **model: Any) -> dict[str, Any]:
    return {
        "model": {"encoder": encoder, **model},
        "training": {"lr": 0.1, "seed": seed, "output_dir": f"out/{encoder}-{seed}"},
    }


@pytest.fixture
def catalog(new_tracker: Maker, catalog_path: Path) -> Iterator[Catalog]:
    with new_tracker("a", config=config()) as tracker:
        tracker.log_metrics({"iou": 0.7, "loss": 0.5}, step=0)
        tracker.log_metrics({"iou": 0.6, "loss": math.nan}, step=1)
        tracker.add_artifact("best", "checkpoint", "a/best.pth")
        tracker.add_tags(["baseline", "kept"])
    with new_tracker("b", config=config("resnet50", scheduler=None)) as tracker:
        tracker.log_metrics({"iou": 0.8, "dice": 0.9}, step=0)
        tracker.update_training_progress(1, 2, {"iou": 0.85, "reported": 0.5})
        tracker.add_artifact("best", "checkpoint", "b/best.pth")
        tracker.add_artifact("plot", "figure", "b/plot.png")
    running = new_tracker("c", config=config("resnet34", seed=2))
    running.start_experiment()
    for step in range(20):
        running.log_metrics({"iou": step / 100, "loss": 1 / (step + 1)}, step=step)
    with Catalog(catalog_path) as catalog:
        yield catalog


# compare


def test_compare(catalog: Catalog) -> None:
    found = catalog.compare(["b", "a", "c"])
    assert [(row.experiment_id, row.status, row.artifact_count, row.tags) for row in found.experiments] == [
        ("b", "completed", 2, ()),
        ("a", "completed", 1, ("baseline", "kept")),
        ("c", "running", 0, ()),
    ]
    assert found.params.columns == ("param", "b", "a", "c")
    assert list(found.params) == [
        ("model.encoder", "resnet50", "resnet34", "resnet34"),
        ("model.scheduler", "null", None, None),
        ("training.output_dir", "out/resnet50-1", "out/resnet34-1", "out/resnet34-2"),
        ("training.seed", 1, 1, 2),
    ]
    assert found.best_metrics.columns == ("metric", "mode", "b", "a", "c")
    assert sorted(found.best_metrics) == [
        ("dice", "max", 0.9, None, None),
        ("iou", "max", 0.85, 0.7, 0.19),
        ("loss", "min", None, 0.5, 0.05),
        ("reported", "max", 0.5, None, None),
    ]
    [iou, loss, dice] = found.last_metrics
    assert iou == ("iou", "max", 0.8, 0.6, 0.19)
    assert loss[:3] == ("loss", "min", None)
    assert math.isnan(loss[3])
    assert loss[4] == 0.05
    assert dice == ("dice", "max", 0.9, None, None)
    assert list(found.artifacts) == [
        ("best", "checkpoint", "b/best.pth", "a/best.pth", None),
        ("plot", "figure", "b/plot.png", None, None),
    ]


def test_a_comparison_is_good_to_print(catalog: Catalog) -> None:
    text = str(catalog.compare(["a", "b"]))
    assert "best metrics\nmetric" in text
    assert "model.encoder        resnet34        resnet50" in text
    assert "training.lr" not in text


def test_values_of_other_types_differ(new_tracker: Maker, catalog_path: Path) -> None:
    for i, value in enumerate([1, 1.0, True, "1", None, math.nan]):
        new_tracker(f"e{i}", config={"same": 0.5, "x": value}).complete_experiment()
    new_tracker("e6", config={"same": 0.5}).complete_experiment()
    with Catalog(catalog_path) as catalog:
        [(name, *found)] = catalog.compare([f"e{i}" for i in range(7)]).params
        [(_, *pair)] = catalog.diff("e0", "e1").params
    assert name == "x"
    assert [type(value) for value in found] == [int, float, bool, str, str, float, type(None)]
    assert found[:5] == [1, 1.0, True, "1", "null"]
    assert [type(value) for value in pair] == [int, float]


def test_an_id_may_be_a_columns_name(new_tracker: Maker, catalog_path: Path) -> None:
    for name, lr in (("param", 0.1), ("metric", 0.2)):
        new_tracker(name, config={"lr": lr}).complete_experiment()
    with Catalog(catalog_path) as catalog:
        assert catalog.compare(["param", "metric"]).params.dicts() == [{"param": "lr", "param:2": 0.1, "metric": 0.2}]


def test_what_is_logged_counts_as_param(new_tracker: Maker, catalog_path: Path) -> None:
    for name, lr in (("a", 0.1), ("b", 0.2)):
        tracker = new_tracker(name, config={"lr": 0.5})
        tracker.log_params({"lr": lr, "found": {"threshold": 0.4}})
        tracker.complete_experiment()
    with Catalog(catalog_path) as catalog:
        assert list(catalog.compare(["a", "b"]).params) == [("lr", 0.1, 0.2)]


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (["a", "bb"], NotFoundError, "no experiment 'bb' in .*did you mean"),
        (["a"], InvalidValueError, r"at least two experiments; this is \['a'\]"),
        (["a", "a"], InvalidValueError, "at least two"),
        ([], InvalidValueError, "at least two"),
        ("a", InvalidValueError, "at least two"),
        (["a", 3], InvalidTypeError, "3 is a int"),
        (3, InvalidTypeError, "ids 3 is a int"),
        (["a", "' OR 1=1 --"], NotFoundError, "OR 1=1"),
    ],
)
def test_compare_wrongly(catalog: Catalog, ids: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        catalog.compare(ids)


# diff


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_diff(new_tracker: Maker, catalog_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    git(clean, "init", "-q", "-b", "main")
    (clean / "train.py").write_text("epochs = 3\n")
    git(clean, "add", ".")
    git(clean, "commit", "-qm", "one")
    edited = tmp_path / "edited"
    git(tmp_path, "clone", "-q", str(clean), str(edited))
    (edited / "train.py").write_text("epochs = 4\n")
    monkeypatch.chdir(clean)
    new_tracker("a", config=config()).complete_experiment()
    monkeypatch.chdir(edited)
    new_tracker("b", config=config("resnet50", seed=2)).complete_experiment()
    with Catalog(catalog_path) as catalog:
        found = catalog.diff("a", "b")
        same = catalog.diff("a", "a")
    assert [row[0] for row in found.params] == ["model.encoder", "training.output_dir", "training.seed"]
    assert found.params[0] == ("model.encoder", "resnet34", "resnet50")
    assert (list(found.environment), list(found.packages)) == ([], [])
    assert found.git.columns == ("fact", "a", "b")
    assert {row[0]: row[1:] for row in found.git} == {
        "git_dirty": (False, True),
        "git_remote": ("", str(clean)),
    }
    assert found.git_diffs[0] == ""
    assert "-epochs = 3\n+epochs = 4\n" in found.git_diffs[1]
    assert "The uncommitted changes differ: 0 and 7 lines" in str(found)
    assert str(same) == "nothing differs"


def test_diff_of_environments(new_tracker: Maker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crackseg_tracker import environment

    facts = environment.capture()
    monkeypatch.setattr(environment, "capture", lambda: facts._replace(packages={"torch": "2.1", "numpy": "1.26"}))
    new_tracker("a").complete_experiment()
    later = facts._replace(
        packages={"torch": "2.2", "scipy": "1.11"},
        python_version="3.99",
        gpu_info={"name": "H100", "count": 1},
        cuda_available=not facts.cuda_available,
    )
    monkeypatch.setattr(environment, "capture", lambda: later)
    new_tracker("b").complete_experiment()
    with Catalog(catalog_path) as catalog:
        found = catalog.diff("a", "b")
    assert list(found.packages) == [("torch", "2.1", "2.2"), ("numpy", "1.26", None), ("scipy", None, "1.11")]
    environments = {row[0]: row[1:] for row in found.environment}
    assert environments["python_version"] == (facts.python_version, "3.99")
    assert environments["gpu_name"][1] == "H100"
    assert environments["cuda_available"] == (facts.cuda_available, not facts.cuda_available)


@pytest.mark.parametrize(("a", "b", "error"), [("a", "x", NotFoundError), ("a", 3, InvalidTypeError)])
def test_diff_wrongly(catalog: Catalog, a: Any, b: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        catalog.diff(a, b)


# ablation


@pytest.fixture
def sweep(new_tracker: Maker, catalog_path: Path) -> Iterator[Catalog]:
    configs: dict[str, dict[str, Any]] = {
        "reference": config("resnet34", depth=4),
        "encoder": config("resnet50", depth=4),
        "encoder and seed": config("resnet101", seed=2, depth=4),
        "encoder and depth": config("resnet50", depth=5),
        "seed": config("resnet34", seed=3, depth=4),
        "encoder without depth": config("resnet50"),
        "encoder with more": config("resnet50", depth=4, dropout=0.5),
        "no encoder": {**config(), "model": {"depth": 4}},
        "encoder of parts": {**config(), "model": {"encoder": {"name": "vit", "size": 16}, "depth": 4}},
    }
    for i, (name, given) in enumerate(configs.items()):
        with new_tracker(name, config=given) as tracker:
            tracker.log_metrics({"iou": i / 10}, step=0)
    with Catalog(catalog_path) as catalog:
        yield catalog


def test_ablation(sweep: Catalog) -> None:
    found = sweep.ablation("reference", "model.encoder")
    assert [(row.experiment_id, row.params, row.best_metrics) for row in found] == [
        ("reference", {"model.encoder": "resnet34"}, {"iou": 0.0}),
        ("encoder", {"model.encoder": "resnet50"}, {"iou": 0.1}),
        ("encoder and seed", {"model.encoder": "resnet101"}, {"iou": 0.2}),
        ("no encoder", {}, {"iou": 0.7}),
        ("encoder of parts", {"model.encoder.name": "vit", "model.encoder.size": 16}, {"iou": 0.8}),
    ]
    assert found[2].ignored_params == {"training.seed": 2, "training.output_dir": "out/resnet101-2"}


def test_ablation_of_other_params(sweep: Catalog) -> None:
    def ids(*args: Any, **options: Any) -> list[str]:
        return [row.experiment_id for row in sweep.ablation(*args, **options)]

    assert ids("encoder", "model.depth") == ["encoder", "encoder and depth", "encoder without depth"]
    assert ids("reference", "training.seed") == ["reference", "seed"]
    assert ids("reference", "model.encoder", identity_ignores=["output_dir"]) == [
        "reference",
        "encoder",
        "no encoder",
        "encoder of parts",
    ]
    assert ids("reference", "model.encoder", experiment_id="encoder*") == [
        "reference",
        "encoder",
        "encoder and seed",
        "encoder of parts",
    ]
    # What is below "model" is all of it.
    assert len(ids("reference", "model")) == 8


def test_an_ablation_tells_types_apart(new_tracker: Maker, catalog_path: Path) -> None:
    for i, fixed in enumerate([1, 1, 1.0, True, "1", None, math.nan, [], {}]):
        new_tracker(f"e{i}", config={"fixed": fixed, "lr": i}).complete_experiment()
    with Catalog(catalog_path) as catalog:
        assert [row.experiment_id for row in catalog.ablation("e0", "lr")] == ["e0", "e1"]
        for alone in ("e2", "e3", "e4", "e5", "e6", "e7", "e8"):
            assert [row.experiment_id for row in catalog.ablation(alone, "lr")] == [alone]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("referense", "model.encoder"), {}, NotFoundError, "did you mean 'reference'"),
        (("reference", "model.encodr"), {}, NotFoundError, "no param 'model.encodr'; did you mean 'model.encoder'"),
        (("reference", "encoder"), {}, NotFoundError, "did you mean 'model.encoder'"),
        (("reference", 3), {}, InvalidTypeError, "param 3 is a int"),
        (("reference", "model.encoder"), {"identity_ignores": "seed"}, InvalidTypeError, "single str"),
        (("reference", "model.encoder"), {"statsu": "failed"}, InvalidTypeError, "did you mean 'status'"),
    ],
)
def test_ablation_wrongly(sweep: Catalog, arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sweep.ablation(*arguments, **options)


# duplicates


def test_duplicates(new_tracker: Maker, catalog_path: Path) -> None:
    for name, given, fingerprint in (
        ("a1", config(seed=1), ""),
        ("b1", config("resnet50"), ""),
        ("a2", config(seed=2), ""),
        ("other data", config(seed=3), "v2"),
        ("b2", config("resnet50", seed=9), ""),
        ("alone", config("vit"), ""),
        ("no config 1", None, ""),
        ("no config 2", None, ""),
    ):
        with new_tracker(name, config=given, data_fingerprint=fingerprint) as tracker:
            tracker.log_metrics({"iou": 0.5}, step=0)
    new_tracker("failed", config=config(seed=4)).fail_experiment("broke")
    with Catalog(catalog_path) as catalog:
        found = catalog.duplicates()
        strict = catalog.duplicates(identity_ignores=["output_dir"])
        loose = catalog.duplicates(identity_ignores=["model", "seed", "output_dir"])
        filtered = catalog.duplicates(experiment_id="a*")
    assert [(row.duplicate, row.experiment_id, row.ignored_params) for row in found] == [
        (1, "a1", {"training.seed": 1, "training.output_dir": "out/resnet34-1"}),
        (1, "a2", {"training.seed": 2, "training.output_dir": "out/resnet34-2"}),
        (2, "b1", {"training.seed": 1, "training.output_dir": "out/resnet50-1"}),
        (2, "b2", {"training.seed": 9, "training.output_dir": "out/resnet50-9"}),
    ]
    assert found[0].best_metrics == {"iou": 0.5}
    assert list(strict) == []
    assert [row.experiment_id for row in loose] == ["a1", "b1", "a2", "b2", "alone"]
    assert {row.duplicate for row in loose} == {1}
    assert [row.experiment_id for row in filtered] == ["a1", "a2"]


def test_duplicates_are_what_trackers_with_the_same_patterns_find(new_tracker: Maker, catalog_path: Path) -> None:
    ignores = ["model.*", "training.output_dir"]
    for name, given in (("a", config()), ("b", config("resnet50")), ("c", config(seed=2))):
        new_tracker(name, config=given, identity_ignores=ignores).complete_experiment()
    with Catalog(catalog_path) as catalog:
        assert [row.experiment_id for row in catalog.duplicates()] == ["a", "b"]
        assert catalog.duplicates(identity_ignores=ignores) == catalog.duplicates()
        assert [row.experiment_id for row in catalog.duplicates(identity_ignores=["seed", "output_dir"])] == ["a", "c"]
