"""How answers are printed."""

import csv
import io
import json
from pathlib import Path

from command_line.calling import HOSTILE, lines, run


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
