"""docs/cli.md is what the program says."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from intake_api.cli.main import casevault, run
from intake_api.cli.options import Command
from intake_api.cli.reference import reference

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "cli.md"


def _commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += _commands(command, (*path, name))
    return found


ALL = _commands(casevault)
LEAVES = [(path, command) for path, command in ALL if not isinstance(command, click.Group)]


def test_the_reference_is_up_to_date() -> None:
    assert DOCUMENT.read_text("utf-8") == reference(), "run: python -m intake_api.cli.reference"


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_every_command_explains_itself_with_examples_that_are_its_own(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert isinstance(command, Command) and command.help
    assert command.examples
    assert all(" ".join(("casevault", *path)) in example for example in command.examples)
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    undocumented = {"form"}  # --format lists its own choices
    assert [option.name for option in options if not option.help and option.name not in undocumented] == []


@pytest.mark.parametrize("path", [path for path, _ in ALL], ids=[" ".join(path) for path, _ in ALL])
def test_help_can_be_asked_for_everywhere(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == 0
    assert f"Usage: casevault {' '.join(path)}" in capsys.readouterr().out


DATA = {"serve"}
"""It answers nobody: its log is JSON already."""


def test_every_command_with_an_answer_gives_it_as_json_too() -> None:
    without = {path[-1] for path, command in LEAVES if not any(p.name == "as_json" for p in command.params)}
    assert without <= DATA


def test_the_list_of_commands_says_of_each_what_the_command_says_itself() -> None:
    context = click.Context(casevault)
    entries = [entry for entries in casevault.sections.values() for entry in entries]
    assert [entry.name for entry in entries] == casevault.list_commands(context)
    for entry in entries:
        command = casevault.get_command(context, entry.name)
        assert command is not None and command.name == entry.name
        assert command.get_short_help_str(1000) == entry.help
