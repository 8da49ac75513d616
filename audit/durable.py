"""Files and folders that survive a crash, and a lock on a folder."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Create the folder and its parents with mode 0700, durably."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Fsync a folder: a rename or a new folder in it is durable only then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(target: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file by `data`, atomically and durably; its folder is made."""
    make_folder(target.parent)
    # mkstemp: a unique name and mode 0600, in the same folder so that the rename is atomic.
    descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(temporary).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    sync_folder(target.parent)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock the folder against other threads and processes; a process that dies lets go.

    Not re-entrant: its holder would wait for ever.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
