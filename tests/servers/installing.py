"""Other people's programs for tests, as their registries hand them out: installed once, from lock files.

What is installed stays for the next run, and is installed anew when its lock file changes; two runs at once do it once.
On a build machine (CI set) a missing tool is an error; elsewhere the tests that need it are skipped with the reason.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

SECONDS = 280


def missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def npm_packages(folder: Path) -> Path:
    """The packages of the folder's package-lock.json; where they are."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        missing(f"node and npm are needed to run what {folder.name} asks for")
    modules = folder / "node_modules"
    install_once(
        folder / "package-lock.json",
        modules,
        lambda: _run(npm, "ci", in_folder=folder),
    )
    return modules


def pip_packages(folder: Path) -> Path:
    """The packages of the folder's requirements.txt, in a virtual environment of their own; where its programs are.

    The list is whole: nothing is installed that it does not name, whatever a package asks for.
    """
    environment = folder / ".venv"

    def install() -> None:
        _run(sys.executable, "-m", "venv", "--clear", str(environment), in_folder=folder)
        pip = (str(environment / "bin" / "pip"), "install", "--quiet", "--no-deps", "--no-compile")
        _run(*pip, "--requirement", "requirements.txt", in_folder=folder)

    install_once(folder / "requirements.txt", environment, install)
    return environment / "bin"


def install_once(listed: Path, into: Path, install: Callable[[], object]) -> None:
    """Run `install` unless what `listed` says now is what is installed in `into`."""
    mark = into / ".installed"
    with listed.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = listed.read_text()
        if not mark.exists() or mark.read_text() != wanted:
            install()
            mark.write_text(wanted)


def _run(*command: str, in_folder: Path) -> None:
    done = subprocess.run(
        command, cwd=in_folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
