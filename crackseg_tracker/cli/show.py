"""``show``: one experiment, whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from crackseg_tracker.cli.options import catalog_option, experiment_argument
from crackseg_tracker.cli.output import FORMATS, Output, formatted, heading

if TYPE_CHECKING:
    from crackseg_tracker import Catalog, Result
    from crackseg_tracker.rows import ExperimentRow

_METRICS = """SELECT metric, b.mode, b.value AS best, b.step AS best_step, b.source, s.last_value AS last, s.last_step,
  s.count, s.non_finite_count
FROM metric_bests AS b LEFT JOIN metric_summaries AS s USING (experiment_id, metric) WHERE experiment_id = :id
UNION ALL
SELECT metric, NULL, NULL, NULL, NULL, last_value, last_step, count, non_finite_count FROM metric_summaries AS s
WHERE experiment_id = :id AND NOT EXISTS (SELECT 1 FROM metric_bests AS b WHERE b.experiment_id = s.experiment_id
  AND b.metric = s.metric)
ORDER BY 1"""
_ATTEMPTS = """SELECT attempt, started_at, hostname, username, pid, git_commit, command_line, config_changes
FROM attempts WHERE experiment_id = ? ORDER BY attempt"""
_STATUS_CHANGES = "SELECT changed_at, status, attempt, message FROM status_changes WHERE experiment_id = ? ORDER BY 1"
_SUMMARY = (
    "experiment_id",
    "experiment_name",
    "project",
    "group",
    "status",
    "tags",
    "current_epoch",
    "total_epochs",
    "training_time_seconds",
    "created_at",
    "started_at",
    "completed_at",
    "experiment_dir",
    "hostname",
    "git_commit",
    "config_sha256",
    "uid",
)


class Whole(NamedTuple):
    """All that is known of one experiment, in answers."""

    experiment: ExperimentRow
    params: Mapping[str, Any]
    metrics: Result[Any]
    artifacts: Result[Any]
    attempts: Result[Any]
    status_changes: Result[Any]


def whole(catalog: Catalog, experiment_id: str) -> Whole:
    """Ask for all that is known of one experiment."""
    return Whole(
        catalog.experiment(experiment_id),
        catalog.params(experiment_id),
        catalog.sql(_METRICS, {"id": experiment_id}),
        catalog.artifacts(experiment_id=experiment_id),
        catalog.sql(_ATTEMPTS, [experiment_id]),
        catalog.sql(_STATUS_CHANGES, [experiment_id]),
    )


@click.command("show")
@catalog_option
@experiment_argument()
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Default: table on a terminal, else tsv.")
def show_command(catalog: str | None, experiment: str, format_: str | None) -> None:
    """Show all that is known of one experiment.

    A table shows it in sections, json as one object, every other format as fields with their values.
    """
    from crackseg_tracker import Catalog, Result
    from crackseg_tracker.formatting import json_text

    output = Output(format_)
    with Catalog(catalog) as opened:
        known = whole(opened, opened.resolve(experiment))
    if output.chosen_format == "table":
        click.echo("\n\n".join(_sections(known)))
    elif output.chosen_format in ("json", "jsonl"):
        click.echo(json_text(_nested(known)))
    else:
        output.show(Result(["field", "value"], list(_fields(known))))


def _sections(known: Whole) -> Iterable[str]:
    from crackseg_tracker import Result
    from crackseg_tracker.formatting import display_width, human_text, neutral, neutral_lines

    given = [(name, human_text(getattr(known.experiment, name))) for name in _SUMMARY]
    width = max(display_width(name) for name, _ in given)
    yield "\n".join(f"{heading(name.ljust(width))}  {text}" for name, text in given if text)
    for title, text in (("description", known.experiment.description), ("error", known.experiment.error_message)):
        if text:
            yield f"{heading(title)}\n{neutral_lines(text)}"
    tables: dict[str, Result[Any]] = {
        "metrics": known.metrics,
        "params": Result(["name", "value"], [(neutral(name), value) for name, value in known.params.items()]),
        "artifacts": known.artifacts.select(
            "artifact_id", "artifact_type", "path", "size_bytes", "tags", "digest_state"
        ),
        "status changes": known.status_changes,
        "attempts": known.attempts,
    }
    for title, table in tables.items():
        if table:
            yield f"{heading(title)}\n{formatted('table', table)}"


def _nested(known: Whole) -> dict[str, Any]:
    answers = {name: answer.dicts() for name, answer in known._asdict().items() if name not in ("experiment", "params")}
    return {**known.experiment._asdict(), "params": dict(known.params), **answers}


def _fields(known: Whole) -> Iterable[tuple[str, Any]]:
    for name, value in {**known.experiment._asdict(), "params": known.params}.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", one) for key, one in cast("Mapping[str, Any]", value).items())
        else:
            yield name, value
