"""Whether the process of an attempt lives: told by facts, never by clocks. A slow training is never declared dead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Literal, NamedTuple

from crackseg_tracker import environment
from crackseg_tracker.store.locks import is_life_lock_held

#: "" is an attempt that has ended, or an experiment that is not running: there is nothing to live.
Liveness = Literal["alive", "dead", "elsewhere", ""]

_NAMES_OF_MANY_HOSTS = ("", "localhost", "localhost.localdomain")


class AttemptFacts(NamedTuple):
    """What an attempt wrote down of its process; the columns of ``attempt`` of these names, in this order."""

    hostname: str
    boot_id: str
    pid_namespace: str
    pid: int
    process_started: str
    lock_name: str
    ended_at: str | None


class Witness(NamedTuple):
    """What can be seen from here: this host, who holds a lock, and when a process started (None: there is none)."""

    hostname: str
    boot_id: str
    pid_namespace: str
    is_lock_held: Callable[[str], bool | None]
    start_of: Callable[[int], str | None]


COLUMNS = ", ".join(f"a.{column}" for column in AttemptFacts._fields)


def witness(catalog: Path) -> Witness:
    """Look from this process at the attempts of a catalog."""
    here = environment.process_facts()
    return Witness(
        here.hostname, here.boot_id, here.pid_namespace, partial(is_life_lock_held, catalog), environment.process_start
    )


def of_attempt(attempt: AttemptFacts, seen: Witness) -> Liveness:
    """Tell whether an attempt's process lives.

    A held lock proves life from anywhere: another container, or another host where the file system carries locks. That
    nobody holds it proves death only under the same kernel, and only when no process has the number and start time
    (whoever closes all descriptors drops the lock and goes on).

    Example:
        >>> here = Witness("host", "boot-1", "pid:[1]", lambda name: False, {7: "100"}.get)
        >>> killed = AttemptFacts("host", "boot-1", "pid:[1]", 7, "99", "7-a.lock", None)
        >>> of_attempt(killed, here), of_attempt(killed._replace(hostname="other", boot_id="boot-2"), here)
        ('dead', 'elsewhere')
    """
    if attempt.ended_at is not None:
        return ""
    held = seen.is_lock_held(attempt.lock_name)
    if held:
        return "alive"
    if attempt.boot_id != seen.boot_id:
        rebooted = attempt.hostname == seen.hostname and attempt.hostname not in _NAMES_OF_MANY_HOSTS
        return "dead" if rebooted else "elsewhere"
    if not attempt.boot_id and attempt.hostname != seen.hostname:
        return "elsewhere"
    if attempt.pid_namespace == seen.pid_namespace:
        started = seen.start_of(attempt.pid)
        if started is None or (started and attempt.process_started and started != attempt.process_started):
            return "dead"
        # Where the system tells no start times, the number may be another process's by now: the lock decides.
        return "alive" if started or held is None else "dead"
    return "elsewhere" if held is None else "dead"


def of_experiment(connection: Connection, catalog: Path, experiment: int) -> Liveness:
    """Tell whether somebody works on an experiment."""
    return of_experiments(connection, catalog, [experiment]).get(experiment, "")


def of_experiments(connection: Connection, catalog: Path, experiments: Iterable[int]) -> Mapping[int, Liveness]:
    """Tell of each experiment that is running whether somebody works on it; the others are left out."""
    seen = witness(catalog)
    found: dict[int, Liveness] = {}
    for experiment in experiments:
        row = connection.execute("SELECT status FROM experiment WHERE id = ?", (experiment,)).fetchone()
        if row == ("running",):
            found[experiment] = of_all({of_attempt(facts, seen) for _, facts in open_attempts(connection, experiment)})
    return found


def has_others(connection: Connection, catalog: Path, experiment: int) -> bool:
    """Tell whether another process works, or may work, on an experiment too."""
    seen, own = witness(catalog), environment.process_facts()
    return any(
        (facts.pid, facts.process_started, facts.boot_id) != (own.pid, own.process_started, own.boot_id)
        and of_attempt(facts, seen) in ("alive", "elsewhere")
        for _, facts in open_attempts(connection, experiment)
    )


def of_all(attempts: set[Liveness]) -> Liveness:
    """Sum up the open attempts of a running experiment: one that lives is enough, and nobody at all is death.

    Example:
        >>> of_all({"dead", "alive"}), of_all({"dead", "elsewhere"}), of_all(set())
        ('alive', 'elsewhere', 'dead')
    """
    if "alive" in attempts:
        return "alive"
    return "elsewhere" if "elsewhere" in attempts else "dead"


def open_attempts(connection: Connection, experiment: int) -> list[tuple[int, AttemptFacts]]:
    """List the attempts of an experiment that wrote down no end, oldest first."""
    rows = connection.execute(
        f"SELECT a.id, {COLUMNS} FROM attempt AS a WHERE a.experiment = ? AND a.ended_at IS NULL ORDER BY a.number",
        (experiment,),
    ).fetchall()
    return [(number, AttemptFacts._make(facts)) for number, *facts in rows]


def why_dead(attempt: AttemptFacts, seen: Witness) -> str:
    """Say how one knows that an attempt's process is dead."""
    process = f"process {attempt.pid} on {attempt.hostname}"
    if attempt.boot_id != seen.boot_id:
        return f"{process} is gone: the host was started anew since"
    return f"{process} is gone: it holds no lock, and no process has its number and start time"
