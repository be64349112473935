"""The commands that look: each asks one question and prints the answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.options import (
    Filters,
    artifact_id_option,
    artifact_type_option,
    catalog_option,
    experiment_argument,
    filter_options,
    limit_options,
    listing_options,
    metric_argument,
    mode_option,
    offset_option,
    output_options,
    sort_option,
)
from crackseg_tracker.cli.output import Output, say
from crackseg_tracker.schema import DIGEST_STATES

if TYPE_CHECKING:
    from crackseg_tracker import Catalog, Result
    from crackseg_tracker.rows import ArtifactRow


@click.command("list")
@catalog_option
@filter_options()
@sort_option
@limit_options(None)
@offset_option
@output_options
def list_command(
    catalog: str | None, filters: Filters, sort: tuple[str, ...], limit: int | None, offset: int, output: Output
) -> None:
    """List experiments.

    A table has a few columns of each; every other format has all of them.
    """
    from crackseg_tracker.rows import ExperimentRow

    output.answer(
        catalog,
        ExperimentRow._fields,
        lambda opened: opened.experiments(**filters(opened), order_by=list(sort) or None, limit=limit, offset=offset),
        ("experiment_id", "status", "best_metrics", "tags", "created_at"),
    )


@click.command("best")
@catalog_option
@metric_argument()
@mode_option
@filter_options()
@listing_options(10)
def best_command(catalog: str | None, metric: str, mode: Any, filters: Filters, output: Output) -> None:
    """Rank experiments by their best value of a metric.

    Which metrics there are: crackseg-tracker sql "SELECT * FROM metric_names".
    """
    from crackseg_tracker.rows import BestRow

    output.answer(
        catalog,
        BestRow._fields,
        lambda opened: opened.best(metric, mode, output.asked[0], **filters(opened)),
        ("experiment_id", "experiment_name", "value", "step", "source", "status"),
    )


@click.command("artifacts")
@catalog_option
@artifact_type_option
@click.option("--tag", "tags", multiple=True, metavar="TAG", shell_complete=completion.artifact_tags, help="All tags.")
@click.option(
    "--any-tag", "any_tags", multiple=True, metavar="TAG", shell_complete=completion.artifact_tags, help="Any of them."
)
@click.option(
    "--no-tag", "no_tags", multiple=True, metavar="TAG", shell_complete=completion.artifact_tags, help="None of them."
)
@artifact_id_option
@click.option("--path", multiple=True, metavar="PATTERN", help="By path, as given or absolute; * likewise.")
@click.option(
    "--digest-state", multiple=True, type=click.Choice(DIGEST_STATES), help="By what became of the file's digest."
)
@click.option("--experiment", multiple=True, metavar="ID", shell_complete=completion.ids, help="Of an experiment.")
@click.option(
    "--experiment-tag",
    "experiment_tags",
    multiple=True,
    metavar="TAG",
    shell_complete=completion.tags,
    help="Of experiments with all of these tags.",
)
@filter_options("tags", "any_tags", "no_tags", "experiment_id")
@listing_options(offset=True)
def artifacts_command(
    catalog: str | None,
    experiment: tuple[str, ...],
    filters: Filters,
    output: Output,
    **own_filters: tuple[str, ...],
) -> None:
    """List artifacts of all experiments.

    The options from --project on choose by the experiments that the artifacts belong to.
    """
    from crackseg_tracker.rows import ArtifactRow

    own: Any = {name: list(words) for name, words in own_filters.items() if words}

    def question(opened: Catalog) -> Result[ArtifactRow]:
        if experiment:
            own["experiment_id"] = [opened.resolve(one) for one in experiment]
        limit, offset = output.asked
        return opened.artifacts(**own, **cast(Any, filters(opened)), limit=limit, offset=offset)

    selection = ("experiment_id", "artifact_id", "artifact_type", "path", "size_bytes", "tags")
    output.answer(catalog, ArtifactRow._fields, question, selection)


@click.command("tags")
@catalog_option
@listing_options()
def tags_command(catalog: str | None, output: Output) -> None:
    """List tags with how often they are used."""
    from crackseg_tracker.rows import TagRow

    output.answer(catalog, TagRow._fields, lambda opened: opened.tags())


@click.command("history")
@catalog_option
@experiment_argument()
@metric_argument("metrics", many=True)
@click.option("--points", type=click.IntRange(min=1), metavar="N", help="Sum up in N buckets: min, max, mean, last.")
@click.option("--start", type=click.IntRange(min=0), default=0, metavar="STEP", help="First step.")
@click.option("--stop", type=click.IntRange(min=0), metavar="STEP", help="The step before which to stop.")
@listing_options()
def history_command(
    catalog: str | None,
    experiment: str,
    metrics: tuple[str, ...],
    points: int | None,
    start: int,
    stop: int | None,
    output: Output,
) -> None:
    """Give the curves of metrics of one experiment."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        names, one, steps = list(metrics), opened.resolve(experiment), slice(start, stop)
        if points is not None:
            output.show(opened.history(names, one, steps, points=points))
            return
        curve = opened.history(names, one, steps)
        reported: Mapping[str, float] = {} if curve else opened.experiment(one).best_metrics
    for name in names:
        if name in reported:
            say(f"{name}: {reported[name]:g} was reported as the best; no points were logged")
    output.show(curve, ("step", "value") if len(metrics) == 1 else ("metric", "step", "value"))


@click.command("leaderboard")
@catalog_option
@metric_argument("metrics", many=True)
@filter_options()
@listing_options(10)
def leaderboard_command(catalog: str | None, metrics: tuple[str, ...], filters: Filters, output: Output) -> None:
    """Rank experiments by the first METRIC, the others beside it."""
    from crackseg_tracker.rows import LeaderboardRow

    output.answer(
        catalog,
        LeaderboardRow._fields,
        lambda opened: opened.leaderboard(list(metrics), output.asked[0], **filters(opened)),
        ("rank", "experiment_id", "experiment_name", *(f"values.{metric}" for metric in metrics), "status"),
    )


@click.command("whence")
@catalog_option
@click.argument("file", shell_complete=completion.files)
@listing_options()
def whence_command(catalog: str | None, file: str, output: Output) -> None:
    """Tell which experiments made FILE, a path or a sha256, by its content."""
    from crackseg_tracker.rows import WhenceRow

    selection = ("experiment_id", "artifact_id", "match", "artifact_type", "path", "status")
    output.answer(catalog, WhenceRow._fields, lambda opened: opened.whence(file), selection)


@click.command("changes")
@catalog_option
@click.option("--since", metavar="WHEN", help="Since: 30m, 12h, 2d, 1w ago, or ISO 8601.")
@click.option("--experiment", metavar="ID", shell_complete=completion.ids, help="Of one experiment.")
@click.option(
    "--subject",
    multiple=True,
    type=click.Choice(["tag", "description", "name", "id", "artifact", "experiment", "status"]),
    help="Of one kind.",
)
@listing_options()
def changes_command(
    catalog: str | None,
    since: str | None,
    experiment: str | None,
    subject: tuple[str, ...],
    output: Output,
) -> None:
    """List who changed what, newest first."""
    from crackseg_tracker.cli.parsing import moment
    from crackseg_tracker.rows import ChangeRow

    output.answer(
        catalog,
        ChangeRow._fields,
        lambda opened: opened.changes(
            None if since is None else moment(since),
            None if experiment is None else opened.resolve(experiment),
            output.asked[0],
            subject=list(subject) or None,
        ),
        ("changed_at", "experiment_id", "subject", "action", "item", "before", "after", "username"),
    )


@click.command("trash")
@catalog_option
@listing_options()
def trash_command(catalog: str | None, output: Output) -> None:
    """List what is in the trash, last deleted first."""
    from crackseg_tracker.rows import TrashRow

    selection = ("experiment_id", "uid", "status", "deleted_at", "points", "artifacts")
    output.answer(catalog, TrashRow._fields, lambda opened: opened.trash(), selection)


@click.command("sql")
@catalog_option
@click.argument("query")
@click.argument("params", nargs=-1)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Read at most so many rows.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop when it takes longer.")
@click.option("--explain", is_flag=True, help="Show SQLite's plan instead.")
@output_options
def sql_command(catalog: str | None, query: str, params: tuple[str, ...], output: Output, **bounds: Any) -> None:
    """Ask in SQL, over the documented views; read-only.

    QUERY is one SELECT, or - to read it from stdin. PARAMS are bound to its question marks; a number is bound as one.
    """
    from crackseg_tracker import Catalog
    from crackseg_tracker.cli.parsing import value

    text = sys.stdin.read() if query == "-" else query
    with Catalog(catalog) as opened:
        output.show(opened.sql(text, [value(param) for param in params], **bounds))


@click.command("schema")
@click.argument("view", required=False, shell_complete=completion.views)
@output_options
def schema_command(view: str | None, output: Output) -> None:
    """Describe the views that SQL is asked over, or one of them."""
    from crackseg_tracker import Catalog

    output.show(Catalog.schema(view))


@click.command("where")
@catalog_option
@output_options
def where_command(catalog: str | None, output: Output) -> None:
    """Tell which catalog this is, and which setting said so."""
    from crackseg_tracker import Catalog, Result, settings

    location = settings.locate(catalog)
    known: list[tuple[str, Any]] = [("catalog", str(location.path)), ("setting", location.setting)]
    if location.path.exists():
        with Catalog(location.path) as opened:
            count = opened.sql("SELECT count(*) FROM experiments")[0][0]
            contract = opened.sql("SELECT contract_version FROM catalog_info")[0][0]
        known += [("experiments", count), ("contract_version", contract), ("size_bytes", location.path.stat().st_size)]
    else:
        known.append(("experiments", "no catalog yet: the first ExperimentTracker that uses it creates it"))
    output.show(Result(["what", "value"], known))
