"""Tables for documents: Markdown, LaTeX, HTML; escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from crackseg_tracker.formatting.columns import Rows, human_columns
from crackseg_tracker.formatting.text import neutral

_MARKDOWN = re.compile(r"[\\`*\[\]<&|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{special: f"\\{special}" for special in "&%$#_{}"},
}
_LATEX_SPECIAL = re.compile("[" + re.escape("".join(_LATEX)) + "]")


def as_markdown(columns: Sequence[str], rows: Rows) -> str:
    r"""Write a table as GitHub's Markdown.

    Example:
        >>> print(as_markdown(["experiment", "iou"], [("a|b", 0.5)]))
        | experiment | iou |
        | --- | --: |
        | a\|b | 0.5 |
    """
    cells, numeric = human_columns(rows, len(columns))
    lines = [
        [markdown_text(neutral(name)) for name in columns],
        ["--:" if number else "---" for number in numeric],
        *zip(*([markdown_text(text) for text in column] for column in cells), strict=True),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    r"""Escape what Markdown would read as its own.

    Example:
        >>> print(markdown_text("<b> *x* snake_case"))
        \<b> \*x\* snake_case
    """
    return _MARKDOWN.sub(r"\\\g<0>", text)


def as_latex(columns: Sequence[str], rows: Rows) -> str:
    r"""Write a table as LaTeX, for the package booktabs.

    Example:
        >>> print(as_latex(["experiment", "iou"], [("unet_1", 0.5)]))
        % \usepackage{booktabs}
        \begin{tabular}{lr}
        \toprule
        experiment & iou \\
        \midrule
        unet\_1 & 0.5 \\
        \bottomrule
        \end{tabular}
    """
    cells, numeric = human_columns(rows, len(columns))
    texts = [
        [_latex_number(text) if number else latex_text(text) for text in column]
        for column, number in zip(cells, numeric, strict=True)
    ]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            f"\\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
            r"\toprule",
            " & ".join(latex_text(neutral(name)) for name in columns) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in zip(*texts, strict=True)),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def latex_text(text: str) -> str:
    r"""Escape what LaTeX would read as its own.

    Example:
        >>> latex_text("50% of train_a")
        '50\\% of train\\_a'
    """
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match[0]], text)


def _latex_number(text: str) -> str:
    mantissa, exponential, exponent = text.partition("e")
    if exponential:
        return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
    return f"${text}$" if text.startswith("-") else text  # a minus, not a hyphen


def as_html(columns: Sequence[str], rows: Rows) -> str:
    """Write a table as HTML; everything is escaped.

    Example:
        >>> print(as_html(["name"], [("<script>",)]))
        <table>
        <thead><tr><th>name</th></tr></thead>
        <tbody>
        <tr><td>&lt;script&gt;</td></tr>
        </tbody>
        </table>
    """
    cells, numeric = human_columns(rows, len(columns))
    opened = [' style="text-align: right"' if number else "" for number in numeric]
    heads = "".join(f"<th{style}>{escape(neutral(name))}</th>" for name, style in zip(columns, opened, strict=True))
    body = [
        "".join(f"<td{style}>{escape(text)}</td>" for text, style in zip(row, opened, strict=True))
        for row in zip(*cells, strict=True)
    ]
    return "\n".join(
        [
            "<table>",
            f"<thead><tr>{heads}</tr></thead>",
            "<tbody>",
            *(f"<tr>{row}</tr>" for row in body),
            "</tbody>",
            "</table>",
        ]
    )
