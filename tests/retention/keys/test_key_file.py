"""What is particular to the key in a file; the rest of its behaviour is in tests/contracts/."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retention.envelope.data_keys import DataKey, WrappedKey
from retention.envelope.format import KeyFileRefused, UnknownKeyEncryptionKey, WrappedKeyBroken
from retention.keys import key_file
from retention.keys.key_file import LocalKeyWrapper
from tests.fakes.ids import bundle

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
B = bundle(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    LocalKeyWrapper.create(tmp_path / "kek.json", NOW)
    return tmp_path / "kek.json"


def test_the_file_is_made_for_its_user_alone_and_nothing_else_is_left(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(KeyFileRefused, match="exists already and was left unchanged"):
        LocalKeyWrapper.create(path, NOW)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRefused, match="cannot be written"):
        LocalKeyWrapper.create(tmp_path / "none" / "kek.json", NOW)


def test_a_missing_file_is_refused_and_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRefused, match=r"is missing\. Restore it"):
        LocalKeyWrapper(tmp_path / "kek.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o666])
def test_a_file_open_to_others_is_refused_with_the_command_that_helps(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(KeyFileRefused, match=f"mode {mode:04o}.*chmod 600 .*rotate"):
        LocalKeyWrapper(path)


def test_a_file_opened_to_others_while_it_is_in_use_is_refused(path: Path) -> None:
    wrapper = LocalKeyWrapper(path)
    path.chmod(0o644)
    with pytest.raises(KeyFileRefused, match="chmod 600"):
        wrapper.wrap(DataKey.generate(), B)


def test_a_file_removed_while_it_is_in_use_is_told(path: Path) -> None:
    wrapper = LocalKeyWrapper(path)
    path.unlink()
    with pytest.raises(KeyFileRefused, match="is missing"):
        wrapper.wrap(DataKey.generate(), B)


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileRefused, match="not a regular file"):
        LocalKeyWrapper(tmp_path)


def _drop_keys(document: dict[str, object]) -> None:
    document["keys"] = []


def _swap_key(document: dict[str, list[dict[str, str]]]) -> None:
    document["keys"][0]["key"] = "A" * 43 + "="


def _shorten_key(document: dict[str, list[dict[str, str]]]) -> None:
    document["keys"][0]["key"] = "AAAA"


def _other_current(document: dict[str, object]) -> None:
    document["current"] = "local-0000000000000000"


def _other_format(document: dict[str, object]) -> None:
    document["format"] = "v0"


@pytest.mark.parametrize("damage", [_drop_keys, _swap_key, _shorten_key, _other_current, _other_format])
def test_a_damaged_file_is_refused(path: Path, damage: Callable[[dict[str, object]], None]) -> None:
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(KeyFileRefused, match="not a key file, or is damaged"):
        LocalKeyWrapper(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b"key: abc"])
def test_what_is_no_key_file_is_refused_without_quoting_it(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(KeyFileRefused) as caught:
        LocalKeyWrapper(path)
    assert "abc" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_every_truncation_of_the_file_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole.rstrip())):
        path.write_bytes(whole[:length])
        with pytest.raises(KeyFileRefused):
            LocalKeyWrapper(path)


def test_a_bundle_of_another_installation_names_the_key_that_is_missing(tmp_path: Path) -> None:
    one = LocalKeyWrapper.create(tmp_path / "one.json", NOW)
    other = LocalKeyWrapper.create(tmp_path / "other.json", NOW)
    wrapped = one.wrap(DataKey.generate(), B)
    with pytest.raises(UnknownKeyEncryptionKey, match=f"{wrapped.kek_id}.*put back the right one"):
        other.unwrap(wrapped, B)


def test_a_running_wrapper_follows_a_rotation_by_another(path: Path) -> None:
    running, other = LocalKeyWrapper(path), LocalKeyWrapper(path)
    before = running.wrap(DataKey(b"k" * 32), B)
    kek_id = other.rotate(NOW)
    assert running.current_kek_id == kek_id
    assert running.unwrap(other.wrap(DataKey(b"k" * 32), B), B) == DataKey(b"k" * 32)
    assert running.unwrap(before, B) == DataKey(b"k" * 32)
    assert path.stat().st_mode & 0o777 == 0o600


def test_rotations_at_once_lose_no_key(path: Path) -> None:
    ids: list[str] = []

    def rotate() -> None:
        ids.append(LocalKeyWrapper(path).rotate(NOW))

    threads = [threading.Thread(target=rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = {key["id"] for key in json.loads(path.read_text())["keys"]}
    assert len(ids) == 8
    assert held > set(ids)
    assert list(path.parent.iterdir()) == [path]


def test_a_rotation_by_another_process_is_followed(path: Path) -> None:
    running = LocalKeyWrapper(path)
    before = running.current_kek_id
    code = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from retention.keys.key_file import LocalKeyWrapper\n"
        "print(LocalKeyWrapper(Path(sys.argv[1])).rotate(datetime.now(UTC)))"
    )
    root = Path(key_file.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, check=True, capture_output=True, text=True
    )
    assert running.current_kek_id == run.stdout.strip() != before


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_rotation_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    wrapper = LocalKeyWrapper(path)
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        target = {"write": (key_file, "_encode"), "fsync": (os, "fsync"), "rename": (Path, "rename")}[step]
        patched.setattr(*target, fail)
        with pytest.raises(OSError, match="No space"):
            wrapper.rotate(NOW)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_data_key_shows_itself_to_nobody() -> None:
    key = DataKey(b"0123456789abcdef0123456789abcdef")
    assert repr(key) == str(key) == f"{key}" == "DataKey(hidden)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            leak(key)
    assert not hasattr(key, "__dict__")


def test_data_keys_are_random_and_of_one_length() -> None:
    assert DataKey.generate() != DataKey.generate()
    assert DataKey.generate() != "a key"
    for length in (0, 16, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            DataKey(bytes(length))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"kek_id":"a","algorithm":"b"}',
        b'{"kek_id":"a","algorithm":"b","wrapped":"AA==","more":"c"}',
        b'{"kek_id":1,"algorithm":"b","wrapped":"AA=="}',
        b'{"kek_id":"a","algorithm":"b","wrapped":"A*=="}',
    ],
)
def test_what_is_no_wrapped_key_is_refused_without_quoting_it(raw: bytes) -> None:
    with pytest.raises(WrappedKeyBroken, match=r"not a wrapped key$") as caught:
        WrappedKey.from_json(raw)
    assert caught.value.__context__ is None


def test_a_rotation_that_waited_for_a_replaced_file_waits_for_the_new_one_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, at_the_lock = fcntl.flock, threading.Event()

    def noted(fd: int, operation: int) -> None:
        at_the_lock.set()
        lock(fd, operation)

    waiting = threading.Thread(target=LocalKeyWrapper(path).rotate, args=(NOW,))
    with path.open("rb") as old:
        lock(old, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", noted)
        waiting.start()
        assert at_the_lock.wait(timeout=30)
        fresh = path.with_name("fresh")
        fresh.touch(mode=0o600)
        fresh.write_bytes(path.read_bytes())
        with fresh.open("rb") as new:
            lock(new, fcntl.LOCK_EX)
            fresh.rename(path)
            lock(old, fcntl.LOCK_UN)
            waiting.join(timeout=0.2)
            assert waiting.is_alive()
    waiting.join(timeout=30)
    assert not waiting.is_alive()
    assert len(json.loads(path.read_text())["keys"]) == 2
