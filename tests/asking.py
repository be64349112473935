"""What a catalog holds, asked as a stranger would: by plain `sqlite3`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def ask(path: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        return connection.execute(sql, parameters).fetchall()
