"""The immutable rows that users get: NamedTuples, as cheap as tuples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast, overload

if TYPE_CHECKING:
    import pandas

Row = TypeVar("Row", bound="tuple[Any, ...]")


class Metadata(NamedTuple):
    """All that is known of one experiment. Unknown is the empty value of its type; times are ISO 8601 with offset."""

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


class ExperimentRow(NamedTuple):
    """One experiment of a listing."""

    experiment_id: str
    experiment_name: str
    project: str
    group: str | None
    status: str
    description: str
    tags: tuple[str, ...]
    best_metrics: Mapping[str, float]
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


class TagRow(NamedTuple):
    """A tag, with the number of experiments and of artifacts that have it."""

    tag: str
    experiments: int
    artifacts: int


class PointRow(NamedTuple):
    """One point of a curve."""

    experiment_id: str
    metric: str
    step: int
    value: float


class Result(Sequence[Row], Generic[Row]):
    """An answer: a sequence of rows.

    Example:
        >>> result = Result(("metric", "value"), [("iou", 0.5)])
        >>> result.dicts()
        [{'metric': 'iou', 'value': 0.5}]
        >>> len(result), result[0]
        (1, ('iou', 0.5))
    """

    __slots__ = ("_plain", "_row", "_rows", "columns")

    def __init__(
        self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], row: Callable[[Any], Row] | None = None
    ) -> None:
        self.columns: tuple[str, ...] = tuple(columns)
        self._plain = rows
        self._row = row
        self._rows: tuple[Row, ...] | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows. Made at the first look: a curve of 100,000 points that goes into pandas needs none of them."""
        if self._rows is None:
            self._rows = cast("tuple[Row, ...]", tuple(map(self._row, self._plain) if self._row else self._plain))
            self._plain = self._rows
        return self._rows

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        """Give a row, or several."""
        return self.rows[index]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._plain)

    def __iter__(self) -> Iterator[Row]:
        """Go through the rows."""
        return iter(self.rows)

    def __eq__(self, other: object) -> bool:
        """Compare columns and rows."""
        if not isinstance(other, Result):
            return NotImplemented
        return self.columns == other.columns and self.rows == cast("Result[Any]", other).rows

    def __hash__(self) -> int:
        """Hash the columns: rows may hold mappings."""
        return hash(self.columns)

    def __repr__(self) -> str:
        """Show the size and the columns."""
        return f"<Result of {len(self)} rows: {', '.join(self.columns)}>"

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows as dictionaries."""
        return [dict(zip(self.columns, row, strict=True)) for row in self._plain]

    def to_pandas(self) -> pandas.DataFrame:
        """Give the rows as a pandas DataFrame.

        Raises:
            ModuleNotFoundError: Without pandas: ``pip install 'crackseg_tracker[pandas]'``.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("pandas is missing: pip install 'crackseg_tracker[pandas]'") from error
        return pandas.DataFrame.from_records(list(self._plain), columns=list(self.columns))
