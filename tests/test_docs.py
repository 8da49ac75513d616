"""The pages are part of the product: what they tell people to type is what the program takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from intake_api.api.problem_codes import PROBLEMS
from intake_api.cli.main import casevault

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        if page.name != "cli.md":  # generated from the program itself, with a test of its own
            lines = re.findall(r"^    (casevault [^\n]+)$", page.read_text(), flags=re.M)
            found += [(page.name, line) for line in lines]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_in_the_pages_is_one_that_the_program_takes(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(casevault, info_name="casevault")
    command: click.Command = casevault
    while isinstance(command, click.Group):
        name, command_or_none, words = command.resolve_command(context, words)
        assert command_or_none is not None, f"{page}: {line}"
        command = command_or_none
        context = click.Context(command, info_name=name, parent=context)
    files = {"logs.zip", "./collected-folder", "receipt.json", "keys.json", "kept-in-march.txt"}
    for parameter in command.params:  # the pages name files that are not here
        if isinstance(parameter.type, click.Path) and files & set(words):
            monkeypatch.setattr(parameter.type, "exists", False)
    command.make_context(command.name, list(words), parent=context.parent)


def test_the_readme_has_its_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    first = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/casevault demo"
    assert f"    {first}\n" in readme
    assert "    .ci/test\n" in readme
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("\n.ci/test")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_folder_that_a_page_names_is_there(page: Path) -> None:
    for name in re.findall(
        r"`((?:tests|retention|audit|intake_api|functions|docs)/[\w./-]*)`", page.read_text()
    ):
        assert (ROOT / name).exists(), name


def test_a_problem_code_in_the_pages_is_one_that_the_service_answers() -> None:
    named = re.findall(r"\b4\d\d `([a-z-]+)`", "".join(page.read_text() for page in PAGES))
    assert named, "the pages name at least one"
    assert set(named) <= set(PROBLEMS)


@pytest.mark.parametrize("kind", ["retention/config.py", "intake_api/config.py", "functions/config.py"])
def test_every_variable_that_is_read_is_explained_where_it_is_read(kind: str) -> None:
    text = (ROOT / kind).read_text()
    documentation = text.split('"""')[1]
    for name in set(re.findall(r"\"(CASEVAULT_[A-Z_]+)\"", text)):
        assert name in documentation, name


def test_nothing_that_is_committed_names_a_place_it_was_made_at() -> None:
    forbidden = [b"/" + b"work/", b"registry." + b"npmjs.org", b"pypi" + b".org", b"pythonhosted" + b".org"]
    for name in TRACKED:
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert not any(word in content for word in forbidden), name
