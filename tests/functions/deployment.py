"""The files that a deployment takes: the repository without what .funcignore names.

A pattern of .funcignore is a plain name or a wildcard without a slash, and stands for a file or folder of that name at
any depth: the part of the syntax that every reader of it agrees on.
"""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def patterns() -> list[str]:
    lines = (ROOT / ".funcignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_ignored(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns())


def deploy(to: Path) -> Path:
    """A copy of what is deployed; the app root."""
    shutil.copytree(ROOT, to, ignore=lambda _folder, names: {name for name in names if is_ignored(name)})
    return to
