"""The views: the contract with everybody who asks in SQL.

Plural names, text ids, ISO 8601 times. They show the living experiments only. A change of their columns is a new
`CONTRACT_VERSION`. Three views with a leading underscore are building stones, not contract.

How a series is read: ``metric_point`` and ``metric_recent`` never share a key, so a curve is their union; the stored
summary covers ``metric_point``, and what ``metric_recent`` adds (a few hundred rows of running experiments) is summed
up at reading time.
"""

from __future__ import annotations

CONTRACT_VERSION = 2

# In metric_bests, likely() only makes an expression of a column: SQLite merges the three parts in the order of their
# indexes, without sorting them all, only when none of them is a bare column where another is an expression.

# leaderboard: a condition on the metric goes into the window's partition, so the bests of that metric are read and
# ranked (10 ms for 2,000 experiments), whatever the condition on the rank. The first ten alone are cheaper from
# metric_bests in order of value, which reads ten. A rank by counting the better ones took a second.

# NaN is stored as NULL, and 9e999 is SQLite's way to write infinity.
_FINITE = "abs(value) < 9e999"

# No JSON here: to SQLite 3.40 its functions are none that the views of an untrusted schema may call.
_OPEN_BEST = """CASE WHEN n.mode = 'max' THEN CASE WHEN s.max_value >= s.reported_value OR s.reported_value IS NULL
    THEN s.max_value ELSE s.reported_value END
  ELSE CASE WHEN s.min_value <= s.reported_value OR s.reported_value IS NULL
    THEN s.min_value ELSE s.reported_value END END"""

VIEWS: dict[str, str] = {
    "_recent_summary": f"""
SELECT experiment, metric, count(*) AS count,
  sum(CASE WHEN {_FINITE} THEN 0 ELSE 1 END) AS non_finite_count,
  min(CASE WHEN {_FINITE} THEN NULL ELSE step END) AS first_non_finite_step,
  max(step) AS last_step,
  min(CASE WHEN {_FINITE} THEN value END) AS min_value,
  max(CASE WHEN {_FINITE} THEN value END) AS max_value
FROM metric_recent GROUP BY experiment, metric""",
    "_open_summary": """
SELECT s.experiment, s.metric, s.count + coalesce(r.count, 0) AS count,
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
    "_summary": """
SELECT experiment, metric, count, non_finite_count, first_non_finite_step, first_step, first_value, last_step,
  last_value, min_step, min_value, max_step, max_value, reported_step, reported_value
FROM metric_summary WHERE sealed = 1
UNION ALL
SELECT experiment, metric, count, non_finite_count, first_non_finite_step, first_step, first_value, last_step,
  last_value, min_step, min_value, max_step, max_value, reported_step, reported_value
FROM _open_summary""",
    "experiments": """
SELECT e.experiment_id, e.experiment_name, e.project, e."group", e.status, e.description, e.current_epoch,
  e.total_epochs, e.training_time_seconds, e.error_message, e.created_at, e.started_at, e.completed_at, e.updated_at,
  e.experiment_dir, v.hostname, v.username, v.python_version, v.platform, v.pytorch_version, v.cuda_available,
  v.cuda_version, v.memory_gb, v.git_commit, v.git_branch, v.git_dirty, v.git_remote, c.sha256 AS config_sha256,
  e.uid, e.id AS experiment_number, e.data_fingerprint, e.identity_sha256,
  (SELECT coalesce(sum(replayed), 0) FROM journal_writer AS j WHERE j.experiment = e.id) AS journal_replayed,
  (SELECT coalesce(sum(dropped), 0) FROM journal_writer AS j WHERE j.experiment = e.id) AS journal_dropped
FROM experiment AS e JOIN config AS c ON c.id = e.config LEFT JOIN environment AS v ON v.id = e.environment
WHERE e.deleted_at IS NULL""",
    "attempts": """
SELECT e.experiment_id, a.number AS attempt, a.started_at, a.hostname, a.username, a.pid, a.command_line,
  c.sha256 AS config_sha256, a.config_changes, v.git_commit, a.rank, a.ended_at, a.end_reason
FROM attempt AS a JOIN experiment AS e ON e.id = a.experiment JOIN config AS c ON c.id = a.config
LEFT JOIN environment AS v ON v.id = a.environment WHERE e.deleted_at IS NULL""",
    "status_changes": """
SELECT e.experiment_id, s.status, s.changed_at, s.message, a.number AS attempt, s.hostname, s.username
FROM status_change AS s JOIN experiment AS e ON e.id = s.experiment LEFT JOIN attempt AS a ON a.id = s.attempt
WHERE e.deleted_at IS NULL""",
    # Deleted experiments too: a log that forgets is none.
    "changes": """
SELECT l.changed_at, e.experiment_id, l.subject, l.action, l.item, l.before, l.after, a.number AS attempt,
  coalesce(a.hostname, l.hostname) AS hostname, coalesce(a.username, l.username) AS username, e.uid,
  e.id AS experiment_number, l.id AS change_number
FROM change_log AS l JOIN experiment AS e ON e.id = l.experiment LEFT JOIN attempt AS a ON a.id = l.attempt
UNION ALL
SELECT s.changed_at, e.experiment_id, 'status', 'changed', '', (SELECT p.status FROM status_change AS p
    WHERE p.experiment = s.experiment AND p.id < s.id ORDER BY p.id DESC LIMIT 1), s.status, a.number,
  coalesce(nullif(s.hostname, ''), a.hostname, ''), coalesce(nullif(s.username, ''), a.username, ''), e.uid, e.id, s.id
FROM status_change AS s JOIN experiment AS e ON e.id = s.experiment LEFT JOIN attempt AS a ON a.id = s.attempt""",
    "params": """
SELECT e.experiment_id, p.name, p.value, p.type, p.text, p.source
FROM param AS p JOIN experiment AS e ON e.id = p.experiment WHERE e.deleted_at IS NULL""",
    "experiment_tags": """
SELECT e.experiment_id, t.tag, t.added_at
FROM experiment_tag AS t JOIN experiment AS e ON e.id = t.experiment WHERE e.deleted_at IS NULL""",
    "artifacts": """
SELECT e.experiment_id, a.artifact_id, a.artifact_type, a.path, a.description, a.kind, a.size_bytes, a.file_count,
  a.sha256, a.digest_state, a.created_at, a.updated_at, a.absolute_path, a.inside_path, a.id AS artifact_number
FROM artifact AS a JOIN experiment AS e ON e.id = a.experiment WHERE e.deleted_at IS NULL""",
    "artifact_tags": """
SELECT e.experiment_id, a.artifact_id, t.tag FROM artifact_tag AS t JOIN artifact AS a ON a.id = t.artifact
JOIN experiment AS e ON e.id = a.experiment WHERE e.deleted_at IS NULL""",
    "metric_names": "SELECT name AS metric, mode, mode_source, unit, description FROM metric_name",
    "metrics": """
SELECT e.experiment_id, n.name AS metric, p.step, p.value,
  strftime('%Y-%m-%dT%H:%M:%f+00:00', (e.created_ms + p.offset_ms) / 1000.0, 'unixepoch') AS logged_at
FROM metric_point AS p JOIN experiment AS e ON e.id = p.experiment JOIN metric_name AS n ON n.id = p.metric
WHERE e.deleted_at IS NULL
UNION ALL
SELECT e.experiment_id, n.name, p.step, p.value,
  strftime('%Y-%m-%dT%H:%M:%f+00:00', (e.created_ms + p.offset_ms) / 1000.0, 'unixepoch')
FROM metric_recent AS p JOIN experiment AS e ON e.id = p.experiment JOIN metric_name AS n ON n.id = p.metric
WHERE e.deleted_at IS NULL""",
    "metric_summaries": """
SELECT e.experiment_id, n.name AS metric, s.count, s.non_finite_count, s.first_non_finite_step, s.first_step,
  s.first_value, s.last_step, s.last_value, s.min_step, s.min_value, s.max_step, s.max_value
FROM experiment AS e CROSS JOIN metric_summary AS s ON s.experiment = e.id JOIN metric_name AS n ON n.id = s.metric
WHERE s.sealed = 1 AND e.deleted_at IS NULL AND s.count > 0
UNION ALL
SELECT e.experiment_id, n.name, s.count, s.non_finite_count, s.first_non_finite_step, s.first_step,
  s.first_value, s.last_step, s.last_value, s.min_step, s.min_value, s.max_step, s.max_value
FROM _open_summary AS s JOIN experiment AS e ON e.id = s.experiment JOIN metric_name AS n ON n.id = s.metric
WHERE e.deleted_at IS NULL AND s.count > 0""",
    "metric_bests": f"""
SELECT n.name AS metric, e.experiment_id, e.experiment_name, e.project, e.status, n.mode, likely(s.best_max) AS value,
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
  {_OPEN_BEST},
  CASE WHEN n.mode = 'max' THEN CASE WHEN s.max_value >= s.reported_value OR s.reported_value IS NULL
    THEN s.max_step ELSE s.reported_step END
  ELSE CASE WHEN s.min_value <= s.reported_value OR s.reported_value IS NULL
    THEN s.min_step ELSE s.reported_step END END,
  CASE WHEN CASE WHEN n.mode = 'max' THEN s.max_value >= s.reported_value ELSE s.min_value <= s.reported_value END
    OR s.reported_value IS NULL THEN 'logged' ELSE 'reported' END, e.id
FROM metric_name AS n JOIN _open_summary AS s ON s.metric = n.id JOIN experiment AS e ON e.id = s.experiment
WHERE coalesce(s.max_value, s.reported_value) IS NOT NULL AND e.deleted_at IS NULL""",
    "leaderboard": """
SELECT metric, rank() OVER (PARTITION BY metric ORDER BY CASE mode WHEN 'max' THEN -value ELSE value END) AS rank,
  experiment_id, experiment_name, project, status, mode, value, step, source, experiment_number
FROM metric_bests""",
    "experiment_overview": f"""
SELECT e.experiment_id, e.experiment_name, e.project, e."group", e.status, e.description,
  coalesce((SELECT group_concat(tag, ', ') FROM (
    SELECT tag FROM experiment_tag AS t WHERE t.experiment = e.id ORDER BY tag)), '') AS tags,
  coalesce((SELECT group_concat(name || '=' || printf('%.6g', value), ', ') FROM (
    SELECT n.name, CASE n.mode WHEN 'max' THEN s.best_max ELSE s.best_min END AS value
    FROM metric_summary AS s JOIN metric_name AS n ON n.id = s.metric WHERE s.experiment = e.id AND s.sealed = 1
    UNION ALL
    SELECT n.name, {_OPEN_BEST} FROM _open_summary AS s JOIN metric_name AS n ON n.id = s.metric
    WHERE s.experiment = e.id) WHERE value IS NOT NULL), '') AS best_metrics,
  c.summary AS config_summary, e.current_epoch, e.total_epochs, e.training_time_seconds,
  (SELECT count(*) FROM attempt AS a WHERE a.experiment = e.id) AS attempt_count,
  (SELECT count(*) FROM metric_summary AS s WHERE s.experiment = e.id) AS metric_count,
  (SELECT count(*) FROM artifact AS a WHERE a.experiment = e.id) AS artifact_count,
  (SELECT coalesce(sum(size_bytes), 0) FROM artifact AS a WHERE a.experiment = e.id) AS artifact_bytes,
  e.error_message, e.created_at, e.started_at, e.completed_at, e.updated_at, v.hostname, v.git_commit, v.git_dirty,
  e.experiment_dir, e.id AS experiment_number
FROM experiment AS e JOIN config AS c ON c.id = e.config LEFT JOIN environment AS v ON v.id = e.environment
WHERE e.deleted_at IS NULL""",
    "artifact_overview": """
SELECT e.experiment_id, e.experiment_name, e.project, e.status, a.artifact_id, a.artifact_type, a.path,
  coalesce((SELECT group_concat(tag, ', ') FROM (
    SELECT tag FROM artifact_tag AS t WHERE t.artifact = a.id ORDER BY tag)), '') AS tags,
  a.description, a.size_bytes, a.sha256, a.digest_state, (SELECT count(*) FROM artifact AS d JOIN experiment AS o
    ON o.id = d.experiment WHERE d.sha256 = nullif(a.sha256, '') AND o.deleted_at IS NULL) AS same_content_count,
  p.number AS attempt, a.created_at, a.absolute_path, a.id AS artifact_number
FROM artifact AS a JOIN experiment AS e ON e.id = a.experiment LEFT JOIN attempt AS p ON p.id = a.attempt
WHERE e.deleted_at IS NULL""",
    "metric_reports": """
SELECT e.experiment_id, n.name AS metric, r.step, r.value, r.reported_at, a.number AS attempt
FROM metric_report AS r JOIN experiment AS e ON e.id = r.experiment JOIN metric_name AS n ON n.id = r.metric
LEFT JOIN attempt AS a ON a.id = r.attempt WHERE r.superseded_at IS NULL AND e.deleted_at IS NULL""",
    "sample_metrics": """
SELECT e.experiment_id, m.split, m.name AS sample, n.name AS metric, p.step, p.value
FROM sample_point AS p JOIN sample AS m ON m.id = p.sample JOIN experiment AS e ON e.id = p.experiment
JOIN metric_name AS n ON n.id = p.metric WHERE e.deleted_at IS NULL""",
    "superseded_metrics": """
SELECT e.experiment_id, n.name AS metric, m.split, m.name AS sample, p.step, p.value, a.number AS attempt,
  p.superseded_at
FROM metric_superseded AS p JOIN experiment AS e ON e.id = p.experiment JOIN metric_name AS n ON n.id = p.metric
LEFT JOIN sample AS m ON m.id = p.sample LEFT JOIN attempt AS a ON a.id = p.attempt WHERE e.deleted_at IS NULL""",
    "catalog_info": f"SELECT {CONTRACT_VERSION} AS contract_version",
}


def create_view(name: str) -> str:
    """Write the statement that creates a view.

    Example:
        >>> create_view("catalog_info")
        'CREATE VIEW catalog_info AS SELECT 2 AS contract_version'
    """
    return f"CREATE VIEW {name} AS {VIEWS[name].strip()}"
