"""The commands, called as a person or a script calls them, and the experiments that they are asked about."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from crackseg_tracker import ExperimentTracker
from crackseg_tracker.cli import cli

Maker = Callable[..., ExperimentTracker]
HOSTILE = "\x1b[31mred\x07"
#: What takes a while to be imported: a help or a completion waits for none of it.
HEAVY = ("sqlalchemy", "sqlmodel", "alembic", "omegaconf", "pandas", "polars", "matplotlib", "numpy", "scipy")


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
    assert "Traceback" not in result.stderr, result.stderr
    return result


def lines(*arguments: str) -> list[list[str]]:
    """The rows of the TSV that a pipe gets, without the heading."""
    return [line.split("\t") for line in run(*arguments).stdout.splitlines()[1:]]


def ids(*arguments: str) -> list[str]:
    return [row[0] for row in lines(*arguments)]


def completed(line: str) -> list[str]:
    """The words that a shell offers at the end of a line."""
    *words, beginning = line.split(" ")
    found = ShellComplete(cli, {}, "crackseg-tracker", "_X").get_completions(words, beginning)
    return [item.value for item in found]


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """What a process of its own says, to its end."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **options)
