"""Values as text: for eyes, with all digits, and as JSON; nothing in them steers a terminal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite, isnan
from typing import cast

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_STEERING_BEYOND_LINES = re.compile(_STEERING.pattern.replace("\x00-\x1f", "\x00-\x08\x0b\x0c\r-\x1f"))
_STORED_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def neutral(text: str) -> str:
    r"""Show what would steer a terminal, instead of doing it; all on one line.

    Example:
        >>> neutral("unet \x1b[31m\n")
        'unet \\x1b[31m\\n'
    """
    return text if text.isprintable() else _STEERING.sub(_shown_character, text)


def neutral_lines(text: str) -> str:
    r"""Do as `neutral`, but keep tabs and the ends of lines.

    Example:
        >>> neutral_lines("one\ntwo\x07")
        'one\ntwo\\x07'
    """
    return text if text.isprintable() else _STEERING_BEYOND_LINES.sub(_shown_character, text)


def _shown_character(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]


def number_text(value: float) -> str:
    """Write a number for eyes: an int whole, a float with 6 significant digits.

    Example:
        >>> number_text(0.1 + 0.2), number_text(12345678), number_text(1e-5)
        ('0.3', '12345678', '1e-05')
    """
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def human_text(value: object) -> str:
    """Write a value for eyes, on one line.

    Example:
        >>> human_text({"iou": 0.7, "loss": None}), human_text(("best", "kept")), human_text(None)
        ('iou=0.7, loss=', 'best, kept', '')
        >>> human_text("2026-11-24T10:54:24.123456+00:00")
        '2026-11-24T10:54:24Z'
    """
    if isinstance(value, str):
        if len(value) == 32 and _STORED_TIME.fullmatch(value):
            return f"{value[:19]}Z"
        return neutral(value)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return ", ".join(f"{human_text(key)}={human_text(one)}" for key, one in pairs)
    if isinstance(value, (tuple, list, set, frozenset)):
        return ", ".join(map(human_text, cast("Iterable[object]", value)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return neutral(exact_text(value))


def exact_text(value: object) -> str:
    """Write a value with all its digits: what a program may read back."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"x'{bytes(cast(bytes, value)).hex()}'"
    if isinstance(value, (Mapping, tuple, list, set, frozenset)):
        return json_text(cast(object, value))
    isoformat: object = getattr(value, "isoformat", None)
    return str(isoformat()) if callable(isoformat) else str(value)


def display_width(text: str) -> int:
    """Count the cells that a text takes on a terminal: wide characters take two, combining marks none.

    Example:
        >>> display_width("unet"), display_width("路面"), display_width("e\u0301")
        (4, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Shorten a text: a sentence at its end; a path or an id in the middle, for both its ends tell it from others."""
    if display_width(text) <= width:
        return text
    tail = 0 if " " in text else (width - 1) // 2
    if text.isascii():
        return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"
    end = _taken(text[::-1], tail)[::-1]
    return f"{_taken(text, width - 1 - display_width(end))}…{end}"


def _taken(text: str, width: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += _cells(character)
        if taken > width:
            return text[:index]
    return text


def json_text(value: object) -> str:
    r"""Write a value as JSON on one line; NaN and infinities, which JSON does not know, as texts.

    Example:
        >>> json_text({"loss": float("inf"), "tags": ("a",), "raw": b"a"})
        '{"loss": "Infinity", "tags": ["a"], "raw": "x\'61\'"}'
    """
    import json

    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_json)
    except ValueError:  # NaN or an infinity, which JSON does not know
        text = json.dumps(_with_named_floats(value), ensure_ascii=False, allow_nan=False, default=_as_json)
    if text.isprintable():
        return text
    return _STEERING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _as_json(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    if isinstance(value, (set, frozenset)):
        return sorted(cast("Iterable[object]", value), key=str)
    return exact_text(value)


def _with_named_floats(value: object) -> object:
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value == inf else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _with_named_floats(one) for key, one in cast("Mapping[str, object]", value).items()}
    if isinstance(value, (tuple, list)):
        return [_with_named_floats(one) for one in cast("Sequence[object]", value)]
    return value
