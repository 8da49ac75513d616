"""Saved bundles: whole, private, and held to their digest."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from intake_api.cli import output_file
from intake_api.cli.cli_errors import CliError
from intake_api.cli.main import run
from intake_api.cli.transfer.offline_bundle import ENDING, find_saved, proven

CASE = "123456789012345"


@pytest.fixture
def logs(here: Path) -> Path:
    folder = here / "node-7"
    (folder / "Compute").mkdir(parents=True)
    (folder / "Compute" / "service.log").write_text("started\n" * 100)
    (folder / "events.log").write_text("event\n")
    return folder


def test_a_folder_is_saved_as_a_zip_and_its_description_both_private(logs: Path, here: Path) -> None:
    assert run(["save", str(logs), "--case", CASE, "--roles", "Compute", "--logs-start", "-3h"]) == 0
    bundle = here / "node-7.zip"
    found = find_saved(bundle)
    assert found is not None and find_saved(found.manifest) == found
    assert (found.size, found.sha256) == (
        bundle.stat().st_size,
        hashlib.sha256(bundle.read_bytes()).hexdigest(),
    )
    assert (found.collection["case"], found.collection["roles"]) == (CASE, "Compute")
    assert {path.stat().st_mode & 0o777 for path in (bundle, found.manifest)} == {0o600}
    assert sorted(zipfile.ZipFile(bundle).namelist()) == ["Compute/service.log", "events.log"]
    assert proven(found).sha256 == found.sha256
    assert {path.name for path in here.iterdir()} >= {"node-7.zip", "node-7.zip" + ENDING}
    assert not list(here.glob("*.part"))


def test_the_same_folder_is_saved_as_the_same_bundle(logs: Path, here: Path) -> None:
    for name in ("a.zip", "b.zip"):
        assert run(["save", str(logs), "--case", CASE, "-o", name]) == 0
    assert (here / "a.zip").read_bytes() == (here / "b.zip").read_bytes()


def test_nothing_is_overwritten(logs: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "node-7.zip").write_bytes(b"something else")
    assert run(["save", str(logs), "--case", CASE]) == 1
    assert "node-7.zip exists: choose another name" in capsys.readouterr().err
    assert (here / "node-7.zip").read_bytes() == b"something else"
    assert run(["save", str(here / "node-7.zip"), "--case", CASE]) == 1  # nor itself


def test_a_window_that_no_service_would_accept_is_said_so_at_once(
    logs: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["save", str(logs), "--case", CASE, "--send-logs-now", "--logs-start", "-9h"]) == 1
    assert "1 to 4 hours" in capsys.readouterr().err
    assert not (here / "node-7.zip").exists()


@pytest.mark.parametrize("change", ["a byte", "length", "gone"])
def test_a_bundle_that_changed_is_not_sent(
    logs: Path, here: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["save", str(logs), "--case", CASE])
    bundle = here / "node-7.zip"
    raw = bytearray(bundle.read_bytes())
    if change == "gone":
        bundle.unlink()
    else:
        raw[50] ^= 1
        bundle.write_bytes(raw if change == "a byte" else raw[:-1])
    path = bundle if bundle.exists() else bundle.with_name(bundle.name + ENDING)
    assert run(["send", str(path), "--token", "t"]) == 1
    said = capsys.readouterr().err
    assert ("is missing" if change == "gone" else "differs from what was saved") in said


def test_what_was_saved_is_not_said_again(logs: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["save", str(logs), "--case", CASE])
    for option in (["--type", "proactive"], ["--case", "999999999999999"], ["--roles", "Storage"]):
        assert run(["send", "node-7.zip", "--token", "t", *option]) == 2
        assert f"leave out {option[0]}" in capsys.readouterr().err


def test_a_description_of_another_making_is_refused(logs: Path, here: Path) -> None:
    run(["save", str(logs), "--case", CASE])
    manifest = here / ("node-7.zip" + ENDING)
    told = json.loads(manifest.read_text())
    for broken in ("", "[]", "{}", json.dumps({**told, "format": "v9"}), json.dumps({**told, "size": "x"})):
        manifest.write_text(broken)
        with pytest.raises(CliError, match="does not describe"):
            find_saved(here / "node-7.zip")


def test_a_disk_that_fails_leaves_nothing_half(
    logs: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output_file.os, "fsync", full)
    assert run(["save", str(logs), "--case", CASE, "-o", "out.zip"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert not list(here.glob("out.zip*"))
