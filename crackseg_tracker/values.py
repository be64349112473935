"""What texts, paths, and the names, values and steps of metrics may be; and which direction of a metric is better."""

from __future__ import annotations

import operator
import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, MetricError

MAX_STEP = 2**63 - 1

#: A metric whose name has one of these words is better when lower; every other is better when higher.
LOWER_IS_BETTER = frozenset(
    [
        "loss",
        "losses",
        "error",
        "errors",
        "err",
        "mae",
        "mse",
        "rmse",
        "mape",
        "msle",
        "nll",
        "bce",
        "ce",
        "perplexity",
        "ppl",
        "wer",
        "cer",
        "fid",
        "lpips",
        "assd",
        "asd",
        "hd",
        "hd95",
        "hausdorff",
        "distance",
        "latency",
        "seconds",
        "duration",
        "divergence",
        "kl",
        "brier",
        "ece",
        "regret",
    ]
)
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")


def assumed_mode(name: str) -> str:
    """Tell the mode of a metric that nobody defined: "min" when a word of its name is in `LOWER_IS_BETTER`.

    Example:
        >>> assumed_mode("val/focalLoss"), assumed_mode("val/iou"), assumed_mode("test_HD95")
        ('min', 'max', 'min')
    """
    return "min" if any(w.lower() in LOWER_IS_BETTER for w in _WORD.findall(name[:1000])) else "max"


def checked_mode(mode: object) -> str:
    """Give "max" or "min" back, or raise `InvalidValueError`."""
    if mode not in ("max", "min"):
        raise InvalidValueError(f'mode {mode!r} is unknown; give "max" or "min"')
    return cast(str, mode)


def checked_text(value: object, what: str, *, empty: bool = False) -> str:
    """Give a str back that SQLite can hold, or raise an error that names the argument.

    Example:
        >>> checked_text("unet", "experiment_name")
        'unet'
    """
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} {value!r} is a {type(value).__name__}; give a str")
    if not empty and not value.strip():
        raise InvalidValueError(f"{what} {value!r} is empty; give a name")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidValueError(
                f"{what} {value!r} has a lone surrogate, which UTF-8 cannot hold; "
                "encode it with errors='replace' first"
            ) from error
    return str(value)


def checked_path(value: object, what: str) -> str:
    """Give a path back as text, or raise an error that names the argument.

    Example:
        >>> checked_path("outputs/best.pth", "file_path")
        'outputs/best.pth'
    """
    if not isinstance(value, (str, os.PathLike)):
        raise InvalidTypeError(f"{what} {value!r} is a {type(value).__name__}; give a path")
    return checked_text(os.fspath(cast("str | os.PathLike[str]", value)), what)


def checked_name(name: object) -> str:
    """Check a metric's name."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"metric name {name!r} is a {type(name).__name__}; give a str")
    if not name:
        raise MetricError("a metric name is empty; give one such as 'val/iou'")
    return checked_text(name, "metric name", empty=True)


def checked_step(step: object, what: str = "step") -> int:
    """Check a step or an epoch: a whole number from 0 to 2^63-1 (numpy integers too, 3.0 not).

    Example:
        >>> checked_step(7)
        7
    """
    if isinstance(step, bool):
        raise InvalidTypeError(f"{what} {step!r} is a bool; give a whole number")
    try:
        number = operator.index(cast(Any, step))
    except TypeError as error:
        raise InvalidTypeError(f"{what} {step!r} is a {type(step).__name__}; give a whole number") from error
    if not 0 <= number <= MAX_STEP:
        raise MetricError(f"{what} {number} is outside 0 to 2^63-1; give a whole number of steps or epochs")
    return number


def number(name: str, value: object) -> float:
    """Turn a value into a float: float, int, bool, Decimal, numpy, torch of one element, any device.

    NaN and infinities are kept; an integer beyond 2^53 takes the nearest double, as ``float()`` does.

    Raises:
        MetricError: When it is no number, complex, or has more than one element.

    Example:
        >>> number("loss", 3), number("ok", True)
        (3.0, 1.0)
    """
    if isinstance(value, (float, int)):
        try:
            return float(value)
        except OverflowError as error:
            raise MetricError(f"metric {name!r}: the integer is beyond the largest double") from error
    # Messages are short: a list of a million values takes a second to write out.
    if value is None or isinstance(value, (str, bytes, bytearray, complex)):
        raise MetricError(f"metric {name!r}: {reprlib.repr(value)} is a {type(value).__name__}; give a real number")
    shape: Any = getattr(value, "shape", ())
    try:
        size = 1
        for extent in shape:
            size *= int(extent)
    except TypeError:
        size = 1
    if size != 1:
        raise MetricError(
            f"metric {name!r}: a {type(value).__name__} of shape {tuple(shape)} is given where one number is meant; "
            "reduce it (.mean()), or use log_history for a series"
        )
    item: Any = getattr(value, "item", None)
    try:
        if callable(item):
            plain = item()
            if isinstance(plain, (float, int)):
                return float(plain)
            if type(plain) is not type(value):  # numpy's longdouble gives itself
                return number(name, plain)
        if hasattr(value, "__float__") or hasattr(value, "__index__"):
            return float(cast(Any, value))
    except MetricError:
        raise
    except Exception as error:
        raise MetricError(f"metric {name!r}: {type(value).__name__} does not turn into a number: {error}") from error
    raise MetricError(f"metric {name!r}: {reprlib.repr(value)} is a {type(value).__name__}; give a real number")


def numbers(name: str, values: object) -> list[float]:
    """Turn a sequence, a one-dimensional array or tensor into floats."""
    plain = _plain_sequence(values)
    if plain is None:
        raise MetricError(f"metric {name!r}: a {type(values).__name__} is given where a series is meant; give a list")
    if set(map(type, plain)) == {float}:  # one pass in C: most series are long and plain
        return list(plain)
    return [number(name, v) for v in plain]


def steps_of(values: object) -> list[int]:
    """Turn a sequence, a one-dimensional array or tensor into steps."""
    if isinstance(values, range):
        if values:
            checked_step(values[0])
            checked_step(values[-1])
        return list(values)
    plain = _plain_sequence(values)
    if plain is None:
        raise InvalidTypeError(f"steps are a {type(values).__name__}; give a list of whole numbers")
    if set(map(type, plain)) == {int} and min(plain) >= 0 and max(plain) <= MAX_STEP:
        return list(plain)
    return [checked_step(s) for s in plain]


def _plain_sequence(values: object) -> Sequence[Any] | None:
    if isinstance(values, (str, bytes, bytearray, Mapping)):
        return None
    if isinstance(values, (list, tuple)):
        return cast("Sequence[Any]", values)
    to_list: Any = getattr(values, "tolist", None)
    if callable(to_list):
        plain: Any = to_list()
        return cast("Sequence[Any]", plain) if isinstance(plain, list) else None
    try:
        return list(cast(Any, values))
    except TypeError:
        return None
