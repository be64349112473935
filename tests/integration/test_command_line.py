"""Every command and option, as a person or a script calls them."""

import contextlib
import csv
import doctest
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.cli import COMMANDS, cli
from crackseg_tracker.store.integrity import PROOFS

Maker = Callable[..., ExperimentTracker]
HOSTILE = "\x1b[31mred\x07"


@pytest.fixture(scope="module")
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


def fill(new_tracker: Maker) -> None:
    for name, lr, iou, tags in [
        ("unet-1", 0.1, 0.5, ["baseline"]),
        ("unet-2", 0.01, 0.75, ["baseline", "paper"]),
        ("seg-1", 0.001, 0.625, ["paper"]),
    ]:
        config = {"training": {"lr": lr}, "model": name.partition("-")[0]}
        tracker = new_tracker(name, experiment_name=f"{name}-name", project="roads", group=name[:1], config=config)
        tracker.start_experiment()
        for step in range(3):
            tracker.log_metrics({"val/iou": iou - 0.1 * (2 - step), "loss": 1 - iou}, step=step)
        tracker.add_tags(tags)
        tracker.add_artifact("best", "checkpoint", f"{name}/best.pth", tags=["best"])
        tracker.complete_experiment()
    new_tracker("never", project="bridges", experiment_name=HOSTILE, config={"model": "unet"}).close()


def run(*arguments: str, code: int = 0, typed: str | None = None) -> Result:
    result = CliRunner().invoke(cli, arguments, input=typed)
    assert result.exit_code == code, result.output + repr(result.exception)
    assert "Traceback" not in result.stderr
    return result


def lines(*arguments: str) -> list[list[str]]:
    """The rows of the TSV that a pipe gets, without the heading."""
    return [line.split("\t") for line in run(*arguments).stdout.splitlines()[1:]]


def ids(*arguments: str) -> list[str]:
    return [row[0] for row in lines(*arguments)]


# Looking


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], ["unet-1", "unet-2", "seg-1", "never"]),
        (["--project", "roads"], ["unet-1", "unet-2", "seg-1"]),
        (["--status", "created", "--status", "failed"], ["never"]),
        (["--tag", "baseline", "--tag", "paper"], ["unet-2"]),
        (["--any-tag", "baseline", "--any-tag", "paper"], ["unet-1", "unet-2", "seg-1"]),
        (["--no-tag", "paper"], ["unet-1", "never"]),
        (["--name", "unet*"], ["unet-1", "unet-2"]),
        (["--id", "*-1"], ["unet-1", "seg-1"]),
        (["--group", "s"], ["seg-1"]),
        (["--where", "training.lr<0.05"], ["unet-2", "seg-1"]),
        (["--where", "training.lr<0.05", "--where", "model=unet"], ["unet-2"]),
        (["--where", "val/iou >= 0.6"], ["unet-2", "seg-1"]),
        (["--where", "val/iou.first<0.5"], ["unet-1", "seg-1"]),
        (["--where", "metric:loss.last!=0.5"], ["unet-2", "seg-1"]),
        (["--where", "param:model!=unet"], ["seg-1"]),
        (["--where", "model='seg'"], ["seg-1"]),
        (["--text", "SEG-1-name"], ["seg-1"]),
        (["--since", "1h"], ["unet-1", "unet-2", "seg-1", "never"]),
        (["--until", "1h"], []),
        (["--since", "2020-01-01", "--until", "2020-12-31"], []),
        (["--commit", "0123456"], []),
        (["--host", "*"], ["unet-1", "unet-2", "seg-1", "never"]),
        (["--sort", "-val/iou"], ["unet-2", "seg-1", "unet-1", "never"]),
        (["--sort", "training.lr"], ["seg-1", "unet-2", "unet-1", "never"]),
        (["--sort", "model", "--sort", "-val/iou"], ["seg-1", "unet-2", "unet-1", "never"]),
        (["--limit", "1"], ["unet-1"]),
        (["--limit", "1", "--offset", "2"], ["seg-1"]),
    ],
)
def test_list(catalog: Path, options: list[str], found: list[str]) -> None:
    assert ids("list", *options) == found


def test_best(catalog: Path) -> None:
    assert [(row[0], row[2], row[3]) for row in lines("best", "val/iou")] == [
        ("unet-2", "0.75", "2"),
        ("seg-1", "0.625", "2"),
        ("unet-1", "0.5", "2"),
    ]
    assert ids("best", "val/iou", "--mode", "min", "--tag", "baseline") == ["unet-1", "unet-2"]
    assert ids("best", "val/iou", "--limit", "1") == ["unet-2"]
    assert len(ids("best", "val/iou", "--limit", "0")) == 3
    assert ids("best", "val/iou", "--where", "training.lr<0.01") == ["seg-1"]


def test_artifacts(catalog: Path) -> None:
    assert ids("artifacts") == ["unet-1", "unet-2", "seg-1"]
    assert ids("artifacts", "--type", "checkpoint", "--tag", "best", "--experiment", "seg") == ["seg-1"]
    assert ids("artifacts", "--id", "b*", "--digest-state", "missing", "--limit", "2") == ["unet-1", "unet-2"]
    assert ids("artifacts", "--digest-state", "hashed") == []
    assert ids("artifacts", "--path", "*seg*", "--any-tag", "best", "--offset", "0") == ["seg-1"]
    assert ids("artifacts", "--no-tag", "best") == []
    assert ids("artifacts", "--experiment-tag", "paper", "--where", "training.lr<0.01") == ["seg-1"]
    assert ids("artifacts", "--status", "failed") == []


def test_compare(catalog: Path) -> None:
    assert lines("compare", "unet-1", "unet-2") == [["training.lr", "0.1", "0.01"]]
    whole = json.loads(run("compare", "unet-1", "unet-2", "seg", "--format", "json").stdout)
    assert [row["experiment_id"] for row in whole["experiments"]] == ["unet-1", "unet-2", "seg-1"]
    bests = {row[0]: row[-2:] for row in lines("compare", "unet-1", "seg", "--part", "best_metrics")}
    assert bests == {"val/iou": ["0.5", "0.625"], "loss": ["0.5", "0.375"]}
    table = run("compare", "unet-1", "unet-2", "--format", "table").stdout
    for title in ("experiments", "params", "best metrics", "last metrics", "artifacts"):
        assert re.search(rf"^{title}$", table, re.MULTILINE)
    assert "at least two" in run("compare", "unet-1", "unet-1", code=2).stderr


def test_diff(catalog: Path) -> None:
    assert lines("diff", "unet-1", "seg") == [["model", "unet", "seg"], ["training.lr", "0.1", "0.001"]]
    assert lines("diff", "unet-1", "seg", "--part", "packages") == []
    assert "# unet-1" in run("diff", "unet-1", "seg", "--patch").stdout
    assert "params\n" in run("diff", "unet-1", "seg", "--format", "table").stdout
    same = run("diff", "unet-1", "unet-1", "--format", "table")
    assert (same.stdout, same.stderr) == ("", "nothing differs\n")
    assert json.loads(run("diff", "unet-1", "unet-2", "--format", "json").stdout)["params"][0]["param"] == "training.lr"


def test_ablation_and_duplicates(catalog: Path) -> None:
    assert ids("ablation", "unet-1", "training.lr", "--group", "u") == ["unet-1", "unet-2"]
    assert ids("ablation", "unet-1", "training.lr", "--status", "failed", "--columns", "experiment_id") == ["unet-1"]
    assert lines("duplicates", "--project", "roads") == []


def test_stats(catalog: Path) -> None:
    rows = json.loads(run("stats", "val/iou", "--group-by", "model", "--format", "json").stdout)
    assert [(row["group"], row["n"], row["mean"]) for row in rows] == [
        ({"model": "unet"}, 2, 0.625),
        ({"model": "seg"}, 1, 0.625),
    ]
    options = ("--value", "last", "--mode", "min", "--confidence", "0.9", "--tag", "paper")
    assert lines("stats", "val/iou", "--group-by", "model", "--group-by", "training.lr", *options)
    assert "confidence" in run("stats", "val/iou", "--confidence", "2", code=2).stderr
    assert "mean" in run("stats", "val/iou", "--format", "table").stdout


def test_test(catalog: Path) -> None:
    arguments = ("test", "val/iou", "model=unet", "seg-*", "--value", "last", "--mode", "max", "--project", "roads")
    [row] = json.loads(run(*arguments, "--format", "json").stdout)
    assert (row["n_a"], row["n_b"], row["p_value"]) == (2, 1, None)
    assert row["reason"]
    assert len(lines("test", "val/iou", "unet-1", "unet-2", "seg-1")) == 2
    assert "seed" in run("test", "val/iou", "unet-1", "seg-1", "--paired-by", "seed", code=1).stderr


def test_schema() -> None:
    """It takes no catalog: the contract is the same in all."""
    columns = [row[1] for row in lines("schema", "experiment_tags")]
    assert columns == ["experiment_id", "tag", "added_at"]
    assert len(lines("schema")) > 100
    assert "did you mean 'experiments'" in run("schema", "experimentz", code=1).stderr


def test_tags(catalog: Path) -> None:
    assert lines("tags") == [["baseline", "2", "0"], ["best", "0", "3"], ["paper", "2", "0"]]


def test_history(catalog: Path) -> None:
    assert lines("history", "unet-2", "loss", "val/iou", "--start", "1", "--stop", "2") == [
        ["unet-2", "loss", "1", "0.25"],
        ["unet-2", "val/iou", "1", "0.65"],
    ]
    [bucket] = lines("history", "unet-2", "val/iou", "--points", "1", "--columns", "first_step,last_step,points,max")
    assert bucket == ["0", "2", "3", "0.75"]


def test_history_of_what_was_only_reported(own_catalog: Path) -> None:
    with ExperimentTracker("reports", "reports", catalog=own_catalog) as tracker:
        tracker.update_training_progress(1, 2, best_metrics={"val/iou": 0.5})
    assert "0.5 was reported as the best; no points were logged" in run("history", "reports", "val/iou").stderr


def test_leaderboard(catalog: Path) -> None:
    assert [row[:2] for row in lines("leaderboard", "val/iou", "loss")] == [
        ["1", "unet-2"],
        ["2", "seg-1"],
        ["3", "unet-1"],
    ]
    assert [row[1] for row in lines("leaderboard", "loss", "--tag", "baseline", "--limit", "1")] == ["unet-2"]


def test_whence(own_catalog: Path, new_tracker: Maker, tmp_path: Path) -> None:
    checkpoint = tmp_path / "epoch-7.pth"
    checkpoint.write_bytes(b"weights")
    new_tracker("maker").add_artifact("best", "checkpoint", checkpoint)
    copy = tmp_path / "copied.pth"
    copy.write_bytes(b"weights")
    assert lines("whence", str(copy), "--columns", "experiment_id,artifact_id,match") == [["maker", "best", "content"]]
    assert lines("whence", hashlib.sha256(b"weights").hexdigest()[:12])[0][0] == "maker"
    assert lines("whence", "f" * 64) == []


def test_show(catalog: Path) -> None:
    shown = dict(lines("show", "@best:val/iou"))
    assert shown["experiment_id"] == "unet-2"
    assert shown["best_metrics.val/iou"] == "0.75"
    assert shown["params.training.lr"] == "0.01"
    whole = json.loads(run("show", "unet-2", "--format", "json").stdout)
    assert whole["params"]["model"] == "unet"
    assert [row["metric"] for row in whole["metrics"]] == ["loss", "val/iou"]
    assert [row["status"] for row in whole["status_changes"]] == ["created", "running", "completed"]
    assert whole["artifacts"][0]["path"] == "unet-2/best.pth"
    table = run("show", "unet-2", "--format", "table").stdout
    for title in ("metrics", "params", "artifacts", "status changes", "attempts"):
        assert f"\n\n{title}\n" in table


def test_show_what_went_wrong(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker("a")
    tracker.start_experiment()
    tracker.update_description("first\nsecond" + HOSTILE)
    tracker.fail_experiment("ValueError: broke")
    table = run("show", "a", "--catalog", str(catalog_path), "--format", "table").stdout
    assert "description\nfirst\nsecond\\x1b[31mred\\x07\n\nerror\nValueError: broke\n" in table


def test_sql(catalog: Path) -> None:
    query = "SELECT experiment_id FROM params WHERE name = ? AND value < ? ORDER BY 1"
    assert lines("sql", query, "training.lr", "0.05") == [["seg-1"], ["unet-2"]]
    assert len(lines("sql", "SELECT * FROM params", "--limit", "2")) == 2
    assert "SEARCH" in run("sql", query, "x", "1", "--explain").stdout
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    assert "longer" in run("sql", endless, "--timeout", "0.1", code=1).stderr
    assert run("sql", "-", typed="SELECT 1 AS one").stdout == "one\n1\n"
    refused = run("sql", "DELETE FROM experiment", code=1)
    assert refused.stdout == ""
    assert "error: " in refused.stderr
    assert "DELETE FROM experiment" in refused.stderr


def test_where(catalog: Path, tmp_path: Path) -> None:
    known = dict(lines("where"))
    assert known["catalog"] == str(catalog)
    assert known["setting"] == "environment variable CRACKSEG_TRACKER_CATALOG"
    assert known["experiments"] == "4"
    elsewhere = dict(lines("where", "--catalog", str(tmp_path / "none.db")))
    assert elsewhere["setting"] == "catalog argument"
    assert "no catalog yet" in elsewhere["experiments"]


def test_check(catalog: Path) -> None:
    whole = run("check")
    assert whole.stdout == ""
    assert "no problems" in whole.stderr


def test_backup(own_catalog: Path, tmp_path: Path) -> None:
    assert "whole" in run("backup", str(tmp_path / "copy.db")).stderr
    assert ids("list", "--catalog", str(tmp_path / "copy.db")) == ids("list")
    assert "exists" in run("backup", str(tmp_path / "copy.db"), code=2).stderr


def test_upgrade(catalog_path: Path) -> None:
    catalog_path.parent.mkdir()
    golden = Path(__file__).parents[1] / "golden" / "version-1.catalog.gz"
    catalog_path.write_bytes(gzip.decompress(golden.read_bytes()))
    assert "crackseg-tracker upgrade" in run("list", "--catalog", str(catalog_path), code=1).stderr
    assert "the backup is" in run("upgrade", "--catalog", str(catalog_path)).stderr
    assert "nothing to upgrade" in run("upgrade", "--catalog", str(catalog_path)).stderr
    assert ids("list", "--catalog", str(catalog_path))


def test_sweep(own_catalog: Path, new_tracker: Maker) -> None:
    new_tracker("dead").start_experiment()
    with contextlib.closing(sqlite3.connect(own_catalog)) as connection, connection:
        connection.execute("UPDATE attempt SET boot_id = 'another', hostname = 'elsewhere', lock_name = 'gone'")
    assert ids("sweep", "--dry-run") == []
    assert ids("sweep", "--also", "dead", "--dry-run") == ["dead"]
    assert ids("list", "--status", "running") == ["dead"]
    assert ids("sweep", "--also", "dead") == ["dead"]
    assert ids("list", "--status", "aborted") == ["dead"]


def test_check_names_what_makes_others_refuse_a_catalog(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "hurt.db"
    run("backup", str(path))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TRIGGER spy AFTER INSERT ON experiment BEGIN SELECT 1; END")
    at = ("--catalog", str(path))
    assert "has a trigger 'spy'" in run("list", *at, code=1).stderr
    found = run("check", *at, code=3)
    assert found.stderr == f"{path}: 1 problem\n"
    assert "has a trigger 'spy'" in found.stdout
    assert "DROP TRIGGER spy" in found.stdout
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER spy")
    assert "no problems" in run("check", *at).stderr
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged" in run("check", *at, code=3).stdout
    path.write_bytes(b"no database " * 100)
    assert "is not an SQLite database" in run("check", *at, code=3).stdout


def test_check_finds_problems(new_tracker: Maker, tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "hurt" / "catalog.db"
    new_tracker("a", catalog=path).close()
    connection = sqlite3.connect(path)
    connection.execute("DROP INDEX artifact_by_type")
    connection.close()
    found = run("check", "--catalog", str(path), code=3)
    assert "index artifact_by_type is missing" in found.stdout
    assert "1 problem" in found.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = run("completion", shell).stdout
    assert "_CRACKSEG_TRACKER_COMPLETE" in script


# Doing


def test_tag_untag_describe_rename(own_catalog: Path) -> None:
    assert "baseline, new" in run("tag", "unet-1", "new").stderr
    assert ids("list", "--tag", "new") == ["unet-1"]
    assert "no tags" in run("untag", "unet-1", "new", "baseline").stderr
    run("describe", "@best:val/iou", "the good one")
    run("describe", "seg", "-", typed="from\nstdin")
    run("rename", "unet-1", "unet-one", "--name", "first")
    with Catalog(own_catalog) as catalog:
        assert catalog.experiment("unet-2").description == "the good one"
        assert catalog.experiment("seg-1").description == "from\nstdin"
        assert catalog.experiment("unet-one").experiment_name == "first"
    assert "give a new id, --name, or both" in run("rename", "unet-2", code=2).stderr
    assert "seg-1" in run("rename", "unet-2", "seg-1", code=1).stderr


def test_changes(own_catalog: Path) -> None:
    run("tag", "unet-1", "new")
    newest = ("changes", "--subject", "tag", "--experiment", "unet-1", "--since", "1h", "--limit", "1")
    [row] = json.loads(run(*newest, "--format", "json").stdout)
    assert (row["experiment_id"], row["action"], row["item"]) == ("unet-1", "added", "new")
    assert lines("changes", "--since", "2100-01-01") == []


def test_delete_asks_first(own_catalog: Path) -> None:
    asked = run("delete", "unet-1", "seg-1", typed="n\n", code=1)
    assert "Move 2 experiments to the trash? [y/N]" in asked.stderr
    assert "nothing was changed" in asked.stderr
    assert "unet-1-name" in asked.stderr
    assert "--yes" in run("delete", "unet-1", typed="", code=2).stderr
    assert ids("delete", "unet-1", "--dry-run") == ["unet-1"]
    assert len(ids("list")) == 4
    assert run("delete", "unet-1", "seg-1", typed="y\n").exit_code == 0
    assert ids("list") == ["unet-2", "never"]
    run("delete", "unet-2", "--yes", "--force")
    assert ids("trash") == ["unet-2", "seg-1", "unet-1"] or set(ids("trash")) == {"unet-2", "seg-1", "unet-1"}
    assert completed("restore u") == ["unet-2", "unet-1"]


def test_restore(own_catalog: Path) -> None:
    run("delete", "unet-1", "--yes")
    assert "unet-one: restored" in run("restore", "unet-1", "--as", "unet-one").stderr
    assert "unet-one" in ids("list")
    assert "nobody" in run("restore", "nobody", code=1).stderr


def test_purge(own_catalog: Path) -> None:
    assert lines("purge", "--yes") == []
    run("delete", "unet-1", "seg-1", "--yes")
    assert lines("purge", "--older-than", "1d", "--yes") == []
    assert ids("purge", "--dry-run", "--files", "unet-1") == ["unet-1"]
    assert "nothing was changed" in run("purge", typed="n\n", code=1).stderr
    assert len(ids("trash")) == 2
    assert ids("purge", "unet-1", "--yes") == ["unet-1"]
    assert ids("trash") == ["seg-1"]
    assert "Remove 1 experiment for good?" in run("purge", typed="y\n").stderr
    assert ids("trash") == []
    assert "is no age" in run("purge", "--older-than", "old", code=2).stderr


def test_verify(own_catalog: Path, new_tracker: Maker, tmp_path: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"weights")
    with new_tracker("whole") as tracker:
        tracker.add_artifact("model", "checkpoint", tmp_path / "best.pth", tags=["kept"])
    sound = run("verify", "--experiment", "whole")
    assert (sound.stdout, sound.stderr) == ("", "1 artifact: no problems\n")
    assert "ok" in run("verify", "--experiment", "whole", "--all", "--full").stdout
    found = run("verify", "--type", "checkpoint", "--tag", "best", "--id", "b*", "--project", "roads", code=3)
    assert "3 artifacts: 3 problems" in found.stderr
    assert found.stdout.count("\tmissing\t") == 3


def test_relocate(own_catalog: Path, tmp_path: Path) -> None:
    old, new = str(tmp_path / "experiments"), "/data/moved"
    assert len(lines("relocate", old, new, "--dry-run")) >= 4
    assert "nothing was changed" in run("relocate", old, new, typed="n\n", code=1).stderr
    run("relocate", old, new, "--yes")
    assert [row[0] for row in lines("list", "--columns", "experiment_dir", "--id", "unet-1")] == ["/data/moved/unet-1"]
    assert lines("relocate", old, new) == []


def test_export_and_merge(own_catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "exported.db"
    assert set(ids("export", str(path), "--tag", "paper")) == {"unet-2", "seg-1"}
    assert set(ids("list", "--catalog", str(path))) == {"unet-2", "seg-1"}
    assert str(path) in run("export", str(path), code=1).stderr
    merged = lines("merge", "--catalog", str(path), str(own_catalog), "--dry-run")
    assert len(merged) == 4
    run("merge", "--catalog", str(path), str(own_catalog), "--suffix", "-2", "--purged")
    assert set(ids("list", "--catalog", str(path))) == {"unet-1", "unet-2", "seg-1", "never"}
    assert "error: " in run("merge", str(tmp_path / "none.db"), code=1).stderr
    with Catalog(path) as catalog:
        assert catalog.check() == []


# Making


@pytest.mark.parametrize(
    "arguments",
    [
        ["curves", "val/iou", "loss", "--smoothing", "0.5", "--log"],
        ["curves", "val/iou", "--experiment", "unet-1", "--experiment", "seg"],
        ["curves", "val/iou", "--group-by", "model", "--project", "roads"],
        ["bars", "val/iou", "--mode", "min", "--limit", "2", "--tag", "baseline"],
        ["bars", "val/iou", "--group-by", "model"],
        ["scatter", "training.lr", "val/iou", "--colour-by", "model", "--log"],
        ["scatter", "loss", "val/iou", "--linear", "--where", "training.lr<0.05"],
        ["timeline", "--since", "1d"],
    ],
    ids=" ".join,
)
def test_plot(catalog: Path, arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    made = run("plot", *arguments, "-o", str(path))
    assert re.search(r"plot\.svg: [234] experiments", made.stderr)
    assert b"</svg>" in path.read_bytes()


def test_plot_keeps_a_file_that_exists(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_text("mine")
    assert "--force" in run("plot", "timeline", "-o", str(path), code=2).stderr
    assert path.read_text() == "mine"
    run("plot", "timeline", "-o", str(path), "--force")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert ".pdf" in run("plot", "timeline", "-o", str(tmp_path / "plot.gif"), code=2).stderr
    assert (
        "did you mean 'training.lr'"
        in run("plot", "scatter", "lrr", "val/iou", "-o", str(tmp_path / "a.png"), code=2).stderr
    )
    assert "No such file" in run("plot", "timeline", "-o", str(tmp_path / "none" / "a.png"), code=1).stderr


def test_report(catalog: Path, tmp_path: Path) -> None:
    for kind, begins in (("html", "<!DOCTYPE html>"), ("markdown", "# Roads"), ("latex", "% Roads")):
        path = tmp_path / f"report.{kind}"
        made = run(
            "report", "--format", kind, "--title", "Roads", "--metric", "loss", "--tag", "paper", "-o", str(path)
        )
        assert "2 experiments" in made.stderr
        assert path.read_text(encoding="utf-8").startswith(begins)
    assert "--force" in run("report", "-o", str(path), code=2).stderr
    run("report", "-o", str(path), "--force")
    assert "did you mean 'loss'" in run("report", "--metric", "los", "-o", str(tmp_path / "x"), code=1).stderr
    assert not (tmp_path / "x").exists()


# The same options everywhere

#: Of each filter, a value that unet-2 has and one that it has not.
FILTERS = {
    "--project": ("roads", "bridges"),
    "--status": ("completed", "failed"),
    "--tag": ("baseline", "nobody"),
    "--any-tag": ("paper", "nobody"),
    "--no-tag": ("nobody", "paper"),
    "--name": ("unet-2*", "seg*"),
    "--id": ("unet-*", "seg*"),
    "--group": ("u", "s"),
    "--where": ("training.lr<0.05", "model=seg"),
    "--text": ("UNET-2-name", "seg"),
    "--since": ("1h", "2100-01-01"),
    "--until": ("2100-01-01", "2020-01-01"),
    "--commit": ("", "0123456"),
    "--host": ("*", "nobody"),
}
OF_ARTIFACTS = {"--tag", "--any-tag", "--no-tag", "--id"}  # artifacts and verify choose artifacts by these
#: What names the experiments that it is about, on stdout or in the file OUT.
FILTERED = {
    "list": ["list"],
    "best": ["best", "val/iou"],
    "leaderboard": ["leaderboard", "val/iou"],
    "ablation": ["ablation", "unet-1", "training.lr"],
    "stats": ["stats", "val/iou"],
    "artifacts": ["artifacts"],
    "verify": ["verify"],
    "export": ["export", "OUT"],
    "report": ["report", "--format", "markdown", "-o", "OUT"],
}


@pytest.mark.parametrize("command", FILTERED)
def test_every_filter_of_every_command_that_lists(catalog: Path, command: str, tmp_path: Path) -> None:
    with Catalog(catalog) as opened:
        commit = opened.experiment("unet-2").git_commit
    for option, values in FILTERS.items():
        if command in ("artifacts", "verify") and option in OF_ARTIFACTS:
            continue
        for matches, value in zip((True, False), values, strict=True):
            if not (value or commit):
                continue  # the tests run outside a repository
            out = tmp_path / f"{option}{matches}"
            arguments = [str(out) if word == "OUT" else word for word in FILTERED[command]]
            given = CliRunner().invoke(cli, [*arguments, option, value or commit])
            nothing_to_export = command == "export" and not matches and given.exit_code == 2
            assert given.exit_code in (0, 3) or nothing_to_export, given.output
            said = out.read_text() if command == "report" else given.stdout
            assert ("unet-2" in said) == matches, (option, value)


#: A call of each command that answers with rows.
ANSWERS = {
    **{name: words for name, words in FILTERED.items() if "OUT" not in words},
    "compare": ["compare", "unet-1", "unet-2"],
    "diff": ["diff", "unet-1", "unet-2"],
    "duplicates": ["duplicates"],
    "test": ["test", "val/iou", "unet-*", "seg-*"],
    "show": ["show", "unet-2"],
    "whence": ["whence", "nothing.pth"],
    "tags": ["tags"],
    "history": ["history", "unet-2", "loss"],
    "changes": ["changes"],
    "trash": ["trash"],
    "sql": ["sql", "SELECT * FROM experiments"],
    "schema": ["schema"],
    "where": ["where"],
    "delete": ["delete", "unet-1", "--dry-run"],
    "purge": ["purge", "--dry-run"],
    "relocate": ["relocate", "/data", "/elsewhere", "--dry-run"],
    "merge": ["merge", "OTHER", "--dry-run"],
    "sweep": ["sweep", "--dry-run"],
}


@pytest.mark.parametrize("command", ANSWERS)
def test_every_format_of_every_answer(catalog: Path, command: str, tmp_path: Path) -> None:
    with Catalog(catalog) as opened:
        other = str(opened.backup(tmp_path / "other.db")) if command == "merge" else ""
    for kind in ("table", "json", "jsonl", "csv", "tsv", "markdown", "latex", "html"):
        given = CliRunner().invoke(
            cli, [*(other if one == "OTHER" else one for one in ANSWERS[command]), "--format", kind]
        )
        assert given.exit_code in (0, 3), given.output
        assert "\x1b" not in given.stdout
        assert "\x07" not in given.stdout
        if kind == "json":
            json.loads(given.stdout)
        elif kind == "jsonl":
            assert all(isinstance(json.loads(line), dict) for line in given.stdout.splitlines())
        elif kind == "csv":
            rows = list(csv.reader(io.StringIO(given.stdout)))
            assert len({len(row) for row in rows}) == 1
        elif kind == "tsv":
            assert len({line.count("\t") for line in given.stdout.splitlines()}) == 1


@pytest.mark.parametrize(
    ("command", "column", "first"),
    [
        (["best", "val/iou"], "value", "unet-1"),
        (["leaderboard", "val/iou"], "-experiment_id", "unet-2"),
        (["artifacts"], "-experiment_id", "unet-2"),
        (["artifacts", "--offset", "1"], "-experiment_id", "unet-1"),
        (["tags"], "-tag", "paper"),
        (["history", "unet-1", "loss"], "-step", "2"),
        (["changes"], "-item", "paper"),
        (["trash"], "experiment_id", None),
        (["stats", "val/iou", "--group-by", "model"], "-mean", None),
        (["duplicates"], "experiment_id", None),
        (["ablation", "unet-1", "training.lr"], "-params.training.lr", None),
        (["whence", "seg-1/best.pth"], "path", None),
    ],
)
def test_every_command_that_lists_sorts_and_cuts_off(
    catalog: Path, command: list[str], column: str, first: str | None
) -> None:
    whole = lines(*command, "--sort", column)
    cut = lines(*command, "--sort", column, "--limit", "1")
    assert cut == whole[:1]
    assert first is None or first in cut[0]
    assert "no column" in run(*command, "--sort", "colour", code=1).stderr


def test_every_command_is_among_those_that_are_tried() -> None:
    spoken = {"tag", "untag", "describe", "rename", "restore", "export", "backup", "upgrade", "check"}
    assert {name for commands in COMMANDS.values() for name in commands} == {
        *ANSWERS,
        *spoken,
        *COMMANDS["Make"],
    }


# How answers are printed


def test_formats(catalog: Path) -> None:
    arguments = ("best", "val/iou", "--limit", "2", "--columns", "experiment_id,value", "--format")
    assert run(*arguments, "table").stdout == "experiment_id  value\nunet-2         0.750\nseg-1          0.625\n"
    assert run(*arguments, "tsv").stdout == "experiment_id\tvalue\nunet-2\t0.75\nseg-1\t0.625\n"
    assert run(*arguments, "csv").stdout == "experiment_id,value\nunet-2,0.75\nseg-1,0.625\n"
    assert json.loads(run(*arguments, "json").stdout) == [
        {"experiment_id": "unet-2", "value": 0.75},
        {"experiment_id": "seg-1", "value": 0.625},
    ]
    assert [json.loads(line)["value"] for line in run(*arguments, "jsonl").stdout.splitlines()] == [0.75, 0.625]
    assert run(*arguments, "markdown").stdout.startswith("| experiment_id | value |\n| --- | --: |\n")
    assert "\\toprule" in run(*arguments, "latex").stdout
    assert "<td>unet-2</td>" in run(*arguments, "html").stdout


def test_columns_of_mappings(catalog: Path) -> None:
    assert lines("list", "--columns", "best_metrics.val/iou,experiment_id", "--limit", "2") == [
        ["0.5", "unet-1"],
        ["0.75", "unet-2"],
    ]
    short = run("list", "--format", "table").stdout.splitlines()[0].split()
    whole = run("list", "--format", "table", "--columns", "all").stdout.splitlines()[0].split()
    assert len(short) < len(whole)
    assert "uid" in whole
    wrong = run("list", "--columns", "iou", code=1)
    assert "no column 'iou'; there are experiment_id" in wrong.stderr


def test_names_do_not_steer_the_terminal(catalog: Path) -> None:
    for kind in ("table", "json", "jsonl", "csv", "tsv", "markdown", "latex", "html"):
        shown = run("list", "--format", kind, "--columns", "all").stdout
        assert "\x1b" not in shown
        assert "red" in shown
    assert "\x1b" not in run("show", HOSTILE, code=1).stderr


def test_nothing_found(catalog: Path) -> None:
    nothing = run("list", "--tag", "nobody", "--format", "table")
    assert (nothing.stdout, nothing.stderr) == ("", "nothing found\n")
    assert run("list", "--tag", "nobody", "--format", "json").stdout == "[]\n"
    rows = list(csv.reader(io.StringIO(run("list", "--tag", "nobody", "--format", "csv").stdout)))
    assert len(rows) == 1
    assert rows[0][0] == "experiment_id"


# What goes wrong


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["best", "iou"],
        ["artifacts"],
        ["tags"],
        ["changes"],
        ["trash"],
        ["duplicates"],
        ["stats", "iou"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_catalog_yet_is_an_empty_answer(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "none" / "catalog.db"
    empty = run(*arguments, "--catalog", str(path), "--format", "json")
    assert empty.stdout == "[]\n"
    assert str(path) in empty.stderr
    assert "ExperimentTracker" in empty.stderr
    assert run(*arguments, "--catalog", str(path), "--format", "table").stdout == ""
    assert not path.parent.exists()


@pytest.mark.parametrize("arguments", [["show", "a"], ["history", "a", "iou"], ["sql", "SELECT 1"], ["check"]])
def test_no_catalog_yet_is_an_error_where_one_is_needed(arguments: list[str], tmp_path: Path) -> None:
    failed = run(*arguments, "--catalog", str(tmp_path / "none.db"), code=1)
    assert "there is no catalog at" in failed.stderr


def test_references(catalog: Path) -> None:
    assert dict(lines("show", "@latest"))["experiment_id"] == "never"
    assert dict(lines("show", "se"))["experiment_id"] == "seg-1"
    ambiguous = run("show", "unet", code=2)
    assert "'unet' is the beginning of several experiments: unet-2, unet-1" in ambiguous.stderr
    assert "did you mean 'unet-1'" in run("show", "unett-1", code=1).stderr
    assert "did you mean 'val/iou'" in run("show", "@best:val/iuo", code=1).stderr
    assert "@latest" in run("show", "@first", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["bset", "iou"], 2, "there is no command 'bset'; did you mean 'best'?"),
        (["xyzzy"], 2, "--help lists them"),
        (["best", "val/iuo"], 1, "did you mean 'val/iou'"),
        (["best"], 2, "METRIC"),
        (["list", "--status", "done"], 2, "completed"),
        (["list", "--where", "training.lr"], 2, "is no condition"),
        (["list", "--where", "training.rl<1"], 2, "did you mean 'training.lr'"),
        (["list", "--since", "yesterday"], 2, "ISO 8601"),
        (["list", "--since", "99999999w"], 2, "before all time"),
        (["list", "--limit", "-1"], 2, "--limit"),
        (["list", "--sort", "val/iuo"], 1, "did you mean"),
        (["list", "--format", "xml"], 2, "jsonl"),
        (["list", "--catalog", "postgresql://anna:geheim@h/db"], 1, "postgresql"),
        (["history", "unet-1", "nope"], 1, "no metric 'nope'"),
    ],
)
def test_errors_are_sentences(catalog: Path, arguments: list[str], code: int, said: str) -> None:
    failed = run(*arguments, code=code)
    assert failed.stdout == ""
    assert said in failed.stderr
    assert "geheim" not in failed.stderr


def test_a_name_of_a_param_and_a_metric_is_asked_about(new_tracker: Maker, catalog_path: Path) -> None:
    with new_tracker("a", config={"loss": 2}) as tracker:
        tracker.log_metrics({"loss": 0.5})
    at = ("--catalog", str(catalog_path))
    assert "param:loss or metric:loss" in run("list", *at, "--where", "loss<1", code=2).stderr
    assert ids("list", *at, "--where", "metric:loss<1") == ["a"]
    assert ids("list", *at, "--where", "param:loss<1") == []


def test_files_that_are_no_catalog(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database " * 100)
    assert str(garbage) in run("list", "--catalog", str(garbage), code=1).stderr
    assert "folder" in run("list", "--catalog", str(tmp_path), code=1).stderr
    if os.geteuid() != 0:
        garbage.chmod(0)
        run("list", "--catalog", str(garbage), code=1)


# As a program


def program(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "crackseg_tracker", *arguments], capture_output=True, text=True, timeout=60, **options
    )


HEAVY = ("sqlalchemy", "sqlmodel", "alembic", "omegaconf", "pandas", "polars", "matplotlib", "numpy", "scipy")


def test_help_loads_nothing_heavy() -> None:
    """Of any command: what a shell's user waits for is the interpreter and click."""
    commands = [name for commands in COMMANDS.values() for name in commands]
    code = (
        "import sys\nfrom crackseg_tracker.cli import cli\n"
        f"for words in ['--help'], ['--version'], ['completion', 'fish'], *([one, '--help'] for one in {commands}):\n"
        " try: cli.main(words)\n except SystemExit: pass\n"
        f"loaded = [m for m in {(*HEAVY, 'sqlite3')!r} if m in sys.modules]\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.count("Usage: ") == 1 + len(commands)


def completed(line: str) -> list[str]:
    """The words that a shell offers at the end of a line."""
    *words, beginning = line.split(" ")
    found = ShellComplete(cli, {}, "crackseg-tracker", "_X").get_completions(words, beginning)
    return [item.value for item in found]


def test_completion_knows_the_catalog(catalog: Path) -> None:
    assert completed("be") == ["best"]
    assert completed("show un") == ["unet-2", "unet-1"]
    assert completed("show @la") == ["@latest"]
    assert completed("show @best:v") == ["@best:val/iou"]
    assert completed("best ") == ["loss", "val/iou"]
    assert completed("list --tag p") == ["paper"]
    assert completed("list --project ") == ["bridges", "roads"]
    assert completed("list --status c") == ["created", "completed"]
    assert completed("artifacts --type c") == ["checkpoint"]
    assert completed("artifacts --tag b") == ["best"]
    assert completed("schema metric_b") == ["metric_bests"]
    assert completed("tag unet-1 ba") == ["baseline"]


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_gets_completions_without_anything_heavy(catalog: Path, shell: str) -> None:
    environment = {
        **os.environ,
        "_CRACKSEG_TRACKER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "crackseg-tracker show un",
        "COMP_CWORD": "un" if shell == "fish" else "2",
    }
    code = (
        "import sys\nfrom crackseg_tracker.cli import cli\n"
        "try: cli.main(prog_name='crackseg-tracker', complete_var='_CRACKSEG_TRACKER_COMPLETE')\n"
        f"except SystemExit: pass\nassert not [m for m in {HEAVY!r} if m in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stderr == ""
    assert re.findall(r"plain.(unet-\d)", done.stdout.replace("\n", " ")) == ["unet-2", "unet-1"]


def test_completion_without_a_catalog_is_silent(tmp_path: Path) -> None:
    assert completed(f"show --catalog {tmp_path / 'none.db'} u") == []


def test_a_pipe_that_closes_is_no_error(catalog: Path) -> None:
    numbers = "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 200000) SELECT value FROM n"
    with subprocess.Popen(
        [sys.executable, "-m", "crackseg_tracker", "sql", numbers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "value\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


RUN = "from crackseg_tracker.cli import main; main()"
#: The same, with a progress line for each step that is done, however fast.
EAGER = f"from crackseg_tracker.cli import asking; asking._REDRAW_EVERY = asking._LINE_EVERY = 0; {RUN}"


def terminal(columns: int, *arguments: str, code: str = RUN, **environment: str) -> str:
    """What a terminal of so many columns shows."""
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "", **environment},
        close_fds=True,
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
        os.close(leader)
    assert process.returncode == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_table_in_colour_that_fits(catalog: Path) -> None:
    shown = terminal(80, "list")
    assert "\x1b[1mexperiment_id" in shown
    assert "\x1b[32mcompleted" in shown
    bare = terminal(80, "list", NO_COLOR="1")
    assert "\x1b" not in bare
    assert bare.split()[:2] == ["experiment_id", "status"]
    assert max(map(len, bare.splitlines())) <= 80
    assert "\x1b" not in terminal(80, "list", TERM="dumb")


def test_a_terminal_of_20_columns_gets_a_line_for_each_value(catalog: Path) -> None:
    shown = terminal(20, "best", "val/iou", NO_COLOR="1")
    assert "experiment_id    unet-2\n" in shown
    assert "value            0.750\n" in shown


@pytest.fixture
def long_work(own_catalog: Path, new_tracker: Maker, tmp_path: Path) -> dict[str, list[str]]:
    """By what is shown meanwhile, the commands that may take long."""
    for number in range(3):
        with new_tracker(f"old-{number}") as tracker:
            (tmp_path / f"{number}.pth").write_bytes(b"weights")
            tracker.add_artifact("model", "checkpoint", tmp_path / f"{number}.pth")
    run("delete", "old-0", "--yes")
    return {
        "verifying: 1 of 2 artifacts": ["verify", "--experiment", "old-1", "--experiment", "old-2", "--full"],
        "exporting: 1 of 2 experiments": ["export", str(tmp_path / "part.db"), "--id", "old-*"],
        "merging: 2 of 2 experiments": ["merge", str(tmp_path / "part.db")],
        f"backing up: 1 of {PROOFS + 1} steps": ["backup", str(tmp_path / "copy.db")],
        f"checking: {PROOFS - 1} of {PROOFS} proofs": ["check"],
        "purging: 0 of 1 experiments": ["purge", "--yes"],
    }


def test_long_work_draws_one_line_anew_on_a_terminal(long_work: dict[str, list[str]]) -> None:
    for told, arguments in long_work.items():
        shown = terminal(80, *arguments, code=EAGER)
        head, *drawn = shown.split("\r")
        assert head == ""
        assert told in map(str.strip, drawn)
        assert drawn[-2].strip() == "", "the line is taken away"
        assert drawn[-1] == "" or drawn[-1].endswith("\n")
        assert not any("\n" in line for line in drawn[:-1])
        narrow = terminal(20, *arguments, code=EAGER) if arguments[0] in ("verify", "check") else ""
        assert all(len(line) < 20 for line in narrow.split("\r")[:-1])


def test_long_work_tells_a_line_now_and_then_elsewhere(long_work: dict[str, list[str]]) -> None:
    for told, arguments in long_work.items():
        command = [sys.executable, "-c", EAGER, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert told in done.stderr.splitlines()
        assert "\r" not in done.stderr
        assert "ing: " not in done.stdout


def test_quick_work_tells_no_progress_elsewhere(catalog: Path) -> None:
    assert program("check").stderr == f"{catalog}: no problems\n"


def test_ids_are_cut_last_for_they_are_what_one_types_next(own_catalog: Path, new_tracker: Maker) -> None:
    long = "20251124-105424-unet-efficientnet-b2-sweep-00017"
    with new_tracker(long) as tracker:
        tracker.log_metrics({f"val/iou_of_class_{number}": 0.5 for number in range(9)})
    [_, *rows] = terminal(100, "list", "--id", "2025*", NO_COLOR="1").splitlines()
    assert rows[0].startswith(f"{long}  completed  ")
    assert len(rows[0]) <= 100
    assert "…" in rows[0]


def test_ctrl_c_is_130(catalog: Path) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    code = (
        "import signal, sys, threading\nfrom crackseg_tracker.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job inherits that it is ignored
        "threading.Timer(1, signal.raise_signal, [signal.SIGINT]).start()\n"
        f"sys.argv = ['crackseg-tracker', 'sql', {endless!r}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.strip() == "interrupted"


# What is written about the commands


def test_the_overview_says_what_each_command_says() -> None:
    context = click.Context(cli)
    for commands in COMMANDS.values():
        for name, (_, short) in commands.items():
            command = cli.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert (command.help or "").split("\n\n")[0].replace("\n", " ").strip() == short
            assert len(short) <= 80
            for parameter in command.params:
                assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)


# The same answer from Python, the command line and SQL

QUESTIONS: dict[str, tuple[Callable[[Catalog], Any], list[str], str]] = {
    "best": (
        lambda c: [(r.experiment_id, r.value, r.step) for r in c.best("val/iou")],
        ["best", "val/iou", "--columns", "experiment_id,value,step"],
        "SELECT experiment_id, value, step FROM metric_bests WHERE metric = 'val/iou' ORDER BY value DESC",
    ),
    "completed with a tag": (
        lambda c: [(r.experiment_id,) for r in c.experiments(status="completed", tags="paper")],
        ["list", "--status", "completed", "--tag", "paper", "--columns", "experiment_id"],
        "SELECT experiment_id FROM experiments JOIN experiment_tags USING (experiment_id) WHERE tag = 'paper' "
        "AND status = 'completed' ORDER BY experiment_number",
    ),
    "checkpoints": (
        lambda c: [(r.experiment_id, r.path) for r in c.artifacts("checkpoint", tags=["best"])],
        ["artifacts", "--type", "checkpoint", "--tag", "best", "--columns", "experiment_id,path"],
        "SELECT experiment_id, path FROM artifacts JOIN artifact_tags USING (experiment_id, artifact_id) "
        "WHERE artifact_type = 'checkpoint' AND tag = 'best' ORDER BY artifact_number",
    ),
    "curve": (
        lambda c: [(r.step, r.value) for r in c.history("val/iou", "unet-2")],
        ["history", "unet-2", "val/iou", "--columns", "step,value"],
        "SELECT step, value FROM metrics WHERE experiment_id = 'unet-2' AND metric = 'val/iou' ORDER BY step",
    ),
    "small learning rates by loss": (
        lambda c: [(r.experiment_id,) for r in c.experiments(where=c_param("training.lr") < 0.05, order_by="loss")],
        ["list", "--where", "training.lr<0.05", "--sort", "loss", "--columns", "experiment_id"],
        "SELECT experiment_id FROM params AS p JOIN metric_bests AS b USING (experiment_id) WHERE name = 'training.lr' "
        "AND p.value < 0.05 AND metric = 'loss' ORDER BY b.value",
    ),
}


def c_param(name: str) -> Any:
    from crackseg_tracker import param

    return param(name)


@pytest.mark.parametrize("question", QUESTIONS)
def test_python_the_command_line_and_sql_agree(catalog: Path, question: str) -> None:
    python, command, sql = QUESTIONS[question]
    printed = json.loads(run(*command, "--format", "json").stdout)
    with Catalog(catalog) as opened:
        wanted = python(opened)
        assert wanted
        assert [tuple(row.values()) for row in printed] == wanted
        assert [tuple(row) for row in opened.sql(sql)] == wanted


# The README

README = Path(__file__).resolve().parents[2] / "README.md"


def command_table() -> str:
    """The README's table of commands, from the commands."""
    context = click.Context(cli)
    rows = ["| command | |", "|---|---|"]
    for commands in COMMANDS.values():
        for name, (_, short) in commands.items():
            command = cli.get_command(context, name)
            assert command is not None
            pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
            rows.append(f"| `{' '.join([name, *pieces])}` | {short} |".replace("|]", "\\|]").replace("|z", "\\|z"))
    return "\n".join(rows)


def test_every_command_is_in_the_readme() -> None:
    shown = re.search(
        r"<!-- commands -->\n(.*?)\n<!-- end of commands -->", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown, "the README has no table of commands"
    assert shown[1] == command_table()


def test_every_command_of_the_readme_runs_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text(encoding="utf-8")
    doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)  # makes the catalog
    monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", "outputs/catalog/catalog.db")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("crackseg_tracker.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    calls = [call for block in blocks for call in block.split("$ ")[1:] if call.startswith("crackseg-tracker ")]
    assert len(calls) > 5
    for call in calls:
        command, _, shown = call.partition("\n")
        output = run(*shlex.split(command)[1:]).output
        assert output.replace(f"{Path.cwd()}/", "").split() == shown.split(), command
