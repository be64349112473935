"""The SELECTs behind `Catalog` and the metadata, over the tables. Parameters are bound, never text."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from crackseg_tracker.filters import MetricField
from crackseg_tracker.rows import (
    ArtifactRow,
    AttemptRow,
    BestRow,
    ExperimentRow,
    Metadata,
    Params,
    TagRow,
    param_value,
)
from crackseg_tracker.store import liveness
from crackseg_tracker.store.filtering import COLUMNS, EVERYTHING, NOTHING, Metrics, Selection, Sql, summary_value

# Names and values as texts in one JSON object: two thirds of what 20 rows cost, and exact.
_PARAMS = "(SELECT json_group_object(p.name, p.type || ':' || p.text) FROM param AS p WHERE p.experiment = e.id)"
_TAGS = "(SELECT json_group_array(t.tag) FROM experiment_tag AS t WHERE t.experiment = e.id)"
_EXPERIMENTS = (
    f'SELECT e.id, e.experiment_id, e.experiment_name, e.project, e."group", e.status, e.description, {_TAGS}, '
    f"{_PARAMS}, {COLUMNS['artifact_count']}, e.current_epoch, "
    "e.total_epochs, e.training_time_seconds, e.error_message, e.created_at, e.started_at, e.completed_at, "
    "e.updated_at, e.experiment_dir, v.hostname, v.git_commit, c.sha256, e.uid "
    "FROM {} CROSS JOIN config AS c ON c.id = e.config LEFT JOIN environment AS v ON v.id = e.environment"
)
_ALL_EXPERIMENTS = _EXPERIMENTS.format("experiment AS e") + " WHERE e.deleted_at IS NULL ORDER BY e.id"
_SOME_EXPERIMENTS = _EXPERIMENTS.format("({}) AS k CROSS JOIN experiment AS e ON e.id = k.id")
_BESTS = (
    "SELECT s.experiment, s.metric, CASE WHEN s.metric IN (SELECT id FROM metric_name WHERE mode = 'max') "
    "THEN {} ELSE {} END FROM {} AS s WHERE 1"
)
# The + keeps SQLite from reading all summaries in the order of an index, with a look-up for each.
_SEALED_BESTS = _BESTS.format("s.best_max", "s.best_min", "metric_summary") + " AND +s.sealed = 1"
_OPEN_BESTS = _BESTS.format(
    *(
        f"CASE WHEN s.{end}_value {better} s.reported_value OR s.reported_value IS NULL THEN s.{end}_value "
        "ELSE s.reported_value END"
        for end, better in (("max", ">="), ("min", "<="))
    ),
    "_open_summary",
)


def experiments(
    connection: Connection, catalog: Path, selection: Selection, order: Sql, limit: int | None, offset: int
) -> list[ExperimentRow]:
    """List experiments with all that is on their rows: four SELECTs and, for the running ones, who is alive."""
    with one_state(connection):
        if selection == EVERYTHING and not order.text and limit is None and not offset:
            found = connection.execute(_ALL_EXPERIMENTS).fetchall()
        else:
            some = _numbers(selection, order, limit, offset)
            found = connection.execute(_SOME_EXPERIMENTS.format(some.text), some.parameters).fetchall()
        bests = bests_of(connection, [row[0] for row in found])
        lives = liveness.of_experiments(connection, catalog, [row[0] for row in found if row[5] == "running"])
    tags_of, value_of = cache(_decoded_tags), cache(param_value)
    rows: list[ExperimentRow] = []
    for row in found:
        tags, params = tags_of(row[7]), Params(row[8], value_of)
        best, alive = bests.get(row[0], {}), lives.get(row[0], "")
        rows.append(ExperimentRow._make((*row[1:7], tags, params, best, *row[9:], alive)))
    return rows


def numbers(connection: Connection, selection: Selection) -> list[int]:
    """Give the numbers of the experiments that meet conditions, oldest first."""
    return [number for (number,) in connection.execute(*_numbers(selection, NOTHING, None, 0))]


def _numbers(selection: Selection, order: Sql, limit: int | None, offset: int) -> Sql:
    """Write the SELECT of the numbers of the experiments that meet conditions, in order.

    Apart from the other columns, which SQLite would work out of all rows that it sorts. A chain of CROSS JOINs that
    begins with it gives its rows in this order.
    """
    tables = selection.tables("experiment", "e")
    return Sql(
        f"SELECT e.id FROM {tables.text} WHERE e.deleted_at IS NULL{selection.where.text} "
        f"ORDER BY {order.text}{selection.key('e')} LIMIT ? OFFSET ?",
        (*tables.parameters, *selection.where.parameters, *order.parameters, -1 if limit is None else limit, offset),
    )


def _decoded_tags(encoded: str) -> tuple[str, ...]:
    return tuple(json.loads(encoded))


def bests_of(connection: Connection, experiments: Sequence[int]) -> dict[int, dict[str, float]]:
    """Give the best of every metric of some experiments."""
    bests: dict[int, dict[str, float]] = {}
    # The few names apart: 100,000 series of 10,000 experiments share them.
    names: dict[int, str] = dict(connection.execute("SELECT id, name FROM metric_name").fetchall())
    for sql in (_SEALED_BESTS, _OPEN_BESTS):
        previous, best = 0, {}
        for experiment, metric, value in _beside(connection, sql, experiments):
            if experiment != previous:
                previous, best = experiment, bests.setdefault(experiment, {})
            if value is not None:
                best[names[metric]] = value
    return bests


@contextmanager
def one_state(connection: Connection) -> Generator[None]:
    """Ask several SELECTs of one state: a fold or seal between two would show points twice, or not at all."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _beside(connection: Connection, sql: str, experiments: Sequence[int]) -> Iterable[tuple[Any, ...]]:
    """Ask for the rows of some experiments: by number when they are few, else for all in one pass."""
    if not experiments:
        return []
    if len(experiments) > 500:
        return connection.execute(sql)
    return connection.execute(f"{sql} AND experiment IN ({', '.join('?' * len(experiments))})", experiments)


def best(
    connection: Connection, name: str, metric: int, mode: str, limit: int | None, selection: Selection
) -> list[BestRow]:
    """Rank experiments: sealed ones in the order of their index, open ones (running) beside them."""
    where = selection.narrowed("s.experiment")
    once = (mode, name, metric, *where.parameters)
    rows = connection.execute(_best_sql(mode, where.text), (*once, *once, -1 if limit is None else limit)).fetchall()
    return [BestRow._make(row[:-1]) for row in rows]


# The open series of a metric with what is recent of them, of which there is little: a look at each series. The view
# `_open_summary` sums up all that is recent in the catalog before it looks for the metric.
_OPEN_SERIES = (
    "(SELECT o.experiment, o.metric, CASE WHEN r.value {0} o.{1}_value OR o.{1}_value IS NULL THEN r.value "
    "ELSE o.{1}_value END AS {1}_value, CASE WHEN r.value {0} o.{1}_value OR o.{1}_value IS NULL THEN r.step "
    "ELSE o.{1}_step END AS {1}_step, o.reported_value, o.reported_step "
    "FROM metric_summary AS o LEFT JOIN metric_recent AS r ON r.experiment = o.experiment AND r.metric = o.metric "
    "AND r.step = (SELECT p.step FROM metric_recent AS p WHERE p.experiment = o.experiment AND p.metric = o.metric "
    "AND abs(p.value) < 9e999 ORDER BY p.value {2}, p.step LIMIT 1) WHERE o.sealed = 0)"
)


@lru_cache(64)
def _best_sql(mode: str, where: str) -> str:
    end, order, better = ("max", "DESC", ">") if mode == "max" else ("min", "ASC", "<")
    logged = f"(s.{end}_value {better}= s.reported_value OR s.reported_value IS NULL)"

    def ranked(table: str, value: str, condition: str) -> str:
        return (
            f"SELECT e.experiment_id, e.experiment_name, {value} AS value, CASE WHEN {logged} THEN s.{end}_step ELSE "
            f"s.reported_step END, CASE WHEN {logged} THEN 'logged' ELSE 'reported' END, ?, e.status, e.project, ?, "
            f"s.experiment AS number FROM {table} AS s JOIN experiment AS e ON e.id = s.experiment WHERE s.metric = ? "
            f"AND {value} IS NOT NULL{condition} AND e.deleted_at IS NULL{where}"
        )

    sealed = ranked("metric_summary", f"s.best_{end}", " AND s.sealed = 1")
    series = _OPEN_SERIES.format(better, end, order)
    open_ = ranked(series, f"CASE WHEN {logged} THEN s.{end}_value ELSE s.reported_value END", "")
    return f"{sealed} UNION ALL {open_} ORDER BY value {order}, number LIMIT ?"


def leaderboard(
    connection: Connection, metrics: Metrics, limit: int | None, selection: Selection
) -> list[tuple[BestRow, dict[str, float | None]]]:
    """Rank experiments by the first metric, and give of each the best of all."""
    (first, (number, mode)), *_ = metrics.items()
    with one_state(connection):
        ranked = best(connection, first, number, mode, limit, selection)
        values = [summary_value(MetricField(name), metrics) for name in metrics]
        found = connection.execute(
            f"SELECT e.experiment_id, {', '.join(value.text for value in values)} FROM json_each(?) AS j "
            "CROSS JOIN experiment AS e ON e.experiment_id = j.value AND e.deleted_at IS NULL",
            (*(p for value in values for p in value.parameters), json.dumps([row.experiment_id for row in ranked])),
        )
        bests = {row[0]: dict(zip(metrics, row[1:], strict=True)) for row in found}
    return [(row, bests[row.experiment_id]) for row in ranked]


_ARTIFACTS = (
    "SELECT e.experiment_id, a.artifact_id, a.artifact_type, a.path, a.description, "
    "(SELECT json_group_array(t.tag) FROM artifact_tag AS t WHERE t.artifact = a.id), a.kind, a.size_bytes, "
    "a.file_count, a.sha256, a.digest_state, a.created_at, a.updated_at, a.absolute_path "
    "FROM {} CROSS JOIN experiment AS e ON e.id = a.experiment WHERE e.deleted_at IS NULL{} ORDER BY {} "
    "LIMIT ? OFFSET ?"
)


def artifacts(connection: Connection, selection: Selection, limit: int | None, offset: int) -> list[ArtifactRow]:
    """List artifacts with their tags, oldest first: nothing is sorted but what comes from a source of few keys."""
    tables = selection.tables("artifact", "a")
    found = connection.execute(
        _ARTIFACTS.format(tables.text, selection.where.text, selection.key("a")),
        (*tables.parameters, *selection.where.parameters, -1 if limit is None else limit, offset),
    )
    tags_of = cache(_decoded_tags)
    return [ArtifactRow._make((*row[:5], tags_of(row[5]), *row[6:])) for row in found]


def made_by(connection: Connection, condition: str, parameters: Sequence[str]) -> list[tuple[Any, ...]]:
    """Give the artifacts that meet a condition with their experiments, newest first."""
    return connection.execute(
        "SELECT e.experiment_id, a.artifact_id, a.artifact_type, a.path, a.description, a.kind, a.size_bytes, "
        "a.sha256, a.digest_state, a.updated_at, e.experiment_name, e.status FROM artifact AS a JOIN experiment AS e "
        f"ON e.id = a.experiment WHERE {condition} AND e.deleted_at IS NULL ORDER BY a.updated_at DESC, a.id DESC",
        parameters,
    ).fetchall()


def digests(connection: Connection, prefix: str) -> list[str]:
    """Give the digests that begin with some hexadecimal digits, two at most: enough to tell whether it is one."""
    sql = "SELECT DISTINCT sha256 FROM artifact WHERE sha256 >= ? AND sha256 < ? ORDER BY sha256 LIMIT 2"
    return [digest for (digest,) in connection.execute(sql, (prefix, prefix + "g"))]


_STATUS_CHANGES = (
    "SELECT e.experiment_id, s.status, s.changed_at, s.message, t.number, "
    "coalesce(nullif(s.hostname, ''), t.hostname), coalesce(nullif(s.username, ''), t.username) "
    "FROM {} CROSS JOIN status_change AS s ON s.experiment = e.id LEFT JOIN attempt AS t ON t.id = s.attempt "
    "WHERE e.deleted_at IS NULL{} ORDER BY s.id LIMIT ? OFFSET ?"
)
_ATTEMPTS = (
    "SELECT e.experiment_id, t.number, t.started_at, t.ended_at, t.end_reason, t.hostname, t.username, t.pid, t.rank, "
    f"t.command_line, c.sha256, t.config_changes, v.git_commit, {liveness.COLUMNS.replace('a.', 't.')} FROM {{}} "
    "CROSS JOIN attempt AS t ON t.experiment = e.id "
    "JOIN config AS c ON c.id = t.config LEFT JOIN environment AS v ON v.id = t.environment "
    "WHERE e.deleted_at IS NULL{} ORDER BY t.id LIMIT ? OFFSET ?"
)


def status_changes(
    connection: Connection, selection: Selection, limit: int | None, offset: int
) -> list[tuple[Any, ...]]:
    """List changes of status, oldest first."""
    return _of_experiments(connection, _STATUS_CHANGES, selection, limit, offset)


def attempts(
    connection: Connection, catalog: Path, selection: Selection, limit: int | None, offset: int
) -> list[AttemptRow]:
    """List attempts, oldest first, and of each whether its process lives."""
    seen = liveness.witness(catalog)
    plain = len(AttemptRow._fields) - 1
    return [
        AttemptRow._make(
            (
                *row[: plain - 2],
                json.loads(row[plain - 2]),
                row[plain - 1],
                liveness.of_attempt(liveness.AttemptFacts._make(row[plain:]), seen),
            )
        )
        for row in _of_experiments(connection, _ATTEMPTS, selection, limit, offset)
    ]


def _of_experiments(
    connection: Connection, sql: str, selection: Selection, limit: int | None, offset: int
) -> list[tuple[Any, ...]]:
    tables = selection.tables("experiment", "e")
    return connection.execute(
        sql.format(tables.text, selection.where.text),
        (*tables.parameters, *selection.where.parameters, -1 if limit is None else limit, offset),
    ).fetchall()


def tags(connection: Connection) -> list[TagRow]:
    """Count the uses of every tag."""
    return [
        TagRow._make(row)
        for row in connection.execute(
            "SELECT tag, sum(on_experiment), sum(1 - on_experiment) FROM (SELECT tag, 1 AS on_experiment FROM "
            "experiment_tags UNION ALL SELECT tag, 0 FROM artifact_tags) GROUP BY tag ORDER BY tag"
        )
    ]


def params(connection: Connection, experiment: int) -> Params:
    """Give the params of one experiment."""
    sql = f"SELECT {_PARAMS} FROM experiment AS e WHERE e.id = ?"
    return Params(connection.execute(sql, (experiment,)).fetchone()[0])


def is_metric(connection: Connection, name: str) -> bool:
    """Tell whether anybody recorded such a metric."""
    return connection.execute("SELECT 1 FROM metric_name WHERE name = ?", (name,)).fetchone() is not None


def is_param(connection: Connection, name: str) -> bool:
    """Tell whether any experiment has such a param."""
    return connection.execute("SELECT 1 FROM param WHERE name = ? LIMIT 1", (name,)).fetchone() is not None


def metric_names(connection: Connection) -> list[str]:
    """Give the names of metrics, to suggest one."""
    return column(connection, "SELECT name FROM metric_name ORDER BY id LIMIT 10000")


def param_names(connection: Connection) -> list[str]:
    """Give the names of params, to suggest one: from each to the next, for millions of rows share a few names."""
    return column(
        connection,
        "WITH RECURSIVE known(name) AS (SELECT min(name) FROM param UNION ALL "
        "SELECT (SELECT min(p.name) FROM param AS p WHERE p.name > known.name) FROM known WHERE name IS NOT NULL) "
        "SELECT name FROM known WHERE name IS NOT NULL LIMIT 10000",
    )


def column(connection: Connection, sql: str) -> list[str]:
    """Give the first column of an answer."""
    return [row[0] for row in connection.execute(sql)]


_VERSIONS = ("python_version", "platform", "pytorch_version", "cuda_version")
_ORIGIN = ("git_commit", "git_branch", "hostname", "username")
#: The facts of the environment, each with what stands for one that is not known.
_FACTS = {
    **dict.fromkeys((*_VERSIONS, *_ORIGIN), "''"),
    "cuda_available": "0",
    "git_dirty": "0",
    "memory_gb": "0.0",
    "gpu_info": "'{}'",
}
#: The facts of the experiment that are told as they are stored.
_OWN = (
    *("experiment_id", "experiment_name", "project", "status", "description"),
    *("total_epochs", "current_epoch", "training_time_seconds", "created_at"),
    *("updated_at", "experiment_dir", "error_message", "uid"),
)
#: What `Metadata` is read from, by its names.
_METADATA = {
    **{name: f"e.{name}" for name in _OWN},
    "group": "coalesce(e.\"group\", '')",
    "timestamp": "e.created_at",
    "started_at": "coalesce(e.started_at, '')",
    "completed_at": "coalesce(e.completed_at, '')",
    "config_hash": "c.sha256",
    "config_summary": "c.summary",
    "config_missing": "c.missing",
    **{name: f"coalesce(v.{name}, {empty})" for name, empty in _FACTS.items()},
}
_METADATA_SQL = (
    f"SELECT {', '.join(_METADATA.values())} FROM experiment AS e JOIN config AS c ON c.id = e.config "
    "LEFT JOIN environment AS v ON v.id = e.environment WHERE e.id = ?"
)


# Not the view `_summary`: that sums up the recent points of every experiment, and many may be at work.
_BESTS_OF_ONE = """
SELECT n.name, coalesce(s.reported_value, CASE n.mode
    WHEN 'max' THEN coalesce(max(s.max_value, r.max_value), s.max_value, r.max_value)
    ELSE coalesce(min(s.min_value, r.min_value), s.min_value, r.min_value) END) AS best
FROM metric_summary AS s JOIN metric_name AS n ON n.id = s.metric LEFT JOIN (
    SELECT metric, min(value) AS min_value, max(value) AS max_value FROM metric_recent
    WHERE experiment = ?1 AND abs(value) < 9e999 GROUP BY metric
) AS r ON r.metric = s.metric
WHERE s.experiment = ?1 AND best IS NOT NULL ORDER BY n.id
"""


def metadata(connection: Connection, experiment: int) -> Metadata:
    """Read all that is known of one experiment."""
    known = dict(zip(_METADATA, connection.execute(_METADATA_SQL, (experiment,)).fetchone(), strict=True))
    for name in ("config_summary", "config_missing", "gpu_info"):
        known[name] = json.loads(known[name])
    for name in ("cuda_available", "git_dirty"):
        known[name] = bool(known[name])
    tags = connection.execute(
        "SELECT tag FROM experiment_tag WHERE experiment = ? ORDER BY added_at, tag", (experiment,)
    ).fetchall()
    artifacts = connection.execute(
        "SELECT artifact_id, artifact_type, path FROM artifact WHERE experiment = ? ORDER BY id",
        (experiment,),
    ).fetchall()

    def paths(kind: str) -> list[str]:
        return [path for _, artifact_type, path in artifacts if artifact_type == kind]

    bests = connection.execute(_BESTS_OF_ONE, (experiment,)).fetchall()
    replayed, dropped = connection.execute(
        "SELECT coalesce(sum(replayed), 0), coalesce(sum(dropped), 0) FROM journal_writer WHERE experiment = ?",
        (experiment,),
    ).fetchone()
    return Metadata(
        **known,
        tags=[tag for (tag,) in tags],
        best_metrics=dict(bests),
        artifact_ids=[artifact_id for artifact_id, _, _ in artifacts],
        checkpoint_paths=paths("checkpoint"),
        metric_files=paths("metrics"),
        visualization_files=paths("visualization"),
        degraded=dropped > 0,
        journaled=0,
        replayed=replayed,
        dropped=dropped,
    )


def paths_by_type(connection: Connection, experiment: int, artifact_type: str) -> list[str]:
    """Give the paths of an experiment's artifacts of a type, oldest first."""
    return [
        path
        for (path,) in connection.execute(
            "SELECT path FROM artifact WHERE experiment = ? AND artifact_type = ? ORDER BY id",
            (experiment, artifact_type),
        )
    ]
