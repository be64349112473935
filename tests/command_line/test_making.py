"""The commands that make a file: a plot or a report."""

import re
from pathlib import Path

import pytest

from command_line.calling import run


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


def test_plot_draws_the_first_of_an_order(catalog: Path, tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    [worst, *_, best] = [line.split()[0] for line in run("best", "val/iou", "--mode", "min").stdout.splitlines()[1:]]
    for chosen, other, sort in ((best, worst, "-val/iou"), (worst, best, "val/iou")):
        for command in (["curves", "val/iou"], ["timeline"]):
            made = run("plot", *command, "--sort", sort, "--limit", "1", "-o", str(path), "--force")
            assert "plot.svg: 1 experiment" in made.stderr
            if command == ["timeline"]:
                assert f"<!-- {chosen} -->" in path.read_text()
                assert f"<!-- {other} -->" not in path.read_text()


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
