"""The scripts do what their --help says, on any catalog."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fill_catalog import Size, fill

from crackseg_tracker import Catalog

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(script: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("script", ["fill_catalog.py", "write_contract.py"])
def test_help_shows_how_it_is_called(script: str) -> None:
    shown = run(script, "--help")
    assert f"python scripts/{script}" in shown
    assert "usage:" in shown


def test_a_filled_catalog_has_what_was_asked_for(catalog_path: Path) -> None:
    shown = run(
        "fill_catalog.py",
        *(catalog_path, "--experiments", 20, "--params", 22, "--metrics", 12, "--steps", 8, "--curves", 0.5),
        *("--artifacts", 6, "--tags", 2, "--samples", 3),
    )
    points = 10 * 12 * 8
    assert f"20 experiments and {points} points" in shown
    with Catalog(catalog_path) as catalog:
        counts = (
            "SELECT (SELECT count(*) FROM experiments), (SELECT count(*) FROM metrics), (SELECT count(*) FROM params)"
        )
        assert catalog.sql(counts).rows == ((20, points, 20 * 22),)
        assert catalog.sql("SELECT DISTINCT count(*) FROM experiment_tags GROUP BY experiment_id").rows == ((2,),)
        assert set(catalog.sql("SELECT count(*) FROM artifacts GROUP BY experiment_id").rows) <= {(6,)}
        assert catalog.sql("SELECT count(DISTINCT sample) FROM sample_metrics").rows == ((3,),)
        groups = catalog.sql('SELECT count(*) FROM experiments GROUP BY "group"').rows
        assert groups == ((5,),) * 4
        seeds = "SELECT DISTINCT group_concat(value) FROM params JOIN experiments USING (experiment_id) WHERE name = ? "
        assert catalog.sql(seeds + 'GROUP BY "group"', ["seed"]).rows == (("0,1,2,3,4",),)


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    def rows(name: str, seed: int) -> list[object]:
        path = tmp_path / name / "catalog.db"
        fill(path, Size(experiments=10, steps=5, curves=0.5), seed=seed)
        views = ("experiments", "params", "metrics", "metric_bests", "artifacts", "artifact_tags", "experiment_tags")
        with Catalog(path) as catalog:
            assert catalog.check() == []
            return [catalog.sql(f"SELECT * FROM {view}").rows for view in (*views, "sample_metrics")]

    first = rows("a", 1)
    assert first == rows("b", 1)
    assert first != rows("c", 2)


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    assert "notes.txt" in run("fill_catalog.py", tmp_path / "notes.txt", status=2)
