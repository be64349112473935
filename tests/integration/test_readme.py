"""What the README shows is what happens."""

from __future__ import annotations

import doctest

from write_contract import README, SECTION

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.schema.contract import readme_table


def test_examples_run_as_shown() -> None:
    # The working directory is the test's own: see conftest.
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 8
    assert result.failed == 0


def test_the_table_of_the_views_is_that_of_the_contract() -> None:
    shown = README.read_text(encoding="utf-8").split(SECTION[0])[1].split(SECTION[1])[0]
    assert shown.strip() == readme_table(), "write it anew: python scripts/write_contract.py"


def test_every_public_call_of_the_tracker_is_listed() -> None:
    text = README.read_text(encoding="utf-8")
    for owner in (ExperimentTracker, Catalog):
        for name in vars(owner):
            if not name.startswith("_") and name not in ("experiment", "tags", "close"):
                assert name in text, name
