"""Whose token: given, by a command, or of somebody in development."""

from __future__ import annotations

import sys

import pytest

from intake_api.cli.cli_errors import CliError
from intake_api.cli.tokens import GivenToken, Rehearsed, token_of_command
from retention.domain.actor import OURS_ALONE, Role


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("engineer:alice", {"subject": "alice", "role": "CaseVault.SupportEngineer"}),
        ("operator:olga@contoso", {"subject": "olga", "role": "CaseVault.Operator", "directory": "contoso"}),
        ("partner:pat/oem", {"subject": "pat", "role": "CaseVault.PartnerEngineer", "partner": "oem"}),
        ("stamp:rack-1", {"subject": "rack-1", "role": "CaseVault.Stamp"}),
        ("case-system:crm", {"subject": "crm", "role": "CaseVault.CaseSystem"}),
    ],
)
def test_somebody_in_development_is_a_role_and_a_name(text: str, form: dict[str, str]) -> None:
    assert Rehearsed.parse(text).form() == form


@pytest.mark.parametrize(
    "text", ["alice", "engineer:", "boss:alice", "clock:x", "operator:olga@", "partner:pat/", ":x"]
)
def test_nobody_else_can_be_rehearsed(text: str) -> None:
    with pytest.raises(CliError, match="--as"):
        Rehearsed.parse(text)


def test_every_role_but_the_clocks_can_be_rehearsed() -> None:
    words = ("administrator", "operator", "stamp", "case-system", "engineer", "partner", "auditor")
    assert {Rehearsed.parse(f"{word}:x").role for word in words} == set(Role) - OURS_ALONE


def test_a_command_prints_a_token() -> None:
    assert token_of_command(f"{sys.executable} -c \"print('  tok.en  ')\"") == "tok.en"


SILENT, FAILING = f"{sys.executable} -c 1", f"{sys.executable} -c exit(3)"


@pytest.mark.parametrize("command", ["", "no-such-program-here", FAILING, SILENT, "'"])
def test_a_command_that_gives_none_is_said_to(command: str) -> None:
    with pytest.raises(CliError, match="token command"):
        token_of_command(command)


@pytest.mark.parametrize("text", ["", " ", "two words", "ä", "line\nbreak"])
def test_a_given_token_is_one_word_and_is_not_repeated_in_the_error(text: str) -> None:
    with pytest.raises(CliError, match="is empty or has spaces") as caught:
        GivenToken(text)
    assert len(text) < 2 or text not in str(caught.value)
