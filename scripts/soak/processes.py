"""Kill storms and crowds: many processes on one catalog, which die at any moment, or all want the lock at once."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import children
import records
from records import Acknowledged, Acknowledgements
from tally import Tally

from crackseg_tracker import ExperimentTracker

WRITERS = 16
CROWD = 64
ROUND_SECONDS = 30.0

Round = Callable[[Path, float, random.Random], Tally]


def kill_storm(folder: Path, seconds: float, chance: random.Random) -> Tally:
    """Kill writers at random moments, and start them again with the same experiment; each round is a new catalog."""
    return _rounds(_storm, folder, seconds, chance)


def crowd(folder: Path, seconds: float, chance: random.Random) -> Tally:
    """Have 64 processes create one catalog at once and write to it; each round is a new catalog."""
    return _rounds(_crowd, folder, seconds, chance)


def _rounds(one: Round, folder: Path, seconds: float, chance: random.Random) -> Tally:
    tally, end, number = Tally(), time.monotonic() + seconds, 0
    while not number or time.monotonic() < end:
        (folder / str(number)).mkdir(parents=True)
        rest = max(1.0, end - time.monotonic())
        tally += one(folder / str(number), min(rest, ROUND_SECONDS), random.Random(chance.randrange(2**32)))
        number += 1
    return tally


class _Writer:
    """One experiment, whose process is killed and started again."""

    def __init__(self, folder: Path, catalog: Path, number: int) -> None:
        self.name = f"e{number}"
        self._folder = folder / self.name
        self._catalog = catalog
        self._durability = "full" if number % 8 == 0 else "normal"
        self.acknowledgements = Acknowledgements(folder / f"{self.name}.acknowledged")
        #: The calls that its lives were killed in: whole or not at all.
        self.in_doubt: set[int] = set()
        self._start_at(0)

    def _start_at(self, number: int) -> None:
        self._first = number
        self._born_with = len(self.acknowledgements.read())
        self.pid = children.start(lambda: self._live(number))

    def start_again(self) -> None:
        """Begin another life behind the call that the last one was killed in."""
        self._start_at(self.kill() + 1)

    def kill(self) -> int:
        """Kill it amid a call, and give that call's number."""
        children.kill(self.pid)
        known = self.acknowledgements.read()
        amid = max(self._first, known[-1].number + 1) if known else self._first
        self.in_doubt.add(amid)
        return amid

    @property
    def has_written(self) -> bool:
        """Whether this life has acknowledged anything yet."""
        return len(self.acknowledgements.read()) > self._born_with

    def _live(self, number: int) -> None:
        acknowledge = self.acknowledgements.opened()
        tracker = ExperimentTracker(
            self._folder, self.name, catalog=self._catalog, durability=self._durability  # type: ignore[arg-type]
        )
        tracker.start_experiment()
        while True:
            acknowledge(number, records.write(tracker, number))
            number += 1
            if number % 331 == 0:  # ends, after which its curves are sealed, and goes on
                tracker.complete_experiment()
                tracker.start_experiment()


def _storm(folder: Path, seconds: float, chance: random.Random) -> Tally:
    catalog = folder / "catalog" / "catalog.db"
    writers = [_Writer(folder, catalog, number) for number in range(WRITERS)]
    locker = children.start(lambda: _hold_the_lock(catalog, chance.randrange(2**32)))
    deaths, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(chance.expovariate(20), 1.0))
        victim = chance.choice(writers)
        if not victim.has_written and chance.random() < 0.9:
            continue  # most deaths are amid writing, some amid the start
        deaths += 1
        victim.start_again()
        if chance.random() < 0.02:
            children.kill(locker)  # amid a transaction, as often as not
            locker = children.start(lambda: _hold_the_lock(catalog, chance.randrange(2**32)))
    children.kill(locker)
    for writer in writers:
        deaths += 1
        writer.kill()
    accepted = {writer.name: writer.acknowledgements.read() for writer in writers}
    in_doubt = {writer.name: writer.in_doubt for writer in writers}
    return _examined(catalog, folder, accepted, in_doubt, deaths)


def _hold_the_lock(catalog: Path, seed: int) -> None:
    """Hold the write lock for longer than a writer waits, now and then: what is written meanwhile is journaled."""
    chance = random.Random(seed)
    while True:
        time.sleep(chance.uniform(0.2, 2.0))
        if catalog.exists():
            connecting = closing(sqlite3.connect(catalog, isolation_level=None, timeout=10))
            with connecting as connection, suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(chance.uniform(0.1, 0.8))


def _crowd(folder: Path, seconds: float, chance: random.Random) -> Tally:
    catalog = folder / "catalog" / "catalog.db"
    ready, go = os.pipe(), os.pipe()
    seeds = [chance.randrange(2**32) for _ in range(CROWD)]
    names = [f"e{number}" for number in range(CROWD)]

    def live(name: str, seed: int) -> None:
        pauses = random.Random(seed)
        acknowledge = Acknowledgements(folder / f"{name}.acknowledged").opened()
        os.close(go[1])
        os.write(ready[1], b"r")
        os.read(go[0], 1)
        end = time.monotonic() + seconds
        tracker = ExperimentTracker(folder / name, name, catalog=catalog)
        tracker.start_experiment()
        number = 0
        while not number or time.monotonic() < end:
            acknowledge(number, records.write(tracker, number))
            number += 1
            time.sleep(pauses.uniform(0, 0.01))
        tracker.complete_experiment()
        tracker.close()

    pids = [
        children.start(lambda name=name, seed=seed: live(name, seed)) for name, seed in zip(names, seeds, strict=True)
    ]
    for _ in pids:
        os.read(ready[0], 1)
    for descriptor in (*ready, *go):
        os.close(descriptor)
    failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
    accepted = {name: Acknowledgements(folder / f"{name}.acknowledged").read() for name in names}
    tally = _examined(catalog, folder, accepted, {name: set() for name in names}, 0)
    if failed:
        tally.problems.append(f"{failed} of {CROWD} processes failed")
    return tally


def _examined(
    catalog: Path, folder: Path, accepted: dict[str, list[Acknowledged]], in_doubt: dict[str, set[int]], deaths: int
) -> Tally:
    def look() -> dict[str, object]:
        records.settle(catalog, folder)
        return vars(records.examine(catalog, accepted, may_be_there=lambda name, number: number in in_doubt[name]))

    try:
        tally = Tally(**children.ask(look))
    except children.ChildError as error:
        tally = Tally(problems=[f"{catalog} cannot be examined: {error}"])
    tally.deaths = deaths
    return tally
