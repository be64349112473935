"""The commands that change what is said of experiments, and the trash; the proof of the whole; completion scripts."""

from __future__ import annotations

import sys
from typing import Any

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.asking import Progress, confirm
from crackseg_tracker.cli.options import catalog_option, experiment_argument, output_options
from crackseg_tracker.cli.output import FOUND_PROBLEMS, Output, counted, say

yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be done.")


@click.command("tag")
@catalog_option
@experiment_argument()
@click.argument("tags", metavar="TAG...", nargs=-1, required=True, shell_complete=completion.tags)
def tag_command(catalog: str | None, experiment: str, tags: tuple[str, ...]) -> None:
    """Add tags to an experiment."""
    _set_tags(catalog, experiment, add=tags)


@click.command("untag")
@catalog_option
@experiment_argument()
@click.argument("tags", metavar="TAG...", nargs=-1, required=True, shell_complete=completion.tags)
def untag_command(catalog: str | None, experiment: str, tags: tuple[str, ...]) -> None:
    """Remove tags from an experiment."""
    _set_tags(catalog, experiment, remove=tags)


def _set_tags(catalog: str | None, experiment: str, **change: tuple[str, ...]) -> None:
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        experiment_id = opened.resolve(experiment)
        opened.set_tags(experiment_id, **change)
        say(f"{experiment_id}: {', '.join(opened.experiment(experiment_id).tags) or 'no tags'}")


@click.command("describe")
@catalog_option
@experiment_argument()
@click.argument("text")
def describe_command(catalog: str | None, experiment: str, text: str) -> None:
    """Replace the description of an experiment.

    TEXT may be - to read it from stdin.
    """
    from crackseg_tracker import Catalog

    description = sys.stdin.read() if text == "-" else text
    with Catalog(catalog) as opened:
        experiment_id = opened.resolve(experiment)
        opened.set_description(experiment_id, description)
    say(f"{experiment_id}: described")


@click.command("rename")
@catalog_option
@experiment_argument()
@click.argument("new_id", required=False)
@click.option("--name", metavar="NAME", help="Another name, which several experiments may share.")
def rename_command(catalog: str | None, experiment: str, new_id: str | None, name: str | None) -> None:
    """Give an experiment another id, another name, or both."""
    from crackseg_tracker import Catalog

    if new_id is None and name is None:
        raise click.UsageError("give a new id, --name, or both")
    with Catalog(catalog) as opened:
        experiment_id = opened.resolve(experiment)
        opened.rename(experiment_id, new_id, name)
    say(f"{experiment_id}: now {new_id or experiment_id}{f', {name}' if name else ''}")


@click.command("delete")
@catalog_option
@experiment_argument("experiments", many=True)
@click.option("--force", is_flag=True, help="Also what is running; it goes on recording, into the trash.")
@yes_option
@dry_run_option
@output_options
def delete_command(
    catalog: str | None, experiments: tuple[str, ...], force: bool, yes: bool, dry_run: bool, output: Output
) -> None:
    """Move experiments to the trash: out of every answer, and nothing is lost."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        ids = list(dict.fromkeys(opened.resolve(one) for one in experiments))
        meant = opened.experiments(experiment_id=ids).select("experiment_id", "experiment_name", "status", "created_at")
        if dry_run:
            output.show(meant)
            return
        confirm(f"Move {counted(len(meant))} to the trash?", meant, yes=yes)
        output.show(opened.delete(ids, force=force), ("experiment_id", "uid", "status", "deleted_at"))


@click.command("restore")
@catalog_option
@click.argument("experiments", metavar="ID...", nargs=-1, required=True, shell_complete=completion.trashed)
@click.option("--as", "as_id", metavar="ID", help="Under another id, where its own is taken.")
def restore_command(catalog: str | None, experiments: tuple[str, ...], as_id: str | None) -> None:
    """Take experiments out of the trash, by id or uid."""
    from crackseg_tracker import Catalog

    with Catalog(catalog) as opened:
        for experiment_id in opened.restore(list(experiments), as_id=as_id):
            say(f"{experiment_id}: restored")


@click.command("purge")
@catalog_option
@click.argument("experiments", metavar="[ID...]", nargs=-1, shell_complete=completion.trashed)
@click.option("--older-than", metavar="AGE", help="Only what was deleted so long ago: 12h, 30d, 8w.")
@click.option("--files", is_flag=True, help="The files of their artifacts too, inside the experiments' folders.")
@yes_option
@dry_run_option
@output_options
def purge_command(
    catalog: str | None,
    experiments: tuple[str, ...],
    older_than: str | None,
    files: bool,
    yes: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Remove what is in the trash for good."""
    from crackseg_tracker import Catalog
    from crackseg_tracker.cli.parsing import age

    chosen: Any = {
        "older_than": None if older_than is None else age(older_than),
        "files": files,
        "ids": list(experiments) or None,
    }
    selection = ("experiment_id", "deleted_at", "rows", "files", "size_bytes", "kept")
    with Catalog(catalog) as opened:
        planned = opened.purge(**chosen, dry_run=True)
        if dry_run or not planned:
            output.show(planned, selection)
            return
        confirm(f"Remove {counted(len(planned))} for good?", planned.select(*selection), yes=yes)
        with Progress("purging") as progress:
            purged = opened.purge(**chosen, dry_run=False, progress=progress)
        output.show(purged, selection)


@click.command("check")
@catalog_option
@click.pass_context
def check_command(ctx: click.Context, catalog: str | None) -> None:
    """Prove that the catalog is whole.

    Reads every row once. Problems are printed, a line for each, with what to do; exit code 3 says that there are some.
    """
    from crackseg_tracker import Catalog, settings
    from crackseg_tracker.errors import DamagedCatalogError, ForeignCatalogError
    from crackseg_tracker.formatting import neutral

    path = settings.locate(catalog).path
    try:
        with Catalog(path) as opened, Progress("checking", "proofs") as progress:
            problems = opened.check(progress=progress)
    except (DamagedCatalogError, ForeignCatalogError) as refusal:  # nothing else opens it: this tells what is wrong
        problems = [str(refusal)]
    say(f"{path}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
    for problem in problems:
        click.echo(neutral(problem))
    if problems:
        ctx.exit(FOUND_PROBLEMS)


@click.command("completion")
@click.argument("shell", type=click.Choice(list(completion.SCRIPTS)))
def completion_command(shell: str) -> None:
    r"""Print the completion script of a shell.

    \b
    bash: crackseg-tracker completion bash > ~/.local/share/bash-completion/completions/crackseg-tracker
    zsh:  crackseg-tracker completion zsh > "${fpath[1]}/_crackseg-tracker"
    fish: crackseg-tracker completion fish > ~/.config/fish/completions/crackseg-tracker.fish
    """
    click.echo(completion.SCRIPTS[shell])
