"""What the calls of `ExperimentTracker` are given, checked and turned into what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from crackseg_tracker import values
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, MetricError
from crackseg_tracker.store import appending, metrics


def checked_mapping(value: object, what: str) -> dict[Any, Any]:
    """Give a mapping as a dictionary, or raise `InvalidTypeError`; `InvalidValueError` where it cannot be read.

    Example:
        >>> checked_mapping({"iou": 0.7}, "metrics")
        {'iou': 0.7}
    """
    if type(value) is dict:
        return cast("dict[Any, Any]", value)
    if not isinstance(value, Mapping):
        raise InvalidTypeError(
            f"{what} {values.shown(value)} is a {type(value).__name__}; give a mapping of names to numbers"
        )
    try:
        return dict(cast("Mapping[Any, Any]", value))
    except Exception as error:  # of a config, a value may be missing, or refer to one that is not there
        reason = str(error).partition("\n")[0]
        raise InvalidValueError(f"{what} cannot be read ({reason}); give a mapping of names to numbers") from error


def numbers_of(results: object, what: str) -> dict[str, float]:
    """Check names and numbers, and say of what they are where that is not enough to find the wrong one.

    Example:
        >>> numbers_of({"iou": 1}, "results of sample 'image_017'")
        {'iou': 1.0}
    """
    given = checked_mapping(results, what)
    try:
        return {values.checked_name(name): values.number(name, value) for name, value in given.items()}
    except (MetricError, InvalidTypeError) as error:
        raise type(error)(f"{what}: {error}") from error


def check_word(value: object, what: str, known: Sequence[str]) -> None:
    """Raise `InvalidValueError` unless it is one of the known words."""
    if value not in known:
        *others, last = (f'"{word}"' for word in known)
        raise InvalidValueError(f"{what} {values.shown(value)} is unknown; give {', '.join(others)} or {last}")


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Give tags in their order, each once.

    Example:
        >>> checked_tags(["best", "paper", "best"])
        ['best', 'paper']
    """
    if isinstance(tags, (str, bytes)):
        raise InvalidTypeError(f"tags {values.shown(tags)} is a single {type(tags).__name__}; give a list of tags")
    try:
        given = list(tags)
    except TypeError as error:
        raise InvalidTypeError(f"tags {values.shown(tags)} is a {type(tags).__name__}; give a list of str") from error
    return list(dict.fromkeys(values.checked_text(tag, "tag") for tag in given))


def are_series(given: Mapping[Any, Any]) -> bool:
    """Tell whether all values are series: lists, tuples, or arrays of one dimension."""
    return bool(given) and all(
        isinstance(v, (list, tuple, range)) or len(getattr(v, "shape", ())) == 1 for v in given.values()
    )


def points_of(series: appending.SeriesWriter, name: str, steps: Any, numbers: Any, times: Any) -> metrics.Points:
    """Check a series: as many steps as values, and as times where some are given (Unix, in seconds)."""
    values.checked_name(name)
    points = metrics.Points(values.steps_of(steps), values.numbers(name, numbers), _offsets_of(series, times))
    if not points.offsets_ms and times is None:
        points = points._replace(offsets_ms=[series.offset_ms()] * len(points.steps))
    counts = [len(column) for column in points]
    if len(set(counts)) > 1:
        given = f"{counts[0]} steps and {counts[1]} values" + ("" if times is None else f" and {counts[2]} times")
        raise MetricError(f"metric {values.shown(name)}: {given}; give as many of each")
    return points


def _offsets_of(series: appending.SeriesWriter, times: Any) -> list[int]:
    moments = [] if times is None else values.numbers("times", times)
    for moment in moments:
        if not -1e11 < moment < 1e11:
            raise MetricError(f"time {moment} is not a Unix time in seconds; give time.time() or the like")
    return [series.offset_ms(moment) for moment in moments]


def lenient_text(message: object) -> str:
    """Take any message: ``fail_experiment`` sits in ``except`` blocks, where a second error would hide the first."""
    try:
        return str(message).encode(errors="backslashreplace").decode()
    except Exception:  # an object whose own __str__ raises
        return type(message).__name__
