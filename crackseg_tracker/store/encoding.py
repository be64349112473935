"""Changes as JSON, for the journal: the name of the class and its fields. No pickle, whatever the file says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from crackseg_tracker.config import CapturedConfig, Param
from crackseg_tracker.environment import Environment, ProcessFacts
from crackseg_tracker.fingerprint import FileFacts
from crackseg_tracker.store import changes, metric_changes
from crackseg_tracker.store.attempts import AttemptChange
from crackseg_tracker.store.changes import Change
from crackseg_tracker.store.metrics import Points

_KINDS: dict[str, type[Change]] = {
    kind.__name__: kind
    for kind in (
        changes.DescriptionChange,
        changes.TagChange,
        changes.ProgressChange,
        changes.ParamsChange,
        changes.ArtifactChange,
        changes.DigestChange,
        changes.StatusChange,
        changes.AttemptEnd,
        metric_changes.MetricCalls,
        metric_changes.HistoryChange,
        metric_changes.SamplesChange,
        metric_changes.RewindChange,
        metric_changes.MetricDefinition,
        AttemptChange,
    )
}


def config_of(value: list[Any] | None) -> CapturedConfig | None:
    """Make a config again of what JSON made of it."""
    if value is None:
        return None
    config = CapturedConfig._make(value)
    return config._replace(params=tuple(Param._make(p) for p in config.params), missing=tuple(config.missing))


# JSON turns named tuples into lists; what to make of a field's value, by the field's name.
_REBUILT: dict[str, Callable[[Any], Any]] = {
    "params": lambda value: [Param._make(one) for one in value],
    "facts": FileFacts._make,
    "before": FileFacts._make,
    "series": lambda value: {name: Points._make(columns) for name, columns in value.items()},
    "config": config_of,
    "environment": Environment._make,
    "process": ProcessFacts._make,
}


def encode(change: Change) -> list[Any]:
    """Give what JSON can hold of a change.

    Example:
        >>> encode(changes.DescriptionChange(at="2026-01-01", description="a"))
        ['DescriptionChange', {'at': '2026-01-01', 'description': 'a'}]
    """
    names = [field.name for field in dataclasses.fields(change)]
    return [type(change).__name__, {name: getattr(change, name) for name in names}]


def decode(kind: str, fields: dict[str, Any]) -> Change:
    """Make the change again.

    Raises:
        KeyError, TypeError: A later release wrote a kind or a field that this one does not know.
    """
    rebuilt = {name: _REBUILT[name](value) if name in _REBUILT else value for name, value in fields.items()}
    return _KINDS[kind](**rebuilt)
