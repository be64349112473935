"""Catalogs that take each other in: nothing lost, nothing doubled, nothing overwritten."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import math
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from crackseg_tracker import (
    Catalog,
    CatalogError,
    CatalogWriteError,
    DamagedCatalogError,
    ExperimentTracker,
    ForeignCatalogError,
    InvalidTypeError,
    InvalidValueError,
    NewerCatalogError,
    NotFoundError,
)
from crackseg_tracker.store.integrity import declared_connection

Maker = Callable[[str, str], ExperimentTracker]

# Whatever follows from a catalog's own numbering or moment, not from what was recorded.
_OWN = ("experiment_number", "artifact_number", "change_number", "updated_at", "attempt", "rank")


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Make trackers in catalogs by name: ``make("A", "unet-1")``; each catalog is proven whole at the end."""

    def tracker(catalog: str, experiment_id: str, **options: Any) -> ExperimentTracker:
        options.setdefault("experiment_dir", tmp_path / "experiments" / experiment_id)
        return ExperimentTracker(experiment_id=experiment_id, catalog=tmp_path / catalog / "catalog.db", **options)

    yield tracker
    for path in tmp_path.glob("*/catalog.db"):
        with Catalog(path) as catalog:
            assert catalog.check() == []
        assert not [other.name for other in path.parent.iterdir() if "merge" in other.name]


def opened(tmp_path: Path, name: str) -> Catalog:
    return Catalog(tmp_path / name / "catalog.db")


def content(catalog: Catalog, *, without: tuple[str, ...] = ()) -> dict[str, list[Any]]:
    """Give all that the views tell, as sorted rows."""
    found: dict[str, list[Any]] = {}
    for (view,) in catalog.sql("SELECT name FROM sqlite_schema WHERE type = 'view' AND substr(name, 1, 1) <> '_'"):
        if view in without:
            continue
        condition = " WHERE action <> 'merged'" if view == "changes" else ""
        rows = catalog.sql(f"SELECT * FROM {view}{condition}").dicts()
        found[view] = sorted(repr({k: v for k, v in row.items() if k not in _OWN}) for row in rows)
    return found


def tables(path: Path) -> dict[str, list[Any]]:
    """Give every row of every table."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for (name,) in names}


def outcomes(rows: Any) -> list[tuple[str, str]]:
    return [(row.experiment_id, row.outcome) for row in rows if row.outcome != "conflict"]


def conflicts(rows: Any) -> list[tuple[str, str, str | None, str | None]]:
    return [(row.subject, row.item, row.ours, row.theirs) for row in rows if row.outcome == "conflict"]


def fill(tracker: ExperimentTracker) -> None:
    """Record something of every kind."""
    with tracker:
        tracker.define_metric("iou", "max", unit="%", description="overlap")
        tracker.update_description("a description")
        tracker.add_tags(["good", "old"])
        tracker.remove_tags(["old"])
        tracker.log_params({"extra": [1, 2.5]})
        for step in range(6):
            tracker.log_metrics({"loss": 1 / (step + 1), "iou": step / 6}, step=step)
        tracker.log_metrics({"loss": math.nan, "iou": -0.0, "odd": math.inf}, step=6)
        tracker.log_samples({"image_1": {"iou": 0.5, "dice": math.nan}, "image_2": {"iou": 0.7}}, step=2)
        tracker.log_samples({"image_1": {"iou": 0.6}}, step=5)
        tracker.update_training_progress(5, 9, {"iou": 0.9}, 12.5)
        tracker.rewind(4)
        tracker.log_metrics({"loss": 0.11}, step=5)
        tracker.update_training_progress(4, 9, {"iou": 0.8, "f1": math.nan})
        file = tracker.experiment_dir / "best.pt"
        file.write_bytes(b"weights")
        tracker.add_artifact("best", "checkpoint", file, "the best", ["best", "kept"])
        tracker.add_artifact("absent", "data", "absent.csv")


def test_everything_comes_over(make: Any, tmp_path: Path) -> None:
    make("A", "here", config={"lr": 0.5}).log_metrics({"first": 1.0, "dice": 0.5}, step=0)  # other numbers for all
    fill(make("B", "there", config={"lr": 0.1, "model": {"name": "unet"}}, project="roads", group="sweep"))
    make("B", "failed").fail_experiment("broke")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        here = content(ours)
        rows = ours.merge(theirs)
        assert outcomes(rows) == [("there", "added"), ("failed", "added")]
        assert conflicts(rows) == []
        there = content(theirs)
        merged = content(ours)
        for view in merged:
            expected = here[view] + there[view]
            assert set(merged[view]) == set(expected), view
            assert len(merged[view]) == len(expected) or view in ("metric_names", "catalog_info"), view
        [merge_of_there] = [row for row in ours.changes(experiment_id="there") if row.action == "merged"]
        assert merge_of_there.after == str(theirs.path)
        assert ours.best("iou")[0].value == 0.8
        before = tables(ours.path)
        assert outcomes(ours.merge(theirs)) == [("there", "unchanged"), ("failed", "unchanged")]
        assert tables(ours.path) == before


def test_a_merge_knows_every_table() -> None:
    """A table or column added to the schema must be thought of here."""
    source = Path(sys.modules[Catalog.__module__].__file__ or "").parent.parent / "store"
    text = "".join((source / f"{name}.py").read_text() for name in ("union", "union_series", "pairing", "merging"))
    with closing(declared_connection()) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    # Who may append here is of this catalog, and of this moment.
    assert {name for name in names if name not in text} <= {"metric_recent"}


def test_an_experiment_that_goes_on_there(make: Any, tmp_path: Path) -> None:
    """Merged half way, then again: the later status, the resumed config, the new points, the newer artifact."""
    there = make("B", "a", config={"lr": 0.1})
    there.start_experiment()
    best = there.experiment_dir / "best.pt"
    for step in range(3):
        there.log_metrics({"loss": 1 / (step + 1)}, step=step)
        best.write_bytes(b"x" * step)
        there.add_artifact("best", "checkpoint", best, tags=[f"epoch-{step}"])
    there.update_training_progress(2, 10, {"iou": 0.5}, 10.0)
    there.update_description("first words")
    make("A", "b")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        assert outcomes(ours.merge(theirs)) == [("a", "added")]
        assert ours.experiment("a").status == "running"
        for step in range(3, 6):
            there.log_metrics({"loss": 1 / (step + 1), "late": 1.0}, step=step)
            best.write_bytes(b"x" * step)
            there.add_artifact("best", "checkpoint", best, tags=[f"epoch-{step}"])
        there.update_training_progress(5, 10, {"iou": 0.6}, 20.0)
        there.update_description("better words")
        there.fail_experiment("out of memory")
        resumed = make("B", "a", config={"lr": 0.05, "new": 1})
        resumed.start_experiment()
        resumed.log_metrics({"loss": 0.1}, step=6)
        resumed.complete_experiment()
        rows = ours.merge(theirs)
        assert outcomes(rows) == [("a", "extended")]
        assert conflicts(rows) == []
        assert content(ours)["experiments"][0] == content(theirs)["experiments"][0]
        left_out = ("experiments", "experiment_overview", "metric_names")
        theirs_now, ours_now = content(theirs, without=left_out), content(ours, without=left_out)
        for view, expected in theirs_now.items():
            assert [row for row in ours_now[view] if "'b'" not in row] == expected, view
        assert ours.params("a") == {"lr": 0.05, "new": 1}
        assert ours.artifacts()[0].tags == ("epoch-5",)
        assert outcomes(ours.merge(theirs)) == [("a", "unchanged")]


def test_a_rewind_there_takes_points_back_here(make: Any, tmp_path: Path) -> None:
    there = make("B", "a")
    for step in range(6):
        there.log_metrics({"loss": float(step)}, step=step)
        there.log_samples({"image": {"iou": float(step)}}, step=step)
    there.update_training_progress(5, 9, {"iou": 0.9})
    make("A", "b")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        ours.merge(theirs)
        there.rewind(2)
        there.log_metrics({"loss": 30.0}, step=3)
        there.complete_experiment()
        assert conflicts(ours.merge(theirs)) == []
        assert [(p.step, p.value) for p in ours.history("loss", "a")] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]
        for view in ("metrics", "sample_metrics", "superseded_metrics", "metric_reports", "metric_bests"):
            assert content(ours)[view] == content(theirs)[view]
        # And the other way round: what was taken back there does not come back from here.
        assert outcomes(theirs.merge(ours)) == [("b", "added"), ("a", "unchanged")]
        assert [(p.step, p.value) for p in theirs.history("loss", "a")] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_stale_copy_does_not_bring_back_what_was_taken_back(make: Any, tmp_path: Path) -> None:
    there = make("B", "a")
    for step in range(6):
        there.log_metrics({"loss": float(step)}, step=step)
    with opened(tmp_path, "B") as theirs:
        theirs.export(tmp_path / "stale.db")
        there.rewind(2)
        with Catalog(tmp_path / "stale.db") as stale:
            assert outcomes(theirs.merge(stale)) == [("a", "unchanged")]
        assert [p.step for p in theirs.history("loss", "a")] == [0, 1, 2]


def test_what_differs_is_reported_and_ours_stays(make: Any, tmp_path: Path) -> None:
    first = make("A", "a", config={"lr": 0.1})
    first.define_metric("loss", "min")
    with opened(tmp_path, "A") as ours:
        (tmp_path / "B").mkdir()
        ours.export(tmp_path / "B" / "catalog.db")
    second = make("B", "a")
    for tracker, value, text in ((first, 1.0, "ours"), (second, 2.0, "theirs")):
        tracker.log_metrics({"loss": value, "same": 1.0}, step=0)
        tracker.log_metrics({"loss": value}, step=1)
        tracker.log_samples({"image": {"iou": value}}, step=0)
        tracker.log_params({"who": text})
        tracker.update_description(text)
        (tracker.experiment_dir / text).write_text(text)
        tracker.add_artifact("file", "text", tracker.experiment_dir / text)
    second.define_metric("loss", "max")
    first.complete_experiment()
    second.fail_experiment("broke")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        rows = ours.merge(theirs)
        told = {(subject, item): (mine, other) for subject, item, mine, other in conflicts(rows)}
        assert told[("metric", "mode of loss")] == ("min", "max")
        assert told[("experiment", "description")] == ("ours", "theirs")
        assert told[("experiment", "status")] == ("completed", "failed")
        assert told[("param", "who")] == ("ours", "theirs")
        assert told[("points", "loss, from step 0")] == ("1.0", "2.0")
        assert told[("samples", "iou")] == ("1.0", "2.0")
        assert told[("artifact", "file")][0] != told[("artifact", "file")][1]
        assert len(told) == 7
        assert [row.rows for row in rows if row.item == "loss, from step 0"] == [2]
        assert [p.value for p in ours.history("loss", "a")] == [1.0, 1.0]
        assert ours.experiment("a").description == "ours"
        assert ours.params("a")["who"] == "ours"
        assert ours.artifacts()[0].path.endswith("ours")
        both = [status for (status,) in ours.sql("SELECT status FROM status_changes ORDER BY changed_at")]
        assert both == ["created", "completed", "failed"]
        assert ours.experiment("a").status == "failed"  # the later of the two
        before = tables(ours.path)
        assert [row for row in ours.merge(theirs) if row.outcome not in ("unchanged", "conflict")] == []
        assert tables(ours.path) == before


def test_ids_that_clash_by_chance(make: Any, tmp_path: Path) -> None:
    make("A", "unet").log_metrics({"loss": 1.0}, step=0)
    make("B", "unet").log_metrics({"loss": 2.0}, step=0)
    make("B", "other")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        rows = ours.merge(theirs)
        assert outcomes(rows) == [("unet", "skipped"), ("other", "added")]
        assert "suffix=" in rows[0].item
        told = ours.merge(theirs, suffix="@b", dry_run=True)
        assert outcomes(told) == [("unet@b", "added"), ("other", "unchanged")]
        assert [row.experiment_id for row in ours.experiments()] == ["unet", "other"]
        assert ours.merge(theirs, suffix="@b") == told
        assert [p.value for p in ours.history("loss", ["unet", "unet@b"])] == [1.0, 2.0]
        assert outcomes(ours.merge(theirs, suffix="@b")) == [("unet@b", "unchanged"), ("other", "unchanged")]
        assert conflicts(ours.merge(theirs)) == []
        make("A", "third").add_tags(["x"])
        make("A", "third@b")
        make("B", "third")
        rows = ours.merge(theirs, suffix="@b")
        assert outcomes(rows)[-1] == ("third@b", "skipped")


def test_the_trash_stays_where_it_is(make: Any, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        fill(make("B", name))
    make("A", "x")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        theirs.delete("c")
        ours.merge(theirs)
        assert [row.experiment_id for row in ours.experiments()] == ["x", "a", "b"]
        ours.delete(["a", "b"])
        ours.purge(ids="b", dry_run=False)
        rows = ours.merge(theirs)
        assert outcomes(rows) == [("a", "skipped"), ("b", "skipped")]
        assert "trash" in rows[0].item
        assert "purged=True" in rows[1].item
        assert outcomes(ours.merge(theirs, purged=True)) == [("a", "skipped"), ("b", "added")]
        assert [row.experiment_id for row in ours.experiments()] == ["x", "b"]
        for view in ("metrics", "attempts", "params", "artifacts", "sample_metrics", "metric_bests", "status_changes"):
            expected = [row for row in content(theirs)[view] if "'experiment_id': 'b'" in row]
            assert [row for row in content(ours)[view] if "'experiment_id': 'b'" in row] == expected, view


def test_a_tag_that_was_taken_off_here_stays_off(make: Any, tmp_path: Path) -> None:
    make("B", "a").add_tags(["x", "y"])
    make("A", "b")
    with opened(tmp_path, "A") as ours, opened(tmp_path, "B") as theirs:
        ours.merge(theirs)
        ours.set_tags("a", remove=["x"])
        ours.merge(theirs)
        assert ours.experiment("a").tags == ("y",)
        theirs.set_tags("a", remove=["x"])
        theirs.set_tags("a", add=["x"])  # put on anew, after that
        ours.merge(theirs)
        assert ours.experiment("a").tags == ("x", "y")


def test_equal_environments_are_one_and_different_packages_are_two(make: Any, tmp_path: Path) -> None:
    make("A", "a")
    make("B", "b")
    make("C", "c")
    with closing(sqlite3.connect(tmp_path / "C" / "catalog.db")) as connection, connection:
        packages = '{"torch": "0.1"}'
        digest = hashlib.sha256(packages.encode()).hexdigest()
        connection.execute("UPDATE package_set SET packages = ?, sha256 = ?", (packages, digest))
    with opened(tmp_path, "A") as ours:
        ours.merge(tmp_path / "B" / "catalog.db")
        assert len(tables(ours.path)["environment"]) == 1
        ours.merge(tmp_path / "C" / "catalog.db")
        assert len(tables(ours.path)["environment"]) == 2
        assert len(tables(ours.path)["package_set"]) == 2


# Property: whatever two sides record, both merged ways give one content

_names = st.sampled_from(["loss", "iou"])
_operation = st.one_of(
    st.tuples(st.just("log"), _names, st.integers(0, 20)),
    st.tuples(st.just("history"), _names, st.lists(st.integers(0, 40), min_size=1, max_size=8)),
    st.tuples(st.just("sample"), _names, st.integers(0, 5)),
    st.tuples(st.just("report"), _names, st.integers(0, 9)),
    st.tuples(st.just("tag"), st.sampled_from("xyz"), st.just(0)),
    st.tuples(st.just("param"), st.sampled_from("pq"), st.just(0)),
    st.tuples(st.just("artifact"), st.sampled_from("fg"), st.just(0)),
    st.tuples(st.just("new"), st.sampled_from(["n1", "n2"]), st.integers(0, 3)),
)
_counter = itertools.count()


def record(make: Any, side: str, base: str, operations: list[Any]) -> None:
    """Record on one side: what two sides may both record has one value for each key, so nothing conflicts."""
    tracker = make(side, base)
    for operation, name, number in operations:
        if operation == "log":
            tracker.log_metrics({name: number / 7}, step=number)
        elif operation == "history":
            steps = sorted(set(number))
            tracker.log_history(name, steps, [step / 7 for step in steps])
        elif operation == "sample":
            tracker.log_samples({f"image_{number}": {name: number / 3}}, step=number)
        elif operation == "report":
            tracker.update_training_progress(9, 9, {name: number / 5})
        elif operation == "tag":
            tracker.add_tags([name])
        elif operation == "param":
            tracker.log_params({name: 1})
        elif operation == "artifact":
            tracker.add_artifact(f"{side}-{name}", "x", f"{name}.txt")
        else:
            make(side, f"{base}-{side}-{name}").log_metrics({"own": number / 2}, step=number)


@settings(
    database=None,
    print_blob=True,
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],  # each example is two catalogs: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(left=st.lists(_operation, max_size=10), right=st.lists(_operation, max_size=10), ended=st.booleans())
def test_both_ways_of_merging_give_one_content(
    make: Any, tmp_path: Path, left: list[Any], right: list[Any], ended: bool
) -> None:
    number = next(_counter)
    a, b = f"A{number}", f"B{number}"
    base = f"e{number}"
    make(a, base).log_metrics({"loss": 0.0}, step=0)
    (tmp_path / b).mkdir()
    with opened(tmp_path, a) as ours:
        ours.export(tmp_path / b / "catalog.db")
    record(make, a, base, left)
    record(make, b, base, right)
    if ended:
        make(b, base).complete_experiment()
    with opened(tmp_path, a) as ours, opened(tmp_path, b) as theirs:
        points = {side: set(catalog.sql("SELECT * FROM metrics")) for side, catalog in ((a, ours), (b, theirs))}
        keys = {side: {row[:3] for row in rows} for side, rows in points.items()}
        theirs.export(tmp_path / f"{b}.db")
        assert conflicts(ours.merge(theirs)) == []
        with Catalog(tmp_path / f"{b}.db") as copy:
            assert outcomes(copy.merge(theirs)) == [(row.experiment_id, "unchanged") for row in theirs.experiments()]
        assert {row[:3] for row in ours.sql("SELECT * FROM metrics")} == keys[a] | keys[b]
        before = tables(ours.path)
        assert {outcome for _, outcome in outcomes(ours.merge(theirs))} <= {"unchanged"}
        assert tables(ours.path) == before
        assert conflicts(theirs.merge(ours)) == []
        # A point that both recorded has two moments, and each keeps its own; the order of equal moments is open.
        left_out = ("metrics", "changes")
        assert content(ours, without=left_out) == content(theirs, without=left_out)
        assert ours.check() == theirs.check() == []
        assert {outcome for _, outcome in outcomes(ours.merge(theirs))} <= {"unchanged"}


# Sources of every kind


def test_a_source_in_use(make: Any, tmp_path: Path) -> None:
    """A training in another process writes to the other catalog, and one to ours: each merge is one moment of both."""
    script = """
import sys
from crackseg_tracker import ExperimentTracker
catalog, folder, name = sys.argv[1:]
with ExperimentTracker(f"{folder}/{name}", name, catalog=catalog) as tracker:
    print("begun", flush=True)
    for step in range(4000):
        tracker.log_metrics({"a": step, "b": step}, step=step)
"""
    make("A", "x")
    make("B", "y")
    paths = [tmp_path / name / "catalog.db" for name in "AB"]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(tmp_path / "live"), f"live-{path.parent.name}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for path in paths
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"begun\n"
        merges = 0
        with Catalog(paths[0]) as ours:
            while any(child.poll() is None for child in children) or not merges:
                assert conflicts(ours.merge(paths[1])) == []
                merges += 1
                counts = ours.sql("SELECT count(*) FROM metrics WHERE experiment_id = 'live-B' GROUP BY metric").rows
                assert len(set(counts)) <= 1  # no call is taken in by half
        for child in children:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0, errors.decode()
    finally:
        for child in children:
            child.kill()
            child.communicate()
    with Catalog(paths[0]) as ours:
        ours.merge(paths[1])
        for name in ("live-A", "live-B"):
            assert [p.step for p in ours.history("a", name)] == list(range(4000))
            assert ours.experiment(name).status == "completed"


def test_a_merge_into_what_a_tracker_of_this_process_writes(make: Any, tmp_path: Path) -> None:
    tracker = make("A", "a")
    tracker.log_metrics({"loss": 0.0}, step=0)
    with opened(tmp_path, "A") as ours:
        (tmp_path / "B").mkdir()
        ours.export(tmp_path / "B" / "catalog.db")
        other = make("B", "a")
        for step in range(1, 1001, 2):
            tracker.log_metrics({"loss": float(step)}, step=step)
            other.log_metrics({"loss": float(step + 1)}, step=step + 1)
            if step % 100 == 1:
                ours.merge(tmp_path / "B" / "catalog.db")
        ours.merge(tmp_path / "B" / "catalog.db")
        assert [(p.step, p.value) for p in ours.history("loss", "a")] == [(s, float(s)) for s in range(1001)]


def test_an_older_version(make: Any, tmp_path: Path) -> None:
    """It is upgraded in the copy; the file itself stays as it is."""
    make("A", "new")
    old = tmp_path / "old.db"
    old.write_bytes(gzip.decompress((Path(__file__).parents[1] / "golden" / "version-1.catalog.gz").read_bytes()))
    before = old.read_bytes()
    with opened(tmp_path, "A") as ours:
        assert {outcome for _, outcome in outcomes(ours.merge(old))} == {"added"}
        assert ours.experiment("done").status == "completed"
        assert len(ours.history("val/iou", "killed")) == 20
        assert {outcome for _, outcome in outcomes(ours.merge(old))} == {"unchanged"}
    assert old.read_bytes() == before


def hostile(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA journal_mode = DELETE")
    return path


_DAMAGED = {
    "a trigger": ["CREATE TRIGGER spy AFTER INSERT ON experiment BEGIN SELECT 1; END"],
    "a changed view": ["DROP VIEW experiments", "CREATE VIEW experiments AS SELECT 1 AS experiment_id"],
    "a broken reference": ["PRAGMA foreign_keys = OFF", "UPDATE attempt SET config = 4711"],
    "a point of no series": ["INSERT INTO metric_point VALUES (99, 1, 1, 0.5, 0)"],
    "no JSON": ["UPDATE config SET summary = '{'"],
    "a blob of a param": ["UPDATE param SET value = x'ff'"],
    "no UTF-8": ["UPDATE experiment SET experiment_name = CAST(x'ff41' AS TEXT)"],
    "an unknown status": ["UPDATE experiment SET status = 'nice'", "UPDATE status_change SET status = 'nice'"],
}


@pytest.mark.parametrize("kind", _DAMAGED)
def test_a_hostile_source(make: Any, tmp_path: Path, kind: str) -> None:
    fill(make("B", "b", config={"x": "y"}))
    make("A", "a")
    with opened(tmp_path, "B") as catalog:
        catalog.export(tmp_path / "hostile.db")
    path = hostile(tmp_path / "hostile.db", *_DAMAGED[kind])
    before, bytes_before = tables(tmp_path / "A" / "catalog.db"), path.read_bytes()
    with opened(tmp_path, "A") as ours, pytest.raises(CatalogError, match=r"hostile\.db"):
        ours.merge(path)
    assert tables(tmp_path / "A" / "catalog.db") == before
    assert path.read_bytes() == bytes_before


def test_sources_that_are_refused(make: Any, tmp_path: Path) -> None:
    make("A", "a")
    with opened(tmp_path, "A") as ours:
        before = tables(ours.path)
        ours.export(tmp_path / "newer.db")
        hostile(tmp_path / "newer.db", "PRAGMA user_version = 99")
        with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
            connection.execute("CREATE TABLE t (x)")
        (tmp_path / "text.db").write_text("no database at all, " * 100)
        ours.export(tmp_path / "cut.db")
        whole = (tmp_path / "cut.db").read_bytes()
        (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
        os.link(ours.path, tmp_path / "link.db")
        for source, error, match in (
            (ours, InvalidValueError, "is this catalog itself"),
            (ours.path, InvalidValueError, "is this catalog itself"),
            (tmp_path / "link.db", InvalidValueError, "is this catalog itself"),
            (tmp_path / "nowhere.db", CatalogError, "there is no catalog at"),
            (tmp_path, CatalogError, "is a folder"),
            (tmp_path / "newer.db", NewerCatalogError, "schema version 99"),
            (tmp_path / "foreign.db", ForeignCatalogError, "another program"),
            (tmp_path / "text.db", ForeignCatalogError, "not an SQLite database"),
            (tmp_path / "cut.db", DamagedCatalogError, "cut.db"),
            (3, InvalidTypeError, "3 is a int"),
        ):
            with pytest.raises(error, match=match):
                ours.merge(source)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match="suffix '' is empty"):
            ours.merge(tmp_path / "cut.db", suffix="")
        (tmp_path / "link.db").unlink()
        assert tables(ours.path) == before
        assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


# Export


def test_an_export_is_a_catalog_of_its_own(make: Any, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        fill(make("A", name, config={"for": name}))
    live = make("A", "live")
    live.start_experiment()
    live.log_metrics({"own": 1.0}, step=0)
    target = tmp_path / "part.db"
    seen: list[tuple[int, int]] = []
    with opened(tmp_path, "A") as ours:
        rows = ours.export(target, ["live", "a"], progress=lambda *numbers: seen.append(numbers))
        assert outcomes(rows) == [("live", "added"), ("a", "added")]
        assert seen[0] == (0, 2)
        assert seen[-1] == (2, 2)
        with Catalog(target) as part:
            assert part.check() == []
            theirs = content(part)
            for view, rows_ in content(ours).items():
                expected = [row for row in rows_ if "'a'" in row or "'live'" in row]
                assert view in ("metric_names", "catalog_info", "artifact_overview") or theirs[view] == expected, view
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert sorted(p.name for p in tmp_path.iterdir() if "part" in p.name and p.suffix == ".db") == ["part.db"]
        with pytest.raises(CatalogWriteError, match="exists already"):
            ours.export(target)
        with pytest.raises(CatalogWriteError, match="is not a folder"):
            ours.export(tmp_path / "nowhere" / "x.db")
        with pytest.raises(NotFoundError, match="did you mean"):
            ours.export(tmp_path / "x.db", ["a", "bb"])
        for nothing in ({"ids": []}, {"status": "aborted"}):
            with pytest.raises(InvalidValueError, match="no experiment"):
                ours.export(tmp_path / "x.db", **nothing)
        with pytest.raises(InvalidValueError, match="both"):
            ours.export(tmp_path / "x.db", "a", status="completed")
        assert not (tmp_path / "x.db").exists()
        assert outcomes(ours.export(tmp_path / "running.db", status="running")) == [("live", "added")]
        # Training goes on in the part as in the whole.
        with make("A", "a") as resumed:
            resumed.log_metrics({"loss": 0.01}, step=9)
        with Catalog(target) as part:
            assert outcomes(part.merge(ours))[0] == ("a", "extended")


def test_an_export_that_fails_leaves_nothing(make: Any, tmp_path: Path) -> None:
    make("A", "a")

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with opened(tmp_path, "A") as ours:
        before = sorted(tmp_path.iterdir())
        with pytest.raises(KeyboardInterrupt):
            ours.export(tmp_path / "x.db", progress=stop)
        assert sorted(tmp_path.iterdir()) == before
        ours.export(tmp_path / "x.db")
        with Catalog(tmp_path / "x.db") as part:
            assert [row.experiment_id for row in part.experiments()] == ["a"]
