"""The SELECTs behind comparison: look-ups of the chosen experiments by number, whatever else the catalog holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import nan
from sqlite3 import Connection
from typing import Any, NamedTuple

from crackseg_tracker.store.filtering import RECENT, SUMMARIES, Selection

# A list of numbers of any length as one bound parameter.
_THESE = "(SELECT value FROM json_each(?))"

_METRICS = (
    f"SELECT s.experiment, n.name, n.mode, CASE n.mode WHEN 'max' THEN {SUMMARIES['best max']} "
    f"ELSE {SUMMARIES['best min']} END, {SUMMARIES['last']}, s.count > 0 OR EXISTS (SELECT 1 {RECENT}) "
    f"FROM metric_summary AS s JOIN metric_name AS n ON n.id = s.metric WHERE s.experiment IN {_THESE} ORDER BY n.id"
)
_FACTS = ("python_version", "platform", "hostname", "username", "memory_gb", "cpu_count")
_GPU_FACTS = ("pytorch_version", "cuda_available", "cuda_version", "gpu_info")
_GIT_FACTS = ("git_commit", "git_branch", "git_dirty", "git_remote")


class Environment(NamedTuple):
    """What an experiment ran with, as last recorded; all empty where nothing was."""

    machine: dict[str, Any]
    packages: dict[str, str]
    git: dict[str, Any]
    git_diff: str


class Measured(NamedTuple):
    """An experiment and its value of a metric: NaN for a value that is not finite, None where there is none."""

    number: int
    experiment_id: str
    status: str
    value: float | None


class Completed(NamedTuple):
    """What tells whether a completed experiment is the same as another one."""

    number: int
    experiment_id: str
    experiment_name: str
    project: str
    completed_at: str
    identity_sha256: str
    data_fingerprint: str
    git_commit: str
    git_diff: int
    config: int


def compared(connection: Connection, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """Give the number and the columns of `compare.ComparedRow` of some experiments."""
    rows = connection.execute(
        "SELECT e.id, e.experiment_id, e.experiment_name, e.status, e.current_epoch, e.total_epochs, "
        "e.training_time_seconds, e.created_at, e.completed_at, coalesce(v.hostname, ''), coalesce(v.git_commit, ''), "
        "coalesce(v.git_dirty, 0), "
        "(SELECT json_group_array(t.tag) FROM experiment_tag AS t WHERE t.experiment = e.id), "
        "(SELECT count(*) FROM artifact AS a WHERE a.experiment = e.id), e.error_message "
        f"FROM experiment AS e LEFT JOIN environment AS v ON v.id = e.environment WHERE e.id IN {_THESE}",
        (json.dumps(numbers),),
    )
    return [(*row[:11], bool(row[11]), tuple(json.loads(row[12])), *row[13:]) for row in rows]


def numbers(connection: Connection, experiment_ids: Sequence[str]) -> dict[str, int]:
    """Give the numbers of the living experiments among these ids."""
    return dict(
        connection.execute(
            f"SELECT experiment_id, id FROM experiment WHERE experiment_id IN {_THESE} AND deleted_at IS NULL",
            (json.dumps(experiment_ids),),
        ).fetchall()
    )


def params(connection: Connection, numbers: Sequence[int], names: Sequence[str] = ()) -> dict[int, dict[str, str]]:
    """Give "type:text" of the params of some experiments, in their order; of all names unless some are given."""
    condition = f" AND p.name IN {_THESE}" if names else ""
    # An object for each experiment, taken apart in C: a row for each param costs half as much again.
    rows = connection.execute(
        "SELECT n.value, (SELECT json_group_object(p.name, p.type || ':' || p.text) FROM param AS p "
        f"WHERE p.experiment = n.value{condition}) FROM json_each(?) AS n ORDER BY n.key",
        [*([json.dumps(names)] if names else []), json.dumps(numbers)],
    )
    decode = json.JSONDecoder().decode
    return {number: decode(encoded) for number, encoded in rows}


def metrics(connection: Connection, numbers: Sequence[int]) -> list[tuple[int, str, str, float | None, float | None]]:
    """Give experiment, name, mode, best and last of the metrics of some experiments; NaN is NaN."""
    return [
        (experiment, name, mode, best, nan if last is None and has_points else last)
        for experiment, name, mode, best, last, has_points in connection.execute(_METRICS, (json.dumps(numbers),))
    ]


def artifacts(connection: Connection, numbers: Sequence[int]) -> list[tuple[int, str, str, str]]:
    """Give experiment, id, type and path of the artifacts of some experiments, oldest first."""
    return connection.execute(
        # By experiment, whatever ANALYZE found: in the order of the ids, SQLite would go through all artifacts.
        "SELECT a.experiment, a.artifact_id, a.artifact_type, a.path FROM json_each(?) AS j CROSS JOIN artifact AS a "
        "ON a.experiment = j.value ORDER BY a.id",
        (json.dumps(numbers),),
    ).fetchall()


def environment(connection: Connection, number: int) -> Environment:
    """Give what an experiment ran with."""
    columns = (*_FACTS, *_GPU_FACTS, *_GIT_FACTS)
    row = connection.execute(
        f"SELECT {', '.join(f'v.{column}' for column in columns)}, coalesce(k.packages, '{{}}'), coalesce(d.text, ''), "
        "d.truncated FROM experiment AS e JOIN environment AS v ON v.id = e.environment LEFT JOIN package_set AS k "
        "ON k.id = v.package_set LEFT JOIN git_diff AS d ON d.id = v.git_diff WHERE e.id = ?",
        (number,),
    ).fetchone()
    if row is None:
        return Environment({}, {}, {}, "")
    facts = dict(zip(columns, row, strict=False))
    machine = {name: facts[name] for name in (*_FACTS, *_GPU_FACTS)}
    machine["cuda_available"] = bool(machine["cuda_available"])
    machine |= {f"gpu_{name}": value for name, value in json.loads(machine.pop("gpu_info")).items()}
    git = {name: facts[name] for name in _GIT_FACTS} | {"git_dirty": bool(facts["git_dirty"])}
    if row[-1]:
        git["git_diff_truncated"] = True
    return Environment(machine, json.loads(row[-3]), git, row[-2])


def measured(connection: Connection, selection: Selection, metric: int, summary: str) -> list[Measured]:
    """Give the value of a metric of all experiments that are selected, oldest first.

    Args:
        connection: Any.
        selection: Of experiments.
        metric: Its number.
        summary: A key of `filtering.SUMMARIES`.
    """
    tables = selection.tables("experiment", "e")
    # A series may consist of reports alone: those have no last value.
    is_there = f"s.count > 0 OR EXISTS (SELECT 1 {RECENT})" if summary == "last" else "s.metric IS NOT NULL"
    rows = connection.execute(
        f"SELECT e.id, e.experiment_id, e.status, {SUMMARIES[summary]}, {is_there} FROM {tables.text} LEFT JOIN "
        "metric_summary AS s ON s.experiment = e.id AND s.metric = ? WHERE e.deleted_at IS NULL"
        f"{selection.where.text} ORDER BY {selection.key('e')}",
        (*tables.parameters, metric, *selection.where.parameters),
    )
    return [
        Measured(number, experiment_id, status, nan if value is None and is_there else value)
        for number, experiment_id, status, value, is_there in rows
    ]


def completed(connection: Connection, selection: Selection) -> list[Completed]:
    """Give what tells whether the completed experiments among the selected ones are the same, oldest first."""
    tables = selection.tables("experiment", "e")
    rows = connection.execute(
        "SELECT e.id, e.experiment_id, e.experiment_name, e.project, e.completed_at, e.identity_sha256, "
        "e.data_fingerprint, coalesce(v.git_commit, ''), coalesce(v.git_diff, 0), e.config "
        f"FROM {tables.text} LEFT JOIN environment AS v ON v.id = e.environment "
        f"WHERE e.deleted_at IS NULL AND e.status = 'completed'{selection.where.text} ORDER BY {selection.key('e')}",
        (*tables.parameters, *selection.where.parameters),
    )
    return list(map(Completed._make, rows))


def config_texts(connection: Connection, configs: Sequence[int]) -> dict[int, str]:
    """Give the stored texts of some configs."""
    return dict(
        connection.execute(f"SELECT id, text FROM config WHERE id IN {_THESE}", (json.dumps(configs),)).fetchall()
    )
