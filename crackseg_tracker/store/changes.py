"""The rare writes: each a small immutable record that knows how to apply itself inside a transaction.

Records rather than calls, because ``auto_save=False`` keeps them until `save`: the getters then apply them, look, and
roll back, so pending changes are shown by the very code that will write them.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from sqlite3 import Connection, Cursor
from typing import Any, NamedTuple, cast

from crackseg_tracker.config import CapturedConfig, Param, param_differences
from crackseg_tracker.environment import Environment, ProcessFacts
from crackseg_tracker.fingerprint import FileFacts
from crackseg_tracker.schema import ENDS
from crackseg_tracker.store import changelog, metrics
from crackseg_tracker.store.changelog import Author, Entry
from crackseg_tracker.store.database import now


class Target(NamedTuple):
    """The experiment and attempt that a change belongs to."""

    experiment: int
    attempt: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change to one experiment, at a time."""

    at: str = field(default_factory=now)

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change. Runs inside a transaction."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionChange(Change):
    """A new description."""

    description: str

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change."""
        entries = changelog.change(connection, target.experiment, "description", self.description)
        _log(connection, target, entries, self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChange(Change):
    """Tags added and removed."""

    added: Sequence[str] = ()
    removed: Sequence[str] = ()

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change."""
        entries = changelog.change_tags(connection, target.experiment, self.added, self.removed, self.at)
        _log(connection, target, entries, self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressChange(Change):
    """How far the training is, and the bests that it reports."""

    current_epoch: int
    total_epochs: int
    best_metrics: dict[str, float]
    training_time_seconds: float | None

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change."""
        connection.execute(
            "UPDATE experiment SET current_epoch = ?, total_epochs = ?, "
            "training_time_seconds = coalesce(?, training_time_seconds), updated_at = ? WHERE id = ?",
            (
                self.current_epoch,
                self.total_epochs,
                self.training_time_seconds,
                self.at,
                target.experiment,
            ),
        )
        metrics.report_best(
            connection,
            target.experiment,
            target.attempt,
            self.current_epoch,
            self.best_metrics,
            self.at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamsChange(Change):
    """Params logged beside the config."""

    params: Sequence[Param]

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change."""
        _write_params(connection, target.experiment, self.params, "logged")
        _touch(connection, target, self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactChange(Change):
    """An artifact added, or its row updated."""

    artifact_id: str
    artifact_type: str
    path: str
    absolute_path: str
    inside_path: str | None
    description: str
    tags: Sequence[str]
    facts: FileFacts

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change; an id that is there keeps its place and creation time."""
        row = {
            "experiment": target.experiment,
            "attempt": target.attempt,
            "artifact_id": self.artifact_id,
            "artifact_type": self.artifact_type,
            "path": self.path,
            "absolute_path": self.absolute_path,
            "inside_path": self.inside_path,
            "description": self.description,
            **self.facts._asdict(),
            "created_at": self.at,
            "updated_at": self.at,
        }
        before = _artifact_state(connection, target.experiment, self.artifact_id)
        kept = ("experiment", "artifact_id", "created_at")
        updates = ", ".join(f"{c} = excluded.{c}" for c in row if c not in kept)
        number = connection.execute(
            f"INSERT INTO artifact ({', '.join(row)}) VALUES ({', '.join('?' * len(row))}) "
            f"ON CONFLICT (experiment, artifact_id) DO UPDATE SET {updates} RETURNING id",
            tuple(row.values()),
        ).fetchone()[0]
        connection.execute("DELETE FROM artifact_tag WHERE artifact = ?", (number,))
        connection.executemany(
            "INSERT INTO artifact_tag VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(number, t) for t in self.tags],
        )
        after = _artifact_state(connection, target.experiment, self.artifact_id)
        _log(connection, target, _artifact_entries(self.artifact_id, before, after), self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestChange(Change):
    """A digest that was pending, for the file as it was recorded (not for one written since)."""

    absolute_path: str
    before: FileFacts
    facts: FileFacts

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change."""
        connection.execute(
            "UPDATE artifact SET sha256 = ?, digest_state = ?, size_bytes = ?, file_count = ? "
            "WHERE experiment = ? AND absolute_path = ? AND digest_state = 'pending' AND modified_ns IS ?",
            (
                self.facts.sha256,
                self.facts.digest_state,
                self.facts.size_bytes,
                self.facts.file_count,
                target.experiment,
                self.absolute_path,
                self.before.modified_ns,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChange(Change):
    """A new status. An end is the attempt's too, and seals the metrics: their bests enter the index."""

    status: str
    message: str = ""
    #: Who says so, where it is not the attempt's own process.
    hostname: str = ""
    username: str = ""

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change; the status that is there already takes the message, and what came after it is sealed."""
        self._end_attempt(connection, target)
        if self._write(connection, target):
            self._note(connection, target)
        elif self.message:
            connection.execute(
                "UPDATE experiment SET error_message = ? WHERE id = ?", (self.message, target.experiment)
            )

    def apply_late(self, connection: Connection, target: Target) -> None:
        """Write a change that was held up: it keeps its own time, and one made after that time stands.

        A process ends after it has started, whatever a clock that was set back says.
        """
        later = connection.execute(
            "SELECT 1 FROM status_change WHERE experiment = ?1 AND changed_at > ?2 "
            "AND status <> 'created' AND NOT (attempt IS ?3 AND status = 'running')",
            (target.experiment, self.at, target.attempt),
        ).fetchone()
        if later is None:
            self.apply(connection, target)
        else:
            self._end_attempt(connection, target)
            self._note(connection, target)

    def _end_attempt(self, connection: Connection, target: Target) -> None:
        if self.status in ENDS:
            end_attempt(connection, target.attempt, self.status, self.at)

    def _write(self, connection: Connection, target: Target) -> bool:
        """Write the status down; False when it is there already."""
        if self.status in ENDS:
            columns, values = "completed_at = ?", (self.at,)
            metrics.seal(connection, target.experiment)
        else:
            columns, values = "started_at = coalesce(started_at, ?), completed_at = NULL", (self.at,)
        # A failure explains itself until another end is recorded; a resume keeps the text for the reader.
        if self.message or self.status in ENDS:
            columns, values = columns + ", error_message = ?", (*values, self.message)
        written = connection.execute(
            f"UPDATE experiment SET status = ?1, updated_at = ?, {columns} WHERE id = ? AND status <> ?1",
            (self.status, self.at, *values, target.experiment),
        )
        return written.rowcount > 0

    def _note(self, connection: Connection, target: Target) -> None:
        connection.execute(
            "INSERT INTO status_change (experiment, attempt, status, message, changed_at, hostname, username) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (target.experiment, target.attempt, self.status, self.message, self.at, self.hostname, self.username),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd(Change):
    """The end of an attempt that is not the experiment's."""

    reason: str

    def apply(self, connection: Connection, target: Target) -> None:
        """Write the change."""
        end_attempt(connection, target.attempt, self.reason, self.at)


def end_attempt(connection: Connection, attempt: int | None, reason: str, at: str) -> None:
    """Record when and how a process let go of an experiment; its first end counts."""
    connection.execute(
        "UPDATE attempt SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL", (at, reason, attempt)
    )


class NewExperiment(NamedTuple):
    """What a new experiment's row says."""

    experiment_id: str
    experiment_name: str
    project: str
    group: str | None
    experiment_dir: str
    directory: str
    uid: str = ""
    data_fingerprint: str = ""
    #: Default: now.
    created_at: str = ""


def create_experiment(
    connection: Connection,
    new: NewExperiment,
    config: CapturedConfig,
    environment: Environment | None = None,
    created_ms: int | None = None,
) -> tuple[int, int]:
    """Reserve the id; give the experiment's number and its creation in milliseconds of Unix time."""
    at = new.created_at or now()
    environment_number = None if environment is None else ensure_environment(connection, environment)
    config_number = ensure_config(connection, config)
    if created_ms is None:
        created_ms = int(datetime.fromisoformat(at).timestamp() * 1000)
    inserted = connection.execute(
        'INSERT INTO experiment (uid, experiment_id, experiment_name, project, "group", status, description, '
        "experiment_dir, directory, config, current_epoch, total_epochs, training_time_seconds, error_message, "
        "created_at, created_ms, updated_at, identity_sha256, data_fingerprint, environment) "
        "VALUES (?, ?, ?, ?, ?, 'created', '', ?, ?, ?, 0, ?, 0.0, '', ?, ?, ?, ?, ?, ?)",
        (
            new.uid or str(uuid.uuid4()),
            new.experiment_id,
            new.experiment_name,
            new.project,
            new.group,
            new.experiment_dir,
            new.directory,
            config_number,
            _epochs_of(config),
            at,
            created_ms,
            at,
            config.identity_sha256,
            new.data_fingerprint,
            environment_number,
        ),
    )
    number = _number_of(inserted)
    connection.execute(
        "INSERT INTO status_change (experiment, status, message, changed_at) VALUES (?, 'created', '', ?)",
        (number, at),
    )
    if config.params:
        _write_params(connection, number, config.params, "config")
    return number, created_ms


def _epochs_of(config: CapturedConfig) -> int:
    epochs = config.summary.get("epochs")
    return epochs if isinstance(epochs, int) and 0 <= epochs < 2**63 else 0


def begin_attempt(
    connection: Connection,
    experiment: int,
    config: CapturedConfig | None,
    environment: Environment,
    process: ProcessFacts,
    at: str,
    lock_name: str = "",
    rank: int | None = None,
) -> int:
    """Record that a process works on the experiment; a changed config is a new revision.

    No config (None) keeps the one that the experiment has: a later look without one is no revision.
    """
    differences = _revise_config(connection, experiment, config)
    environment_number = ensure_environment(connection, environment)
    connection.execute("UPDATE experiment SET environment = ? WHERE id = ?", (environment_number, experiment))
    return write_attempt(connection, experiment, process, at, lock_name, rank, differences)


def write_attempt(
    connection: Connection,
    experiment: int,
    process: ProcessFacts,
    at: str,
    lock_name: str = "",
    rank: int | None = None,
    differences: dict[str, list[str | None]] | None = None,
) -> int:
    """Write down an attempt with the config and the environment that its experiment has."""
    metrics.fold_leftovers(connection)
    return connection.execute(
        "INSERT INTO attempt (experiment, number, started_at, hostname, boot_id, pid_namespace, pid, process_started, "
        "username, command_line, config_changes, lock_name, rank, config, environment) SELECT id, "
        "(SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE experiment = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, "
        "?10, ?11, ?12, config, environment FROM experiment WHERE id = ?1 RETURNING id",
        (
            experiment,
            at,
            process.hostname,
            process.boot_id,
            process.pid_namespace,
            process.pid,
            process.process_started,
            process.username,
            process.command_line,
            json.dumps(differences) if differences else "{}",
            lock_name,
            rank,
        ),
    ).fetchone()[0]


def _revise_config(
    connection: Connection, experiment: int, config: CapturedConfig | None
) -> dict[str, list[str | None]]:
    """Give an experiment another config, and tell the params that differ."""
    if config is None:
        return {}
    (digest,) = connection.execute(
        "SELECT c.sha256 FROM experiment AS e JOIN config AS c ON c.id = e.config WHERE e.id = ?", (experiment,)
    ).fetchone()
    if config.sha256 == digest:
        return {}
    before = connection.execute(
        "SELECT name, type, value, text FROM param WHERE experiment = ? AND source = 'config'", (experiment,)
    ).fetchall()
    number = ensure_config(connection, config)
    connection.execute(
        "UPDATE experiment SET config = ?, identity_sha256 = ? WHERE id = ?",
        (number, config.identity_sha256, experiment),
    )
    connection.execute("DELETE FROM param WHERE experiment = ? AND source = 'config'", (experiment,))
    _write_params(connection, experiment, config.params, "config")
    return param_differences(map(Param._make, before), config.params)


def ensure_config(connection: Connection, config: CapturedConfig) -> int:
    """Store a config once per digest; give its number."""
    if found := _row_of(connection, "config", config.sha256):
        return found
    return ensure_row(
        connection,
        "config",
        config.sha256,
        {
            "text": config.text,
            "summary": json.dumps(config.summary),
            "missing": json.dumps(config.missing),
        },
    )


class _EnvironmentRows(NamedTuple):
    """An environment as it is stored: what each attempt of a process would work out again."""

    of: Environment
    facts: dict[str, Any]
    packages: str
    package_set_sha256: str
    git_diff_sha256: str | None
    sha256: str


_last_rows: _EnvironmentRows | None = None


def ensure_environment(connection: Connection, environment: Environment) -> int:
    """Store an environment once per digest, and so its packages and git difference; give its number."""
    global _last_rows
    rows = _last_rows if _last_rows and _last_rows.of == environment else _rows_of(environment)
    _last_rows = rows
    if found := _row_of(connection, "environment", rows.sha256):
        return found
    package_set = ensure_row(connection, "package_set", rows.package_set_sha256, {"packages": rows.packages})
    git_diff = None
    if rows.git_diff_sha256:
        diff = {"text": environment.git_diff, "truncated": int(environment.git_diff_truncated)}
        git_diff = ensure_row(connection, "git_diff", rows.git_diff_sha256, diff)
    facts = {**rows.facts, "package_set": package_set, "git_diff": git_diff}
    return ensure_row(connection, "environment", rows.sha256, facts)


def _rows_of(environment: Environment) -> _EnvironmentRows:
    facts: dict[str, Any] = environment._asdict()
    packages, diff = json.dumps(facts.pop("packages")), facts.pop("git_diff")
    del facts["git_diff_truncated"]
    facts["gpu_info"] = json.dumps(facts["gpu_info"])
    facts["cuda_available"], facts["git_dirty"] = int(facts["cuda_available"]), int(facts["git_dirty"])
    contents = _digest(packages), _digest(diff) if diff else None
    return _EnvironmentRows(environment, facts, packages, *contents, environment_digest(facts, *contents))


def environment_digest(facts: dict[str, Any], package_set: str | None, git_diff: str | None) -> str:
    """Give the digest of an environment: of contents, for the numbers of rows mean something in one catalog only.

    Args:
        facts: Its columns; those of these two are left aside.
        package_set: The digest of its packages.
        git_diff: The digest of its git difference.
    """
    contents = {"package_set": package_set and [package_set], "git_diff": git_diff and [git_diff]}
    return _digest(json.dumps({**facts, **contents}, sort_keys=True))


def ensure_row(connection: Connection, table: str, sha256: str, values: dict[str, Any]) -> int:
    """Give the number of the row of a digest, written down when it is not there yet."""
    if found := _row_of(connection, table, sha256):
        return found
    insert = f"INSERT INTO {table} (sha256, {', '.join(values)}) VALUES (?{', ?' * len(values)})"
    return _number_of(connection.execute(insert, (sha256, *values.values())))


def _number_of(inserted: Cursor) -> int:
    """Give the number of a new row (RETURNING has SQLite make a table of it, which takes as long as to insert it)."""
    return cast(int, inserted.lastrowid)


def _row_of(connection: Connection, table: str, sha256: str) -> int | None:
    found = connection.execute(f"SELECT id FROM {table} WHERE sha256 = ?", (sha256,)).fetchone()
    return found[0] if found else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_params(connection: Connection, experiment: int, params: Sequence[Param], source: str) -> None:
    # What was logged outranks the config's param of the same name.
    connection.executemany(
        "INSERT INTO param (experiment, name, value, type, text, source) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET value = excluded.value, type = excluded.type, text = excluded.text, "
        "source = excluded.source WHERE excluded.source = 'logged' OR source = 'config'",
        [(experiment, p.name, p.value, p.type, p.text, source) for p in params],
    )


def _artifact_state(connection: Connection, experiment: int, artifact_id: str) -> dict[str, Any]:
    """Give what the change log tells of an artifact; {} when there is none."""
    row = connection.execute(
        "SELECT artifact_type, path, size_bytes, sha256, (SELECT json_group_array(tag) FROM artifact_tag AS t "
        "WHERE t.artifact = a.id) FROM artifact AS a WHERE experiment = ? AND artifact_id = ?",
        (experiment, artifact_id),
    ).fetchone()
    if row is None:
        return {}
    return {
        **dict(zip(("artifact_type", "path", "size_bytes", "sha256"), row, strict=False)),
        "tags": json.loads(row[4]),
    }


def _artifact_entries(artifact_id: str, before: dict[str, Any], after: dict[str, Any]) -> list[Entry]:
    if not before:
        return [Entry("artifact", "added", artifact_id, None, json.dumps(after))]
    differing = [name for name in after if before[name] != after[name]]
    if not differing:
        return []
    was, now_is = ({name: state[name] for name in differing} for state in (before, after))
    return [Entry("artifact", "changed", artifact_id, json.dumps(was), json.dumps(now_is))]


def _log(connection: Connection, target: Target, entries: Sequence[Entry], at: str) -> None:
    if entries:
        changelog.record(connection, target.experiment, entries, at, Author(target.attempt))
    _touch(connection, target, at)


def _touch(connection: Connection, target: Target, at: str) -> None:
    connection.execute("UPDATE experiment SET updated_at = ? WHERE id = ?", (at, target.experiment))
