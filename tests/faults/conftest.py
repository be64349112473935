"""What makes faults: processes that hold the lock, and patience with a bound.

The docstring of each test here begins with the promises that it holds: "Promise 1: ..." or "Promises 1 and 8: ...".
`pytest tests/faults -m "promise(number=8)"` runs those of one promise.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crackseg_tracker.store import journal


def promises_of(text: str) -> list[int]:
    """Tell which promises a test holds, by its docstring."""
    named = re.match(r"Promises? (\d+(?:(?:, | and )\d+)*)", text)
    return [int(number) for number in re.findall(r"\d+", named[1])] if named else []


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function):
        for number in promises_of(item.function.__doc__ or ""):
            item.add_marker(pytest.mark.promise(number=number))


_HOLD = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
os.write(1, b"h")
sys.stdin.read()
"""


class LockHolder:
    """Another process that holds the write lock until it is let go, stopped or not."""

    def __init__(self, catalog: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(catalog)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.read(1) == b"h"
        self.pid = self._process.pid

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def let_go(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate(timeout=30)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)


@pytest.fixture
def hold_lock(catalog_path: Path) -> Iterator[Callable[[], LockHolder]]:
    """Have another process hold the catalog's write lock."""
    holders: list[LockHolder] = []

    def hold() -> LockHolder:
        holders.append(LockHolder(catalog_path))
        return holders[-1]

    yield hold
    for holder in holders:
        holder.kill()


def journals(catalog: Path) -> list[Path]:
    """The journals beside a catalog."""
    return journal.files(catalog.parent / journal.FOLDER)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Randomness whose seed is printed when the test fails; the variable of the tests' line repeats it."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"{request.node.name}: seed {seed}")
    return random.Random(seed)
