"""The commands that keep catalogs and files: moved, verified, merged, exported, backed up, upgraded, swept."""

from __future__ import annotations

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.asking import Progress, confirm
from crackseg_tracker.cli.do import dry_run_option, yes_option
from crackseg_tracker.cli.options import (
    Filters,
    artifact_id_option,
    artifact_type_option,
    catalog_option,
    filter_options,
    output_options,
)
from crackseg_tracker.cli.output import FOUND_PROBLEMS, Output, counted, say


@click.command("relocate")
@catalog_option
@click.argument("old")
@click.argument("new")
@yes_option
@dry_run_option
@output_options
def relocate_command(catalog: str | None, old: str, new: str, yes: bool, dry_run: bool, output: Output) -> None:
    """Tell the catalog that a folder was moved from OLD to NEW."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        planned = opened.relocate(old, new, dry_run=True)
        if dry_run or not planned:
            output.show(planned)
            return
        confirm(f"Change {counted(len(planned), 'path')}?", planned, yes=yes)
        output.show(opened.relocate(old, new))


@click.command("verify")
@catalog_option
@click.option("--full", is_flag=True, help="Read every file; else one of the recorded size and time is believed.")
@artifact_type_option
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", shell_complete=completion.artifact_tags, help="With all tags."
)
@artifact_id_option
@click.option("--experiment", multiple=True, metavar="ID", shell_complete=completion.ids, help="Of an experiment.")
@click.option("--all", "everything", is_flag=True, help="List also what is as it was recorded.")
@filter_options("tags", "any_tags", "no_tags", "experiment_id")
@output_options
@click.pass_context
def verify_command(
    ctx: click.Context,
    catalog: str | None,
    full: bool,
    experiment: tuple[str, ...],
    everything: bool,
    filters: Filters,
    output: Output,
    **own: tuple[str, ...],
) -> None:
    """Look whether the artifacts' files are still what was recorded.

    Exit code 3 says that some are missing, changed, truncated or unreadable.
    """
    from crackseg_tracker import Catalog, Result

    with Catalog(catalog) as opened, Progress("verifying", "artifacts") as progress:
        given = {name: list(words) for name, words in own.items() if words}
        if experiment:
            given["experiment_id"] = [opened.resolve(one) for one in experiment]
        found = opened.verify(full=full, progress=progress, **given, **filters(opened))
    problems = [row for row in found if row.state not in ("ok", "unhashed", "orphaned")]
    notable = [row for row in found if everything or row.state != "ok"]
    say(f"{counted(len(found), 'artifact')}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
    if notable:
        output.show(Result(found.columns, notable), ("experiment_id", "artifact_id", "path", "state", "detail"))
    if problems:
        ctx.exit(FOUND_PROBLEMS)


@click.command("merge")
@catalog_option
@click.argument("other", shell_complete=completion.files)
@click.option("--suffix", metavar="TEXT", help="Put behind an id that another experiment has here; else it is skipped.")
@click.option("--purged", is_flag=True, help="Bring back also what was purged here.")
@dry_run_option
@output_options
@click.pass_context
def merge_command(
    ctx: click.Context,
    catalog: str | None,
    other: str,
    suffix: str | None,
    purged: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Take in all experiments of the catalog OTHER; nothing here is overwritten.

    Exit code 3 says that something differs or was skipped: the rows tell what.
    """
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened, Progress("merging") as progress:
        merged = opened.merge(other, suffix=suffix, purged=purged, dry_run=dry_run, progress=progress)
    output.show(merged, ("experiment_id", "outcome", "subject", "item", "rows", "ours", "theirs"))
    if any(row.outcome in ("conflict", "skipped") for row in merged):
        ctx.exit(FOUND_PROBLEMS)


@click.command("export")
@catalog_option
@click.argument("path", shell_complete=completion.files)
@filter_options()
@output_options
def export_command(catalog: str | None, path: str, filters: Filters, output: Output) -> None:
    """Write some experiments into a new catalog at PATH."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened, Progress("exporting") as progress:
        exported = opened.export(path, progress=progress, **filters(opened))
    output.show(exported, ("experiment_id", "outcome", "rows"))


@click.command("backup")
@catalog_option
@click.argument("path", shell_complete=completion.files)
def backup_command(catalog: str | None, path: str) -> None:
    """Copy the catalog as it is now to PATH, while training writes, and prove it."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened, Progress("backing up", "steps") as progress:
        copy = opened.backup(path, progress=progress)
    say(f"{copy}: whole")


@click.command("upgrade")
@catalog_option
def upgrade_command(catalog: str | None) -> None:
    """Bring a catalog of an earlier release to this one's version.

    A verified backup is kept beside it.
    """
    from crackseg_tracker import Catalog

    kept = Catalog.upgrade(catalog)
    say("nothing to upgrade" if kept is None else f"upgraded; the backup is {kept}")


@click.command("sweep")
@catalog_option
@click.option("--also", multiple=True, metavar="ID", shell_complete=completion.ids, help="One elsewhere, known dead.")
@dry_run_option
@output_options
def sweep_command(catalog: str | None, also: tuple[str, ...], dry_run: bool, output: Output) -> None:
    """Mark as aborted the running experiments whose process is dead.

    From facts, not from clocks: a slow training is alive. One that ran on another host is left alone without --also.
    """
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        output.show(opened.sweep(dry_run, also=[opened.resolve(one) for one in also] or None))
