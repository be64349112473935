import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crackseg_tracker import InvalidTypeError, InvalidValueError
from crackseg_tracker.config import capture
from crackseg_tracker.identity import ESCAPED_IN_NAMES, IDENTITY_IGNORES, checked_patterns, identity_of, pattern_of
from crackseg_tracker.redaction import Redactor

CONFIG: dict[str, Any] = {"model": {"encoder": "resnet34", "layers": [64, 32]}, "training": {"lr": 0.1, "seed": 1}}


def identity(config: dict[str, Any], *ignores: str) -> str:
    captured = capture(config, Redactor(), ignores or IDENTITY_IGNORES)
    assert captured.identity_sha256 == identity_of(captured.text, ignores or IDENTITY_IGNORES)
    return captured.identity_sha256


@pytest.mark.parametrize(
    "other",
    [
        {**CONFIG, "training": {"seed": 2, "lr": 0.1}},
        {**CONFIG, "training": {"lr": 0.1}},
        {**CONFIG, "random_seed": 7, "output_dir": "/tmp/x", "data_root": "/data", "device": "cuda:1"},
        {**CONFIG, "paths": {"data": "/data", "logs": ["/a", "/b"]}, "hydra": {"job": {"num": 3}}},
        {**CONFIG, "data": {"num_workers": 8, "pin_memory": True, "train_path": "/data/train"}},
    ],
)
def test_seeds_places_and_machines_do_not_count(other: dict[str, Any]) -> None:
    assert identity(other) == identity(CONFIG) != ""


@pytest.mark.parametrize(
    "other",
    [
        {**CONFIG, "training": {"lr": 0.2, "seed": 1}},
        {**CONFIG, "training": {"lr": "0.1", "seed": 1}},
        {**CONFIG, "model": {"encoder": "resnet34", "layers": [32, 64]}},
        {**CONFIG, "model": {"encoder": "resnet34"}},
        {**CONFIG, "seeds_per_fold": 3},
        {**CONFIG, "extra": {}},
        {**CONFIG, "extra": None},
    ],
)
def test_all_else_counts(other: dict[str, Any]) -> None:
    assert identity(other) != identity(CONFIG)


def test_a_config_that_tells_nothing_has_no_identity() -> None:
    assert identity({}) == identity({"seed": 1, "output_dir": "x"}) == ""


def test_other_patterns() -> None:
    assert identity({"lr": 1, "seed": 1}, "lr") == identity({"lr": 2, "seed": 1}, "lr")
    assert identity({"lr": 1, "seed": 1}, "lr") != identity({"lr": 1, "seed": 2}, "lr")


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("seed", ["seed", "a.seed", "a[0].seed", "seed.x", "seed[1]"], ["seeds", "a.my_seed", "Seed", "a\\.seed"]),
        ("*_dir", ["a_dir", "b.out_dir", "b.out_dir.x"], ["dir", "a_dirs", "a_dir_b"]),
        ("a.seed", ["a.seed", "a.seed.b"], ["seed", "b.a.seed", "a.seeds", "axseed"]),
        ("a.*", ["a.b", "a.b.c"], ["a", "b.a", "ab.c"]),
        ("a[0]", ["a[0]", "a[0].b"], ["a[1]", "b.a[0]"]),
        ("we(ird+", ["we(ird+", "a.we(ird+"], ["weird"]),
    ],
)
def test_what_a_pattern_means(pattern: str, matched: list[str], others: list[str]) -> None:
    search = pattern_of((pattern,)).search
    assert [name for name in matched if not search(name)] == []
    assert [name for name in others if search(name)] == []


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        ("seed", InvalidTypeError, "'seed' is a single str; give a list"),
        (3, InvalidTypeError, "3 is a int"),
        ([None], InvalidTypeError, "None"),
        ([""], InvalidValueError, "empty"),
        (["*"], InvalidValueError, "everything"),
        (["*.*"], InvalidValueError, "everything"),
    ],
)
def test_wrong_patterns(patterns: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        checked_patterns(patterns, "identity_ignores")


# The machine may be busy.
unhurried = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50)

_keys = st.text(string.ascii_lowercase + ".[]\\_", min_size=1, max_size=6).filter(lambda key: key.strip("."))
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_configs = st.dictionaries(
    _keys,
    st.recursive(_leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3)),
    max_size=5,
)


@unhurried
@given(_configs, st.randoms())
def test_the_order_of_keys_does_not_count(config: dict[str, Any], random: Any) -> None:
    keys = list(config)
    random.shuffle(keys)
    assert identity(config) == identity({key: config[key] for key in keys})


@unhurried
@given(_configs, st.integers(), st.text(max_size=5))
def test_a_seed_and_a_path_never_count(config: dict[str, Any], seed: int, path: str) -> None:
    config = {key: value for key, value in config.items() if key not in ("seed", "output_dir")}
    assert identity({**config, "seed": seed, "output_dir": path}) == identity(config)


@unhurried
@given(_configs.filter(bool), st.data())
def test_ignoring_a_param_is_leaving_it_out(config: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(config)))
    name = key.translate(ESCAPED_IN_NAMES)
    without = {other: value for other, value in config.items() if other != key}
    if not any(pattern_of((name,)).search(p.name) for p in capture(without, Redactor()).params):
        assert identity(config, name) == identity(without, name)
