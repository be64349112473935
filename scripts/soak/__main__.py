"""Soak the catalog: kill storms, crowds, bit flips and power losses for as long as you say, and a tally at the end.

    python3 scripts/dev.py test --soak 10              ten minutes
    python3 scripts/dev.py test --soak 10 --seed 7     the same moments again, as far as the machine allows

The exit status is 1 when anything is lost, wrong or crashed; what was found is kept in the folder then.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import flips
import processes
import recording
import tally
from power import lose_power

from crackseg_tracker.store import integrity


def main() -> int:
    options = arguments()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=options.folder))
    seconds = options.minutes * 60
    print(f"soak of {options.minutes:g} minutes, seed {seed}, in {folder}", flush=True)
    begun = time.monotonic()
    logging.getLogger("crackseg_tracker").setLevel(logging.ERROR)  # that a lock is held is meant
    integrity.schema_differences(integrity.declared_connection())  # loads what each forked child would load
    chance = random.Random(seed)
    parts = {
        "kill storm of 16": processes.kill_storm(folder / "storm", 0.3 * seconds, chance),
        "64 processes": processes.crowd(folder / "crowd", 0.1 * seconds, chance),
    }
    skipped = recording.missing()
    if skipped:
        print(f"power losses are skipped: {skipped}")
    else:
        for durability in ("normal", "full"):
            parts[f"power loss, {durability}"] = lose_power(folder / durability, durability, 0.2 * seconds, chance)
    flipped = flips.flip_every_page(folder / "flips", 0.2 * seconds, chance)
    return report(parts, flipped, folder, seed, time.monotonic() - begun)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dev.py test --soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", type=float, help="for how long, about")
    parser.add_argument("--seed", type=int, help="default: a new one, which is printed")
    parser.add_argument(
        "--folder", type=Path, help="where the catalogs are made; default: the folder for temporary files"
    )
    options = parser.parse_args()
    if not 0 < options.minutes < 10_000:
        parser.error(f"minutes {options.minutes:g}; give a number above 0")
    return options


def report(parts: dict[str, tally.Tally], flipped: flips.Flips, folder: Path, seed: int, seconds: float) -> int:
    print()
    print(tally.records_table(parts))
    print()
    columns = ("flips", "pages", "refused", "reported", "harmless", "unseen", "salvaged")
    counts = [getattr(flipped, column) for column in columns[:-1]]
    row = ["one bit at a time", *counts, f"{flipped.salvaged} of {flipped.tried}"]
    print(tally.table(["bit flips", *columns], [row]))
    problems = [problem for part in parts.values() for problem in part.problems] + flipped.problems
    lost = sum(part.lost for part in parts.values())
    machine = f"{platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"\n{seconds / 60:.1f} minutes, seed {seed}, SQLite {sqlite3.sqlite_version}, {machine}")
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    if problems or lost:
        print(f"{lost} records lost, {len(problems)} problems; the files are in {folder}")
        return 1
    print("nothing is lost, nothing is wrong")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
