"""What texts, paths, and the names, values and steps of metrics may be; and which direction of a metric is better."""

from __future__ import annotations

import math
import operator
import os
import re
import reprlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, MetricError

MAX_STEP = 2**63 - 1

#: A metric whose name has one of these words is better when lower; every other is better when higher. A number behind
#: the word ("loss2") makes no difference, nor what stands before "loss" and "error" without a break ("valloss").
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
        "smape",
        "msle",
        "rmsle",
        "huber",
        "nll",
        "bce",
        "ce",
        "entropy",
        "crossentropy",
        "xent",
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
#: What ``float()`` would read, or say of a complex number that there is none.
_NO_NUMBERS = (str, bytes, bytearray, complex)
#: What says that there is none; anything else may come of a signal's handler, and is passed on.
_NO_CONVERSION = (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError, AttributeError)
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")


def assumed_mode(name: str) -> str:
    """Tell the mode of a metric that nobody defined: "min" when a word of its name is in `LOWER_IS_BETTER`.

    Example:
        >>> assumed_mode("val/focalLoss"), assumed_mode("val/iou"), assumed_mode("test_HD95"), assumed_mode("valloss2")
        ('min', 'max', 'min', 'min')
    """
    words = [word.lower() for word in _WORD.findall(name[:1000])]
    return "min" if any(map(_is_lower_better, words)) else "max"


def _is_lower_better(word: str) -> bool:
    plain = word.rstrip("0123456789")
    return word in LOWER_IS_BETTER or plain in LOWER_IS_BETTER or plain.endswith(("loss", "error"))


_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = _shortener.maxlong = 120


def shown(value: object) -> str:
    """Write out a value for a message, shortened: a list of a million numbers takes a second to write out.

    Example:
        >>> shown("val/iou"), len(shown("x" * 1_000_000))
        ("'val/iou'", 120)
    """
    try:
        return _shortener.repr(value)
    except ValueError:  # of more digits than Python writes out
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"


def checked_mode(mode: object) -> str:
    """Give "max" or "min" back, or raise `InvalidValueError`."""
    if mode not in ("max", "min"):
        raise InvalidValueError(f'mode {shown(mode)} is unknown; give "max" or "min"')
    return cast(str, mode)


def checked_text(value: object, what: str, *, empty: bool = False) -> str:
    """Give a str back that SQLite can hold, or raise an error that names the argument.

    Example:
        >>> checked_text("unet", "experiment_name")
        'unet'
    """
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} {shown(value)} is a {type(value).__name__}; give a str")
    if not empty and not value.strip():
        raise InvalidValueError(f"{what} {shown(value)} is empty; give a name")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidValueError(
                f"{what} {shown(value)} has a lone surrogate, which UTF-8 cannot hold; "
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
        raise InvalidTypeError(f"{what} {shown(value)} is a {type(value).__name__}; give a path")
    return checked_text(os.fspath(cast("str | os.PathLike[str]", value)), what)


def checked_name(name: object) -> str:
    """Check a metric's name."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"metric name {shown(name)} is a {type(name).__name__}; give a str")
    if not name:
        raise MetricError("a metric name is empty; give one such as 'val/iou'")
    return checked_text(name, "metric name", empty=True)


def checked_step(step: object, what: str = "step") -> int:
    """Check a step or an epoch: a whole number from 0 to 2^63-1 (numpy integers too, 3.0 not).

    Example:
        >>> checked_step(7)
        7
    """
    if isinstance(step, bool) or str(getattr(step, "dtype", "")) == "torch.bool":  # an index, there
        raise InvalidTypeError(f"{what} {shown(step)} is a bool; give a whole number")
    try:
        number = operator.index(cast(Any, step))
    except TypeError as error:
        raise InvalidTypeError(f"{what} {shown(step)} is a {type(step).__name__}; give a whole number") from error
    if not 0 <= number <= MAX_STEP:
        raise MetricError(f"{what} {shown(number)} is outside 0 to 2^63-1; give a whole number of steps or epochs")
    return number


def number(name: str, value: object) -> float:
    """Turn a value into a float: float, int, bool, Decimal, numpy, torch of one element, any device.

    NaN and infinities are kept; an integer beyond 2^53 takes the nearest double, as ``float()`` does.

    Raises:
        MetricError: When it is no number, complex, masked, a time, beyond the largest double, or has more than one
            element.

    Example:
        >>> number("loss", 3), number("ok", True)
        (3.0, 1.0)
    """
    if isinstance(value, (float, int)):
        try:
            return float(value)
        except OverflowError:
            pass  # said below, as of everything that is beyond a double
    if value is None or isinstance(value, _NO_NUMBERS):
        raise MetricError(_no_number(name, value))
    kind = type(value).__name__
    if isinstance(value, (list, tuple, range)):
        raise MetricError(_many_numbers(name, f"{shown(cast(object, value))} is a {kind}"))
    shape: Any = getattr(value, "shape", ())
    if shape and not _is_one(shape):
        raise MetricError(_many_numbers(name, f"it is a {kind} of shape {tuple(shape)}"))
    # Both would turn into a number that means nothing.
    if _is_time(value) or _is_masked(value):
        raise MetricError(_no_number(name, value))
    try:
        item: Any = getattr(value, "item", None)
        plain: Any = item() if callable(item) else value
        if isinstance(plain, _NO_NUMBERS):
            raise TypeError(f"it is a {type(plain).__name__}")
        found = float(plain)
        if math.isinf(found) and plain != found:
            raise OverflowError("it is beyond the largest double")
    except _NO_CONVERSION as error:
        raise MetricError(
            f"metric {shown(name)}: {shown(value)} is a {kind} that does not turn into a double "
            f"({error}); give a real number"
        ) from error
    return found


def _is_one(shape: Any) -> bool:
    try:
        return math.prod(map(int, shape)) == 1
    except TypeError:  # what is called shape may be anything
        return True


def _is_masked(value: object) -> bool:
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray) and bool(masked.is_masked(value))


def _is_time(value: object) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M")


def _no_number(name: str, value: object) -> str:
    return f"metric {shown(name)}: {shown(value)} is a {type(value).__name__}; give a real number"


def _many_numbers(name: str, what: str) -> str:
    return (
        f"metric {shown(name)}: {what}, and one number is meant; reduce it (.mean()), or give log_history the series "
        "(log_metrics takes series where all of its values are)"
    )


def numbers(name: str, values: object) -> list[float]:
    """Turn a sequence, a one-dimensional array or tensor into floats."""
    try:
        plain = _plain_sequence(values)
    except RuntimeError as error:  # PyTorch's: a nested tensor, a device without values, a kernel that failed before
        raise MetricError(
            f"metric {shown(name)}: a {type(values).__name__} does not turn into a series ({error}); give a list"
        ) from error
    if plain is None:
        raise MetricError(
            f"metric {shown(name)}: {shown(values)} is a {type(values).__name__}, and a series is meant; give a list"
        )
    if set(map(type, plain)) == {float}:  # one pass in C: most series are long and plain
        return list(plain)
    found: list[float] = []
    for index, value in enumerate(plain):
        try:
            found.append(number(name, value))
        except MetricError as error:
            raise MetricError(f"value {index} of a series: {error}") from error
    return found


def steps_of(values: object) -> list[int]:
    """Turn a sequence, a one-dimensional array or tensor into steps."""
    if isinstance(values, range):
        if values:
            checked_step(values[0])
            checked_step(values[-1])
        return list(values)
    plain = _plain_sequence(values)
    if plain is None:
        raise InvalidTypeError(f"steps {shown(values)} are a {type(values).__name__}; give a list of whole numbers")
    if set(map(type, plain)) == {int} and min(plain) >= 0 and max(plain) <= MAX_STEP:
        return list(plain)
    return [checked_step(s) for s in plain]


def _plain_sequence(values: object) -> Sequence[Any] | None:
    if isinstance(values, (str, bytes, bytearray, Mapping)):
        return None
    if isinstance(values, (list, tuple)):
        return cast("Sequence[Any]", values)
    if _is_time(values):
        return None
    to_list: Any = getattr(values, "tolist", None)
    try:
        plain: Any = to_list() if callable(to_list) else list(cast(Any, values))
    except TypeError:
        return None
    return cast("Sequence[Any]", plain) if isinstance(plain, list) else None
