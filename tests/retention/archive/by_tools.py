"""Archives as their own tools make them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path


def run(tool: str, *arguments: str, given: bytes | None = None, cwd: Path | None = None) -> bytes:
    """What a tool writes to its standard output."""
    path = shutil.which(tool)
    assert path is not None, f"{tool} is not installed: see .ci/run"
    return subprocess.run([path, *arguments], input=given, stdout=subprocess.PIPE, cwd=cwd, check=True).stdout


def archive(tool: list[str], files: Mapping[str, bytes], name: str) -> bytes:
    """An archive `name` of these files, in their order, by a tool that takes its name and theirs. A name that ends in a
    slash is a folder's."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "in")
        for path, data in files.items():
            at = folder / path
            at.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith("/"):
                at.mkdir(exist_ok=True)
            else:
                at.write_bytes(data)
        run(*tool, str(Path(place, name)), *files, cwd=folder)
        return Path(place, name).read_bytes()


def seven_zip(files: Mapping[str, bytes], *options: str) -> bytes:
    """A 7z."""
    return archive(["7z", "a", "-bd", "-snl", *options], files, "made.7z")
