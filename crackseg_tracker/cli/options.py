"""The options that commands share, each said once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import click

from crackseg_tracker.cli import completion
from crackseg_tracker.cli.output import FORMATS, Output
from crackseg_tracker.schema import STATUSES

if TYPE_CHECKING:
    from crackseg_tracker import Catalog
    from crackseg_tracker.filters import ExperimentFilters

Command = TypeVar("Command", bound=Callable[..., Any])


class Filters(NamedTuple):
    """The filters that were typed; called with an open catalog, they are what its questions take."""

    typed: dict[str, Any]

    def __call__(self, catalog: Catalog) -> ExperimentFilters:
        """Read them; which names are params and which are metrics, the catalog knows."""
        from crackseg_tracker.cli import parsing

        given: dict[str, Any] = {}
        for name, value in self.typed.items():
            if value is None or value == ():
                continue
            if name == "where":
                given[name] = [parsing.condition(text, catalog) for text in value]
            elif name in ("created_since", "created_until"):
                given[name] = parsing.moment(value)
            else:
                given[name] = value if isinstance(value, str) else list(value)
        return cast("ExperimentFilters", given)


def catalog_option(command: Command) -> Command:
    """Give a command ``--catalog``."""
    return click.option(
        "--catalog",
        metavar="PATH",
        shell_complete=completion.files,
        help="The catalog; default: see the command where.",
    )(command)


def experiment_argument(name: str = "experiment", *, many: bool = False) -> Callable[[Command], Command]:
    """Give a command the argument ID, or several."""
    return click.argument(
        name, metavar="ID..." if many else "ID", nargs=-1 if many else 1, required=True, shell_complete=completion.ids
    )


def metric_argument(name: str = "metric", *, many: bool = False) -> Callable[[Command], Command]:
    """Give a command the argument METRIC, or several."""
    return click.argument(
        name,
        metavar="METRIC..." if many else "METRIC",
        nargs=-1 if many else 1,
        required=True,
        shell_complete=completion.metrics,
    )


mode_option = click.option(
    "--mode", type=click.Choice(["max", "min"]), help="Which is better; default: as defined for the metric."
)
artifact_type_option = click.option(
    "--type",
    "artifact_type",
    multiple=True,
    metavar="TYPE",
    shell_complete=completion.artifact_types,
    help="Of a type: checkpoint, metrics, visualization, ...",
)
artifact_id_option = click.option(
    "--id", "artifact_id", multiple=True, metavar="PATTERN", help="By id; * stands for any characters."
)


def listing_options(limit: int | None = None, *, offset: bool = False) -> Callable[[Command], Command]:
    """Give a command that lists ``--sort`` and ``--limit`` beside the `output_options`, all in ``output``.

    Args:
        limit: How many rows there are by default; None is all.
        offset: Give it ``--offset`` too.
    """

    def decorate(command: Command) -> Command:
        @output_options
        @click.option(
            "--sort", multiple=True, metavar="COLUMN", help="By a column; -value: descending. Again: then by."
        )
        @limit_options(limit)
        @wraps(command)
        def listing(
            *args: Any, output: Output, sort: tuple[str, ...], limit: int | None, offset: int = 0, **kwargs: Any
        ) -> Any:
            arranged = output._replace(sort=sort, limit=limit or (None if default else limit), offset=offset)
            return command(*args, output=arranged, **kwargs)

        decorated: Any = offset_option(listing) if offset else listing
        return cast("Command", decorated)

    default = limit
    return decorate


def output_options(command: Command) -> Command:
    """Give a command ``--format`` and ``--columns``, as the one argument ``output``."""

    @click.option("--format", "format_", type=click.Choice(FORMATS), help="Default: table on a terminal, else tsv.")
    @click.option(
        "--columns",
        metavar="A,B",
        help="Only these, in this order; best_metrics.iou is one of a mapping; all: every column, in a table too.",
    )
    @wraps(command)
    def with_output(*args: Any, format_: str | None, columns: str | None, **kwargs: Any) -> Any:
        chosen = tuple(name.strip() for name in columns.split(",")) if columns is not None else ()
        return command(*args, output=Output(format_, chosen), **kwargs)

    return cast("Command", with_output)


#: The filters of `Catalog.experiments`, by what its arguments are called.
_FILTER_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "project": click.option(
        "--project", multiple=True, metavar="NAME", shell_complete=completion.projects, help="In a project."
    ),
    "status": click.option(
        "--status", multiple=True, type=click.Choice(STATUSES), help="With a status; given more than once: any of them."
    ),
    "tags": click.option(
        "--tag", "tags", multiple=True, metavar="TAG", shell_complete=completion.tags, help="With all tags."
    ),
    "any_tags": click.option(
        "--any-tag", "any_tags", multiple=True, metavar="TAG", shell_complete=completion.tags, help="With any of them."
    ),
    "no_tags": click.option(
        "--no-tag", "no_tags", multiple=True, metavar="TAG", shell_complete=completion.tags, help="With none of them."
    ),
    "name": click.option(
        "--name", multiple=True, metavar="PATTERN", help="By experiment name; * stands for any characters."
    ),
    "experiment_id": click.option(
        "--id", "experiment_id", multiple=True, metavar="PATTERN", help="By id; * stands for any characters."
    ),
    "group": click.option("--group", multiple=True, metavar="NAME", help="In a group."),
    "where": click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help='By a param or metric: "training.lr<0.01", "iou>=0.7" (its best), "loss.last<1"; with = != < <= > >=.',
    ),
    "text": click.option("--text", metavar="TEXT", help="With a text in the name, description, tags or error."),
    "created_since": click.option(
        "--since", "created_since", metavar="WHEN", help="Made since: 30m, 12h, 2d, 1w ago, or ISO 8601."
    ),
    "created_until": click.option("--until", "created_until", metavar="WHEN", help="Made until: likewise."),
    "git_commit": click.option(
        "--commit", "git_commit", multiple=True, metavar="SHA", help="At a git commit, or its beginning."
    ),
    "hostname": click.option("--host", "hostname", multiple=True, metavar="PATTERN", help="On a host."),
}


def filter_options(*without: str) -> Callable[[Command], Command]:
    """Give a command the filters of `Catalog.experiments`, but for some, as the one argument ``filters``."""
    names = [name for name in _FILTER_OPTIONS if name not in without]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_filters(*args: Any, **kwargs: Any) -> Any:
            typed = {name: kwargs.pop(name) for name in names}
            return command(*args, filters=Filters(typed), **kwargs)

        decorated: Any = with_filters
        for name in reversed(names):
            decorated = _FILTER_OPTIONS[name](decorated)
        return cast("Command", decorated)

    return decorate


def file_options(command: Command) -> Command:
    """Give a command ``-o FILE`` and ``--force``, as the one argument ``path``; an existing file is kept."""

    @click.option(
        "-o",
        "--output",
        "path",
        required=True,
        metavar="FILE",
        shell_complete=completion.files,
        help="The file to write.",
    )
    @click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
    @wraps(command)
    def with_file(*args: Any, path: str, force: bool, **kwargs: Any) -> Any:
        if os.path.lexists(path) and not force:
            raise click.UsageError(f"{path} exists; give --force to overwrite it")
        return command(*args, path=path, **kwargs)

    return cast("Command", with_file)


def group_choice(typed: tuple[str, ...]) -> str | list[str] | None:
    """Give ``--group-by`` as `Catalog.statistics` takes it: a name, which may be "config-without:...", or several."""
    names = list(typed)
    return names[0] if len(names) == 1 else names or None


def limit_options(default: int | None) -> Callable[[Command], Command]:
    """Give a command ``--limit``."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=default,
        metavar="N",
        help="At most so many." + (f" Default: {default}; 0: all." if default else ""),
    )


def sort_option(command: Command) -> Command:
    """Give a command that chooses experiments ``--sort``."""
    return click.option(
        "--sort",
        multiple=True,
        metavar="FIELD",
        help="By a column, metric or param; -iou: descending. Given more than once: then by.",
    )(command)


def offset_option(command: Command) -> Command:
    """Give a command ``--offset``."""
    return click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Skip so many.")(command)
