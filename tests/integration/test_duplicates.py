import gzip
import logging
import pickle
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import (
    Catalog,
    DuplicateExperimentError,
    ExperimentTracker,
    InvalidTypeError,
    InvalidValueError,
)
from crackseg_tracker.config import capture
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.store import duplicates

Maker = Callable[..., ExperimentTracker]
CONFIG: dict[str, Any] = {"model": {"encoder": "resnet34"}, "training": {"lr": 0.1, "seed": 1, "output_dir": "a"}}
AGAIN: dict[str, Any] = {"model": {"encoder": "resnet34"}, "training": {"lr": 0.1, "seed": 2, "output_dir": "b"}}
OTHER: dict[str, Any] = {"model": {"encoder": "resnet50"}, "training": {"lr": 0.1, "seed": 1, "output_dir": "a"}}


def train(tracker: ExperimentTracker, iou: float = 0.71) -> None:
    with tracker:
        tracker.log_metrics({"val/iou": iou, "loss": 1 - iou}, step=0)


def known(catalog_path: Path) -> list[str]:
    with Catalog(catalog_path) as catalog:
        return [row.experiment_id for row in catalog.experiments()]


def test_an_error_names_what_was_trained_and_records_nothing(
    new_tracker: Maker, catalog_path: Path, tmp_path: Path
) -> None:
    train(new_tracker("unet-3", config=CONFIG))
    with pytest.raises(DuplicateExperimentError) as caught:
        new_tracker("unet-4", config=AGAIN, on_duplicate="error")
    message = str(caught.value)
    assert message.startswith("already trained: unet-3, best val/iou 0.71, loss 0.29 (completed ")
    assert "training.seed: 1, now 2" in message
    assert "training.output_dir: a, now b" in message
    assert 'on_duplicate="ignore"' in message
    assert caught.value.experiment_id == "unet-3"
    assert caught.value.best_metrics == {"val/iou": 0.71, "loss": 1 - 0.71}
    assert known(catalog_path) == ["unet-3"]
    assert not (tmp_path / "experiments" / "unet-4").exists()
    new_tracker("unet-4", config=AGAIN)  # the id is still free


def test_the_error_survives_pickling(new_tracker: Maker) -> None:
    train(new_tracker("unet-3", config=CONFIG))
    with pytest.raises(DuplicateExperimentError) as caught:
        new_tracker("unet-4", config=AGAIN, on_duplicate="error")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.experiment_id, copy.best_metrics) == (
        str(caught.value),
        caught.value.experiment_id,
        caught.value.best_metrics,
    )


def test_a_warning_names_the_latest_and_trains(
    new_tracker: Maker, catalog_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(new_tracker("unet-1", config=CONFIG), iou=0.9)
    train(new_tracker("unet-2", config=AGAIN), iou=0.8)
    with caplog.at_level(logging.WARNING, "crackseg_tracker"):
        train(new_tracker("unet-3", config=CONFIG, on_duplicate="warn"))
    [record] = caplog.records
    assert "unet-3: already trained: unet-2, best val/iou 0.8" in record.getMessage()
    assert "the latest of 2" in record.getMessage()
    assert known(catalog_path) == ["unet-1", "unet-2", "unet-3"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"config": CONFIG}, {"config": OTHER}),
        ({"config": CONFIG, "data_fingerprint": "v1"}, {"config": AGAIN, "data_fingerprint": "v2"}),
        ({"config": CONFIG, "data_fingerprint": "v1"}, {"config": AGAIN}),
        ({"config": CONFIG}, {"config": AGAIN, "data_fingerprint": "v1"}),
        (
            {"config": CONFIG, "identity_ignores": ["output_dir"]},
            {"config": AGAIN, "identity_ignores": ["output_dir"]},
        ),
    ],
)
def test_another_config_or_other_data_is_no_duplicate(
    new_tracker: Maker, first: dict[str, Any], second: dict[str, Any]
) -> None:
    train(new_tracker("one", **first))
    train(new_tracker("two", **second, on_duplicate="error"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"config": CONFIG, "data_fingerprint": "v1"}, {"config": AGAIN, "data_fingerprint": "v1"}),
        ({"config": CONFIG, "identity_ignores": ["training.*"]}, {"config": AGAIN, "identity_ignores": ["training.*"]}),
        ({"config": CONFIG, "project": "a"}, {"config": AGAIN, "project": "b"}),
    ],
)
def test_a_duplicate(new_tracker: Maker, first: dict[str, Any], second: dict[str, Any]) -> None:
    train(new_tracker("one", **first))
    with pytest.raises(DuplicateExperimentError, match="already trained: one"):
        new_tracker("two", **second, on_duplicate="error")


def test_only_completed_experiments_count(new_tracker: Maker) -> None:
    new_tracker("created", config=CONFIG)
    new_tracker("running", config=CONFIG).start_experiment()
    new_tracker("failed", config=CONFIG).fail_experiment("broke")
    new_tracker("aborted", config=CONFIG).abort_experiment()
    train(new_tracker("again", config=CONFIG, on_duplicate="error"))


def test_a_resume_is_no_duplicate_of_itself(new_tracker: Maker) -> None:
    train(new_tracker("one", config=CONFIG))
    train(new_tracker("one", config=CONFIG, on_duplicate="error"))


def test_a_resume_with_another_config_or_data_is_known_by_them(new_tracker: Maker) -> None:
    train(new_tracker("one", config=CONFIG))
    train(new_tracker("one", config=OTHER, data_fingerprint="v2"))
    train(new_tracker("two", config=CONFIG, on_duplicate="error"))
    with pytest.raises(DuplicateExperimentError, match="already trained: one"):
        new_tracker("three", config=OTHER, data_fingerprint="v2", on_duplicate="error")


def test_without_a_config_nothing_is_a_duplicate(new_tracker: Maker, caplog: pytest.LogCaptureFixture) -> None:
    train(new_tracker("one"))
    with caplog.at_level(logging.WARNING, "crackseg_tracker"):
        train(new_tracker("two", on_duplicate="error"))
    assert "two: its config tells nothing" in caplog.text


def test_another_commit_or_an_edit_is_no_duplicate(
    new_tracker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(folder: Path, *words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)

    # The facts of a folder are read once per process, so each state has a folder of its own.
    first = tmp_path / "first"
    first.mkdir()
    git(first, "init", "-q")
    (first / "train.py").write_text("epochs = 3\n")
    git(first, "add", ".")
    git(first, "commit", "-qm", "one")
    same, edited, later = (shutil.copytree(first, tmp_path / name) for name in ("same", "edited", "later"))
    (edited / "train.py").write_text("epochs = 4\n")
    (later / "train.py").write_text("epochs = 5\n")
    git(later, "commit", "-qam", "two")

    monkeypatch.chdir(first)
    train(new_tracker("first", config=CONFIG))
    monkeypatch.chdir(edited)
    train(new_tracker("edited", config=CONFIG, on_duplicate="error"))
    with pytest.raises(DuplicateExperimentError, match="already trained: edited"):
        new_tracker("again", config=CONFIG, on_duplicate="error")
    monkeypatch.chdir(later)
    train(new_tracker("later", config=CONFIG, on_duplicate="error"))
    monkeypatch.chdir(same)
    with pytest.raises(DuplicateExperimentError, match="already trained: first"):
        new_tracker("again", config=CONFIG, on_duplicate="error")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"on_duplicate": "refuse"}, InvalidValueError, "'refuse' is unknown; give \"ignore\""),
        ({"on_duplicate": None}, InvalidValueError, "None is unknown"),
        ({"data_fingerprint": 3}, InvalidTypeError, "data_fingerprint 3 is a int"),
        ({"identity_ignores": "seed"}, InvalidTypeError, "single str"),
        ({"identity_ignores": ["*"]}, InvalidValueError, "everything"),
    ],
)
def test_wrong_arguments(new_tracker: Maker, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        new_tracker("one", config=CONFIG, **options)


def test_the_look_up_is_one_search_in_the_index(new_tracker: Maker, catalog_path: Path) -> None:
    for i in range(20):
        train(new_tracker(f"unet-{i}", config={"lr": i}))
    with closing(sqlite3.connect(catalog_path, isolation_level=None)) as connection:
        connection.execute("ANALYZE")
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        nobody = duplicates.Identity("0" * 64, "", "", "")
        assert duplicates.already_trained(connection, nobody, ()) is None
        connection.set_trace_callback(None)
        [statement] = statements
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any(step.startswith("SEARCH e USING INDEX experiment_by_identity") for step in plan), plan


def test_an_upgrade_tells_the_identities_of_older_experiments(new_tracker: Maker, catalog_path: Path) -> None:
    """A catalog of schema version 1, as its release filled it."""
    golden = Path(__file__).parents[1] / "golden" / "version-1.catalog.gz"
    catalog_path.parent.mkdir(mode=0o700)
    catalog_path.write_bytes(gzip.decompress(golden.read_bytes()))
    with closing(sqlite3.connect(catalog_path)) as connection, connection:
        connection.execute("UPDATE experiment SET environment = NULL WHERE experiment_id = 'resumed'")
        config = capture(CONFIG, Redactor())
        connection.execute(
            "UPDATE config SET text = ?, sha256 = ? "
            "WHERE id = (SELECT config FROM experiment WHERE experiment_id = 'resumed')",
            (config.text, config.sha256),
        )
    with pytest.raises(DuplicateExperimentError, match="already trained: resumed"):
        new_tracker("new", config=AGAIN, on_duplicate="error")
