"""The writes of metrics as records, for the journal: `store.metrics` writes them down without that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from crackseg_tracker.store import metrics
from crackseg_tracker.store.changes import Change, Target

#: One call of ``log_metrics``: the values, the step (None: the next one) and the moment (ms since the creation).
Call = tuple[Mapping[str, float], int | None, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCalls(Change):
    """Calls of ``log_metrics``, in order."""

    calls: Sequence[Call]

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the points."""
        metrics.write_calls(connection, target.experiment, self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryChange(Change):
    """Whole series; following: their steps count from the one after the last of all these metrics."""

    series: Mapping[str, metrics.Points]
    following: bool = False

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the points."""
        metrics.write_history(connection, target.experiment, self.series, following=self.following)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesChange(Change):
    """Metrics per sample: (sample, metric, value)."""

    split: str
    rows: Sequence[tuple[str, str, float]]
    step: int | None

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the points."""
        metrics.log_samples(connection, target.experiment, self.split, self.rows, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindChange(Change):
    """What came after a step, taken back."""

    step: int

    def apply(self, connection: Connection, target: Target) -> None:
        """Take it back."""
        metrics.rewind(connection, target.experiment, target.attempt, self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition(Change):
    """Which direction of a metric is better, for the whole catalog."""

    name: str
    mode: str
    unit: str | None
    description: str | None

    def apply(self, connection: Connection, target: Target) -> None:
        """Write it down."""
        connection.execute(
            "UPDATE metric_name SET mode = ?, mode_source = 'defined', unit = coalesce(?, unit), "
            "description = coalesce(?, description) WHERE id = ?",
            (self.mode, self.unit, self.description, metrics.intern(connection, self.name)),
        )
