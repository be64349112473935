"""The soak itself, for a moment: the real ones take minutes (`python3 scripts/dev.py test --soak 10`)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).resolve().parents[2] / "scripts" / "soak"


def test_a_short_soak(tmp_path: Path) -> None:
    """Promises 1, 2, 3, 4, 9 and 10: processes killed, crowded, bits flipped, power lost; and the tally adds up."""
    done = subprocess.run(
        [sys.executable, str(SOAK), "0.1", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    print(done.stdout, done.stderr)  # the seed is in there
    assert done.returncode == 0
    assert "nothing is lost, nothing is wrong" in done.stdout
    rows = dict(re.findall(r"^(kill storm of 16|64 processes)((?: +\d+)+)$", done.stdout, re.MULTILINE))
    assert len(rows) == 2
    for row in rows.values():
        accepted, committed, journaled, dropped, unsynced, found, lost, *_ = map(int, row.split())
        assert accepted == committed + journaled
        assert found == accepted - dropped - unsynced
        assert (lost, unsynced) == (0, 0)
    assert int(rows["64 processes"].split()[0]) >= 64
    assert list(tmp_path.glob("soak-*")) == [], "what went well is removed"


def test_the_soak_finds_what_is_lost(tmp_path: Path) -> None:
    """Promise 4: a soak that cannot fail proves nothing: a missing record, a wrong one and half a call are told."""
    script = f"""
import sys
sys.path.insert(0, {str(SOAK)!r})
import records
from records import Acknowledged
from pathlib import Path
from crackseg_tracker import ExperimentTracker
folder = Path(sys.argv[1])
with ExperimentTracker(folder / "e0", "e0", catalog=folder / "c" / "catalog.db") as tracker:
    for number in range(30):
        records.write(tracker, number)
    tracker.log_metrics({{"x": 0.5, "y": 0.5}}, step=40)
    tracker.log_metrics({{"x": records.value(41)}}, step=41)
tally = records.examine(folder / "c" / "catalog.db", {{"e0": [Acknowledged(n, False) for n in (*range(31), 40, 41)]}})
print(tally.lost, sorted(tally.problems))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("1 "), done.stderr
    assert "half of call 41" in done.stdout
    assert "x of call 40 is 0.5" in done.stdout
