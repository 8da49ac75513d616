"""Sealed parts in a local folder: one folder a bundle, one file a part. Contract: store.py. Names: object_names.py.

Writing a part
    create <part>.partial, locked -> write -> fdatasync -> rename to <part>.sealed *
    -> fsync bundle folder, then store folder
The .partial name is created exclusively and outlives no error; only its holder may make the .sealed name, so a rename
cannot overwrite. A process that dies leaves an unlocked .partial, which `discard_abandoned` removes.

Space is reserved for what must always be possible: a part ends with `StoreFull` when the free space is down to
`reserve`. Erasing, records and log write nothing here, and have the reserve to work in (P4, P5).

Destroying: unlink everything -> remove the bundle folder * -> fsync store folder. `remains` shows what a crash leaves,
and destroying again removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from retention.domain.ids import Kind
from retention.objects import object_names
from retention.objects.local.aligned_file import CHUNK, AlignedFile
from retention.objects.local.folders import (
    check_private,
    make_private,
    named_errors,
    open_folder,
    store_error,
    sync_folder,
)
from retention.objects.store_errors import PartExists, PartMissing, StoreFull


class LocalPartWriter:
    """A part being written. Contract: `PartWriter`."""

    def __init__(self, partial: Path, sealed: Path, file: AlignedFile, hold: Callable[[], None]) -> None:
        """`hold` raises `StoreFull` when no more may be written."""
        self._partial = partial
        self._sealed = sealed
        self._file: AlignedFile | None = file
        self._reserved = 0
        self._hold, self._until_held = hold, CHUNK

    def _open_file(self) -> AlignedFile:
        if self._file is None:
            raise ValueError("this part is committed or aborted")
        return self._file

    def reserve(self, length: int) -> memoryview:
        room = self._open_file().reserve(length)
        self._reserved = length
        return room

    def advance(self, length: int) -> None:
        file = self._open_file()
        if not 0 <= length <= self._reserved:
            raise ValueError(f"cannot advance {length} bytes: only {self._reserved} are reserved")
        self._reserved = 0
        self._until_held -= length
        try:
            if self._until_held <= 0:
                self._until_held = CHUNK
                self._hold()
            file.advance(length)
        except StoreFull:
            self.abort()
            raise
        except OSError as error:
            self.abort()
            raise store_error("a part cannot be written", error) from error

    def commit(self) -> None:
        file = self._open_file()
        try:
            file.flush()
            self._partial.rename(self._sealed)  # *
        except FileNotFoundError:
            self.abort()
            raise PartMissing("the part was destroyed while it was being written") from None
        except OSError as error:
            self.abort()
            raise store_error("a part cannot be made durable", error) from error
        self._file = None
        file.close()
        with named_errors("a part's name cannot be made durable"):
            sync_folder(self._sealed.parent)
            # Also when the bundle folder is not new: another writer may have made it and not reached this line yet.
            sync_folder(self._sealed.parent.parent)

    def abort(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            with named_errors("a half-written part cannot be removed"):
                self._partial.unlink(missing_ok=True)
                _drop_if_empty(self._partial.parent)
        finally:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class LocalPartReader:
    """A stored part, open. Contract: `PartReader`."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._fd).st_size

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            piece = os.pread(self._fd, length, offset)
            while 0 < len(piece) < length and offset + len(piece) < self._size:  # a signal, or a kernel limit
                piece += os.pread(self._fd, length - len(piece), offset + len(piece))
        except OSError as error:
            raise store_error("a part cannot be read", error) from error
        return piece

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class LocalObjectStore:
    """Sealed parts in a folder that it makes, readable by this user alone. Contract: `ObjectStore`.

    `reserve`: bytes that parts leave free, on the folder's file system and on those of the folders `beside` it.
    """

    def __init__(self, folder: Path, *, reserve: int = 0, beside: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._reserve = reserve
        self._measured = (folder, *beside)
        make_private(folder)

    def new_part(self, bundle_id: str, part_id: str) -> LocalPartWriter:
        partial = self._folder / object_names.part_partial(bundle_id, part_id)
        sealed = self._folder / object_names.part_object(bundle_id, part_id)
        if not part_id.startswith(
            Kind.MANIFEST
        ):  # it is small, and its bundle is complete: that may use the reserve
            self._hold_reserve()
        with named_errors("a part cannot be started"):
            try:
                writer = LocalPartWriter(partial, sealed, self._create(partial), self._hold_reserve)
            except FileExistsError:
                raise PartExists(f"part {part_id} is being written") from None
            if sealed.exists():  # checked only now: nobody else can make it while we hold the .partial name
                writer.abort()
                raise PartExists(f"part {part_id} exists already")
        return writer

    def _create(self, partial: Path) -> AlignedFile:
        while True:
            with suppress(FileExistsError):
                partial.parent.mkdir(mode=0o700)
            try:
                return AlignedFile(partial)
            except FileNotFoundError:
                continue  # removed just as it was made: the folder for being empty, or the file for being unlocked

    def complete(self, bundle_id: str, part_ids: Sequence[str]) -> None:
        kept = {Path(object_names.part_object(bundle_id, part_id)).name for part_id in part_ids}
        with named_errors("a bundle cannot be completed"), self._lock_completion(bundle_id):
            found = {name for name in self._names(bundle_id) if not name.startswith(Kind.INDEX)}
            if not kept <= found:
                raise PartMissing(f"bundle {bundle_id} lacks {len(kept - found)} of its {len(kept)} parts")
            self._remove(bundle_id, found - kept)

    def keep_index(self, bundle_id: str, index_id: str) -> None:
        kept = Path(object_names.part_object(bundle_id, index_id)).name
        with named_errors("an index cannot be kept"), self._lock_completion(bundle_id):
            found = {name for name in self._names(bundle_id) if name.startswith(Kind.INDEX)}
            if kept not in found:
                raise PartMissing(f"bundle {bundle_id} has no index {index_id}")
            self._remove(bundle_id, found - {kept})

    @contextmanager
    def _lock_completion(self, bundle_id: str) -> Iterator[None]:
        """Lock out others that complete this bundle: with different lists each would remove what the other keeps."""
        with ExitStack() as held:
            with suppress(FileNotFoundError):  # nothing exists, so nobody removes anything
                folder = held.enter_context(open_folder(self._folder / object_names.bundle_folder(bundle_id)))
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield

    def open_part(self, bundle_id: str, part_id: str) -> LocalPartReader:
        path = self._folder / object_names.part_object(bundle_id, part_id)
        with named_errors("a part cannot be opened"):
            try:
                return LocalPartReader(path)
            except FileNotFoundError:
                self._folder.stat()  # no store is not the same as no part
                raise PartMissing(f"bundle {bundle_id} has no part {part_id}") from None

    def list_bundles(self) -> Iterator[str]:
        with named_errors("the store cannot be listed"), os.scandir(self._folder) as entries:
            for entry in entries:
                if object_names.is_id(entry.name):
                    yield entry.name

    def list_parts(self, bundle_id: str) -> list[str]:
        with named_errors("a bundle cannot be listed"):
            ids = (object_names.id_in(name, object_names.SEALED) for name in self._names(bundle_id))
            return sorted(part_id for part_id in ids if part_id and not part_id.startswith(Kind.INDEX))

    def destroy(self, bundle_id: str) -> int:
        removed = 0
        with named_errors("a bundle cannot be destroyed"):
            while (
                self._folder / object_names.bundle_folder(bundle_id)
            ).exists():  # again if a writer came in between
                removed += self._remove(bundle_id, self._names(bundle_id))
            sync_folder(
                self._folder
            )  # also when nothing existed: an earlier try may have ended before this line
        return removed

    def destroy_part(self, bundle_id: str, part_id: str) -> None:
        with named_errors("a part cannot be destroyed"):
            self._remove(bundle_id, [Path(object_names.part_object(bundle_id, part_id)).name])

    def remains(self, bundle_id: str) -> list[str]:
        folder = object_names.bundle_folder(bundle_id)
        with named_errors("the store cannot be searched"):
            names = [f"{folder}/{name}" for name in self._names(bundle_id)]
            return names or ([folder] if (self._folder / folder).exists() else [])

    def discard_abandoned(self) -> int:
        return sum(self._discard_in(bundle_id) for bundle_id in self.list_bundles())

    def free_space(self) -> int:
        with named_errors("the store's free space cannot be read"):
            found = [os.statvfs(folder) for folder in self._measured]
        return max(0, min(status.f_bavail * status.f_frsize for status in found) - self._reserve)

    def _hold_reserve(self) -> None:
        if self._reserve and not self.free_space():
            raise StoreFull(
                f"no space for uploads: the last {self._reserve} bytes are kept for erasing and for the log"
            )

    def check(self) -> None:
        check_private(self._folder)

    def _names(self, bundle_id: str) -> list[str]:
        """List the bundle's folder; empty if it does not exist, an error if the store itself does not."""
        try:
            return sorted(
                path.name for path in (self._folder / object_names.bundle_folder(bundle_id)).iterdir()
            )
        except FileNotFoundError:
            self._folder.stat()
            return []

    def _remove(self, bundle_id: str, names: Iterable[str]) -> int:
        """Unlink these, and the folder if that empties it, durably; return how many."""
        folder = self._folder / object_names.bundle_folder(bundle_id)
        removed = 0
        for name in names:
            with suppress(FileNotFoundError):
                (folder / name).unlink()
                removed += 1
        if not _drop_if_empty(folder):
            sync_folder(folder)
        sync_folder(self._folder)
        return removed

    def _discard_in(self, bundle_id: str) -> int:
        with named_errors("half-written parts cannot be removed"):
            folder = self._folder / object_names.bundle_folder(bundle_id)
            partials = [
                folder / name for name in self._names(bundle_id) if name.endswith(object_names.PARTIAL)
            ]
            removed = sum(_unlink_if_abandoned(partial) for partial in partials)
            if removed:
                self._remove(bundle_id, [])
        return removed


def _drop_if_empty(folder: Path) -> bool:
    """Remove the bundle folder if it is empty; return whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _unlink_if_abandoned(partial: Path) -> bool:
    """Remove the file unless its writer holds the lock. A lock dies with its process: no age has to be guessed."""
    try:
        fd = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        partial.unlink()  # under the lock: a writer about to take it sees that its file is gone
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(fd)
    return True
