"""Wrapped data keys in a local folder of their own. Contract: `KeyStore` in store.py. Names: object_names.py.

Order of writing (changes take turns by a lock on the folder, in all processes)
    put      write .key.partial, fsync -> rename to .key * -> fsync folder
    replace  the same; then the old file, still open, is overwritten and fsynced: no stale copy is left in freed blocks
    destroy  make .destroyed, fsync folder * -> overwrite .key and .key.partial, fsync -> unlink -> fsync folder
From * on, `get` returns the new state and no crash takes it back; repeating the call finishes the rest.

A reader takes no turn. It locks the key file it opened (shared; overwriting takes that lock exclusively) and checks
that the file still has its name; if not, it starts over. So it never sees overwritten bytes.

Overwriting in place reaches the medium only where the file system and the disk write in place. Where they do not, the
proof of erasure still rests on the key-encryption key, which is not in this folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retention.envelope.data_keys import WrappedKey
from retention.objects import object_names
from retention.objects.local.folders import (
    check_private,
    make_private,
    named_errors,
    open_folder,
    sync_folder,
)
from retention.objects.store_errors import KeyDestroyed, KeyExists, KeyMissing


class LocalKeyStore:
    """Wrapped keys in a folder that it makes, readable by this user alone. Contract: `KeyStore`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_private(folder)

    @contextmanager
    def _lock_changes(self) -> Iterator[int]:
        """Lock out all others that change keys; yield the folder's descriptor, for fsync."""
        with open_folder(self._folder) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder

    def put(self, bundle_id: str, wrapped: WrappedKey) -> None:
        key = self._folder / object_names.key_object(bundle_id)
        with named_errors("a data key cannot be kept"), self._lock_changes() as folder:
            self._refuse_destroyed(bundle_id)
            if key.exists():
                raise KeyExists(f"bundle {bundle_id} has its data key already")
            self._write(bundle_id, wrapped, folder)

    def replace(self, bundle_id: str, wrapped: WrappedKey) -> None:
        with named_errors("a data key cannot be replaced"), self._lock_changes() as folder:
            self._refuse_destroyed(bundle_id)
            try:
                old = os.open(self._folder / object_names.key_object(bundle_id), os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                raise KeyMissing(f"bundle {bundle_id} never had a data key") from None
            try:
                self._write(bundle_id, wrapped, folder)
                _overwrite(old)
            finally:
                os.close(old)

    def get(self, bundle_id: str) -> WrappedKey:
        key = self._folder / object_names.key_object(bundle_id)
        with named_errors("a data key cannot be read"):
            while True:
                try:
                    file = key.open("rb")
                except FileNotFoundError:
                    self._folder.stat()  # no folder is not the same as no key
                    self._refuse_destroyed(bundle_id)
                    raise KeyMissing(f"bundle {bundle_id} never had a data key") from None
                with file:
                    fcntl.flock(file, fcntl.LOCK_SH)
                    if os.fstat(file.fileno()).st_nlink == 0:
                        continue
                    self._refuse_destroyed(bundle_id)  # destruction may have begun
                    sync_folder(self._folder)  # its maker may have died before that line
                    return WrappedKey.from_json(file.read())

    def destroy(self, bundle_id: str) -> None:
        note = self._folder / object_names.key_destroyed(bundle_id)
        with named_errors("a data key cannot be destroyed"), open_folder(self._folder) as folder:
            with self._lock_changes():
                note.touch(mode=0o600)
            # From here on nobody makes or replaces this key, so others need not wait for this disk.
            os.fsync(folder)
            for name in (object_names.key_object(bundle_id), object_names.key_partial(bundle_id)):
                _shred(self._folder / name)
            os.fsync(folder)

    def exists(self, bundle_id: str) -> bool:
        with named_errors("the key store cannot be searched"):
            key, note = object_names.key_object(bundle_id), object_names.key_destroyed(bundle_id)
            self._folder.stat()
            return (self._folder / key).exists() and not (self._folder / note).exists()

    def remains(self, bundle_id: str) -> list[str]:
        with named_errors("the key store cannot be searched"):
            self._folder.stat()
            names = (object_names.key_object(bundle_id), object_names.key_partial(bundle_id))
            return [name for name in names if (self._folder / name).exists()]

    def list_bundles(self) -> Iterator[str]:
        with named_errors("the key store cannot be listed"), os.scandir(self._folder) as entries:
            for entry in entries:
                bundle_id = object_names.id_in(entry.name, object_names.KEY)
                if bundle_id is not None and self.exists(bundle_id):
                    yield bundle_id

    def check(self) -> None:
        check_private(self._folder)

    def _refuse_destroyed(self, bundle_id: str) -> None:
        if (self._folder / object_names.key_destroyed(bundle_id)).exists():
            raise KeyDestroyed(f"the data key of bundle {bundle_id} was destroyed")

    def _write(self, bundle_id: str, wrapped: WrappedKey, folder: int) -> None:
        partial = self._folder / object_names.key_partial(bundle_id)
        _shred(partial)  # of a writer that died
        try:
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(wrapped.to_json())
                file.flush()
                os.fsync(fd)
            partial.rename(self._folder / object_names.key_object(bundle_id))  # *
        except OSError:
            with suppress(
                OSError
            ):  # the first error is the one to raise; `remains` shows the file if it stays
                _shred(partial)
            raise
        os.fsync(folder)


def _overwrite(fd: int) -> None:
    """Overwrite the whole file with zeros, durably, once its readers are done."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
    os.fsync(fd)


def _shred(path: Path) -> None:
    """Overwrite the file, then unlink it; do nothing if it does not exist."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        _overwrite(fd)
        # Before the lock is released: a reader that waited finds the file without a name. Another may have been faster.
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)
