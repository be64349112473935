"""`Catalog.sql`: read-only, one statement, within the caller's bounds, and stopped by Ctrl-C. (Promises 18 and 19.)"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from crackseg_tracker import Catalog, InvalidTypeError, InvalidValueError, QueryError

ENDLESS = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT max(x) FROM t"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM leaderbord", "no such table: leaderbord; did you mean 'leaderboard'"),
        ("SELECT experimentid FROM experiments", "no such column: experimentid; did you mean 'experiment_id'"),
        ("SELECT b.metrik FROM metric_bests AS b", "did you mean 'metric'"),
        ("SELEKT 1", 'near "SELEKT": syntax error'),
        ("SELECT 1; SELECT 2", "one question at a time"),
        ("DELETE FROM experiment", "cannot write"),
        ("UPDATE sqlite_master SET sql = 'x'", "cannot write"),
        ("UPDATE sqlite_schema SET sql = 'x' RETURNING sql", "cannot write"),
        ("REPLACE INTO metric_name (name) VALUES ('x')", "cannot write"),
        ("ATTACH 'other.db' AS other", "attach"),
        ("PRAGMA journal_mode = DELETE", "pragmas"),
        ("SELECT * FROM pragma_wal_checkpoint", "pragma_wal_checkpoint"),
        ("SELECT * FROM pragma_user_version", "cannot write, attach or set pragmas"),
        ("SELECT ?, ?", "0 supplied"),
        ("VACUUM INTO 'other.db'", "cannot write"),
        ("", "no question"),
        ("-- SELECT 1", "no question"),
    ],
)
def test_what_is_wrong_is_said(filled_catalog: Catalog, query: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        filled_catalog.sql(query)
    assert said in str(caught.value)
    assert query in str(caught.value)
    assert filled_catalog.sql("SELECT count(*) FROM experiments").rows == ((60,),)  # the connection is none the worse


@pytest.mark.parametrize("value", [object(), [1], 2**70, "a\udc80"])
def test_a_value_that_cannot_be_bound(filled_catalog: Catalog, value: Any) -> None:
    with pytest.raises(QueryError):
        filled_catalog.sql("SELECT ?", [value])


def test_json_and_the_schema_can_be_asked(filled_catalog: Catalog) -> None:
    words = filled_catalog.sql(
        "SELECT DISTINCT key FROM experiment_overview, json_each(config_summary) WHERE key LIKE 'e%' ORDER BY 1"
    )
    assert words.rows == (("encoder",), ("epochs",))
    columns = filled_catalog.sql("SELECT name FROM pragma_table_info('metric_names')")
    assert columns.rows[0] == ("metric",)
    assert len(filled_catalog.sql("PRAGMA table_info(leaderboard)")) > 5


def test_the_first_rows_only(filled_catalog: Catalog) -> None:
    query = "SELECT experiment_number FROM experiments ORDER BY 1"
    assert filled_catalog.sql(query, limit=2).rows == ((1,), (2,))
    assert len(filled_catalog.sql(query, limit=2**62)) == 60
    none = filled_catalog.sql(query, limit=0)
    assert (none.columns, none.rows) == (("experiment_number",), ())
    counting = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t"
    assert len(filled_catalog.sql(counting, limit=1000)) == 1000  # the rest is never computed


@pytest.mark.parametrize("query", [ENDLESS, "SELECT count(*) FROM metrics, metrics, metrics, metrics"])
def test_an_endless_query_is_stopped(filled_catalog: Catalog, query: str) -> None:
    begun = time.monotonic()
    with pytest.raises(QueryError, match=r"longer than timeout=0\.2"):
        filled_catalog.sql(query, timeout=0.2)
    assert time.monotonic() - begun < 5
    assert len(filled_catalog.sql("SELECT 1", timeout=60)) == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT zeroblob(100000)",
        "SELECT replace(hex(zeroblob(400)), '0', 'a long text for each of them')",
        "SELECT group_concat(path) FROM artifacts",
        "WITH RECURSIVE t(x) AS (SELECT 'ab' UNION ALL SELECT x || x FROM t) SELECT length(x) FROM t",
    ],
)
def test_a_value_that_is_too_long_is_refused(filled_catalog: Catalog, query: str) -> None:
    with pytest.raises(QueryError, match="max_value_bytes=5000"):
        filled_catalog.sql(query, max_value_bytes=5000)
    assert len(filled_catalog.sql("SELECT zeroblob(100000)")) == 1  # the bound was for that question only


def test_the_views_work_within_the_smallest_bound(filled_path: Path) -> None:
    with Catalog(filled_path) as catalog:  # anew: it has not read the schema yet, whose texts are longer
        assert len(catalog.sql("SELECT * FROM leaderboard WHERE rank = 1", max_value_bytes=1000)) == 5
        assert len(catalog.sql("SELECT * FROM json_each('[1]')", max_value_bytes=1000)) == 1


@pytest.mark.parametrize(
    ("bound", "error"),
    [
        ({"limit": -1}, InvalidValueError),
        ({"limit": 1.5}, InvalidTypeError),
        ({"timeout": 0}, InvalidValueError),
        ({"timeout": float("nan")}, InvalidValueError),
        ({"timeout": "1"}, InvalidTypeError),
        ({"timeout": True}, InvalidTypeError),
        ({"max_value_bytes": 10}, InvalidValueError),
        ({"max_value_bytes": "1 MB"}, InvalidTypeError),
    ],
)
def test_a_bound_that_means_nothing_is_named(filled_catalog: Catalog, bound: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(bound))):
        filled_catalog.sql("SELECT 1", **bound)


def test_the_plan(filled_catalog: Catalog) -> None:
    plan = filled_catalog.sql("SELECT * FROM params WHERE experiment_id = ?", ["x"], explain=True)
    assert plan.columns == ("step",)
    assert any("SEARCH" in step for (step,) in plan)
    with pytest.raises(QueryError, match="nowhere"):
        filled_catalog.sql("SELECT * FROM nowhere", explain=True)


def test_threads_ask_at_once(filled_catalog: Catalog) -> None:
    found: list[int] = []

    def ask() -> None:
        asked = "SELECT count(*) FROM metric_bests"
        found.extend(filled_catalog.sql(asked, timeout=60)[0][0] for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert len(set(found)) == 1


ASKS = """
import sys
from crackseg_tracker import Catalog
catalog = Catalog(sys.argv[1])
for _ in range(3):
    print("asking", flush=True)
    try:
        catalog.sql(sys.argv[2])
    except KeyboardInterrupt:
        print("stopped", catalog.sql("SELECT count(*) FROM experiments").rows, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_stops_a_query(filled_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ASKS, str(filled_path), ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "asking\n"
            time.sleep(0.2)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "stopped ((60,),)\n"
            assert time.monotonic() - begun < 5
        _, error = process.communicate(timeout=30)
        assert (process.returncode, error) == (0, "")
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_what_a_signal_handler_raises_comes_through(filled_catalog: Catalog) -> None:
    class Enough(Exception):
        pass

    def enough(*_: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGALRM, enough)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Enough):
            filled_catalog.sql(ENDLESS, timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(filled_catalog.sql("SELECT 1")) == 1
