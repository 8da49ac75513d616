"""What the Containerfile says agrees with the repository and the program."""

from __future__ import annotations

import re
import subprocess
import tomllib

import click
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from intake_api.cli.main import casevault
from tests.deploy.containerfile import CONTAINERFILE, ROOT, sent, sent_files, stages
from tests.deploy.site import Site

STAGES = stages(CONTAINERFILE.read_text())
BUILD, FINAL = STAGES[0], STAGES[-1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()


def pins(lock: str) -> set[str]:
    """Names and versions in a lock file, as an installer writes them."""
    text = (ROOT / "docs/deploy" / lock).read_text()
    return {
        f"{name.lower()}=={version}" for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.M)
    }


def test_it_builds_in_one_stage_and_ships_another() -> None:
    assert [stage.name for stage in STAGES] == ["build", "final"]
    assert FINAL.copies == [("build", ["/opt/casevault"], "/opt/casevault")]


def test_the_base_is_pinned_to_the_python_that_is_tested() -> None:
    bases = {stage.base for stage in STAGES}
    python = PROJECT["tool"]["mypy"]["python_version"]
    (base,) = bases
    assert re.fullmatch(rf"python:{re.escape(python)}\.\d+-slim-[a-z]+", base)


def test_it_does_not_run_as_root() -> None:
    user, group = FINAL.last("USER").split(":")
    assert int(user) >= 10000
    assert int(group) >= 10000
    order = [word for word, _ in FINAL.steps]
    assert "RUN" not in order[order.index("USER") :]


def test_what_it_copies_is_sent_and_what_is_sent_is_copied() -> None:
    copied = [source for stage, sources, _ in BUILD.copies for source in sources if stage is None]
    files = sent_files()
    for source in copied:
        assert any(name == source or name.startswith(f"{source}/") for name in files), source
    stray = {n for n in files if not any(n == s or n.startswith(f"{s}/") for s in copied)}
    assert stray == set()


def test_nothing_that_could_be_secret_is_sent() -> None:
    candidates = [
        "casevault-state/log-signing-key",
        ".git/config",
        ".venv/x",
        "local.settings.json",
        "audit/x.py",
    ]
    candidates += [
        "audit/__pycache__/x.pyc",
        "docs/deploy/main.bicepparam",
        "tests/x.py",
        "docs/deploy/x.lock",
    ]
    assert sent(candidates, (ROOT / ".dockerignore").read_text()) == {"audit/x.py", "docs/deploy/x.lock"}


def test_it_needs_only_packages_that_do_not_belong_to_the_other_door() -> None:
    packages = {name.split("/")[0] for name in sent_files() if name.endswith(".py")}
    assert packages == {"audit", "retention", "intake_api"}


def test_the_entry_point_is_a_command_that_the_project_installs() -> None:
    (command,) = FINAL.command("ENTRYPOINT")
    assert PROJECT["project"]["scripts"][command] == "intake_api.cli.main:main"
    assert FINAL.command("CMD")[0] in casevault.list_commands(click.Context(casevault))


def test_ports_folders_and_signals_are_those_of_the_deployment(site: Site) -> None:
    ingress = site.api.properties["configuration"]["ingress"]
    ports = [ingress["targetPort"], *(more["targetPort"] for more in ingress["additionalPortMappings"])]
    assert [int(port) for port in FINAL.last("EXPOSE").split()] == ports
    state = site.api_settings["CASEVAULT_STATE"]
    assert {FINAL.last("VOLUME"), FINAL.last("WORKDIR"), FINAL.environment["CASEVAULT_STATE"]} == {state}
    assert FINAL.last("STOPSIGNAL") == "SIGTERM"


def test_it_holds_no_secret() -> None:
    for stage in STAGES:
        assert set(stage.environment) <= {
            *("PATH", "CASEVAULT_STATE", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
            *("PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"),
        }
        assert "ARG" not in {word for word, _ in stage.steps}


@pytest.mark.parametrize("lock", ["requirements.lock", "build.lock"])
def test_every_package_of_a_lock_has_its_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[\w.-]+==)", (ROOT / "docs/deploy" / lock).read_text(), flags=re.M)[1:]
    assert entries
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_locks_have_the_pins_of_the_project() -> None:
    """After a change of pins: run again what stands at the top of the lock."""
    told = [Requirement(pin) for pin in PROJECT["project"]["dependencies"]]
    here = {"python_version": "3.11"}  # the image's
    wanted = {
        f"{canonicalize_name(one.name)}{one.specifier}"
        for one in told
        if one.marker is None or one.marker.evaluate(here)
    }
    assert wanted <= pins("requirements.lock")
    assert pins("build.lock") == set(PROJECT["build-system"]["requires"])


def test_every_installation_checks_hashes_or_installs_what_was_built_here() -> None:
    for word, rest in (step for stage in STAGES for step in stage.steps):
        for command in rest.split("&&") if word == "RUN" else ():
            if "pip install" in command:
                assert "--require-hashes" in command or "--no-index" in command, command
            if "pip wheel" in command:
                assert "--no-deps --no-build-isolation" in command
