"""The commands that look: each gives what was asked for, and Python and SQL give the same."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line.calling import HOSTILE, Maker, ids, lines, run
from crackseg_tracker import Catalog, ExperimentTracker, param


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
        lambda c: [(r.experiment_id,) for r in c.experiments(where=param("training.lr") < 0.05, order_by="loss")],
        ["list", "--where", "training.lr<0.05", "--sort", "loss", "--columns", "experiment_id"],
        "SELECT experiment_id FROM params AS p JOIN metric_bests AS b USING (experiment_id) WHERE name = 'training.lr' "
        "AND p.value < 0.05 AND metric = 'loss' ORDER BY b.value",
    ),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_python_the_command_line_and_sql_agree(catalog: Path, question: str) -> None:
    python, command, sql = QUESTIONS[question]
    printed = json.loads(run(*command, "--format", "json").stdout)
    with Catalog(catalog) as opened:
        wanted = python(opened)
        assert wanted
        assert [tuple(row.values()) for row in printed] == wanted
        assert [tuple(row) for row in opened.sql(sql)] == wanted
