"""The command line starts without the service: by what is imported, not by the time that it takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

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
