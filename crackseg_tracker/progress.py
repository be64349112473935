"""What long work calls meanwhile, with what is done and what there is to do."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], object]


def no_progress(_done: int, _total: int) -> None:
    """Show nothing."""
