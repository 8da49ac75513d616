"""Uploads begun on this machine, so that the same command goes on where it was cut: after a crash, after a reboot.

One small file for each upload, mode 0600, named by a hash over what makes it the same upload: the service, the file
(path, size, time of change, hash of its first bytes), and what was announced. It holds the upload's address, no token.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intake_api.cli.errors import CliError

_FIRST_BYTES = 1 << 16


def file_identity(path: Path) -> str:
    """What tells this file, unchanged, from any other."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        head = hashlib.sha256(file.read(_FIRST_BYTES)).hexdigest()
    return f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{head}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """One upload's place in the folder."""

    file: Path

    @classmethod
    def place(cls, folder: Path, server: str, identity: str, announced: Mapping[str, str]) -> Remembered:
        text = json.dumps([server, identity, sorted(announced.items())])
        return cls(folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json")

    def location(self) -> str | None:
        """The address of the upload begun before, if any."""
        try:
            location = json.loads(self.file.read_text("utf-8"))["location"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            location = None
        return location if isinstance(location, str) and location.startswith("/uploads/") else None

    def keep(self, location: str) -> None:
        """Durable before the first byte is sent."""
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self.file.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                json.dump({"location": location}, out)
                out.flush()
                os.fsync(out.fileno())
            fresh.replace(self.file)
        except OSError as error:
            raise CliError(
                f"the upload cannot be remembered in {self.file.parent}: {error.strerror}"
            ) from None

    def forget(self) -> None:
        """The upload is done, or can never go on."""
        self.file.unlink(missing_ok=True)
