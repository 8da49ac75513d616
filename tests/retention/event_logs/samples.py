"""An event log that Windows wrote, out of a package's tests: downloaded once, by its hash."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from functools import cache
from pathlib import Path

from tests.servers.installing import SECONDS, install_once, missing

_LIST = Path(__file__).with_name("samples.txt")
_FOLDER = Path(__file__).with_name(".samples")
_INSIDE = "tests/_data/TestLogX.evtx"
RECORDS = 5


@cache
def real_log() -> bytes:
    """Its bytes: a chunk with five records."""
    _FOLDER.mkdir(exist_ok=True)
    install_once(_LIST, _FOLDER, _download)
    (archive,) = _FOLDER.glob("*.tar.gz")
    with tarfile.open(archive) as unpacked:
        name = next(one for one in unpacked.getnames() if one.endswith(_INSIDE))
        file = unpacked.extractfile(name)
        assert file is not None
        return file.read()


def _download() -> None:
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
    done = subprocess.run(
        (*pip, "--requirement", str(_LIST), "--dest", str(_FOLDER)),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        missing(f"the event log of {_LIST.name} cannot be downloaded: {done.stderr[-500:]}")
