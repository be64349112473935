"""Any order of metric calls leaves in the catalog what a plain dictionary would hold."""

from __future__ import annotations

import itertools
import math
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.store import appending
from crackseg_tracker.store import metrics as store_metrics

NewTracker = Callable[..., ExperimentTracker]
Row = tuple[Any, ...]

MODES = {"loss": "min", "iou": "max", "lr": "max"}
FOLD_AFTER = 7
_numbers = itertools.count()

_settings = settings(
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", autouse=True)
def _folds_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "FOLD_AFTER", FOLD_AFTER)
        patch.setattr(store_metrics, "ROWS_OF_A_STATEMENT", 3)
        yield


def exact(value: float | None) -> bytes | None:
    """Give a float's very bits; NaN, however it comes, is None."""
    return None if value is None or math.isnan(value) else struct.pack("<d", value)


class Model:
    """What should be there."""

    def __init__(self) -> None:
        self.modes = dict(MODES)
        self.samples: dict[tuple[str, str, str, int], float] = {}
        self.points: dict[str, dict[int, float]] = {name: {} for name in MODES}
        self.reports: dict[str, list[tuple[int, float]]] = {name: [] for name in MODES}
        self.superseded: list[tuple[str, int, bytes | None]] = []

    def log(self, values: dict[str, float], step: int | None) -> None:
        if step is None:
            step = max(max(self.points[name], default=-1) for name in values) + 1
        for name, value in values.items():
            self.points[name][step] = value

    def log_samples(self, samples: dict[str, dict[str, float]], step: int | None, split: str) -> None:
        if step is None:
            step = max((key[3] for key in self.samples if key[0] == split), default=-1) + 1
        for sample, values in samples.items():
            for name, value in values.items():
                self.samples[split, sample, name, step] = value

    def rewind(self, step: int) -> None:
        for key in [key for key in self.samples if key[3] > step]:
            self.superseded.append((key[2], key[3], exact(self.samples.pop(key))))
        for name, points in self.points.items():
            for after in [s for s in points if s > step]:
                self.superseded.append((name, after, exact(points.pop(after))))
            self.reports[name] = [r for r in self.reports[name] if r[0] <= step]

    def extreme(self, name: str, mode: str) -> tuple[int, float] | None:
        """The finite extreme at the earliest step that has it."""
        finite = sorted((s, v) for s, v in self.points[name].items() if math.isfinite(v))
        pick = min if mode == "min" else max  # both give the first of equals
        return pick(finite, key=lambda point: point[1], default=None)

    def best(self, name: str, mode: str) -> Row | None:
        """Value, step and source: the better of last finite report and logged extreme; on a tie the latter."""
        logged = self.extreme(name, mode)
        reports = [r for r in self.reports[name] if math.isfinite(r[1])]
        if logged is None and not reports:
            return None
        if not reports:
            step, value = logged  # type: ignore[misc]
            return exact(value), step, "logged"
        # A training repeats its best at every epoch: the step is that of the first of the last equal reports.
        step, value = list(itertools.takewhile(lambda report: report[1] == reports[-1][1], reversed(reports)))[-1]
        if logged is not None and (logged[1] <= value if mode == "min" else logged[1] >= value):
            return exact(logged[1]), logged[0], "logged"
        return exact(value), step, "reported"

    def summary(self, name: str) -> Row | None:
        points = self.points[name]
        if not points:
            return None
        odd = [s for s, v in points.items() if not math.isfinite(v)]
        first, last = min(points), max(points)
        low, high = (self.extreme(name, mode) or (None, None) for mode in ("min", "max"))
        return (
            name,
            len(points),
            len(odd),
            min(odd, default=None),
            first,
            exact(points[first]),
            last,
            exact(points[last]),
            low[0],
            exact(low[1]),
            high[0],
            exact(high[1]),
        )


def compare(path: Path, experiment_id: str, model: Model) -> None:
    connection = sqlite3.connect(path)

    def ask(sql: str) -> list[Row]:
        return connection.execute(sql, (experiment_id,)).fetchall()

    try:
        curves = ask("SELECT metric, step, value FROM metrics WHERE experiment_id = ? ORDER BY metric, step")
        assert [(m, s, exact(v)) for m, s, v in curves] == [
            (name, step, exact(value)) for name in sorted(MODES) for step, value in sorted(model.points[name].items())
        ]
        summaries = ask(
            "SELECT metric, count, non_finite_count, first_non_finite_step, first_step, first_value, last_step, "
            "last_value, min_step, min_value, max_step, max_value FROM metric_summaries WHERE experiment_id = ? "
            "ORDER BY metric"
        )
        values = (5, 7, 9, 11)
        found = [tuple(exact(v) if i in values else v for i, v in enumerate(row)) for row in summaries]
        assert found == [row for name in sorted(MODES) if (row := model.summary(name))]
        bests = ask(
            "SELECT metric, mode, value, step, source FROM metric_bests WHERE experiment_id = ? ORDER BY metric"
        )
        assert [(m, mode, exact(v), s, source) for m, mode, v, s, source in bests] == [
            (name, mode, *best) for name, mode in sorted(model.modes.items()) if (best := model.best(name, mode))
        ]
        samples = ask("SELECT split, sample, metric, step, value FROM sample_metrics WHERE experiment_id = ?")
        assert {tuple(key): exact(value) for *key, value in samples} == {k: exact(v) for k, v in model.samples.items()}
        superseded = ask("SELECT metric, step, value FROM superseded_metrics WHERE experiment_id = ?")
        assert sorted(((m, s, exact(v)) for m, s, v in superseded), key=repr) == sorted(model.superseded, key=repr)
    finally:
        connection.close()
    with Catalog(path) as catalog:
        for name, mode in model.modes.items():
            rows = catalog.history(name, experiment_id)
            assert [(r.step, exact(r.value)) for r in rows] == [
                (step, exact(value)) for step, value in sorted(model.points[name].items())
            ]
            for asked in (None, "min", "max"):
                ranked = catalog.best(name, asked, limit=None)
                ours = [(exact(r.value), r.step, r.source) for r in ranked if r.experiment_id == experiment_id]
                best = model.best(name, asked or mode)
                assert ours == ([best] if best else []), f"best {name} {asked}"
        assert catalog.check() == []


_names = st.sampled_from(sorted(MODES))
_steps = st.one_of(st.integers(0, 12), st.integers(0, 12), st.sampled_from([2**31, 2**53 + 1, 2**62]))
# Few values, so that extremes tie, and all the odd ones.
_values = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
    st.floats(),
)
_calls = st.dictionaries(_names, _values, min_size=1)
_operation = st.one_of(
    st.tuples(st.just("log"), _calls, st.one_of(st.none(), _steps)),
    st.tuples(st.just("run"), _calls, st.integers(1, 12)),
    st.tuples(st.just("bulk"), _names, st.lists(st.tuples(_steps, _values), max_size=12)),
    st.tuples(st.just("arrays"), st.lists(_values, min_size=1, max_size=5), st.one_of(st.none(), _steps)),
    st.tuples(st.just("rewind"), _steps),
    st.tuples(st.just("report"), _calls, st.integers(0, 12)),
    st.tuples(
        st.just("samples"),
        st.dictionaries(st.sampled_from(["a.png", "b.png"]), _calls, min_size=1),
        st.one_of(st.none(), _steps),
        st.sampled_from(["val", "test"]),
    ),
    st.tuples(st.just("define"), _names, st.sampled_from(["max", "min"])),
    st.tuples(st.sampled_from(["complete", "fail", "start", "reopen", "close", "reconnect"])),
)


@settings(_settings, max_examples=120)
@given(
    operations=st.lists(_operation, min_size=1, max_size=25), durability=st.sampled_from(["normal", "full", "buffered"])
)
def test_the_catalog_agrees_with_a_dictionary(
    new_tracker: NewTracker, catalog_path: Path, operations: list[Any], durability: str
) -> None:
    experiment_id = f"unet-{next(_numbers)}"
    tracker = new_tracker(experiment_id, durability=durability)
    model = Model()
    for name, mode in MODES.items():
        tracker.define_metric(name, mode)  # type: ignore[arg-type]
    for operation, *given_ in operations:
        if operation == "log":
            values, step = given_
            tracker.log_metrics(values, step)
            model.log(values, step)
        elif operation == "run":
            values, count = given_
            for _ in range(count):
                tracker.log_metrics(values)
                model.log(values, None)
        elif operation == "bulk":
            name, points = given_
            tracker.log_history(name, [s for s, _ in points], [v for _, v in points])
            for step, value in points:
                model.log({name: value}, step)
        elif operation == "arrays":
            series, step = given_
            if durability == "buffered":
                continue  # test_metrics has it
            tracker.log_metrics({"loss": series, "lr": series[::-1]}, step)
            for one, other in zip(series, series[::-1], strict=True):
                model.log({"loss": one, "lr": other}, step)
                step = None if step is None else step + 1
        elif operation == "rewind":
            tracker.rewind(*given_)
            model.rewind(*given_)
        elif operation == "samples":
            tracker.log_samples(*given_)
            model.log_samples(*given_)
        elif operation == "define":
            tracker.define_metric(*given_)
            model.modes[given_[0]] = given_[1]
        elif operation == "report":
            values, epoch = given_
            tracker.update_training_progress(epoch, 12, values)
            for name, value in values.items():
                model.reports[name].append((epoch, value))
        elif operation == "complete":
            tracker.complete_experiment()
        elif operation == "fail":
            tracker.fail_experiment("on purpose")
        elif operation == "start":
            tracker.start_experiment()
        elif operation == "close":
            tracker.close()
        elif operation == "reopen":
            tracker.save()
            tracker = new_tracker(experiment_id, durability=durability)
        elif operation == "reconnect":
            # As another process would: another token, nothing known about the series.
            tracker.save()
            tracker._database.close()
    tracker.save()
    compare(catalog_path, experiment_id, model)
    tracker.complete_experiment()
    compare(catalog_path, experiment_id, model)


@settings(_settings, max_examples=60)
@given(values=st.lists(st.floats(), min_size=1, max_size=40))
def test_every_float_comes_back_bit_for_bit(new_tracker: NewTracker, catalog_path: Path, values: list[float]) -> None:
    """Promise 17: on every path that a value can take."""
    experiment_id = f"floats-{next(_numbers)}"
    tracker = new_tracker(experiment_id)
    for value in values:
        tracker.log_metrics({"single": value})
    tracker.log_history("bulk", range(len(values)), values)
    for step, value in reversed(list(enumerate(values))):
        tracker.log_metrics({"backwards": value}, step)
    tracker.log_samples({f"{n:03}": {"sample": value} for n, value in enumerate(values)})
    tracker.update_training_progress(1, 1, {"report": values[-1]})
    tracker.log_metrics({"superseded": values[0]}, step=100)
    tracker.rewind(99)
    expected = [exact(value) for value in values]
    with Catalog(catalog_path) as catalog:
        for name in ("single", "bulk", "backwards"):
            assert [exact(r.value) for r in catalog.history(name, experiment_id)] == expected
        for view, order in (("sample_metrics", "sample"), ("metric_reports", "step"), ("superseded_metrics", "step")):
            rows = catalog.sql(f"SELECT value FROM {view} WHERE experiment_id = ? ORDER BY {order}", [experiment_id])
            wanted = {"sample_metrics": expected, "metric_reports": expected[-1:]}.get(view, expected[:1])
            assert [exact(row[0]) for row in rows] == wanted, view


def test_folds_happen_here(new_tracker: NewTracker, catalog_path: Path) -> None:
    tracker = new_tracker()
    connection = sqlite3.connect(catalog_path)
    recent = []
    for step in range(40):
        tracker.log_metrics({"x": 0.1, "y": 0.2}, step=step)
        recent += connection.execute("SELECT count(*) FROM metric_recent").fetchone()
    connection.close()
    assert recent[:9] == [0, 2, 4, 6, 0, 2, 4, 6, 0]
