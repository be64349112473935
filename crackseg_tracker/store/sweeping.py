"""An end for experiments whose process died without a word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from sqlite3 import Connection

from crackseg_tracker import environment
from crackseg_tracker.errors import InvalidValueError
from crackseg_tracker.rows import SweptRow
from crackseg_tracker.store import changes, liveness
from crackseg_tracker.store.changes import StatusChange, Target
from crackseg_tracker.store.database import now
from crackseg_tracker.store.locks import remove_life_locks_of_the_dead

_RUNNING = "SELECT id, experiment_id, project FROM experiment WHERE status = 'running' AND deleted_at IS NULL"
_LAST_ATTEMPT = "SELECT id, hostname, pid, started_at FROM attempt WHERE experiment = ? ORDER BY number DESC LIMIT 1"
_OPEN_ATTEMPTS = f"SELECT a.id, {liveness.COLUMNS} FROM attempt AS a WHERE a.ended_at IS NULL"


def find_dead(connection: Connection, catalog: Path, also: Sequence[int] = ()) -> list[SweptRow]:
    """List the running experiments that nobody works on, oldest first, and those that the caller knows to be dead."""
    return [row for _, _, row in _dead(connection, catalog, also)]


def end_dead(connection: Connection, catalog: Path, also: Sequence[int] = ()) -> list[SweptRow]:
    """Mark them aborted, and end every dead attempt. Runs in a transaction: none can come back to life meanwhile."""
    sweeper, seen = environment.process_facts(), liveness.witness(catalog)
    found = _dead(connection, catalog, also)
    for experiment, attempt, row in found:
        change = StatusChange(
            status="aborted", message=row.reason, hostname=sweeper.hostname, username=sweeper.username
        )
        change.apply(connection, Target(experiment, attempt))
        for number, _ in liveness.open_attempts(connection, experiment):
            changes.end_attempt(connection, number, row.reason, change.at)
    for number, *columns in connection.execute(_OPEN_ATTEMPTS).fetchall():
        facts = liveness.AttemptFacts._make(columns)
        if liveness.of_attempt(facts, seen) == "dead":
            changes.end_attempt(connection, number, liveness.why_dead(facts, seen), now())
    remove_life_locks_of_the_dead(catalog)
    return [row for _, _, row in found]


def _dead(connection: Connection, catalog: Path, also: Sequence[int]) -> list[tuple[int, int | None, SweptRow]]:
    seen = liveness.witness(catalog)
    found: list[tuple[int, int | None, SweptRow]] = []
    running = {experiment: names for experiment, *names in connection.execute(_RUNNING + " ORDER BY id").fetchall()}
    for experiment in also:
        _refuse_unless_open(connection, catalog, experiment)
    for experiment, (experiment_id, project) in running.items():
        attempts = [facts for _, facts in liveness.open_attempts(connection, experiment)]
        lives = liveness.of_all({liveness.of_attempt(facts, seen) for facts in attempts})
        if lives == "alive" or (lives == "elsewhere" and experiment not in also):
            continue
        number, host, pid, started = connection.execute(_LAST_ATTEMPT, (experiment,)).fetchone() or (
            None,
            "",
            None,
            None,
        )
        if lives == "elsewhere":
            reason = f"declared dead by {environment.process_facts().username}: it ran on {host} (process {pid})"
        elif attempts:
            reason = liveness.why_dead(attempts[-1], seen)
        else:
            reason = "no process works on it: each that did has let go"
        found.append((experiment, number, SweptRow(experiment_id, project, host, pid, started, reason)))
    return found


def _refuse_unless_open(connection: Connection, catalog: Path, experiment: int) -> None:
    lives = liveness.of_experiment(connection, catalog, experiment)
    if lives in ("", "alive"):
        [name, status] = connection.execute(
            "SELECT experiment_id, status FROM experiment WHERE id = ?", (experiment,)
        ).fetchone()
        what = f"is {status}" if not lives else "is alive: a process works on it"
        raise InvalidValueError(f"also: {name!r} {what}; give ids of running experiments whose process is dead")
