"""Uploads begun on this machine, so that the same command resumes them after a crash or a reboot.

One small file for each upload, mode 0600, named by a hash of what makes it the same upload: the service, the file
(path, size, time of change, hash of its first bytes), and the declared metadata. It says which way the upload goes and
where it is there; it holds no token and no upload link.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from audit.durable import replace_file
from intake_api.cli.cli_errors import CliError

UPLOADS = "/uploads/"
_FIRST_BYTES = 1 << 16


def file_identity(path: Path) -> str:
    """Return what tells this file, unchanged, from any other."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        head = hashlib.sha256(file.read(_FIRST_BYTES)).hexdigest()
    return f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{head}"


class Way(StrEnum):
    """The way an upload goes; it is resumed as it was begun."""

    TUS = "tus"
    PARALLEL = "parallel"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Begun:
    """A begun upload: its address at the service, or, through a link, its declared metadata."""

    way: Way
    locations: tuple[str, ...] = ()
    announced: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    """True when all bytes were sent and only joining the partial uploads remains."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Begun:
        """Read a file's content; ValueError, KeyError or TypeError when it holds something else."""
        locations = tuple(told["locations"])
        if not all(isinstance(one, str) and (not one or one.startswith(UPLOADS)) for one in locations):
            raise ValueError("not addresses of uploads")
        announced = {str(name): str(value) for name, value in told["announced"].items()}
        return cls(Way(told["way"]), locations, announced, told["whole"] is True)


@dataclass(frozen=True, slots=True)
class Remembered:
    """One upload's file in the folder."""

    file: Path

    @classmethod
    def place(cls, folder: Path, server: str, identity: str, announced: Mapping[str, str]) -> Remembered:
        text = json.dumps([server, identity, sorted(announced.items())])
        return cls(folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json")

    def begun(self) -> Begun | None:
        """Return the upload begun before, if any; a damaged file counts as none."""
        try:
            return Begun.read(json.loads(self.file.read_text("utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, begun: Begun) -> None:
        """Write the file durably, before the first byte is sent."""
        try:
            replace_file(self.file, json.dumps(asdict(begun)).encode())
        except OSError as error:
            raise CliError(
                f"the upload cannot be remembered: {self.file.parent} cannot be written: {error.strerror}"
            ) from None

    def forget(self) -> None:
        """Remove the file: the upload is done, or can never go on."""
        self.file.unlink(missing_ok=True)
