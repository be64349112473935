"""Upkeep: what changes a catalog from outside of a training, and the proof that it is whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PureWindowsPath
from sqlite3 import Connection
from typing import Unpack

from crackseg_tracker import environment, values
from crackseg_tracker.catalog.arguments import checked_limit, moment, words
from crackseg_tracker.catalog.questions import Questions
from crackseg_tracker.errors import InvalidTypeError, InvalidValueError
from crackseg_tracker.filters import SharedFilters, Words
from crackseg_tracker.progress import Progress, no_progress
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.results import Result
from crackseg_tracker.rows import ChangeRow, PurgeRow, RelocationRow, TrashRow, VerificationRow
from crackseg_tracker.store import changelog, integrity, purging, relocation, trash, verifying
from crackseg_tracker.store.changelog import Author, Entry
from crackseg_tracker.store.database import Database, now, open_database
from crackseg_tracker.store.removal import Claims


class Upkeep(Questions):
    """What keeps a catalog in order. Each call writes in a transaction of its own and is in the log of `changes`."""

    def check(self, *, progress: Progress | None = None) -> list[str]:
        """Prove that the catalog is whole: a list of problems, [] when there is none. Reads every row once.

        Args:
            progress: Called with how many proofs are done, and of how many.
        """
        with self._reading() as connection:
            return integrity.problems(connection, progress or no_progress)

    def changes(
        self,
        since: datetime | str | None = None,
        experiment_id: str | None = None,
        limit: int | None = None,
        *,
        subject: Words | None = None,
    ) -> Result[ChangeRow]:
        """List who changed which tag, description, name, artifact or status, newest first.

        Deleted and purged experiments are in the log too. Metrics are not: a point has its own time.

        Args:
            since: A datetime (naive ones are local time) or ISO 8601 text.
            experiment_id: Of one living experiment.
            limit: At most so many.
            subject: One or several of tag, description, name, id, artifact, experiment, status.
        """
        with self._reading() as connection:
            number = None if experiment_id is None else self._experiment_number(connection, experiment_id)
            start = None if since is None else moment(since, "since")
            rows = changelog.changes(connection, start, number, words(subject, "subject"), checked_limit(limit))
        return Result(ChangeRow._fields, rows)

    # The trash

    def delete(self, ids: Words, *, force: bool = False) -> Result[TrashRow]:
        """Move experiments to the trash: out of every answer, nothing lost, the id free for another at once.

        Args:
            ids: One id or several; all of them are deleted, or none.
            force: Delete also what is running. Its tracker goes on recording, into the trash: neither does the
                training fail, nor is anything lost that `restore` could not bring back.

        Returns:
            What the calls put into the trash.

        Raises:
            ExperimentRunningError: An experiment is running.
            NotFoundError: There is no such experiment.
        """
        at, who = now(), author()
        with self._database().transaction() as connection:
            numbers = self._numbers(connection, ids)
            for number in numbers:
                trash.delete(connection, self.path, number, at, who, force)
            rows = trash.rows(connection, numbers)
        return Result(TrashRow._fields, rows)

    def trash(self) -> Result[TrashRow]:
        """List what is in the trash, last deleted first."""
        with self._reading() as connection:
            return Result(TrashRow._fields, trash.rows(connection))

    def restore(self, ids: Words, *, as_id: str | None = None) -> list[str]:
        """Take experiments out of the trash.

        Args:
            ids: Ids or uids; an id that is in the trash several times needs the uid.
            as_id: The id to restore it under, when another experiment has taken its own.

        Returns:
            The ids that they have now.

        Raises:
            ExperimentExistsError: The id is taken; nothing is restored.
            NotFoundError: It is not in the trash.
        """
        wanted = words(ids, "ids")
        if as_id is not None:
            values.checked_text(as_id, "as_id")
            if len(wanted) != 1:
                raise InvalidValueError(f"as_id {as_id!r} is for one experiment, {len(wanted)} are given")
        at, who = now(), author()
        with self._database().transaction() as connection:
            return [
                trash.restore(connection, trash.find(connection, uid_or_id), as_id, at, who) for uid_or_id in wanted
            ]

    def purge(
        self,
        older_than: timedelta | None = None,
        files: bool = False,
        dry_run: bool = True,
        *,
        ids: Words | None = None,
        progress: Progress | None = None,
    ) -> Result[PurgeRow]:
        """Remove what is in the trash for good. Without ``dry_run=False`` it only tells what it would remove.

        Args:
            older_than: Only what was deleted so long ago.
            files: Remove the artifacts' files too: those inside the experiment's folder, unchanged since they were
                recorded, and named by no other experiment. Links are removed, never what they lead to.
            dry_run: False to do it.
            ids: Ids or uids of the trash; default: all.
            progress: Called with how many experiments are done, and of how many.

        Returns:
            A row per experiment, with the files that went and those that stay with the reason.
        """
        if not isinstance(older_than, timedelta | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidTypeError(f"older_than {older_than!r} is a {type(older_than).__name__}; give a timedelta")
        before = (datetime.now(UTC) - (older_than or timedelta())).isoformat(timespec="microseconds")
        with self._reading() as connection:
            uids = None if ids is None else {trash.find(connection, one).uid for one in words(ids, "ids")}
            found = purging.to_purge(connection, before, uids)
            claims = Claims(connection, self.path, {trashed.number for trashed in found}) if files else None
            rows = purging.plan(connection, found, claims) if dry_run else []
        if not dry_run:
            rows = purging.purge(self._database(), found, claims, author(), progress or no_progress)
        return Result(PurgeRow._fields, rows)

    # Facts that a person corrects

    def rename(self, experiment_id: str, new_id: str | None = None, name: str | None = None) -> None:
        """Give an experiment another id, another name, or both.

        A training that resumes must ask for the new id; one that is at work goes on recording.

        Raises:
            ExperimentExistsError: The new id is taken.
        """
        if new_id is None and name is None:
            raise InvalidValueError(f"experiment {experiment_id!r} is given neither a new_id nor a name; give one")
        for text, what in ((new_id, "new_id"), (name, "name")):
            if text is not None:
                values.checked_text(text, what)
        with self._database().transaction() as connection:
            number = self._experiment_number(connection, experiment_id)
            entries: list[Entry] = []
            if new_id is not None and new_id != experiment_id:
                trash.check_free(connection, new_id, "choose another, or rename or delete that one")
                entries += changelog.change(connection, number, "id", new_id)
            if name is not None:
                entries += changelog.change(connection, number, "name", name)
            self._log(connection, number, entries)

    def set_tags(self, ids: Words, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Add tags to experiments and remove others; all in one transaction. What is so already is no change."""
        added, removed = _tags(add, "add"), _tags(remove, "remove")
        if both := sorted(set(added) & set(removed)):
            raise InvalidValueError(f"tag {both[0]!r} is both to add and to remove; give it once")
        with self._database().transaction() as connection:
            for number in self._numbers(connection, ids):
                self._log(connection, number, changelog.change_tags(connection, number, added, removed, now()))

    def set_description(self, experiment_id: str, description: str) -> None:
        """Replace the description of an experiment (secrets redacted)."""
        text = values.checked_text(description, "description", empty=True)
        database = self._database()
        redactor = Redactor()
        redactor.share(database.secrets)
        with database.transaction() as connection:
            number = self._experiment_number(connection, experiment_id)
            self._log(connection, number, changelog.change(connection, number, "description", redactor.text(text)))

    # Files

    def relocate(
        self, old_prefix: str | os.PathLike[str], new_prefix: str | os.PathLike[str], *, dry_run: bool = False
    ) -> Result[RelocationRow]:
        """Tell the catalog that a folder was moved: the experiments' folders and the artifacts' paths follow.

        Prefixes are compared by whole parts: ``/data/a`` is no prefix of ``/data/ab``. Neither folder need be on this
        machine. Paths that were given as relative ones stay as they were given.

        Args:
            old_prefix: An absolute path of before.
            new_prefix: The absolute path of now.
            dry_run: Only tell what would change.

        Returns:
            A row per folder and path that changed.
        """
        steps = relocation.moves(_prefix(old_prefix, "old_prefix"), _prefix(new_prefix, "new_prefix"))
        if dry_run:
            with self._reading() as connection:
                rows = relocation.plan(connection, steps)
        else:
            with self._database().transaction() as connection:
                rows = relocation.apply(connection, steps, now(), author())
        return Result(RelocationRow._fields, rows)

    def verify(
        self,
        *,
        full: bool = False,
        artifact_type: Words | None = None,
        tags: Words | None = None,
        experiment_id: Words | None = None,
        artifact_id: Words | None = None,
        progress: Progress | None = None,
        **filters: Unpack[SharedFilters],
    ) -> Result[VerificationRow]:
        """Look whether the artifacts' files are still what was recorded.

        Digests that were pending are computed where the file is still as it was recorded. Nothing is locked meanwhile,
        and what was found out so far stays found out when the call is interrupted.

        Args:
            full: Read every file. Otherwise one with the recorded size and time of modification is believed.
            artifact_type: One or several.
            tags: The artifacts that have all of them.
            experiment_id: Ids of experiments; ``*`` stands for any characters.
            artifact_id: Ids of artifacts; ``*`` stands for any characters.
            progress: Called with how many artifacts are done, and of how many.
            **filters: Of their experiments; see `crackseg_tracker.filters.SharedFilters`.

        Returns:
            A row per artifact, and one per file that lies where an experiment's checkpoints lie, has their suffix, and
            is no artifact ("orphaned").
        """
        chosen = self.artifacts(artifact_type, tags, experiment_id, artifact_id=artifact_id, **filters)
        report = progress or no_progress
        with self._reading() as connection:
            recorded = verifying.recorded(connection, [(row.experiment_id, row.artifact_id) for row in chosen])
            named = verifying.named_paths(connection)
        rows: list[VerificationRow] = []
        for done, artifact in enumerate(recorded):
            report(done, len(recorded))
            finding = verifying.verify(artifact, self.path, full)
            if finding.learned is not None:
                with self._database().transaction() as connection:
                    verifying.write_down(connection, finding)
            rows.append(finding.row)
        report(len(recorded), len(recorded))
        return Result(VerificationRow._fields, [*rows, *verifying.orphans(recorded, named)])

    # The machinery

    def _database(self) -> Database:
        """Give the process's writing connection, which its trackers share: so locks and forks stay right."""
        return open_database(self.location)

    def _numbers(self, connection: Connection, ids: Words) -> list[int]:
        return [self._experiment_number(connection, one) for one in dict.fromkeys(words(ids, "ids"))]

    def _log(self, connection: Connection, number: int, entries: Sequence[Entry]) -> None:
        if entries:
            at = now()
            connection.execute("UPDATE experiment SET updated_at = ? WHERE id = ?", (at, number))
            changelog.record(connection, number, entries, at, author())


def author() -> Author:
    """Tell who is at this process."""
    facts = environment.process_facts()
    return Author(None, facts.hostname, facts.username)


def _prefix(path: str | os.PathLike[str], what: str) -> str:
    text = values.checked_path(path, what)
    if not (Path(text).is_absolute() or PureWindowsPath(text).is_absolute()):
        raise InvalidValueError(f"{what} {text!r} is relative; give an absolute path")
    stripped = text.rstrip("/\\")
    if not stripped:
        raise InvalidValueError(f"{what} {text!r} is the root, under which everything lies; give a folder in it")
    return stripped


def _tags(tags: Sequence[str], what: str) -> list[str]:
    return [values.checked_text(tag, what) for tag in words(tags, what)]
