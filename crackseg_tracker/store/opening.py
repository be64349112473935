"""How a tracker finds its experiment in the catalog, or begins it there: whole, and once, whoever begins it too."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from sqlite3 import Connection, IntegrityError
from typing import Any, Literal

from crackseg_tracker import config as configs
from crackseg_tracker import environment, sidecar
from crackseg_tracker.errors import DuplicateExperimentError, ExperimentExistsError, InvalidValueError
from crackseg_tracker.folders import make_private_folder
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.store import changes, duplicates, origin_import, replay
from crackseg_tracker.store.attempts import Attempt, AttemptChange, redacted
from crackseg_tracker.store.backlog import Subject
from crackseg_tracker.store.changes import NewExperiment
from crackseg_tracker.store.database import Database, now
from crackseg_tracker.store.failures import translated
from crackseg_tracker.store.lives import own_attempts

OnDuplicate = Literal["ignore", "warn", "error"]

logger = logging.getLogger("crackseg_tracker")


class Opening:
    """Opens the experiment of one tracker.

    Args:
        database: The catalog.
        folder: The experiment's.
        asked: The experiment as it is written down when it is new.
        config: Its config, if the tracker was given one.
        redactor: Cleans what is stored of this process and of another tracker's file.
        rank: See `AttemptChange`.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        asked: NewExperiment,
        config: configs.CapturedConfig | None,
        redactor: Redactor,
        rank: int | None,
    ) -> None:
        self._database = database
        self._asked = asked
        self._config = config
        self._redactor = redactor
        self._rank = rank
        self._folder = folder

    def find_or_begin(self, on_duplicate: OnDuplicate) -> tuple[Subject, Attempt | None]:
        """Find the experiment, or reserve its id; that is the begin of an attempt."""
        if found := self._find():
            return found, None
        begin = self.beginning()
        config = self._config or configs.capture(None, self._redactor)
        if on_duplicate != "ignore":
            self._look_for_duplicate(on_duplicate, config, begin.environment)
        is_new = self._make_folder()
        origin = None if is_new else sidecar.read(self._folder, self._asked.experiment_id)
        try:
            return self._begin(origin, config, begin)
        except IntegrityError:
            if found := self._find():  # another process was faster
                return found, None
            raise

    def _begin(
        self, origin: sidecar.Origin | None, config: configs.CapturedConfig, begin: AttemptChange
    ) -> tuple[Subject, Attempt]:
        with self._database.transaction() as connection:
            if origin and origin.uid and _is_known(connection, origin.uid):
                origin = None  # the file of an experiment that was deleted or renamed: this one is another
            uid = (origin and origin.uid) or str(uuid.uuid4())
            asked = self._asked._replace(uid=uid, created_at=now())
            number, created_ms = changes.create_experiment(connection, asked, config, begin.environment)
            if origin is not None:
                self._import(connection, number, origin)
            created_at = (origin and origin.created_at) or asked.created_at
            attempt = Attempt(begin, begin.first_number(connection, number))
            return Subject(number, uid, created_ms, created_at), attempt

    def _find(self) -> Subject | None:
        rows = self._database.rows(
            "SELECT id, uid, created_ms, created_at, directory FROM experiment "
            "WHERE experiment_id = ? AND deleted_at IS NULL",
            (self._asked.experiment_id,),
        )
        for *facts, directory in rows:
            if directory != self._asked.directory and os.path.realpath(directory) != self._asked.directory:
                raise ExperimentExistsError(
                    f"experiment_id {self._asked.experiment_id!r} belongs to the experiment in {directory}, not to "
                    f"{self._folder}; choose another id, open it with that folder, or use another catalog"
                )
            return Subject(*facts)
        return None

    def _look_for_duplicate(
        self, on_duplicate: OnDuplicate, config: configs.CapturedConfig, facts: environment.Environment
    ) -> None:
        """Say that the same was trained before, while nothing is recorded yet."""
        if not config.identity_sha256:
            logger.warning("%s: its config tells nothing, so no duplicate can be found", self._asked.experiment_id)
            return
        diff = duplicates.digest_of_diff(facts.git_diff)
        identity = duplicates.Identity(config.identity_sha256, self._asked.data_fingerprint, facts.git_commit, diff)
        with self._database.lock, translated(self._database.path):
            found = duplicates.already_trained(self._database.connection, identity, config.params)
        if found is None:
            return
        if on_duplicate == "error":
            raise DuplicateExperimentError(
                f'{found}; train it again with on_duplicate="ignore", or give identity_ignores= that leave less out',
                found.experiment_id,
                found.best_metrics,
            )
        logger.warning("%s: %s", self._asked.experiment_id, found)

    def _make_folder(self) -> bool:
        """Make the experiment's folder; tell whether it was not there before, and so has no file of a tracker."""
        if self._database.private:
            return False
        try:
            return make_private_folder(self._folder)
        except OSError as error:
            raise InvalidValueError(
                f"experiment_dir {self._asked.experiment_dir!r} cannot be made ({error.strerror}); give another folder"
            ) from error

    def _import(self, connection: Connection, number: int, origin: sidecar.Origin) -> None:
        shown = origin._replace(
            error_message=self._redactor.text(origin.error_message),
            description=self._redactor.text(origin.description),
        )
        origin_import.write_down(connection, number, shown, self._folder)

    # What else is made of what the tracker was given

    def beginning(self) -> AttemptChange:
        """Tell what begins an attempt of this process, with its secrets redacted."""
        facts, process = redacted(self._redactor, environment.capture(), environment.process_facts())
        return AttemptChange(
            config=self._config,
            environment=facts,
            process=process,
            data_fingerprint=self._asked.data_fingerprint,
            lock_name=own_attempts(self._database).lock_name(),
            rank=self._rank,
        )

    def journal_header(self, subject: Subject) -> dict[str, Any]:
        """Tell whose records a journal has: enough to make the experiment anew where the catalog was lost."""
        asked = self._asked._replace(uid=subject.uid, created_at=subject.created_at)
        return replay.header_of(asked, subject.created_ms, self._config)


def _is_known(connection: Connection, uid: str) -> bool:
    return connection.execute("SELECT 1 FROM experiment WHERE uid = ?", (uid,)).fetchone() is not None
