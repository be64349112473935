"""What differs between experiments, and how that is shown: pure functions of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from crackseg_tracker.results import Result
from crackseg_tracker.rows import ParamValue, param_value

#: The params of one experiment: name, and "type:text" of its value, exact.
TypedParams = Mapping[str, str]


class ComparedRow(NamedTuple):
    """One of the experiments that are compared."""

    experiment_id: str
    experiment_name: str
    status: str
    current_epoch: int
    total_epochs: int
    training_time_seconds: float
    created_at: str
    completed_at: str | None
    hostname: str
    git_commit: str
    git_dirty: bool
    tags: tuple[str, ...]
    artifact_count: int
    error_message: str


class Comparison(NamedTuple):
    """Several experiments side by side. All but ``experiments`` have a column for each of them.

    A param, metric or artifact that an experiment lacks is None there; a param that is null is the text "null".
    """

    experiments: Result[ComparedRow]
    #: The params that differ.
    params: Result[Any]
    #: Of each metric the better, by its mode, of what was logged and reported.
    best_metrics: Result[Any]
    #: Of each metric the value at the last step; NaN is NaN.
    last_metrics: Result[Any]
    #: Their paths.
    artifacts: Result[Any]

    def __str__(self) -> str:
        """Show the tables."""
        return _sections(self._asdict())


class Difference(NamedTuple):
    """What differs between two experiments: names, and the values of the one and of the other (None: has none)."""

    params: Result[Any]
    environment: Result[Any]
    packages: Result[Any]
    git: Result[Any]
    #: The uncommitted changes of the one and of the other, as ``git diff`` wrote them.
    git_diffs: tuple[str, str]

    def __str__(self) -> str:
        """Show the tables; the uncommitted changes only by their size."""
        tables: dict[str, Result[Any]] = {name: getattr(self, name) for name in self._fields if name != "git_diffs"}
        text = _sections(tables)
        if self.git_diffs[0] != self.git_diffs[1]:
            counts = " and ".join(f"{len(diff.splitlines()):,}" for diff in self.git_diffs)
            text += f"\n\nThe uncommitted changes differ: {counts} lines in git_diffs"
        return text.strip() or "nothing differs"


class AblationRow(NamedTuple):
    """An experiment that differs from another one in nothing but a param; the first row is that other one."""

    experiment_id: str
    experiment_name: str
    status: str
    #: The param, or all below its name.
    params: Mapping[str, ParamValue]
    best_metrics: Mapping[str, float]
    #: What differs besides but does not count, such as the seed.
    ignored_params: Mapping[str, ParamValue]


class DuplicateRow(NamedTuple):
    """A completed experiment that was trained more than once; ``duplicate`` numbers those that are the same."""

    duplicate: int
    experiment_id: str
    experiment_name: str
    project: str
    completed_at: str
    git_commit: str
    data_fingerprint: str
    best_metrics: Mapping[str, float]
    #: What differs between them but does not count, such as the seed.
    ignored_params: Mapping[str, ParamValue]


def value_of(typed: str) -> ParamValue:
    """Give a param's value as Python has it; null is "null", for None is what an experiment lacks.

    Example:
        >>> [value_of("float:0.1"), value_of("bool:true"), value_of("str:a:b"), value_of("null:null")]
        [0.1, True, 'a:b', 'null']
    """
    value = param_value(typed)
    return typed.partition(":")[2] if value is None else value


def differing(params: Iterable[TypedParams]) -> list[str]:
    """Name the params that are not the same in all experiments, sorted. 1, 1.0, "1" and true are different.

    Example:
        >>> differing([{"lr": "int:1", "seed": "int:7"}, {"lr": "float:1.0", "seed": "int:7"}])
        ['lr']
    """
    several = list(params)
    names = sorted({name for one in several for name in one})
    return [name for name in names if len({one.get(name) for one in several}) > 1]


def chosen(params: TypedParams, names: Iterable[str]) -> dict[str, ParamValue]:
    """Give the values of some params, as far as the experiment has them."""
    return {name: value_of(params[name]) for name in names if name in params}


def side_by_side(
    keys: Sequence[str], ids: Sequence[str], cells: Mapping[tuple[Any, ...], Mapping[str, Any]]
) -> Result[tuple[Any, ...]]:
    """Make a table with a row for each key and a column for each experiment.

    Args:
        keys: Names of the columns that the key fills.
        ids: Of the experiments.
        cells: By key, the value of each experiment that has one.

    Example:
        >>> print(side_by_side(["metric"], ["a", "b"], {("iou",): {"a": 0.5, "b": 0.7}, ("dice",): {"b": 0.8}}))
        metric    a    b
        iou     0.5  0.7
        dice         0.8
    """
    rows = [(*key, *(values.get(one) for one in ids)) for key, values in cells.items()]
    return Result((*keys, *ids), rows)


def params_side_by_side(ids: Sequence[str], params: Sequence[TypedParams]) -> Result[tuple[Any, ...]]:
    """Make the table of the params that differ between experiments."""
    names = differing(params)
    cells = {
        (name,): {one: value_of(has[name]) for one, has in zip(ids, params, strict=True) if name in has}
        for name in names
    }
    return side_by_side(["param"], ids, cells)


def facts_side_by_side(key: str, ids: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> Result[tuple[Any, ...]]:
    """Make the table of the facts that differ between experiments."""
    names = list(dict.fromkeys(name for one in facts for name in one))
    cells = {
        (name,): {i: one.get(name) for i, one in zip(ids, facts, strict=True)}
        for name in names
        if any(one.get(name) != facts[0].get(name) for one in facts)
    }
    return side_by_side([key], ids, cells)


def differ_only(one: TypedParams, other: TypedParams, inside: re.Pattern[str], ignored: re.Pattern[str]) -> bool:
    """Tell whether two experiments differ in params with such a name, and in no others but ignored ones."""
    names = differing([one, other])
    return any(map(inside.search, names)) and all(inside.search(name) or ignored.search(name) for name in names)


def groups_of(params: Mapping[int, TypedParams]) -> dict[int, list[int]]:
    """Put experiments with equal params together, under the first of them.

    Example:
        >>> groups_of({1: {"lr": "float:0.1"}, 2: {"lr": "float:0.2"}, 3: {"lr": "float:0.1"}})
        {1: [1, 3], 2: [2]}
    """
    first: dict[tuple[Any, ...], int] = {}
    groups: dict[int, list[int]] = {}
    for number, has in params.items():
        groups.setdefault(first.setdefault(tuple(sorted(has.items())), number), []).append(number)
    return groups


def without(params: Mapping[int, TypedParams], ignored: re.Pattern[str]) -> dict[int, TypedParams]:
    """Leave out the params whose names match."""
    kept: dict[str, bool] = {}  # a catalog has a few names and many params
    for has in params.values():
        for name in has:
            if name not in kept:
                kept[name] = not ignored.search(name)
    return {number: {name: value for name, value in has.items() if kept[name]} for number, has in params.items()}


def _sections(tables: Mapping[str, Result[Any]]) -> str:
    return "\n\n".join(f"{name.replace('_', ' ')}\n{table}" for name, table in tables.items() if len(table))
