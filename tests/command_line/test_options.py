"""The same options everywhere: each filter, format, order and limit, of each command that has it."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from command_line.calling import lines, run
from crackseg_tracker import Catalog
from crackseg_tracker.cli import COMMANDS, cli

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
