from __future__ import annotations

import os
from pathlib import Path

import pytest

from audit.tlog.checkpoint import open_note, sign_note
from retention.keys.signing import SigningKeyRefused, create_signing_key, load_signing_key


def test_a_key_file_is_made_once_for_its_owner_alone_and_signs_the_same_ever_after(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path], "nothing half-made stays"
    one, two = load_signing_key(path, "name/log"), load_signing_key(path, "name/log")
    assert sign_note("text\n", one) == sign_note("text\n", two)
    assert open_note(sign_note("text\n", one), two.verifier) == "text\n"
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        create_signing_key(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_two_keys_differ(tmp_path: Path) -> None:
    for name in ("one", "two"):
        create_signing_key(tmp_path / name)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_a_key_is_never_there_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        create_signing_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"", 0o600, "does not hold a signing key"),
        (b"00" * 31, 0o600, "does not hold a signing key"),
        (b"00" * 33, 0o600, "does not hold a signing key"),
        (b"zz" * 32, 0o600, "does not hold a signing key"),
        (b"\xff\xfe" * 32, 0o600, "cannot be read"),
        (b"00" * 32, 0o640, "chmod 600"),
        (b"00" * 32, 0o604, "chmod 600"),
    ],
)
def test_a_file_that_will_not_do_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes, mode: int, says: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SigningKeyRefused, match=says) as refused:
        load_signing_key(path, "name/log")
    assert not content or content[:16].decode("latin-1") not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyRefused, match="missing"):
        load_signing_key(tmp_path / "key", "name/log")
    with pytest.raises(SigningKeyRefused, match="cannot be read"):
        load_signing_key(tmp_path, "name/log")
