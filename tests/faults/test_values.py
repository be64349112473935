"""Values and names that others change: every bit comes back, from a process that was killed and from a journal too."""

from __future__ import annotations

import math
import random
import signal
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import Catalog, ExperimentTracker
from crackseg_tracker.errors import TrackerError

NewTracker = Callable[..., ExperimentTracker]
Eventually = Callable[[Callable[[], bool]], None]

_BITS = """
import os, random, signal, sqlite3, struct, sys
from crackseg_tracker import ExperimentTracker
folder, catalog, seed, locked = sys.argv[1:]
chance = random.Random(int(seed))
tracker = ExperimentTracker(folder, "bits", catalog=catalog)
tracker.log_metrics({"first": 0.0})
holder = sqlite3.connect(catalog, isolation_level=None)
if locked == "locked":
    holder.execute("BEGIN IMMEDIATE")
for step in range(500):
    [value] = struct.unpack("<d", struct.pack("<Q", chance.getrandbits(64)))
    tracker.log_metrics({"x": value}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["free", "locked"])
def test_random_bits_of_a_killed_process(
    tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, chance: random.Random, how: str, eventually: Eventually
) -> None:
    """Promises 1 and 17: any of the 2^64 patterns of a double, committed or journaled before the kill."""
    seed = chance.getrandbits(32)
    done = subprocess.run(
        [sys.executable, "-c", _BITS, str(tmp_path / "bits"), str(catalog_path), str(seed), how],
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    again = random.Random(seed)
    wanted = [struct.unpack("<d", struct.pack("<Q", again.getrandbits(64)))[0] for _ in range(500)]
    with new_tracker("later"), Catalog(catalog_path) as catalog:
        eventually(lambda: list(catalog.journals()) == [])
        found = [value for (value,) in catalog.sql("SELECT value FROM metrics WHERE metric = 'x' ORDER BY step")]
    assert [None if value is None else struct.pack("<d", value) for value in found] == [
        None if math.isnan(value) else struct.pack("<d", value) for value in wanted
    ]


def random_text(chance: random.Random) -> str:
    """Give a text of characters from everywhere but those that no file may have (NUL, surrogates)."""
    planes = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x590, 0x780), (0x2000, 0x2100), (0x1F300, 0x1F700)]
    text = "".join(chr(chance.randrange(*chance.choice(planes))) for _ in range(chance.randrange(1, 12)))
    return text if text.strip() else f"{text}x"


def test_names_are_never_changed_or_merged(new_tracker: NewTracker, catalog_path: Path, chance: random.Random) -> None:
    """Promise 17: names that look the same, sort the same, or are the same to a file system are as many names."""
    alike = [
        "é",
        "e\u0301",
        "É",
        "a",
        "A",
        "a\u200b",
        "\uff41",
        "ß",
        "ss",
        "\u017f",
        "s",
        "%",
        "_",
        "*",
        "'",
        '"',
        "a.b",
        "nul\0",
        "nul",
    ]
    names = list(dict.fromkeys([*alike, *(random_text(chance) for _ in range(100)), "long " * 2000 + "name"]))
    accepted: list[str] = []
    with new_tracker() as tracker:
        for number, name in enumerate(names):
            try:
                tracker.log_metrics({name: float(number)}, step=0)
            except TrackerError:
                continue  # a text that is refused is refused everywhere
            tracker.add_tags([name])
            tracker.add_artifact(name, "checkpoint", "a.pt")
            accepted.append(name)
    assert set(alike) <= set(accepted)
    with Catalog(catalog_path) as catalog:
        values = dict(catalog.sql("SELECT metric, value FROM metrics").rows)
        assert values == {name: float(names.index(name)) for name in accepted}
        assert {tag for (tag,) in catalog.sql("SELECT tag FROM experiment_tags")} == set(accepted)
        assert {one for (one,) in catalog.sql("SELECT artifact_id FROM artifacts")} == set(accepted)
        for name in (*alike, *chance.sample(accepted, 10)):
            assert [row.value for row in catalog.best(name)] == [float(names.index(name))]
        decomposed = unicodedata.normalize("NFD", "é")
        assert catalog.best("é").rows[0].value != catalog.best(decomposed).rows[0].value


def test_text_that_cannot_be_kept_is_refused_whole(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 17: a lone surrogate is not replaced by a question mark, and nothing of its call is recorded."""
    tracker, text = new_tracker(), "lone \ud800 surrogate"
    calls: list[Callable[[], Any]] = [
        lambda: tracker.log_metrics({"fine": 1.0, text: 1.0}),
        lambda: tracker.add_tags(["fine", text]),
        lambda: tracker.add_artifact(text, "checkpoint", "a.pt"),
        lambda: tracker.add_artifact("a", "checkpoint", "a.pt", tags=["fine", text]),
        lambda: tracker.log_samples({"fine": {"iou": 1.0}, text: {"iou": 1.0}}),
    ]
    for call in calls:
        with pytest.raises(TrackerError):
            call()
    with Catalog(catalog_path) as catalog:
        for view in ("metrics", "experiment_tags", "artifacts", "sample_metrics"):
            assert list(catalog.sql(f"SELECT count(*) FROM {view}")) == [(0,)]


def test_a_config_of_many_megabytes(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 17: any config is stored: one text of 20 MB, and 5,000 leaves."""
    long = "x" * 20_000_000
    config = {"prompt": long, "classes": {f"name {n}": n for n in range(5000)}}
    with new_tracker(config=config):
        pass
    with Catalog(catalog_path) as catalog:
        params = catalog.params("unet-1")
    assert params["prompt"] == long
    assert sum(name.startswith("classes.") for name in params) == 5000


def test_steps_and_integers_at_their_ends(new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promise 17: 2^63 - 1 is a step; an integer beyond 2^53 in the params keeps its last digit."""
    with new_tracker(config={"seed": 2**53 + 1, "largest": 2**63 - 1, "smallest": -(2**63)}) as tracker:
        tracker.log_metrics({"x": 5e-324}, step=2**63 - 1)
    with Catalog(catalog_path) as catalog:
        assert list(catalog.sql("SELECT step, value FROM metrics")) == [(2**63 - 1, 5e-324)]
        params = catalog.params("unet-1")
    assert params == {"seed": 2**53 + 1, "largest": 2**63 - 1, "smallest": -(2**63)}
