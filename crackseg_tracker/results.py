"""`Result`: an answer of rows, and what it turns into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

if TYPE_CHECKING:
    import pandas

Row = TypeVar("Row", bound="tuple[Any, ...]")


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
