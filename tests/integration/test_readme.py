"""What the README shows is what happens."""

from __future__ import annotations

import doctest
import re
import sqlite3
from pathlib import Path

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.schema.views import VIEWS

README = Path(__file__).resolve().parents[2] / "README.md"


def test_examples_run_as_shown() -> None:
    # The working directory is the test's own: see conftest.
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 8
    assert result.failed == 0


def test_every_view_and_column_is_listed(tmp_path: Path) -> None:
    ExperimentTracker(tmp_path / "a", "a", catalog=tmp_path / "c" / "catalog.db")
    text = README.read_text(encoding="utf-8")
    connection = sqlite3.connect(tmp_path / "c" / "catalog.db")
    for view in VIEWS:
        if not view.startswith("_"):
            assert f"`{view}`" in text or f"from {view}`" in text
    for view in ("experiments", "params", "artifacts", "metrics", "metric_bests", "metric_names", "sample_metrics"):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{view}`"))
        shown = re.sub(r"\(.*?\)", "", row.split("|")[3]).replace('"', "")
        columns = [c[0] for c in connection.execute(f"SELECT * FROM {view}").description]
        assert [c.strip() for c in shown.split(",")] == columns
    connection.close()


def test_every_public_call_of_the_tracker_is_listed() -> None:
    text = README.read_text(encoding="utf-8")
    for owner in (ExperimentTracker, Catalog):
        for name in vars(owner):
            if not name.startswith("_") and name not in ("experiment", "tags", "close"):
                assert name in text, name
