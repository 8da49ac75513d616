"""What has no length yet, and what has none at all: a pipe, and an empty file, by either way in."""

from __future__ import annotations

import hashlib
import io
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.served import ADMINISTRATOR, CASE_SYSTEM, ROOT, Line, Ran, Served, free_port, start

OLGA, RACK = "operator:olga@contoso", "stamp:rack-1@contoso"
LOGS = random.Random(4).randbytes(19_000_000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    service = start(tmp_path_factory.mktemp("piped"), CASEVAULT_BLOB_LISTEN=f"127.0.0.1:{free_port()}")
    service.do("tenants", "register", "Contoso", "--directory", "contoso", who=ADMINISTRATOR)
    service.do("stamps", "register", "Rack 1", "--subject", "rack-1", "--proactive", who=OLGA)
    yield service
    service.stop()


@pytest.fixture
def case(served: Served) -> str:
    number = served.case_number()
    served.do("cases", "open", number, "--directory", "contoso", who=CASE_SYSTEM)
    return number


@pytest.fixture
def link(served: Served, case: str) -> str:
    return str(served.do("links", "issue", "--case", case, who=OLGA)["url"])


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    file = tmp_path / "empty.log"
    file.touch()
    return file


def piped(
    served: Served, patch: pytest.MonkeyPatch, content: bytes, *words: str, server: str | None = None
) -> Ran:
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return served.cli("send", "-", *words, "--json", who=RACK, server=server)


def listed(served: Served, case: str) -> list[dict[str, str]]:
    return list(served.do("collections", "--case", case, who=OLGA))


def test_a_pipe_is_sent_as_it_comes_and_its_receipt_is_checked(
    served: Served, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(served.server, [None, 3_000_000, 9_000_000, 100_000], sending=True)
    ran = piped(served, monkeypatch, LOGS, "--case", case, "--name", "logs.tar", server=line.server)
    assert ran.code == 0, ran.err
    assert (ran.json["size"], ran.json["sha256"]) == (len(LOGS), hashlib.sha256(LOGS).hexdigest())
    (one,) = listed(served, case)
    assert (one["file_name"], one["state"]) == ("logs.tar", "complete")


def test_a_pipe_goes_through_a_link(
    served: Served, case: str, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = piped(served, monkeypatch, LOGS, "--link", link)
    assert ran.code == 0, ran.err
    assert (ran.json["size"], ran.json["sha256"]) == (len(LOGS), hashlib.sha256(LOGS).hexdigest())
    (one,) = listed(served, case)
    assert (one["file_name"], one["state"]) == ("stdin", "complete")


@pytest.mark.parametrize("way", ["token", "link"])
def test_an_empty_pipe_is_taken_for_a_command_that_failed(
    served: Served, case: str, link: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    ran = piped(served, monkeypatch, b"", *(("--case", case) if way == "token" else ("--link", link)))
    assert ran.code != 0 and "standard input was empty" in ran.error
    assert listed(served, case) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_pipe_whose_sender_ends_completes_nothing(
    served: Served, case: str, number: signal.Signals
) -> None:
    words = ("send", "-", "--case", case, "--as", RACK)
    with subprocess.Popen(
        [sys.executable, "-m", "intake_api.cli", *words],
        cwd=ROOT,
        env=served.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    ) as sender:
        assert sender.stdin is not None
        sender.stdin.write(LOGS[:9_000_000])
        sender.stdin.flush()
        sender.stdin.write(LOGS[9_000_000:17_000_000])  # so the first piece was taken, and sent
        sender.stdin.flush()
        sender.send_signal(number)
        sender.stdin = None
        sender.wait(30)
    states = {one["state"] for one in listed(served, case)}
    assert states
    assert states <= ({"receiving"} if number == signal.SIGKILL else {"erasing", "erased"})


def test_what_goes_with_a_file_does_not_go_with_a_pipe(
    served: Served, case: str, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, said in ((("--connections", "3"), "need a file"), (("--no-digest",), "need a file")):
        ran = piped(served, monkeypatch, b"x", "--case", case, *words)
        assert ran.code == 2 and said in ran.error
    ran = served.cli("send", empty, "--case", case, "--name", "other.log", who=RACK)
    assert ran.code == 2 and "a file is sent under its own name" in ran.error


@pytest.mark.parametrize("more", [(), ("--connections", "3")])
def test_an_empty_file_is_an_empty_bundle_with_a_receipt(
    served: Served, case: str, empty: Path, more: tuple[str, ...]
) -> None:
    sent = served.do("send", empty, "--case", case, *more, who=RACK)
    assert (sent["size"], sent["sha256"]) == (0, hashlib.sha256(b"").hexdigest())
    assert "holds" in sent["checked"]


def test_an_empty_file_goes_through_a_link_once(served: Served, case: str, link: str, empty: Path) -> None:
    sent = served.do("send", empty, "--link", link)
    assert (sent["size"], sent["sha256"]) == (0, hashlib.sha256(b"").hexdigest())
    assert served.do("send", empty, "--link", link)["bundle"] == sent["bundle"]
    assert [one["state"] for one in listed(served, case)] == ["complete"]


def test_an_empty_file_is_saved_and_sent(served: Served, case: str, empty: Path, tmp_path: Path) -> None:
    saved = served.do("save", empty, "-o", tmp_path / "usb.log", "--case", case)
    sent = served.do("send", saved["bundle"], who=RACK)
    assert sent["size"] == 0
    assert served.do("send", saved["bundle"], who=RACK)["bundle"] == sent["bundle"]
