"""What the README shows is what happens."""

from __future__ import annotations

import doctest
import re

import pytest
from write_contract import README, SECTION

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.schema.contract import readme_table

#: What a text beside the tables tells: how an experiment starts and ends without a block.
BY_THE_BLOCK = {"start_experiment", "complete_experiment", "fail_experiment", "abort_experiment"}


def test_examples_run_as_shown() -> None:
    # The working directory is the test's own: see conftest.
    result = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 8
    assert result.failed == 0


def test_the_table_of_the_views_is_that_of_the_contract() -> None:
    shown = README.read_text(encoding="utf-8").split(SECTION[0])[1].split(SECTION[1])[0]
    assert shown.strip() == readme_table(), "write it anew: python scripts/write_contract.py"


@pytest.mark.parametrize("owner", [ExperimentTracker, Catalog])
def test_every_public_call_is_listed(owner: type) -> None:
    tables = "".join(line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `"))
    listed = set(re.findall(r"`(\w+)", tables)) | BY_THE_BLOCK
    assert {name for name in dir(owner) if not name.startswith("_")} <= listed
