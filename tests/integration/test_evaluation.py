import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import (
    Catalog,
    ExperimentTracker,
    InvalidTypeError,
    InvalidValueError,
    NotFoundError,
)
from crackseg_tracker.statistics import paired, summarize, welch

Maker = Callable[..., ExperimentTracker]
RESNET34 = [0.70, 0.72, 0.71, 0.69, 0.74, 0.70]
RESNET50 = [0.73, 0.74, 0.75, 0.70, 0.78, 0.71]
IDS = [f"resnet34-{seed}" for seed in range(6)]


@pytest.fixture
def catalog(new_tracker: Maker, catalog_path: Path) -> Iterator[Catalog]:
    """Two encoders with six seeds each, and what must not count in silence."""
    for encoder, values in (("resnet34", RESNET34), ("resnet50", RESNET50)):
        for seed, iou in enumerate(values):
            name = f"{encoder}-{seed}"
            config = {"model": {"encoder": encoder}, "training": {"seed": seed, "output_dir": name}}
            with new_tracker(name, config=config) as tracker:
                tracker.log_metrics({"iou": iou, "loss": 1 - iou}, step=0)
                tracker.log_metrics({"iou": iou - 0.1}, step=1)
    odd = {"model": {"encoder": "resnet50"}, "training": {"seed": 99}}
    with new_tracker("nan", config=odd) as tracker:
        tracker.log_metrics({"iou": math.nan}, step=0)
    with new_tracker("inf", config=odd) as tracker:
        tracker.log_metrics({"iou": math.inf}, step=0)
    new_tracker("nothing", config=odd).complete_experiment()
    with new_tracker("reported", config=odd) as tracker:
        tracker.update_training_progress(1, 1, {"only reported": 0.5})
    failed = new_tracker("failed", config=odd)
    failed.log_metrics({"iou": 0.1}, step=0)
    failed.fail_experiment("broke")
    with Catalog(catalog_path) as catalog:
        yield catalog


# statistics


def test_statistics_by_a_param(catalog: Catalog) -> None:
    best, worse = catalog.statistics("iou", ["model.encoder"])
    assert (best.group, worse.group) == ({"model.encoder": "resnet50"}, {"model.encoder": "resnet34"})
    expected = summarize(RESNET34)
    assert worse[2:8] == expected[:6]
    assert (worse.low, worse.high, worse.interval) == expected.interval
    assert (worse.missing, worse.non_finite, worse.unfinished) == (0, 0, 0)
    assert worse.experiments == tuple(IDS)
    assert (best.n, best.missing, best.non_finite, best.unfinished) == (6, 2, 2, 1)
    assert best.metric == "iou"


def test_statistics_over_all(catalog: Catalog) -> None:
    [row] = catalog.statistics("iou")
    assert row.group == {}
    assert row.n == 12
    assert row.mean == pytest.approx(sum(RESNET34 + RESNET50) / 12)


def test_statistics_without_the_seed(catalog: Catalog) -> None:
    for group_by in ("config-without:seed", "config-without:training.seed", "config-without: seed , training.*"):
        found = catalog.statistics("iou", group_by)
        assert [(row.group, row.n) for row in found] == [
            ({"model.encoder": "resnet50"}, 6),
            ({"model.encoder": "resnet34"}, 6),
        ]
    by_seed = catalog.statistics("iou", "config-without:encoder", status="completed")
    assert [(row.group["training.seed"], row.n) for row in by_seed if row.n] == [
        (seed, 2) for seed in sorted(range(6), key=lambda i: -(RESNET34[i] + RESNET50[i]))
    ]


def test_the_last_value(catalog: Catalog) -> None:
    [row] = catalog.statistics("iou", value="last", params={"model.encoder": "resnet34"})
    assert row.mean == pytest.approx(sum(RESNET34) / 6 - 0.1)
    [row] = catalog.statistics("iou", value="last", experiment_id=["nan", "inf", "nothing", "reported"])
    assert (row.n, row.mean, row.missing, row.non_finite) == (0, None, 2, 2)
    [row] = catalog.statistics("only reported", value="last", experiment_id="reported")
    assert (row.n, row.missing, row.non_finite) == (0, 1, 0)
    [row] = catalog.statistics("only reported", experiment_id="reported")
    assert (row.n, row.mean, row.sd, row.low) == (1, 0.5, None, None)


def test_a_metric_that_is_better_when_lower(catalog: Catalog) -> None:
    best, worse = catalog.statistics("loss", ["model.encoder"])
    assert best.group == {"model.encoder": "resnet50"}
    assert best.mean is not None
    assert worse.mean is not None
    assert best.mean < worse.mean
    assert catalog.statistics("loss", ["model.encoder"], mode="max")[0].group == worse.group


def test_a_status_that_is_asked_for_counts(catalog: Catalog) -> None:
    [row] = catalog.statistics("iou", status=["completed", "failed"], params={"model.encoder": "resnet50"})
    assert (row.n, row.min, row.unfinished) == (7, 0.1, 0)


def test_the_interval_is_the_same_every_time(new_tracker: Maker, catalog_path: Path) -> None:
    for seed in range(12):
        with new_tracker(f"e{seed}", config={"seed": seed}) as tracker:
            tracker.log_metrics({"iou": (seed * 7 % 12) / 12 + seed / 100}, step=0)
    with Catalog(catalog_path) as catalog:
        [one], [same], [other] = (catalog.statistics("iou", random_seed=seed) for seed in (3, 3, 4))
        [wider] = catalog.statistics("iou", confidence=0.99)
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)
    assert "2000 resamples" in one.interval
    assert None not in (one.low, one.high, wider.low, wider.high)
    assert wider.low < one.low < one.mean < one.high < wider.high


def test_a_group_without_the_param(new_tracker: Maker, catalog_path: Path) -> None:
    for i, config in enumerate([{"a": 1, "b": 1}, {"a": 1}, {"a": 1.0}, {"b": None}]):
        with new_tracker(f"e{i}", config=config) as tracker:
            tracker.log_metrics({"iou": 0.9 - i / 10}, step=0)
    with Catalog(catalog_path) as catalog:
        found = [(row.group, row.experiments) for row in catalog.statistics("iou", ["a", "b"])]
    assert found == [
        ({"a": 1, "b": 1}, ("e0",)),
        ({"a": 1, "b": None}, ("e1",)),
        ({"a": 1.0, "b": None}, ("e2",)),
        ({"a": None, "b": "null"}, ("e3",)),
    ]


def test_statistics_of_nothing(catalog: Catalog) -> None:
    [row] = catalog.statistics("iou", tags="nowhere")
    assert (row.n, row.mean, row.interval) == (0, None, "n too small: 0, an interval takes 3")
    assert list(catalog.statistics("iou", ["model.encoder"], tags="nowhere")) == []
    assert list(catalog.statistics("iou", "config-without:seed", tags="nowhere")) == []


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("iuo",), {}, NotFoundError, "no metric 'iuo' in .*did you mean 'iou'"),
        (("iou", ["model.encodr"]), {}, NotFoundError, "no param 'model.encodr'.*did you mean 'model.encoder'"),
        (("iou", "config-without:sede"), {}, NotFoundError, "no param 'sede' to group without"),
        (("iou", "config-without:"), {}, InvalidValueError, "empty"),
        (("iou", "config-without:*"), {}, InvalidValueError, "everything"),
        (("iou", 3), {}, InvalidTypeError, "group_by 3 is a int"),
        ((3,), {}, InvalidTypeError, "metric name 3"),
        (("iou",), {"value": "first"}, InvalidValueError, "'first' is unknown"),
        (("iou",), {"mode": "up"}, InvalidValueError, "mode 'up'"),
        (("iou",), {"confidence": 95}, InvalidValueError, "confidence 95 is not from 0.5"),
        (("iou",), {"confidence": "high"}, InvalidTypeError, "confidence 'high' is a str"),
        (("iou",), {"confidence": math.nan}, InvalidValueError, "confidence nan"),
        (("iou",), {"resamples": 3}, InvalidValueError, "resamples 3 is not from 100"),
        (("iou",), {"random_seed": -1}, InvalidValueError, "random_seed"),
        (("iou",), {"statsu": "failed"}, InvalidTypeError, "did you mean 'status'"),
    ],
)
def test_statistics_wrongly(
    catalog: Catalog, arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        catalog.statistics(*arguments, **options)


# tests

A, B = {"model.encoder": "resnet34"}, {"model.encoder": "resnet50"}


def test_two_groups(catalog: Catalog) -> None:
    [row] = catalog.test("iou", A, B)
    expected = welch(RESNET34, RESNET50)
    assert row.p_value == expected.p_value == row.p_holm
    assert (row.difference, row.low, row.high) == (expected.difference, expected.low, expected.high)
    assert (row.a, row.b, row.better) == ("model.encoder=resnet34", "model.encoder=resnet50", "b")
    assert (row.method, row.effect, row.reason) == ("Welch's t test", "Hedges' g", "")
    assert (row.n_a, row.n_b, row.missing, row.non_finite, row.unfinished, row.unpaired) == (6, 6, 2, 2, 1, 0)
    [mirrored] = catalog.test("iou", B, A)
    assert (mirrored.difference, mirrored.better) == (-row.difference, "a")


@pytest.mark.parametrize("paired_by", ["seed", "training.seed"])
def test_pairs(catalog: Catalog, paired_by: str) -> None:
    [row] = catalog.test("iou", A, B, paired_by=paired_by)
    expected = paired(RESNET34, RESNET50)
    assert (row.p_value, row.effect_size, row.n_a) == (expected.p_value, expected.effect_size, 6)
    assert row.method == "paired t test"
    [fewer] = catalog.test("iou", A, [f"resnet50-{seed}" for seed in range(5)], paired_by=paired_by)
    assert (fewer.n_a, fewer.n_b, fewer.unpaired) == (5, 5, 1)


def test_a_metric_that_is_better_lower(catalog: Catalog) -> None:
    [row] = catalog.test("loss", A, B)
    assert row.difference > 0
    assert row.better == "b"


@pytest.mark.parametrize("group", ["resnet34-*", IDS])
def test_groups_of_ids(catalog: Catalog, group: Any) -> None:
    [row], [same] = catalog.test("iou", group, B), catalog.test("iou", A, B)
    assert row.p_value == same.p_value
    assert row.a == ("resnet34-*" if isinstance(group, str) else ", ".join(IDS))


def test_several_pairs_are_adjusted(catalog: Catalog) -> None:
    rows = catalog.test("iou", A, [B, ["resnet50-0", "resnet50-1"], "resnet50-*"])
    assert [row.b for row in rows[:2]] == ["model.encoder=resnet50", "resnet50-0, resnet50-1"]
    assert rows[0].p_holm == pytest.approx(2 * rows[0].p_value)
    assert (rows[1].p_value, rows[1].p_holm) == (None, None)
    assert rows[1].reason == "n too small: 2 in a group, a p-value takes 5"
    assert rows[1].mean_b == pytest.approx(0.735)
    assert rows[2].p_holm == rows[0].p_holm


def test_filters_hold_for_both_groups(catalog: Catalog) -> None:
    [row] = catalog.test("iou", A, B, params={"training.seed": [0, 1, 2]}, least=3)
    assert (row.n_a, row.n_b) == (3, 3)
    assert row.p_value is not None


def test_without_scipy_only_p_values_are_missing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'crackseg_tracker\[statistics\]'"):
        catalog.test("iou", A, B)
    [row] = catalog.test("iou", A, B, least=7)
    assert row.reason == "n too small: 6 in a group, a p-value takes 7"
    assert row.effect_size is not None
    assert catalog.statistics("iou")[0].low is not None


def test_a_pairing_must_be_clear(new_tracker: Maker, catalog_path: Path) -> None:
    for name, config in (
        ("a1", {"g": "a", "data": {"seed": 1}, "model": {"seed": 1}}),
        ("b1", {"g": "b", "data": {"seed": 1}, "model": {"seed": 1}}),
        ("b2", {"g": "b", "data": {"seed": 1}, "model": {"seed": 2}}),
    ):
        with new_tracker(name, config=config) as tracker:
            tracker.log_metrics({"iou": 0.5}, step=0)
    with Catalog(catalog_path) as catalog:
        with pytest.raises(InvalidValueError, match=r"'seed' may mean 'data.seed' or 'model.seed' of a1"):
            catalog.test("iou", {"g": "a"}, {"g": "b"}, paired_by="seed")
        with pytest.raises(InvalidValueError, match="b1 and b2 of group 'g=b' are both 1"):
            catalog.test("iou", {"g": "a"}, {"g": "b"}, paired_by="data.seed")
        [row] = catalog.test("iou", {"g": "a"}, {"g": "b"}, paired_by="model.seed")
        assert (row.n_a, row.unpaired, row.reason[:11]) == (1, 1, "n too small")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("iuo", A, B), {}, NotFoundError, "did you mean 'iou'"),
        (("iou", A, A), {}, InvalidValueError, "resnet34-0, resnet34-1, resnet34-2 is in both groups"),
        (("iou", A, {"model.encodr": 1}), {}, NotFoundError, "did you mean 'model.encoder'"),
        (("iou", A, ["resnet50-7"]), {}, NotFoundError, "no experiment 'resnet50-7'"),
        (("iou", "resnet34-7", B), {}, NotFoundError, "no experiment 'resnet34-7'"),
        (("iou", {}, B), {}, InvalidValueError, "is empty"),
        (("iou", [], B), {}, InvalidValueError, "is empty"),
        (("iou", A, []), {}, InvalidValueError, "is empty"),
        (("iou", 3, B), {}, InvalidTypeError, "group 3 is a int"),
        (("iou", A, 3), {}, InvalidTypeError, "group 3 is a int"),
        (("iou", A, [B, 3]), {}, InvalidTypeError, "group 3 is a int"),
        (("iou", A, B), {"paired_by": "sede"}, NotFoundError, "no param 'sede' to pair by"),
        (("iou", A, B), {"paired_by": 3}, InvalidTypeError, "paired_by 3"),
        (("iou", A, B), {"least": 1}, InvalidValueError, "least 1 is not from 2"),
        (("iou", A, B), {"value": "worst"}, InvalidValueError, "'worst' is unknown"),
    ],
)
def test_test_wrongly(catalog: Catalog, arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        catalog.test(*arguments, **options)
