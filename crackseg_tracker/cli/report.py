"""``report``: one file about many experiments."""

from __future__ import annotations

from pathlib import Path

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.options import Filters, catalog_option, file_options, filter_options
from crackseg_tracker.cli.output import counted, say


@click.command("report")
@catalog_option
@click.option(
    "--metric", metavar="METRIC", shell_complete=completion.metrics, help="To rank by; default: the commonest."
)
@click.option("--title", metavar="TEXT", default="Experiments", help="The title.")
@click.option(
    "--format", "kind", type=click.Choice(["html", "markdown", "latex"]), default="html", help="Default: html."
)
@filter_options()
@file_options
def report_command(catalog: str | None, metric: str | None, title: str, kind: str, filters: Filters, path: str) -> None:
    """Write a report on experiments into one self-contained file.

    A leaderboard, curves, the params that matter, what failed, pictures, environments, and the SQL behind each table.
    Markdown has the tables with their SQL, LaTeX the tables. Curves need the extra:
    pip install 'crackseg_tracker[plot]'.
    """
    from crackseg_tracker import Catalog
    from crackseg_tracker.report import as_html, as_latex, as_markdown, collect

    with Catalog(catalog) as opened:
        report = collect(opened, metric, title, **filters(opened))
    write = {"html": as_html, "markdown": as_markdown, "latex": as_latex}[kind]
    Path(path).write_text(write(report), encoding="utf-8")
    say(f"{path}: {counted(len(report.ids))}")
