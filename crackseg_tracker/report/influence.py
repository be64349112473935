"""Which params matter: the share of a metric's variance that each accounts for by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, isfinite
from typing import Any, NamedTuple

from crackseg_tracker.formatting import number_text

_MOST_ROWS = 15
_LEAST_EXPERIMENTS = 4


class InfluenceRow(NamedTuple):
    """A param, how many values it has, and eta squared: the variance between their means, of all the variance.

    ``adjusted`` takes away what chance alone would account for, with so many values and so few experiments (omega
    squared, Hays 1963); the rows are in its order. ``means`` are the metric's, best known values first.
    """

    param: str
    values: int
    experiments: int
    share: float
    adjusted: float
    means: str


def influences(experiments: Sequence[tuple[Mapping[str, Any], float | None]]) -> list[InfluenceRow]:
    """Compute the influence of each param that has at least two values, each with the metric of an experiment.

    A param that has another value in almost every experiment tells nothing, and is left out.

    Example:
        >>> trained = [({"depth": d, "seed": seed}, d / 10 + seed / 100) for d in (3, 4) for seed in range(4)]
        >>> [(row.param, round(row.share, 2)) for row in influences(trained)]
        [('depth', 0.95), ('seed', 0.05)]
    """
    known = [(params, value) for params, value in experiments if value is not None and isfinite(value)]
    if len(known) < _LEAST_EXPERIMENTS:
        return []
    rows: list[InfluenceRow] = []
    for name in sorted({name for params, _ in known for name in params}):
        groups: dict[str, list[float]] = {}
        for params, value in known:
            if name in params:
                groups.setdefault(_text(params[name]), []).append(value)
        row = _influence(name, groups)
        if row is not None:
            rows.append(row)
    rows.sort(key=lambda row: -row.adjusted)
    return rows[:_MOST_ROWS]


def _influence(name: str, groups: Mapping[str, Sequence[float]]) -> InfluenceRow | None:
    values = [value for group in groups.values() for value in group]
    if len(groups) < 2 or len(values) < _LEAST_EXPERIMENTS or len(groups) > len(values) / 2:
        return None
    mean = fsum(values) / len(values)
    total = fsum((value - mean) ** 2 for value in values)
    if total == 0:
        return None
    means = {text: fsum(group) / len(group) for text, group in groups.items()}
    between = fsum(len(group) * (means[text] - mean) ** 2 for text, group in groups.items())
    within = max(total - between, 0.0) / (len(values) - len(groups))
    adjusted = max((between - (len(groups) - 1) * within) / (total + within), 0.0)
    shown = sorted(means, key=lambda text: -means[text])[:6]
    text = ", ".join(f"{one}: {means[one]:.3g} (n={len(groups[one])})" for one in shown)
    more = f", {len(means) - 6} more" if len(means) > 6 else ""
    return InfluenceRow(name, len(groups), len(values), between / total, adjusted, text + more)


def _text(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return str(value)
