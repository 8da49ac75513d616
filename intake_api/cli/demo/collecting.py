"""A collection as a stamp would make it, of this machine's own logs and inventory: real bytes, one folder a role.

Logs and inventory are compressed. What they lack in size is made up with real content found on any machine: the files
of the running Python, stored uncompressed; and, where even that is too little, the same logs again. Only what the user
is allowed to read is taken. The bundle stays on this machine.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path

from intake_api.cli.transfer.source import add_file

_PROC = (
    "cpuinfo",
    "meminfo",
    "mounts",
    "version",
    "cmdline",
    "modules",
    "partitions",
    "diskstats",
    "loadavg",
    "stat",
    "vmstat",
    "net/dev",
)
_UPDATES = ("dpkg.log", "apt/", "alternatives.log", "yum.log", "dnf", "pacman.log")
_PYTHON = (".py", ".so", ".txt", ".pem", ".dat")
MARKER_FILE = "Inventory/collection.txt"
PROBE_FILE = "Hardware/proc/meminfo"
LARGEST_FILE = 64 << 20


@dataclass(slots=True)
class Collected:
    """The zip, what went into it (bytes by kind), and a marker that it holds in the clear."""

    path: Path
    marker: bytes
    files: int = 0
    own: int = 0
    python: int = 0
    repeated: int = 0
    roles: list[str] = field(default_factory=list)


def collect(target: Path, wanted: int) -> Collected:
    """Make the bundle from `wanted` bytes of input or a little more."""
    found = Collected(target, f"casevault-demo-{secrets.token_hex(16)}".encode())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        inventory = {**_inventory(), MARKER_FILE: found.marker + b"\n"}
        for name, text in inventory.items():
            # The marker is stored uncompressed, so that a disk can be searched for it.
            stored = name == MARKER_FILE
            archive.writestr(name, text, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
            found.own += len(text)
        found.files += len(inventory)
        logs = list(_logs())
        for name, path in logs:
            if found.own < wanted:
                found.own += _add(archive, path, name, zipfile.ZIP_DEFLATED, found)
        for name, path in _python_files():
            if found.own + found.python >= wanted:
                break
            found.python += _add(archive, path, name, zipfile.ZIP_STORED, found)
        _repeat(archive, logs, wanted - found.own - found.python, found)
        found.roles = sorted({name.partition("/")[0] for name in archive.namelist()})
    return found


def _repeat(archive: zipfile.ZipFile, logs: list[tuple[str, Path]], lacking: int, found: Collected) -> None:
    """Add the same logs again, in rounds, until the size is reached."""
    number = 1
    while lacking > found.repeated:
        before, number = found.repeated, number + 1
        for name, path in logs:
            if found.repeated < lacking:
                found.repeated += _add(archive, path, _in_round(name, number), zipfile.ZIP_STORED, found)
        if found.repeated == before:  # this machine has no logs at all
            return


def _in_round(name: str, number: int) -> str:
    role, _, rest = name.partition("/")
    return f"{role}/round-{number}/{rest}"


def _add(archive: zipfile.ZipFile, path: Path, name: str, compression: int, found: Collected) -> int:
    try:
        size = add_file(archive, path, name, compression)
    except OSError:
        return 0  # not readable by this user, or gone meanwhile
    found.files += 1
    return size


def _logs() -> Iterator[tuple[str, Path]]:
    """Yield the readable files under /var/log, with their role: updates apart from the host's own."""
    root = Path("/var/log")
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        yield f"{'Updates' if name.startswith(_UPDATES) else 'Host'}/{name}", path


def _python_files() -> Iterator[tuple[str, Path]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if path.suffix in _PYTHON and not name.startswith("site-packages/"):
            yield f"Software/python/{name}", path


def _files(root: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(here, name)
            if path.is_file() and not path.is_symlink() and 0 < path.stat().st_size <= LARGEST_FILE:
                yield path


def _inventory() -> dict[str, bytes]:
    """Describe this machine: hardware, kernel log, platform, installed Python packages."""
    packages = sorted(f"{each.metadata['Name']}=={each.version}" for each in distributions())
    told = {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "python": sys.version,
        "processors": os.cpu_count(),
    }
    found = {
        "Inventory/platform.json": json.dumps(told, indent=2).encode(),
        "Inventory/python-packages.txt": "\n".join(packages).encode(),
        "Kernel/dmesg.log": _kernel_log(),
    }
    for name in _PROC:
        try:
            found[f"Hardware/proc/{name}"] = Path("/proc", name).read_bytes()
        except OSError:
            continue
    found.setdefault(PROBE_FILE, b"this machine has no /proc/meminfo\n")
    return {name: text for name, text in found.items() if text}


def _kernel_log() -> bytes:
    try:
        return subprocess.run(["dmesg"], capture_output=True, timeout=10, check=True).stdout  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return b""  # not readable by this user
