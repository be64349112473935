"""The immutable rows that users get: NamedTuples, as cheap as tuples."""

from __future__ import annotations

import json
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, get_origin, get_type_hints

ParamValue = str | int | float | bool | None

_scanned = json.JSONDecoder().raw_decode  # what json.loads() calls, without what it does around that


class Metadata(NamedTuple):
    """All that is known of one experiment. Unknown is the empty value of its type; times are ISO 8601 with offset.

    Attributes:
        degraded: The catalog takes no writes now, or something was dropped.
        journaled: Calls of this process that wait in a journal for the catalog.
        replayed: Calls that went through a journal into the catalog, ever.
        dropped: Calls that were lost: no journal could be written either, or they could not be applied.
    """

    experiment_id: str
    experiment_name: str
    project: str
    group: str
    timestamp: str
    status: str
    description: str
    tags: list[str]
    config_hash: str
    config_summary: dict[str, Any]
    config_missing: list[str]
    python_version: str
    pytorch_version: str
    platform: str
    cuda_available: bool
    cuda_version: str
    total_epochs: int
    current_epoch: int
    best_metrics: dict[str, float]
    training_time_seconds: float
    artifact_ids: list[str]
    checkpoint_paths: list[str]
    metric_files: list[str]
    visualization_files: list[str]
    git_commit: str
    git_branch: str
    git_dirty: bool
    hostname: str
    username: str
    memory_gb: float
    gpu_info: dict[str, Any]
    created_at: str
    started_at: str
    completed_at: str
    updated_at: str
    experiment_dir: str
    error_message: str
    uid: str
    degraded: bool
    journaled: int
    replayed: int
    dropped: int


def nothing_known() -> Metadata:
    """Give metadata in which everything is unknown."""
    return Metadata._make((get_origin(kind) or kind)() for kind in get_type_hints(Metadata).values())


class Params(Mapping[str, ParamValue]):
    """The params of one experiment by dotted name, in order of their names. Immutable.

    Held as SQLite wrote them and decoded at the first look: most listings are asked for few params of few rows, and
    200,000 values of 10,000 experiments cost a third of all the rest of them.

    Args:
        encoded: A JSON object of names and what `param_value` decodes.
        decode: `param_value`, or a cache of it that the rows of a listing share: few of their values differ.

    Example:
        >>> Params('{"lr": "float:0.1", "amp": "bool:true"}')
        {'lr': 0.1, 'amp': True}
    """

    __slots__ = ("_decode", "_encoded", "_values")

    def __init__(self, encoded: str, decode: Callable[[str], ParamValue] | None = None) -> None:
        self._encoded = encoded
        self._decode = decode or param_value
        self._values: dict[str, ParamValue] | None = None

    def _decoded(self) -> dict[str, ParamValue]:
        if self._values is None:
            texts: dict[str, str] = _scanned(self._encoded)[0]
            self._values = dict(zip(texts, map(self._decode, texts.values()), strict=True))
        return self._values

    @staticmethod
    def dicts(several: Iterable[Params]) -> list[dict[str, ParamValue]]:
        """Give the params of many experiments, decoded as one document, which makes each name once."""
        texts: list[dict[str, str]] = json.loads(f"[{','.join([one._encoded for one in several])}]")
        decode = cache(param_value)
        return [dict(zip(one, map(decode, one.values()), strict=True)) for one in texts]

    def __reduce__(self) -> tuple[type[Params], tuple[str]]:
        """Pickle and copy what they are made of: the cache is the listing's."""
        return Params, (self._encoded,)

    def __getitem__(self, name: str) -> ParamValue:
        """Give a value."""
        return self._decoded()[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._decoded())

    def __len__(self) -> int:
        """Count the params."""
        return len(self._decoded())

    def items(self) -> ItemsView[str, ParamValue]:
        """Give names and values."""
        return self._decoded().items()

    def __repr__(self) -> str:
        """Show them like a dict."""
        return repr(self._decoded())


def param_value(encoded: str) -> ParamValue:
    """Give a param's value from "type:exact text"; None for null, a missing value, an empty dict or list.

    Example:
        >>> param_value("float:0.1"), param_value("bool:true"), param_value("null:null")
        (0.1, True, None)
    """
    kind, _, text = encoded.partition(":")
    return _DECODERS.get(kind, str)(text)


def _no_value(_: str) -> None:
    return None


_DECODERS: dict[str, Callable[[str], ParamValue]] = {
    "int": lambda text: int(text, 0),
    "float": float,
    "bool": lambda text: text == "true",
    **dict.fromkeys(("null", "missing", "dict", "list"), _no_value),
}


class ExperimentRow(NamedTuple):
    """One experiment of a listing; of each metric the best, as `Catalog.best` ranks it.

    ``liveness`` is "" unless the status is running: then "alive", "dead", or "elsewhere" (on a host that cannot be seen
    from here), told by facts such as a held lock, never by clocks.
    """

    experiment_id: str
    experiment_name: str
    project: str
    group: str | None
    status: str
    description: str
    tags: tuple[str, ...]
    params: Mapping[str, ParamValue]
    best_metrics: Mapping[str, float]
    artifact_count: int
    current_epoch: int
    total_epochs: int
    training_time_seconds: float
    error_message: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    updated_at: str
    experiment_dir: str
    hostname: str | None
    git_commit: str | None
    config_sha256: str
    uid: str
    liveness: str


class BestRow(NamedTuple):
    """The best value of a metric in one experiment; ``source`` is "logged" or "reported"."""

    experiment_id: str
    experiment_name: str
    value: float
    step: int
    source: str
    mode: str
    status: str
    project: str
    metric: str


class LeaderboardRow(NamedTuple):
    """An experiment's rank by the first metric, and its best of every metric asked for: None where it has none.

    Equal values have the same rank, as in sports: 1, 2, 2, 4.
    """

    rank: int
    experiment_id: str
    experiment_name: str
    values: Mapping[str, float | None]
    status: str
    project: str


class ArtifactRow(NamedTuple):
    """One artifact; ``digest_state`` is "hashed", "pending", "missing" or "unreadable"."""

    experiment_id: str
    artifact_id: str
    artifact_type: str
    path: str
    description: str
    tags: tuple[str, ...]
    kind: str
    size_bytes: int | None
    file_count: int | None
    sha256: str
    digest_state: str
    created_at: str
    updated_at: str
    absolute_path: str


class JournalRow(NamedTuple):
    """A journal that waits to be replayed; ``owner_alive``: by the process that wrote it, else by the next writer."""

    experiment_id: str
    records: int
    size_bytes: int
    owner_alive: bool
    path: str


class WhenceRow(NamedTuple):
    """An artifact that is a file in question: ``match`` is "content", or "path" where only the place is the same."""

    experiment_id: str
    artifact_id: str
    match: str
    artifact_type: str
    path: str
    description: str
    kind: str
    size_bytes: int | None
    sha256: str
    digest_state: str
    updated_at: str
    experiment_name: str
    status: str


class TagRow(NamedTuple):
    """A tag, with the number of experiments and of artifacts that have it."""

    tag: str
    experiments: int
    artifacts: int


class SweptRow(NamedTuple):
    """A running experiment that nobody works on any more, its last process, and how one knows."""

    experiment_id: str
    project: str
    hostname: str
    pid: int | None
    started_at: str | None
    reason: str


class PointRow(NamedTuple):
    """One point of a curve."""

    experiment_id: str
    metric: str
    step: int
    value: float


class BucketRow(NamedTuple):
    """A range of steps of a curve, summed up.

    min, max and mean are over the values that are not NaN, infinities among them, and NaN when there is none;
    ``nan_count`` says how many of the points were left out so. ``last`` is the value at the last step, be it NaN.
    """

    experiment_id: str
    metric: str
    first_step: int
    last_step: int
    points: int
    nan_count: int
    min: float
    max: float
    mean: float
    last: float


class StatusChangeRow(NamedTuple):
    """A change of an experiment's status: when, in which attempt, and who by."""

    experiment_id: str
    status: str
    changed_at: str
    message: str
    attempt: int | None
    hostname: str | None
    username: str | None


class AttemptRow(NamedTuple):
    """A process that worked on an experiment; ``config_changes`` is {param: [text before, text now]}.

    ``liveness`` is "" once it has ended, else "alive", "dead" or "elsewhere" (see `ExperimentRow`).
    """

    experiment_id: str
    attempt: int
    started_at: str
    ended_at: str | None
    end_reason: str
    hostname: str
    username: str
    pid: int
    rank: int | None
    command_line: str
    config_sha256: str
    config_changes: Mapping[str, list[str | None]]
    git_commit: str | None
    liveness: str


class ColumnRow(NamedTuple):
    """One column of a view, described; ``type`` is what SQLite's ``typeof`` says of its values."""

    view: str
    column: str
    type: str
    unit: str
    meaning: str


class ChangeRow(NamedTuple):
    """Who changed what, when.

    ``subject`` is "tag", "description", "name", "id", "artifact", "experiment" or "status"; ``action`` says how it was
    changed ("added", "removed", "changed", "relocated", "deleted", "restored", "purged", "merged"); ``item`` which one
    (the tag, the artifact's id).
    """

    changed_at: str
    experiment_id: str
    subject: str
    action: str
    item: str
    before: str | None
    after: str | None
    attempt: int | None
    hostname: str
    username: str


class TrashRow(NamedTuple):
    """A deleted experiment: what it is, and how much of it there is to restore or purge."""

    experiment_id: str
    uid: str
    experiment_name: str
    project: str
    status: str
    deleted_at: str
    points: int
    artifacts: int
    experiment_dir: str


class PurgeRow(NamedTuple):
    """What a purge removed (or would remove) of one experiment.

    ``files`` are the paths removed, ``size_bytes`` what they held, and ``kept`` the paths that stay, each with the
    reason after ": ".
    """

    experiment_id: str
    uid: str
    deleted_at: str
    rows: int
    files: tuple[str, ...]
    size_bytes: int
    kept: tuple[str, ...]


class RelocationRow(NamedTuple):
    """A folder or path that a relocation changed; ``artifact_id`` is empty for an experiment's folder."""

    experiment_id: str
    uid: str
    artifact_id: str
    before: str
    after: str


class VerificationRow(NamedTuple):
    """What became of an artifact's file.

    ``state`` is "ok", "missing", "changed", "truncated" (smaller than recorded), "unhashed" (nothing was recorded that
    it could be compared with), "unreadable", or "orphaned": a file that lies among checkpoints and is no artifact.
    ``size_bytes`` is what was recorded, ``found_bytes`` what is there.
    """

    experiment_id: str
    artifact_id: str
    artifact_type: str
    path: str
    state: str
    size_bytes: int | None
    found_bytes: int | None
    detail: str


class MergeRow(NamedTuple):
    """What a merge did.

    One row per experiment, whose ``outcome`` is "added", "extended" (it was known, and something was missing),
    "unchanged" or "skipped" (``item`` says why); and one row per fact that differs, with the outcome "conflict": ours
    stayed. ``rows`` counts what was added, or what differs.
    """

    experiment_id: str
    uid: str
    outcome: str
    subject: str
    item: str
    rows: int
    ours: str | None
    theirs: str | None
