"""A next release whose upgrade an older writer cannot go on beside: no training is broken, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asking import ask
from releases import NEXT_VERSION, NextRelease, backups, content

from crackseg_tracker import Catalog, ExperimentTracker, schema
from crackseg_tracker.errors import NewerCatalogError
from crackseg_tracker.store import filesystems
from crackseg_tracker.store.holders import holders

# Strict, so that no fault goes to the journal in silence. It records at each line that it is sent.
_TRAINING = """
import signal, sys
from crackseg_tracker import ExperimentTracker
with ExperimentTracker(sys.argv[1], sys.argv[2], catalog=sys.argv[3], strict=True) as tracker:
    signal.alarm(60)  # a hang is an end
    print("started", flush=True)
    for epoch, _ in enumerate(sys.stdin):
        tracker.log_metrics({"val/iou": epoch / 10}, step=epoch)
        tracker.update_training_progress(epoch, epoch + 1, {"val/iou": epoch / 10})
        print("recorded", flush=True)
"""
_CHECK = "import sys; from crackseg_tracker import Catalog; print(Catalog(sys.argv[1]).check())"


class OlderTraining:
    """A training with this release, in a process of its own."""

    def __init__(self, folder: Path, catalog: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TRAINING, str(folder / "older"), "older", str(catalog)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def record(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.hear("recorded")

    def hear(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"

    def end(self) -> tuple[int, str]:
        """Let it end; give its return code and what it said of errors."""
        _, errors = self._process.communicate(timeout=60)
        return self._process.returncode, errors

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(params=["wal", "delete"])
def older(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, catalog_path: Path
) -> Iterator[OlderTraining]:
    """A training that has recorded something, and goes on; also on what is taken for a network file system."""
    monkeypatch.setenv(filesystems.VARIABLE, request.param)
    training = OlderTraining(tmp_path, catalog_path)
    training.hear("started")
    training.record()
    yield training
    training.kill()


@pytest.fixture
def next_release(tmp_path: Path) -> NextRelease:
    return NextRelease(tmp_path / "next")


def stored(path: Path) -> dict[str, bytes]:
    """Read the files in the catalog's folder; of what only coordinates processes, that it is there."""
    return {
        str(file.relative_to(path.parent)): file.read_bytes() if file.name in (path.name, f"{path.name}-wal") else b""
        for file in path.parent.rglob("*")
    }


def test_an_upgrade_that_is_not_additive(
    tmp_path: Path, catalog_path: Path, older: OlderTraining, next_release: NextRelease
) -> None:
    """Promises 10 and 11: it waits for the older training to end, then keeps a backup, and shuts this release out."""
    before = stored(catalog_path)
    newer = (_TRAINING, tmp_path / "newer", "newer", catalog_path)

    done = next_release.run(*newer)
    assert (done.returncode, done.stdout) == (1, ""), "it must fail before the training has started"
    assert f"CatalogBusyError: {catalog_path} cannot be upgraded to schema version {NEXT_VERSION}" in done.stderr
    assert f"process {older.pid} ({sys.executable}" in done.stderr
    assert "nothing was changed: wait for it, end it, or give another catalog" in done.stderr
    assert stored(catalog_path) == before
    older.record()
    assert older.end() == (0, "")

    at_its_end = content(catalog_path)
    done = next_release.run(*newer, given="\n")
    assert done.returncode == 0, done.stderr
    [backup] = backups(catalog_path)
    assert (
        f"upgraded the catalog {catalog_path} to schema version {NEXT_VERSION}; the backup is {backup}" in done.stderr
    )
    assert content(backup) == at_its_end
    assert next_release.run(_CHECK, catalog_path).stdout == "[]\n"
    assert ask(catalog_path, "SELECT experiment_id, step, value FROM metrics ORDER BY 1, 2") == [
        ("newer", 0, 0.0), ("older", 0, 0.0), ("older", 1, 0.1),
    ]  # fmt: skip

    before = stored(catalog_path)
    for look in (Catalog, Catalog.upgrade, lambda path: ExperimentTracker(tmp_path / "x", "x", catalog=path)):
        with pytest.raises(NewerCatalogError, match=f"version {NEXT_VERSION}.*up to {schema.VERSION};.*pip install -U"):
            look(catalog_path)
    assert stored(catalog_path) == before
    backup.replace(catalog_path)  # the way back; it is proven whole as every test's catalog is
    with Catalog(catalog_path) as catalog:
        assert catalog.experiment("older").best_metrics == {"val/iou": 0.1}


def test_an_older_training_goes_on_while_an_upgrade_waits_for_it(
    tmp_path: Path, catalog_path: Path, older: OlderTraining, next_release: NextRelease
) -> None:
    """Promises 5 and 11: the lock that the upgrade asks for again and again holds up nobody who is at work."""
    waiting = next_release.start(_TRAINING, tmp_path / "newer", "newer", catalog_path)
    while waiting.poll() is None:
        older.record()
    _, said = waiting.communicate()
    assert f"process {older.pid} " in said
    older.record()
    assert older.end() == (0, "")


def test_who_starts_amid_such_an_upgrade_is_refused(
    tmp_path: Path, catalog_path: Path, new_tracker: Callable[..., ExperimentTracker], eventually: Callable[..., None]
) -> None:
    """Promises 10 and 11: it waits, and sees the newer version, instead of starting to write to the one that it saw."""
    with new_tracker("first") as first:
        pass
    first._database.close()
    release = NextRelease(tmp_path / "next", "import sys; print('migrating', flush=True); sys.stdin.readline()")
    upgrading = release.start(
        "import sys; from crackseg_tracker import Catalog; Catalog.upgrade(sys.argv[1])", catalog_path
    )
    assert upgrading.stdout is not None
    assert upgrading.stdout.readline() == "migrating\n"
    older = OlderTraining(tmp_path, catalog_path)
    eventually(lambda: older.pid in [holder.pid for holder in holders(catalog_path)])
    upgrading.communicate("\n", timeout=60)
    assert upgrading.returncode == 0
    code, errors = older.end()
    assert code == 1
    assert "NewerCatalogError" in errors
    [backup] = backups(catalog_path)
    backup.replace(catalog_path)
