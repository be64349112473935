"""Columns: unique names, mappings spread over columns of their own, and columns written for eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from math import isfinite
from typing import Any

from crackseg_tracker.formatting.text import human_text, number_text
from crackseg_tracker.rows import Params

Rows = Sequence[Sequence[Any]]


def distinct(names: Sequence[str]) -> list[str]:
    """Make names unique, as keys and frames need them: a join may give two columns one name.

    Example:
        >>> distinct(["id", "value", "id"])
        ['id', 'value', 'id:2']
    """
    if len(set(names)) == len(names):
        return list(names)
    taken = set(names)
    unique: list[str] = []
    seen: dict[str, int] = {}
    for name in names:
        if name not in seen:
            seen[name] = 1
            unique.append(name)
            continue
        candidate = name
        while candidate in taken:
            seen[name] += 1
            candidate = f"{name}:{seen[name]}"
        taken.add(candidate)
        unique.append(candidate)
    return unique


def flattened(columns: Sequence[str], rows: Rows) -> tuple[list[str], list[Sequence[Any]]]:
    """Give names and columns in which mappings have become columns of their own.

    A column that holds mappings gives way to one column for each key, named ``column.key``, in the order in which the
    keys appear; mappings within them likewise. A row without the key has None. A column without any key stays.

    Example:
        >>> flattened(["id", "best"], [("a", {"iou": 0.5}), ("b", {"loss": 0.1, "iou": 0.7})])
        (['id', 'best.iou', 'best.loss'], [('a', 'b'), [0.5, 0.7], [None, 0.1]])
    """
    columns_of_rows: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    names: list[str] = []
    flat: list[Sequence[Any]] = []
    for name, column in zip(columns, columns_of_rows, strict=True):
        _spread(name, column, names, flat)
    return distinct(names), flat


def _spread(name: str, column: Sequence[Any], names: list[str], flat: list[Sequence[Any]]) -> None:
    kinds: set[type[Any]] = {kind for kind in set(map(type, column)) if issubclass(kind, Mapping)}
    mappings: list[dict[str, Any]] = []
    if kinds == {Params}:
        mappings = Params.dicts(column)
    elif kinds:
        mappings = [dict(value.items()) if type(value) in kinds else {} for value in column]
    keys = dict.fromkeys(chain.from_iterable(mappings))
    if not keys:
        names.append(name)
        flat.append(column)
        return
    # Row by row: looking for each key in all rows, one key after the other, takes three times as long.
    cells = [mapping.get(key) for mapping in mappings for key in keys]
    for place, key in enumerate(keys):
        _spread(f"{name}.{key}", cells[place :: len(keys)], names, flat)


def human_columns(rows: Rows, count: int) -> tuple[list[list[str]], list[bool]]:
    """Write all values for eyes, column by column, and tell which columns are numbers."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * count
    texts: list[list[str]] = []
    numeric: list[bool] = []
    for column in columns:
        kinds = set(map(type, column)) - {type(None)}
        numbers = bool(kinds) and kinds <= {int, float}
        numeric.append(numbers)
        texts.append(_aligned_numbers(column) if numbers else list(map(human_text, column)))
    return texts, numeric


def _aligned_numbers(column: Sequence[float | None]) -> list[str]:
    """Write numbers with the same number of decimals where that is readable: the eye compares digits in columns."""
    texts = ["" if value is None else number_text(value) for value in column]
    places = [len(text.partition(".")[2]) for text in texts if "." in text]
    widest = max((len(text.partition(".")[0]) for text in texts), default=0)
    if not places or any("e" in text for text in texts) or max(places) + widest > 12:
        return texts
    decimals = max(places)
    return [
        f"{value:.{decimals}f}" if isinstance(value, float) and isfinite(value) else text
        for value, text in zip(column, texts, strict=True)
    ]
