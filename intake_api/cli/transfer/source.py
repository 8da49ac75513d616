"""The file to send or save, its name and identity; a folder packed as one zip; the options of one send.

- The same folder gives the same bytes, so an interrupted upload can be resumed after a reboot: entries are sorted by
  path, keep their files' times, and carry nothing of the machine (no owner, no mode).
- Links are not followed and devices not read; what cannot be read is left out and named. A stamp in trouble sends what
  it has.
- The zip is a temporary file that only its owner can read, removed when the work is done.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from intake_api.cli.cli_errors import CliError
from intake_api.cli.client import Client
from intake_api.cli.print_tables import say, size_of
from intake_api.cli.progress import transfer
from intake_api.cli.transfer.rate import Pace
from intake_api.cli.transfer.remembered import Remembered, file_identity


@dataclass(frozen=True, slots=True)
class SendJob:
    """One file to send, and how. `same`: the metadata without times, by which a repeated send is the same upload."""

    client: Client
    what: UploadSource
    metadata: Mapping[str, str]
    same: Mapping[str, str]
    place: Remembered
    pace: Pace
    connections: int | None
    saved: bool
    with_digest: bool

    def sha256(self) -> str | None:
        """Return the file's SHA-256 to declare; reads the file unless it is known, or not wanted."""
        return self.what.sha256 or (digest(self.what.path) if self.with_digest else None)

    def announced(self, sha256: str | None) -> dict[str, str]:
        """Return the metadata as it is sent."""
        return {**self.metadata, **({"sha256": sha256} if sha256 else {})}


def share(kept: int, size: int) -> str:
    """Say how much of `size` the service has."""
    return "all of it" if kept == size else f"{size_of(kept)} of {size_of(size)}"


_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = (2107, 12, 31, 23, 59, 58)
"""The years that a zip can express."""
_COPY = 1 << 20


@dataclass(frozen=True, slots=True)
class Packed:
    """The zip, and what was left out of it (path, why)."""

    path: Path
    files: int
    left_out: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def packed(folder: Path) -> Iterator[Packed]:
    """Pack the folder as a zip, for as long as the block runs."""
    # mkdtemp: mode 0700.
    with tempfile.TemporaryDirectory(prefix="casevault-") as temporary:
        target = Path(temporary) / "bundle.zip"
        left_out: list[tuple[str, str]] = []
        files = 0
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in _regular_files(folder, left_out):
                name = path.relative_to(folder).as_posix()
                try:
                    add_file(archive, path, name)
                except OSError as error:
                    left_out.append((name, error.strerror or "cannot be read"))
                else:
                    files += 1
        yield Packed(target, files, left_out)


def add_file(archive: zipfile.ZipFile, path: Path, name: str, compression: int = zipfile.ZIP_DEFLATED) -> int:
    """Add one file under `name`; return its size. OSError before anything is written if it cannot be read."""
    with path.open("rb") as source:
        written = zipfile.ZipInfo(_utf8(name), _zip_time(os.fstat(source.fileno()).st_mtime))
        written.compress_type = compression
        first = source.read(_COPY)
        size = 0
        # Its size is not known: a log may grow while it is read.
        with archive.open(written, "w", force_zip64=True) as target:
            piece = first
            while piece:
                target.write(piece)
                size += len(piece)
                piece = source.read(_COPY)
    return size


def _regular_files(folder: Path, left_out: list[tuple[str, str]]) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        left_out.append((str(error.filename), error.strerror or "cannot be read"))

    for here, folders, names in os.walk(folder, onerror=refused):
        folders.sort()
        for name in sorted(names):
            path = Path(here, name)
            if path.is_file() and not path.is_symlink():
                yield path
            else:
                left_out.append((path.relative_to(folder).as_posix(), "is not a regular file"))


def _utf8(name: str) -> str:
    """Make `name` valid UTF-8 for a zip: other bytes as %FF."""
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)


def _zip_time(modified: float) -> tuple[int, int, int, int, int, int]:
    at = time.gmtime(modified)
    moment = (at.tm_year, at.tm_mon, at.tm_mday, at.tm_hour, at.tm_min, min(at.tm_sec, 59))
    return max(_EARLIEST, min(moment, _LATEST))


READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class UploadSource:
    """A file to send, or the zip that a folder was packed into."""

    path: Path
    name: str
    identity: str
    sha256: str | None = None  # when it is known already
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.path.stat().st_size)


@contextmanager
def open_source(source: Path) -> Iterator[UploadSource]:
    """Open the file itself, or pack the folder into a temporary zip."""
    if source.is_file():
        yield UploadSource(source, source.name, file_identity(source))
        return
    say(f"packing {source} ...")
    with packed(source) as zipped:
        for name, why in zipped.left_out:
            say(f"left out: {name}: {why}")
        if not zipped.files:
            raise CliError(f"the folder {source} holds no readable file: there is nothing to send")
        # The zip is made anew each time, so its content alone says whether it is the same.
        sha256 = digest(zipped.path)
        yield UploadSource(zipped.path, f"{source.resolve().name or 'bundle'}.zip", sha256, sha256)


def digest(path: Path) -> str:
    """Compute the file's SHA-256, in hex."""
    hashing = hashlib.sha256()
    with path.open("rb") as file, transfer("reading", path.stat().st_size) as done:
        while piece := file.read(READ_AT_ONCE):
            hashing.update(piece)
            done(file.tell())
    return hashing.hexdigest()
