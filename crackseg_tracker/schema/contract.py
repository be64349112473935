"""What each column of each view means: the one place that the README's table, `Catalog.schema` and the tests come from.

Types are what SQLite's ``typeof`` says of the values; "or null" where a value may be missing. A view that is changed in
any other way than by new columns at its end is a new `views.CONTRACT_VERSION`.
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """A column: its type ("integer", "real", "text", "any", with " or null"), unit and meaning."""

    name: str
    type: str
    unit: str
    meaning: str


class View(NamedTuple):
    """A view: what has a row in it, and its columns in order."""

    row: str
    columns: tuple[Column, ...]


TIME = "ISO 8601, UTC"
FLAG = "0 or 1"

_EXPERIMENT_ID = Column("experiment_id", "text", "", "the id of the experiment, unique among the living")
_EXPERIMENT_NAME = Column("experiment_name", "text", "", "its name; several experiments may share it")
_PROJECT = Column("project", "text", "", "the project that it belongs to")
_GROUP = Column("group", "text or null", "", "the group within the project (a sweep, the seeds of one config)")
_STATUS = Column("status", "text", "", "created, running, completed, failed or aborted")
_EXPERIMENT_NUMBER = Column("experiment_number", "integer", "", "number in order of creation; the key of no other file")
_DESCRIPTION = Column("description", "text", "", "free text; '' when there is none")
_ERROR = Column("error_message", "text", "", "why it failed or was aborted, with the traceback; '' otherwise")
_CREATED = Column("created_at", "text", TIME, "when it was first seen")
_STARTED = Column("started_at", "text or null", TIME, "when it first ran")
_COMPLETED = Column("completed_at", "text or null", TIME, "when it last ended, in whatever way")
_UPDATED = Column("updated_at", "text", TIME, "last change of anything but metrics")
_EPOCH = Column("current_epoch", "integer", "epochs", "progress, as reported")
_EPOCHS = Column("total_epochs", "integer", "epochs", "how many there are to be; 0 when unknown")
_SECONDS = Column("training_time_seconds", "real", "s", "training time, as reported")
_DIRECTORY = Column("experiment_dir", "text", "", "the experiment's folder, as given")
_HOST = Column("hostname", "text or null", "", "the machine of the last attempt")
_COMMIT = Column("git_commit", "text or null", "", "the commit that was checked out; '' outside a repository")
_DIRTY = Column("git_dirty", "integer or null", FLAG, "whether there were uncommitted changes")
_CONFIG = Column("config_sha256", "text", "SHA-256", "digest of the resolved config: equal configs have equal digests")

_ATTEMPT = Column("attempt", "integer or null", "", "number of the attempt (the process) that wrote it")
_METRIC = Column("metric", "text", "", "name of the metric")
_STEP = Column("step", "integer", "", "step or epoch of the value")
_VALUE = Column("value", "real or null", "", "the value; null is NaN, infinities are themselves")
_MODE = Column("mode", "text", "", "which is better: max or min")

_BEST = (
    _MODE,
    Column("value", "real", "", "the best: the better, by mode, of the last report and the logged extreme"),
    Column("step", "integer", "", "when it was reached"),
    Column("source", "text", "", "logged or reported"),
)

_ARTIFACT_ID = Column("artifact_id", "text", "", "the id of the artifact, unique in its experiment")
_ARTIFACT_TYPE = Column("artifact_type", "text", "", "checkpoint, metrics, visualization, or any other word")
_PATH = Column("path", "text", "", "where the file is, as given")
_ABSOLUTE = Column("absolute_path", "text", "", "where the file was, absolute")
_SIZE = Column("size_bytes", "integer or null", "bytes", "size of the file, or of all in the folder")
_DIGEST = Column("sha256", "text", "SHA-256", "digest of the content (of a folder: of its listing); '' when not known")
_DIGEST_STATE = Column("digest_state", "text", "", "hashed, pending, missing or unreadable")
_ARTIFACT_NUMBER = Column("artifact_number", "integer", "", "number in order of creation; the key of no other file")

_SUMMARY = tuple(
    column
    for end, what in (
        ("first", "the first value"),
        ("last", "the last value"),
        ("min", "the lowest finite value, at its first step"),
        ("max", "the highest finite value, at its first step"),
    )
    for column in (
        Column(f"{end}_step", "integer or null", "", f"the step of {what}"),
        Column(f"{end}_value", "real or null", "", what),
    )
)

CONTRACT: dict[str, View] = {
    "experiments": View(
        "experiment",
        (
            _EXPERIMENT_ID,
            _EXPERIMENT_NAME,
            _PROJECT,
            _GROUP,
            _STATUS,
            _DESCRIPTION,
            _EPOCH,
            _EPOCHS,
            _SECONDS,
            _ERROR,
            _CREATED,
            _STARTED,
            _COMPLETED,
            _UPDATED,
            _DIRECTORY,
            _HOST,
            Column("username", "text or null", "", "who ran the last attempt"),
            Column("python_version", "text or null", "", "of the last attempt"),
            Column("platform", "text or null", "", "operating system and processor"),
            Column("pytorch_version", "text or null", "", "'' where PyTorch was not loaded"),
            Column("cuda_available", "integer or null", FLAG, "whether PyTorch saw a GPU"),
            Column("cuda_version", "text or null", "", "'' without CUDA"),
            Column("memory_gb", "real or null", "GB", "memory of the machine"),
            _COMMIT,
            Column("git_branch", "text or null", "", "'' outside a repository"),
            _DIRTY,
            Column("git_remote", "text or null", "", "the repository's address, without credentials"),
            _CONFIG,
            Column("uid", "text", "UUID", "names the experiment for ever and in every catalog"),
            _EXPERIMENT_NUMBER,
            Column("data_fingerprint", "text", "", "what the training said of its data; '' when nothing"),
            Column("identity_sha256", "text", "SHA-256", "digest of the config without seeds and paths; '' if unknown"),
            Column("journal_replayed", "integer", "", "calls that went through a journal into the catalog"),
            Column(
                "journal_dropped",
                "integer",
                "",
                "calls that were lost: no journal could be written, or no step was left",
            ),
        ),
    ),
    "attempts": View(
        "process that worked on an experiment",
        (
            _EXPERIMENT_ID,
            Column("attempt", "integer", "", "1, 2, ... within the experiment"),
            Column("started_at", "text", TIME, "when the process began to work on it"),
            Column("hostname", "text", "", "its machine"),
            Column("username", "text", "", "its user"),
            Column("pid", "integer", "", "its process number"),
            Column("command_line", "text", "", "its command, without secrets"),
            _CONFIG,
            Column("config_changes", "text", "JSON", "{param: [text before, text now]} against the attempt before"),
            _COMMIT,
            Column("rank", "integer or null", "", "its rank, where several recorded one training"),
            Column("ended_at", "text or null", TIME, "when it let go; null while it works, or died without a word"),
            Column("end_reason", "text", "", "how it let go; '' while it works"),
        ),
    ),
    "status_changes": View(
        "change of status",
        (
            _EXPERIMENT_ID,
            _STATUS,
            Column("changed_at", "text", TIME, "when"),
            Column("message", "text", "", "the error, or ''"),
            _ATTEMPT,
            Column("hostname", "text", "", "who changed it, where that was not the attempt's own process; else ''"),
            Column("username", "text", "", "likewise"),
        ),
    ),
    "changes": View(
        "change of a tag, description, name, artifact or status; of deleted experiments too",
        (
            Column("changed_at", "text", TIME, "when"),
            Column("experiment_id", "text", "", "the id that the experiment has now, or had when it was deleted"),
            Column("subject", "text", "", "tag, description, name, id, artifact, experiment or status"),
            Column("action", "text", "", "added, removed, changed, relocated, deleted, restored, purged or merged"),
            Column("item", "text", "", "which one: the tag, or the artifact's id; else ''"),
            Column("before", "text or null", "", "the text before; of an artifact, JSON of the facts that differ"),
            Column("after", "text or null", "", "likewise after"),
            _ATTEMPT,
            Column("hostname", "text", "", "the machine of who changed it"),
            Column("username", "text", "", "who changed it"),
            Column("uid", "text", "UUID", "the experiment's, for ever"),
            _EXPERIMENT_NUMBER,
            Column("change_number", "integer", "", "order of the changes of one time; the key of no other file"),
        ),
    ),
    "params": View(
        "leaf of a config, or logged param",
        (
            _EXPERIMENT_ID,
            Column("name", "text", "", "dotted name, such as training.learning_rate"),
            Column("value", "any or null", "", "number or text, as SQL can compare it"),
            Column("type", "text", "", "str, int, float, bool, null, bytes, missing, dict or list"),
            Column("text", "text", "", "the value as text, exact"),
            Column("source", "text", "", "config or logged"),
        ),
    ),
    "experiment_tags": View(
        "tag of an experiment",
        (
            _EXPERIMENT_ID,
            Column("tag", "text", "", "the tag"),
            Column("added_at", "text", TIME, "when it was added"),
        ),
    ),
    "artifacts": View(
        "artifact",
        (
            _EXPERIMENT_ID,
            _ARTIFACT_ID,
            _ARTIFACT_TYPE,
            _PATH,
            _DESCRIPTION,
            Column("kind", "text", "", "file, folder or missing"),
            _SIZE,
            Column("file_count", "integer or null", "files", "of a folder"),
            _DIGEST,
            _DIGEST_STATE,
            Column("created_at", "text", TIME, "when it was added"),
            Column("updated_at", "text", TIME, "when it was last added or changed"),
            _ABSOLUTE,
            Column("inside_path", "text or null", "", "the part below the experiment's folder, if it is there"),
            _ARTIFACT_NUMBER,
        ),
    ),
    "artifact_tags": View(
        "tag of an artifact",
        (_EXPERIMENT_ID, _ARTIFACT_ID, Column("tag", "text", "", "the tag")),
    ),
    "metric_names": View(
        "metric",
        (
            _METRIC,
            _MODE,
            Column("mode_source", "text", "", "assumed (from the name) or defined"),
            Column("unit", "text", "", "as defined; '' otherwise"),
            Column("description", "text", "", "as defined; '' otherwise"),
        ),
    ),
    "metrics": View(
        "logged point",
        (
            _EXPERIMENT_ID,
            _METRIC,
            _STEP,
            _VALUE,
            Column("logged_at", "text", TIME, "when it was logged, in milliseconds"),
        ),
    ),
    "metric_summaries": View(
        "logged series",
        (
            _EXPERIMENT_ID,
            _METRIC,
            Column("count", "integer", "points", "how many points it has"),
            Column("non_finite_count", "integer", "points", "how many of them are NaN or infinite"),
            Column("first_non_finite_step", "integer or null", "", "the first step that is NaN or infinite"),
            *_SUMMARY,
        ),
    ),
    "metric_bests": View(
        "experiment and metric",
        (_METRIC, _EXPERIMENT_ID, _EXPERIMENT_NAME, _PROJECT, _STATUS, *_BEST, _EXPERIMENT_NUMBER),
    ),
    "leaderboard": View(
        "experiment and metric, ranked",
        (
            _METRIC,
            Column("rank", "integer", "", "1 for the best of this metric by its mode; equal values share a rank"),
            _EXPERIMENT_ID,
            _EXPERIMENT_NAME,
            _PROJECT,
            _STATUS,
            *_BEST,
            _EXPERIMENT_NUMBER,
        ),
    ),
    "experiment_overview": View(
        "experiment, with what one wants to see first",
        (
            _EXPERIMENT_ID,
            _EXPERIMENT_NAME,
            _PROJECT,
            _GROUP,
            _STATUS,
            _DESCRIPTION,
            Column("tags", "text", "", "its tags, joined by ', '"),
            Column("best_metrics", "text", "", "its bests as 'metric=value', joined by ', '; exact in metric_bests"),
            Column("config_summary", "text", "JSON", "the well-known params: learning_rate, batch_size, ..."),
            _EPOCH,
            _EPOCHS,
            _SECONDS,
            Column("attempt_count", "integer", "attempts", "how many processes worked on it"),
            Column("metric_count", "integer", "metrics", "how many metrics it has"),
            Column("artifact_count", "integer", "artifacts", "how many artifacts it has"),
            Column("artifact_bytes", "integer", "bytes", "their size in all"),
            _ERROR,
            _CREATED,
            _STARTED,
            _COMPLETED,
            _UPDATED,
            _HOST,
            _COMMIT,
            _DIRTY,
            _DIRECTORY,
            _EXPERIMENT_NUMBER,
        ),
    ),
    "artifact_overview": View(
        "artifact, with its experiment",
        (
            _EXPERIMENT_ID,
            _EXPERIMENT_NAME,
            _PROJECT,
            _STATUS,
            _ARTIFACT_ID,
            _ARTIFACT_TYPE,
            _PATH,
            Column("tags", "text", "", "its tags, joined by ', '"),
            _DESCRIPTION,
            _SIZE,
            _DIGEST,
            _DIGEST_STATE,
            Column("same_content_count", "integer", "artifacts", "how many have this digest; 0 when it is not known"),
            _ATTEMPT,
            Column("created_at", "text", TIME, "when it was added"),
            _ABSOLUTE,
            _ARTIFACT_NUMBER,
        ),
    ),
    "metric_reports": View(
        "reported best",
        (
            _EXPERIMENT_ID,
            _METRIC,
            _STEP,
            _VALUE,
            Column("reported_at", "text", TIME, "when it was reported"),
            _ATTEMPT,
        ),
    ),
    "sample_metrics": View(
        "image (or other sample), metric and step",
        (
            _EXPERIMENT_ID,
            Column("split", "text", "", "train, val, test, or any other word"),
            Column("sample", "text", "", "name of the image"),
            _METRIC,
            _STEP,
            _VALUE,
        ),
    ),
    "superseded_metrics": View(
        "point taken back by a rewind",
        (
            _EXPERIMENT_ID,
            _METRIC,
            Column("split", "text or null", "", "of a sample's value; null for a point of a curve"),
            Column("sample", "text or null", "", "likewise"),
            _STEP,
            _VALUE,
            Column("attempt", "integer or null", "", "number of the attempt (the process) that took it back"),
            Column("superseded_at", "text", TIME, "when it was taken back"),
        ),
    ),
    "catalog_info": View(
        "catalog (one row)",
        (Column("contract_version", "integer", "", "rises when a view changes in another way than by new columns"),),
    ),
}


def readme_table() -> str:
    """Write the table of the views for the README: what has a row in each, and its columns.

    Example:
        >>> print(readme_table().splitlines()[-1])
        | `catalog_info` | catalog (one row) | contract_version |
    """
    lines = ["| view | a row for each | columns |", "|---|---|---|"]
    for name, view in CONTRACT.items():
        columns = ", ".join('"group"' if column.name == "group" else column.name for column in view.columns)
        lines.append(f"| `{name}` | {view.row} | {columns} |")
    return "\n".join(lines)
