"""Talking with a person while something is done: questions before, progress meanwhile."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from crackseg_tracker.cli.output import formatted, say

if TYPE_CHECKING:
    from crackseg_tracker import Result

_LINE_EVERY = 10.0
_REDRAW_EVERY = 0.1


def confirm(question: str, what: Result[Any], *, yes: bool) -> None:
    """Show what will be done and ask; without a yes nothing is changed, and the exit code says so."""
    if yes:
        return
    say(formatted("table", what))
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise
        say("")  # the question has no end of its line yet
        raise click.UsageError(
            "nobody answers: nothing was changed; give --yes to go ahead without a question"
        ) from None
    if not agreed:
        say("nothing was changed")
        raise click.exceptions.Exit(1)


class Progress:
    """Tells how far something is: one line that is drawn anew on a terminal, a line now and then elsewhere.

    Call it with what is done and what there is to do.
    """

    def __init__(self, what: str, noun: str = "experiments") -> None:
        self._what, self._noun = what, noun
        self._is_terminal = sys.stderr.isatty()
        self._last = -_REDRAW_EVERY if self._is_terminal else time.monotonic()
        self._width = 0

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Leave a clean line behind."""
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)

    def __call__(self, done: int, total: int) -> None:
        """Tell how far it is."""
        now = time.monotonic()
        if now - self._last < (_REDRAW_EVERY if self._is_terminal else _LINE_EVERY):
            return
        self._last = now
        line = f"{self._what}: {done:,} of {total:,} {self._noun}"
        if self._is_terminal:
            line = line[: shutil.get_terminal_size().columns - 1]  # one that wraps could not be drawn over
            click.echo("\r" + line.ljust(self._width), nl=False, err=True)
            self._width = max(self._width, len(line))
        else:
            click.echo(line, err=True)
