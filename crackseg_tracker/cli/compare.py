"""The commands that put experiments side by side, and those that sum them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.options import (
    Filters,
    catalog_option,
    experiment_argument,
    filter_options,
    group_choice,
    listing_options,
    metric_argument,
    mode_option,
    output_options,
)
from crackseg_tracker.cli.output import Output, formatted, heading, say

if TYPE_CHECKING:
    from crackseg_tracker import Result

_STATISTICS = ("group", "n", "mean", "sd", "median", "low", "high", "missing", "non_finite", "unfinished")
_CONTRASTS = ("a", "b", "n_a", "n_b", "difference", "low", "high", "p_value", "p_holm", "effect_size", "reason")
value_option = click.option(
    "--value", type=click.Choice(["best", "last"]), default="best", help="Which value of each experiment."
)


@click.command("compare")
@catalog_option
@experiment_argument("experiments", many=True)
@click.option(
    "--part",
    type=click.Choice(["experiments", "params", "best_metrics", "last_metrics", "artifacts"]),
    help="Only this; formats other than table and json have one, by default params.",
)
@output_options
def compare_command(catalog: str | None, experiments: tuple[str, ...], part: str | None, output: Output) -> None:
    """Put experiments side by side: what differs in their params, and what came of it."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        ids = list(dict.fromkeys(opened.resolve(one) for one in experiments))
        if len(ids) < 2:
            raise click.UsageError(f"give at least two experiments; this is {', '.join(ids)}")
        compared = opened.compare(ids)
    _show_parts(compared._asdict(), part, output)


@click.command("diff")
@catalog_option
@experiment_argument("a")
@experiment_argument("b")
@click.option(
    "--part",
    type=click.Choice(["params", "environment", "packages", "git"]),
    help="Only this; formats other than table and json have one, by default params.",
)
@click.option("--patch", is_flag=True, help="Print the uncommitted changes of both instead, as git diff wrote them.")
@output_options
def diff_command(catalog: str | None, a: str, b: str, part: str | None, patch: bool, output: Output) -> None:
    """Tell what differs between two experiments: params, environment, packages, git."""
    from crackseg_tracker import Catalog
    from crackseg_tracker.formatting import neutral_lines

    with Catalog(catalog) as opened:
        ids = opened.resolve(a), opened.resolve(b)
        difference = opened.diff(*ids)
    if patch:
        for experiment_id, text in zip(ids, difference.git_diffs, strict=True):
            click.echo(neutral_lines(f"# {experiment_id}\n{text}"))
        return
    tables = {name: table for name, table in difference._asdict().items() if name != "git_diffs"}
    _show_parts(tables, part, output)
    if difference.git_diffs[0] != difference.git_diffs[1]:
        say("the uncommitted changes differ: --patch prints them")


@click.command("ablation")
@catalog_option
@experiment_argument()
@click.argument("param", shell_complete=completion.params)
@filter_options()
@listing_options()
def ablation_command(catalog: str | None, experiment: str, param: str, filters: Filters, output: Output) -> None:
    """Find the experiments that differ from one in PARAM only."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        output.show(opened.ablation(opened.resolve(experiment), param, **filters(opened)))


@click.command("duplicates")
@catalog_option
@filter_options()
@listing_options()
def duplicates_command(catalog: str | None, filters: Filters, output: Output) -> None:
    """Find completed experiments that are the same in config, code and data."""
    from crackseg_tracker.compare import DuplicateRow

    selection = ("duplicate", "experiment_id", "completed_at", "best_metrics", "ignored_params")
    output.answer(catalog, DuplicateRow._fields, lambda opened: opened.duplicates(**filters(opened)), selection)


@click.command("stats")
@catalog_option
@metric_argument()
@click.option(
    "--group-by",
    multiple=True,
    metavar="PARAM",
    shell_complete=completion.params,
    help='A param, several, or "config-without:seed": the same config but for the seed.',
)
@value_option
@mode_option
@click.option("--confidence", type=float, default=0.95, metavar="0.5..0.999", help="Of the interval. Default: 0.95.")
@filter_options()
@listing_options()
def stats_command(
    catalog: str | None, metric: str, group_by: tuple[str, ...], filters: Filters, output: Output, **options: Any
) -> None:
    """Sum up a metric over groups of experiments: n, mean, deviation, interval.

    Only completed experiments count, unless --status says otherwise; what is left out is counted.
    """
    from crackseg_tracker.statistics import StatisticsRow

    output.answer(
        catalog,
        StatisticsRow._fields,
        lambda opened: opened.statistics(metric, group_choice(group_by), **options, **filters(opened)),
        _STATISTICS if group_by else _STATISTICS[1:],
    )


@click.command("test")
@catalog_option
@metric_argument()
@click.argument("a")
@click.argument("b", nargs=-1, required=True)
@click.option("--paired-by", metavar="PARAM", shell_complete=completion.params, help="Pair by a param, such as seed.")
@value_option
@mode_option
@filter_options("experiment_id")
@listing_options()
def test_command(
    catalog: str | None, metric: str, a: str, b: tuple[str, ...], filters: Filters, output: Output, **options: Any
) -> None:
    """Test whether the mean of a metric differs between group A and each B.

    A group is "param=value" (several with commas), or ids, in which * stands for any characters. Where there are too
    few values, the reason stands in place of a p-value. Needs the extra: pip install 'crackseg_tracker[statistics]'.
    """
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        tested = opened.test(metric, _group(a), [_group(text) for text in b], **options, **filters(opened))
    output.show(tested, _CONTRASTS)


def _group(text: str) -> Mapping[str, Any] | list[str]:
    """Read a group as `Catalog.test` takes it."""
    if "=" not in text:
        return [text]
    from crackseg_tracker.cli.parsing import value

    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value(wanted.strip()) for name, _, wanted in pairs}


def _show_parts(tables: Mapping[str, Result[Any]], part: str | None, output: Output) -> None:
    kind = output.chosen_format
    if part is None and kind == "table":
        _show_sections(tables)
    elif part is None and kind in ("json", "jsonl"):
        from crackseg_tracker.formatting import json_text

        click.echo(json_text({name: table.dicts() for name, table in tables.items()}))
    else:
        output.show(tables[part or "params"])


def _show_sections(tables: Mapping[str, Result[Any]]) -> None:
    shown: Sequence[tuple[str, Result[Any]]] = [(name, table) for name, table in tables.items() if table]
    if not shown:
        say("nothing differs")
    for index, (name, table) in enumerate(shown):
        click.echo(("\n" if index else "") + heading(name.replace("_", " ")))
        click.echo(formatted("table", table))
