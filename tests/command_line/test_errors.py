"""What goes wrong is said in a sentence."""

import os
from pathlib import Path

import pytest

from command_line.calling import Maker, ids, lines, run


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
