"""What ``metric_summary`` holds of a series: its points summed up, so that listings and bests never read a history.

Points beyond the last step are summed up by themselves, and the stored summary is followed by that. Columns at hand are
summed up in passes of C (a tenth of the time that SQL takes to read them back); what was moved inside the file, by SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from sqlite3 import Connection
from typing import NamedTuple


class Summary(NamedTuple):
    """The columns of ``metric_summary`` that follow from the points. NaN and infinities are never an extreme."""

    count: int = 0  # pyright: ignore[reportIncompatibleMethodOverride]  (nobody asks a summary for tuple.count)
    non_finite_count: int = 0
    first_non_finite_step: int | None = None
    first_step: int | None = None
    first_value: float | None = None
    last_step: int | None = None
    last_value: float | None = None
    min_step: int | None = None
    min_value: float | None = None
    max_step: int | None = None
    max_value: float | None = None

    @property
    def next_step(self) -> int:
        """One more than the last step; 0 when there is none."""
        return 0 if self.last_step is None else self.last_step + 1

    def followed_by(self, later: Summary) -> Summary:
        """Sum up these points and later ones. Of equal extremes the earlier stays."""
        if not self.count or not later.count:
            return later if later.count else self
        odd = self.first_non_finite_step
        lowest, highest = self, self
        if later.min_value is not None and (self.min_value is None or later.min_value < self.min_value):
            lowest = later
        if later.max_value is not None and (self.max_value is None or later.max_value > self.max_value):
            highest = later
        return Summary(
            count=self.count + later.count,
            non_finite_count=self.non_finite_count + later.non_finite_count,
            first_non_finite_step=later.first_non_finite_step if odd is None else odd,
            first_step=self.first_step,
            first_value=self.first_value,
            last_step=later.last_step,
            last_value=later.last_value,
            min_step=lowest.min_step,
            min_value=lowest.min_value,
            max_step=highest.max_step,
            max_value=highest.max_value,
        )

    def is_unmoved_by(self, step: int, before: float | None, after: float) -> bool:
        """Tell whether it stays as it is when the value at a step changes: it holds nothing of either."""
        return (
            before is not None
            and isfinite(before)
            and step not in (self.first_step, self.last_step, self.min_step, self.max_step)
            and self.min_value is not None
            and self.max_value is not None
            and self.min_value < after < self.max_value
        )


_COLUMNS = ", ".join(Summary._fields)
_READ = f"SELECT {_COLUMNS} FROM metric_summary WHERE experiment = ? AND metric = ?"
_WRITE = (
    f"INSERT INTO metric_summary (experiment, metric, {_COLUMNS}, sealed) "
    f"VALUES (?, ?, {', '.join('?' for _ in Summary._fields)}, 0) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in (*Summary._fields, "sealed"))
)

_POINTS = "FROM metric_point WHERE experiment = ?1 AND metric = ?2"
# The extremes are looked up by value, and the value is read at that very step: 0.0 and -0.0 compare equal.
_AT = (
    "ON {0}.experiment = ?1 AND {0}.metric = ?2 AND {0}.step = (SELECT step {1} AND value = {2} ORDER BY step LIMIT 1)"
)
_SUM_UP = f"""
SELECT total, total - finite,
  CASE WHEN total > finite THEN (SELECT step {_POINTS} AND (abs(value) < 9e999) IS NOT 1 ORDER BY step LIMIT 1) END,
  first.step, first.value, last.step, last.value, lowest.step, lowest.value, highest.step, highest.value
FROM (SELECT count(*) AS total {_POINTS})
JOIN (SELECT count(*) AS finite, min(value) AS low, max(value) AS high {_POINTS} AND value > -9e999 AND value < 9e999)
JOIN (SELECT step, value {_POINTS} ORDER BY step LIMIT 1) AS first
JOIN (SELECT step, value {_POINTS} ORDER BY step DESC LIMIT 1) AS last
LEFT JOIN metric_point AS lowest {_AT.format("lowest", _POINTS, "low")}
LEFT JOIN metric_point AS highest {_AT.format("highest", _POINTS, "high")}"""


def of_points(steps: Sequence[int], values: Sequence[float]) -> Summary:
    """Sum up points at hand; steps rise.

    Example:
        >>> of_points([3, 4, 7], [0.5, float("inf"), 0.25])[:3]
        (3, 1, 4)
    """
    if not steps:
        return Summary()
    finite = list(filter(isfinite, values))
    odd = None if len(finite) == len(values) else next(s for s, v in zip(steps, values, strict=True) if not isfinite(v))
    lowest = values.index(min(finite)) if finite else None
    highest = values.index(max(finite)) if finite else None
    return Summary(
        count=len(values),
        non_finite_count=len(values) - len(finite),
        first_non_finite_step=odd,
        first_step=steps[0],
        first_value=values[0],
        last_step=steps[-1],
        last_value=values[-1],
        min_step=None if lowest is None else steps[lowest],
        min_value=None if lowest is None else values[lowest],
        max_step=None if highest is None else steps[highest],
        max_value=None if highest is None else values[highest],
    )


def of_file(connection: Connection, experiment: int, metric: int) -> Summary:
    """Sum up what ``metric_point`` holds of a series."""
    row = connection.execute(_SUM_UP, (experiment, metric)).fetchone()
    return Summary() if row is None else Summary._make(row)


def read(connection: Connection, experiment: int, metric: int) -> Summary:
    """Give the stored summary; an empty one where there is none."""
    row = connection.execute(_READ, (experiment, metric)).fetchone()
    return Summary() if row is None else Summary._make(row)


def write(connection: Connection, experiment: int, metric: int, summary: Summary) -> None:
    """Store the summary, open: the bests of a series enter the index when its experiment ends."""
    connection.execute(_WRITE, (experiment, metric, *summary))
