"""No promise without a test that could fail: each fault test names its own, and none is left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from faults.conftest import promises_of

# 20 is about the local page, which tests/integration tries with a browser's requests.
PROMISES = {*range(1, 20), 21}


def fault_tests() -> Iterator[tuple[str, str]]:
    """Give name and docstring of each fault test."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path != Path(__file__):
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    yield f"{path.name}::{node.name}", ast.get_docstring(node) or ""


def test_every_fault_test_names_its_promise() -> None:
    """The docstring begins with it: that is how they are found, by people and by `-m "promise(number=8)"`."""
    assert [name for name, text in fault_tests() if not promises_of(text)] == []


def test_every_promise_is_held() -> None:
    """At least one test each, and sixty together."""
    named = {number for _, text in fault_tests() for number in promises_of(text)}
    assert PROMISES - named == set()
    assert len(list(fault_tests())) >= 60
