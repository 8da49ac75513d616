"""What is sent or saved: one file on this machine, the name it gets, and what tells it from others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from intake_api.cli.errors import CliError
from intake_api.cli.packing import packed
from intake_api.cli.printing import say
from intake_api.cli.progress import transfer
from intake_api.cli.remembered import file_identity

READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file to be sent; a folder was packed into one."""

    path: Path
    name: str
    identity: str
    sha256: str | None = None  # when it is known already
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.path.stat().st_size)


@contextmanager
def parcel(source: Path) -> Iterator[Parcel]:
    """The file itself, or the folder packed into a temporary zip."""
    if source.is_file():
        yield Parcel(source, source.name, file_identity(source))
        return
    say(f"packing {source} ...")
    with packed(source) as zipped:
        for name, why in zipped.left_out:
            say(f"left out: {name}: {why}")
        if not zipped.files:
            raise CliError(f"the folder {source} holds no file that can be read")
        # The zip is made anew each time, so its content alone says whether it is the same.
        sha256 = digest(zipped.path)
        yield Parcel(zipped.path, f"{source.resolve().name or 'bundle'}.zip", sha256, sha256)


def digest(path: Path) -> str:
    """The file's SHA-256, in hex."""
    hashing = hashlib.sha256()
    with path.open("rb") as file, transfer("reading", path.stat().st_size) as done:
        while piece := file.read(READ_AT_ONCE):
            hashing.update(piece)
            done(file.tell())
    return hashing.hexdigest()
