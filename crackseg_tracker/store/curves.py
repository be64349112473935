"""Reading curves, exactly or in buckets. Nothing else reads the history of a metric.

A curve is what was folded (``metric_point``, clustered by series, so that it is one range) and then what is recent
(``metric_recent``, always beyond it). NaN is NULL in the file and NaN in an answer.
"""

from __future__ import annotations

from itertools import pairwise
from math import nan
from sqlite3 import Connection
from typing import Any, NamedTuple

from crackseg_tracker.store.reading import one_state


class Series(NamedTuple):
    """A metric of an experiment: the names that its rows bear, and the numbers behind them."""

    experiment_id: str
    metric: str
    experiment: int
    number: int


def points(connection: Connection, series: Series, first: int, last: int) -> list[tuple[str, str, int, float]]:
    """Read the points from one step to another, both included, in order of steps."""
    experiment_id, metric, key = series.experiment_id, series.metric, (series.experiment, series.number, first, last)
    condition = "WHERE experiment = ? AND metric = ? AND step BETWEEN ? AND ? ORDER BY step"
    with one_state(connection):
        found = connection.execute(f"SELECT step, value FROM metric_point {condition}", key).fetchall()
        found += connection.execute(f"SELECT step, value FROM metric_recent {condition}", key).fetchall()
        has_nan = connection.execute(
            "SELECT non_finite_count > 0 FROM _summary WHERE experiment = ? AND metric = ?", key[:2]
        ).fetchone()
    # The names come in here: out of SQLite each row would bring a copy of both, which takes as long as all the rest.
    if has_nan and has_nan[0]:
        return [(experiment_id, metric, step, nan if value is None else value) for step, value in found]
    return [(experiment_id, metric, step, value) for step, value in found]


_RANGE = "WHERE experiment = ?1 AND metric = ?2 AND step BETWEEN ?3 AND ?4"
_FOLDED = f"SELECT step, value FROM metric_point {_RANGE}"
_RECENT = f"SELECT step, value FROM metric_recent {_RANGE}"
_ENDS = (
    "SELECT min(step), max(step) FROM (SELECT * FROM ({0} ORDER BY step LIMIT 1) UNION ALL "
    "SELECT * FROM ({0} ORDER BY step DESC LIMIT 1))"
)
_LAST = f"(SELECT value FROM {{}} {_RANGE} ORDER BY step DESC LIMIT 1)"
_SUMMED_UP = (
    "SELECT min(step), max(step), count(*), count(*) - count(value), min(value), max(value), avg(value), {} FROM {}"
)
_OF_FOLDED = _SUMMED_UP.format(_LAST.format("metric_point"), f"metric_point {_RANGE}")
_OF_BOTH = _SUMMED_UP.format(
    f"CASE WHEN EXISTS ({_RECENT}) THEN {_LAST.format('metric_recent')} ELSE {_LAST.format('metric_point')} END",
    f"({_FOLDED} UNION ALL {_RECENT})",
)


def buckets(connection: Connection, series: Series, first: int, last: int, count: int) -> list[tuple[Any, ...]]:
    """Sum up a curve in at most so many buckets of equal ranges of steps; buckets without points are left out.

    Each bucket is a SELECT over its range, which costs 5 us beside its points. One SELECT that groups all points by a
    computed bucket sorts them first: five times as long for 1,000,000 points.
    """
    key = series[2:]
    with one_state(connection):
        ends = [connection.execute(_ENDS.format(part), (*key, first, last)).fetchone() for part in (_FOLDED, _RECENT)]
        steps = [step for pair in ends for step in pair if step is not None]
        if not steps:
            return []
        first, last, (first_recent, _) = min(steps), max(steps), ends[1]
        span = last - first + 1
        count = min(count, span)
        bounds = [first + number * span // count for number in range(count + 1)]
        rows: list[tuple[Any, ...]] = []
        for low, high in pairwise(bounds):
            sql = _OF_FOLDED if first_recent is None or high <= first_recent else _OF_BOTH
            row = connection.execute(sql, (*key, low, high - 1)).fetchone()
            if row[2]:
                numbers = [nan if value is None else value for value in row[4:]]
                rows.append((series.experiment_id, series.metric, *row[:4], *numbers))
    return rows
