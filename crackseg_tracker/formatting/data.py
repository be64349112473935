"""Text for programs: TSV, CSV, JSON, JSON lines; every digit is kept."""

from __future__ import annotations

from collections.abc import Sequence

from crackseg_tracker.formatting.columns import Rows, distinct, flattened
from crackseg_tracker.formatting.text import exact_text, json_text, neutral, neutral_lines

_FORMULA_STARTS = tuple("=+-@\t＝＋－＠")  # noqa: RUF001 - spreadsheets take the full-width ones too


def as_tsv(columns: Sequence[str], rows: Rows) -> str:
    r"""Write a heading and a line for each row, separated by tabs; a tab or line end in a text is shown as ``\t``.

    Example:
        >>> as_tsv(["id", "note"], [("a", "two\nlines")])
        'id\tnote\na\ttwo\\nlines'
    """
    names, flat = flattened(columns, rows)
    texts = [[neutral(exact_text(value)) for value in column] for column in flat]
    return "\n".join(["\t".join(map(neutral, names)), *map("\t".join, zip(*texts, strict=True))])


def as_csv(columns: Sequence[str], rows: Rows) -> str:
    r"""Write CSV after RFC 4180, with line feeds; a text that a spreadsheet would run gets a ``'`` before it.

    Example:
        >>> as_csv(["id", "best"], [("=1+1", {"iou": 0.5})])
        "id,best.iou\n'=1+1,0.5\n"
    """
    import csv
    import io

    names, flat = flattened(columns, rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    writer.writerows(zip(*([_cell(value) for value in column] for column in flat), strict=True))
    return stream.getvalue()


def _cell(value: object) -> str:
    text = neutral_lines(exact_text(value))
    if text.startswith(_FORMULA_STARTS) and not isinstance(value, (int, float)) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_json(columns: Sequence[str], rows: Rows) -> str:
    """Write an array of objects, one on each line.

    Example:
        >>> print(as_json(["id", "loss"], [("a", float("nan"))]))
        [
        {"id": "a", "loss": "NaN"}
        ]
    """
    lines = _json_lines(columns, rows)
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def as_json_lines(columns: Sequence[str], rows: Rows) -> str:
    """Write an object for each row, each on a line.

    Example:
        >>> as_json_lines(["id", "tags"], [("a", ("x", "y"))])
        '{"id": "a", "tags": ["x", "y"]}'
    """
    return "\n".join(_json_lines(columns, rows))


def _json_lines(columns: Sequence[str], rows: Rows) -> list[str]:
    names = distinct(columns)
    return [json_text(dict(zip(names, row, strict=True))) for row in rows]
