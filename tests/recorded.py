"""What a tracker has recorded: on the disk, and in the tables of its catalog."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from asking import ask

from crackseg_tracker import ExperimentTracker

SIDECAR = "experiment_tracker.json"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


posix = pytest.mark.skipif(os.name != "posix", reason="permissions and forks are POSIX")


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    names = [name for (name,) in ask(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {name: ask(path, f"SELECT * FROM {name}") for name in names}


def statuses(path: Path) -> list[str]:
    return [status for (status,) in ask(path, "SELECT status FROM status_change ORDER BY id")]


def sidecar(tracker: ExperimentTracker) -> dict[str, Any]:
    return json.loads((tracker.experiment_dir / SIDECAR).read_text(encoding="utf-8"))
