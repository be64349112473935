"""The records that are written, acknowledged and looked for: record n is the same whoever writes it, and when."""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tally import Tally

from crackseg_tracker import Catalog, ExperimentTracker

PATIENCE = 60.0
ODD = {0: math.nan, 1: math.inf, 2: -0.0, 3: 5e-324, 4: -math.inf}


class Acknowledged(NamedTuple):
    """A call that returned, and whether it was journaled."""

    number: int
    journaled: bool


def value(number: int) -> float:
    """Give the value of a record."""
    return ODD.get(number % 101, number / 7)


def write(tracker: ExperimentTracker, number: int) -> bool:
    """Write a record: mostly two metrics, now and then a tag or an artifact; tell whether it was journaled."""
    backlog = tracker._recorder.backlog
    before = backlog.tally.journaled
    if number % 50 == 7:
        tracker.add_tags([f"tag-{number}"])
    elif number % 50 == 23:
        tracker.add_artifact(f"artifact-{number}", "checkpoint", f"{number}.pt", tags=["soak"])
    else:
        tracker.log_metrics({"x": value(number), "y": -value(number)}, step=number)
    return backlog.tally.journaled > before


class Acknowledgements:
    """A file to which a writer adds a line after each call: what the page cache has, no SIGKILL takes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def opened(self) -> Callable[[int, bool], object]:
        """Give what acknowledges a record."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return lambda number, journaled: os.write(descriptor, b"%d %d\n" % (number, journaled))

    def read(self) -> list[Acknowledged]:
        """Give all that was acknowledged."""
        try:
            lines = self.path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return []
        return [Acknowledged(int(number), journaled == "1") for number, journaled in map(str.split, lines)]


def find(catalog: Catalog, experiment_id: str) -> tuple[set[int], list[str]]:
    """Look for all records of an experiment, each whole and with its values to the bit."""
    points: dict[str, dict[int, float | None]] = {"x": {}, "y": {}}
    for metric, step, found in catalog.sql(
        "SELECT metric, step, value FROM metrics WHERE experiment_id = ?", [experiment_id]
    ):
        points[metric][step] = found
    problems = [f"{experiment_id}: half of call {n}" for n in points["x"].keys() ^ points["y"].keys()]
    problems += [
        f"{experiment_id}: {metric} of call {n} is {found!r}"
        for metric, sign in (("x", 1), ("y", -1))
        for n, found in points[metric].items()
        if not _same(found, sign * value(n))
    ]
    texts = catalog.sql(
        "SELECT tag FROM experiment_tags WHERE experiment_id = ?1 "
        "UNION ALL SELECT artifact_id FROM artifacts WHERE experiment_id = ?1",
        [experiment_id],
    )
    return {*points["x"], *(int(text.rpartition("-")[2]) for (text,) in texts)}, problems


def _same(found: float | None, wanted: float) -> bool:
    if found is None or math.isnan(wanted):  # NULL is how SQL has NaN
        return found is None and math.isnan(wanted)
    return struct.pack("d", found) == struct.pack("d", wanted)


def settle(catalog: Path, folder: Path) -> None:
    """Record something more, as the next training does: that replays what the dead left in journals."""
    with ExperimentTracker(folder / "settler", "settler", catalog=catalog), Catalog(catalog) as reader:
        deadline = time.monotonic() + PATIENCE
        while list(reader.journals()) and time.monotonic() < deadline:
            time.sleep(0.02)


def examine(
    path: Path,
    accepted: Mapping[str, Iterable[Acknowledged]],
    *,
    may_be_there: Callable[[str, int], bool] = lambda experiment, number: True,
    may_be_missing: Callable[[str, int], bool] = lambda experiment, number: False,
) -> Tally:
    """Compare a catalog with what was acknowledged.

    Args:
        path: The catalog.
        accepted: What was acknowledged of each experiment.
        may_be_there: Whether a record that nobody acknowledged may have been written.
        may_be_missing: Whether a record that was acknowledged may be missing after a power loss.
    """
    tally = Tally()
    with Catalog(path) as catalog:
        tally.problems += catalog.check()
        tally.problems += [f"a journal remains: {row}" for row in catalog.journals()]
        known = {row.experiment_id for row in catalog.experiments()}
        [(tally.dropped,)] = catalog.sql("SELECT coalesce(sum(journal_dropped), 0) FROM experiments").rows
        for experiment, acknowledged in accepted.items():
            there, problems = find(catalog, experiment) if experiment in known else (set[int](), [])
            tally.problems += problems
            numbers: set[int] = set()
            for number, journaled in acknowledged:
                numbers.add(number)
                tally.journaled += journaled
                tally.committed += not journaled
                tally.found += number in there
                tally.unsynced += number not in there and may_be_missing(experiment, number)
            tally.accepted += len(numbers)
            for number in there - numbers:
                tally.in_doubt += 1
                if not may_be_there(experiment, number):
                    tally.problems.append(f"{experiment}: record {number} was never written")
    return tally
