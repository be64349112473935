"""The tables, one class each, in the order in which a training fills them.

Tables have singular names and may change with a migration; people read the plural views of `schema.views`, which may
not. All are STRICT. Times are ISO 8601 text in UTC with microseconds: they sort as text and need no decoder.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Column, Computed, ForeignKey, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from crackseg_tracker.schema import STATUSES
from crackseg_tracker.schema.types import INTEGER, NUMBER, REAL, TEXT, TYPED

_STRICT = {"sqlite_strict": True}
# Clustered by its key: a row is found, and a range is read, without a second B-tree.
_CLUSTERED = {"sqlite_strict": True, "sqlite_with_rowid": False}


def _id() -> Any:
    return Field(default=None, sa_column=Column(INTEGER, primary_key=True))


def _key(references: str | None = None, kind: Any = INTEGER) -> Any:
    foreign = [ForeignKey(references)] if references else []
    return Field(sa_column=Column(kind, *foreign, primary_key=True, autoincrement=False))


def _column(kind: Any, *constraints: Any, null: bool = False, **options: Any) -> Any:
    column: Column[Any] = Column(kind, *constraints, nullable=null, **options)
    return Field(default=None, sa_column=column) if null else Field(sa_column=column)


def _number(name: str) -> Column[Any]:
    return Column(name, NUMBER, CheckConstraint(f"typeof({name}) IN ('real', 'null')"), nullable=True)


class Config(SQLModel, table=True):
    """A resolved config, stored once per digest of its canonical JSON."""

    __table_args__: ClassVar[Any] = (_STRICT,)
    id: int | None = _id()
    sha256: str = _column(TEXT, unique=True)
    text: str = _column(TEXT)
    summary: str = _column(TEXT)
    missing: str = _column(TEXT)


class PackageSet(SQLModel, table=True):
    """The installed packages (a JSON object), stored once per digest."""

    __tablename__: ClassVar[Any] = "package_set"
    __table_args__: ClassVar[Any] = (_STRICT,)
    id: int | None = _id()
    sha256: str = _column(TEXT, unique=True)
    packages: str = _column(TEXT)


class GitDiff(SQLModel, table=True):
    """Uncommitted changes, stored once per digest."""

    __tablename__: ClassVar[Any] = "git_diff"
    __table_args__: ClassVar[Any] = (_STRICT,)
    id: int | None = _id()
    sha256: str = _column(TEXT, unique=True)
    text: str = _column(TEXT)
    truncated: int = _column(INTEGER)


class Environment(SQLModel, table=True):
    """Machine and software, stored once per digest of all its columns."""

    __table_args__: ClassVar[Any] = (_STRICT,)
    id: int | None = _id()
    sha256: str = _column(TEXT, unique=True)
    python_version: str = _column(TEXT)
    platform: str = _column(TEXT)
    hostname: str = _column(TEXT)
    username: str = _column(TEXT)
    memory_gb: float = _column(REAL)
    cpu_count: int = _column(INTEGER)
    pytorch_version: str = _column(TEXT)
    cuda_available: int = _column(INTEGER)
    cuda_version: str = _column(TEXT)
    gpu_info: str = _column(TEXT)
    git_commit: str = _column(TEXT)
    git_branch: str = _column(TEXT)
    git_dirty: int = _column(INTEGER)
    git_remote: str = _column(TEXT)
    git_diff: int | None = _column(INTEGER, ForeignKey("git_diff.id"), null=True)
    package_set: int | None = _column(INTEGER, ForeignKey("package_set.id"), null=True)


class Experiment(SQLModel, table=True):
    """One training run. ``experiment_id`` is unique among the living, ``uid`` for ever."""

    __table_args__: ClassVar[Any] = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        Index(
            "experiment_living",
            "experiment_id",
            unique=True,
            sqlite_where=Column("deleted_at").is_(None),
        ),
        Index("experiment_by_project", "project"),
        Index("experiment_by_status", "status"),
        Index("experiment_by_creation", "created_at"),
        Index("experiment_by_identity", "identity_sha256"),
        _STRICT,
    )
    id: int | None = _id()
    uid: str = _column(TEXT, unique=True)
    experiment_id: str = _column(TEXT)
    experiment_name: str = _column(TEXT)
    project: str = _column(TEXT)
    group: str | None = _column(TEXT, null=True)
    status: str = _column(TEXT)
    description: str = _column(TEXT)
    experiment_dir: str = _column(TEXT)
    directory: str = _column(TEXT)
    config: int = _column(INTEGER, ForeignKey("config.id"))
    environment: int | None = _column(INTEGER, ForeignKey("environment.id"), null=True)
    current_epoch: int = _column(INTEGER)
    total_epochs: int = _column(INTEGER)
    training_time_seconds: float = _column(REAL)
    error_message: str = _column(TEXT)
    created_at: str = _column(TEXT)
    #: The origin of the metrics' ``offset_ms``, in milliseconds of Unix time.
    created_ms: int = _column(INTEGER)
    started_at: str | None = _column(TEXT, null=True)
    completed_at: str | None = _column(TEXT, null=True)
    updated_at: str = _column(TEXT)
    deleted_at: str | None = _column(TEXT, null=True)
    #: What the user says of the data, and the digest of the config without seeds and paths: together with the commit
    #: they tell whether the same was trained before.
    data_fingerprint: str = _column(TEXT, server_default="")
    identity_sha256: str = _column(TEXT, server_default="")
    #: When a purge emptied it. The row stays: its number and its attempts' are never used again, so a tracker that is
    #: still at work on it can write neither into the rows of another experiment nor in vain.
    purged_at: str | None = _column(TEXT, null=True)


class Attempt(SQLModel, table=True):
    """One process working on an experiment; a resumed experiment has several."""

    __table_args__: ClassVar[Any] = (UniqueConstraint("experiment", "number"), _STRICT)
    id: int | None = _id()
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    number: int = _column(INTEGER)
    started_at: str = _column(TEXT)
    hostname: str = _column(TEXT)
    boot_id: str = _column(TEXT)
    pid_namespace: str = _column(TEXT)
    pid: int = _column(INTEGER)
    process_started: str = _column(TEXT)
    username: str = _column(TEXT)
    command_line: str = _column(TEXT)
    config: int = _column(INTEGER, ForeignKey("config.id"))
    #: {param: [text before, text now]} against the attempt before.
    config_changes: str = _column(TEXT)
    environment: int | None = _column(INTEGER, ForeignKey("environment.id"), null=True)
    #: The name of the file beside the catalog whose lock the process holds for as long as it works on the experiment.
    lock_name: str = _column(TEXT, server_default="")
    rank: int | None = _column(INTEGER, null=True)
    #: When and how the process let go; NULL while it works, or when it died without a word.
    ended_at: str | None = _column(TEXT, null=True)
    end_reason: str = _column(TEXT, server_default="")


class StatusChange(SQLModel, table=True):
    """One change of an experiment's status."""

    __tablename__: ClassVar[Any] = "status_change"
    __table_args__: ClassVar[Any] = (
        CheckConstraint(f"status IN {STATUSES}", name="status_known"),
        Index("status_change_by_experiment", "experiment"),
        _STRICT,
    )
    id: int | None = _id()
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    attempt: int | None = _column(INTEGER, ForeignKey("attempt.id"), null=True)
    status: str = _column(TEXT)
    message: str = _column(TEXT)
    changed_at: str = _column(TEXT)
    #: Who, where it was not the attempt's own process (a sweep, a merge).
    hostname: str = _column(TEXT, server_default="")
    username: str = _column(TEXT, server_default="")


class ChangeLog(SQLModel, table=True):
    """Who changed which tag, description, name or artifact, when."""

    __tablename__: ClassVar[Any] = "change_log"
    __table_args__: ClassVar[Any] = (
        Index("change_log_by_time", "changed_at"),
        Index("change_log_by_experiment", "experiment"),
        _STRICT,
    )
    id: int | None = _id()
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    attempt: int | None = _column(INTEGER, ForeignKey("attempt.id"), null=True)
    #: What was changed, how, and which one (see `store.changelog`).
    subject: str = _column(TEXT)
    action: str = _column(TEXT)
    item: str = _column(TEXT)
    before: str | None = _column(TEXT, null=True)
    after: str | None = _column(TEXT, null=True)
    changed_at: str = _column(TEXT)
    #: Who, where it was not an attempt's own process.
    hostname: str = _column(TEXT)
    username: str = _column(TEXT)


class JournalWriter(SQLModel, table=True):
    """How far a process's journal has been replayed: written with the replayed data, so each record counts once."""

    __tablename__: ClassVar[Any] = "journal_writer"
    __table_args__: ClassVar[Any] = (Index("journal_writer_by_experiment", "experiment"), _CLUSTERED)
    writer: str = _key(kind=TEXT)
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    #: The number of the last record that was applied.
    sequence: int = _column(INTEGER)
    replayed: int = _column(INTEGER)
    dropped: int = _column(INTEGER)
    replayed_at: str = _column(TEXT)


class Param(SQLModel, table=True):
    """One leaf of the experiment's config, or one value of ``log_params``."""

    __table_args__: ClassVar[Any] = (Index("param_by_value", "name", "value"), _CLUSTERED)
    experiment: int = _key("experiment.id")
    name: str = _key(kind=TEXT)
    value: str | int | float | None = _column(TYPED, null=True)
    type: str = _column(TEXT)
    text: str = _column(TEXT)
    source: str = _column(TEXT)


class ExperimentTag(SQLModel, table=True):
    """A word on an experiment."""

    __tablename__: ClassVar[Any] = "experiment_tag"
    __table_args__: ClassVar[Any] = (Index("experiment_tag_by_tag", "tag"), _CLUSTERED)
    experiment: int = _key("experiment.id")
    tag: str = _key(kind=TEXT)
    added_at: str = _column(TEXT)


class Artifact(SQLModel, table=True):
    """A file or folder that an experiment produced: a reference, never a copy."""

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("experiment", "artifact_id"),
        Index("artifact_by_type", "artifact_type"),
        Index("artifact_by_digest", "sha256"),
        Index("artifact_by_path", "absolute_path"),
        _STRICT,
    )
    id: int | None = _id()
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    attempt: int | None = _column(INTEGER, ForeignKey("attempt.id"), null=True)
    artifact_id: str = _column(TEXT)
    artifact_type: str = _column(TEXT)
    #: As the user gave it; absolute; and inside the experiment's folder (NULL where it is elsewhere).
    path: str = _column(TEXT)
    absolute_path: str = _column(TEXT)
    inside_path: str | None = _column(TEXT, null=True)
    description: str = _column(TEXT)
    kind: str = _column(TEXT)
    size_bytes: int | None = _column(INTEGER, null=True)
    modified_ns: int | None = _column(INTEGER, null=True)
    file_count: int | None = _column(INTEGER, null=True)
    sha256: str = _column(TEXT)
    digest_state: str = _column(TEXT)
    created_at: str = _column(TEXT)
    updated_at: str = _column(TEXT)


class ArtifactTag(SQLModel, table=True):
    """A word on an artifact."""

    __tablename__: ClassVar[Any] = "artifact_tag"
    __table_args__: ClassVar[Any] = (Index("artifact_tag_by_tag", "tag"), _CLUSTERED)
    artifact: int = _key("artifact.id")
    tag: str = _key(kind=TEXT)


class MetricName(SQLModel, table=True):
    """A metric's name, interned, with the direction in which it is better."""

    __tablename__: ClassVar[Any] = "metric_name"
    __table_args__: ClassVar[Any] = (
        CheckConstraint("mode IN ('max', 'min')", name="mode_known"),
        _STRICT,
    )
    id: int | None = _id()
    name: str = _column(TEXT, unique=True)
    mode: str = _column(TEXT)
    #: "assumed" from the name, or "defined" by ``define_metric``.
    mode_source: str = _column(TEXT)
    unit: str = _column(TEXT)
    description: str = _column(TEXT)


class MetricWriter(SQLModel, table=True):
    """Which process may append to ``metric_recent`` for an experiment (see `store.appending`)."""

    __tablename__: ClassVar[Any] = "metric_writer"
    __table_args__: ClassVar[Any] = (_STRICT,)
    experiment: int = _key("experiment.id")
    token: int = _column(INTEGER)


class MetricRecent(SQLModel, table=True):
    """The newest few hundred points of a running experiment, in order of arrival: a call dirties one page."""

    __tablename__: ClassVar[Any] = "metric_recent"
    __table_args__: ClassVar[Any] = (_CLUSTERED,)
    # No foreign keys here and on metric_point, for each costs every point a look-up: the summary's row has them.
    experiment: int = _key()
    step: int = _key()
    metric: int = _key()
    value: float | None = Field(default=None, sa_column=_number("value"))
    offset_ms: int = _column(INTEGER)


class MetricPoint(SQLModel, table=True):
    """All older points, clustered by metric: a curve is one range."""

    __tablename__: ClassVar[Any] = "metric_point"
    __table_args__: ClassVar[Any] = (_CLUSTERED,)
    experiment: int = _key()
    metric: int = _key()
    step: int = _key()
    value: float | None = Field(default=None, sa_column=_number("value"))
    offset_ms: int = _column(INTEGER)


class MetricSummary(SQLModel, table=True):
    """What ``metric_point`` holds of one series, and the last report of its best: listings never read a history."""

    __tablename__: ClassVar[Any] = "metric_summary"
    __table_args__: ClassVar[Any] = (
        # A running experiment's best may change at each call, and an index entry would then be written each time:
        # the entries are made when the experiment ends (sealed = 1). Until then the series is found by the third.
        Index(
            "metric_summary_highest",
            "metric",
            Column("best_max", NUMBER).desc(),
            sqlite_where=Column("sealed") == 1,
        ),
        Index("metric_summary_lowest", "metric", "best_min", sqlite_where=Column("sealed") == 1),
        Index("metric_summary_open", "metric", sqlite_where=Column("sealed") == 0),
        _CLUSTERED,
    )
    experiment: int = _key("experiment.id")
    metric: int = _key("metric_name.id")
    count: int = _column(INTEGER)
    non_finite_count: int = _column(INTEGER)
    first_non_finite_step: int | None = _column(INTEGER, null=True)
    first_step: int | None = _column(INTEGER, null=True)
    first_value: float | None = Field(default=None, sa_column=_number("first_value"))
    last_step: int | None = _column(INTEGER, null=True)
    last_value: float | None = Field(default=None, sa_column=_number("last_value"))
    min_step: int | None = _column(INTEGER, null=True)
    min_value: float | None = Field(default=None, sa_column=_number("min_value"))
    max_step: int | None = _column(INTEGER, null=True)
    max_value: float | None = Field(default=None, sa_column=_number("max_value"))
    reported_step: int | None = _column(INTEGER, null=True)
    reported_value: float | None = Field(default=None, sa_column=_number("reported_value"))
    sealed: int = _column(INTEGER)
    best_max: float | None = Field(
        default=None,
        sa_column=Column(
            NUMBER,
            Computed(
                "CASE WHEN max_value >= reported_value OR reported_value IS NULL THEN max_value "
                "ELSE reported_value END",
                persisted=False,
            ),
        ),
    )
    best_min: float | None = Field(
        default=None,
        sa_column=Column(
            NUMBER,
            Computed(
                "CASE WHEN min_value <= reported_value OR reported_value IS NULL THEN min_value "
                "ELSE reported_value END",
                persisted=False,
            ),
        ),
    )


class MetricReport(SQLModel, table=True):
    """One value of ``update_training_progress(best_metrics=...)``, as reported."""

    __tablename__: ClassVar[Any] = "metric_report"
    __table_args__: ClassVar[Any] = (
        Index("metric_report_by_series", "experiment", "metric"),
        _STRICT,
    )
    id: int | None = _id()
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    metric: int = _column(INTEGER, ForeignKey("metric_name.id"))
    attempt: int | None = _column(INTEGER, ForeignKey("attempt.id"), null=True)
    step: int = _column(INTEGER)
    value: float | None = Field(default=None, sa_column=_number("value"))
    reported_at: str = _column(TEXT)
    #: Set when a rewind took the report back.
    superseded_at: str | None = _column(TEXT, null=True)


class Sample(SQLModel, table=True):
    """An image (or other sample) of a split, interned."""

    __table_args__: ClassVar[Any] = (UniqueConstraint("split", "name"), _STRICT)
    id: int | None = _id()
    split: str = _column(TEXT)
    name: str = _column(TEXT)


class SamplePoint(SQLModel, table=True):
    """A metric of one sample at one step."""

    __tablename__: ClassVar[Any] = "sample_point"
    __table_args__: ClassVar[Any] = (_CLUSTERED,)
    experiment: int = _key("experiment.id")
    metric: int = _key("metric_name.id")
    sample: int = _key("sample.id")
    step: int = _key()
    value: float | None = Field(default=None, sa_column=_number("value"))


class MetricSuperseded(SQLModel, table=True):
    """A point that a rewind took off its curve (or off a sample's)."""

    __tablename__: ClassVar[Any] = "metric_superseded"
    __table_args__: ClassVar[Any] = (
        Index("metric_superseded_by_series", "experiment", "metric"),
        _STRICT,
    )
    id: int | None = _id()
    experiment: int = _column(INTEGER, ForeignKey("experiment.id"))
    metric: int = _column(INTEGER, ForeignKey("metric_name.id"))
    sample: int | None = _column(INTEGER, ForeignKey("sample.id"), null=True)
    step: int = _column(INTEGER)
    value: float | None = Field(default=None, sa_column=_number("value"))
    offset_ms: int | None = _column(INTEGER, null=True)
    attempt: int | None = _column(INTEGER, ForeignKey("attempt.id"), null=True)
    superseded_at: str = _column(TEXT)
