"""The tables of the first catalogs.

Frozen text, not the live classes: a migration says for ever what it did. A test holds that both give one schema. The
views are no part of migrations: they hold no data, and are made anew after each (see `store.creation`).
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    """CREATE TABLE config (
    id INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    text TEXT NOT NULL,
    summary TEXT NOT NULL,
    missing TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (sha256)
) STRICT""",
    """CREATE TABLE git_diff (
    id INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    text TEXT NOT NULL,
    truncated INTEGER NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (sha256)
) STRICT""",
    """CREATE TABLE metric_name (
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    mode_source TEXT NOT NULL,
    unit TEXT NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT mode_known CHECK (mode IN ('max', 'min')),
    UNIQUE (name)
) STRICT""",
    """CREATE TABLE metric_point (
    experiment INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    step INTEGER NOT NULL,
    value ANY CHECK (typeof(value) IN ('real', 'null')),
    offset_ms INTEGER NOT NULL,
    PRIMARY KEY (experiment, metric, step)
) WITHOUT ROWID, STRICT""",
    """CREATE TABLE metric_recent (
    experiment INTEGER NOT NULL,
    step INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    value ANY CHECK (typeof(value) IN ('real', 'null')),
    offset_ms INTEGER NOT NULL,
    PRIMARY KEY (experiment, step, metric)
) WITHOUT ROWID, STRICT""",
    """CREATE TABLE package_set (
    id INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    packages TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (sha256)
) STRICT""",
    """CREATE TABLE sample (
    id INTEGER NOT NULL,
    split TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (split, name)
) STRICT""",
    """CREATE TABLE environment (
    id INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    python_version TEXT NOT NULL,
    platform TEXT NOT NULL,
    hostname TEXT NOT NULL,
    username TEXT NOT NULL,
    memory_gb REAL NOT NULL,
    cpu_count INTEGER NOT NULL,
    pytorch_version TEXT NOT NULL,
    cuda_available INTEGER NOT NULL,
    cuda_version TEXT NOT NULL,
    gpu_info TEXT NOT NULL,
    git_commit TEXT NOT NULL,
    git_branch TEXT NOT NULL,
    git_dirty INTEGER NOT NULL,
    git_remote TEXT NOT NULL,
    git_diff INTEGER,
    package_set INTEGER,
    PRIMARY KEY (id),
    UNIQUE (sha256),
    FOREIGN KEY(git_diff) REFERENCES git_diff (id),
    FOREIGN KEY(package_set) REFERENCES package_set (id)
) STRICT""",
    """CREATE TABLE experiment (
    id INTEGER NOT NULL,
    uid TEXT NOT NULL,
    experiment_id TEXT NOT NULL,
    experiment_name TEXT NOT NULL,
    project TEXT NOT NULL,
    "group" TEXT,
    status TEXT NOT NULL,
    description TEXT NOT NULL,
    experiment_dir TEXT NOT NULL,
    directory TEXT NOT NULL,
    config INTEGER NOT NULL,
    environment INTEGER,
    current_epoch INTEGER NOT NULL,
    total_epochs INTEGER NOT NULL,
    training_time_seconds REAL NOT NULL,
    error_message TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    started_at TEXT,
    completed_at TEXT,
    updated_at TEXT NOT NULL,
    deleted_at TEXT,
    PRIMARY KEY (id),
    CONSTRAINT status_known CHECK (status IN ('created', 'running', 'completed', 'failed', 'aborted')),
    UNIQUE (uid),
    FOREIGN KEY(config) REFERENCES config (id),
    FOREIGN KEY(environment) REFERENCES environment (id)
) STRICT""",
    """CREATE INDEX experiment_by_project ON experiment (project)""",
    """CREATE UNIQUE INDEX experiment_living ON experiment (experiment_id) WHERE deleted_at IS NULL""",
    """CREATE TABLE attempt (
    id INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at TEXT NOT NULL,
    hostname TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    pid_namespace TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_started TEXT NOT NULL,
    username TEXT NOT NULL,
    command_line TEXT NOT NULL,
    config INTEGER NOT NULL,
    config_changes TEXT NOT NULL,
    environment INTEGER,
    PRIMARY KEY (id),
    UNIQUE (experiment, number),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(config) REFERENCES config (id),
    FOREIGN KEY(environment) REFERENCES environment (id)
) STRICT""",
    """CREATE TABLE experiment_tag (
    experiment INTEGER NOT NULL,
    tag TEXT NOT NULL,
    added_at TEXT NOT NULL,
    PRIMARY KEY (experiment, tag),
    FOREIGN KEY(experiment) REFERENCES experiment (id)
) WITHOUT ROWID, STRICT""",
    """CREATE INDEX experiment_tag_by_tag ON experiment_tag (tag)""",
    """CREATE TABLE metric_summary (
    experiment INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    count INTEGER NOT NULL,
    non_finite_count INTEGER NOT NULL,
    first_non_finite_step INTEGER,
    first_step INTEGER,
    first_value ANY CHECK (typeof(first_value) IN ('real', 'null')),
    last_step INTEGER,
    last_value ANY CHECK (typeof(last_value) IN ('real', 'null')),
    min_step INTEGER,
    min_value ANY CHECK (typeof(min_value) IN ('real', 'null')),
    max_step INTEGER,
    max_value ANY CHECK (typeof(max_value) IN ('real', 'null')),
    reported_step INTEGER,
    reported_value ANY CHECK (typeof(reported_value) IN ('real', 'null')),
    sealed INTEGER NOT NULL,
    best_max ANY GENERATED ALWAYS AS (CASE WHEN max_value >= reported_value OR reported_value IS NULL THEN max_value ELSE reported_value END) VIRTUAL,
    best_min ANY GENERATED ALWAYS AS (CASE WHEN min_value <= reported_value OR reported_value IS NULL THEN min_value ELSE reported_value END) VIRTUAL,
    PRIMARY KEY (experiment, metric),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(metric) REFERENCES metric_name (id)
) WITHOUT ROWID, STRICT""",
    """CREATE INDEX metric_summary_highest ON metric_summary (metric, best_max DESC) WHERE sealed = 1""",
    """CREATE INDEX metric_summary_lowest ON metric_summary (metric, best_min) WHERE sealed = 1""",
    """CREATE INDEX metric_summary_open ON metric_summary (metric) WHERE sealed = 0""",
    """CREATE TABLE metric_writer (
    experiment INTEGER NOT NULL,
    token INTEGER NOT NULL,
    PRIMARY KEY (experiment),
    FOREIGN KEY(experiment) REFERENCES experiment (id)
) STRICT""",
    """CREATE TABLE param (
    experiment INTEGER NOT NULL,
    name TEXT NOT NULL,
    value ANY,
    type TEXT NOT NULL,
    text TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (experiment, name),
    FOREIGN KEY(experiment) REFERENCES experiment (id)
) WITHOUT ROWID, STRICT""",
    """CREATE INDEX param_by_value ON param (name, value)""",
    """CREATE TABLE sample_point (
    experiment INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    sample INTEGER NOT NULL,
    step INTEGER NOT NULL,
    value ANY CHECK (typeof(value) IN ('real', 'null')),
    PRIMARY KEY (experiment, metric, sample, step),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(metric) REFERENCES metric_name (id),
    FOREIGN KEY(sample) REFERENCES sample (id)
) WITHOUT ROWID, STRICT""",
    """CREATE TABLE artifact (
    id INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    attempt INTEGER,
    artifact_id TEXT NOT NULL,
    artifact_type TEXT NOT NULL,
    path TEXT NOT NULL,
    absolute_path TEXT NOT NULL,
    inside_path TEXT,
    description TEXT NOT NULL,
    kind TEXT NOT NULL,
    size_bytes INTEGER,
    modified_ns INTEGER,
    file_count INTEGER,
    sha256 TEXT NOT NULL,
    digest_state TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (experiment, artifact_id),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(attempt) REFERENCES attempt (id)
) STRICT""",
    """CREATE INDEX artifact_by_digest ON artifact (sha256)""",
    """CREATE INDEX artifact_by_type ON artifact (artifact_type)""",
    """CREATE TABLE metric_report (
    id INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    attempt INTEGER,
    step INTEGER NOT NULL,
    value ANY CHECK (typeof(value) IN ('real', 'null')),
    reported_at TEXT NOT NULL,
    superseded_at TEXT,
    PRIMARY KEY (id),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(metric) REFERENCES metric_name (id),
    FOREIGN KEY(attempt) REFERENCES attempt (id)
) STRICT""",
    """CREATE INDEX metric_report_by_series ON metric_report (experiment, metric)""",
    """CREATE TABLE metric_superseded (
    id INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    sample INTEGER,
    step INTEGER NOT NULL,
    value ANY CHECK (typeof(value) IN ('real', 'null')),
    offset_ms INTEGER,
    attempt INTEGER,
    superseded_at TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(metric) REFERENCES metric_name (id),
    FOREIGN KEY(sample) REFERENCES sample (id),
    FOREIGN KEY(attempt) REFERENCES attempt (id)
) STRICT""",
    """CREATE INDEX metric_superseded_by_series ON metric_superseded (experiment, metric)""",
    """CREATE TABLE status_change (
    id INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    attempt INTEGER,
    status TEXT NOT NULL,
    message TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT status_known CHECK (status IN ('created', 'running', 'completed', 'failed', 'aborted')),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(attempt) REFERENCES attempt (id)
) STRICT""",
    """CREATE INDEX status_change_by_experiment ON status_change (experiment)""",
    """CREATE TABLE artifact_tag (
    artifact INTEGER NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (artifact, tag),
    FOREIGN KEY(artifact) REFERENCES artifact (id)
) WITHOUT ROWID, STRICT""",
    """CREATE INDEX artifact_tag_by_tag ON artifact_tag (tag)""",
)


def upgrade() -> None:
    """Create every table and index."""
    for statement in TABLES:
        op.execute(statement)
