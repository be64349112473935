"""A table for a terminal: aligned, and as wide as the terminal at most."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from crackseg_tracker.formatting.columns import Rows, human_columns
from crackseg_tracker.formatting.text import cut, display_width, neutral

#: Gives a padded text of a column (None: of the heading) back with colours around it.
Paint = Callable[[str, str | None], str]

_NARROWEST = 8
#: What the next command is given: cut last.
_IDS = ("experiment_id", "artifact_id")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def as_table(columns: Sequence[str], rows: Rows, width: int | None = None, paint: Paint | None = None) -> str:
    """Write an aligned table; numbers on the right.

    Args:
        columns: Names.
        rows: As long as there are columns.
        width: At most so many cells. Texts are shortened with "…", ids last, numbers and times never; where not even
            that fits, each row becomes a block of lines, a value on each.
        paint: Puts colours around a padded text of a column.

    Example:
        >>> print(as_table(["experiment", "iou"], [("unet-1", 0.5), ("unet-2", 0.625)]))
        experiment    iou
        unet-1      0.500
        unet-2      0.625
    """
    heads = [neutral(name) for name in columns]
    cells, numeric = human_columns(rows, len(columns))
    widths = [max(map(display_width, column), default=0) for column in cells]
    if width is not None:
        full = [max(display_width(head), cell) for head, cell in zip(heads, widths, strict=True)]
        rigid = [number or _are_times(column) for number, column in zip(numeric, cells, strict=True)]
        least = [w if stiff else min(w, _NARROWEST) for w, stiff in zip(widths, rigid, strict=True)]
        least = [max(low, min(f, _NARROWEST)) for low, f in zip(least, full, strict=True)]
        whole_ids = [f if name in _IDS else low for f, low, name in zip(full, least, columns, strict=True)]
        available = width - 2 * (len(columns) - 1)
        fitted = _fitted(full, whole_ids, available) or _fitted(full, least, available)
        if fitted is None:
            return _blocks(heads, cells, paint)
        heads = [cut(head, limit) for head, limit in zip(heads, fitted, strict=True)]
        cells = [
            column if cell <= limit else [cut(text, limit) for text in column]
            for column, cell, limit in zip(cells, widths, fitted, strict=True)
        ]
        widths = [min(cell, limit) for cell, limit in zip(widths, fitted, strict=True)]
    padded: list[list[str]] = []
    for index, (head, column) in enumerate(zip(heads, cells, strict=True)):
        full_width = max(widths[index], display_width(head))
        last = index == len(heads) - 1
        texts = _padded([head, *column], full_width, numeric[index], last and not paint)
        if paint:
            texts = [paint(texts[0], None), *(paint(text, columns[index]) for text in texts[1:])]
        padded.append(texts)
    return "\n".join(line if paint else line.rstrip() for line in map("  ".join, zip(*padded, strict=True)))


def _are_times(texts: Sequence[str]) -> bool:
    return any(texts) and all(not text or _TIME.fullmatch(text) for text in texts)


def _fitted(full: list[int], least: list[int], available: int) -> list[int] | None:
    """Shorten the widest columns to one width that makes all fit; None when there is none."""
    if sum(least) > available:
        return None
    level = max(full, default=0)
    while (fitted := [max(low, min(f, level)) for f, low in zip(full, least, strict=True)]) and sum(fitted) > available:
        level = min(level, available) - 1
    return fitted


def _padded(texts: list[str], width: int, right: bool, last: bool) -> list[str]:
    if right:
        return [" " * (width - display_width(text)) + text for text in texts]
    if last:
        return texts
    return [text + " " * (width - display_width(text)) for text in texts]


def _blocks(heads: list[str], cells: list[list[str]], paint: Paint | None) -> str:
    width = max(map(display_width, heads), default=0)
    names = _padded(heads, width, right=False, last=False)
    if paint:
        names = [paint(name, None) for name in names]
    blocks = [
        "\n".join(f"{name}  {text.lstrip()}".rstrip() for name, text in zip(names, row, strict=True))
        for row in zip(*cells, strict=True)
    ]
    return "\n\n".join(blocks)
