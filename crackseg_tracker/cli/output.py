"""Printing: data to stdout in the format that was asked for, messages to stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from crackseg_tracker import Catalog, Result

FORMATS = ("table", "json", "jsonl", "csv", "tsv", "markdown", "latex", "html")
FOUND_PROBLEMS = 3

_STATUS_COLOURS = {"completed": "green", "running": "cyan", "failed": "red", "aborted": "yellow"}


class Output(NamedTuple):
    """How to print an answer; without a format, a table on a terminal and TSV in a pipe."""

    format: str | None
    columns: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0

    @property
    def chosen_format(self) -> str:
        """The format that counts."""
        return self.format or ("table" if on_terminal() else "tsv")

    @property
    def asked(self) -> tuple[int | None, int]:
        """The limit and the offset that a question is asked with: none, when its rows are sorted here."""
        return (None, 0) if self.sort else (self.limit, self.offset)

    def show(self, result: Result[Any], selection: Sequence[str] = ()) -> None:
        """Print an answer.

        Args:
            result: The answer.
            selection: The columns that a table has when nobody chose any: what fits a terminal.
        """
        if self.sort:
            result = result.sorted_by(*self.sort)[self.offset :]
        result = result[: self.limit]
        kind = self.chosen_format
        chosen = self.columns or (tuple(selection) if kind == "table" else ())
        if chosen and chosen != ("all",):
            result = result.select(*chosen)
        if kind == "table" and not result:
            say("nothing found")
            return
        text = formatted(kind, result)
        if text:
            click.echo(text, nl=not text.endswith("\n"))

    def answer(
        self,
        catalog: str | None,
        columns: Sequence[str],
        question: Callable[[Catalog], Result[Any]],
        selection: Sequence[str] = (),
    ) -> None:
        """Open the catalog, ask, print; where no catalog is yet, the answer is empty, and how one comes is said."""
        from crackseg_tracker import Catalog, Result, settings

        location = settings.locate(catalog)
        if not os.path.lexists(location.path):
            say(no_catalog(location.path, location.setting))
            self.show(Result(columns, []), selection) if self.chosen_format != "table" else None
            return
        with Catalog(location.path) as opened:
            self.show(question(opened), selection)


def formatted(kind: str, result: Result[Any]) -> str:
    """Write an answer in a format; a table as wide as the terminal, with colours where it may have them."""
    from crackseg_tracker import formatting

    rows = result.rows
    if kind != "table":
        return formatting.FORMATS[kind](result.columns, rows)
    width = shutil.get_terminal_size().columns if on_terminal() else None
    return formatting.as_table(result.columns, rows, width, _painted if has_colours() else None)


def on_terminal() -> bool:
    """Tell whether a person reads stdout."""
    return sys.stdout.isatty()


def heading(text: str) -> str:
    """Write a heading between tables, bold where colours may be."""
    return click.style(text, bold=True) if has_colours() else text


def has_colours() -> bool:
    """Tell whether stdout may have colours: a terminal, and no ``NO_COLOR`` (https://no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(text: str, column: str | None) -> str:
    if column is None:
        return click.style(text, bold=True)
    if column == "status":
        return click.style(text, fg=_STATUS_COLOURS.get(text.strip()))
    return text


def say(message: str) -> None:
    """Tell a person something, on stderr."""
    from crackseg_tracker.formatting import neutral_lines

    click.echo(neutral_lines(message), err=True)


def counted(number: int, noun: str = "experiment") -> str:
    """Write a number with its noun.

    Example:
        >>> counted(1), counted(2, "file")
        ('1 experiment', '2 files')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def no_catalog(path: object, setting: str) -> str:
    """Say that there is no catalog yet, and how one comes to be."""
    return f"there is no catalog at {path} yet ({setting}); the first ExperimentTracker that uses it creates it"
