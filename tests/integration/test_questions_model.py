"""`Catalog.experiments` against a plain Python model of filtering and ordering, on a catalog of odd experiments."""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crackseg_tracker import Catalog, ExperimentTracker, metric, param

WORDS = ["good", "Good", "baseline", "unet", "unet_b", "a*b", "[x]", "a?b", "x'; --", "größe", "%", "line\nbreak"]
PROJECTS = ["roads", "bridges", "ro*ds"]
STATUSES = ["created", "running", "completed", "failed", "aborted"]
PARAMS = ["depth", "model.encoder", "lr", "flag", "odd'name"]
VALUES: list[Any] = [
    *(0, 1, 2, 3, -7, 2**53 + 1, 2**63 - 1, 2**64, -(2**64), 10**30),
    *(0.0, 1.0, 0.1, 0.1 + 0.2, 2.5, 1e300, math.inf, -math.inf, math.nan, 2.0**64),
    *(True, False, None, "", "1", "0.1", "unet", "unet_b", "größe", str(2**64), "true", "a*b", "z\0z"),
]
METRICS = ["val/iou", "loss", "lr", "odd'metric"]
NUMBERS = [0.0, -0.0, 0.25, 0.5, 0.75, 1.0, -3.0, 1e300, math.inf, -math.inf, math.nan]


class Known(NamedTuple):
    """What the model knows of an experiment."""

    experiment_id: str
    name: str
    project: str
    group: str | None
    status: str
    description: str
    error: str
    tags: frozenset[str]
    params: dict[str, Any]
    logged: dict[str, list[float]]
    reported: dict[str, float]
    total_epochs: int

    def __repr__(self) -> str:
        return self.experiment_id


def nested(params: dict[str, Any]) -> dict[str, Any]:
    """Make a config of params with dotted names."""
    config: dict[str, Any] = {}
    for name, value in params.items():
        *folders, leaf = name.split(".")
        inner = config
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[leaf] = value
    return config


def made(catalog: Path, folder: Path, number: int, draw: random.Random) -> Known:
    """Make an experiment, and tell what it is."""
    known = Known(
        experiment_id=f"{draw.choice(WORDS)} {number}",
        name=draw.choice(WORDS),
        project=draw.choice(PROJECTS),
        group=draw.choice([None, "sweep", "größe"]),
        status=draw.choice(STATUSES),
        description=draw.choice(["", *WORDS]),
        error=draw.choice(WORDS),
        tags=frozenset(draw.sample(WORDS, draw.randrange(4))),
        params={name: draw.choice(VALUES) for name in draw.sample(PARAMS, draw.randrange(len(PARAMS) + 1))},
        logged={
            name: [draw.choice(NUMBERS) for _ in range(draw.randrange(1, 5))]
            for name in draw.sample(METRICS, draw.randrange(len(METRICS)))
        },
        reported={name: draw.choice(NUMBERS) for name in draw.sample(METRICS, draw.randrange(2))},
        total_epochs=draw.randrange(3),
    )
    tracker = ExperimentTracker(
        folder / str(number), known.experiment_id, known.name, nested(known.params), catalog=catalog,
        project=known.project, group=known.group,
    )  # fmt: skip
    tracker.update_description(known.description)
    tracker.add_tags(sorted(known.tags))
    if known.status != "created":
        tracker.start_experiment()
    tracker.update_training_progress(0, known.total_epochs, known.reported)
    for name, series in known.logged.items():
        for step, value in enumerate(series):
            tracker.log_metric(name, value, step)
    match known.status:
        case "completed":
            tracker.complete_experiment()
        case "failed":
            tracker.fail_experiment(known.error)
        case "aborted":
            tracker.abort_experiment(known.error)
        case _:
            return known._replace(error="")
    return known._replace(error="") if known.status == "completed" else known


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalog, list[Known]]]:
    """Sixty odd experiments: some running, some ended, in no order but that of their creation."""
    folder = tmp_path_factory.mktemp("odd")
    draw = random.Random(20261125)
    known = [made(folder / "catalog" / "catalog.db", folder, number, draw) for number in range(60)]
    with Catalog(folder / "catalog" / "catalog.db") as catalog:
        yield catalog, known
        assert catalog.check() == []


# The model


Check = Callable[[Known], bool]


def lower(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


def like(text: str, pattern: str) -> bool:
    if "*" not in pattern:
        return text == pattern
    first, *middle, last = pattern.split("*")
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not (isinstance(value, float) and math.isnan(value))


def equal(value: Any, other: Any) -> bool:
    if value is None or other is None:
        return value is other
    return isinstance(value, str) == isinstance(other, str) and bool(value == other)


def compares(value: Any, operator: str, other: Any) -> bool:
    if isinstance(other, str):
        if not isinstance(value, str):
            return False
    elif not is_number(value) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        return False  # integers beyond 64 bits are only ever equal
    return {"<": value < other, "<=": value <= other, ">": value > other, ">=": value >= other}[operator]


def best(known: Known, name: str, mode: str | None = None) -> float | None:
    finite = [v for v in known.logged.get(name, []) if math.isfinite(v)]
    reported = known.reported.get(name, math.nan)
    options = [*finite, *([reported] if math.isfinite(reported) else [])]
    mode = mode or ("min" if "loss" in name else "max")
    return (max if mode == "max" else min)(options, default=None)


def summary(known: Known, name: str, kind: str) -> float | None:
    series = known.logged.get(name, [])
    finite = [v for v in series if math.isfinite(v)]
    match kind:
        case "best":
            return best(known, name)
        case "max" | "min":
            return {"max": max, "min": min}[kind](finite, default=None)
        case _:
            value = (series[-1] if kind == "last" else series[0]) if series else None
            return None if value is None or math.isnan(value) else value


# Conditions, each with what the model says of it

ABSENT = object()
operands = st.sampled_from([v for v in VALUES if v is not None and v == v])
numbers = st.sampled_from([v for v in NUMBERS if v == v]) | st.integers(-5, 5)


@st.composite
def param_conditions(draw: st.DrawFn) -> tuple[Any, Check]:
    name, value = draw(st.sampled_from(PARAMS)), draw(operands)
    field = param(name)

    def of(known: Known) -> Any:
        return known.params.get(name, ABSENT)

    match draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "between", "one of", "null", "missing", "matches"])):
        case "=":
            return field == value, lambda k: equal(of(k), value)
        case "<>":
            return field != value, lambda k: of(k) is not ABSENT and not equal(of(k), value)
        case "<":
            return field < value, lambda k: compares(of(k), "<", value)
        case "<=":
            return field <= value, lambda k: compares(of(k), "<=", value)
        case ">":
            return field > value, lambda k: compares(of(k), ">", value)
        case ">=":
            return field >= value, lambda k: compares(of(k), ">=", value)
        case "between":
            high = draw(operands.filter(lambda other: isinstance(other, str) == isinstance(value, str)))
            return field.between(value, high), lambda k: compares(of(k), ">=", value) and compares(of(k), "<=", high)
        case "one of":
            several = draw(st.lists(operands | st.none(), max_size=5))
            return field.one_of(several), lambda k: any(equal(of(k), one) for one in several)
        case "null":
            return field == None, lambda k: of(k) is None  # noqa: E711
        case "missing":
            return field.is_missing(), lambda k: of(k) is ABSENT
        case _:
            pattern = draw(st.sampled_from(["unet*", "*", "*b", "a*b", "unet", "?net"]))
            return field.matches(pattern), lambda k: isinstance(of(k), str) and like(of(k), pattern)


@st.composite
def metric_conditions(draw: st.DrawFn) -> tuple[Any, Check]:
    name, kind = draw(st.sampled_from(METRICS)), draw(st.sampled_from(["best", "last", "first", "min", "max"]))
    field, value = getattr(metric(name), kind), draw(numbers)

    def of(known: Known) -> Any:
        return summary(known, name, kind)

    match draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "between", "one of", "missing"])):
        case "=":
            return field == value, lambda k: of(k) == value
        case "<>":
            return field != value, lambda k: of(k) is not None and of(k) != value
        case "between":
            high = draw(numbers)
            return field.between(value, high), lambda k: of(k) is not None and value <= of(k) <= high
        case "one of":
            several = draw(st.lists(numbers, max_size=4))
            return field.one_of(several), lambda k: of(k) in several
        case "missing":
            return field.is_missing(), lambda k: of(k) is None
        case operator:
            made = {"<": field < value, "<=": field <= value, ">": field > value, ">=": field >= value}[operator]
            return made, lambda k: compares(of(k), operator, value)


def combined(parts: st.SearchStrategy[tuple[Any, Check]]) -> st.SearchStrategy[tuple[Any, Check]]:
    return st.one_of(
        st.tuples(parts, parts).map(lambda p: (p[0][0] & p[1][0], lambda k: p[0][1](k) and p[1][1](k))),
        st.tuples(parts, parts).map(lambda p: (p[0][0] | p[1][0], lambda k: p[0][1](k) or p[1][1](k))),
        parts.map(lambda p: (~p[0], lambda k: not p[1](k))),
    )


conditions = st.recursive(param_conditions() | metric_conditions(), combined, max_leaves=5)
words = st.sampled_from(WORDS)
patterns = st.sampled_from(["*", "unet*", "*b", "a*", "a?b", "[x]*", "*'*", "größe", "unet", "*o*"])
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3) | words


def several(one: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(one, max_size=3)


FILTERS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Known, Any], bool]]] = {
    "project": (several(st.sampled_from(PROJECTS)), lambda k, v: k.project in v),
    "status": (several(st.sampled_from(STATUSES)), lambda k, v: k.status in v),
    "group": (several(words | st.just("sweep")), lambda k, v: k.group in v),
    "name": (several(patterns), lambda k, v: any(like(k.name, one) for one in v)),
    "experiment_id": (several(patterns), lambda k, v: any(like(k.experiment_id, one) for one in v)),
    "tags": (several(words), lambda k, v: k.tags.issuperset(v)),
    "any_tags": (several(words), lambda k, v: not k.tags.isdisjoint(v)),
    "no_tags": (several(words), lambda k, v: k.tags.isdisjoint(v)),
    "params": (
        st.dictionaries(st.sampled_from(PARAMS), operands | st.none(), max_size=2),
        lambda k, v: all(n in k.params and equal(k.params[n], one) for n, one in v.items()),
    ),
    "text": (
        text,
        lambda k, v: any(lower(v) in lower(one) for one in (k.name, k.description, k.error, *k.tags)),
    ),
}


@given(
    chosen=st.fixed_dictionaries({}, optional={name: strategy for name, (strategy, _) in FILTERS.items()}),
    where=st.lists(conditions, max_size=2),
)
@settings(max_examples=200)
def test_filters(odd: tuple[Catalog, list[Known]], chosen: dict[str, Any], where: list[tuple[Any, Check]]) -> None:
    catalog, known = odd
    expected = [
        one.experiment_id
        for one in known
        if all(FILTERS[name][1](one, value) for name, value in chosen.items()) and all(check(one) for _, check in where)
    ]
    found = catalog.experiments(**chosen, where=[condition for condition, _ in where])
    assert [row.experiment_id for row in found] == expected


ORDERS: list[tuple[Any, Callable[[Known], Any]]] = [
    ("experiment_name", lambda k: k.name),
    ("status", lambda k: k.status),
    ("group", lambda k: k.group),
    ("description", lambda k: k.description or None),
    ("total_epochs", lambda k: k.total_epochs),
    ("val/iou", lambda k: best(k, "val/iou")),
    (metric("loss"), lambda k: best(k, "loss")),
    (metric("loss").last, lambda k: summary(k, "loss", "last")),
    (param("lr"), lambda k: k.params.get("lr")),
    ("depth", lambda k: k.params.get("depth")),
]


def sortable(value: Any) -> Any:
    """Numbers, then texts, as in SQLite; integers beyond 64 bits are texts there."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = str(value)
    return (1, value.encode()) if isinstance(value, str) else (0, value)


def is_missing(value: Any) -> bool:
    return value is None or value != value


@given(st.lists(st.tuples(st.sampled_from(range(len(ORDERS))), st.booleans()), min_size=1, max_size=3))
@settings(max_examples=100)
def test_orders(odd: tuple[Catalog, list[Known]], chosen: list[tuple[int, bool]]) -> None:
    catalog, known = odd
    expected = list(known)
    order_by: list[Any] = []
    for number, descending in reversed(chosen):
        given_order, key = ORDERS[number]
        has = [one for one in expected if not is_missing(key(one))]
        lacks = [one for one in expected if is_missing(key(one))]
        expected = sorted(has, key=lambda one: sortable(key(one)), reverse=descending) + lacks
        if isinstance(given_order, str):
            order_by.insert(0, f"-{given_order}" if descending else given_order)
        else:
            order_by.insert(0, given_order.descending if descending else given_order)
    found = catalog.experiments(order_by=order_by)
    assert [row.experiment_id for row in found] == [one.experiment_id for one in expected]


def test_rows(odd: tuple[Catalog, list[Known]]) -> None:
    catalog, known = odd
    for row, one in zip(catalog.experiments(), known, strict=True):
        assert (row.experiment_name, row.project, row.group, row.status) == (
            one.name,
            one.project,
            one.group,
            one.status,
        )
        assert (row.description, row.error_message) == (one.description, one.error)
        assert row.tags == tuple(sorted(one.tags, key=str.encode))
        assert repr(dict(row.params)) == repr({name: one.params[name] for name in sorted(one.params)})
        bests = {name: best(one, name) for name in (*one.logged, *one.reported)}
        assert row.best_metrics == {name: value for name, value in bests.items() if value is not None}
        assert catalog.params(one.experiment_id) == row.params or any(v != v for v in one.params.values())
        assert catalog.experiment(one.experiment_id).best_metrics == row.best_metrics
