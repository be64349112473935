"""The union of an experiment's series: points, points of samples, reports, and what rewinds took back of them."""

from __future__ import annotations

from sqlite3 import Connection

from crackseg_tracker.store import metrics, summaries
from crackseg_tracker.store.pairing import Conflict, Pair, Tally, in_order


def points(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Unite what rewinds took back, the points of samples, and the curves with their summaries."""
    _superseded(connection, pair, tally)
    _sample_points(connection, pair, tally)
    touched: set[int] = set()
    for theirs, ours in connection.execute("SELECT theirs, ours FROM temp.merge_metric").fetchall():
        connection.execute(
            "INSERT INTO metric_summary (experiment, metric, count, non_finite_count, sealed) SELECT ?, ?, 0, 0, 0 "
            "WHERE EXISTS (SELECT 1 FROM theirs.metric_summary WHERE experiment = ? AND metric = ?) "
            "ON CONFLICT DO NOTHING",
            (pair.ours, ours, pair.theirs, theirs),
        )
        removed = connection.execute(
            "DELETE FROM main.metric_point WHERE experiment = ?1 AND metric = ?2 AND EXISTS (SELECT 1 FROM "
            "temp.merge_gone_there AS g WHERE g.metric = ?2 AND g.sample IS NULL AND g.step = metric_point.step AND "
            "g.value IS metric_point.value AND g.offset_ms = metric_point.offset_ms)",
            (pair.ours, ours),
        ).rowcount
        added = _add_points(connection, pair, theirs, ours)
        if removed or added:
            touched.add(ours)
            tally.added += added + removed
            summaries.write(connection, pair.ours, ours, summaries.of_file(connection, pair.ours, ours))
        if pair.known:
            _differing_points(connection, pair, theirs, ours, tally)
    if touched:
        # Whoever appends to the experiment must look anew where its series end.
        connection.execute("DELETE FROM metric_writer WHERE experiment = ?", (pair.ours,))


_THEIR_POINTS = (
    "SELECT step, value, offset_ms FROM theirs.metric_point WHERE experiment = ?1 AND metric = ?2 "
    "UNION ALL SELECT step, value, offset_ms FROM theirs.metric_recent WHERE experiment = ?1 AND metric = ?2"
)


def _add_points(connection: Connection, pair: Pair, theirs: int, ours: int) -> int:
    return connection.execute(
        "INSERT INTO main.metric_point (experiment, metric, step, value, offset_ms) SELECT ?3, ?4, step, value, "
        f"offset_ms + ?5 FROM ({_THEIR_POINTS}) AS t WHERE NOT EXISTS (SELECT 1 FROM temp.merge_gone_here AS g WHERE "
        "g.metric = ?4 AND g.sample IS NULL AND g.step = t.step AND g.value IS t.value AND g.offset_ms = "
        "t.offset_ms + ?5) ON CONFLICT DO NOTHING",
        (pair.theirs, theirs, pair.ours, ours, pair.shift_ms),
    ).rowcount


def _differing_points(connection: Connection, pair: Pair, theirs: int, ours: int, tally: Tally) -> None:
    """Report a series whose points differ: how many, and the first."""
    differing, step, here, there, name = connection.execute(
        "SELECT count(*), min(t.step), o.value, t.value, (SELECT name FROM metric_name WHERE id = ?4) FROM "
        f"({_THEIR_POINTS}) AS t JOIN main.metric_point AS o ON o.experiment = ?3 AND o.metric = ?4 "
        "AND o.step = t.step WHERE o.value IS NOT t.value AND NOT EXISTS "
        "(SELECT 1 FROM temp.merge_gone_here AS g WHERE g.metric = ?4 AND g.sample IS NULL AND g.step = t.step "
        "AND g.value IS t.value AND g.offset_ms = t.offset_ms + ?5)",
        (pair.theirs, theirs, pair.ours, ours, pair.shift_ms),
    ).fetchone()
    if differing:
        tally.conflicts.append(Conflict("points", f"{name}, from step {step}", differing, _shown(here), _shown(there)))


def _shown(value: float | None) -> str:
    return "nan" if value is None else repr(value)


_SUPERSEDED = ("metric", "sample", "step", "value", "offset_ms", "superseded_at")


def _superseded(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Add what rewinds took back; note what only one side took back, for the other side's curve must lose it."""
    theirs = (
        "SELECT a.ours AS metric, b.ours AS sample, t.step AS step, t.value AS value, t.offset_ms + ?3 AS offset_ms, "
        "t.superseded_at AS superseded_at, c.ours AS attempt FROM theirs.metric_superseded AS t JOIN temp.merge_metric "
        "AS a ON a.theirs = t.metric LEFT JOIN temp.merge_sample AS b ON b.theirs = t.sample LEFT JOIN "
        "temp.merge_attempt AS c ON c.theirs = t.attempt WHERE t.experiment = ?2"
    )
    ours = f"SELECT {', '.join(_SUPERSEDED)} FROM main.metric_superseded WHERE experiment = ?1"
    same = " AND ".join(f"x.{column} IS y.{column}" for column in _SUPERSEDED)
    parameters = (pair.ours, pair.theirs, pair.shift_ms)
    gone = "metric, sample, step, value, offset_ms"
    if pair.known:
        connection.execute(
            f"INSERT INTO temp.merge_gone_here SELECT {gone} FROM ({ours}) AS x WHERE NOT EXISTS "
            f"(SELECT 1 FROM ({theirs}) AS y WHERE {same})",
            parameters,
        )
        connection.execute(
            f"INSERT INTO temp.merge_gone_there SELECT {gone} FROM ({theirs}) AS x WHERE NOT EXISTS "
            f"(SELECT 1 FROM ({ours}) AS y WHERE {same} AND ?1)",
            parameters,
        )
    tally.added += connection.execute(
        f"INSERT INTO main.metric_superseded (experiment, {', '.join(_SUPERSEDED)}, attempt) SELECT ?1, "
        f"{', '.join(_SUPERSEDED)}, attempt FROM ({theirs}) AS x WHERE NOT EXISTS (SELECT 1 FROM ({ours}) AS y "
        f"WHERE {same})",
        parameters,
    ).rowcount


def _sample_points(connection: Connection, pair: Pair, tally: Tally) -> None:
    theirs = (
        "SELECT a.ours AS metric, b.ours AS sample, t.step AS step, t.value AS value FROM theirs.sample_point AS t "
        "JOIN temp.merge_metric AS a ON a.theirs = t.metric JOIN temp.merge_sample AS b ON b.theirs = t.sample "
        "WHERE t.experiment = ?2"
    )
    gone = "g.metric = {0}.metric AND g.sample = {0}.sample AND g.step = {0}.step AND g.value IS {0}.value"
    removed = connection.execute(
        "DELETE FROM main.sample_point WHERE experiment = ?1 AND EXISTS (SELECT 1 FROM temp.merge_gone_there AS g "
        f"WHERE {gone.format('sample_point')})",
        (pair.ours,),
    ).rowcount
    added = connection.execute(
        "INSERT INTO main.sample_point (experiment, metric, sample, step, value) "
        f"SELECT ?1, metric, sample, step, value FROM ({theirs}) AS x WHERE NOT EXISTS "
        f"(SELECT 1 FROM temp.merge_gone_here AS g WHERE {gone.format('x')}) "
        "ON CONFLICT DO NOTHING",
        (pair.ours, pair.theirs),
    ).rowcount
    tally.added += removed + added
    if pair.known:
        differing = connection.execute(
            f"SELECT n.name, count(*), o.value, x.value FROM ({theirs}) AS x JOIN main.sample_point AS o ON "
            "o.experiment = ?1 AND o.metric = x.metric AND o.sample = x.sample AND o.step = x.step "
            "JOIN metric_name AS n ON n.id = x.metric WHERE o.value IS NOT x.value GROUP BY n.name",
            (pair.ours, pair.theirs),
        )
        tally.conflicts += [
            Conflict("samples", name, rows, _shown(here), _shown(there))
            for name, rows, here, there in differing.fetchall()
        ]


def reports(connection: Connection, pair: Pair, tally: Tally) -> None:
    """Unite the reports of bests in their order; one that a rewind took back on either side no longer counts."""
    columns = ("metric", "step", "value", "reported_at")
    names = ", ".join(columns)
    ours = connection.execute(
        f"SELECT {names}, attempt, superseded_at FROM main.metric_report WHERE experiment = ? ORDER BY id", (pair.ours,)
    ).fetchall()
    theirs = connection.execute(
        "SELECT a.ours, step, value, reported_at, c.ours, superseded_at FROM theirs.metric_report AS t JOIN "
        "temp.merge_metric AS a ON a.theirs = t.metric LEFT JOIN temp.merge_attempt AS c ON c.theirs = t.attempt "
        "WHERE t.experiment = ? ORDER BY t.id",
        (pair.theirs,),
    ).fetchall()
    taken_back = {row[:-1]: row[-1] for row in (*ours, *theirs) if row[-1] is not None}
    here = {row[:-1] for row in ours}
    missing = [row[:-1] for row in theirs if row[:-1] not in here]
    changed = {row[0] for row in missing} | {row[0] for row in ours if row[-1] is None and row[:-1] in taken_back}
    if not changed:
        return
    united = in_order([row[:-1] for row in ours], missing, columns.index("reported_at"))
    connection.execute("DELETE FROM main.metric_report WHERE experiment = ?", (pair.ours,))
    connection.executemany(
        f"INSERT INTO main.metric_report (experiment, {names}, attempt, superseded_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(pair.ours, *row, taken_back.get(row)) for row in united],
    )
    for metric in changed:
        metrics.report_again(connection, pair.ours, metric)
    tally.added += max(len(missing), 1)
