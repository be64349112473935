"""What all plots share: a Figure without pyplot's state, colours that colour-blind people tell apart, labels."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from crackseg_tracker.errors import InvalidValueError
from crackseg_tracker.formatting import neutral
from crackseg_tracker.formatting.text import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, without the yellow that paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#9A9A9A"
INK = "#333333"
FORMATS = ("png", "svg", "pdf")
_LONGEST_LABEL = 36


def new_figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Any]]:
    """Make a figure of so many inches with axes side by side.

    Raises:
        ModuleNotFoundError: Without matplotlib: ``pip install 'crackseg_tracker[plot]'``.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        message = "matplotlib is missing: pip install 'crackseg_tracker[plot]'"
        raise ModuleNotFoundError(message, name="matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(cast(Any, figure).subplots(1, columns, squeeze=False)[0])


def figure_of(ax: Axes) -> Figure:
    """Give the figure that an ax is on."""
    return cast("Figure", ax.figure)


def canvas_of(ax: Axes | None, width: float, height: float) -> tuple[Figure, Any]:
    """Give the ax to draw on, and its figure: the one that is given, or that of a new figure."""
    if ax is not None:
        return figure_of(ax), ax
    figure, [canvas] = new_figure(width, height)
    return figure, canvas


def plain(text: str, longest: int = _LONGEST_LABEL) -> str:
    r"""Write a name as a label: on one line, cut in the middle, and no mathematics made of its dollars.

    Example:
        >>> plain("cost in $ and $")
        'cost in \\$ and \\$'
    """
    shown = cut(neutral(text), longest).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown  # matplotlib hides labels that begin with one


def with_unit(name: str, unit: str | None) -> str:
    """Name an axis.

    Example:
        >>> with_unit("time", "s"), with_unit("iou", None)
        ('time (s)', 'iou')
    """
    return plain(f"{name} ({unit})" if unit else name, 60)


def tidy(ax: Any, *, grid: str = "both") -> None:
    """Take away the ink that says nothing."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#BBBBBB")
    ax.tick_params(colors=INK, labelsize=9, length=3)
    ax.grid(visible=True, axis=grid, color="#E6E6E6", linewidth=0.8)
    ax.set_axisbelow(True)


def say_empty(ax: Any, what: str) -> None:
    """Say in the middle that there is nothing to draw: an empty picture looks like a mistake."""
    ax.text(0.5, 0.5, what, transform=ax.transAxes, ha="center", va="center", color=INK)
    ax.set_xticks([])
    ax.set_yticks([])


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a file; its ending says the format: png, svg or pdf. The same data give the same bytes.

    Raises:
        InvalidValueError: The ending is none of these.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InvalidValueError(f"{os.fspath(path)!r} does not end in {', '.join('.' + one for one in FORMATS)}")
    with open(path, "wb") as stream:
        write(figure, stream, kind)


def write(figure: Figure, stream: Any, kind: str) -> None:
    """Write a figure to an open binary file."""
    import warnings

    import matplotlib

    with_settings: Any = cast(Any, matplotlib).rc_context
    date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with warnings.catch_warnings(), with_settings({"svg.hashsalt": "crackseg_tracker"}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a name in a script the font lacks
        cast(Any, figure).savefig(stream, format=kind, dpi=150, metadata=cast(Any, date))


def ordered(names: Iterable[str]) -> list[str]:
    """Give names once each, in the order of their first appearance."""
    return list(dict.fromkeys(names))
