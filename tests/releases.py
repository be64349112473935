"""Other releases: the catalogs that earlier ones left, and a next one, made of this one."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import crackseg_tracker
from crackseg_tracker import schema
from crackseg_tracker.schema.fingerprints import fingerprint
from crackseg_tracker.schema.views import VIEWS
from crackseg_tracker.store import upgrading

PATIENCE = 120
GOLDEN = Path(__file__).parent / "golden"
NEXT_VERSION = schema.VERSION + 1

# What an older writer cannot go on beside: the column that its statements name has another name.
_RENAMING = "ALTER TABLE metric_report RENAME COLUMN reported_at TO told_at"


def golden(version: int) -> bytes:
    """Give the catalog that the release of that schema version left."""
    return gzip.decompress((GOLDEN / f"version-{version}.catalog.gz").read_bytes())


def put_golden(version: int, path: Path) -> None:
    """Put that catalog where a user has it."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(golden(version))
    path.chmod(0o600)


def backups(path: Path) -> list[Path]:
    """List the backups that upgrades left beside a catalog."""
    return sorted(path.parent.glob("*backup*"))


def content(path: Path) -> list[str]:
    """Dump schema and rows of a catalog of any version, to be compared."""
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.iterdump())


class NextRelease:
    """A copy of the package, edited as its authors would: one more schema version, whose upgrade is not additive.

    Args:
        folder: Where the copy is made.
        meanwhile: A statement in the middle of the migration.
    """

    def __init__(self, folder: Path, meanwhile: str = "pass") -> None:
        self._folder = folder
        self._package = folder / "crackseg_tracker"
        shutil.copytree(Path(crackseg_tracker.__file__).parent, self._package)
        self._edit("schema/__init__.py", f"\nVERSION = {schema.VERSION}\n", f"\nVERSION = {NEXT_VERSION}\n")
        self._edit("schema/__init__.py", f'"{schema.REVISION}"', f'"{NEXT_VERSION:04}"')
        self._edit("store/upgrading.py", "= frozenset()", f"= frozenset({{{NEXT_VERSION}}})")
        (self._package / f"migrations/versions/{NEXT_VERSION:04}_next_release.py").write_text(
            f"from alembic import op\n\nrevision = '{NEXT_VERSION:04}'\ndown_revision = '{schema.REVISION}'\n\n\n"
            f"def upgrade() -> None:\n    {meanwhile}\n    op.execute('{_RENAMING}')\n"
        )
        self._edit("schema/tables.py", "reported_at", "told_at")
        self._edit("store/metrics.py", "reported_at", "told_at")
        self._edit("store/union_series.py", "reported_at", "told_at")
        self._edit("schema/views.py", "r.reported_at", "r.told_at AS reported_at")
        with (self._package / "schema/fingerprints.py").open("a") as stream:
            stream.write(
                f"\nTABLES_AND_INDEXES[{NEXT_VERSION}] = {{**TABLES_AND_INDEXES[{schema.VERSION}], "
                f"'table metric_report': '{_renamed()}'}}\nFORMER_VIEWS[{schema.VERSION}] = {tuple(VIEWS)}\n"
            )

    def _edit(self, name: str, before: str, after: str) -> None:
        file = self._package / name
        text = file.read_text("utf-8")
        assert before in text, f"{name} has no {before!r} any more: edit what is there instead"
        file.write_text(text.replace(before, after), "utf-8")

    def start(self, script: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a script with it."""
        return subprocess.Popen(
            [sys.executable, "-P", "-c", script, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script with it to its end, with this input."""
        process = self.start(script, *arguments)
        try:
            output, errors = process.communicate(given, timeout=PATIENCE)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _renamed() -> str:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrading.migrate(connection)
        connection.execute(_RENAMING)
        [(sql,)] = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'metric_report'")
    return fingerprint(sql)
