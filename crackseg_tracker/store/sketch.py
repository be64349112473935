"""One experiment copied into memory: there, records can be applied and looked at while the catalog takes no writes."""

from __future__ import annotations

import sqlite3
from sqlite3 import Connection

# How the rows of an experiment are found in each table that has some: by a column, or through another table.
_OWN = {
    "experiment": "id = ?1",
    "artifact_tag": "artifact IN (SELECT id FROM artifact WHERE experiment = ?1)",
    "config": "id IN (SELECT config FROM experiment WHERE id = ?1 UNION SELECT config FROM attempt "
    "WHERE experiment = ?1)",
    "environment": "id IN (SELECT environment FROM experiment WHERE id = ?1)",
    "sample": "id IN (SELECT sample FROM sample_point WHERE experiment = ?1)",
    "metric_name": "?1 = ?1",
}


def sketch(source: Connection, experiment: int) -> Connection:
    """Copy an experiment, with its points, into a database in memory."""
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    is_amid = source.in_transaction  # of a call that a signal's handler came amid: that is one state too
    try:
        if not is_amid:
            source.execute("BEGIN")
        objects = source.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' "
            "ORDER BY type = 'view', type = 'index'"
        ).fetchall()
        tables = [name for kind, name, _ in objects if kind == "table"]
        for kind, _, sql in objects:
            if kind != "trigger":
                copy.execute(sql)
        copy.execute("BEGIN")
        for table in tables:
            columns = [name for (name,) in source.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            condition = _OWN.get(table, "experiment = ?1" if "experiment" in columns else "")
            if condition:
                listed = ", ".join(f'"{name}"' for name in columns)
                rows = source.execute(f"SELECT {listed} FROM {table} WHERE {condition}", (experiment,))
                copy.executemany(f"INSERT INTO {table} ({listed}) VALUES ({', '.join('?' * len(columns))})", rows)
        copy.execute("COMMIT")
    except BaseException:
        copy.close()
        raise
    finally:
        if source.in_transaction and not is_amid:
            source.execute("COMMIT")
    return copy
