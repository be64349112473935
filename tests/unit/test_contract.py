"""The contract with all who ask in SQL: each column is described, true of real data, and changed by versions only."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from write_contract import VERSIONS, columns

from crackseg_tracker import Catalog, ExperimentTracker, NotFoundError
from crackseg_tracker.schema.contract import CONTRACT
from crackseg_tracker.schema.views import CONTRACT_VERSION, VIEWS
from crackseg_tracker.store.integrity import declared_connection

RELEASED: dict[str, dict[str, list[str]]] = json.loads(VERSIONS.read_text(encoding="utf-8"))


def test_every_column_of_every_view_is_described() -> None:
    with closing(declared_connection()) as connection:
        for view in VIEWS:
            if not view.startswith("_"):
                there = [column[0] for column in connection.execute(f"SELECT * FROM {view}").description]
                assert there == [column.name for column in CONTRACT[view].columns], view
    assert list(CONTRACT) == sorted(CONTRACT, key=list(VIEWS).index)
    for view in CONTRACT.values():
        assert view.row
        for column in view.columns:
            assert column.meaning
            assert column.type.removesuffix(" or null") in ("integer", "real", "text", "any"), column


def test_the_columns_change_with_the_version_only() -> None:
    assert columns() == RELEASED[str(CONTRACT_VERSION)], (
        "the columns of a view changed: if this version was released, raise CONTRACT_VERSION in schema/views.py; then "
        "run python scripts/write_contract.py"
    )


@pytest.mark.parametrize("version", range(1, CONTRACT_VERSION))
def test_a_version_keeps_what_the_one_before_had(version: int) -> None:
    later = RELEASED[str(version + 1)]
    for view, names in RELEASED[str(version)].items():
        assert later[view][: len(names)] == names  # in place: SELECT * goes into tables made by hand


def test_the_version_is_readable_in_sql(filled_catalog: Catalog) -> None:
    assert filled_catalog.sql("SELECT contract_version FROM catalog_info").rows == ((CONTRACT_VERSION,),)


@pytest.fixture
def varied_path(new_tracker: Callable[..., ExperimentTracker], catalog_path: Path, tmp_path: Path) -> Path:
    """What the filled catalog lacks: rewinds, folders, absent files, extreme values, nothing at all."""
    new_tracker("bare", project="p")
    tracker = new_tracker("one", group="g", config={"lr": 0.1, "none": None, "empty": {}, "flag": True, "n": 3})
    tracker.define_metric("iou", mode="max", unit="%", description="intersection over union")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    tracker.add_artifact("folder", "data", str(folder), "d", ["t"])
    tracker.add_artifact("absent", "checkpoint", "absent.pth")
    for step, value in enumerate([0.5, math.nan, math.inf, -math.inf, -0.0]):
        tracker.log_metrics({"iou": value}, step)
    tracker.log_metrics({"only_nan": math.nan}, 0)
    tracker.log_samples({"a.png": {"iou": 0.5}}, step=3, split="val")
    tracker.update_training_progress(9, 9, {"reported": 1.0, "nothing": math.nan})
    tracker.rewind(2)
    tracker.fail_experiment("broke")
    return catalog_path


@pytest.mark.parametrize("view", CONTRACT)
def test_the_values_are_of_the_declared_types(filled_path: Path, varied_path: Path, view: str) -> None:
    seen = 0
    for path in (filled_path, varied_path):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            for column in CONTRACT[view].columns:
                kind, _, null = column.type.partition(" or ")
                allowed = ("integer", "real", "text") if kind == "any" else (kind,)
                types = connection.execute(
                    f'SELECT typeof("{column.name}"), count(*) FROM {view} GROUP BY 1'
                ).fetchall()
                assert {one for one, _ in types} <= {*allowed, *([null] if null else [])}, column
                seen += sum(count for _, count in types)
                if column.unit == "ISO 8601, UTC":
                    like = "____-__-__T__:__:__.%+00:00"
                    odd = f'SELECT "{column.name}" FROM {view} WHERE "{column.name}" NOT LIKE ? LIMIT 5'
                    assert connection.execute(odd, (like,)).fetchall() == []
                if column.unit == "JSON":
                    odd = f'SELECT "{column.name}" FROM {view} WHERE NOT json_valid("{column.name}") LIMIT 5'
                    assert connection.execute(odd).fetchall() == []
                if column.unit == "0 or 1":
                    odd = f'SELECT "{column.name}" FROM {view} WHERE "{column.name}" NOT IN (0, 1) LIMIT 5'
                    assert connection.execute(odd).fetchall() == []
    assert seen, f"no row of {view} was looked at"


def test_schema_describes_all_views_or_one(filled_catalog: Catalog) -> None:
    rows = filled_catalog.schema()
    assert rows.columns == ("view", "column", "type", "unit", "meaning")
    assert list(dict.fromkeys(row.view for row in rows)) == list(CONTRACT)
    one = filled_catalog.schema("experiment_tags")
    assert [(row.column, row.type, row.unit) for row in one] == [
        ("experiment_id", "text", ""),
        ("tag", "text", ""),
        ("added_at", "text", "ISO 8601, UTC"),
    ]
    with pytest.raises(NotFoundError, match=r"'leaderbord'.*'leaderboard'"):
        filled_catalog.schema("leaderbord")


# What the overviews say


def test_the_leaderboard_ranks_by_mode_and_shares_ranks(
    new_tracker: Callable[..., ExperimentTracker], catalog_path: Path
) -> None:
    for name, iou, loss in (("a", 0.7, 0.3), ("b", 0.9, 0.5), ("c", 0.7, 0.2), ("d", math.nan, math.inf)):
        tracker = new_tracker(name)
        tracker.log_metrics({"iou": iou, "loss": loss}, step=4)
        if name != "b":  # b is running: its bests are in no index yet
            tracker.complete_experiment()
    with Catalog(catalog_path) as catalog:
        ranked = (
            "SELECT rank, experiment_id, value, step FROM leaderboard WHERE metric = ? ORDER BY rank, experiment_id"
        )
        assert catalog.sql(ranked, ["iou"]).rows == ((1, "b", 0.9, 4), (2, "a", 0.7, 4), (2, "c", 0.7, 4))
        assert catalog.sql(ranked, ["loss"]).rows == ((1, "c", 0.2, 4), (2, "a", 0.3, 4), (3, "b", 0.5, 4))
        first = "SELECT metric, experiment_id FROM leaderboard WHERE rank = 1 ORDER BY metric"
        assert catalog.sql(first).rows == (("iou", "b"), ("loss", "c"))


def test_an_experiment_overview_agrees_with_the_views(varied_path: Path, filled_path: Path) -> None:
    for path in (varied_path, filled_path):
        with Catalog(path) as catalog:
            overview = catalog.sql("SELECT * FROM experiment_overview").dicts()
            assert [row["experiment_id"] for row in overview] == [row.experiment_id for row in catalog.experiments()]
            bests: dict[str, list[str]] = {row["experiment_id"]: [] for row in overview}
            for experiment_id, metric, value in catalog.sql("SELECT experiment_id, metric, value FROM metric_bests"):
                bests[experiment_id].append(f"{metric}={value:.6g}")
            for row in overview:
                shown = row["best_metrics"].split(", ") if row["best_metrics"] else []
                assert sorted(shown) == sorted(bests[row["experiment_id"]])
                experiment = catalog.experiment(row["experiment_id"])
                assert row["tags"] == ", ".join(sorted(experiment.tags))
                artifacts = catalog.artifacts(experiment_id=row["experiment_id"])
                assert row["artifact_count"] == len(artifacts)
                assert row["artifact_bytes"] == sum(artifact.size_bytes or 0 for artifact in artifacts)


def test_an_artifact_overview_counts_equal_contents(
    new_tracker: Callable[..., ExperimentTracker], catalog_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "same.bin").write_bytes(b"same")
    (tmp_path / "copy.bin").write_bytes(b"same")
    new_tracker("a").add_artifact("x", "data", str(tmp_path / "same.bin"), tags=["t", "s"])
    new_tracker("b").add_artifact("y", "data", str(tmp_path / "copy.bin"))
    new_tracker("b").add_artifact("z", "data", "absent.bin")
    with Catalog(catalog_path) as catalog:
        rows = catalog.sql("SELECT artifact_id, tags, same_content_count FROM artifact_overview ORDER BY 1").rows
    assert rows == (("x", "s, t", 2), ("y", "", 2), ("z", "", 0))
