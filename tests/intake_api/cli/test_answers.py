"""What a command says beside its answer: that there is more, that nobody is there, whose link it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from intake_api.cli.cli_errors import Unreachable
from intake_api.cli.client import Client
from intake_api.cli.connection import DEFAULT_SERVER, local_server
from intake_api.cli.main import run
from intake_api.cli.tokens import ROLE_OF_WORD
from retention.domain.actor import OURS_ALONE
from retention.domain.receipt import INTAKE, Checked
from tests.intake_api.cli.serving import Answer, Asked, Served

Start = Callable[[Callable[[Asked], Answer]], Served]


def listing(total: int) -> Callable[[Asked], Answer]:
    """A list of so many, by pages."""

    def answer(asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        first, limit = int(query.get("cursor", ["0"])[0]), int(query["limit"][0])
        items = [{"id": str(number)} for number in range(first, min(total, first + limit))]
        after = first + limit
        body = {"items": items, "next": str(after) if after < total else None}
        return Answer(200, json.dumps(body).encode())

    return answer


@pytest.mark.parametrize(
    ("total", "limit", "more"),
    [(3, 2, True), (3, 3, False), (3, None, False), (450, 400, True), (450, 450, False), (450, None, False)],
)
def test_a_list_knows_whether_the_limit_kept_any_back(
    connect: Any, total: int, limit: int | None, more: bool
) -> None:
    client, _ = connect(listing(total))
    found = client.items("/things", limit)
    assert len(list(found)) == (total if limit is None else min(limit, total))
    assert found.more is more


def test_that_there_is_more_is_said_beside_the_list_and_not_in_it(
    here: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(listing(3))
    words = ["tenants", "list", "--server", server.url, "--ca", str(server.ca), "--json"]
    assert run([*words, "--limit", "2"]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 2 and "showing the first 2; there are more" in said.err
    assert run([*words, "--limit", "3"]) == 0
    assert "more" not in capsys.readouterr().err


def test_a_service_that_is_down_is_asked_twice_and_said_in_plain_words() -> None:
    pauses: list[float] = []
    client = Client("https://127.0.0.1:1", sleep=pauses.append)
    with pytest.raises(
        Unreachable,
        match=r"^https://127\.0\.0\.1:1 cannot be reached: connection refused, nothing listens there",
    ):
        client.get("/cases")
    assert len(pauses) == 1 and pauses[0] <= 0.5


def test_a_service_that_goes_away_meanwhile_is_waited_for(connect: Any) -> None:
    client, server = connect(lambda _: Answer(headers={"Connection": "close"}))
    client.get("/healthz")
    server.shutdown()
    server.server_close()
    pauses: list[float] = []
    client.sleep = pauses.append
    with pytest.raises(Unreachable):
        client.get("/cases")
    assert len(pauses) == 4


def test_as_names_only_roles_that_an_issuer_gives(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert not OURS_ALONE & set(ROLE_OF_WORD.values())
    assert run(["cases", "list", "--as", "upload-link:x"]) == 1
    assert "upload-link," not in capsys.readouterr().err


def test_what_is_too_long_for_an_address_is_said_so(
    here: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start(lambda _: Answer(414, b""))
    assert run(["cases", "show", "9", "--token", "t", "--server", server.url, "--ca", str(server.ca)]) == 1
    assert "address is too long" in capsys.readouterr().err


def test_a_service_on_this_machine_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = here / "state"
    assert local_server(state) == DEFAULT_SERVER
    state.mkdir()
    (state / "serving.lock").write_text("https://127.0.0.1:9443")
    assert local_server(state) == "https://127.0.0.1:9443"
    monkeypatch.setenv("CASEVAULT_LISTEN", "0.0.0.0:7443")
    assert local_server(state) == "https://127.0.0.1:7443"


@pytest.mark.parametrize("state", ["damaged", "complete", None])
def test_the_receipt_of_a_bundle_that_was_damaged_since_is_shown_with_a_warning(
    here: Path,
    start: Start,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    state: str | None,
) -> None:
    fields = {"format": INTAKE, "bundle": "bun_1"}
    document = {"receipt": fields, **({"state": state} if state else {})}
    server = start(lambda _: Answer(200, json.dumps(document).encode()))
    monkeypatch.setattr("intake_api.cli.commands.receipts.pinned_keys", lambda *_: ())
    monkeypatch.setattr("intake_api.cli.commands.receipts.checked", lambda *_: Checked(fields, {}, 3, 7))
    words = ["receipts", "show", "bun_1", "--token", "t", "--server", server.url, "--ca", str(server.ca)]
    assert run(words) == 0
    told = capsys.readouterr()
    assert "bun_1" in told.out, "it is true still"
    assert ("can no longer be read" in told.err) == (state == "damaged")


LINK = "{server}/casevault/lnk-abc?sp=cw&se=2027-01-01T00%3A00%3A00Z&sig=x"


@pytest.mark.parametrize(
    ("status", "code", "accepted"),
    [
        (200, "", True),
        (403, "AuthorizationPermissionMismatch", True),  # it may write, and see nothing
        (403, "AuthenticationFailed", False),
    ],
)
def test_a_link_is_checked_with_nothing_but_the_link(
    here: Path, start: Start, capsys: pytest.CaptureFixture[str], status: int, code: str, accepted: bool
) -> None:
    server = start(lambda _: Answer(status, b"", {"x-ms-error-code": code}))
    words = ["links", "check", "--link", LINK.format(server=server.url), "--ca", str(server.ca), "--json"]
    assert run(words) == (0 if accepted else 1)
    told = json.loads(capsys.readouterr().out)
    assert (told["accepted"], told["link"]) == (accepted, "lnk_abc")
    assert {asked.method for asked in server.asked} == {"GET"}  # it changes nothing


def test_the_demo_looks_at_the_disk_before_it_fills_it(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 << 30))
    assert run(["demo", "--bytes", str(1 << 30)]) == 1
    said = capsys.readouterr()
    assert "the demo of 1.0 GiB needs 4.1 GiB" in said.err and "--bytes" in said.err and said.out == ""
