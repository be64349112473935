import argparse
import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import json
import math
import pathlib
import struct
import subprocess
import sys
import types
import uuid
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf

from crackseg_tracker.config import (
    CapturedConfig,
    Param,
    capture,
    flatten,
    param_differences,
)
from crackseg_tracker.errors import ConfigError
from crackseg_tracker.redaction import REDACTED, Redactor

COMMON = {
    "training": {"epochs": 100, "batch_size": 16, "learning_rate": 0.001},
    "model": {"_target_": "src.model.UNet"},
}


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


class Size(enum.StrEnum):
    BIG = "b"


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    seed: int = dataclasses.field(default_factory=lambda: 1)


def cap(config: Any) -> CapturedConfig:
    return capture(config, Redactor())


def leaf(value: Any) -> Param:
    [param] = flatten({"a": value}, Redactor())
    return param


def decoded(config: Any) -> Any:
    return json.loads(cap(config).text)


def names(config: Any) -> list[str]:
    return [param.name for param in cap(config).params]


# ---- what comes out -----------------------------------------------------------------------------


def test_none_and_empty() -> None:
    empty = CapturedConfig("{}", hashlib.sha256(b"{}").hexdigest(), (), {}, (), None)
    assert cap(None) == cap({}) == cap(OmegaConf.create({})) == cap(DictConfig(None)) == empty


def test_common_config() -> None:
    expected = {
        "epochs": 100,
        "batch_size": 16,
        "learning_rate": 0.001,
        "model_type": "src.model.UNet",
    }
    for config in (COMMON, OmegaConf.create(COMMON), types.MappingProxyType(COMMON)):
        captured = cap(config)
        assert captured.summary == expected
        assert json.loads(captured.text) == COMMON
        assert captured.sha256 == hashlib.sha256(captured.text.encode()).hexdigest()
        assert names(config) == [
            "training.epochs",
            "training.batch_size",
            "training.learning_rate",
            "model._target_",
        ]


def test_order_does_not_change_the_text() -> None:
    assert cap({"a": 1, "b": {"c": 2, "d": 3}})[:2] == cap({"b": {"d": 3, "c": 2}, "a": 1})[:2]
    assert cap({"a": 1}).sha256 != cap({"a": 1.0}).sha256


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", ("str", "x", "x")),
        ("", ("str", "", "")),
        ("a\ud800", ("str", "a\\ud800", "a\\ud800")),
        ("é", ("str", "é", "é")),
        (True, ("bool", 1, "true")),
        (False, ("bool", 0, "false")),
        (None, ("null", None, "null")),
        (7, ("int", 7, "7")),
        (2**63 - 1, ("int", 2**63 - 1, str(2**63 - 1))),
        (-(2**63), ("int", -(2**63), str(-(2**63)))),
        (2**63, ("int", str(2**63), str(2**63))),
        (0.1, ("float", 0.1, "0.1")),
        (-0.0, ("float", -0.0, "-0.0")),
        (math.inf, ("float", math.inf, "inf")),
        (math.nan, ("float", None, "nan")),
        (b"\xff", ("bytes", "/w==", "/w==")),
        ("???", ("missing", None, "???")),
        ({}, ("dict", None, "{}")),
        ([], ("list", None, "[]")),
        ((), ("list", None, "[]")),
        (pathlib.PurePosixPath("a/b"), ("str", "a/b", "a/b")),
        (pathlib.PurePosixPath("${x}"), ("str", "${x}", "${x}")),
        (Color.RED, ("str", "RED", "RED")),
        (Level.HIGH, ("str", "HIGH", "HIGH")),
        (Size.BIG, ("str", "BIG", "BIG")),
        (datetime.date(2024, 1, 2), ("str", "2024-01-02", "2024-01-02")),
        (datetime.timedelta(seconds=1), ("str", "0:00:01", "0:00:01")),
        (decimal.Decimal("1.10"), ("str", "1.10", "1.10")),
        (uuid.UUID(int=1), ("str", str(uuid.UUID(int=1)), str(uuid.UUID(int=1)))),
        (fractions.Fraction, ("str", "fractions.Fraction", "fractions.Fraction")),
        (json.dumps, ("str", "json.dumps", "json.dumps")),
        (len, ("str", "builtins.len", "builtins.len")),
        (np.float64(0.1), ("float", 0.1, "0.1")),
        (np.float32(0.5), ("float", 0.5, "0.5")),
        (np.int64(3), ("int", 3, "3")),
        (np.bool_(True), ("bool", 1, "true")),
        (np.str_("s"), ("str", "s", "s")),
        (np.array(2), ("int", 2, "2")),
        (np.dtype("float32"), ("str", "float32", "float32")),
        (np.zeros(0), ("list", None, "[]")),
    ],
)
def test_leaf(value: Any, expected: tuple[str, Any, str]) -> None:
    param = leaf(value)
    assert param == ("a", *expected)
    assert type(param.value) is type(expected[1])
    if isinstance(param.value, float):
        assert math.copysign(1, param.value) == math.copysign(1, expected[1])


def test_text_of_special_values() -> None:
    config = {"n": math.nan, "i": math.inf, "j": -math.inf, "z": -0.0, "b": b"x", "s": "\ud800"}
    assert cap(config).text == (
        '{"b":{"$bytes":"eA=="},"i":{"$float":"inf"},"j":{"$float":"-inf"},'
        '"n":{"$float":"nan"},"s":"\\ud800","z":-0.0}'
    )


def test_mapping_that_looks_like_a_tag() -> None:
    assert decoded({"a": {"$float": "nan"}}) == {"a": {"$dict": {"$float": "nan"}}}
    assert decoded({"$dict": {"$int": 1, "x": 2}}) == {"$dict": {"$dict": {"$int": 1, "x": 2}}}


def test_integers_of_any_size() -> None:
    assert decoded({"a": 10**4000}) == {"a": 10**4000}
    big = 10**5000  # Python does not print it
    assert decoded({"a": big}) == {"a": {"$int": hex(big)}}
    assert leaf(-big) == ("a", "int", hex(-big), hex(-big))


def test_containers() -> None:
    pair = collections.namedtuple("pair", "x y")
    config = {"t": (1, [2]), "s": {"b", "a"}, "f": frozenset({3}), "p": pair(1, 2)}
    assert decoded(config) == {"t": [1, [2]], "s": ["a", "b"], "f": [3], "p": [1, 2]}
    assert decoded({"a": np.arange(4).reshape(2, 2)}) == {"a": [[0, 1], [2, 3]]}
    assert decoded({"a": collections.OrderedDict(x=1)}) == {"a": {"x": 1}}


def test_torch_is_duck_typed() -> None:
    class Tensor:
        def __init__(self, data: Any) -> None:
            self.data = np.asarray(data)
            self.shape = self.data.shape

        def item(self) -> Any:
            return self.data.item()

        def tolist(self) -> Any:
            return self.data.tolist()

    dtype = type("dtype", (), {"__module__": "torch", "__str__": lambda _: "torch.float32"})
    assert leaf(Tensor(1.5)) == ("a", "float", 1.5, "1.5")
    assert decoded({"a": Tensor([[1, 2]])}) == {"a": [[1, 2]]}
    assert leaf(dtype()).text == "torch.float32"


def test_names_are_escaped() -> None:
    config = {"a.b": {"c[0]": [{"u": 1}, [2]], "d\\": 3}, "": {"": 4}, "\ud800": 5}
    assert names(config) == [
        r"a\.b.c\[0\][0].u",
        r"a\.b.c\[0\][1][0]",
        r"a\.b.d\\",
        ".",
        r"\ud800",
    ]


def test_keys_become_text() -> None:
    assert decoded({1: "a", None: {True: "b"}, (1, 2): "c"}) == {
        "1": "a",
        "None": {"True": "b"},
        "(1, 2)": "c",
    }
    assert decoded(OmegaConf.create({1: "a", 2.5: "b"})) == {"1": "a", "2.5": "b"}
    for config in ({1: "a", "1": "b"}, OmegaConf.create({True: "a", "True": "b"})):
        with pytest.raises(ConfigError, match=r"two keys .*'x' are both '(1|True)' as text"):
            cap({"x": config})
    with pytest.raises(ConfigError, match="stable"):
        cap({object(): 1})


# ---- OmegaConf ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [dict, OmegaConf.create])
def test_interpolations(make: Any) -> None:
    config = make(
        {
            "a": {"x": 1, "y": ["${a.x}", "${..b}"]},
            "b": "n=${a.x}",
            "c": "${a}",
            "d": "${l[1]}",
            "l": [1, "${a.x}"],
            "e": "\\${a}",
        }
    )
    a = {"x": 1, "y": [1, "n=1"]}
    expected = {"a": a, "b": "n=1", "c": a, "d": 1, "l": [1, 1], "e": "${a}"}
    if make is dict:
        config["a"]["y"][1] = "${b}"
    else:
        config.a.y[1] = "${b}"
    assert decoded(config) == expected
    assert cap(config).missing == ()


@pytest.mark.parametrize("make", [dict, OmegaConf.create])
def test_missing(make: Any) -> None:
    config = make(
        {
            "a": "???",
            "b": "${nowhere}",
            "c": ["${unknown_resolver:1}", 1],
            "d": {"e": "${a}", "f": "x${oc.env:CRACKSEG_SURELY_UNSET}"},
            "g": "${h}",
            "h": "${g}",
            "i": "${i}",
        }
    )
    captured = cap(config)
    assert json.loads(captured.text) == {
        "a": None,
        "b": None,
        "c": [None, 1],
        "d": {"e": None, "f": None},
        "g": None,
        "h": None,
        "i": None,
    }
    assert captured.missing == ("a", "b", "c[0]", "d.e", "d.f", "g", "h", "i")
    params = {param.name: param for param in captured.params}
    assert params["a"] == ("a", "missing", None, "???")
    assert params["b"] == ("b", "missing", None, "${nowhere}")
    assert params["d.f"].text == "x${oc.env:CRACKSEG_SURELY_UNSET}"


def test_tuples_and_typed_values_of_omegaconf() -> None:
    config = OmegaConf.create({"t": (1, "${x}", "${y}"), "x": pathlib.Path("p"), "b": b"x"})
    config.color = Color.RED
    captured = cap(config)
    assert captured.text == '{"b":{"$bytes":"eA=="},"color":"RED","t":[1,"p",null],"x":"p"}'
    assert captured.missing == ("t[2]",)


def test_string_of_many_openings_is_missing() -> None:
    assert cap({"a": "${" * 2_000, "b": "${c}", "c": 1}).text == '{"a":null,"b":1,"c":1}'


def test_malformed_interpolation_is_missing() -> None:
    captured = cap({"a": "echo ${", "b": "${c}", "c": 1, "d": ["${5 x"]})
    assert json.loads(captured.text) == {"a": None, "b": 1, "c": 1, "d": [None]}
    assert captured.missing == ("a", "d[0]")


def test_raising_resolver_is_missing() -> None:
    def fail() -> None:
        raise KeyError("boom")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OmegaConf 2.3 and 2.4 disagree which name is deprecated
        OmegaConf.register_new_resolver("crackseg_test_fail", fail)
        OmegaConf.register_new_resolver("crackseg_test_dict", lambda: {"x": [1]})
    try:
        captured = cap({"a": "${crackseg_test_fail:}", "b": "${crackseg_test_dict:}"})
    finally:
        OmegaConf.clear_resolver("crackseg_test_fail")
        OmegaConf.clear_resolver("crackseg_test_dict")
    assert captured.text == '{"a":null,"b":{"x":[1]}}'


def test_dictconfig_is_left_alone() -> None:
    config = OmegaConf.create({"a": "${b}", "b": {"c": 1}, "m": "???"})
    OmegaConf.set_struct(config, True)
    OmegaConf.set_readonly(config, True)
    before = OmegaConf.to_yaml(config)
    assert decoded(config) == {"a": {"c": 1}, "b": {"c": 1}, "m": None}
    assert OmegaConf.to_yaml(config) == before
    assert OmegaConf.is_struct(config)
    assert OmegaConf.is_readonly(config)


def test_plain_mapping_is_left_alone() -> None:
    config = {"a": "${b}", "b": [1], "password": "x", "t": (1,)}
    cap(config)
    assert config == {"a": "${b}", "b": [1], "password": "x", "t": (1,)}


def test_structured_config() -> None:
    assert decoded(OmegaConf.structured(Settings)) == {"lr": 0.1, "seed": 1}
    assert decoded(OmegaConf.create({"s": Settings()})) == {"s": {"lr": 0.1, "seed": 1}}


def test_part_of_a_dictconfig() -> None:
    config = OmegaConf.create({"root": "/data", "data": {"path": "${root}/x", "lit": "\\${y}"}})
    assert decoded(config.data) == {"path": "/data/x", "lit": "${y}"}
    # Another config around it does not resolve it once more.
    assert decoded({"d": config.data, "y": 1, "z": "${y}"}) == {
        "d": {"path": "/data/x", "lit": "${y}"},
        "y": 1,
        "z": 1,
    }
    assert decoded({"l": ListConfig([1, {"x": 2}])}) == {"l": [1, {"x": 2}]}


def test_null_and_missing_containers() -> None:
    config = OmegaConf.create({"a": DictConfig(None), "b": DictConfig("???"), "c": ListConfig(None)})
    assert cap(config).text == '{"a":null,"b":null,"c":null}'
    assert cap(config).missing == ("b",)
    with pytest.raises(ConfigError, match="without content"):
        cap(DictConfig("???"))


def test_omegaconf_is_not_imported_needlessly() -> None:
    code = (
        "import sys\n"
        "from crackseg_tracker.config import capture\n"
        "from crackseg_tracker.redaction import Redactor\n"
        "loaded = 'omegaconf' in sys.modules\n"
        "capture({'a': [1, 'x', '???']}, Redactor())\n"
        "assert loaded or 'omegaconf' not in sys.modules\n"
        "assert capture({'a': '${b}', 'b': 1}, Redactor()).text == '{\"a\":1,\"b\":1}'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ([1], "list.*items"),
        (ListConfig([1]), "ListConfig.*items"),
        ("conf.yaml", r"str.*OmegaConf\.load"),
        (3, "int"),
        (argparse.Namespace(a=1), r"argparse\.Namespace.*vars\(args\)"),
        (Settings(), r"Settings.*OmegaConf\.structured"),
        (Settings, r"OmegaConf\.structured"),
        (pathlib.Path("x"), r"OmegaConf\.load"),
    ],
)
def test_not_a_mapping(config: Any, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        cap(config)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"'a\.b\[1\]' is of type object.*accepted are"),
        (Settings(), r"'a\.b\[1\]'.*Settings.*asdict"),
        (argparse.Namespace(), r"vars\(args\)"),
        (functools.partial(print), "partial"),
        (1j, "complex"),
        (range(3), "range"),
        (np.longdouble(1), "longdouble"),
        (np.zeros(10_001), "10001 elements"),
        (types.SimpleNamespace(shape=(), tolist=None), "SimpleNamespace"),
    ],
)
def test_unsupported_value(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cap({"a": {"b": [0, value]}})


def test_cycles() -> None:
    config: dict[str, Any] = {"a": {"b": []}}
    config["a"]["b"].append(config["a"])
    with pytest.raises(ConfigError, match=r"cyclic.*'a\.b\[0\]'"):
        cap(config)
    for make in (dict, OmegaConf.create):
        with pytest.raises(ConfigError, match=r"cyclic.*'a\.b'"):
            cap(make({"a": {"b": "${a}"}}))
        with pytest.raises(ConfigError, match=r"cyclic.*'a\.x\.y'"):
            cap(make({"a": {"x": "${b}"}, "b": {"y": "${a}"}}))


def test_shared_is_not_cyclic() -> None:
    shared = [1]
    assert decoded({"a": shared, "b": shared, "c": [shared, shared]}) == {
        "a": [1],
        "b": [1],
        "c": [[1], [1]],
    }


def nested(depth: int, inner: Any = 1) -> dict[str, Any]:
    for _ in range(depth):
        inner = {"k": inner}
    return inner


@pytest.mark.parametrize("depth", [101, 1_000, 100_000])
def test_too_deep(depth: int) -> None:
    with pytest.raises(ConfigError, match="nested"):
        cap(nested(depth))
    config = nested(depth)
    while config:  # taken apart by hand, so that freeing it needs no deep recursion either
        config = config["k"] if isinstance(config["k"], dict) else {}


def test_deep_enough() -> None:
    assert decoded(nested(100)) == nested(100)
    assert decoded(nested(40, "${x}") | {"x": 1}) == nested(40) | {"x": 1}


def test_too_deep_for_omegaconf() -> None:
    with pytest.raises(ConfigError, match="nested"):
        cap(nested(99, "${x}") | {"x": 1})


def test_unbounded_expansion() -> None:
    config: dict[str, Any] = {"a0": [0] * 10}
    for i in range(1, 9):
        config[f"a{i}"] = [config[f"a{i - 1}"]] * 10
    with pytest.raises(ConfigError, match="values"):
        cap(config)


# ---- redaction ----------------------------------------------------------------------------------


def test_redaction_comes_first() -> None:
    config = {
        "note": "the key is hunter2-x",
        "url": "https://me:pw@host/x",
        "wandb": {"api_key": "hunter2-x", "again": "${wandb.api_key}", "tokens": 3},
        "keys": {"token": ["abc", 5, None, ""]},
        "cert.private_key": pathlib.PurePosixPath("/secret/path"),
        "model": "hunter2-x",
        "project_name": "hunter2-x",
        "password": "???",
        "secret": "${nowhere}-hunter3",
        "lit_token": "\\${x}-hunter4",
    }
    for made in (config, {**config, "cert.private_key": "/secret/path"}):
        captured = cap(made)
        stored = repr(captured)
        for secret in ("hunter", "pw@", "abc", "/secret/path"):
            assert secret not in stored
        assert captured.summary["model_type"] == captured.project_name == REDACTED
        params = {param.name: param for param in captured.params}
        assert params["keys.token[0]"].text == REDACTED
        assert params["keys.token[1]"].value == 5
        assert params["keys.token[3]"].text == ""
        assert params["wandb.tokens"].value == 3
        assert params["password"] == ("password", "missing", None, "???")
        assert params["secret"] == ("secret", "missing", None, REDACTED)
        assert captured.text == cap(json.loads(json.dumps(config, default=str))).text


# ---- summary and project name -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {}),
        ({"trainer": {"max_epochs": 3}}, {"epochs": 3}),
        ({"training": {"num_epochs": 3}, "epochs": 4}, {"epochs": 3}),
        ({"training": {"epochs": None}, "epochs": 4}, {"epochs": 4}),
        ({"training": {"epochs": True, "lr": math.nan}, "epochs": {"a": 1}}, {}),
        ({"training": 5, "lr": "1e-3"}, {"learning_rate": "1e-3"}),
        ({"data": {"dataloader": {"batch_size": 8}}}, {"batch_size": 8}),
        (
            {"training": {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1}}},
            {"optimizer": "torch.optim.AdamW", "learning_rate": 0.1},
        ),
        ({"optimizer": "sgd", "loss": {"name": "dice"}}, {"optimizer": "sgd", "loss": "dice"}),
        (
            {"model": {"type": "u", "encoder": {"name": "r50"}, "decoder": "d"}},
            {"model_type": "u", "encoder": "r50", "decoder": "d"},
        ),
        ({"model": {"encoder_name": "r"}}, {"encoder": "r"}),
        ({"model": "unet"}, {"model_type": "unet"}),
        (
            {"data": {"name": "crack500", "root_dir": "/d"}},
            {"dataset": "crack500", "data_root": "/d"},
        ),
        ({"dataset": {"_target_": "x.D", "root": "/r"}}, {"dataset": "x.D", "data_root": "/r"}),
        ({"epochs": "???", "model": "${x}"}, {}),
        (vars(argparse.Namespace(epochs=2, lr=0.5)), {"epochs": 2, "learning_rate": 0.5}),
    ],
)
def test_summary(config: Any, expected: dict[str, Any]) -> None:
    assert cap(config).summary == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"project_name": "p"}, "p"),
        ({"project_name": "${x}-q", "x": "p"}, "p-q"),
        ({"project_name": ""}, None),
        ({"project_name": 3}, None),
        ({"project_name": "???"}, None),
        ({"x": {"project_name": "p"}}, None),
    ],
)
def test_project_name(config: Any, expected: str | None) -> None:
    assert cap(config).project_name == expected


def test_param_differences() -> None:
    old = flatten({"a": 1, "b": 2, "c": "3", "same": [1]}, Redactor())
    new = flatten({"a": 1.0, "c": 3, "d": None, "same": [1]}, Redactor())
    assert param_differences(old, new) == {
        "a": ["1", "1.0"],
        "b": ["2", None],
        "c": ["3", "3"],
        "d": [None, "null"],
    }
    assert param_differences(old, iter(old)) == {}


# ---- properties ---------------------------------------------------------------------------------

KEYS = st.text(max_size=6) | st.sampled_from(
    ["a", "b", "a.b", "a[0]", "[0]", "\\", "\ud800", "$float", "$bytes", "$dict"]
)
PLAIN_TEXT = st.text(st.characters(codec="utf-8"), max_size=8) | st.just("\udfff")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | PLAIN_TEXT | st.binary(max_size=8)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)


class NoRedaction(Redactor):
    def value(self, name: str, value: str) -> str:
        return value


def as_plain(node: Any) -> Any:
    """Undo the tags of the canonical text."""
    if isinstance(node, list):
        return [as_plain(value) for value in node]
    if not isinstance(node, dict):
        return node
    match node:
        case {"$float": str(text)} if len(node) == 1:
            return float(text)
        case {"$bytes": str(text)} if len(node) == 1:
            return base64.b64decode(text)
        case {"$dict": dict(tagged)} if len(node) == 1:
            node = tagged
    return {key: as_plain(value) for key, value in node.items()}


@given(TREES)
def test_text_round_trip(tree: dict[str, Any]) -> None:
    assume("${" not in repr(tree) and "???" not in repr(tree))
    captured = capture(tree, NoRedaction())
    # repr tells nan from null, 1 from 1.0 and True, and 0.0 from -0.0.
    back = as_plain(json.loads(captured.text))
    assert repr(normal(back)) == repr(normal(tree))
    assert captured.text == capture(OmegaConf.create({"t": tree}).t, NoRedaction()).text


def normal(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: normal(node[key]) for key in sorted(node)}
    return [normal(value) for value in node] if isinstance(node, list) else node


@given(TREES)
def test_names_are_unique_and_storable(tree: dict[str, Any]) -> None:
    params = flatten(tree, Redactor())
    assert len({param.name for param in params}) == len(params)
    for param in params:
        param.name.encode()
        param.text.encode()
        str(param.value).encode()


@given(st.binary(min_size=8, max_size=8))
def test_every_float_is_exact(data: bytes) -> None:
    [number] = struct.unpack("<d", data)
    param = leaf(number)
    assert param.type == "float"
    back = as_plain(decoded({"a": number}))["a"]
    if math.isnan(number):
        assert param.value is None
        assert math.isnan(back)
        assert math.isnan(float(param.text))
    else:
        assert struct.pack("<d", param.value) == struct.pack("<d", float(param.text)) == data
        assert struct.pack("<d", back) == data


@given(st.dictionaries(KEYS, st.text() | st.text("${}.:x?\\", max_size=12), max_size=4))
def test_no_string_makes_it_fail(config: dict[str, str]) -> None:
    captured = cap(config)
    assert [param.name for param in captured.params if param.type == "missing"] == list(captured.missing)
