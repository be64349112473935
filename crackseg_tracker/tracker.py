"""`ExperimentTracker`: the write side, imported in training code."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from crackseg_tracker import arguments, fingerprint, ranks, settings, values
from crackseg_tracker import config as configs
from crackseg_tracker.errors import InvalidValueError, MetricError
from crackseg_tracker.identity import IDENTITY_IGNORES, checked_patterns
from crackseg_tracker.redaction import Redactor
from crackseg_tracker.rows import Metadata, nothing_known
from crackseg_tracker.schema import ENDS
from crackseg_tracker.sidecar import FILE
from crackseg_tracker.store import changes, endings, metric_changes, metrics, reading
from crackseg_tracker.store.backlog import backlog_of
from crackseg_tracker.store.buffer import MetricBuffer
from crackseg_tracker.store.changes import Change
from crackseg_tracker.store.database import Database, open_database, open_privately
from crackseg_tracker.store.keeper import keeper
from crackseg_tracker.store.opening import OnDuplicate, Opening
from crackseg_tracker.store.recording import FAULTS, Recorder

if TYPE_CHECKING:
    from omegaconf import DictConfig

logger = logging.getLogger("crackseg_tracker")

Durability = Literal["normal", "full", "buffered"]
_DURABILITIES, _ON_DUPLICATES = get_args(Durability), get_args(OnDuplicate)


class ExperimentTracker:
    """Records one experiment in the catalog.

    Every call that returned is committed. Misuse raises at once and records nothing. Once the experiment is open, no
    fault of the catalog's file, disk or lock raises into the training: what is recorded meanwhile goes to a journal
    beside the catalog, and from there into the catalog as soon as that is back (`Metadata.degraded` and its counts
    tell).

    Args:
        experiment_dir: The experiment's folder; made when missing. ``experiment_tracker.json`` is written there.
        experiment_id: Unique among the living experiments of the catalog. One that exists in the same folder is
            opened: the first write, or `start_experiment`, begins a new attempt, and earlier data stays.
        experiment_name: For people; need not be unique. Default: the id.
        config: A DictConfig, a mapping or None. Stored whole and resolved, secrets redacted, every leaf a typed param.
        auto_save: False defers description, tags, params, progress and artifacts to `save`, `close` or the end of the
            ``with`` block.
        catalog: Path or SQLAlchemy URL; default: see `crackseg_tracker.settings`.
        project: Default: ``CRACKSEG_TRACKER_PROJECT``, else ``project_name`` of the config, else "default".
        group: The sweep, fold or seed set.
        redact: Regular expressions of further secrets, for names and for text.
        durability: "normal" (survives ``kill -9``; a power loss takes at most the last 5 seconds), "full" (survives
            power loss) or "buffered" (metrics are committed by a thread at most 50 ms later).
        strict: True raises when the catalog cannot take a write, instead of journaling it.
        rank: The rank of this process in a distributed training; default: see `crackseg_tracker.ranks`. Only rank 0
            records. In any other every call works, on a catalog in memory that nobody sees.
        all_ranks: True has every rank record, each as an attempt of its own; the status is that of rank 0.
        on_duplicate: What to do when a new experiment was trained before: one with the same config, commit, uncommitted
            changes and ``data_fingerprint`` has completed. "warn" names it and its bests in the log, "error" raises.
        data_fingerprint: Any text that changes with the data, such as a digest or a version.
        identity_ignores: Patterns of the params that do not make a config another one; default: seeds, paths, names
            and the machine (`crackseg_tracker.identity.IDENTITY_IGNORES`, where the patterns are explained).

    Raises:
        ExperimentExistsError: The id belongs to an experiment in another folder.
        DuplicateExperimentError: It was trained before, and ``on_duplicate`` is "error"; nothing was recorded.
        InvalidTypeError, InvalidValueError: An argument that cannot be meant; ConfigError for the config.
        CatalogError: The catalog is foreign, newer, damaged or not writable.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with ExperimentTracker(
        ...         f"{folder}/unet", "unet-1", "unet", {"training": {"epochs": 2}}, catalog=f"{folder}/c/catalog.db"
        ...     ) as tracker:
        ...         tracker.log_metrics({"loss": 0.5, "val/iou": 0.4}, step=0)
        ...         tracker.log_metrics({"loss": 0.3, "val/iou": 0.6}, step=1)
        ...     tracker.metadata.status, tracker.metadata.best_metrics
        ('completed', {'loss': 0.3, 'val/iou': 0.6})
    """

    def __init__(
        self,
        experiment_dir: str | os.PathLike[str],
        experiment_id: str,
        experiment_name: str | None = None,
        config: Mapping[str, Any] | DictConfig | None = None,
        auto_save: bool = True,
        *,
        catalog: str | os.PathLike[str] | None = None,
        project: str | None = None,
        group: str | None = None,
        redact: Iterable[str] = (),
        durability: Durability = "normal",
        strict: bool = False,
        rank: int | None = None,
        all_ranks: bool = False,
        on_duplicate: OnDuplicate = "ignore",
        data_fingerprint: str = "",
        identity_ignores: Iterable[str] = IDENTITY_IGNORES,
    ) -> None:
        self.experiment_dir = Path(values.checked_path(experiment_dir, "experiment_dir"))
        if "\0" in str(experiment_dir):
            raise InvalidValueError(f"experiment_dir {str(experiment_dir)!r} has a NUL character; give a path")
        self.experiment_id = values.checked_text(experiment_id, "experiment_id")
        name = self.experiment_id if experiment_name is None else experiment_name
        self.experiment_name = values.checked_text(name, "experiment_name")
        arguments.check_word(durability, "durability", _DURABILITIES)
        arguments.check_word(on_duplicate, "on_duplicate", _ON_DUPLICATES)
        data_fingerprint = values.checked_text(data_fingerprint, "data_fingerprint", empty=True)
        for text, what in ((project, "project"), (group, "group")):
            if text is not None:
                values.checked_text(text, what)
        self.auto_save = auto_save
        self._redactor = Redactor(redact)
        ignores = checked_patterns(identity_ignores, "identity_ignores")
        captured = None if config is None else configs.capture(config, self._redactor, ignores)
        # Absolute from here on: Hydra may change the working directory before the first write.
        real = os.path.realpath(self.experiment_dir)
        self._folder = self.experiment_dir if real == os.fspath(self.experiment_dir) else Path(real)
        self._rank = ranks.current_rank() if rank is None else values.checked_step(rank, "rank")
        self._database = _database_of(settings.locate(catalog), 0 if all_ranks else self._rank)
        self._redactor.share(self._database.secrets)
        if durability == "full":
            self._database.require_full_sync()
        self._database.on_fork(self._after_fork)
        self._pending: list[Change] = []
        self._unhashed: list[tuple[Path, fingerprint.FileFacts]] = []
        self._entered: int | None = None
        self._is_beyond_total = False
        self._known: Metadata | None = None
        self._strict = strict
        asked = changes.NewExperiment(
            self.experiment_id,
            self.experiment_name,
            settings.project_of(project, captured.project_name if captured else None),
            group,
            os.fspath(self.experiment_dir),
            str(self._folder),
            data_fingerprint=data_fingerprint,
        )
        opening = Opening(self._database, self._folder, asked, captured, self._redactor, self._rank)
        subject, begun = opening.find_or_begin(on_duplicate)
        self._experiment = subject.number
        self._recorder = Recorder(
            self._database,
            subject,
            backlog_of(self._database, subject, self._folder, lambda: opening.journal_header(subject)),
            opening.beginning,
            self._redactor.text,
            strict=strict,
            synced=durability == "full",
        )
        if begun is not None:
            self._recorder.begin(begun)
        self._buffer = MetricBuffer(self._database, self._recorder) if durability == "buffered" else None

    def __repr__(self) -> str:
        """Show which experiment, in which catalog."""
        if self._database.private:
            return f"<ExperimentTracker {self.experiment_id!r}, of rank {self._rank}, which records nothing>"
        return f"<ExperimentTracker {self.experiment_id!r} in {self._database.path}>"

    # Life

    def start_experiment(self) -> None:
        """Set the status to running; after an end, this resumes the experiment in a new attempt."""
        self._flush_metrics()
        if self._leads:
            self._recorder.write(changes.StatusChange(status="running"), resume=True)
        else:
            self._recorder.begin_attempt()
        self._write_sidecar_soon()

    def complete_experiment(self) -> None:
        """Set the status to completed."""
        self._end("completed")

    def fail_experiment(self, message: str) -> None:
        """Set the status to failed and keep the message (secrets redacted).

        Meant for ``except`` blocks: an experiment that ended otherwise before becomes failed, with a warning in the
        log, and never an exception.
        """
        self._end("failed", message)

    def abort_experiment(self, message: str = "") -> None:
        """Set the status to aborted: stopped on purpose."""
        self._end("aborted", message)

    def update_training_progress(
        self,
        current_epoch: int,
        total_epochs: int,
        best_metrics: Mapping[str, float] | None = None,
        training_time_seconds: float | None = None,
    ) -> None:
        """Record how far the training is.

        Args:
            current_epoch: From 0; one above ``total_epochs`` is recorded, and the first one warned of in the log.
            total_epochs: From 0.
            best_metrics: Merged into what was reported before. NaN is kept as a report and never wins.
            training_time_seconds: None keeps the last one.
        """
        epoch = values.checked_step(current_epoch, "current_epoch")
        total = values.checked_step(total_epochs, "total_epochs")
        best: Mapping[str, Any] = (
            {} if best_metrics is None else arguments.checked_mapping(best_metrics, "best_metrics")
        )
        seconds = None
        if training_time_seconds is not None:
            seconds = values.number("training_time_seconds", training_time_seconds)
            if not 0 <= seconds < math.inf:
                raise InvalidValueError(f"training_time_seconds {seconds} is not a duration; give seconds from 0")
        if epoch > total and not self._is_beyond_total:
            # Once: it holds of all that follow, and a training whose stderr nobody reads would stop at 64 KB of lines.
            self._is_beyond_total = True
            logger.warning("%s: epoch %d is above the total of %d", self.experiment_id, epoch, total)
        reports = {values.checked_name(n): values.number(n, v) for n, v in best.items()}
        self._record(
            changes.ProgressChange(
                current_epoch=epoch,
                total_epochs=total,
                best_metrics=reports,
                training_time_seconds=seconds,
            )
        )

    # Metrics

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record a point of each metric: all of them or none, committed on return.

        Args:
            metrics: Names to numbers: float, int, bool, Decimal, numpy, torch (any dtype, any device). NaN and
                infinities are kept exactly. Values that are all series (lists, arrays) are logged as bulk, one point
                per step from ``step`` on.
            step: From 0 to 2^63-1. The same step again overwrites. None: one more than the largest last step among
                these metrics (0 for new ones).

        Raises:
            MetricError, InvalidTypeError: Names the value; nothing of the call is recorded.
        """
        if step is not None and (type(step) is not int or not 0 <= step <= values.MAX_STEP):
            step = values.checked_step(step)
        given: Mapping[str, Any] = arguments.checked_mapping(metrics, "metrics")
        if self._recorder.attempt is None:
            if arguments.are_series(given):
                self._log_arrays(given, step)
                return
            for name, value in given.items():  # a call that will be refused begins no attempt
                values.number(values.checked_name(name), value)
            self._recorder.begin_attempt()
        try:
            if self._buffer is None:
                self._recorder.log(given, step)
            else:
                self._buffer.log(given, step)
        except MetricError:
            if not arguments.are_series(given):
                raise
            self._log_arrays(given, step)

    def log_metric(self, name: str, value: Any, step: int | None = None) -> None:
        """Record one point of one metric; see `log_metrics`."""
        self.log_metrics({name: value}, step)

    def log_history(
        self,
        name: str,
        steps: Iterable[int],
        values: Iterable[Any],
        times: Iterable[float] | None = None,
    ) -> None:
        """Record a whole series in one transaction; of two points with one step the later wins.

        Args:
            name: The metric.
            steps: Whole numbers, shape (n,).
            values: Numbers, shape (n,).
            times: Unix times in seconds, shape (n,); default: now.
        """
        self._log_bulk({name: arguments.points_of(self._recorder.series, name, steps, values, times)})

    def define_metric(
        self,
        name: str,
        mode: Literal["max", "min"],
        unit: str | None = None,
        description: str | None = None,
    ) -> None:
        """Say which direction of a metric is better, for the whole catalog.

        Without it the mode follows the words of the name (`crackseg_tracker.values.LOWER_IS_BETTER`); the view
        ``metric_names`` shows what was assumed.
        """
        values.checked_name(name)
        values.checked_mode(mode)
        for text, what in ((unit, "unit"), (description, "description")):
            if text is not None:
                values.checked_text(text, what, empty=True)
        self._recorder.write(metric_changes.MetricDefinition(name=name, mode=mode, unit=unit, description=description))

    def rewind(self, step: int) -> None:
        """Take back what was recorded after a step: a resume from an earlier checkpoint.

        Points leave curve and summary and move to the view ``superseded_metrics``; reports of a best made after the
        step no longer count.
        """
        values.checked_step(step)
        self._flush_metrics()
        self._write_pending()
        self._recorder.write(metric_changes.RewindChange(step=step))

    def log_samples(
        self, samples: Mapping[str, Mapping[str, Any]], step: int | None = None, split: str = "val"
    ) -> None:
        """Record metrics per image (or other sample), for the view ``sample_metrics``.

        Args:
            samples: ``{"image_017": {"iou": 0.81, "dice": 0.9}, ...}``.
            step: Default: one more than the last of the split in this experiment.
            split: The split of the data that the samples are of.
        """
        values.checked_text(split, "split")
        if step is not None:
            step = values.checked_step(step)
        rows = [
            (values.checked_text(sample, "sample"), values.checked_name(name), number)
            for sample, results in arguments.checked_mapping(samples, "samples").items()
            for name, number in arguments.numbers_of(results, f"results of sample {values.shown(sample)}").items()
        ]
        self._recorder.write(metric_changes.SamplesChange(split=split, rows=rows, step=step))

    # Params, artifacts, tags, description

    def log_params(self, mapping: Mapping[str, Any] | DictConfig) -> None:
        """Record params beside the config's; nested mappings become dotted names."""
        self._record(changes.ParamsChange(params=configs.flatten(mapping, self._redactor)))

    def add_artifact(
        self,
        artifact_id: str,
        artifact_type: str,
        file_path: str | os.PathLike[str],
        description: str = "",
        tags: Iterable[str] | None = None,
    ) -> None:
        """Record a file or folder: path, size, time and digest, never a copy. The same id again updates the row.

        Files up to 4 MiB are hashed at once, larger ones at `save`, `close` or completion (``digest_state`` says
        "pending" until then). A missing file is recorded as "missing".

        Args:
            artifact_id: Unique in the experiment.
            artifact_type: Any word: "checkpoint", "metrics", "visualization", ...
            file_path: Relative ones are relative to the working directory of this moment.
            description: For people.
            tags: Words to find it by.
        """
        given = values.checked_path(file_path, "file_path")
        absolute = Path(os.path.abspath(given))
        facts = fingerprint.examine(absolute)
        change = changes.ArtifactChange(
            artifact_id=values.checked_text(artifact_id, "artifact_id"),
            artifact_type=values.checked_text(artifact_type, "artifact_type"),
            path=given,
            absolute_path=str(absolute),
            inside_path=fingerprint.inside(absolute, self._folder),
            description=values.checked_text(description, "description", empty=True),
            tags=arguments.checked_tags(tags or ()),
            facts=facts,
        )
        self._record(change)
        if facts.digest_state == "pending":
            self._unhashed.append((absolute, facts))

    def get_artifacts_by_type(self, artifact_type: str) -> list[str]:
        """Give the paths of a type as they were given, oldest first; [] for an unknown type."""
        values.checked_text(artifact_type, "artifact_type", empty=True)
        try:
            with self._recorder.preview(list(self._pending)) as connection:
                return reading.paths_by_type(connection, self._experiment, artifact_type)
        except FAULTS:
            if self._strict:
                raise
            known = self._last_known()
            paths = {
                "checkpoint": known.checkpoint_paths,
                "metrics": known.metric_files,
                "visualization": known.visualization_files,
            }
            return list(paths.get(artifact_type, ()))

    def update_description(self, description: str) -> None:
        """Replace the description (secrets redacted)."""
        text = self._redactor.text(values.checked_text(description, "description", empty=True))
        self._record(changes.DescriptionChange(description=text))

    def add_tags(self, tags: Iterable[str]) -> None:
        """Add tags; those that are there stay."""
        self._record(changes.TagChange(added=arguments.checked_tags(tags)))

    def remove_tags(self, tags: Iterable[str]) -> None:
        """Remove tags; absent ones are fine."""
        self._record(changes.TagChange(removed=arguments.checked_tags(tags)))

    # What is known

    @property
    def metadata(self) -> Metadata:
        """All that is known of the experiment now, with what is pending or journaled.

        While the catalog cannot even be read, this is what was last known; ``degraded`` says so.
        """
        self._flush_metrics()
        return self._look(list(self._pending))

    def get_metadata(self) -> Metadata:
        """Give `metadata`."""
        return self.metadata

    def get_metadata_dict(self) -> dict[str, Any]:
        """Give `metadata` as a dictionary that JSON can hold."""
        return self.metadata._asdict()

    def get_experiment_summary(self) -> dict[str, Any]:
        """Give the facts that one wants at a glance, with the number of artifacts."""
        known = self.metadata
        shown = [
            "experiment_id",
            "experiment_name",
            "project",
            "status",
            "description",
            "tags",
            "current_epoch",
            "total_epochs",
            "best_metrics",
            "training_time_seconds",
            "created_at",
            "started_at",
            "completed_at",
            "error_message",
        ]
        return {
            **{name: getattr(known, name) for name in shown},
            "artifact_count": len(known.artifact_ids),
            "checkpoint_count": len(known.checkpoint_paths),
        }

    # Saving

    def save(self) -> None:
        """Write what is pending: buffered metrics, then deferred changes and digests of large files together."""
        self._flush_metrics()
        self._write_pending(*self._digests())

    def close(self) -> None:
        """Save, and refresh ``experiment_tracker.json``. The tracker can still be used: it saves again at the next."""
        self.save()
        if self._recorder.attempt is not None:
            self._recorder.finish()
            self._write_sidecar()

    def __enter__(self) -> Self:
        """Start the experiment."""
        self.start_experiment()
        self._entered = os.getpid()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Record the end that the block came to, unless one was recorded inside, and re-raise."""
        if self._entered != os.getpid():
            return  # a forked child leaves the block: the experiment is the parent's
        try:
            if self._recorder.status() not in ENDS or not self._leads:
                self._end(*endings.of_exception(error))
            self.close()
        except Exception:
            if error is None:
                raise
            logger.warning("%s: the end could not be recorded", self.experiment_id, exc_info=True)

    # The machinery

    @property
    def _leads(self) -> bool:
        """Whether the status is this process's to say: of several ranks that record, it is the first one's."""
        return self._database.private or not self._rank

    def _record(self, change: Change) -> None:
        if self.auto_save:
            self._recorder.write(change)
        else:
            self._pending.append(change)

    def _write_pending(self, *more: Change) -> None:
        batch = list(self._pending)
        if batch or more:
            self._recorder.write(*batch, *more)
        for change in batch:  # another thread may have added some meanwhile, and a signal's handler have saved them all
            with suppress(ValueError):
                self._pending.remove(change)

    def _flush_metrics(self) -> None:
        if self._buffer is not None:
            self._buffer.flush()

    def _log_arrays(self, series: Mapping[str, Any], step: int | None) -> None:
        lengths = {name: len(values.numbers(name, v)) for name, v in series.items()}
        if len(set(lengths.values())) > 1:
            raise MetricError(f"series of unequal lengths: {lengths}; give equal ones, or one call each")
        count = next(iter(lengths.values()))
        start = step or 0
        steps = range(start, start + count)
        points = {name: arguments.points_of(self._recorder.series, name, steps, v, None) for name, v in series.items()}
        self._log_bulk(points, following=step is None)

    def _log_bulk(self, series: dict[str, metrics.Points], *, following: bool = False) -> None:
        self._recorder.begin_attempt()
        self._flush_metrics()  # what is queued comes first
        self._recorder.log_history(series, following=following)

    def _end(self, status: str, message: str = "") -> None:
        text = self._redactor.text(arguments.lenient_text(message))
        self._flush_metrics()
        if not self._leads:
            with self._recorder.ending(changes.AttemptEnd(reason=text or status)):
                pass  # the sidecar is the first rank's
            return
        before = self._recorder.status()
        with self._recorder.ending(changes.StatusChange(status=status, message=text)):
            if before in ENDS and before != status:
                logger.warning("%s had ended as %s and is now %s", self.experiment_id, before, status)
            if status == "completed" and not self._pending and (digests := self._digests()):
                self._recorder.write(*digests)
            self._write_sidecar()

    def _digests(self) -> list[Change]:
        """Hash the files that were too large to be hashed at once."""
        unhashed, self._unhashed = self._unhashed, []
        try:
            # A file that changed since it was recorded stays "pending": its digest would be of something else.
            return [
                changes.DigestChange(absolute_path=str(path), before=facts, facts=done)
                for path, facts in unhashed
                if (done := fingerprint.digest(path, facts)).digest_state != "pending"
            ]
        except BaseException:  # Ctrl-C: the next time
            self._unhashed[:0] = unhashed
            raise

    def _look(self, pending: Sequence[Change]) -> Metadata:
        """Tell what is known, with what is pending; the last that was known when the catalog cannot be read."""
        backlog = self._recorder.backlog
        try:
            with self._recorder.preview(pending) as connection:
                stored = reading.metadata(connection, self._experiment)
        except FAULTS:
            if self._strict:
                raise
            stored, readable = self._last_known(), False
        else:
            self._known, readable = stored, True
        tally = backlog.tally
        return stored._replace(
            degraded=backlog.is_degraded or not readable or tally.dropped + stored.dropped > 0,
            journaled=tally.waiting,
            dropped=max(stored.dropped, tally.dropped),
        )

    def _last_known(self) -> Metadata:
        if self._known is None:
            return nothing_known()._replace(
                experiment_id=self.experiment_id,
                experiment_name=self.experiment_name,
                experiment_dir=os.fspath(self.experiment_dir),
            )
        return self._known

    def _write_sidecar_soon(self) -> None:
        """Leave it to the keeper: a start has nothing that must be beside the experiment at once."""
        if not self._database.private and self._leads:
            keeper.do_soon(self._database, self._recorder, self._write_sidecar_unless_busy)

    def _write_sidecar_unless_busy(self) -> None:
        if self._recorder.backlog.is_open:
            self._write_sidecar_soon()  # to tell what is journaled takes the processor from those who replay
        else:
            self._write_sidecar()

    def _write_sidecar(self) -> None:
        if self._database.private or not self._leads:
            return
        keeper.do_not(self._database, self._recorder)
        number = self._recorder.backlog.sidecar.number()
        try:
            if not self._recorder.is_deleted():  # else the folder may belong to another experiment now
                self._recorder.backlog.sidecar.write(number, self._look(())._asdict())
        except OSError as error:
            logger.warning("%s could not be written: %s", self._folder / FILE, error)

    def _after_fork(self) -> None:
        """In a forked child: what is pending is the parent's."""
        self._pending = []
        self._unhashed = []


def _database_of(location: settings.Location, rank: int | None) -> Database:
    if not rank:
        return open_database(location)
    _say_once(f"rank {rank} records nothing, rank 0 does (all_ranks=True records each)")
    return open_privately(location)


@cache
def _say_once(message: str) -> None:
    logger.warning(message)
