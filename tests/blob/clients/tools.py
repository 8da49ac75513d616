"""Clients that are programs of their own: installed once, from lock files and from Debian, and run as their users run
them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Any

from tests.servers.installing import install_once, missing, npm_packages, pip_packages

HERE = Path(__file__).parent
AZCOPY = HERE / "node_modules" / "@azure-tools" / "azcopy-linux" / "dist" / "bin" / "azcopy_linux_amd64"
LIBRARIES = HERE / "node_modules" / ".libsecret"
AZ = HERE / "azure_cli"
Done = subprocess.CompletedProcess[str]


@cache
def install() -> None:
    """The npm packages of package.json, as locked."""
    npm_packages(HERE)
    AZCOPY.chmod(0o755)


@cache
def libraries() -> dict[str, str]:
    """Where AzCopy finds libsecret: the system's, or Debian's package unpacked beside it."""
    if find_library("secret-1"):
        return {}
    install_once(HERE / "package-lock.json", LIBRARIES, _unpack_libsecret)
    return {"LD_LIBRARY_PATH": ":".join(str(path.parent) for path in LIBRARIES.rglob("libsecret-1.so.0"))}


def _unpack_libsecret() -> None:
    LIBRARIES.mkdir(exist_ok=True)
    got = subprocess.run(
        ["apt-get", "download", "libsecret-1-0"], cwd=LIBRARIES, capture_output=True, check=False
    )
    packages = list(LIBRARIES.glob("libsecret-1-0_*.deb"))
    if not packages:
        missing(f"libsecret is needed to run AzCopy: {got.stderr.decode()[-200:]}")
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, LIBRARIES], check=True)


def node(authority: str, **task: Any) -> dict[str, Any]:
    """One action of send.mjs."""
    install()
    done = _run(["node", "send.mjs", json.dumps(task)], {"NODE_EXTRA_CA_CERTS": authority}, cwd=HERE)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def azcopy_command(authority: str, folder: Path, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """A command of AzCopy and its environment; its plans and logs in `folder`."""
    install()
    environ = {"HOME": str(folder), "SSL_CERT_FILE": authority, "AZCOPY_DISABLE_SYSLOG": "true"}
    environ |= {"AZCOPY_LOG_LOCATION": str(folder / "log"), "AZCOPY_JOB_PLAN_LOCATION": str(folder / "plan")}
    return [str(AZCOPY), *arguments, "--output-type=text", "--skip-version-check"], environ | libraries()


def azcopy(authority: str, folder: Path, *arguments: str) -> Done:
    return _run(*azcopy_command(authority, folder, *arguments))


def az(authority: str, *arguments: str) -> Done:
    """The Azure CLI. Its configuration stays with it: it keeps an index of its commands there."""
    programs = pip_packages(AZ)
    environ = {"AZURE_CONFIG_DIR": str(programs.parent / "configuration"), "REQUESTS_CA_BUNDLE": authority}
    environ |= {"AZURE_CORE_COLLECT_TELEMETRY": "no", "AZURE_CORE_NO_COLOR": "yes"}
    return _run([str(programs / "az"), *arguments, "--only-show-errors"], environ)


def _run(command: list[str], environ: Mapping[str, str], cwd: Path | None = None) -> Done:
    return subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
