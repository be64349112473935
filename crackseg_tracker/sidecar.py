"""``experiment_tracker.json`` beside an experiment: a courtesy copy, so that a folder copied away explains itself.

It has the shape that the users' first tracker wrote, so what reads those files goes on working. A file of that tracker
is imported when the catalog first sees its experiment, and kept as ``experiment_tracker.origin.json``.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from crackseg_tracker.folders import make_private_folder
from crackseg_tracker.schema import STATUSES

FILE = "experiment_tracker.json"
KEPT = "experiment_tracker.origin"
_TRACKER = "crackseg_tracker"

# The lists of paths in an origin file, and the artifact type of each.
_PATHS = {
    "checkpoint_paths": "checkpoint",
    "metric_files": "metrics",
    "visualization_files": "visualization",
}


class Origin(NamedTuple):
    """What another writer's file says, each part empty where the file lacks it."""

    status: str
    description: str
    error_message: str
    tags: list[str]
    best_metrics: dict[str, float]
    current_epoch: int
    total_epochs: int
    training_time_seconds: float
    #: (id, type, path); the origin kept no path for other types than three.
    artifacts: list[tuple[str, str, str]]
    created_at: str
    started_at: str
    completed_at: str
    uid: str


def is_foreign(folder: Path, experiment_id: str) -> bool:
    """Tell whether a file is there that this library did not write for this experiment."""
    data = _load(folder)
    return data is not None and not (data.get("tracker") == _TRACKER and data.get("experiment_id") == experiment_id)


def read(folder: Path, experiment_id: str) -> Origin | None:
    """Read the file beside an experiment that the catalog does not know; None when it tells nothing.

    A damaged file (the origin's are 0 bytes long when it crashed while writing) tells nothing, and so does one of
    another experiment.
    """
    data = _load(folder)
    if not data or data.get("experiment_id", experiment_id) != experiment_id:
        return None
    description, _, error = _text(data, "description").partition("\nError: ")
    status = _text(data, "status")
    best = data.get("best_metrics")
    return Origin(
        status if status in STATUSES else "created",
        description,
        _text(data, "error_message") or error,
        _texts(data, "tags"),
        {
            name.encode(errors="backslashreplace").decode(): number
            for name, value in (cast("dict[str, Any]", best) if isinstance(best, dict) else {}).items()
            if name and (number := _number(value)) is not None
        },
        _whole(data, "current_epoch"),
        _whole(data, "total_epochs"),
        _seconds(data, "training_time_seconds"),
        _artifacts(data),
        _utc(_text(data, "created_at") or _text(data, "timestamp")),
        _utc(_text(data, "started_at")),
        _utc(_text(data, "completed_at")),
        _text(data, "uid") if data.get("tracker") == _TRACKER else "",
    )


class Sidecar:
    """The file beside one experiment, as this process writes it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # As text, made once: nothing is asked of them but to be opened and replaced.
        self._file = f"{folder}/{FILE}"
        self._draft = f"{folder}/.{FILE}.{os.getpid()}-"
        self._numbers = itertools.count(1)
        self._written = 0
        self._lock = threading.RLock()  # a signal's handler may come in the middle, and writes the end

    def number(self) -> int:
        """Give the number of what will be looked up now: of two that are written at once, the later one stays."""
        return next(self._numbers)

    def write(self, number: int, metadata: dict[str, Any]) -> None:
        """Write the file atomically, for its owner only.

        Raises:
            OSError: When the folder cannot be written.
        """
        if is_foreign(self._folder, metadata["experiment_id"]):
            _keep(self._folder / FILE)
        draft = self._draft + secrets.token_hex(4)
        try:
            descriptor = _create(draft)
        except FileNotFoundError:
            make_private_folder(self._folder)
            descriptor = _create(draft)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(_with_a_line_each({"tracker": _TRACKER, **metadata}).encode())
            with self._lock:
                if number > self._written:
                    os.replace(draft, self._file)
                    self._written = number
                else:
                    Path(draft).unlink()
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _with_a_line_each(data: dict[str, Any]) -> str:
    """Write JSON that people can read, in a tenth of the time that ``indent=`` takes."""
    return "{\n  " + json.dumps(data, separators=(",\n  ", ": "))[1:-1] + "\n}\n"


def _keep(file: Path) -> None:
    kept = file.with_name(f"{KEPT}.json")
    number = 1
    while kept.exists():
        number += 1
        kept = file.with_name(f"{KEPT}.{number}.json")
    file.rename(kept)


def _load(folder: Path) -> dict[str, Any] | None:
    """Give the file's object; {} when it is damaged, None when there is none."""
    file = f"{folder}/{FILE}"
    if not os.access(file, os.F_OK):  # a new experiment's is not there, and the exception costs ten times as much
        return None
    try:
        with open(file, "rb") as stream:
            data: Any = json.loads(stream.read().decode())
    except OSError:
        return None
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    # A lone surrogate may come out of JSON, and no UTF-8 can hold it.
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else ""


def _texts(data: dict[str, Any], key: str) -> list[str]:
    values = data.get(key)
    if not isinstance(values, list):
        return []
    return [text for v in cast("list[Any]", values) if (text := _text({"v": v}, "v")).strip()]


def _whole(data: dict[str, Any], key: str) -> int:
    value = data.get(key)
    return value if type(value) is int and 0 <= value < 2**63 else 0


def _seconds(data: dict[str, Any], key: str) -> float:
    value = _number(data.get(key))
    return value if value is not None and 0 <= value < float("inf") else 0.0


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _utc(text: str) -> str:
    """Turn a time into UTC; the origin's are naive local time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError, OSError):
        return ""


def _artifacts(data: dict[str, Any]) -> list[tuple[str, str, str]]:
    paths = [(kind, path) for key, kind in _PATHS.items() for path in _texts(data, key)]
    ids = _texts(data, "artifact_ids")
    if len({kind for kind, _ in paths}) == 1 and len(ids) == len(paths):
        return [(one, kind, path) for one, (kind, path) in zip(ids, paths, strict=True)]
    # Which id belongs to which path is not in the file: the path is its own id, and the ids stay without one.
    return [(path, kind, path) for kind, path in paths] + [(one, "unknown", "") for one in ids]
