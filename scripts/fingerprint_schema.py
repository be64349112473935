"""Write how the tables and indexes of the newest version look, after a migration changed, into the package.

Run it whenever the test of the fingerprints fails and the change is meant: ``python scripts/fingerprint_schema.py``.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from crackseg_tracker import schema
from crackseg_tracker.schema import fingerprints
from crackseg_tracker.store import upgrading

FILE = Path(fingerprints.__file__)


def made() -> dict[str, str]:
    """Digest what the migrations make."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        upgrading.migrate(connection)
        return {
            f"{kind} {name}": fingerprints.fingerprint(sql)
            for kind, name, sql in connection.execute(
                "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('table', 'index') AND sql IS NOT NULL "
                "AND name <> 'alembic_version' ORDER BY 1, 2"
            )
        }


def main() -> None:
    before = fingerprints.TABLES_AND_INDEXES.get(schema.VERSION - 1, {})
    lines = [f'        "{key}": "{digest}",\n' for key, digest in made().items() if before.get(key) != digest]
    block = re.compile(rf"(    {schema.VERSION}: {{\n        \*\*\w+,\n).*?(    }},\n)", re.DOTALL)
    text, count = block.subn(lambda found: found[1] + "".join(lines) + found[2], FILE.read_text(encoding="utf-8"))
    assert count == 1, f"{FILE} has no block for version {schema.VERSION}"
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
