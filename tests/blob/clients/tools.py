"""Clients that are not Python: installed once, from lock files and from Debian, and run as their users run them."""

from __future__ import annotations

import json
import os
import subprocess
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import Any

from tests.servers.installing import install_once, missing, npm_packages

HERE = Path(__file__).parent
AZCOPY = HERE / "node_modules" / "@azure-tools" / "azcopy-linux" / "dist" / "bin" / "azcopy_linux_amd64"
LIBRARIES = HERE / "node_modules" / ".libsecret"


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
