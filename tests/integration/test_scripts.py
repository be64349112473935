"""The scripts do what their --help says, on any catalog."""

from __future__ import annotations

import json
import shlex
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


@pytest.mark.parametrize(
    "script",
    [
        "benchmark.py",
        "compare_experiments.py",
        "fill_catalog.py",
        "find_artifacts.py",
        "leaderboard.py",
        "seed_statistics.py",
        "write_contract.py",
    ],
)
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


def test_the_leaderboard_is_that_of_the_catalog(filled_catalog: Catalog) -> None:
    shown = run(
        "leaderboard.py", "val/iou", "--catalog", filled_catalog.path, "--limit", 3, "--params", "model.encoder"
    )
    best = filled_catalog.best("val/iou", limit=3, status="completed")
    lines = shown.splitlines()[1:]
    assert len(lines) == 3
    for rank, (line, row) in enumerate(zip(lines, best, strict=True), 1):
        encoder = filled_catalog.params(row.experiment_id)["model.encoder"]
        assert line.split() == [
            str(rank),
            f"{row.value:.4f}",
            str(row.step),
            row.experiment_id,
            f"model.encoder={encoder}",
        ]


def test_artifacts_are_found(filled_catalog: Catalog) -> None:
    arguments = ("--type", "checkpoint", "--tags", "best", "--status", "completed", "--limit", 4)
    shown = run("find_artifacts.py", "--catalog", filled_catalog.path, *arguments)
    found = filled_catalog.artifacts("checkpoint", tags=["best"], status="completed", limit=4)
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [row.experiment_id for row in found]
    assert all(row.absolute_path in line for row, line in zip(found, lines, strict=False))
    assert lines[-1].startswith("4 artifacts")


def test_experiments_are_put_side_by_side(filled_catalog: Catalog) -> None:
    one, other = (row.experiment_id for row in filled_catalog.best("val/iou", limit=2))
    shown = run("compare_experiments.py", one, other, "--catalog", filled_catalog.path)
    compared = filled_catalog.compare([one, other])
    assert shown.strip() == str(compared).strip()
    assert "seed" in shown
    shown = run("compare_experiments.py", one, other, "--catalog", filled_catalog.path, "--diff")
    assert shown.strip() == str(filled_catalog.diff(one, other)).strip()
    assert "takes two" in run("compare_experiments.py", one, "--diff", status=2)


def test_seeds_are_summed_up(filled_catalog: Catalog) -> None:
    shown = run("seed_statistics.py", "val/iou", "--catalog", filled_catalog.path, "--limit", 3).splitlines()
    assert len([line for line in shown[1:] if line.split()[0] in "12345"]) == 3
    shown = run("seed_statistics.py", "val/iou", "--catalog", filled_catalog.path, "--by", "model.encoder").splitlines()
    [column] = filled_catalog.sql("SELECT count(DISTINCT value) FROM params WHERE name = 'model.encoder'").rows
    assert len(shown) == 1 + column[0]
    assert all("model.encoder=" in line for line in shown[1:])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("leaderboard.py", "val/iuo"), "did you mean 'val/iou'"),
        (("find_artifacts.py", "--status", "complete"), "did you mean 'completed'"),
        (("compare_experiments.py", "nowhere", "neither"), "no experiment 'nowhere'"),
        (("seed_statistics.py", "val/iou", "--by", "model.encodr"), "did you mean 'model.encoder'"),
    ],
)
def test_a_mistake_is_explained(filled_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in run(*arguments, "--catalog", filled_path, status=2)


def test_the_readme_shows_what_they_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", "outputs/example/catalog.db")
    text = (SCRIPTS.parent / "README.md").read_text(encoding="utf-8")
    calls = text.split("$ python scripts/")[1:]
    assert len(calls) == 5
    for call in calls:
        command, _, shown = call.partition("```")[0].partition("\n")
        printed = [line.split() for line in run(*shlex.split(command)).splitlines()]
        lines = [line.split() for line in shown.strip().splitlines()]
        if lines[-1] == ["..."]:  # and so on
            lines, printed = lines[:-1], printed[: len(lines) - 1]
        if command.startswith("fill_catalog"):  # says how long it took
            lines, printed = [line[:5] for line in lines], [line[:5] for line in printed]
        assert printed == lines, command


def test_the_benchmark_writes_its_table(tmp_path: Path) -> None:
    """What the figures are is nobody's to test on a shared machine; that both sides are measured, and written, is."""
    shown = run(
        "benchmark.py",
        *("--quick", "--only", "bulk", "experiments", "processes"),
        *("--json", tmp_path / "figures.json", "--markdown", tmp_path / "table.md"),
    )
    assert "beyond the bound:" in shown
    figures = {row["work"]: row for row in json.loads((tmp_path / "figures.json").read_text())["rows"]}
    assert figures["100,000 points in bulk"]["ratio"] > 0
    assert figures["new experiment + end"]["ours"] > 0
    lost = figures["8 processes x 500 calls: lost"]
    assert (lost["raw"], lost["ours"]) == (0, 0)
    table = (tmp_path / "table.md").read_text()
    assert all(f"| {work} |" in table for work in figures)


def test_peers_are_measured_beside_it(tmp_path: Path) -> None:
    """Each in its own environment; one that is not there costs no other figure."""
    stub = tmp_path / "peers" / "mlflow.py"
    stub.parent.mkdir()
    stub.write_text("def set_tracking_uri(uri): ...\ndef start_run(): ...\ndef log_metrics(metrics, **how): ...\n")
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nPYTHONPATH={stub.parent} exec {sys.executable} "$@"\n')
    interpreter.chmod(0o700)
    shown = run(
        "benchmark.py",
        *("--quick", "--only", "bulk", "--peer-python", f"mlflow={interpreter}", f"aim={tmp_path / 'absent'}"),
        *("--peer-python", f"trackio={interpreter}", "--markdown", tmp_path / "table.md"),
    )
    assert shown.count("not measured: ") == 2, shown
    rows = [line.split(" | ")[0] for line in (tmp_path / "table.md").read_text().splitlines()]
    assert rows == [
        "| work",
        "|---|--:|--:|--:|--:|---|",
        "| 100,000 points in bulk",
        "",
        "| tracker",
        "|---|--:|--:|--:|",
        "| mlflow",
    ]
