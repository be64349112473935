"""The questions of `Catalog`: what each filter means, and what is said when one cannot be meant."""

import contextlib
import math
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackseg_tracker import (
    Catalog,
    ExperimentTracker,
    InvalidTypeError,
    InvalidValueError,
    NotFoundError,
    TrackerError,
    metric,
    param,
)

Maker = Callable[..., ExperimentTracker]


@pytest.fixture
def catalog(new_tracker: Maker, catalog_path: Path) -> Iterator[Catalog]:
    """Three experiments: completed, failed, running."""
    for number, (status, depth, iou) in enumerate([("completed", 2, 0.6), ("failed", 4, 0.8), ("running", None, 0.7)]):
        config = {"model": {"encoder": "resnet"}} | ({"depth": depth} if depth else {})
        tracker = new_tracker(f"unet-{number}", experiment_name="unet", project="roads", config=config)
        tracker.start_experiment()
        tracker.add_tags(["baseline", f"fold-{number}"])
        tracker.log_metrics({"val/iou": iou, "loss": 1 - iou})
        tracker.add_artifact("best", "checkpoint", f"{number}/best.pth", tags=["best"])
        if status == "completed":
            tracker.complete_experiment()
        elif status == "failed":
            tracker.fail_experiment("CUDA out of memory")
    with Catalog(catalog_path) as catalog:
        yield catalog


def ids(rows: Any) -> str:
    """Give the ids' last characters: "02" is unet-0 and unet-2."""
    return "".join(row.experiment_id[-1] for row in rows)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"params": {"depth": 2}}, "0"),
        ({"params": {"depth": 2.0, "model.encoder": "resnet"}}, "0"),
        ({"params": {"depth": [2, 4]}}, "01"),
        ({"params": {"depth": "2"}}, ""),
        ({"where": param("depth") > 2}, "1"),
        ({"where": param("depth").is_missing()}, "2"),
        ({"where": [param("depth").between(1, 9), metric("val/iou").best >= 0.7]}, "1"),
        ({"where": (param("depth") == 2) | (metric("loss").last < 0.25)}, "01"),
        ({"where": ~(param("depth") == 2)}, "12"),
        ({"where": param("depth") != 2}, "1"),
        ({"where": param("model.encoder").matches("res*")}, "012"),
        ({"any_tags": ["fold-0", "fold-2"]}, "02"),
        ({"tags": "baseline", "no_tags": "fold-0"}, "12"),
        ({"text": "cuda OUT"}, "1"),
        ({"text": "fold-2"}, "2"),
        ({"text": "%"}, ""),
        ({"hostname": "*"}, "012"),
        ({"hostname": "no-such-host"}, ""),
        ({"status": []}, ""),
        ({"tags": []}, "012"),
        ({"any_tags": []}, ""),
        ({"order_by": "-val/iou"}, "120"),
        ({"order_by": "loss"}, "120"),
        ({"order_by": "depth"}, "012"),
        ({"order_by": "-depth"}, "102"),
        ({"order_by": ["project", metric("val/iou").descending], "limit": 1, "offset": 1}, "2"),
        ({"order_by": "-experiment_id"}, "210"),
        ({"order_by": param("depth").descending}, "102"),
        ({"order_by": "completed_at"}, "012"),
        ({"order_by": "artifact_count"}, "012"),
    ],
)
def test_experiments(catalog: Catalog, filters: dict[str, Any], found: str) -> None:
    assert ids(catalog.experiments(**filters)) == found
    filters = {name: value for name, value in filters.items() if name not in ("order_by", "limit", "offset")}
    metrics = [(row.experiment_id, row.best_metrics["val/iou"]) for row in catalog.experiments(**filters)]
    assert [(row.experiment_id, row.value) for row in catalog.best("val/iou", **filters)] == sorted(
        metrics, key=lambda pair: -pair[1]
    )
    experiment_tags = filters.pop("tags", None)
    if not filters.keys() & {"any_tags", "no_tags"}:
        found_artifacts = catalog.artifacts("checkpoint", "best", experiment_tags=experiment_tags, **filters)
        assert [row.experiment_id for row in found_artifacts] == [one for one, _ in metrics]


def test_times(catalog: Catalog) -> None:
    created = [datetime.fromisoformat(row.created_at) for row in catalog.experiments()]
    ended = datetime.fromisoformat(catalog.experiment("unet-1").completed_at or "")
    assert ids(catalog.experiments(created_since=created[1])) == "12"
    assert ids(catalog.experiments(created_until=created[1])) == "01"
    assert ids(catalog.experiments(created_since=created[1] + timedelta(microseconds=1))) == "2"
    assert ids(catalog.experiments(created_since=created[1].astimezone().replace(tzinfo=None))) == "12"  # local time
    assert ids(catalog.experiments(created_since=created[1].isoformat().replace("+00:00", "Z"))) == "12"
    assert ids(catalog.experiments(completed_since="2020-01-01")) == "01"
    assert ids(catalog.experiments(completed_since=ended)) == "1"
    assert ids(catalog.experiments(completed_until=ended)) == "01"
    for earliest in (date.min, datetime.min, datetime.min.replace(tzinfo=UTC)):
        assert ids(catalog.experiments(created_since=earliest)) == "012"
        assert ids(catalog.experiments(created_until=earliest)) == ""
    assert ids(catalog.experiments(created_until=date.max)) == "012"
    day = created[0].astimezone().date()
    if created[2].astimezone().date() == day:  # not over midnight
        assert ids(catalog.experiments(created_since=day, created_until=day)) == "012"
        assert ids(catalog.experiments(created_until=str(day))) == "012"
        assert ids(catalog.experiments(created_until=day - timedelta(days=1))) == ""
        assert ids(catalog.experiments(created_since=day + timedelta(days=1))) == ""


def test_a_commit_by_its_first_digits(catalog: Catalog, catalog_path: Path) -> None:
    with closing(sqlite3.connect(catalog_path)) as connection, connection:
        connection.execute("UPDATE environment SET git_commit = 'abc123def'")
    for commit, found in (("abc123def", "012"), ("ABC1", "012"), ("abc2", ""), (["f", "a"], "012")):
        assert ids(catalog.experiments(git_commit=commit)) == found


def test_what_is_on_a_row(catalog: Catalog) -> None:
    row = catalog.experiment("unet-1")
    assert row.params == {"depth": 4, "model.encoder": "resnet"}
    assert row.tags == ("baseline", "fold-1")
    assert row.artifact_count == 1
    assert row.best_metrics == pytest.approx({"val/iou": 0.8, "loss": 0.2})
    assert row == catalog.experiments(experiment_id="unet-1")[0]
    assert row == pickle.loads(pickle.dumps(row))
    assert row == pickle.loads(pickle.dumps(catalog.experiments()[1]))
    with pytest.raises(TypeError):
        row.params["depth"] = 5  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"path": "1/best.pth"}, "1/best.pth"),
        ({"path": "1/*"}, "1/best.pth"),
        ({"path": ["0/best.pth", "nowhere"]}, "0/best.pth"),
        ({"path": str(Path("*", "2", "best.pth"))}, "2/best.pth"),
        ({"status": "failed", "digest_state": "missing"}, "1/best.pth"),
        ({"experiment_tags": "fold-2"}, "2/best.pth"),
        ({"where": metric("val/iou") > 0.75}, "1/best.pth"),
        ({"offset": 2}, "2/best.pth"),
    ],
)
def test_artifacts(catalog: Catalog, options: dict[str, Any], path: str) -> None:
    assert [row.path for row in catalog.artifacts(**options)] == [path]


# What cannot be meant


@pytest.mark.parametrize(
    ("filters", "error", "said"),
    [
        ({"statsu": "failed"}, InvalidTypeError, "'statsu'; did you mean 'status'"),
        ({"order": "loss"}, InvalidTypeError, "'order'; did you mean 'order_by'"),
        ({"status": "complete"}, InvalidValueError, "'complete' is unknown; did you mean 'completed'"),
        ({"params": {"dept": 2}}, NotFoundError, "'dept'.*'depth'"),
        ({"where": param("model.encodr") == "x"}, NotFoundError, "'model.encodr'.*'model.encoder'"),
        ({"where": ~(metric("val/iuo") > 0.5)}, NotFoundError, "'val/iuo'.*'val/iou'"),
        ({"order_by": "val/iuo"}, NotFoundError, "'val/iuo'.*'val/iou'"),
        ({"order_by": "-statsu"}, NotFoundError, "'statsu'.*'status'"),
        ({"order_by": metric("val/iuo")}, NotFoundError, "'val/iuo'.*'val/iou'"),
        ({"order_by": ""}, InvalidValueError, "''"),
        ({"order_by": 5}, InvalidTypeError, "5 is a int"),
        ({"order_by": param("depth") > 3}, InvalidTypeError, "Comparison"),
        ({"project": 5}, InvalidTypeError, "5 is a int"),
        ({"name": b"unet"}, InvalidTypeError, "is a int"),
        ({"experiment_id": [None]}, InvalidTypeError, "None is a NoneType"),
        ({"tags": {"a": 1, 2: 3}}, InvalidTypeError, "2 is a int"),
        ({"any_tags": 5}, InvalidTypeError, "5 is a int"),
        ({"no_tags": 5}, InvalidTypeError, "5 is a int"),
        ({"text": 5}, InvalidTypeError, "5 is a int"),
        ({"text": ["a"]}, InvalidTypeError, "list"),
        ({"params": [("depth", 2)]}, InvalidTypeError, "list"),
        ({"params": {5: 2}}, InvalidTypeError, "5 is a int"),
        ({"params": {"depth": object()}}, InvalidTypeError, "object"),
        ({"params": {"depth": math.nan}}, InvalidValueError, "nan"),
        ({"params": {"depth": {"a": 1}}}, InvalidTypeError, "dict"),
        ({"where": "depth > 3"}, InvalidTypeError, "'depth > 3' is a str"),
        ({"where": [True]}, InvalidTypeError, "True is a bool"),
        ({"where": param("depth")}, InvalidTypeError, "ParamField"),
        ({"created_since": "yesterday"}, InvalidValueError, "'yesterday'"),
        ({"created_until": 5}, InvalidTypeError, "5 is a int"),
        ({"completed_since": ""}, InvalidValueError, "''"),
        ({"git_commit": "main"}, InvalidValueError, "'main'"),
        ({"git_commit": ""}, InvalidValueError, "''"),
        ({"limit": -1}, InvalidValueError, "-1"),
        ({"offset": 0.5}, InvalidTypeError, "0.5"),
        ({"name": "\ud800"}, InvalidValueError, "surrogate"),
        ({"name": "a\0*"}, InvalidValueError, "NUL"),
        ({"name": "*" * 20_000}, InvalidValueError, "20000"),
        ({"tags": ["x"] * 1_000}, InvalidValueError, "500"),
        ({"experiment_id": ["x"] * 50_000}, InvalidValueError, "50000"),
    ],
)
def test_a_filter_that_cannot_be_meant(
    catalog: Catalog, filters: dict[str, Any], error: type[TrackerError], said: str
) -> None:
    with pytest.raises(error, match=said):
        catalog.experiments(**filters)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: bool(param("depth") > 1), InvalidTypeError, "between"),
        (lambda: 1 < param("depth") < 5, InvalidTypeError, "between"),
        (lambda: param("depth") > None, InvalidTypeError, "None"),
        (lambda: param("depth") > math.nan, InvalidValueError, "nan"),
        (lambda: param("depth").between(1, "x"), InvalidTypeError, "'x'"),
        (lambda: param("depth").one_of("abc"), InvalidTypeError, "'abc' is a str"),
        (lambda: param("depth").one_of(5), InvalidTypeError, "5 is a int"),  # type: ignore[arg-type]
        (lambda: param("depth").matches(5), InvalidTypeError, "5 is a int"),  # type: ignore[arg-type]
        (lambda: param(5), InvalidTypeError, "5 is a int"),  # type: ignore[arg-type]
        (lambda: metric(""), InvalidValueError, "empty"),
        (lambda: metric(5), InvalidTypeError, "5 is a int"),  # type: ignore[arg-type]
        (lambda: metric("iou") > "high", InvalidTypeError, "'high' is a str"),
        (lambda: metric("iou") == True, InvalidTypeError, "bool"),  # noqa: E712
        (lambda: metric("iou").last < [1.0], InvalidTypeError, "list"),
        (lambda: (param("a") == 1) & True, InvalidTypeError, "True is a bool"),  # type: ignore[operator]
    ],
)
def test_a_condition_that_cannot_be_meant(make: Callable[[], Any], error: type[TrackerError], said: str) -> None:
    with pytest.raises(error, match=said):
        make()


def test_conditions_that_nest_too_deep(catalog: Catalog) -> None:
    condition: Any = param("depth") == 2
    for _ in range(30):
        condition = ~condition
    with pytest.raises(InvalidValueError, match="deep"):
        catalog.experiments(where=condition)
    flat: Any = param("depth") == 2
    for _ in range(400):
        flat = flat | (param("depth") == 4)
    assert ids(catalog.experiments(where=flat)) == "01"


def test_a_name_that_is_a_metric_and_a_param(new_tracker: Maker, catalog_path: Path) -> None:
    new_tracker(config={"lr": 0.1}).log_metrics({"lr": 0.2})
    with Catalog(catalog_path) as catalog:
        with pytest.raises(InvalidValueError, match="metric and a param"):
            catalog.experiments(order_by="lr")
        assert len(catalog.experiments(order_by=param("lr"))) == 1


def test_numpy_numbers(catalog: Catalog) -> None:
    numpy = pytest.importorskip("numpy")
    assert ids(catalog.experiments(params={"depth": numpy.int64(2)})) == "0"
    assert ids(catalog.experiments(where=metric("val/iou") > numpy.float64(0.75))) == "1"
    with pytest.raises(InvalidTypeError, match="ndarray"):
        catalog.experiments(params={"depth": numpy.array([1, 2])})


HOSTILE = st.text(max_size=20) | st.sampled_from(
    ["'", '"', "'; DROP TABLE experiment; --", "\0", "*", "?", "[", "]", "%", "_", "\\", "x" * 9_999, "*" * 99]
)
FILTERS = [
    *("project", "status", "name", "experiment_id", "group", "tags", "any_tags", "no_tags", "text", "hostname"),
    *("git_commit", "created_since", "created_until", "completed_since", "completed_until"),
]


@given(
    filters=st.dictionaries(st.sampled_from(FILTERS), HOSTILE | st.lists(HOSTILE, max_size=3), max_size=2),
    more=st.one_of(
        st.fixed_dictionaries({"params": st.dictionaries(HOSTILE, HOSTILE, min_size=1, max_size=1)}),
        HOSTILE.map(lambda text: {"where": param("depth").matches(text) | (param("depth") == text)}),
        st.just({}),
    ),
    order_by=HOSTILE,
)
@settings(max_examples=60)
def test_hostile_strings_are_harmless(
    hostile_catalog: Catalog, filters: dict[str, Any], more: dict[str, Any], order_by: str
) -> None:
    def asked(question: Callable[..., Any], **options: Any) -> None:
        with contextlib.suppress(TrackerError):
            assert len(question(**options)) <= 1

    asked(hostile_catalog.experiments, **filters, **more)
    asked(hostile_catalog.experiments, order_by=order_by)
    asked(hostile_catalog.best, metric="iou", **filters, **more)
    asked(hostile_catalog.artifacts, **filters, **more)
    assert len(hostile_catalog.experiments()) == 1


@pytest.fixture(scope="module")
def hostile_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    folder = tmp_path_factory.mktemp("hostile")
    with ExperimentTracker(folder / "a", "a", config={"depth": "x"}, catalog=folder / "c" / "catalog.db") as tracker:
        tracker.log_metrics({"iou": 0.5})
        tracker.add_artifact("best", "checkpoint", "best.pth")
    with Catalog(folder / "c" / "catalog.db") as catalog:
        yield catalog
        assert catalog.check() == []


# Other questions


def test_a_leaderboard(catalog: Catalog) -> None:
    board = catalog.leaderboard(["val/iou", "loss"])
    assert [(row.rank, row.experiment_id, row.status) for row in board] == [
        (1, "unet-1", "failed"),
        (2, "unet-2", "running"),
        (3, "unet-0", "completed"),
    ]
    assert board[0].values == pytest.approx({"val/iou": 0.8, "loss": 0.2})
    assert ids(catalog.leaderboard("loss", limit=1)) == "1"
    assert ids(catalog.leaderboard("val/iou", status="completed", params={"depth": 2})) == "0"
    with pytest.raises(NotFoundError, match=r"'los'.*'loss'"):
        catalog.leaderboard(["val/iou", "los"])
    with pytest.raises(InvalidValueError, match="empty"):
        catalog.leaderboard([])


def test_a_leaderboard_with_ties_and_gaps(new_tracker: Maker, catalog_path: Path) -> None:
    for name, metrics in (("a", {"iou": 0.5}), ("b", {"iou": 0.7, "f1": 0.1}), ("c", {"iou": 0.7}), ("d", {"f1": 0.9})):
        new_tracker(name).log_metrics(metrics)
    new_tracker("e").update_training_progress(1, 2, {"iou": 0.5})
    with Catalog(catalog_path) as catalog:
        assert [(row.rank, row.experiment_id, row.values) for row in catalog.leaderboard(["iou", "f1"])] == [
            (1, "b", {"iou": 0.7, "f1": 0.1}),
            (1, "c", {"iou": 0.7, "f1": None}),
            (3, "a", {"iou": 0.5, "f1": None}),
            (3, "e", {"iou": 0.5, "f1": None}),
        ]


def test_whence_a_file_came(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    made, moved = tmp_path / "best.pth", tmp_path / "elsewhere.pth"
    made.write_bytes(b"weights")
    for name in ("first", "second"):
        new_tracker(name, experiment_name="unet").add_artifact("best", "checkpoint", made)
    made.rename(moved)
    folder = tmp_path / "predictions"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"pixels")
    new_tracker("third").add_artifact("predictions", "visualization", folder)
    with Catalog(catalog_path) as catalog:
        found = catalog.whence(moved)
        assert [(row.experiment_id, row.artifact_id, row.match) for row in found] == [
            ("second", "best", "content"),
            ("first", "best", "content"),
        ]
        digest = found[0].sha256
        for given_digest in (digest, digest.upper(), f"sha256:{digest}", digest[:6]):
            assert catalog.whence(given_digest) == found
        assert ids(catalog.whence(str(folder))) == "d"

        moved.write_bytes(b"other weights")
        assert len(catalog.whence(moved)) == 0
        assert {row.match for row in catalog.whence(made)} == {"path"}  # gone, but recorded there
        (folder / "2.png").write_bytes(b"pixels")
        [row] = catalog.whence(folder)
        assert (row.experiment_id, row.match) == ("third", "path")

        assert len(catalog.whence("0123456789abcdef")) == 0
        assert len(catalog.whence(tmp_path / "nowhere")) == 0
        assert len(catalog.whence("a\0b")) == 0
        with pytest.raises(InvalidTypeError, match="5 is a int"):
            catalog.whence(5)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match="''"):
            catalog.whence("")


def test_whence_never_opens_the_catalog(catalog: Catalog) -> None:
    for suffix in ("", "-wal"):
        with pytest.raises(InvalidValueError, match="the catalog itself"):
            catalog.whence(f"{catalog.path}{suffix}")


def test_digits_that_begin_several_digests(new_tracker: Maker, catalog_path: Path, tmp_path: Path) -> None:
    tracker = new_tracker()
    for number in range(2):
        (tmp_path / f"{number}").write_bytes(bytes([number]))
        tracker.add_artifact(f"{number}", "checkpoint", tmp_path / f"{number}")
    with closing(sqlite3.connect(catalog_path)) as connection, connection:
        for number in range(2):
            connection.execute("UPDATE artifact SET sha256 = ? WHERE artifact_id = ?", (f"abcd{number}", f"{number}"))
    with Catalog(catalog_path) as catalog:
        with pytest.raises(InvalidValueError, match="abcd0 and abcd1"):
            catalog.whence("abcd")
        assert [row.artifact_id for row in catalog.whence("abcd1")] == ["1"]


def test_status_changes_and_attempts(catalog: Catalog) -> None:
    changes = catalog.status_changes()
    assert [(row.experiment_id[-1], row.status) for row in changes] == [
        *[("0", "created"), ("0", "running"), ("0", "completed"), ("1", "created"), ("1", "running"), ("1", "failed")],
        *[("2", "created"), ("2", "running")],
    ]
    assert changes[5].message == "CUDA out of memory"
    assert changes[5].attempt == 1
    assert changes[5].hostname == catalog.attempts()[0].hostname
    assert ids(catalog.status_changes(status="failed")) == "111"
    assert ids(catalog.status_changes(limit=2, offset=2)) == "01"
    assert ids(catalog.attempts()) == "012"
    assert ids(catalog.attempts(params={"depth": [2, 4]}, limit=1, offset=1)) == "1"
    [attempt] = catalog.attempts(experiment_id="unet-2")
    assert (attempt.attempt, attempt.config_changes, attempt.pid > 0) == (1, {}, True)


@pytest.mark.parametrize("question", ["leaderboard", "status_changes", "attempts", "best"])
def test_all_questions_refuse_what_cannot_be_meant(catalog: Catalog, question: str) -> None:
    first = {"leaderboard": ["val/iou"], "best": ["val/iou"]}.get(question, [])
    for filters, error in (
        ({"statsu": "x"}, InvalidTypeError),
        ({"status": "x"}, InvalidValueError),
        ({"limit": -1}, InvalidValueError),
    ):
        with pytest.raises(error):
            getattr(catalog, question)(*first, **filters)
