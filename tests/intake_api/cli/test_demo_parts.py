"""The demo's own parts: what it collects, how it tells, and that it can fail."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from intake_api.cli.cli_errors import ServiceProblem
from intake_api.cli.demo.access import _data_offset
from intake_api.cli.demo.collecting import MARKER_FILE, PROBE_FILE, collect
from intake_api.cli.demo.narrator import CheckFailed, Narrator, refusal, search

WANTED = 6 << 20


def test_a_collection_is_of_real_files_by_role_and_of_the_size_that_was_asked_for(tmp_path: Path) -> None:
    found = collect(tmp_path / "bundle.zip", WANTED)
    assert found.own + found.python + found.repeated >= WANTED
    with zipfile.ZipFile(found.path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names)) == found.files
        assert archive.read(MARKER_FILE) == found.marker + b"\n"
        assert archive.read(PROBE_FILE)
        assert {name.partition("/")[0] for name in names} == set(found.roles)
        for info in archive.infolist():
            if info.compress_type == zipfile.ZIP_STORED and info.file_size < 10_000:
                start = _data_offset(found.path, info)
                assert found.path.read_bytes()[start : start + info.file_size] == archive.read(info)
                break


def test_the_disk_is_searched_across_the_seams_of_its_pieces(tmp_path: Path) -> None:
    marker = b"marker-0123456789"
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "file"
    for place in (0, (1 << 22) - 5, (1 << 22), (1 << 23) - len(marker)):
        content = bytearray(1 << 23)
        content[place : place + len(marker)] = marker
        file.write_bytes(content)
        assert search(tmp_path, marker)
    file.write_bytes(bytes(1 << 23))
    assert not search(tmp_path, marker)


def test_a_check_that_fails_ends_the_demo_and_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(quiet=False)
    with narrator.step("Numbers"):
        narrator.check(True, "one is one")
        with pytest.raises(CheckFailed, match="step 1: this check failed: two is three"):
            narrator.check(2 == 3, "two is three")
    told = capsys.readouterr().out
    assert "✓ one is one" in told and "✗ two is three" in told
    assert narrator.steps[0].checked == ["one is one"]


def test_what_should_be_refused_and_is_not_ends_the_demo() -> None:
    narrator = Narrator(quiet=True)
    with narrator.step("A refusal"):
        with pytest.raises(CheckFailed, match="nothing refused it"):
            refusal(narrator, "no grant", 403, None, lambda: None)

        def otherwise() -> None:
            raise ServiceProblem(403, {"detail": "no", "reason": "another-reason"})

        with pytest.raises(CheckFailed):
            refusal(narrator, "no grant", 403, "not-assigned", otherwise)
        assert refusal(narrator, "no grant", 403, "another-reason", otherwise).status == 403


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_telling_fits_its_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    narrator = Narrator(quiet=False)
    with narrator.step("A step with a title that goes on and on, longer than a narrow terminal is wide"):
        narrator.say("words " * 60)
        narrator.check(True, "short " * 30)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
