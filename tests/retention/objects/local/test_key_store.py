"""What is particular to keys in a local folder: overwriting, crashes, readers at the same time."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from retention.envelope.data_keys import WrappedKey
from retention.envelope.format import WrappedKeyBroken
from retention.objects.local.key_store import LocalKeyStore
from retention.objects.store_errors import KeyDestroyed, StoreUnavailable
from tests.fakes.ids import bundle

B = bundle(1)
OLD = WrappedKey("kek-1", "test", b"old" * 20)
NEW = WrappedKey("kek-2", "test", b"new" * 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def keys(folder: Path) -> LocalKeyStore:
    return LocalKeyStore(folder)


def test_folder_and_files_are_for_this_user_alone(keys: LocalKeyStore, folder: Path) -> None:
    keys.put(B, OLD)
    keys.destroy(bundle(2))
    assert [path.stat().st_mode & 0o777 for path in [folder, *folder.iterdir()]] == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("end", ["destroy", "replace"])
def test_the_old_bytes_are_overwritten_where_they_lie(keys: LocalKeyStore, folder: Path, end: str) -> None:
    keys.put(B, OLD)
    with (folder / f"{B}.key").open("rb") as held:  # the file itself, whatever happens to its name
        if end == "destroy":
            keys.destroy(B)
        else:
            keys.replace(B, NEW)
        assert held.read() == bytes(len(OLD.to_json()))


def _changes(patched: pytest.MonkeyPatch, step: int) -> None:
    """From step on, the disk fails: before the call takes effect at even steps, after it at odd ones."""
    calls = iter(range(1000))

    def cut(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            before, after = next(calls), next(calls)
            if before >= step:
                raise OSError(errno.EIO, "cut before")
            result = real(*args, **named)
            if after >= step:
                raise OSError(errno.EIO, "cut after")
            return result

        return call

    for owner, name in ((os, "fsync"), (os, "pwrite"), (Path, "unlink"), (Path, "rename"), (Path, "touch")):
        patched.setattr(owner, name, cut(getattr(owner, name)))


@pytest.mark.parametrize("step", range(12))
def test_a_destruction_cut_anywhere_never_gives_a_torn_key_and_is_finished_by_repeating(
    keys: LocalKeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    keys.put(B, OLD)
    with monkeypatch.context() as patched:
        _changes(patched, step)
        with pytest.raises(StoreUnavailable):
            keys.destroy(B)
    if step == 0:
        assert keys.get(B) == OLD
    else:
        with pytest.raises(KeyDestroyed):
            keys.get(B)
    assert not keys.exists(B) or step == 0
    keys.destroy(B)
    assert keys.remains(B) == []
    assert [path.name for path in folder.iterdir()] == [f"{B}.destroyed"]


@pytest.mark.parametrize("step", range(6))
def test_a_put_cut_anywhere_keeps_the_key_or_nothing(
    keys: LocalKeyStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patched:
        _changes(patched, step)
        with pytest.raises(StoreUnavailable):
            keys.put(B, OLD)
    if keys.exists(B):
        assert keys.get(B) == OLD
    else:
        keys.put(B, NEW)
        assert keys.get(B) == NEW
    keys.destroy(B)
    assert keys.remains(B) == []


@pytest.mark.parametrize("step", range(10))
def test_a_replacement_cut_anywhere_leaves_one_whole_key(
    keys: LocalKeyStore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    keys.put(B, OLD)
    with monkeypatch.context() as patched:
        _changes(patched, step)
        with pytest.raises(StoreUnavailable):
            keys.replace(B, NEW)
    assert keys.get(B) in (OLD, NEW)
    keys.replace(B, NEW)
    assert keys.get(B) == NEW
    keys.destroy(B)
    assert keys.remains(B) == []


def test_what_a_crash_left_half_written_remains_until_it_is_destroyed(
    keys: LocalKeyStore, folder: Path
) -> None:
    (folder / f"{B}.key.partial").write_bytes(OLD.to_json())
    assert keys.remains(B) == [f"{B}.key.partial"]
    assert not keys.exists(B)
    assert list(keys.list_bundles()) == []
    keys.destroy(B)
    assert keys.remains(B) == []


def test_readers_never_see_a_torn_key_while_it_is_replaced_and_destroyed(keys: LocalKeyStore) -> None:
    keys.put(B, OLD)
    wrong: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                got = keys.get(B)
            except KeyDestroyed:
                return
            except Exception as error:
                wrong.append(error)
                return
            if got not in (OLD, NEW):
                wrong.append(got)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(30):
        keys.replace(B, NEW if number % 2 else OLD)
    keys.destroy(B)
    for reader in readers:
        reader.join(timeout=30)
    stop.set()
    assert wrong == []
    assert not any(reader.is_alive() for reader in readers)


def test_a_rewrapping_that_meets_a_destruction_brings_nothing_back(keys: LocalKeyStore) -> None:
    for number in range(20):
        name = bundle(number)
        keys.put(name, OLD)

        def rewrap(name: str = name) -> None:
            try:
                while True:
                    keys.replace(name, NEW)
            except KeyDestroyed:
                return

        other = threading.Thread(target=rewrap)
        other.start()
        keys.destroy(name)
        other.join(timeout=30)
        assert keys.remains(name) == []
        assert not other.is_alive()


def test_a_store_that_is_not_there_proves_no_absence(keys: LocalKeyStore, folder: Path) -> None:
    folder.rmdir()
    calls: list[Callable[[], object]] = [
        lambda: keys.remains(B),
        lambda: keys.exists(B),
        lambda: keys.get(B),
        lambda: keys.put(B, OLD),
        lambda: keys.destroy(B),
        lambda: list(keys.list_bundles()),
        keys.check,
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()


def test_a_damaged_key_is_told_apart_from_none(keys: LocalKeyStore, folder: Path) -> None:
    keys.put(B, OLD)
    (folder / f"{B}.key").write_bytes(b"damaged")
    with pytest.raises(WrappedKeyBroken):
        keys.get(B)


def test_a_put_that_was_let_in_before_a_destruction_ends_before_it(
    keys: LocalKeyStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The destruction comes right after the put has looked; it must wait, or the key would outlive it."""
    real = keys._refuse_destroyed
    destruction = threading.Thread(target=LocalKeyStore(folder).destroy, args=(B,))

    def look_and_be_overtaken(bundle_id: str) -> None:
        real(bundle_id)
        destruction.start()
        destruction.join(timeout=0.2)

    monkeypatch.setattr(keys, "_refuse_destroyed", look_and_be_overtaken)
    keys.put(B, OLD)
    destruction.join(timeout=30)
    assert keys.remains(B) == []


def test_a_key_whose_writer_died_before_its_name_was_durable_is_made_so_by_who_reads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = LocalKeyStore(folder), LocalKeyStore(folder)
    real = os.fsync
    durable: set[str] = set()
    dying = True

    def fsync(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink() == folder:
            if dying:
                raise OSError(errno.EIO, "the process ends here")
            durable.update(path.name for path in folder.iterdir())
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreUnavailable):
        dead.put(B, OLD)
    dying = False
    assert alive.get(B) == OLD
    assert f"{B}.key" in durable
