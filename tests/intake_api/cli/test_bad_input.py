"""Whatever is typed: one line on stderr, nothing on stdout, a code that is not 0."""

from __future__ import annotations

from pathlib import Path

import pytest

from intake_api.cli.main import run

BAD = [
    (["nothing"], 2, "No such command"),
    (["send"], 2, "Missing argument"),
    (["send", "no-such-file"], 2, "does not exist"),
    (["send", "empty-folder", "--case", "1"], 1, "holds no readable file"),
    (["send", "a.log", "--logs-start", "yesterday"], 2, "with its zone"),
    (["send", "a.log", "--type", "odd"], 2, "proactive"),
    (["send", "a.log", "--no-wait", "--receipt", "r.json"], 2, "exclude each other"),
    (["send", "a.log", "--server", "http://127.0.0.1:1"], 1, "https://"),
    (["send", "a.log", "--server", "https://127.0.0.1:1", "--no-digest"], 1, "cannot be reached"),
    (["cases", "list", "--server", "https://127.0.0.1:1"], 1, "cannot be reached"),
    (["cases", "list", "--ca", "no-such-ca"], 1, "does not exist"),
    (["cases", "list", "--server", "https://[::1"], 1, "https://"),
    (["cases", "list", "--server", f"https://{'a' * 80}.com"], 1, "cannot be reached"),
    (["cases", "list", "--limit", "9" * 30], 2, "limit"),
    (["cases", "list", "--token", "two words"], 1, "has spaces in it"),
    (["cases", "list", "--token-command", "no-such-program"], 1, "token command"),
    (["cases", "list", "--as", "nobody"], 1, "ROLE:NAME"),
    (["cases", "list", "--limit", "-1"], 2, "limit"),
    (["cases", "close", "1", "--at", "2026-11-20"], 2, "with its zone"),
    (["grant", "1"], 2, "--reason"),
    (["grant", "1", "--reason", "x", "--hours", "many"], 2, "hours"),
    (["grant", "1", "--reason", "x", "--hours", "nan"], 2, "hours"),
    (["consent", "1", "--partner", "oem", "--days", "9" * 9], 2, "days"),
    (["doctor", "--patience", "inf"], 2, "patience"),
    (["consent", "1", "--partner", "oem"], 2, "exactly one of --until and --days"),
    (
        ["consent", "1", "--partner", "oem", "--days", "1", "--until", "now"],
        2,
        "exactly one of --until and --days",
    ),
    (["revoke", "bun_x"], 2, "grn_"),
    (["fetch", "bun_x", "--range", "5"], 2, "FIRST-LAST"),
    (["fetch", "bun_x", "--range", "a-b"], 2, "FIRST-LAST"),
    (["fetch", "bun_x", "-o", "a.log"], 1, "--force"),
    (["erase"], 2, "exactly one of --case and --bundle"),
    (["erase", "--case", "1", "--bundle", "b"], 2, "exactly one of --case and --bundle"),
    (["erase", "--case", "1"], 1, "--yes"),
    (["receipts", "verify", "a.log"], 2, "--keys"),
    (["receipts", "verify", "a.log", "--keys", "a.log"], 1, "is not a receipt"),
    (["receipts", "verify", "list.json", "--keys", "a.log"], 1, "is not a receipt"),
    (["receipts", "verify", "object.json", "--keys", "a.log"], 1, "is not a file of keys"),
    (["receipts", "verify", "object.json", "--keys", "object.json"], 1, "two keys"),
    (["audit", "verify", "--state", "empty-folder"], 1, "no log"),
    (["audit", "verify", "--state", "no-such-folder"], 1, "no log"),
    (["audit", "overdue", "--state", "empty-folder"], 1, "no log"),
    (["audit", "unaccounted", "--state", "empty-folder"], 1, "no log"),
    (["audit", "redact", "ent_x"], 2, "--reason"),
    (["audit", "redact", "bun_x", "--reason", "a real reason"], 2, "ent_"),
    (["audit", "redact", "ent_x", "--reason", "a real reason"], 1, "--yes"),
    (["audit", "entries", "--action", "odd"], 2, "action"),
    (["audit", "export", "--format", "xml"], 2, "jsonl"),
    (["serve", "--listen", "nowhere", "--development"], 1, "CASEVAULT_LISTEN"),
    (["serve", "--listen", "0.0.0.0:8443", "--development"], 1, "loopback"),
    (["serve"], 1, "CASEVAULT_ISSUER"),
    (["sweep", "--state", "no-such-folder"], 1, "casevault init"),
    (["keys", "rotate", "--state", "empty-folder"], 1, "casevault init"),
    (["demo", "--bytes", "1"], 2, "bytes"),
    (["demo", "--state", "full-folder"], 1, "is not empty"),
]


@pytest.fixture(autouse=True)
def folder(here: Path) -> None:
    (here / "a.log").write_text("a line\n")
    (here / "empty-folder").mkdir()
    (here / "full-folder").mkdir()
    (here / "full-folder" / "mine").touch()
    (here / "list.json").write_text("[1]")
    (here / "object.json").write_text("{}")


@pytest.mark.parametrize(("words", "code", "said"), BAD, ids=[" ".join(words) for words, _, _ in BAD])
def test_an_error_is_one_line_and_a_code(
    words: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("intake_api.cli.client.TRIES", 1)
    monkeypatch.setattr("intake_api.cli.transfer.tus.FRUITLESS", 1)
    assert run(words) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("casevault: ")]
    assert len(lines) == 1 and said in lines[0], captured.err
    assert captured.err.splitlines()[-1] == lines[0]
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_what_others_wrote_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["send", "x\x1b[2J\u202egnp.exe"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\u202e" not in said and "\\x1b" in said


@pytest.mark.parametrize("words", [[], ["cases"]])
def test_a_command_that_is_not_said_whole_is_answered_with_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) > 5
    assert said.err.startswith("Usage: casevault")
