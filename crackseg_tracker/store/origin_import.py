"""What another tracker's ``experiment_tracker.json`` says, written down when the catalog first sees the experiment."""

from __future__ import annotations

import os
from pathlib import Path
from sqlite3 import Connection

from crackseg_tracker import fingerprint, sidecar
from crackseg_tracker.store import changes
from crackseg_tracker.store.changes import Change, Target


def write_down(connection: Connection, experiment: int, origin: sidecar.Origin, folder: Path) -> None:
    """Write down what another tracker's file says of the experiment."""
    target = Target(experiment, None)
    records: list[Change] = [
        changes.DescriptionChange(description=origin.description),
        changes.TagChange(added=origin.tags),
        changes.ProgressChange(
            current_epoch=origin.current_epoch,
            total_epochs=origin.total_epochs,
            best_metrics=origin.best_metrics,
            training_time_seconds=origin.training_time_seconds,
        ),
    ]
    for artifact_id, artifact_type, path in origin.artifacts:
        absolute = Path(os.path.abspath(path)) if path else None
        records.append(
            changes.ArtifactChange(
                artifact_id=artifact_id,
                artifact_type=artifact_type,
                path=path,
                absolute_path=str(absolute or ""),
                inside_path=fingerprint.inside(absolute, folder) if absolute else None,
                description="",
                tags=(),
                facts=(
                    fingerprint.examine(absolute, hash_up_to=0)
                    if absolute
                    else fingerprint.FileFacts("missing", None, None, None, "", "missing")
                ),
            )
        )
    for change in records:
        change.apply(connection, target)
    if origin.status != "created":
        changes.StatusChange(status=origin.status, message=origin.error_message).apply(connection, target)
    connection.execute(
        "UPDATE experiment SET created_at = coalesce(nullif(?, ''), created_at), started_at = nullif(?, ''), "
        "completed_at = nullif(?, '') WHERE id = ?",
        (origin.created_at, origin.started_at, origin.completed_at, experiment),
    )
