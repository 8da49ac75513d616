"""The local stores' calls of the operating system, and the store errors of its failures."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retention.objects.store_errors import StoreFull, StoreUnavailable

# EFBIG too: a file size limit is room that ran out.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def store_error(what: str, error: OSError) -> StoreFull | StoreUnavailable:
    """Choose the contract's error for this failure."""
    kind = StoreFull if error.errno in _FULL else StoreUnavailable
    return kind(f"{what}: {error.strerror}")


@contextmanager
def named_errors(what: str) -> Iterator[None]:
    """Turn the operating system's failures into the contract's errors."""
    try:
        yield
    except OSError as error:
        raise store_error(what, error) from error


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Open a descriptor of the folder, to lock it or to make its names durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    with open_folder(folder) as fd:
        os.fsync(fd)


def make_private(folder: Path) -> None:
    """Make the folder, for this user alone, if it does not exist."""
    with named_errors(f"the folder {folder} cannot be made"):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            sync_folder(path.parent)


def check_private(folder: Path) -> None:
    """Raise `StoreUnavailable` unless the folder exists, is private, and takes a new file."""
    with named_errors(f"the folder {folder} cannot be written to"):
        if folder.stat().st_mode & 0o077:
            raise StoreUnavailable(f"the folder {folder} is open to other users; run: chmod 700 {folder}")
        probe = folder / f".probe-{os.urandom(8).hex()}"
        probe.touch(mode=0o600, exist_ok=False)
        probe.unlink()
