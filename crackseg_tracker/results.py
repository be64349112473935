"""`Result`: an answer of rows, and what it turns into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, overload

from crackseg_tracker.errors import NotFoundError

if TYPE_CHECKING:
    import pandas
    import polars

Row = TypeVar("Row", bound="tuple[Any, ...]")

_SHOWN_ROWS = 20
_SHOWN_ROWS_OF_NOTEBOOK = 50


class Result(Sequence[Row], Generic[Row]):
    """An answer: an immutable sequence of rows that turns into dicts, frames and text.

    ``print(result)`` shows a table, and a notebook does so by itself. In frames and in CSV a column of mappings
    (``best_metrics``) becomes a column for each key (``best_metrics.val/iou``), None where a row lacks the key; a tuple
    of tags stays one value. What every value becomes as text is told in `crackseg_tracker.formatting`.

    Example:
        >>> result = Result(("experiment_id", "best_metrics"), [("a", {"iou": 0.5}), ("b", {"iou": 0.75})])
        >>> result.dicts()[0]
        {'experiment_id': 'a', 'best_metrics': {'iou': 0.5}}
        >>> len(result), result[0]
        (2, ('a', {'iou': 0.5}))
        >>> print(result.to_csv())
        experiment_id,best_metrics.iou
        a,0.5
        b,0.75
        <BLANKLINE>
        >>> print(result)
        experiment_id  best_metrics
        a              iou=0.5
        b              iou=0.75
    """

    __slots__ = ("_columns", "_plain", "_row", "_rows")

    def __init__(
        self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], row: Callable[[Any], Row] | None = None
    ) -> None:
        self._columns: tuple[str, ...] = tuple(columns)
        self._plain = rows
        self._row = row
        self._rows: tuple[Row, ...] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._columns

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
    def __getitem__(self, index: slice) -> Result[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Result[Row]:
        """Give a row, or a result of several."""
        if isinstance(index, slice):
            return Result(self._columns, self._plain[index], None if self._rows is not None else self._row)
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
        return f"<Result of {_counted(len(self))}: {', '.join(self.columns)}>"

    def __str__(self) -> str:
        """Show the first rows as a table."""
        from crackseg_tracker.formatting import as_table

        table = as_table(self.columns, self._plain[:_SHOWN_ROWS])
        beyond = len(self) - _SHOWN_ROWS
        return f"{table}\n... {_counted(beyond, 'more row')}" if beyond > 0 else table

    def _repr_html_(self) -> str:
        """Show the first rows in a notebook."""
        from crackseg_tracker.formatting import as_html

        table = as_html(self.columns, self._plain[:_SHOWN_ROWS_OF_NOTEBOOK])
        beyond = len(self) - _SHOWN_ROWS_OF_NOTEBOOK
        return f"{table}\n<p>... {_counted(beyond, 'more row')}</p>" if beyond > 0 else table

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows as dictionaries; of columns with the same name the second is called ``name:2``."""
        from crackseg_tracker.formatting import distinct

        names = distinct(self.columns)
        return [dict(zip(names, row, strict=True)) for row in self._plain]

    def select(self, *columns: str) -> Result[tuple[Any, ...]]:
        """Give some of the columns, in the order asked for; ``best_metrics.val/iou`` is one value of a mapping.

        Raises:
            NotFoundError: There is no such column; names those that there are.

        Example:
            >>> Result(("id", "best"), [("a", {"iou": 0.5})]).select("best.iou", "id").rows
            ((0.5, 'a'),)
        """
        from crackseg_tracker.formatting import distinct, flattened

        names, flat = flattened(self.columns, self._plain)
        known = dict(zip(names, flat, strict=True))
        if self._plain:
            known |= zip(distinct(self.columns), zip(*self._plain, strict=True), strict=True)
        elif any("." in name for name in columns):  # without rows nobody can tell what a mapping would have held
            known |= {name: () for name in columns if name.partition(".")[0] in known}
        for name in columns:
            if name not in known:
                raise NotFoundError(
                    f"no column {name!r}; there are {', '.join(dict.fromkeys((*self.columns, *names)))}"
                )
        return Result(columns, list(zip(*(known[name] for name in columns), strict=True)))

    def sorted_by(self, *columns: str) -> Result[Row]:
        """Give the rows in another order: by a column, descending with a minus before its name; several: then by.

        Numbers come before text (descending after it) and missing values (None, NaN) last either way; equal rows keep
        their order.

        Raises:
            NotFoundError: There is no such column; names those that there are.

        Example:
            >>> rows = [("a", 0.5), ("b", None), ("c", 0.75)]
            >>> Result(("id", "iou"), rows).sorted_by("-iou").rows
            (('c', 0.75), ('a', 0.5), ('b', None))
        """
        order: Sequence[int] = range(len(self))
        for column in reversed(columns):
            values = [value for (value,) in self.select(column.removeprefix("-"))._plain]
            there = [index for index in order if values[index] is not None and values[index] == values[index]]
            there.sort(key=lambda index: _place(values[index]), reverse=column.startswith("-"))
            order = [*there, *(index for index in order if values[index] is None or values[index] != values[index])]
        rows = [self._plain[index] for index in order]
        return Result(self._columns, rows, None if self._rows is not None else self._row)

    def to_pandas(self) -> pandas.DataFrame:
        """Give the rows as a pandas DataFrame, mappings spread over columns.

        Raises:
            ModuleNotFoundError: Without pandas: ``pip install 'crackseg_tracker[pandas]'``.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            _missing(error, "pandas")
        from crackseg_tracker.formatting import flattened

        names, flat = flattened(self.columns, self._plain)
        columns = dict(zip(names, map(list, flat), strict=True))
        return pandas.DataFrame(columns, columns=pandas.Index(names, dtype=object))

    def to_polars(self) -> polars.DataFrame:
        """Give the rows as a polars DataFrame, mappings spread over columns, tags as lists.

        A column of numbers and text, as SQL may give, becomes text.

        Raises:
            ModuleNotFoundError: Without polars: ``pip install 'crackseg_tracker[polars]'``.
        """
        try:
            import polars
        except ModuleNotFoundError as error:
            _missing(error, "polars")
        from crackseg_tracker.formatting import flattened

        names, flat = flattened(self.columns, self._plain)
        return polars.DataFrame(
            [
                polars.Series(name, _listed(column), strict=False)
                for name, column in zip(names, map(_of_one_kind, flat), strict=True)
            ]
        )

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Give CSV as text, or write it to a file and give None. Every digit is kept.

        A text that a spreadsheet would run as a formula gets a ``'`` before it.
        """
        from crackseg_tracker.formatting import as_csv

        return _written(as_csv(self.columns, self._plain), path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Give a JSON array of objects as text, or write it to a file; NaN and infinities are texts ("NaN")."""
        from crackseg_tracker.formatting import as_json

        return _written(as_json(self.columns, self._plain), path)

    def to_markdown(self) -> str:
        """Give a Markdown table."""
        from crackseg_tracker.formatting import as_markdown

        return as_markdown(self.columns, self._plain)

    def to_latex(self) -> str:
        r"""Give a LaTeX table for ``\usepackage{booktabs}``."""
        from crackseg_tracker.formatting import as_latex

        return as_latex(self.columns, self._plain)


def _place(value: Any) -> tuple[bool, Any]:
    is_number = isinstance(value, (int, float))
    return not is_number, value if is_number or isinstance(value, str) else str(value)


def _counted(count: int, noun: str = "row") -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _written(text: str, path: str | os.PathLike[str] | None) -> str | None:
    if path is None:
        return text
    Path(path).write_text(text, encoding="utf-8", newline="")
    return None


def _of_one_kind(column: Sequence[Any]) -> Sequence[Any]:
    """Make a column of numbers and texts one of texts: polars would drop what does not fit the first."""
    kinds = set(map(type, column)) - {type(None)}
    if len(kinds) > 1 and not kinds <= {int, float, bool} and not kinds <= {tuple, list}:
        from crackseg_tracker.formatting.text import exact_text

        return [None if value is None else exact_text(value) for value in column]
    return column


def _listed(column: Sequence[Any]) -> list[Any]:
    return [list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value for value in column]


def _missing(error: ModuleNotFoundError, extra: str) -> NoReturn:
    if error.name != extra:
        raise error
    raise ModuleNotFoundError(f"{extra} is missing: pip install 'crackseg_tracker[{extra}]'", name=extra) from error
