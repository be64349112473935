"""The change log, the journal's bookkeeping, liveness of attempts, and what tells duplicates. Additive only."""

from alembic import op

from crackseg_tracker.identity import identity_of

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "ALTER TABLE experiment ADD COLUMN data_fingerprint TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE experiment ADD COLUMN identity_sha256 TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE experiment ADD COLUMN purged_at TEXT",
    "CREATE INDEX experiment_by_status ON experiment (status)",
    "CREATE INDEX experiment_by_creation ON experiment (created_at)",
    "CREATE INDEX experiment_by_identity ON experiment (identity_sha256)",
    "ALTER TABLE attempt ADD COLUMN lock_name TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE attempt ADD COLUMN rank INTEGER",
    "ALTER TABLE attempt ADD COLUMN ended_at TEXT",
    "ALTER TABLE attempt ADD COLUMN end_reason TEXT NOT NULL DEFAULT ''",
    # The first version did not write down how an attempt ended: where its experiment has ended, so has it.
    """UPDATE attempt SET
    ended_at = coalesce((SELECT c.changed_at FROM status_change AS c WHERE c.attempt = attempt.id AND c.status IN
        ('completed', 'failed', 'aborted') ORDER BY c.id LIMIT 1), e.completed_at, e.updated_at),
    end_reason = coalesce((SELECT c.status FROM status_change AS c WHERE c.attempt = attempt.id AND c.status IN
        ('completed', 'failed', 'aborted') ORDER BY c.id LIMIT 1), 'closed')
FROM experiment AS e WHERE e.id = attempt.experiment AND e.status IN ('completed', 'failed', 'aborted')""",
    "ALTER TABLE status_change ADD COLUMN hostname TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE status_change ADD COLUMN username TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX artifact_by_path ON artifact (absolute_path)",
    """CREATE TABLE change_log (
    id INTEGER NOT NULL,
    experiment INTEGER NOT NULL,
    attempt INTEGER,
    subject TEXT NOT NULL,
    action TEXT NOT NULL,
    item TEXT NOT NULL,
    before TEXT,
    after TEXT,
    changed_at TEXT NOT NULL,
    hostname TEXT NOT NULL,
    username TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(experiment) REFERENCES experiment (id),
    FOREIGN KEY(attempt) REFERENCES attempt (id)
) STRICT""",
    "CREATE INDEX change_log_by_experiment ON change_log (experiment)",
    "CREATE INDEX change_log_by_time ON change_log (changed_at)",
    """CREATE TABLE journal_writer (
    writer TEXT NOT NULL,
    experiment INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    replayed INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    replayed_at TEXT NOT NULL,
    PRIMARY KEY (writer),
    FOREIGN KEY(experiment) REFERENCES experiment (id)
) WITHOUT ROWID, STRICT""",
    "CREATE INDEX journal_writer_by_experiment ON journal_writer (experiment)",
)


def upgrade() -> None:
    """Add what the second version has."""
    for statement in STATEMENTS:
        op.execute(statement)
    _tell_identities()


def _tell_identities() -> None:
    """Give the experiments of version 1 the identity that trackers give new ones today, so that both compare."""
    connection = op.get_bind()
    configs = connection.exec_driver_sql("SELECT id, text FROM config").fetchall()
    identities = {number: identity_of(text) for number, text in configs}
    experiments = connection.exec_driver_sql("SELECT id, config FROM experiment").fetchall()
    found = [(identities[config], number) for number, config in experiments]
    if found:
        connection.exec_driver_sql("UPDATE experiment SET identity_sha256 = ? WHERE id = ?", found)
