r"""Rows as text: a table for eyes, TSV, CSV, JSON, JSON lines, Markdown, LaTeX and HTML.

Pure functions of the names of the columns and the rows. What a value becomes:

==================  =========================  ========================  ======================
value               table, Markdown, LaTeX,    TSV, CSV                  JSON, JSON lines
                    HTML
==================  =========================  ========================  ======================
None                nothing                    nothing                   null
float               6 digits, aligned          all digits                all digits
NaN, infinities     nan, inf, -inf             nan, inf, -inf            "NaN", "Infinity",
                                                                         "-Infinity"
bool                true, false                true, false               true, false
tuple, list         a, b                       ["a", "b"]                ["a", "b"]
mapping             a=1, b=2                   a column for each key     {"a": 1, "b": 2}
bytes               x'00ff'                    x'00ff'                   "x'00ff'"
==================  =========================  ========================  ======================

Text comes from anybody's training code, so it is made harmless: what steers a terminal (escapes, other controls, marks
that turn the direction of writing) is shown as ``\x1b``; a text that a spreadsheet would run as a formula gets a ``'``
before it; Markdown, LaTeX and HTML are escaped. `flattened` is the one rule for columns of mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from crackseg_tracker.formatting.columns import Rows, distinct, flattened
from crackseg_tracker.formatting.data import as_csv, as_json, as_json_lines, as_tsv
from crackseg_tracker.formatting.markup import as_html, as_latex, as_markdown, latex_text
from crackseg_tracker.formatting.table import Paint, as_table
from crackseg_tracker.formatting.text import display_width, human_text, json_text, neutral, neutral_lines, number_text

__all__ = [
    "FORMATS",
    "Paint",
    "Rows",
    "as_csv",
    "as_html",
    "as_json",
    "as_json_lines",
    "as_latex",
    "as_markdown",
    "as_table",
    "as_tsv",
    "display_width",
    "distinct",
    "flattened",
    "human_text",
    "json_text",
    "latex_text",
    "neutral",
    "neutral_lines",
    "number_text",
]

FORMATS: dict[str, Callable[[Sequence[str], Rows], str]] = {
    "table": as_table,
    "json": as_json,
    "jsonl": as_json_lines,
    "csv": as_csv,
    "tsv": as_tsv,
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
}
