"""A report on many experiments: one file to read, print, mail or keep.

    with Catalog() as catalog:
        report = collect(catalog, metric="val/iou", project="roads")
    Path("report.html").write_text(as_html(report), encoding="utf-8")

`collect` asks the catalog, by SQL that the report shows beside each table; `as_html`, `as_markdown` and `as_latex` only
write what it found.
"""

from crackseg_tracker.report.collect import Report, Section, collect
from crackseg_tracker.report.html import as_html
from crackseg_tracker.report.text import as_latex, as_markdown

__all__ = ["Report", "Section", "as_html", "as_latex", "as_markdown", "collect"]
