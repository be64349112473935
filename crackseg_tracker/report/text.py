"""A report as Markdown, and its tables as LaTeX."""

from __future__ import annotations

import shlex

from crackseg_tracker import formatting
from crackseg_tracker.formatting import neutral
from crackseg_tracker.formatting.markup import markdown_text
from crackseg_tracker.report.collect import Report, Section


def as_markdown(report: Report) -> str:
    """Write the tables as Markdown, each with its SQL."""
    parts = [f"# {markdown_text(neutral(report.title))}", markdown_text(_made(report))]
    for section in report.sections:
        parts.append(f"## {markdown_text(neutral(section.title))}")
        if section.note:
            parts.append(markdown_text(neutral(section.note)))
        parts.append(formatting.as_markdown(section.table.columns, section.table.rows))
        parts.append(f"```sql\n{section.sql}\n```")
    parts.append(markdown_text(neutral(runs_as_it_stands(report))))
    return "\n\n".join(parts) + "\n"


def as_latex(report: Report) -> str:
    """Write the tables as LaTeX for booktabs, each a table with its caption."""
    tables = "\n\n".join(_latex_table(section) for section in report.sections)
    return f"% {neutral(report.title)}: {neutral(_made(report))}\n\n{tables}\n"


def _latex_table(section: Section) -> str:
    caption = formatting.latex_text(neutral(section.title) + (f": {neutral(section.note)}" if section.note else ""))
    tabular = formatting.as_latex(section.table.columns, section.table.rows)
    return f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{tabular}\n\\end{{table}}"


def runs_as_it_stands(report: Report) -> str:
    """Say what the SQL is for."""
    return f"The SQL of each table runs as it stands: sqlite3 -readonly {shlex.quote(report.catalog)}"


def _made(report: Report) -> str:
    return f"{len(report.ids):,} experiments of {neutral(report.catalog)}, at {report.made_at}"
