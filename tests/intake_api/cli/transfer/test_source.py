"""A folder as one zip: the same folder, the same bytes."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.cli.transfer.source import packed

NAMES = st.lists(st.sampled_from(["a", "b", "log.1", "Übersicht", "x y"]), min_size=1, max_size=3).map(
    "/".join
)
FOLDERS = st.dictionaries(NAMES, st.binary(max_size=200), max_size=6)


def _make(folder: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    made = {}
    for name, content in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue  # the name is another's folder
        made[name] = content
    return made


@given(FOLDERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_file_is_in_it_and_the_bytes_are_always_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    made = _make(folder, files)
    with packed(folder) as one, packed(folder) as two, zipfile.ZipFile(one.path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == made
        assert one.path.read_bytes() == two.path.read_bytes()
        assert one.path.stat().st_mode & 0o077 == 0 or one.path.parent.stat().st_mode & 0o077 == 0
        kept = one.path
    assert not kept.exists() and not kept.parent.exists()


def test_links_and_pipes_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "real.log").write_text("here")
    (tmp_path / "link.log").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    with packed(tmp_path) as made, zipfile.ZipFile(made.path) as archive:
        assert archive.namelist() == ["real.log"]
        assert {name for name, _ in made.left_out} == {"link.log", "pipe"}


@pytest.mark.parametrize("at", [0, 10**11])
def test_times_that_a_zip_cannot_tell_do_not_stop_it(tmp_path: Path, at: int) -> None:
    (tmp_path / "old.log").write_text("old")
    os.utime(tmp_path / "old.log", (at, at))
    with packed(tmp_path) as made, zipfile.ZipFile(made.path) as archive:
        assert archive.read("old.log") == b"old"


def test_the_zip_is_removed_when_the_work_on_it_fails(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("a")
    with pytest.raises(RuntimeError), packed(tmp_path) as made:
        raise RuntimeError
    assert not made.path.exists()


def test_a_name_that_is_no_utf8_is_packed_with_its_bytes_spelled_out(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff.log")).write_bytes(b"one")
    with packed(tmp_path) as made, zipfile.ZipFile(made.path) as archive:
        assert archive.namelist() == ["bad%FF.log"]
