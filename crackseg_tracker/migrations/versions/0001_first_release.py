"""The catalog as first released: 22 tables and the views of contract version 1.

Frozen text, not the live classes: a migration says for ever what it did. A test holds that both give one schema.
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

VIEWS = (
    """CREATE VIEW _recent_summary AS SELECT experiment, metric, count(*) AS count,
  sum(CASE WHEN abs(value) < 9e999 THEN 0 ELSE 1 END) AS non_finite_count,
  min(CASE WHEN abs(value) < 9e999 THEN NULL ELSE step END) AS first_non_finite_step,
  max(step) AS last_step,
  min(CASE WHEN abs(value) < 9e999 THEN value END) AS min_value,
  max(CASE WHEN abs(value) < 9e999 THEN value END) AS max_value
FROM metric_recent GROUP BY experiment, metric""",
    """CREATE VIEW _open_summary AS SELECT s.experiment, s.metric, s.count + coalesce(r.count, 0) AS count,
  s.non_finite_count + coalesce(r.non_finite_count, 0) AS non_finite_count,
  coalesce(s.first_non_finite_step, r.first_non_finite_step) AS first_non_finite_step,
  s.first_step, s.first_value,
  coalesce(r.last_step, s.last_step) AS last_step,
  CASE WHEN r.last_step IS NULL THEN s.last_value ELSE (SELECT value FROM metric_recent AS p WHERE
    p.experiment = s.experiment AND p.metric = s.metric AND p.step = r.last_step) END AS last_value,
  CASE WHEN r.min_value < s.min_value OR s.min_value IS NULL THEN (SELECT min(step) FROM metric_recent AS p WHERE
    p.experiment = s.experiment AND p.metric = s.metric AND p.value = r.min_value) ELSE s.min_step END AS min_step,
  CASE WHEN r.min_value < s.min_value OR s.min_value IS NULL THEN r.min_value ELSE s.min_value END AS min_value,
  CASE WHEN r.max_value > s.max_value OR s.max_value IS NULL THEN (SELECT min(step) FROM metric_recent AS p WHERE
    p.experiment = s.experiment AND p.metric = s.metric AND p.value = r.max_value) ELSE s.max_step END AS max_step,
  CASE WHEN r.max_value > s.max_value OR s.max_value IS NULL THEN r.max_value ELSE s.max_value END AS max_value,
  s.reported_step, s.reported_value
FROM metric_summary AS s LEFT JOIN _recent_summary AS r ON r.experiment = s.experiment AND r.metric = s.metric
WHERE s.sealed = 0""",
    """CREATE VIEW _summary AS SELECT experiment, metric, count, non_finite_count, first_non_finite_step, first_step, first_value, last_step,
  last_value, min_step, min_value, max_step, max_value, reported_step, reported_value
FROM metric_summary WHERE sealed = 1
UNION ALL
SELECT experiment, metric, count, non_finite_count, first_non_finite_step, first_step, first_value, last_step,
  last_value, min_step, min_value, max_step, max_value, reported_step, reported_value
FROM _open_summary""",
    """CREATE VIEW experiments AS SELECT e.experiment_id, e.experiment_name, e.project, e."group", e.status, e.description, e.current_epoch,
  e.total_epochs, e.training_time_seconds, e.error_message, e.created_at, e.started_at, e.completed_at, e.updated_at,
  e.experiment_dir, v.hostname, v.username, v.python_version, v.platform, v.pytorch_version, v.cuda_available,
  v.cuda_version, v.memory_gb, v.git_commit, v.git_branch, v.git_dirty, v.git_remote, c.sha256 AS config_sha256,
  e.uid, e.id AS experiment_number
FROM experiment AS e JOIN config AS c ON c.id = e.config LEFT JOIN environment AS v ON v.id = e.environment
WHERE e.deleted_at IS NULL""",
    """CREATE VIEW attempts AS SELECT e.experiment_id, a.number AS attempt, a.started_at, a.hostname, a.username, a.pid, a.command_line,
  c.sha256 AS config_sha256, a.config_changes, v.git_commit
FROM attempt AS a JOIN experiment AS e ON e.id = a.experiment JOIN config AS c ON c.id = a.config
LEFT JOIN environment AS v ON v.id = a.environment WHERE e.deleted_at IS NULL""",
    """CREATE VIEW status_changes AS SELECT e.experiment_id, s.status, s.changed_at, s.message, a.number AS attempt
FROM status_change AS s JOIN experiment AS e ON e.id = s.experiment LEFT JOIN attempt AS a ON a.id = s.attempt
WHERE e.deleted_at IS NULL""",
    """CREATE VIEW params AS SELECT e.experiment_id, p.name, p.value, p.type, p.text, p.source
FROM param AS p JOIN experiment AS e ON e.id = p.experiment WHERE e.deleted_at IS NULL""",
    """CREATE VIEW experiment_tags AS SELECT e.experiment_id, t.tag, t.added_at
FROM experiment_tag AS t JOIN experiment AS e ON e.id = t.experiment WHERE e.deleted_at IS NULL""",
    """CREATE VIEW artifacts AS SELECT e.experiment_id, a.artifact_id, a.artifact_type, a.path, a.description, a.kind, a.size_bytes, a.file_count,
  a.sha256, a.digest_state, a.created_at, a.updated_at, a.absolute_path, a.inside_path, a.id AS artifact_number
FROM artifact AS a JOIN experiment AS e ON e.id = a.experiment WHERE e.deleted_at IS NULL""",
    """CREATE VIEW artifact_tags AS SELECT e.experiment_id, a.artifact_id, t.tag FROM artifact_tag AS t JOIN artifact AS a ON a.id = t.artifact
JOIN experiment AS e ON e.id = a.experiment WHERE e.deleted_at IS NULL""",
    """CREATE VIEW metric_names AS SELECT name AS metric, mode, mode_source, unit, description FROM metric_name""",
    """CREATE VIEW metrics AS SELECT e.experiment_id, n.name AS metric, p.step, p.value,
  strftime('%Y-%m-%dT%H:%M:%f+00:00', (e.created_ms + p.offset_ms) / 1000.0, 'unixepoch') AS logged_at
FROM metric_point AS p JOIN experiment AS e ON e.id = p.experiment JOIN metric_name AS n ON n.id = p.metric
WHERE e.deleted_at IS NULL
UNION ALL
SELECT e.experiment_id, n.name, p.step, p.value,
  strftime('%Y-%m-%dT%H:%M:%f+00:00', (e.created_ms + p.offset_ms) / 1000.0, 'unixepoch')
FROM metric_recent AS p JOIN experiment AS e ON e.id = p.experiment JOIN metric_name AS n ON n.id = p.metric
WHERE e.deleted_at IS NULL""",
    """CREATE VIEW metric_summaries AS SELECT e.experiment_id, n.name AS metric, s.count, s.non_finite_count, s.first_non_finite_step, s.first_step,
  s.first_value, s.last_step, s.last_value, s.min_step, s.min_value, s.max_step, s.max_value
FROM _summary AS s JOIN experiment AS e ON e.id = s.experiment JOIN metric_name AS n ON n.id = s.metric
WHERE e.deleted_at IS NULL AND s.count > 0""",
    """CREATE VIEW metric_bests AS SELECT n.name AS metric, e.experiment_id, e.experiment_name, e.project, e.status, n.mode, likely(s.best_max) AS value,
  CASE WHEN s.best_max = s.max_value THEN s.max_step ELSE s.reported_step END AS step,
  CASE WHEN s.best_max = s.max_value THEN 'logged' ELSE 'reported' END AS source, e.id AS experiment_number
FROM metric_name AS n JOIN metric_summary AS s ON s.metric = n.id JOIN experiment AS e ON e.id = s.experiment
WHERE n.mode = 'max' AND s.sealed = 1 AND s.best_max IS NOT NULL AND e.deleted_at IS NULL
UNION ALL
SELECT n.name, e.experiment_id, e.experiment_name, e.project, e.status, n.mode, likely(s.best_min),
  CASE WHEN s.best_min = s.min_value THEN s.min_step ELSE s.reported_step END,
  CASE WHEN s.best_min = s.min_value THEN 'logged' ELSE 'reported' END, e.id
FROM metric_name AS n JOIN metric_summary AS s ON s.metric = n.id JOIN experiment AS e ON e.id = s.experiment
WHERE n.mode = 'min' AND s.sealed = 1 AND s.best_min IS NOT NULL AND e.deleted_at IS NULL
UNION ALL
SELECT n.name, e.experiment_id, e.experiment_name, e.project, e.status, n.mode,
  CASE WHEN n.mode = 'max' THEN CASE WHEN s.max_value >= s.reported_value OR s.reported_value IS NULL
    THEN s.max_value ELSE s.reported_value END
  ELSE CASE WHEN s.min_value <= s.reported_value OR s.reported_value IS NULL
    THEN s.min_value ELSE s.reported_value END END,
  CASE WHEN n.mode = 'max' THEN CASE WHEN s.max_value >= s.reported_value OR s.reported_value IS NULL
    THEN s.max_step ELSE s.reported_step END
  ELSE CASE WHEN s.min_value <= s.reported_value OR s.reported_value IS NULL
    THEN s.min_step ELSE s.reported_step END END,
  CASE WHEN CASE WHEN n.mode = 'max' THEN s.max_value >= s.reported_value ELSE s.min_value <= s.reported_value END
    OR s.reported_value IS NULL THEN 'logged' ELSE 'reported' END, e.id
FROM metric_name AS n JOIN _open_summary AS s ON s.metric = n.id JOIN experiment AS e ON e.id = s.experiment
WHERE coalesce(s.max_value, s.reported_value) IS NOT NULL AND e.deleted_at IS NULL""",
    """CREATE VIEW metric_reports AS SELECT e.experiment_id, n.name AS metric, r.step, r.value, r.reported_at, a.number AS attempt
FROM metric_report AS r JOIN experiment AS e ON e.id = r.experiment JOIN metric_name AS n ON n.id = r.metric
LEFT JOIN attempt AS a ON a.id = r.attempt WHERE r.superseded_at IS NULL AND e.deleted_at IS NULL""",
    """CREATE VIEW sample_metrics AS SELECT e.experiment_id, m.split, m.name AS sample, n.name AS metric, p.step, p.value
FROM sample_point AS p JOIN sample AS m ON m.id = p.sample JOIN experiment AS e ON e.id = p.experiment
JOIN metric_name AS n ON n.id = p.metric WHERE e.deleted_at IS NULL""",
    """CREATE VIEW superseded_metrics AS SELECT e.experiment_id, n.name AS metric, m.split, m.name AS sample, p.step, p.value, a.number AS attempt,
  p.superseded_at
FROM metric_superseded AS p JOIN experiment AS e ON e.id = p.experiment JOIN metric_name AS n ON n.id = p.metric
LEFT JOIN sample AS m ON m.id = p.sample LEFT JOIN attempt AS a ON a.id = p.attempt WHERE e.deleted_at IS NULL""",
    """CREATE VIEW catalog_info AS SELECT 1 AS contract_version""",
)


def upgrade() -> None:
    """Create every table, index and view."""
    for statement in (*TABLES, *VIEWS):
        op.execute(statement)
