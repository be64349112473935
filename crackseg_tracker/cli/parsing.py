"""What is typed, as what the public API takes: conditions, moments."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from crackseg_tracker.errors import InvalidValueError

if TYPE_CHECKING:
    from crackseg_tracker import Catalog
    from crackseg_tracker.filters import Condition, MetricField, ParamField

_CONDITION = re.compile(r"\s*(.+?)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SUMMARIES = ("best", "last", "first", "min", "max")


def moment(text: str, now: datetime | None = None) -> datetime | str:
    """Read ``2d`` as two days ago; else leave ISO 8601 to the API. Units: s, m, h, d, w.

    Example:
        >>> moment("36h", datetime(2026, 1, 3))
        datetime.datetime(2026, 1, 1, 12, 0)
        >>> moment("2026-01-02")
        '2026-01-02'
    """
    if _AGO.fullmatch(text.strip()):
        now = now or datetime.now().astimezone()
        try:
            return now - age(text)
        except OverflowError as error:
            raise InvalidValueError(f"{text!r} ago is before all time; give less") from error
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidValueError(
            f"{text!r} is no time: give how long ago (30m, 12h, 2d, 1w) or ISO 8601 (2026-11-24, 2026-11-24T10:00)"
        ) from error
    return text


def age(text: str) -> timedelta:
    """Read ``30d`` as thirty days.

    Example:
        >>> age("36h")
        datetime.timedelta(days=1, seconds=43200)
    """
    found = _AGO.fullmatch(text.strip())
    if not found:
        raise InvalidValueError(f"{text!r} is no age: give 30m, 12h, 2d or 8w")
    try:
        return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    except OverflowError as error:
        raise InvalidValueError(f"{text!r} is longer than all time; give less") from error


def split_condition(text: str) -> tuple[str, str, Any]:
    """Read ``training.lr<0.01`` as a name, an operator and a value.

    A value is a number, true, false, null, or a text, which may stand in quotes.

    Example:
        >>> split_condition("training.lr<0.01"), split_condition("model = 'unet'")
        (('training.lr', '<', 0.01), ('model', '=', 'unet'))
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise InvalidValueError(
            f"{text!r} is no condition; write a param or metric, one of = != < <= > >=, and a value: training.lr<0.01"
        )
    return found[1], found[2], value(found[3])


def value(text: str) -> str | int | float | bool | None:
    """Read a value as the config's YAML would.

    Example:
        >>> value("3"), value("1e-3"), value("true"), value("null"), value("unet"), value("'3'")
        (3, 0.001, True, None, 'unet', '3')
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "True", "false", "False"):
        return text in ("true", "True")
    if text in ("null", "None", "none"):
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def condition(text: str, catalog: Catalog) -> Condition:
    """Make a condition of a catalog's params and metrics; see `field` for the names."""
    name, operator, wanted = split_condition(text)
    subject = field(name, catalog)
    made = {
        "=": lambda: subject == wanted,
        "!=": lambda: subject != wanted,
        "<": lambda: subject < wanted,
        "<=": lambda: subject <= wanted,
        ">": lambda: subject > wanted,
        ">=": lambda: subject >= wanted,
    }[operator]()
    return cast("Condition", made)


def field(name: str, catalog: Catalog) -> ParamField | MetricField:
    """Tell what a name means: ``lr`` a param or the best of a metric; ``loss.last`` another summary of it.

    ``param:`` or ``metric:`` before it decides where both exist.

    Raises:
        InvalidValueError: It is both, or neither; suggests the nearest.
    """
    from crackseg_tracker.filters import metric, param

    kind, _, rest = name.partition(":")
    if kind == "param":
        return param(rest)
    metrics = {str(row[0]) for row in catalog.sql("SELECT metric FROM metric_names")}
    known_metric = _metric_of(rest if kind == "metric" else name, metrics)
    if kind == "metric":
        base, summary = known_metric or (rest, "best")
        return cast("MetricField", getattr(metric(base), summary))
    is_param = bool(catalog.sql("SELECT 1 FROM params WHERE name = ? LIMIT 1", [name]))
    if known_metric and is_param:
        raise InvalidValueError(f"{name!r} is a param and a metric; write param:{name} or metric:{name}")
    if known_metric:
        return cast("MetricField", getattr(metric(known_metric[0]), known_metric[1]))
    if not is_param:
        from crackseg_tracker.catalog.arguments import suggestion

        params = {str(row[0]) for row in catalog.sql("SELECT DISTINCT name FROM params")}
        raise InvalidValueError(f"no param or metric {name!r}; {suggestion(name, sorted(metrics | params))}")
    return param(name)


def _metric_of(name: str, known: set[str]) -> tuple[str, str] | None:
    if name in known:
        return name, "best"
    base, _, summary = name.rpartition(".")
    return (base, summary) if base in known and summary in _SUMMARIES else None
