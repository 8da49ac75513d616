"""Clients that are not Python: installed once, from lock files and from Debian, and run as their users run them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
AZCOPY = HERE / "node_modules" / "@azure-tools" / "azcopy-linux" / "dist" / "bin" / "azcopy_linux_amd64"
LIBRARIES = HERE / "node_modules" / ".libsecret"


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@cache
def install() -> None:
    """The npm packages of package.json, as locked."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        _missing("node and npm are needed to run Azure's clients")
        return
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]["@azure/storage-blob"]
    installed = HERE / "node_modules" / "@azure" / "storage-blob" / "package.json"
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once install once
        if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
            subprocess.run([npm, "ci"], cwd=HERE, check=True, capture_output=True, timeout=240)
        AZCOPY.chmod(0o755)


@cache
def libraries() -> dict[str, str]:
    """Where AzCopy finds libsecret: the system's, or Debian's package unpacked beside it."""
    if find_library("secret-1"):
        return {}
    if not LIBRARIES.exists():
        fresh = LIBRARIES.with_suffix(".new")
        fresh.mkdir(exist_ok=True)
        got = subprocess.run(
            ["apt-get", "download", "libsecret-1-0"], cwd=fresh, capture_output=True, check=False
        )
        packages = list(fresh.glob("libsecret-1-0_*.deb"))
        if not packages:
            _missing(f"libsecret is needed to run AzCopy: {got.stderr.decode()[-200:]}")
        for package in packages:
            subprocess.run(["dpkg-deb", "-x", package, fresh], check=True)
        fresh.rename(LIBRARIES)
    return {"LD_LIBRARY_PATH": ":".join(str(path.parent) for path in LIBRARIES.rglob("libsecret-1.so.0"))}


def node(authority: str, **asked: Any) -> dict[str, Any]:
    """One scenario of send.mjs."""
    install()
    done = subprocess.run(
        ["node", "send.mjs", json.dumps(asked)],
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": authority},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def azcopy(authority: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """AzCopy, its plans and logs in `folder`."""
    install()
    kept = {"AZCOPY_LOG_LOCATION": str(folder / "log"), "AZCOPY_JOB_PLAN_LOCATION": str(folder / "plan")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "SSL_CERT_FILE": authority}
    return subprocess.run(
        [AZCOPY, *arguments, "--output-type=text", "--skip-version-check"],
        env={**environment, **kept, **libraries(), "AZCOPY_DISABLE_SYSLOG": "true"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
