import json
import logging
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from omegaconf import OmegaConf
from recorded import SIDECAR, names, posix, sidecar, statuses

from crackseg_tracker import Catalog, ExperimentExistsError, ExperimentTracker
from crackseg_tracker.store import opening

Maker = Callable[..., ExperimentTracker]


# The context manager


def test_a_block_that_ends_is_completed(
    new_tracker: Maker, catalog_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with new_tracker() as tracker:
        assert tracker.metadata.status == "running"
        eventually((tracker.experiment_dir / SIDECAR).exists)
        assert sidecar(tracker)["status"] == "running"
    assert tracker.metadata.status == "completed"
    assert tracker.metadata.error_message == ""
    assert statuses(catalog_path) == ["created", "running", "completed"]
    assert sidecar(tracker)["status"] == "completed"


def test_a_block_that_raises_is_failed_with_its_traceback(new_tracker: Maker, catalog_path: Path) -> None:
    def explode() -> None:
        raise RuntimeError("CUDA out of memory")

    with pytest.raises(RuntimeError, match="CUDA out of memory"), new_tracker() as tracker:
        explode()
    known = new_tracker().metadata
    assert known.status == "failed"
    assert "Traceback" in known.error_message
    assert "in explode" in known.error_message
    assert "RuntimeError: CUDA out of memory" in known.error_message
    assert statuses(catalog_path) == ["created", "running", "failed"]
    assert sidecar(tracker)["error_message"] == known.error_message


def test_ctrl_c_aborts(new_tracker: Maker, catalog_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_tracker() as tracker:
        raise KeyboardInterrupt
    assert tracker.metadata.status == "aborted"
    assert statuses(catalog_path) == ["created", "running", "aborted"]


@pytest.mark.parametrize(("code", "status"), [(None, "completed"), (0, "completed"), (3, "aborted")])
def test_exit_ends_a_block(new_tracker: Maker, code: int | None, status: str) -> None:
    with pytest.raises(SystemExit), new_tracker() as tracker:
        raise SystemExit(code)
    assert tracker.metadata.status == status


def test_an_end_inside_the_block_stands(new_tracker: Maker, catalog_path: Path) -> None:
    with new_tracker() as tracker:
        tracker.abort_experiment("enough")
    assert tracker.metadata.status == "aborted"
    assert tracker.metadata.error_message == "enough"
    assert statuses(catalog_path) == ["created", "running", "aborted"]


def test_an_end_inside_a_block_that_raises_stands(new_tracker: Maker, catalog_path: Path) -> None:
    with pytest.raises(ValueError, match="late"), new_tracker() as tracker:  # noqa: PT012
        tracker.complete_experiment()
        raise ValueError("late")
    assert tracker.metadata.status == "completed"
    assert statuses(catalog_path) == ["created", "running", "completed"]


def test_an_exception_that_cannot_be_shown_is_recorded(new_tracker: Maker) -> None:
    class SpitefulError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(SpitefulError), new_tracker() as tracker:
        raise SpitefulError
    assert tracker.metadata.status == "failed"
    assert "SpitefulError" in tracker.metadata.error_message


# Config and secrets


def test_no_secret_reaches_the_disk(
    new_tracker: Maker, catalog_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--api_key=GEHEIM-argv-1"])
    config = {
        "db": {"password": "GEHEIM-config-2", "user": "anna"},
        "wandb": {"api_key": "GEHEIM-config-3"},
        "url": "https://anna:GEHEIM-url-4@example.org/x",
        "badge": "GEHEIM-custom-5",
        "max_tokens": 512,
    }
    tracker = new_tracker(config=config, redact=["badge"])
    tracker.log_params({"hf": {"token": "GEHEIM-param-6"}})
    with pytest.raises(RuntimeError), tracker:
        raise RuntimeError("login failed: password=GEHEIM-error-7, GEHEIM-config-2")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == SIDECAR for path in files)
    for path in files:
        assert b"GEHEIM" not in path.read_bytes(), path
    with Catalog(catalog_path) as catalog:
        params = catalog.params("unet-1")
    assert (params["db.user"], params["max_tokens"]) == ("anna", 512)
    assert params["db.password"] == params["hf.token"] == "[redacted]"
    assert "login failed" in tracker.metadata.error_message


def test_what_a_config_lacks_is_listed(new_tracker: Maker, catalog_path: Path) -> None:
    config = OmegaConf.create({"a": "???", "b": "${nowhere}", "c": {"d": "${c.e}", "e": 3}, "training": {"epochs": 9}})
    tracker = new_tracker(config=config)
    assert sorted(tracker.metadata.config_missing) == ["a", "b"]
    assert tracker.metadata.config_summary == {"epochs": 9}
    assert tracker.metadata.total_epochs == 9
    assert ("c.d", 3, "int") in ask(catalog_path, "SELECT name, value, type FROM params")


def test_params_keep_their_types(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker(config={"lr": 0.001, "huge": 2**70, "flag": True, "none": None, "a.b": "x", "xs": [1, "y"]})
    tracker.log_params({"lr": 0.01, "nested": {"seed": 3}})
    found = {
        name: (value, source) for name, value, source in ask(catalog_path, "SELECT name, value, source FROM params")
    }
    assert found["lr"] == (0.01, "logged")
    assert found["huge"] == (str(2**70), "config")
    assert found["flag"] == (1, "config")
    assert found["none"] == (None, "config")
    assert found["nested.seed"] == (3, "logged")
    assert found[r"a\.b"] == ("x", "config")
    assert ask(catalog_path, "SELECT experiment_id FROM params WHERE name = 'lr' AND value < 0.1") == [("unet-1",)]


# Where things are


@pytest.mark.parametrize(
    ("argument", "variable", "config", "project"),
    [
        ("arg", "env", {"project_name": "cfg"}, "arg"),
        (None, "env", {"project_name": "cfg"}, "env"),
        (None, None, {"project_name": "cfg"}, "cfg"),
        (None, None, {"x": 1}, "default"),
        (None, None, None, "default"),
    ],
)
def test_the_project(
    new_tracker: Maker,
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    variable: str | None,
    config: dict[str, Any] | None,
    project: str,
) -> None:
    if variable:
        monkeypatch.setenv("CRACKSEG_TRACKER_PROJECT", variable)
    tracker = new_tracker(project=argument, config=config, group="sweep-1")
    assert (tracker.metadata.project, tracker.metadata.group) == (project, "sweep-1")


def test_a_change_of_directory_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Path.cwd()
    tracker = ExperimentTracker("outputs/unet", "unet-1", catalog="data/catalog.db")
    elsewhere = tmp_path / "hydra"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with tracker:
        tracker.log_metrics({"loss": 0.5})
        tracker.add_artifact("here", "metrics", "metrics.json")
    assert names(elsewhere) == []
    assert (start / "outputs" / "unet" / SIDECAR).exists()
    assert ask(start / "data" / "catalog.db", "SELECT status FROM experiments") == [("completed",)]
    assert ask(start / "data" / "catalog.db", "SELECT absolute_path FROM artifacts") == [
        (str(elsewhere / "metrics.json"),)
    ]


# Several at once


@pytest.mark.parametrize("is_same_folder", [True, False])
def test_an_id_that_another_takes_in_the_last_moment(
    tmp_path: Path, catalog_path: Path, monkeypatch: pytest.MonkeyPatch, is_same_folder: bool
) -> None:
    make_folder, others = opening.make_private_folder, []

    def slow(folder: Path) -> None:
        monkeypatch.undo()
        theirs = folder if is_same_folder else tmp_path / "theirs"
        others.append(ExperimentTracker(theirs, "unet-1", "theirs", catalog=catalog_path))
        make_folder(folder)

    monkeypatch.setattr(opening, "make_private_folder", slow)
    if is_same_folder:
        tracker = ExperimentTracker(tmp_path / "unet-1", "unet-1", "ours", catalog=catalog_path)
        tracker.add_tags(["found"])
        assert others[0].metadata.tags == ["found"]
    else:
        with pytest.raises(ExperimentExistsError, match="theirs"):
            ExperimentTracker(tmp_path / "unet-1", "unet-1", "ours", catalog=catalog_path)
    assert ask(catalog_path, "SELECT experiment_name FROM experiments") == [("theirs",)]


def test_two_trackers_of_one_experiment_merge(new_tracker: Maker) -> None:
    one, two = new_tracker(), new_tracker()
    one.add_tags(["a", "b"])
    two.add_tags(["b", "c"])
    one.add_artifact("x", "checkpoint", "x")
    two.add_artifact("y", "checkpoint", "y")
    one.update_training_progress(1, 5, {"iou": 0.5})
    two.update_training_progress(2, 5, {"dice": 0.6})
    two.remove_tags(["a"])
    for tracker in (one, two):
        assert sorted(tracker.metadata.tags) == ["b", "c"]
        assert tracker.metadata.artifact_ids == ["x", "y"]
        assert tracker.metadata.best_metrics == {"iou": 0.5, "dice": 0.6}


def test_two_deferring_trackers_merge(new_tracker: Maker, catalog_path: Path) -> None:
    one, two = new_tracker(auto_save=False), new_tracker(auto_save=False)
    one.add_tags(["a"])
    two.add_tags(["b"])
    two.save()
    one.save()
    assert ask(catalog_path, "SELECT tag FROM experiment_tags ORDER BY tag") == [("a",), ("b",)]


def test_threads_share_a_tracker(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker()

    def work(number: int) -> None:
        for turn in range(10):
            tracker.add_tags([f"{number}-{turn}"])
            tracker.add_artifact(f"{number}-{turn}", "checkpoint", "x")
            assert tracker.metadata.status == "created"

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ask(catalog_path, "SELECT count(*) FROM experiment_tags") == [(40,)]
    assert ask(catalog_path, "SELECT count(*) FROM artifacts") == [(40,)]
    assert ask(catalog_path, "SELECT count(*) FROM attempts") == [(1,)]


FORK = """
import gc, os, sys
from crackseg_tracker import ExperimentTracker

folder, catalog, way = sys.argv[1:]
tracker = ExperimentTracker(folder, "unet-1", catalog=catalog, auto_save=way != "deferred")
tracker.__enter__()
tracker.add_tags(["before"])
child = os.fork()
if child == 0:
    if way != "silent":
        tracker.add_tags(["child"])
        tracker.log_metrics({"loss": 0.25}, step=1)
    tracker.save()
    tracker.__exit__(None, None, None)  # a worker that leaves the block does not end the parent's experiment
    if way == "exit":
        os._exit(0)
    del tracker
    gc.collect()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
tracker.log_metrics({"loss": 0.5}, step=2)
tracker.add_tags(["after"])
assert tracker.metadata.status == "running", tracker.metadata.status
tracker.__exit__(None, None, None)
"""


@posix
@pytest.mark.parametrize("way", ["exit", "interpreter-end", "silent", "deferred"])
def test_a_forked_child_leaves_the_parent_whole(catalog_path: Path, tmp_path: Path, way: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "e"), str(catalog_path), way],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    child = [] if way in ("silent", "deferred-silent") else ["child"]
    tags = [tag for (tag,) in ask(catalog_path, "SELECT tag FROM experiment_tags ORDER BY tag")]
    assert tags == sorted(["after", "before", *child])
    values = [value for (value,) in ask(catalog_path, "SELECT value FROM metrics ORDER BY step")]
    assert values == ([0.25, 0.5] if child else [0.5])
    assert statuses(catalog_path) == ["created", "running", "completed"]


# What a training can run into


def test_an_epoch_above_the_total_is_recorded(new_tracker: Maker, caplog: pytest.LogCaptureFixture) -> None:
    tracker = new_tracker()
    tracker.update_training_progress(10, 10)
    assert caplog.records == []
    for epoch in (11, 12, 13):  # of which a long training has many: the log says it once
        tracker.update_training_progress(epoch, 10)
    assert (tracker.metadata.current_epoch, tracker.metadata.total_epochs) == (13, 10)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "11" in record.getMessage()


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_an_odd_best_is_kept_and_never_wins(new_tracker: Maker, catalog_path: Path, odd: float) -> None:
    tracker = new_tracker()
    other = new_tracker("unet-2")
    other.update_training_progress(1, 9, {"iou": odd, "loss": odd})
    tracker.update_training_progress(1, 9, {"iou": odd})
    tracker.update_training_progress(2, 9, {"iou": 0.5, "loss": 0.1})
    tracker.update_training_progress(3, 9, {"iou": odd})
    assert tracker.metadata.best_metrics == {"iou": 0.5, "loss": 0.1}
    json.dumps(other.get_metadata_dict(), allow_nan=False)
    reports = ask(
        catalog_path, "SELECT step, value FROM metric_reports WHERE experiment_id = 'unet-1' AND metric = 'iou'"
    )
    kept = None if math.isnan(odd) else odd
    assert reports == [(1, kept), (2, 0.5), (3, kept)]
    with Catalog(catalog_path) as catalog:
        assert [(row.experiment_id, row.value, row.step) for row in catalog.best("iou")] == [("unet-1", 0.5, 2)]
        assert [row.value for row in catalog.best("loss")] == [0.1]


def test_bests_are_merged_as_reported(new_tracker: Maker, catalog_path: Path) -> None:
    tracker = new_tracker()
    tracker.update_training_progress(1, 9, {"iou": 0.7, "dice": 0.8}, 10.0)
    tracker.update_training_progress(2, 9, {"iou": 0.6})
    known = tracker.metadata
    assert known.best_metrics == {"iou": 0.6, "dice": 0.8}
    assert known.training_time_seconds == 10.0
    assert ask(catalog_path, "SELECT metric, step, value FROM metric_reports") == [
        ("iou", 1, 0.7),
        ("dice", 1, 0.8),
        ("iou", 2, 0.6),
    ]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"best_metrics": {"iou": 10**400, "dice": 0.5}}),
        json.dumps({"training_time_seconds": 10**400, "current_epoch": True}),
        '{"best_metrics": {"\\ud800": 1.0}, "tags": [" ", "kept"]}',
    ],
)
def test_an_origin_file_with_impossible_values_is_imported_as_far_as_it_goes(new_tracker: Maker, text: str) -> None:
    folder = Path("origin")
    folder.mkdir()
    (folder / SIDECAR).write_text(text)
    metadata = new_tracker("old", experiment_dir=folder).metadata
    assert metadata.status == "created"
    assert metadata.best_metrics.get("iou") is None
    assert metadata.tags in ([], ["kept"])


def test_a_failure_whose_message_cannot_be_shown_is_recorded(new_tracker: Maker) -> None:
    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    tracker = new_tracker()
    tracker.fail_experiment(Unshowable())  # type: ignore[arg-type]
    assert (tracker.metadata.status, tracker.metadata.error_message) == ("failed", "Unshowable")


def test_another_end_takes_the_text_of_the_one_before(new_tracker: Maker, caplog: pytest.LogCaptureFixture) -> None:
    tracker = new_tracker()
    tracker.fail_experiment("boom")
    tracker.abort_experiment()
    assert (tracker.metadata.status, tracker.metadata.error_message) == ("aborted", "")
    assert "had ended as failed" in caplog.text


def test_a_secret_that_one_tracker_saw_is_not_written_by_another(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker("first", config={"api_key": "SEKRET-98765"}).start_experiment()
    second = new_tracker("first")
    second.fail_experiment("refused: SEKRET-98765")
    assert second.metadata.error_message == "refused: [redacted]"
    assert b"SEKRET-98765" not in (second.experiment_dir / SIDECAR).read_bytes()


def test_an_imported_error_is_redacted(new_tracker: Maker) -> None:
    folder = Path("origin")
    folder.mkdir()
    (folder / SIDECAR).write_text(json.dumps({"status": "failed", "error_message": "password=SEKRET-98765"}))
    tracker = new_tracker("old", experiment_dir=folder)
    tracker.close()
    assert "SEKRET" not in tracker.metadata.error_message
    assert b"SEKRET" not in (folder / SIDECAR).read_bytes()


def test_a_log_of_info_has_one_line_of_a_new_catalog(tmp_path: Path, catalog_path: Path) -> None:
    """Hydra shows INFO of all loggers: what Alembic loads and does is not the user's."""
    script = (
        "import logging, sys\nlogging.basicConfig(level=logging.INFO)\n"
        "from crackseg_tracker import ExperimentTracker\n"
        "with ExperimentTracker(sys.argv[1], 'unet-1', catalog=sys.argv[2]) as tracker:\n"
        "    tracker.log_metrics({'loss': 0.5})\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "unet"), str(catalog_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.splitlines() == [f"INFO:crackseg_tracker:created the catalog {catalog_path} (catalog argument)"]
