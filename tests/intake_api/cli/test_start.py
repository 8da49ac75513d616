"""The command line starts without the service: by what is imported, not by the time that it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from intake_api.cli import cli_errors

SERVICE = (
    "sqlalchemy",
    "flask",
    "azure",
    "granian",
    "boto3",
    "botocore",
    "alembic",
    "opentelemetry",
    "marshmallow",
)
"""What the service is made of, and its callers are not."""
TRANSFER = ("requests", "cryptography", "rich")


def imported(*words: str) -> set[str]:
    """The top-level packages that one command line has imported when it ends."""
    program = (
        "import json, sys\n"
        "from intake_api.cli.main import run\n"
        "run(sys.argv[1:])\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["sned", "logs.zip"], []], ids=" ".join)
def test_what_needs_no_command_imports_neither_the_service_nor_a_client(words: list[str]) -> None:
    assert imported(*words) & {*SERVICE, *TRANSFER, "retention", "functions"} == set()


@pytest.mark.parametrize(
    "words",
    [
        ["send", "no-such-file.zip", "--case", "1", "--token", "x"],
        ["grant", "1", "--reason", "looking at node 7", "--server", "https://127.0.0.1:1", "--token", "x"],
        ["fetch", "bun_x", "--server", "https://127.0.0.1:1", "--token", "x"],
        ["links", "list", "--help"],
    ],
    ids=lambda words: words[0],
)
def test_a_client_s_command_imports_no_part_of_the_service(words: list[str]) -> None:
    assert imported(*words) & set(SERVICE) == set()


@pytest.mark.parametrize(("module", "names"), cli_errors._MENDABLE.items())
def test_an_error_that_is_told_by_its_name_is_one(module: str, names: tuple[str, ...]) -> None:
    named = [getattr(import_module(module), name) for name in names]
    assert all(issubclass(one, Exception) for one in named)
    assert {*named} <= {*cli_errors.mendable()}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_completion(shell: str) -> None:
    assert "casevault" in completed(f"{shell}_source", "")


@pytest.mark.parametrize(
    ("typed", "offered"), [("casevault se", "send"), ("casevault send --lim", "--limit-rate")]
)
def test_commands_and_options_are_completed(typed: str, offered: str) -> None:
    assert f"plain,{offered}" in completed("bash_complete", typed).splitlines()


def completed(instruction: str, typed: str) -> str:
    asked = {"_CASEVAULT_COMPLETE": instruction, "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    command = [Path(sys.executable).with_name("casevault")]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asked}).stdout
