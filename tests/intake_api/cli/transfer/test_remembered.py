"""Uploads begun here are found again, by what makes them the same and by nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from intake_api.cli.cli_errors import CliError
from intake_api.cli.transfer.remembered import Begun, Remembered, Way, file_identity

SERVER = "https://one.example"
UPLOAD = Begun(Way.TUS, ("/uploads/bun_x",))


def test_what_was_kept_is_found_again_until_it_is_forgotten(tmp_path: Path) -> None:
    place = Remembered.place(tmp_path / "uploads", SERVER, "file", {"case": "1"})
    assert place.begun() is None
    place.keep(UPLOAD)
    again = Remembered.place(tmp_path / "uploads", SERVER, "file", {"case": "1"})
    assert again.begun() == UPLOAD
    assert place.file.stat().st_mode & 0o777 == 0o600
    again.forget()
    again.forget()
    assert place.begun() is None


@pytest.mark.parametrize(
    "other",
    [
        ("https://two.example", "file", {"case": "1"}),
        (SERVER, "another", {"case": "1"}),
        (SERVER, "file", {"case": "2"}),
        (SERVER, "file", {}),
    ],
)
def test_another_upload_is_another(tmp_path: Path, other: tuple[str, str, dict[str, str]]) -> None:
    Remembered.place(tmp_path, SERVER, "file", {"case": "1"}).keep(UPLOAD)
    assert Remembered.place(tmp_path, *other).begun() is None


def test_a_file_is_another_when_anything_of_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"x" * 100)
    identities = {file_identity(file)}
    status = file.stat()
    file.write_bytes(b"y" * 100)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    identities.add(file_identity(file))  # same size and time, other bytes
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    identities.add(file_identity(file))
    file.rename(tmp_path / "b.log")
    identities.add(file_identity(tmp_path / "b.log"))
    assert len(identities) == 4


@pytest.mark.parametrize(
    "begun",
    [
        Begun(Way.PARALLEL, ("/uploads/bun_x", ""), {"case": "1"}, whole=True),
        Begun(Way.LINK, announced={"time_collected": "2026-11-20T08:00:00Z"}),
    ],
)
def test_it_says_which_way_the_upload_goes(tmp_path: Path, begun: Begun) -> None:
    place = Remembered.place(tmp_path, SERVER, "file", {})
    place.keep(begun)
    assert place.begun() == begun


_WHOLE = '"announced": {}, "whole": false}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        '{"location": "/uploads/bun_x"}',
        '{"way": "post", "locations": [], ' + _WHOLE,
        '{"way": "tus", "locations": 5, ' + _WHOLE,
        '{"way": "tus", "locations": ["https://evil.example"], ' + _WHOLE,
        '{"way": "link", "locations": [], "announced": 5, "whole": false}',
    ],
)
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: str) -> None:
    place = Remembered.place(tmp_path, SERVER, "file", {})
    place.file.write_text(content)
    assert place.begun() is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CliError, match="cannot be remembered"):
        Remembered.place(tmp_path / "taken" / "x", SERVER, "file", {}).keep(UPLOAD)
