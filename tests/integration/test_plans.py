"""Every query that the library ships is answered through an index: none reads all points, params or artifacts.

The SQL is what SQLite was given while the public calls ran, over many combinations of their arguments, and each view
with the conditions that one would write. Plans are read from the bytecode: a scan is a cursor that is rewound to the
first row of a table or of an index. They are made on a filled catalog, with and without the statistics of ANALYZE.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fill_catalog import Size, fill

from crackseg_tracker import Catalog, ExperimentTracker, metric, param
from crackseg_tracker.schema.contract import CONTRACT

#: Tables that grow with what is logged. `metric_recent` does not: it has the newest few hundred points of what runs.
BIG = {
    "artifact",
    "artifact_tag",
    "metric_point",
    "metric_report",
    "metric_summary",
    "metric_superseded",
    "param",
    "sample_point",
}
#: Holds only the series of experiments that have not ended.
SMALL_INDEXES = {"metric_summary_open"}

Traced = list[tuple[str, str]]


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    plain = tmp_path_factory.mktemp("plans") / "plain" / "catalog.db"
    fill(plain, Size(experiments=300, params=20, metrics=4, steps=10, curves=0.2))
    analyzed = plain.parent.parent / "analyzed.db"
    with closing(sqlite3.connect(plain)) as source, closing(sqlite3.connect(analyzed)) as target:
        source.backup(target)
        target.execute("ANALYZE")
    return {"plain": plain, "analyzed": analyzed}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Traced]]:
    """What SQLite is given, each statement with the name of the call that was set before it."""
    statements: Traced = []
    label = [""]
    connect = sqlite3.connect

    def connect_traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda sql: statements.append((label[0], sql)))
        return connection

    def calling(name: str) -> Traced:
        label[0] = name
        return statements

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect_traced)
        yield calling


def scans(connection: sqlite3.Connection, sql: str) -> set[str]:
    """Name the big tables that a statement reads from one end to the other."""
    roots: dict[int, tuple[str, str]] = {
        root: (table, name)
        for root, table, name in connection.execute("SELECT rootpage, tbl_name, name FROM sqlite_schema")
    }
    opened: dict[int, tuple[str, str]] = {}
    found: set[str] = set()
    for _, operation, p1, p2, *_ in connection.execute(f"EXPLAIN {sql}").fetchall():
        if operation in ("OpenRead", "OpenWrite", "ReopenIdx"):
            opened[p1] = roots.get(p2, ("", ""))
        elif operation in ("Rewind", "Last") and p1 in opened:
            table, name = opened[p1]
            if table in BIG and name not in SMALL_INDEXES:
                found.add(table)
    return found


def offenders(traced: Traced, path: Path, allowed: dict[str, set[str]]) -> list[str]:
    """List the calls whose statements scan what they may not. Statements that differ in values only count once."""
    shapes = {(name, re.sub(r"'(''|[^'])*'|\d+", "?", sql)): sql for name, sql in list(traced)}
    found: list[str] = []
    with closing(sqlite3.connect(path)) as connection:
        for (name, _), sql in shapes.items():
            if sql.split(None, 1)[0].upper() in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE"):
                scanned = scans(connection, sql) - allowed.get(name, set())
                if scanned:
                    found.append(f"{name} scans {', '.join(sorted(scanned))}: {sql[:1000]}")
    return found


def test_a_scan_is_seen(catalogs: dict[str, Path]) -> None:
    with closing(sqlite3.connect(catalogs["analyzed"])) as connection:
        assert scans(connection, "SELECT * FROM param WHERE text = 'x'") == {"param"}
        assert scans(connection, "SELECT count(*) FROM metrics") == {"metric_point"}
        assert scans(connection, "DELETE FROM artifact WHERE size_bytes = 1") == {"artifact"}
        assert scans(connection, "SELECT * FROM param WHERE name = 'seed'") == set()


# The views, as one would ask them


#: Clustered or indexed by experiment and metric: one asks for those of some experiments.
BY_EXPERIMENT = {"metric_reports", "sample_metrics", "superseded_metrics"}


def typical(view: str) -> Iterator[str]:
    """Write conditions on the columns by which one finds rows."""
    names = [column.name for column in CONTRACT[view].columns]
    if "metric" in names and view not in BY_EXPERIMENT:
        yield "metric = 'val/iou'"
    if "experiment_id" in names and view != "leaderboard":  # ranks are by metric: name it
        yield "experiment_id = 'x'"
        yield "experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE tag = 'paper')"
        if "metric" in names:
            yield "metric = 'val/iou' AND experiment_id = 'x'"
        if "name" in names:
            yield "experiment_id = 'x' AND name = 'seed'"
    if view == "params":
        yield "name = 'model.encoder' AND value = 'swin-tiny'"
        yield "name = 'training.learning_rate' AND value BETWEEN 0.0001 AND 0.001"
    if "tag" in names:
        yield "tag = 'best'"
    if "artifact_type" in names:
        yield "artifact_type = 'checkpoint'"
        yield "sha256 = 'x'"
        yield "experiment_id = 'x' AND artifact_id = 'model-best'"
    if view == "leaderboard":
        yield "metric = 'val/iou' AND rank <= 10"
    if view == "metric_bests":
        yield "metric = 'val/iou' ORDER BY value DESC LIMIT 10"
        third = "SELECT experiment_id FROM params WHERE name = 'seed' AND value = 3"
        yield f"metric = 'val/iou' AND experiment_id IN ({third})"
    if view == "metrics":
        yield "metric = 'val/iou' AND experiment_id = 'x' AND step BETWEEN 3 AND 7"


@pytest.mark.parametrize("statistics", ["plain", "analyzed"])
@pytest.mark.parametrize("view", [view for view in CONTRACT if view not in ("catalog_info", "metric_names")])
def test_a_view_is_read_through_an_index(catalogs: dict[str, Path], view: str, statistics: str) -> None:
    conditions = list(typical(view))
    assert conditions
    with closing(sqlite3.connect(catalogs[statistics])) as connection:
        for condition in conditions:
            sql = f"SELECT * FROM {view} WHERE {condition}"
            assert scans(connection, sql) == set(), sql


def test_the_best_ten_are_read_and_no_more(catalogs: dict[str, Path]) -> None:
    with closing(sqlite3.connect(catalogs["analyzed"])) as connection:
        steps = [0]
        connection.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1) or 0, 1)
        taken = []
        for limit in (10, 250):
            steps[0] = 0
            query = "SELECT * FROM metric_bests WHERE metric = 'val/iou' ORDER BY value DESC LIMIT ?"
            assert len(connection.execute(query, (limit,)).fetchall()) == limit
            taken.append(steps[0])
    assert taken[0] < taken[1] / 3


# What the library asks of SQLite


def live(tracker: ExperimentTracker, folder: Path) -> None:
    """Take an experiment through all that a training may do."""
    (folder / "file.bin").write_bytes(b"content")
    with tracker:
        for step in range(5):
            tracker.log_metrics({"val/iou": step / 9, "loss": 1 / (step + 1)}, step)
        tracker.log_metrics({"val/iou": 0.5}, 2)
        tracker.log_metrics({"val/iou": 0.9})
        tracker.log_history("train/loss", range(600), [0.5] * 600)
        tracker.log_samples({"a.png": {"iou": 0.5}}, split="val")
        tracker.define_metric("val/iou", mode="max")
        tracker.update_training_progress(5, 9, {"val/iou": 0.9, "loss": 0.1}, 3.0)
        tracker.update_training_progress(6, 9, {"val/iou": 0.8})
        tracker.rewind(3)
        tracker.add_tags(["a", "b"])
        tracker.remove_tags(["a"])
        tracker.update_description("described")
        tracker.log_params({"more": {"x": 1}})
        tracker.add_artifact("file", "checkpoint", str(folder / "file.bin"), tags=["best"])
        tracker.add_artifact("file", "checkpoint", str(folder / "file.bin"), tags=["last"])
        tracker.get_metadata()
        tracker.get_experiment_summary()
        tracker.get_artifacts_by_type("checkpoint")
        tracker.save()


@pytest.mark.parametrize("statistics", ["plain", "analyzed"])
def test_a_training_scans_nothing(
    traced: Callable[[str], Traced],
    new_tracker: Callable[..., ExperimentTracker],
    catalogs: dict[str, Path],
    tmp_path: Path,
    statistics: str,
) -> None:
    statements = traced("the first life")
    live(new_tracker("a", config={"lr": 0.1}), tmp_path)
    new_tracker("a").close()
    traced("a resumed life")
    live(new_tracker("a", config={"lr": 0.2}), tmp_path)
    traced("a deferred life")
    live(new_tracker("b", auto_save=False), tmp_path)
    traced("a buffered life")
    live(new_tracker("c", durability="buffered", on_duplicate="warn"), tmp_path)
    assert len(statements) > 300
    assert offenders(statements, catalogs[statistics], {}) == []


#: Each name is an experiment's in the filled catalog; filters that combine as users combine them.
FILTERS: dict[str, dict[str, Any]] = {
    "tag": {"tags": ["paper"]},
    "tags": {"tags": ["paper", "sweep"], "no_tags": ["final"]},
    "any tag": {"any_tags": ["paper", "long"]},
    "project and status": {"project": "deepcrack", "status": ["completed", "failed"]},
    "id": {"experiment_id": "x"},
    "id pattern": {"experiment_id": "20250106-*"},
    "group": {"group": "unet-resnet34-00001"},
    "name": {"name": "unet-*"},
    "param": {"params": {"model.encoder": "swin-tiny", "seed": 3}},
    "param range": {"where": param("training.learning_rate").between(1e-4, 1e-3)},
    "param missing": {"where": param("training.scheduler").is_missing(), "tags": "paper"},
    "best metric": {"where": metric("val/iou") > 0.7},
    "last metric": {"where": metric("val/loss").last < 0.3, "status": "completed"},
    "both": {"where": [param("model.depth") > 3, metric("val/iou") > 0.7], "tags": "sweep"},
    "either": {"where": (param("model.depth") == 3) | (metric("val/iou") > 0.75)},
    "time": {"created_since": "2025-01-07", "completed_until": "2025-01-09"},
    "commit": {"git_commit": "7c2b3"},
    "host": {"hostname": "gpu-0*"},
}
ORDERS: tuple[Any, ...] = (None, "-created_at", "-val/iou", "training.learning_rate", metric("val/loss").last.ascending)


def ask_everything(catalog: Catalog, calling: Callable[[str], Traced]) -> Traced:
    """Ask all questions with many combinations of their arguments."""
    [one, two] = [row.experiment_id for row in catalog.experiments(limit=2)]
    for name, filters in FILTERS.items():
        for order in ORDERS:
            calling(f"experiments by {name}")
            catalog.experiments(order_by=order, limit=20, **filters)
        calling(f"best by {name}")
        catalog.best("val/iou", **filters)
        catalog.best("val/loss", mode="max", limit=None, **filters)
        calling(f"leaderboard by {name}")
        catalog.leaderboard(["val/iou", "val/loss"], **filters)
        calling(f"lives by {name}")
        catalog.status_changes(limit=20, **filters)
        catalog.attempts(limit=20, **filters)
        calling(f"artifacts by {name}")
        given = {key: value for key, value in filters.items() if key not in ("tags", "any_tags", "no_tags")}
        catalog.artifacts("checkpoint", tags=["best"], limit=20, **given)
    for name, arguments in {
        "type": {"artifact_type": "metrics"},
        "most types": {"artifact_type": ["checkpoint", "metrics"]},
        "tags": {"tags": ["best", "model"], "no_tags": "resume"},
        "id": {"experiment_id": one},
        "artifact id": {"experiment_id": one, "artifact_id": "model-*"},
    }.items():
        calling(f"artifacts of {name}")
        catalog.artifacts(**arguments)
    calling("one experiment")
    catalog.experiment(one)
    catalog.params(one)
    catalog.history(["val/iou", "val/loss"], [one, two])
    catalog.history("val/iou", one, slice(3, 7))
    catalog.history("val/iou", one, points=3)
    catalog.whence("nowhere.pth")
    catalog.whence("0123abcd")
    catalog.changes()
    catalog.trash()
    catalog.schema()
    calling("compare")
    catalog.compare([one, two])
    catalog.diff(one, two)
    catalog.ablation(one, "model.encoder")
    calling("statistics")
    catalog.statistics("val/iou", "model.encoder")
    catalog.statistics("val/iou", "config-without:seed", value="last", tags="paper")
    catalog.test("val/iou", {"model.encoder": "resnet18"}, {"model.encoder": "swin-tiny"})
    catalog.test("val/iou", "*-00000-s*", ["*-00001-s*"], paired_by="seed")
    calling("duplicates")
    catalog.duplicates()
    return calling("")


@pytest.mark.parametrize("statistics", ["plain", "analyzed"])
def test_a_question_scans_nothing(traced: Callable[[str], Traced], catalogs: dict[str, Path], statistics: str) -> None:
    with Catalog(catalogs[statistics]) as catalog:
        statements = ask_everything(catalog, traced)
    assert len(statements) > 200
    # Three artifacts of five are of these types: through the index, as many pages would be read, and in no order.
    allowed = {"artifacts of most types": {"artifact"}}
    assert offenders(statements, catalogs[statistics], allowed) == []
