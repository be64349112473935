"""Sixty-four processes that come at the same moment: to a catalog that is not there yet, is there, or is an old one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import ask
from releases import NEXT_VERSION, NextRelease, backups, content, put_golden

from crackseg_tracker import Catalog, ExperimentTracker

NewTracker = Callable[..., ExperimentTracker]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROCESSES = 64
PATIENCE = 60

# All are forked before a catalog is opened, with everything imported that a creation or an upgrade needs, so that they
# meet at the catalog and not at the imports. The alarms end whoever hangs.
_CROWD = f"""
import gc, logging, os, signal, sys
import alembic.command, alembic.config, alembic.context, alembic.op, sqlalchemy.dialects.sqlite
from crackseg_tracker import ExperimentTracker

base, catalog, processes = sys.argv[1], sys.argv[2], int(sys.argv[3])
logging.basicConfig(level=logging.INFO, format="%(message)s")
arrived, gate = os.pipe(), os.pipe()

def come(number):
    signal.alarm({PATIENCE})
    os.close(gate[1])
    os.write(arrived[1], b".")
    os.read(gate[0], 1)
    with ExperimentTracker(f"{{base}}/{{number}}", f"crowd-{{number}}", catalog=catalog) as tracker:
        tracker.log_metrics({{"number": number}}, step=0)
    sys.exit()

gc.freeze()  # or each of them copies and collects all that was imported, at its end: a third of a second
crowd = []
for number in range(processes):
    pid = os.fork()
    if pid == 0:
        come(number)
    crowd.append(pid)
signal.alarm({PATIENCE})
for _ in crowd:
    os.read(arrived[0], 1)
os.close(gate[1])
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in crowd))
"""


def check_all_came(path: Path, processes: int) -> None:
    found = ask(path, "SELECT experiment_id, step, value FROM metrics WHERE experiment_id LIKE 'crowd-%'")
    assert sorted(found) == sorted((f"crowd-{n}", 0, float(n)) for n in range(processes))
    completed = "SELECT count(*) FROM experiments WHERE experiment_id LIKE 'crowd-%' AND status = 'completed'"
    assert ask(path, completed) == [(processes,)]


@pytest.mark.parametrize("begin", ["create", "open", "upgrade"])
def test_sixty_four_at_once(
    begin: str, tmp_path: Path, new_tracker: NewTracker, catalog_path: Path, eventually: Callable[..., None]
) -> None:
    """Promises 9 and 11: all of them record, what has to be done first is done once, and nothing is lost."""
    before: list[list[str]] = []
    if begin == "open":
        new_tracker("first").complete_experiment()
    elif begin == "upgrade":
        put_golden(1, catalog_path)
        before.append(content(catalog_path))
    done = subprocess.run(
        [sys.executable, "-c", _CROWD, tmp_path, catalog_path, str(PROCESSES)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("created the catalog") == (begin == "create")
    assert done.stderr.count("upgraded the catalog") == (begin == "upgrade")
    with new_tracker("later"), Catalog(catalog_path) as catalog:
        eventually(lambda: list(catalog.journals()) == [])  # in such a crowd a call may have been journaled
        assert catalog.check() == []
    check_all_came(catalog_path, PROCESSES)
    assert [content(backup) for backup in backups(catalog_path)] == before
    assert [path.name for path in catalog_path.parent.iterdir() if "draft" in path.name] == []


def test_many_of_the_next_release_at_once(tmp_path: Path, new_tracker: NewTracker, catalog_path: Path) -> None:
    """Promises 9 and 11: an upgrade that is not additive is not held up by those who come to do the same."""
    with new_tracker("first") as first:
        pass
    first._database.close()
    release, processes = NextRelease(tmp_path / "next"), 16
    done = release.run(_CROWD, tmp_path, catalog_path, processes)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("upgraded the catalog") == 1
    [backup] = backups(catalog_path)
    assert ask(catalog_path, "PRAGMA user_version") == [(NEXT_VERSION,)]
    check_all_came(catalog_path, processes)
    look = "import sys; from crackseg_tracker import Catalog; print(Catalog(sys.argv[1]).check())"
    assert release.run(look, catalog_path).stdout == "[]\n"
    backup.replace(catalog_path)  # which this release can prove whole
    with Catalog(catalog_path) as catalog:
        assert [row.experiment_id for row in catalog.experiments()] == ["first"]
