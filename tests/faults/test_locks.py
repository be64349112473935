"""A catalog that another process holds locked: the training goes on, and nothing is lost."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from asking import ask
from faults.conftest import LockHolder, journals

from crackseg_tracker import ExperimentTracker, environment
from crackseg_tracker.errors import CatalogBusyError, InvalidTypeError, MetricError

NewTracker = Callable[..., ExperimentTracker]
Hold = Callable[[], LockHolder]
Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def everything(tmp_path: Path) -> Callable[[ExperimentTracker], None]:
    """Make every kind of call."""

    def call(tracker: ExperimentTracker) -> None:
        tracker.start_experiment()
        tracker.log_metrics({"loss": 0.5, "iou": 0.25})
        tracker.log_metrics({"loss": 0.25, "iou": math.nan})
        tracker.log_metric("loss", 0.125, step=7)
        tracker.log_metrics({"loss": [0.1, 0.2]})
        tracker.log_history("bulk", range(1000), [step / 3 for step in range(1000)])
        tracker.log_samples({"image": {"iou": 0.5}})
        tracker.define_metric("iou", "max", unit="%")
        tracker.rewind(8)
        tracker.update_training_progress(3, 9, {"iou": 0.75}, 1.5)
        tracker.add_tags(["a", "b"])
        tracker.remove_tags(["b"])
        tracker.update_description("under lock")
        tracker.log_params({"extra": {"x": 1, "y": [2.5, None]}})
        tracker.add_artifact("best", "checkpoint", tmp_path / "best.pt", tags=["best"])
        tracker.complete_experiment()

    return call


_TELLING = (
    "SELECT experiment_id, status, description, current_epoch, total_epochs, training_time_seconds, error_message "
    "FROM experiments",
    "SELECT metric, step, value FROM metrics ORDER BY 1, 2",
    "SELECT metric, count, first_value, last_step, min_value, max_value, max_step FROM metric_summaries ORDER BY 1",
    "SELECT metric, step, value FROM metric_reports",
    "SELECT metric, step, value FROM superseded_metrics ORDER BY 1, 2",
    "SELECT split, sample, metric, step, value FROM sample_metrics",
    "SELECT metric, mode, mode_source, unit FROM metric_names ORDER BY 1",
    "SELECT tag FROM experiment_tags",
    "SELECT name, value, type, text, source FROM params ORDER BY 1",
    "SELECT artifact_id, artifact_type, path, sha256 FROM artifacts",
    "SELECT artifact_id, tag FROM artifact_tags",
    "SELECT status, message, attempt FROM status_changes",
    "SELECT attempt FROM attempts",
)


@pytest.mark.parametrize("durability", ["normal", "full", "buffered"])
def test_a_journaled_life_ends_up_as_a_direct_one(
    tmp_path: Path,
    new_tracker: NewTracker,
    catalog_path: Path,
    hold_lock: Hold,
    eventually: Eventually,
    everything: Callable[[ExperimentTracker], None],
    durability: str,
) -> None:
    """Promises 3 and 5: every kind of call, journaled and replayed, leaves the catalog as if there had been no lock."""
    (tmp_path / "best.pt").write_bytes(b"weights")
    direct = tmp_path / "direct" / "catalog.db"
    config = {"seed": 1}
    other = ExperimentTracker(tmp_path / "other", "unet-1", config=config, catalog=direct, durability=durability)
    everything(other)
    other.close()
    tracker = new_tracker(config=config, durability=durability)
    holder = hold_lock()
    everything(tracker)
    assert len(journals(catalog_path)) == 1
    shown = tracker.metadata
    assert shown.status == "completed"
    assert shown.journaled == 16
    holder.let_go()
    eventually(lambda: tracker.metadata.journaled == 0)
    assert tracker.metadata == shown._replace(journaled=0, replayed=16, degraded=False)
    for question in _TELLING:
        assert ask(catalog_path, question) == ask(direct, question), question
    tracker.close()
    eventually(lambda: journals(catalog_path) == [])


def test_no_call_waits_longer_than_the_bound(new_tracker: NewTracker, hold_lock: Hold, eventually: Eventually) -> None:
    """Promise 6: the first call waits for at most 250 ms, the next give way, and back it goes by itself."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    holder = hold_lock()
    holder.stop()
    waited: list[float] = []
    for step in range(1, 200):
        before = time.monotonic()
        tracker.log_metrics({"x": float(step)})
        waited.append(time.monotonic() - before)
    assert 0.1 < waited[0] < 0.3
    assert sorted(waited)[-2] < 0.2  # 50 ms, on a machine that does nothing else
    assert sorted(waited)[100] < 0.1
    holder.let_go()
    eventually(lambda: not tracker._recorder.backlog.is_open)
    tracker.log_metrics({"x": 200.0})
    assert tracker.metadata.replayed == 199
    rows = ask(tracker._database.path, "SELECT step, value FROM metrics ORDER BY step")
    assert rows == [(step, float(step)) for step in range(201)]


def test_order_is_kept_over_the_replay(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 3: calls made while the journal is replayed come after it, in a tight loop too."""
    tracker = new_tracker()
    holder = hold_lock()
    for value in range(3000):
        tracker.log_metrics({"x": float(value)})
        tracker.log_metrics({"overwritten": float(value)}, step=0)
        if value == 1000:
            holder.let_go()
    tracker.close()
    eventually(lambda: tracker.metadata.journaled == 0)  # a close waits for the replay, but not for ever
    assert ask(catalog_path, "SELECT step, value FROM metrics WHERE metric = 'x' ORDER BY step") == [
        (step, float(step)) for step in range(3000)
    ]
    assert ask(catalog_path, "SELECT value FROM metrics WHERE metric = 'overwritten'") == [(2999.0,)]
    known = tracker.metadata
    assert (known.journaled, known.dropped) == (0, 0)
    assert known.replayed >= 2002


def test_misuse_raises_as_ever_and_journals_nothing(new_tracker: NewTracker, hold_lock: Hold) -> None:
    """Promise 5: what is wrong is told at once, also while the catalog is locked."""
    tracker = new_tracker()
    tracker.log_metrics({"x": 0.0})
    holder = hold_lock()
    tracker.log_metrics({"x": 1.0})
    for wrong in ({"x": "text"}, {"": 1.0}, {"x": None}):
        with pytest.raises(MetricError):
            tracker.log_metrics(wrong)
    with pytest.raises(InvalidTypeError):
        tracker.add_tags("single")
    assert tracker.metadata.journaled == 1
    holder.let_go()


def test_strict_raises(new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold) -> None:
    """Promise 5: with strict=True the fault is the user's to handle, and nothing is journaled."""
    tracker = new_tracker(strict=True)
    tracker.log_metrics({"x": 0.0})
    holder = hold_lock()
    for call in (lambda: tracker.log_metrics({"x": 1.0}), lambda: tracker.add_tags(["a"]), tracker.start_experiment):
        with pytest.raises(CatalogBusyError, match="locked"):
            call()
    assert journals(catalog_path) == []
    holder.let_go()
    tracker.log_metrics({"x": 2.0})
    assert ask(catalog_path, "SELECT step, value FROM metrics") == [(0, 0.0), (1, 2.0)]


def test_one_warning_and_the_experiment_shows_it(
    new_tracker: NewTracker, hold_lock: Hold, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    """Promise 4: contention is not degraded; a lock that stays is, with one warning."""
    tracker = new_tracker()
    holder = hold_lock()
    with caplog.at_level(logging.WARNING):
        tracker.log_metrics({"x": 0.0})
        assert not tracker.metadata.degraded
        assert caplog.messages == []
        eventually(lambda: tracker.metadata.degraded)
        eventually(lambda: len(caplog.messages) > 0)
        for _ in range(100):
            tracker.log_metrics({"x": 0.0})
        time.sleep(0.6)
        assert [m for m in caplog.messages if "journaled" in m] == caplog.messages
        assert len(caplog.messages) == 1
    holder.let_go()
    eventually(lambda: not tracker.metadata.degraded)


def test_experiments_beside_it_need_not_wait_as_long(
    new_tracker: NewTracker, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 6: what one tracker of the process found out, all of its trackers know."""
    first, second = new_tracker("first"), new_tracker("second")
    for tracker in (first, second):
        tracker.log_metrics({"x": 0.0})
    holder = hold_lock()
    first.log_metrics({"x": 1.0})
    before = time.monotonic()
    second.log_metrics({"x": 1.0})
    assert time.monotonic() - before < 0.19  # it gives way for 50 ms, and the first one waited for 200
    holder.let_go()
    eventually(lambda: first.metadata.journaled + second.metadata.journaled == 0)
    assert ask(first._database.path, "SELECT count(*) FROM metrics") == [(4,)]


def test_the_first_write_of_a_resumed_experiment_is_journaled(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 5: the attempt itself may begin in the journal, and begins once."""
    with new_tracker(config={"a": 1}) as tracker:
        tracker.log_metrics({"x": 0.0})
    resumed = new_tracker(config={"a": 2})
    holder = hold_lock()
    resumed.start_experiment()
    resumed.log_metrics({"x": 1.0})
    assert resumed.metadata.status == "running"
    holder.let_go()
    eventually(lambda: resumed.metadata.journaled == 0)
    resumed.add_tags(["after"])
    resumed.complete_experiment()
    assert ask(catalog_path, "SELECT status, attempt FROM status_changes") == [
        ("created", None),
        ("running", 1),
        ("completed", 1),
        ("running", 2),
        ("completed", 2),
    ]
    assert ask(catalog_path, "SELECT attempt, config_changes FROM attempts") == [(1, "{}"), (2, '{"a": ["1", "2"]}')]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_leaves_the_journal_to_the_parent(
    new_tracker: NewTracker, catalog_path: Path, hold_lock: Hold, eventually: Eventually
) -> None:
    """Promise 8: a forked child begins a journal of its own, and its end takes nothing of the parent's."""
    tracker = new_tracker()
    tracker.log_metrics({"parent": 0.0})
    holder = hold_lock()
    tracker.log_metrics({"parent": 1.0})
    pid = os.fork()
    if pid == 0:
        try:
            tracker.log_metrics({"child": 1.0})
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    tracker.log_metrics({"parent": 2.0})
    assert len(journals(catalog_path)) == 2
    holder.let_go()
    eventually(lambda: tracker.metadata.journaled == 0)
    with new_tracker("later"):
        eventually(lambda: journals(catalog_path) == [])
    assert ask(catalog_path, "SELECT metric, count(*) FROM metrics GROUP BY 1") == [("child", 1), ("parent", 3)]


def test_what_an_attempt_begins_with_is_found_out_without_the_lock(
    new_tracker: NewTracker, catalog_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 6: git may take its time, and sixteen processes that are started again would wait for each other's."""
    with new_tracker():
        pass
    tracker = new_tracker()
    capture = environment.capture
    free: list[bool] = []

    def slow() -> environment.Environment:
        with closing(sqlite3.connect(catalog_path, isolation_level=None, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
            free.append(True)
        return capture()

    monkeypatch.setattr(environment, "capture", slow)
    tracker.log_metrics({"x": 1.0})
    assert free == [True]
    assert not tracker.metadata.degraded
