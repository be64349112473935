"""What is written about the commands, by themselves and in the README."""

import doctest
import re
import shlex
from pathlib import Path

import click
import pytest
from write_contract import README

from command_line.calling import run
from crackseg_tracker.cli import COMMANDS, cli


def test_the_overview_says_what_each_command_says() -> None:
    context = click.Context(cli)
    for commands in COMMANDS.values():
        for name, (_, short) in commands.items():
            command = cli.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert (command.help or "").split("\n\n")[0].replace("\n", " ").strip() == short
            assert len(short) <= 80
            for parameter in command.params:
                assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)


def command_table() -> str:
    """The README's table of commands, from the commands."""
    context = click.Context(cli)
    rows = ["| command | |", "|---|---|"]
    for commands in COMMANDS.values():
        for name, (_, short) in commands.items():
            command = cli.get_command(context, name)
            assert command is not None
            pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
            rows.append(f"| `{' '.join([name, *pieces])}` | {short} |".replace("|]", "\\|]").replace("|z", "\\|z"))
    return "\n".join(rows)


def test_every_command_is_in_the_readme() -> None:
    shown = re.search(
        r"<!-- commands -->\n(.*?)\n<!-- end of commands -->", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown, "the README has no table of commands"
    assert shown[1] == command_table()


def test_every_command_of_the_readme_runs_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text(encoding="utf-8")
    doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)  # makes the catalog
    monkeypatch.setenv("CRACKSEG_TRACKER_CATALOG", "outputs/catalog/catalog.db")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("crackseg_tracker.cli.output.on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    calls = [call for block in blocks for call in block.split("$ ")[1:] if call.startswith("crackseg-tracker ")]
    assert len(calls) > 5
    for call in calls:
        command, _, shown = call.partition("\n")
        output = run(*shlex.split(command)[1:]).output
        assert output.replace(f"{Path.cwd()}/", "").split() == shown.split(), command
