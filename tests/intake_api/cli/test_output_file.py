"""Where `-o` leads: what is there is not lost, what is no file is written into, and a failure names the file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from intake_api.cli.cli_errors import CliError, Unreachable
from intake_api.cli.main import casevault, run
from intake_api.cli.output_file import Output
from tests.intake_api.cli.serving import Answer, Asked, Served

OLD, NEW = b"what was kept before", b'{"entry": 1}\n'


def written(path: Path, *, force: bool | None = False) -> None:
    with Output.at(path, force=force).writing() as target:
        target.write(NEW)


def meanwhile(path: Path) -> None:
    """Somebody else's file comes while ours is written."""

    def both() -> None:
        with Output.at(path).writing() as target:
            path.write_bytes(OLD)
            target.write(NEW)

    with pytest.raises(CliError, match="exists"):
        both()


def test_a_new_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with Output.at(path).writing() as target:
        target.write(NEW)
        assert not path.exists()
    assert path.read_bytes() == NEW and path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("linked", [False, True], ids=["a file", "a link to one"])
def test_a_file_is_replaced_with_force_alone_and_a_link_stays_a_link(tmp_path: Path, linked: bool) -> None:
    real = tmp_path / "elsewhere" / "real.json"
    real.parent.mkdir()
    real.write_bytes(OLD)
    path = tmp_path / "link.json" if linked else real
    if linked:
        path.symlink_to(real)
    with pytest.raises(CliError, match="exists: choose another name, or replace it with --force"):
        written(path)
    with pytest.raises(CliError, match=r"another name$"):
        written(path, force=None)
    assert real.read_bytes() == OLD
    written(path, force=True)
    assert real.read_bytes() == NEW and path.is_symlink() is linked
    assert list(real.parent.iterdir()) == [real]


def test_a_link_that_leads_to_nothing_yet_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later.json")
    written(tmp_path / "link")
    assert (tmp_path / "later.json").read_bytes() == NEW and (tmp_path / "link").is_symlink()


def test_what_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    meanwhile(path)
    assert path.read_bytes() == OLD and list(tmp_path.iterdir()) == [path]


def test_without_hard_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT answers, which a USB disk has

    monkeypatch.setattr("intake_api.cli.output_file.os.link", none)
    path = tmp_path / "out.json"
    written(path)
    assert path.read_bytes() == NEW
    meanwhile(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == OLD


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    written(pipe)
    reader.join(30)
    assert got == [NEW] and pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_into_with_or_without_force() -> None:
    for force in (False, True):
        written(Path("/dev/null"), force=force)
    assert Path("/dev/null").is_char_device()


def test_dev_stdout_is_standard_output_and_what_stands_in_its_file_stays(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from intake_api.cli.output_file import Output\n"
        "for name in ('/dev/stdout', '/dev/fd/1', '/proc/self/fd/1', '/dev/stderr', '-'):\n"
        "    with Output.at(Path(name)).writing() as target: target.write(name.encode() + b'\\n')\n"
    )
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    with log.open("ab") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, stderr=out, check=True)
    assert sorted(log.read_text().split()) == sorted(
        ["before", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/stderr", "-"]
    )


def test_a_folder_and_a_place_that_is_not_there_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "out", "its folder does not exist"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path / "file" / "out", "Not a directory"),
    ):
        with pytest.raises(CliError, match=f"{path} cannot be written: .*{why}"):
            Output.at(path, force=True)


@pytest.mark.parametrize("name", ["/dev/full", "out.json"])
def test_a_full_disk_names_the_file_and_leaves_nothing_half(here: Path, name: str) -> None:
    script = (
        "import resource; from pathlib import Path; from intake_api.cli.output_file import Output\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "from intake_api.cli.cli_errors import CliError\n"
        "try:\n"
        f"    with Output.at(Path({name!r}), force=True).writing() as target: target.write(bytes(1 << 20))\n"
        "except CliError as error: print(error)\n"
    )
    if name != "/dev/full":
        (here / name).write_bytes(OLD)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_with_path()
    )
    assert done.stdout.startswith(f"{name} cannot be written: "), done.stdout + done.stderr
    assert {path.name: path.read_bytes() for path in here.iterdir()} == (
        {} if name == "/dev/full" else {name: OLD}
    )


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def exporting(_: Asked) -> Answer:
    return Answer(200, NEW)


def test_an_export_to_what_exists_asks_the_service_nothing(
    here: Path, start: Callable[[Any], Served], capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(exporting)
    (here / "log.jsonl").write_bytes(OLD)
    words = ["audit", "export", "-o", "log.jsonl", "--server", server.url, "--ca", str(server.ca)]
    assert run(words) == 1
    assert "log.jsonl exists" in capsys.readouterr().err and server.asked == []
    assert run([*words, "--force"]) == 0
    assert (here / "log.jsonl").read_bytes() == NEW


def test_an_export_that_was_cut_is_said_to_be_the_lines_fault_and_kept_nowhere(
    here: Path, start: Callable[[Any], Served], capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(lambda _: Answer(200, NEW, {"Content-Length": "1000", "Connection": "close"}))
    words = ["audit", "export", "-o", "log.jsonl", "--server", server.url, "--ca", str(server.ca)]
    assert run(words) == Unreachable.exit_code
    assert "was cut" in capsys.readouterr().err and list(here.glob("*log*")) == []


def test_a_closed_or_full_standard_output_is_a_failure_in_one_line(here: Path) -> None:
    """A shell closes the stream: the interpreter itself then starts without it."""
    for words, redirection, said in (
        ("--help", ">&-", "standard output cannot be written: it is closed"),
        ("--help", ">/dev/full", "standard output cannot be written: No space left on device"),
        ("init", ">&-", "standard output cannot be written: it is closed"),
        ("erase --case 1", "<&-", "add --yes"),
        ("--version", "2>&-", ""),
    ):
        command = f"exec {sys.executable} -m intake_api.cli {words} {redirection}"
        ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=_with_path())
        assert "Traceback" not in ran.stderr and ran.stderr.count("\n") <= 1, ran.stderr
        assert said in ran.stderr and ran.returncode == (1 if said else 0), (words, redirection, ran)


def test_every_command_with_an_output_can_be_forced_and_its_receipt_can_not() -> None:
    def leaves(group: click.Group) -> list[click.Command]:
        context = click.Context(group)
        commands = [group.get_command(context, name) for name in group.list_commands(context)]
        inner = [leaves(c) if isinstance(c, click.Group) else [c] for c in commands if c is not None]
        return [each for some in inner for each in some]

    found = [(command.name, {p.name for p in command.params}) for command in leaves(casevault)]
    with_output = [(name, has) for name, has in found if "output" in has]
    assert {name for name, _ in with_output} >= {"fetch", "save", "show", "export", "keys"}
    assert [name for name, has in with_output if "force" not in has] == []
    receipts = [has for name, has in found if "receipt" in has and name != "verify"]
    assert len(receipts) == 3 and not any("force" in has for has in receipts)


def test_a_receipt_that_would_replace_something_stops_the_erasure(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "kept.json").write_bytes(OLD)
    words = ["erase", "--case", "1", "--yes", "--receipt", "kept.json", "--server", "https://127.0.0.1:1"]
    assert run(words) == 1
    assert "kept.json exists: choose another name" in capsys.readouterr().err
    assert (here / "kept.json").read_bytes() == OLD


def test_a_saved_bundle_is_two_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "a.log").write_text("a line\n")
    os.mkfifo(here / "pipe")
    for name in ("-", "/dev/null", "pipe"):
        assert run(["save", "a.log", "--case", "123456789012345", "-o", name]) == 1
        assert "two files" in capsys.readouterr().err
    assert run(["save", "a.log", "--case", "123456789012345", "-o", "a.log", "--force"]) == 1
    assert "is the file to be saved" in capsys.readouterr().err and (here / "a.log").read_text() == "a line\n"
    words = ["save", "a.log", "--case", "123456789012345", "-o", "b.log"]
    assert run(words) == 0 and run(words) == 1 and run([*words, "--force"]) == 0
