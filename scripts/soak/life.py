"""What is recorded for the power losses: experiments one after the other, locks in between, and checkpoints.

    python scripts/soak/life.py FOLDER DURABILITY SECONDS SEED

Each call that returned is acknowledged by a line to the output.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from pathlib import Path

import records
from recording import ACKNOWLEDGED

from crackseg_tracker import ExperimentTracker


def live(folder: Path, durability: str, seconds: float, chance: random.Random) -> None:
    path = folder / "catalog" / "catalog.db"
    with ExperimentTracker(folder / "first", "first", catalog=path):
        pass  # the catalog is made, which takes its time under strace
    end, number = time.monotonic() + seconds, 0
    locker: sqlite3.Connection | None = None
    until = 0.0
    while time.monotonic() < end:
        name = f"e{number}"
        tracker = ExperimentTracker(folder / name, name, catalog=path, durability=durability)  # type: ignore[arg-type]
        tracker.start_experiment()
        locker = locker or sqlite3.connect(path, isolation_level=None, timeout=1, check_same_thread=False)
        for step in range(chance.choice((20, 200, 600))):
            journaled = records.write(tracker, step)
            os.write(1, f"{ACKNOWLEDGED} {name} {step} {journaled:d}\n".encode())
            if locker.in_transaction:
                if time.monotonic() > until:
                    locker.execute("ROLLBACK")
            elif chance.random() < 0.005:
                locker.execute("BEGIN IMMEDIATE")
                # Now and then for longer than a power loss may take: the journal is synced by then.
                longest = chance.choice((0.8, 0.8, 0.8, seconds / 2))
                until = time.monotonic() + min(chance.uniform(0.3, longest), 9.0)
            elif chance.random() < 0.01:
                locker.execute(f"PRAGMA wal_checkpoint({chance.choice(('PASSIVE', 'RESTART', 'TRUNCATE'))})").fetchall()
            time.sleep(chance.uniform(0, 0.01))
            if time.monotonic() > end:
                break
        if locker.in_transaction and chance.random() < 0.5:
            locker.execute("ROLLBACK")
        tracker.complete_experiment()
        os.write(1, f"{ACKNOWLEDGED} {name} end\n".encode())
        if locker.in_transaction:
            locker.execute("ROLLBACK")
        number += 1
    if locker is not None:
        locker.close()


if __name__ == "__main__":
    live(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), random.Random(int(sys.argv[4])))
    os._exit(0)  # the power fails before the interpreter's end could save anything
