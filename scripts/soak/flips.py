"""A bit flipped on every page of a catalog: what is damaged is refused or reported, and nothing ever crashes."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import children
import records

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.errors import TrackerError

PAGE = 4096
SALVAGE_EVERY = 10
#: What a damaged catalog is asked, beside its check: what people ask first.
QUESTIONS = (
    "SELECT * FROM experiments",
    "SELECT * FROM metrics ORDER BY experiment_id, metric, step",
    "SELECT * FROM metric_summaries",
    "SELECT * FROM metric_bests",
    "SELECT * FROM params",
    "SELECT * FROM artifacts",
    "SELECT * FROM experiment_tags",
    "SELECT * FROM status_changes",
    "SELECT * FROM attempts",
)


@dataclass
class Flips:
    """What came of the flips."""

    pages: int = 0
    flips: int = 0
    #: Opening it, or a question, raised an error of ours.
    refused: int = 0
    #: It opened and answered, and `Catalog.check` says what is wrong.
    reported: int = 0
    #: Every answer is as before: the bit was in unused space.
    harmless: int = 0
    #: An answer is another one and nothing shows it. SQLite has no checksums of pages: a bit of a number or a text
    #: that nothing else depends on cannot be told from what was written.
    unseen: int = 0
    #: Of the refused and reported, some are salvaged with the `sqlite3` shell, where there is one.
    tried: int = 0
    salvaged: int = 0
    problems: list[str] = field(default_factory=list)


def flip_every_page(folder: Path, seconds: float, chance: random.Random) -> Flips:
    """Flip one bit of one page after the other until the time is over; every page once, at least, with enough time."""
    folder.mkdir(parents=True)
    original = folder / "original" / "catalog.db"
    children.ask(lambda: _make(original, folder))
    answers = children.ask(lambda: _answers(original))
    result = Flips(pages=original.stat().st_size // PAGE)
    pages: list[int] = []
    end = time.monotonic() + seconds
    while not result.flips or time.monotonic() < end:
        pages = pages or chance.sample(range(result.pages), result.pages)
        where = pages.pop() * PAGE * 8 + chance.randrange(PAGE * 8)
        copy = folder / "flipped" / "catalog.db"
        copy.parent.mkdir()
        shutil.copy(original, copy)
        with copy.open("rb+") as stream:
            stream.seek(where // 8)
            byte = stream.read(1)[0]
            stream.seek(where // 8)
            stream.write(bytes([byte ^ 1 << where % 8]))
        try:
            outcome = children.ask(lambda copy=copy: _outcome(copy, answers))
        except children.ChildError as error:
            result.problems.append(f"bit {where}: {error}")
        else:
            setattr(result, outcome, getattr(result, outcome) + 1)
            if outcome in ("refused", "reported") and (result.refused + result.reported) % SALVAGE_EVERY == 1:
                _salvage(copy, len(answers[1]), result)
        result.flips += 1
        shutil.rmtree(copy.parent)
    return result


def _make(path: Path, folder: Path) -> None:
    """Make a catalog with a bit of everything, in one file."""
    for name in ("one", "two"):
        config = {"model": {"encoder": name, "depth": 4}, "training": {"epochs": 9}}
        with ExperimentTracker(folder / name, name, config=config, catalog=path) as tracker:
            for number in range(600):
                records.write(tracker, number)
            tracker.log_samples({f"image-{n}": {"iou": n / 100} for n in range(50)})
            tracker.update_training_progress(8, 9, {"iou": 0.5})
        tracker.close()
    with closing(sqlite3.connect(path)) as connection:  # the last to close it empties the log into it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _answers(path: Path) -> list[list[str]]:
    with Catalog(path) as catalog:
        return [[repr(tuple(row)) for row in catalog.sql(question)] for question in QUESTIONS]


def _outcome(path: Path, before: list[list[str]]) -> str:
    try:
        with Catalog(path) as catalog:
            problems = catalog.check()
        answers = _answers(path)
    except TrackerError:  # any other error is a crash
        return "refused"
    if problems:
        return "reported"
    return "harmless" if answers == before else "unseen"


def _salvage(path: Path, points: int, result: Flips) -> None:
    """Bring back what the other pages have with the `sqlite3` shell; a flip costs the rows of a page at most."""
    shell = shutil.which("sqlite3")
    if shell is None:
        return
    result.tried += 1
    for way in (".recover", ".dump"):  # the first fails in some builds of the shell, even on a whole file
        saved = path.with_name(f"saved{way}")
        script = subprocess.run([shell, str(path), way], capture_output=True, check=False, timeout=60).stdout
        script = script.replace(b"\nROLLBACK; -- due to errors", b"\nCOMMIT;")
        subprocess.run([shell, str(saved)], input=script, capture_output=True, check=False, timeout=60)
        with closing(sqlite3.connect(saved)) as connection, suppress(sqlite3.DatabaseError):
            [(found,)] = connection.execute("SELECT count(*) FROM metric_point").fetchall()
            if found > points // 2:
                result.salvaged += 1
                return
