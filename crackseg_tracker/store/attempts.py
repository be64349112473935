"""The attempt of a tracker: this process's work on the experiment, begun with the first thing that it writes."""

from __future__ import annotations

from dataclasses import dataclass
from sqlite3 import Connection

from crackseg_tracker.config import CapturedConfig
from crackseg_tracker.environment import Environment, ProcessFacts
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.store import changes
from crackseg_tracker.store.changes import Change, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptChange(Change):
    """The begin of an attempt; secrets are redacted already."""

    config: CapturedConfig | None
    environment: Environment
    process: ProcessFacts
    data_fingerprint: str = ""
    #: See `store.lives`.
    lock_name: str = ""
    rank: int | None = None

    def apply(self, connection: Connection, target: Target) -> None:
        """Write it down, unless it is."""
        self.number(connection, target.experiment)

    def first_number(self, connection: Connection, experiment: int) -> int:
        """Write it down as the first of an experiment that was made of the same things in this transaction."""
        return changes.write_attempt(connection, experiment, self.process, self.at, self.lock_name, self.rank)

    def number(self, connection: Connection, experiment: int) -> int:
        """Give the attempt's number, once it is written down."""
        found = connection.execute(
            "SELECT id FROM attempt WHERE experiment = ? AND started_at = ? AND pid = ? AND hostname = ?",
            (experiment, self.at, self.process.pid, self.process.hostname),
        ).fetchone()
        if found:
            return found[0]
        if self.data_fingerprint:
            connection.execute(
                "UPDATE experiment SET data_fingerprint = ? WHERE id = ?", (self.data_fingerprint, experiment)
            )
        return changes.begin_attempt(
            connection,
            experiment,
            self.config,
            self.environment,
            self.process,
            self.at,
            self.lock_name,
            self.rank,
        )


def redacted(redactor: Redactor, environment: Environment, process: ProcessFacts) -> tuple[Environment, ProcessFacts]:
    """Replace the secrets in what is known of the environment and the process."""
    diff, remote = redactor.text(environment.git_diff), redactor.text(environment.git_remote)
    if (diff, remote) != (environment.git_diff, environment.git_remote):
        environment = environment._replace(git_diff=diff, git_remote=remote)
    return environment, process._replace(command_line=redactor.text(process.command_line))


class Attempt:
    """One attempt; ``number`` is None until the catalog has it."""

    def __init__(self, begin: AttemptChange, number: int | None = None) -> None:
        self.begin = begin
        self.number = number
        #: Written to the journal, where later records refer to it by its time.
        self.journaled = False
