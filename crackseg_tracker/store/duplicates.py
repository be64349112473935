"""Whether the same was trained before: same identity of the config, same code, same data.

The code is the commit and the uncommitted changes: training again after an edit is training something else. What
nobody knows (no git, no fingerprint of the data) is the same as nothing else that nobody knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from sqlite3 import Connection
from typing import NamedTuple

from crackseg_tracker.config import Param, param_differences

_FOUND = (
    "SELECT e.id, e.experiment_id, e.completed_at, count(*) OVER () FROM experiment AS e "
    "LEFT JOIN environment AS v ON v.id = e.environment LEFT JOIN git_diff AS d ON d.id = v.git_diff "
    # The + keeps SQLite from going through all completed experiments instead of the few of this identity.
    "WHERE e.identity_sha256 = ? AND +e.status = 'completed' AND e.deleted_at IS NULL AND e.data_fingerprint = ? "
    "AND coalesce(v.git_commit, '') = ? AND coalesce(d.sha256, '') = ? ORDER BY e.completed_at DESC, e.id DESC LIMIT 1"
)
# Completed experiments are sealed, so the stored summary is the whole series.
_BESTS = (
    "SELECT n.name, CASE n.mode WHEN 'max' THEN s.best_max ELSE s.best_min END AS best FROM metric_summary AS s "
    "JOIN metric_name AS n ON n.id = s.metric WHERE s.experiment = ? AND best IS NOT NULL ORDER BY n.id"
)
_SHOWN = 4


class Identity(NamedTuple):
    """What tells whether two experiments are the same."""

    config_sha256: str
    data_fingerprint: str
    git_commit: str
    #: Of the uncommitted changes; "" without any.
    git_diff_sha256: str


class AlreadyTrained(NamedTuple):
    """The latest completed experiment of an identity, and how many there are."""

    experiment_id: str
    completed_at: str
    trainings: int
    best_metrics: Mapping[str, float]
    #: What differs all the same, being left out of the identity: the text there and here, None where it is absent.
    differences: Mapping[str, list[str | None]]

    def __str__(self) -> str:
        """Say it in one sentence.

        Example:
            >>> print(AlreadyTrained("unet-3", "2026-11-24T10:00:00", 1, {"val/iou": 0.71}, {"seed": ["1", "2"]}))
            already trained: unet-3, best val/iou 0.71 (completed 2026-11-24; other seed: 1, now 2)
        """
        bests = [f"{name} {value:.4g}" for name, value in self.best_metrics.items()]
        facts = [f"completed {self.completed_at[:10]}"]
        if self.trainings > 1:
            facts.append(f"the latest of {self.trainings}")
        if self.differences:
            changed = [f"{name}: {before}, now {now}" for name, (before, now) in self.differences.items()]
            facts.append(f"other {_some(changed)}")
        best = f", best {_some(bests)}" if bests else ""
        return f"already trained: {self.experiment_id}{best} ({'; '.join(facts)})"


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def digest_of_diff(redacted: str) -> str:
    """Digest uncommitted changes as they are stored: once per digest, and none as none."""
    return hashlib.sha256(redacted.encode()).hexdigest() if redacted else ""


def already_trained(connection: Connection, identity: Identity, params: tuple[Param, ...]) -> AlreadyTrained | None:
    """Find the latest completed experiment of an identity: one look-up in an index when there is none.

    Args:
        connection: Any.
        identity: Of the experiment that is about to be trained.
        params: Of its config, for the differences.
    """
    if not identity.config_sha256:
        return None
    found = connection.execute(_FOUND, identity).fetchone()
    if found is None:
        return None
    number, experiment_id, completed_at, count = found
    bests = dict(connection.execute(_BESTS, (number,)).fetchall())
    before = connection.execute(
        "SELECT name, type, value, text FROM param WHERE experiment = ? AND source = 'config'", (number,)
    ).fetchall()
    differences = param_differences(map(Param._make, before), params)
    return AlreadyTrained(experiment_id, completed_at, count, bests, differences)
