"""What completion offers; what real shells make of it is tried in test_shells."""

import os
import re
from pathlib import Path

import pytest

from command_line.calling import HEAVY, completed, python, run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = run("completion", shell).stdout
    assert "_CRACKSEG_TRACKER_COMPLETE" in script


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
    done = python("-c", code, env=environment)
    assert done.stderr == ""
    assert re.findall(r"plain.(unet-\d)", done.stdout.replace("\n", " ")) == ["unet-2", "unet-1"]


def test_completion_without_a_catalog_is_silent(tmp_path: Path) -> None:
    assert completed(f"show --catalog {tmp_path / 'none.db'} u") == []
