"""What the arguments of a question may be, and what to say when one is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from crackseg_tracker import values
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, MetricError
from crackseg_tracker.filters import Words
from crackseg_tracker.hyperparameters import other_names

MOST_BUCKETS = 100_000


def words(value: Words | None, what: str) -> list[str]:
    """Give one or several words as a list; None is none.

    Example:
        >>> words("iou", "metric"), words(None, "metric")
        (['iou'], [])
    """
    if value is None:
        return []
    given: Iterable[Any] = [value] if isinstance(value, str) else value
    try:
        return [values.checked_text(word, what, empty=True) for word in given]
    except TypeError as error:
        if isinstance(error, InvalidTypeError):
            raise
        raise InvalidTypeError(f"{what} {value!r} is a {type(value).__name__}; give a str or several") from error


def checked_limit(value: int | None, what: str = "limit") -> int | None:
    """Check a number of rows; None is all."""
    try:
        return None if value is None else values.checked_step(value, what)
    except MetricError as error:
        raise InvalidValueError(f"{what} is {value}; give a whole number from 0 to 2^63-1, or None for all") from error


def moment(value: datetime | str, what: str) -> str:
    """Give a time as it is stored: UTC, microseconds. Naive times are local, as the user's clock shows them.

    Example:
        >>> moment("2026-01-31T12:00:00+01:00", "since")
        '2026-01-31T11:00:00.000000+00:00'
    """
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.astimezone(UTC).isoformat(timespec="microseconds")
    except TypeError as error:
        raise InvalidTypeError(f"{what} {value!r} is a {type(value).__name__}; give a datetime or text") from error
    except (ValueError, OverflowError) as error:
        raise InvalidValueError(
            f"{what} {value!r} is no time; give a datetime, or text such as '2026-01-31'"
        ) from error


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which known words are nearest to one that is not known.

    Example:
        >>> suggestion("val/iuo", ["val/iou", "loss"])
        "did you mean 'val/iou'?"
        >>> suggestion("lr", ["training.seed", "training.lr"])
        "did you mean 'training.lr'?"
        >>> suggestion("optim.lr", ["training.seed", "training.learning_rate"])
        "did you mean 'training.learning_rate'?"
        >>> suggestion("speed", ["val/iou", "loss"])
        "there are 2: 'val/iou', 'loss'"
    """
    options = list(known)
    last_of = {option: re.split("[./]", option)[-1] for option in options}
    meant = {word, *other_names(re.split("[./]", word)[-1])}
    near = [option for option in options if last_of[option] in meant]
    near = near or difflib.get_close_matches(word, options, n=3, cutoff=0.5)
    if not near:
        parts = difflib.get_close_matches(word, set(last_of.values()), n=3, cutoff=0.7)
        near = [option for option in options if last_of[option] in parts]
    if near:
        return f"did you mean {' or '.join(map(repr, near[:3]))}?"
    more = ", ..." if len(options) > 5 else ""
    return f"there are {len(options)}: {', '.join(map(repr, options[:5]))}{more}" if options else "there is none yet"


def step_range(steps: object) -> tuple[int, int]:
    """Give the first and the last step of a slice; None is all.

    Example:
        >>> step_range(slice(100, 200))
        (100, 199)
    """
    if steps is None:
        return 0, values.MAX_STEP
    if not isinstance(steps, slice):
        raise InvalidTypeError(f"steps {steps!r} is a {type(steps).__name__}; give slice(first, stop)")
    first, stop, step = cast("tuple[Any, Any, Any]", (steps.start, steps.stop, steps.step))
    if step not in (None, 1):
        raise InvalidValueError(f"steps {steps!r} leaves steps out; give points= to thin a curve out")
    return (
        0 if first is None else values.checked_step(first, "steps"),
        values.MAX_STEP if stop is None else values.checked_step(stop, "steps") - 1,
    )


def bucket_count(points: object) -> int:
    """Check a number of buckets."""
    count = values.checked_step(points, "points")
    if not 1 <= count <= MOST_BUCKETS:
        raise InvalidValueError(f"points {count} is outside 1 to {MOST_BUCKETS}; without it you get every point")
    return count
