"""A mirror in a folder: the embedded default. Contract: `MirrorStore`.

Files are written once: prepared under another name, mode 0400, then linked to their own, which fails where there is
one. Nothing here overwrites or deletes. What it can show: whatever this service, its bugs and a restored back-up do to
the log. What it cannot: root on this machine can change both, so put the folder on another medium (write-once, or
another machine's), or use a bucket with Object Lock.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from audit.durable import make_folder, sync_folder
from audit.mirror.store import MirrorConflictError, MirrorUnavailableError, kept_sizes
from audit.tlog.tile_store import TileMissingError

_MODE = 0o400
_PARTIAL = ".new-"


class LocalMirrorStore:
    """A folder as a mirror, made with the first file kept, readable by its owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        return f"the folder {self._folder}"

    def keep(self, path: str, data: bytes) -> None:
        target = self._folder / path
        try:
            make_folder(target.parent)
            written = _write_once(target, data)
        except OSError as error:
            raise MirrorUnavailableError(f"{self.place} cannot be written: {error.strerror}") from error
        if not written and self.get(path) != data:
            raise MirrorConflictError(f"{self.place} keeps a different {path}")

    def get(self, path: str) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            raise TileMissingError(path) from None
        except OSError as error:
            raise MirrorUnavailableError(f"{self.place} cannot be read: {error.strerror}") from error

    def sizes(self, start: int = 0) -> Iterator[int]:
        return kept_sizes(self._children, start)

    def newest(self) -> int | None:
        return next(kept_sizes(self._children, largest_first=True), None)

    def time(self) -> None:
        """Return None: a folder has no clock of its own."""

    def disturbed(self) -> Iterator[str]:
        for path in sorted(self._folder.rglob("*")):
            if path.is_dir() or path.name.startswith(_PARTIAL):
                continue
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) or stat.S_IMODE(mode) != _MODE:
                name = path.relative_to(self._folder)
                yield f"{name} was made writable or replaced (mode {stat.S_IMODE(mode):o})"

    def inspect(self) -> list[str]:
        try:
            make_folder(self._folder)
            mode = self._folder.stat().st_mode
        except OSError as error:
            return [f"{self.place} cannot be made: {error.strerror}"]
        if mode & 0o077:
            return [f"{self.place} is open to other users; run: chmod 700 {self._folder}"]
        return []

    def _children(self, folder: str) -> list[str]:
        try:
            found = (self._folder / folder).iterdir()
            return [f"{path.name}/" if path.is_dir() else path.name for path in found]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise MirrorUnavailableError(f"{self.place} cannot be read: {error.strerror}") from error


def _write_once(target: Path, data: bytes) -> bool:
    """Write a new file; return False, changing nothing, if the name is taken."""
    descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(partial, target)  # * unlike a rename, it replaces nothing
            return True
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(partial).unlink()
        sync_folder(
            target.parent
        )  # also when it existed: the process that linked it may have died before this
