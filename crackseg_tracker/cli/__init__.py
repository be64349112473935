"""The command line: open a catalog, call the public API, print. No logic lives here only.

A command's module is imported when the command is called, and the catalog's only when it is opened: the help and the
completion of a word never wait for a database or a data frame.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from crackseg_tracker.errors import InvalidTypeError, InvalidValueError, TrackerError

PROGRAM = "crackseg-tracker"

#: The commands by what they are for: name -> module, and what the overview says (the first sentence of its help).
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "list": ("look", "List experiments."),
        "show": ("show", "Show all that is known of one experiment."),
        "best": ("look", "Rank experiments by their best value of a metric."),
        "leaderboard": ("look", "Rank experiments by the first METRIC, the others beside it."),
        "compare": ("compare", "Put experiments side by side: what differs in their params, and what came of it."),
        "diff": ("compare", "Tell what differs between two experiments: params, environment, packages, git."),
        "ablation": ("compare", "Find the experiments that differ from one in PARAM only."),
        "duplicates": ("compare", "Find completed experiments that are the same in config, code and data."),
        "stats": ("compare", "Sum up a metric over groups of experiments: n, mean, deviation, interval."),
        "test": ("compare", "Test whether the mean of a metric differs between group A and each B."),
        "artifacts": ("look", "List artifacts of all experiments."),
        "whence": ("look", "Tell which experiments made FILE, a path or a sha256, by its content."),
        "tags": ("look", "List tags with how often they are used."),
        "history": ("look", "Give the curves of metrics of one experiment."),
        "changes": ("look", "List who changed what, newest first."),
        "trash": ("look", "List what is in the trash, last deleted first."),
        "sql": ("look", "Ask in SQL, over the documented views; read-only."),
        "schema": ("look", "Describe the views that SQL is asked over, or one of them."),
        "where": ("look", "Tell which catalog this is, and which setting said so."),
    },
    "Do": {
        "tag": ("do", "Add tags to an experiment."),
        "untag": ("do", "Remove tags from an experiment."),
        "describe": ("do", "Replace the description of an experiment."),
        "rename": ("do", "Give an experiment another id, another name, or both."),
        "delete": ("do", "Move experiments to the trash: out of every answer, and nothing is lost."),
        "restore": ("do", "Take experiments out of the trash, by id or uid."),
        "purge": ("do", "Remove what is in the trash for good."),
        "relocate": ("keep", "Tell the catalog that a folder was moved from OLD to NEW."),
        "verify": ("keep", "Look whether the artifacts' files are still what was recorded."),
        "merge": ("keep", "Take in all experiments of the catalog OTHER; nothing here is overwritten."),
        "export": ("keep", "Write some experiments into a new catalog at PATH."),
        "backup": ("keep", "Copy the catalog as it is now to PATH, while training writes, and prove it."),
        "upgrade": ("keep", "Bring a catalog of an earlier release to this one's version."),
        "sweep": ("keep", "Mark as aborted the running experiments whose process is dead."),
        "check": ("do", "Prove that the catalog is whole."),
    },
    "Make": {
        "plot": ("plot", "Draw curves, bars, a scatter plot or a timeline into a file."),
        "report": ("report", "Write a report on experiments into one self-contained file."),
        "completion": ("do", "Print the completion script of a shell."),
    },
}

EXIT_CODES = "Exit codes: 0 done, 1 error, 2 usage, 3 found problems (check, verify, merge), 130 interrupted."


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, and whose errors are sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the overview."""
        return [name for commands in COMMANDS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        for commands in COMMANDS.values():
            if cmd_name in commands:
                module = import_module(f"{__name__}.{commands[cmd_name][0]}")
                return getattr(module, f"{cmd_name}_command")
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, or suggest the nearest."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"{PROGRAM} --help lists them"
            ctx.fail(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview without importing the commands."""
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, short) for name, (_, short) in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete a command's name without importing the commands."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=short)
            for commands in COMMANDS.values()
            for name, (_, short) in commands.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of ours or of the system is a sentence and an exit code, never a traceback."""
        try:
            return super().invoke(ctx)
        except (InvalidValueError, InvalidTypeError) as error:
            _fail(ctx, str(error), 2)
        except (TrackerError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and "crackseg_tracker[" not in str(error):
                raise
            _fail(ctx, str(error), 1)
        except OSError as error:
            if error.errno == errno.EPIPE:
                _forget_the_reader()
                ctx.exit(0)
            _fail(ctx, f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), 1)


def _fail(ctx: click.Context, message: str, code: int) -> NoReturn:
    from crackseg_tracker.formatting import neutral_lines

    click.echo(f"error: {neutral_lines(message)}", err=True)
    ctx.exit(code)


def _forget_the_reader() -> None:
    """Whoever read had enough: nothing to say, and nothing more to flush at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    PROGRAM,
    cls=LazyGroup,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(None, "--version", package_name="crackseg_tracker", prog_name=PROGRAM)
def cli() -> None:
    """Ask and keep a catalog of experiments.

    Data goes to stdout, messages to stderr; a terminal gets tables, a pipe gets TSV. An experiment ID may be the
    beginning of one, @latest, or @best:METRIC. The catalog is the one of --catalog, CRACKSEG_TRACKER_CATALOG,
    pyproject.toml or the user's data folder: see "where".
    """


def main() -> None:
    """Run the command line as a program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a terminal without Unicode shows what it cannot, and goes on
    try:
        code = cli.main(prog_name=PROGRAM, standalone_mode=False) or 0
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        _forget_the_reader()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
