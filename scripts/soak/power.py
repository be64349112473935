"""Power losses: the files as they may be found after one, at any moment of a recorded life, are whole and complete."""

from __future__ import annotations

import random
import shutil
import sys
import time
from pathlib import Path

import children
import records
from disk import Disk
from recording import Call, record
from records import Acknowledged
from tally import Tally

LONGEST_LOSS_SECONDS = 5.0
HERE = Path(__file__).resolve().parent


def lose_power(folder: Path, durability: str, seconds: float, chance: random.Random) -> Tally:
    """Record a life for half of the time, and look at what losses of power would have left of it for the rest."""
    root = folder / "life"
    (root / "catalog").mkdir(parents=True, mode=0o700)
    end = time.monotonic() + seconds
    command = [sys.executable, str(HERE / "life.py"), str(root), durability]
    calls = record([*command, str(max(2.5, seconds / 2)), str(chance.randrange(2**32))], root, folder / "trace")
    tally = Tally()
    while not tally.deaths or (time.monotonic() < end and len(tally.problems) < 20):
        moments = sorted(chance.sample(range(len(calls)), min(len(calls), 40)))
        tally += _lose_at(folder, root, calls, moments, durability, chance)
    return tally


def _lose_at(
    folder: Path, root: Path, calls: list[Call], moments: list[int], durability: str, chance: random.Random
) -> Tally:
    tally, disk, known = Tally(), Disk(), _Acknowledged(durability)
    waiting = iter(moments)
    moment = next(waiting)
    for index, call in enumerate(calls):
        if call.kind == "acknowledge":
            known.add(call)
        else:
            disk.make(call)
        if index != moment:
            continue
        left = folder / "left"
        kind = disk.lose_power(root, left, chance)
        # Nothing happened until the next call: the power may as well have failed just before it.
        now = calls[min(index + 1, len(calls) - 1)].time
        try:
            found = Tally(**children.ask(lambda left=left, now=now: vars(known.compare(left, now))))
        except children.ChildError as error:
            found = Tally(problems=[str(error)])
        found.deaths = 1
        if found.problems or found.lost:
            kept = folder / f"loss-{index}-{chance.randrange(2**32)}"
            shutil.copytree(left, kept)
            what = "; ".join(found.problems[:3]) or f"{found.lost} records lost"
            found.problems = [f"power loss at call {index} of {len(calls)} ({durability}, {kind}): {what} (see {kept})"]
        tally += found
        shutil.rmtree(left, ignore_errors=True)
        moment = next(waiting, -1)
    return tally


class _Acknowledged:
    """What the life had acknowledged by a moment."""

    def __init__(self, durability: str) -> None:
        self._durability = durability
        self._records: dict[str, list[Acknowledged]] = {}
        self._times: dict[tuple[str, int], float] = {}
        self._ended: set[str] = set()

    def add(self, call: Call) -> None:
        for line in call.data.decode("ascii").splitlines():
            _, name, *rest = line.split()
            if rest == ["end"]:
                self._ended.add(name)
            else:
                number, journaled = map(int, rest)
                self._records.setdefault(name, []).append(Acknowledged(number, bool(journaled)))
                self._times[name, number] = call.time

    def compare(self, left: Path, now: float) -> Tally:
        path = left / "catalog" / "catalog.db"

        def may_be_missing(name: str, number: int) -> bool:
            recent = self._times[name, number] > now - LONGEST_LOSS_SECONDS
            return self._durability == "normal" and recent and name not in self._ended

        if not path.exists():
            tally = Tally()
            for name, acknowledged in self._records.items():
                tally.accepted += len(acknowledged)
                tally.unsynced += sum(may_be_missing(name, one.number) for one in acknowledged)
            return tally
        records.settle(path, left)
        return records.examine(path, self._records, may_be_missing=may_be_missing)
