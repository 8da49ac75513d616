"""What is particular to the local folder: what is durable when, disk full, crashes. The rest is in tests/contracts/."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.envelope.bundle_file import BundleOpener
from retention.envelope.data_keys import DataKey
from retention.envelope.format import segment_start
from retention.envelope.manifest import Manifest, PartEntry
from retention.envelope.part_stream import PartSealer, SealingWriter
from retention.objects.local import aligned_file
from retention.objects.local.aligned_file import CHUNK, AlignedFile
from retention.objects.local.part_store import LocalObjectStore
from retention.objects.store import RESERVE_MAX
from retention.objects.store_errors import PartMissing, StoreError, StoreFull, StoreUnavailable
from tests.contracts.object_store_contract import pattern, write
from tests.fakes.ids import bundle, part

B = bundle(1)
ROOT = Path(aligned_file.__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(folder: Path) -> LocalObjectStore:
    return LocalObjectStore(folder)


def test_folders_and_files_are_for_this_user_alone(store: LocalObjectStore, folder: Path) -> None:
    write(store, B, part(1), b"x")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert modes == {"objects": 0o700, B: 0o700, f"{part(1)}.sealed": 0o600}


def test_an_aborted_part_leaves_nothing_on_disk(store: LocalObjectStore) -> None:
    with store.new_part(B, part(1)) as writer:
        writer.reserve(5)
        writer.advance(5)
    assert store.remains(B) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, RESERVE_MAX), max_size=14), st.booleans())
def test_any_run_of_reservations_is_written_as_it_came(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], direct: bool
) -> None:
    path = tmp_path_factory.mktemp("aligned") / "file"
    content, file = pattern(sum(sizes)), AlignedFile(path)
    if not direct:
        file._direct = file._set_direct(False)
    start = 0
    for size in sizes:
        file.reserve(size)[:] = content[start : start + size]
        file.advance(size)
        start += size
    file.flush()
    file.close()
    assert path.read_bytes() == content


@pytest.mark.parametrize("refuse_at", ["fcntl", "pwrite"])
def test_without_direct_writing_the_cache_is_used(
    store: LocalObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch, refuse_at: str
) -> None:
    real_fcntl, real_pwrite = fcntl.fcntl, os.pwrite

    def refusing_fcntl(fd: int, command: int, flags: int = 0) -> int:
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_fcntl(fd, command, flags)

    def refusing_pwrite(fd: int, data: memoryview, offset: int) -> int:
        if real_fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_pwrite(fd, data, offset)

    if refuse_at == "fcntl":
        monkeypatch.setattr(fcntl, "fcntl", refusing_fcntl)
    else:
        monkeypatch.setattr(os, "pwrite", refusing_pwrite)
    write(store, B, part(1), pattern(2 * CHUNK + 5))
    assert (folder / B / f"{part(1)}.sealed").read_bytes() == pattern(2 * CHUNK + 5)


def test_short_writes_are_continued(
    store: LocalObjectStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[: 1 << 19], offset))
    write(store, B, part(1), pattern(CHUNK + 4097))
    assert (folder / B / f"{part(1)}.sealed").read_bytes() == pattern(CHUNK + 4097)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("call", range(3))
def test_a_failing_write_is_named_and_leaves_nothing(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, call: int, code: int
) -> None:
    """Three writes: two full chunks and the rest."""
    real, calls = os.pwrite, iter(range(100))

    def failing(fd: int, data: memoryview, offset: int) -> int:
        if next(calls) == call:
            raise OSError(code, os.strerror(code))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(StoreUnavailable if code == errno.EIO else StoreFull):
        write(store, B, part(1), pattern(2 * CHUNK + 1))
    assert store.remains(B) == []
    write(store, B, part(1), pattern(10))
    assert store.list_parts(B) == [part(1)]


@pytest.mark.parametrize("call", ["fdatasync", "rename"])
def test_a_failing_commit_leaves_nothing(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def failing(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(*{"fdatasync": (os, "fdatasync"), "rename": (Path, "rename")}[call], failing)
        with pytest.raises(StoreFull):
            write(store, B, part(1), b"x")
    assert store.remains(B) == []


def test_a_disk_that_is_really_full_leaves_nothing(folder: Path) -> None:
    """A limit on file sizes, in a process of its own, stands for the full disk: the kernel itself refuses."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from retention.objects.local.part_store import LocalObjectStore\n"
        "from retention.objects.store_errors import StoreFull\n"
        "from tests.contracts.object_store_contract import B, part, pattern, write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))\n"
        "store = LocalObjectStore(Path(sys.argv[1]))\n"
        "try:\n    write(store, B, part(1), pattern(9 << 20))\n"
        "except StoreFull:\n    print(store.remains(B))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]"


def test_what_a_killed_writer_left_is_found_and_discarded(store: LocalObjectStore) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from retention.objects.local.part_store import LocalObjectStore\n"
        "from tests.contracts.object_store_contract import B, part\n"
        "writer = LocalObjectStore(Path(sys.argv[1])).new_part(B, part(2))\n"
        "for _ in range(5):\n    writer.reserve(1 << 20); writer.advance(1 << 20)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    write(store, B, part(1), b"kept")
    run = subprocess.run([sys.executable, "-c", code, str(store._folder)], cwd=ROOT, check=False)
    assert run.returncode == -signal.SIGKILL
    assert store.list_parts(B) == [part(1)]
    assert f"{B}/{part(2)}.partial" in store.remains(B)
    with store.new_part(B, part(3)) as living:
        assert store.discard_abandoned() == 1
        assert store.discard_abandoned() == 0
        living.commit()
    assert store.remains(B) == [f"{B}/{part(1)}.sealed", f"{B}/{part(3)}.sealed"]


def test_the_part_is_synced_before_it_has_its_name_and_the_name_after(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    steps: list[str] = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            about = (
                Path(f"/proc/self/fd/{args[0]}").readlink()
                if isinstance(args[0], int)
                else Path(str(args[0]))
            )
            steps.append(f"{name} {about.name}")
            return real(*args)

        return call

    monkeypatch.setattr(os, "fdatasync", noted("sync", os.fdatasync))
    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync))
    monkeypatch.setattr(Path, "rename", noted("rename", Path.rename))
    write(store, B, part(1), b"x")
    partial = f"{part(1)}.partial"
    assert steps == [f"sync {partial}", f"rename {partial}", f"sync {B}", f"sync {folder.name}"]


@pytest.mark.parametrize("step", range(12))
def test_destroying_cut_anywhere_is_seen_and_finished_by_repeating(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Every call that changes the disk may fail before or after it took effect."""
    for number in range(3):
        write(store, B, part(number), b"x")
    calls = iter(range(100))

    def cut(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            before, after = next(calls), next(calls)
            if before == step:
                raise OSError(errno.EIO, "cut before")
            result = real(*args, **named)
            if after == step:
                raise OSError(errno.EIO, "cut after")
            return result

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", cut(Path.unlink))
        patched.setattr(Path, "rmdir", cut(Path.rmdir))
        patched.setattr(os, "fsync", cut(os.fsync))
        with pytest.raises(StoreUnavailable):
            store.destroy(B)
    still_there = store.list_parts(B)
    assert (store.remains(B) == []) == (step > 6)  # from the removal of the folder on
    assert store.destroy(B) == len(still_there)
    assert store.remains(B) == []


def test_a_store_that_is_not_there_proves_no_absence(store: LocalObjectStore, folder: Path) -> None:
    folder.rmdir()
    calls: list[Callable[[], object]] = [
        lambda: store.remains(B),
        lambda: store.list_parts(B),
        lambda: list(store.list_bundles()),
        lambda: store.destroy(B),
        lambda: store.complete(B, []),
        lambda: store.new_part(B, part(1)),
        store.free_space,
        store.check,
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()


def test_a_store_open_to_others_is_not_ready(store: LocalObjectStore, folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(StoreUnavailable, match="chmod 700"):
        store.check()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        LocalObjectStore(tmp_path / "file" / "objects")


def test_a_reader_that_was_open_reads_on_and_a_new_one_finds_nothing(store: LocalObjectStore) -> None:
    write(store, B, part(1), b"content")
    reader = store.open_part(B, part(1))
    store.destroy(B)
    assert reader.read_at(0, 7) == b"content"
    reader.close()
    reader.close()
    with pytest.raises(PartMissing):
        store.open_part(B, part(1))


@pytest.mark.parametrize("part_segments", [1, 2, 5])
def test_a_bundle_sealed_into_the_store_reads_back_and_shows_nothing_on_disk(
    store: LocalObjectStore, folder: Path, part_segments: int
) -> None:
    key, line, entries = DataKey.generate(), b"the operator's secret log line\n", []
    plain = line * 200_000
    size = segment_start(part_segments)
    for number, start in enumerate(range(0, len(plain), size)):
        with store.new_part(B, part(number)) as out:
            sealing = SealingWriter(PartSealer(key, B, part(number)), out)
            run = plain[start : start + size]
            while sealing.length < len(run):
                sealing.write(run[sealing.length :][: sealing.room])
            entries.append(PartEntry(part(number), start, len(run), sealing.finish()))
            out.commit()
    store.complete(B, [entry.part_id for entry in entries])
    with BundleOpener(key, Manifest(B, entries), lambda part_id: store.open_part(B, part_id)) as opener:
        assert b"".join(opener.read(0, opener.length)) == plain
    stored = b"".join(path.read_bytes() for path in folder.rglob("*.sealed"))
    assert len(stored) > len(plain) and b"secret" not in stored and key.reveal() not in stored


def test_free_space_is_what_the_file_system_says(store: LocalObjectStore, folder: Path) -> None:
    status = os.statvfs(folder)
    assert 0 < store.free_space() <= status.f_blocks * status.f_frsize


def test_who_completes_a_bundle_is_alone_in_it_from_looking_to_removing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise two with different lists would each remove what the other keeps."""
    store = LocalObjectStore(tmp_path)
    for number in (1, 2):
        write(store, B, part(number), b"x")
    names, seen = store._names, []

    def looking(bundle_id: str) -> list[str]:
        fd = os.open(tmp_path / bundle_id, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            seen.append("locked")
        finally:
            os.close(fd)
        return names(bundle_id)

    monkeypatch.setattr(store, "_names", looking)
    store.complete(B, [part(1)])
    assert seen == ["locked"]
    assert names(B) == [f"{part(1)}.sealed"]
