"""The client: one clear line for whatever goes wrong, repeats only what is safe, gives its token to nobody else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.cli.cli_errors import INTERRUPTED, REFUSED, CliError, ServiceProblem, Unreachable
from intake_api.cli.client import TRIES, Client, pause_before
from intake_api.cli.tokens import FetchedToken, GivenToken
from tests.intake_api.cli.serving import Answer, problem

BUSY = problem(503, "unavailable", "the database does not answer", request_id="req-1")


def test_a_busy_service_is_asked_again_when_the_call_is_safe(connect: Any) -> None:
    answers = iter([BUSY, Answer(cut=0), Answer(body=b'{"ok": 1}')])
    client, server = connect(lambda _: next(answers))
    assert client.get("/readyz") == {"ok": 1}
    assert len(server.asked) == 3


def test_a_service_that_stays_busy_is_given_up_with_its_own_words(connect: Any) -> None:
    client, server = connect(lambda _: BUSY)
    with pytest.raises(ServiceProblem, match=r"the database does not answer \[request req-1\]"):
        client.get("/cases")
    assert len(server.asked) == TRIES


@pytest.mark.parametrize("answer", [BUSY, Answer(cut=0)])
def test_a_call_that_changes_something_is_never_repeated(connect: Any, answer: Answer) -> None:
    client, server = connect(lambda _: answer)
    with pytest.raises(CliError):
        client.post("/cases", {"number": "1"})
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "line", "code"),
    [
        (problem(403, "refused", "not yours", reason="not-assigned"), "not yours (not-assigned)", REFUSED),
        (problem(404, "not-found", "there is no case"), "there is no case", REFUSED),
        (problem(422, "invalid", "no", errors={"size": "must be more"}), "no; size must be more", 1),
        (
            problem(422, "invalid", "no: size must be more", errors={"size": "must be more"}),
            "no: size must be more",
            1,
        ),
        (Answer(502, b"<html>"), "the server responded 502 Bad Gateway", 1),
        (Answer(200, b"<html>"), "the response is not JSON: is this a casevault service?", 1),
    ],
)
def test_an_answer_that_is_a_problem_is_one_line(connect: Any, answer: Answer, line: str, code: int) -> None:
    client, _ = connect(lambda _: answer)
    with pytest.raises(CliError) as caught:
        client.get("/x")
    assert (str(caught.value), caught.value.exit_code) == (line, code)


def test_a_token_that_ran_out_is_renewed_once(connect: Any) -> None:
    tokens = (f"token-{n}" for n in count())
    client, server = connect(
        lambda asked: (
            Answer() if asked.headers["Authorization"] == "Bearer token-1" else problem(401, "x", "expired")
        )
    )
    signed_in = Client(client.server, server.ca, FetchedToken(lambda: next(tokens)))
    signed_in.get("/cases")
    signed_in.get("/cases")
    assert [asked.headers["Authorization"][-1] for asked in server.asked] == ["0", "1", "1"]


def test_a_given_token_that_ran_out_is_said_to_have(connect: Any) -> None:
    client, server = connect(
        lambda _: problem(401, "unauthenticated", "the token has expired", reason="expired")
    )
    with pytest.raises(ServiceProblem, match="expired") as caught:
        Client(client.server, server.ca, GivenToken("t")).get("/cases")
    assert caught.value.exit_code == REFUSED
    assert len(server.asked) == 1


def test_the_token_does_not_follow_a_redirect(connect: Any) -> None:
    away, elsewhere = connect(lambda _: Answer())
    client, server = connect(lambda _: Answer(302, headers={"Location": f"{away.server}/cases"}))
    with pytest.raises(CliError):
        Client(client.server, server.ca, GivenToken("secret")).get("/cases")
    assert elsewhere.asked == []


def test_the_token_is_the_given_one_whatever_netrc_says(
    connect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client, server = connect(lambda _: Answer())
    Client(client.server, server.ca, GivenToken("mine")).get("/cases")
    client.get("/healthz")
    assert [asked.headers.get("Authorization") for asked in server.asked] == ["Bearer mine", None]


def test_another_ca_is_not_trusted_and_the_environment_changes_nothing(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, server = connect(lambda _: Answer())
    _, stranger = connect(lambda _: Answer())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    with pytest.raises(CliError, match="could not prove who it is") as caught:
        Client(client.server, stranger.ca).get("/cases")
    assert not isinstance(caught.value, Unreachable)
    assert server.asked == []


def test_nobody_there_is_said_to_be_unreachable(connect: Any, start: Any) -> None:
    client, server = connect(lambda _: Answer())
    server.shutdown()
    server.server_close()
    with pytest.raises(Unreachable, match=r"cannot be reached: .*[Cc]onnection refused"):
        client.get("/cases")


@pytest.mark.parametrize(
    "server", ["http://example.com", "example.com", "https://", "https://x/?a=1", "ftp://x"]
)
def test_only_https_addresses_are_taken(server: str) -> None:
    with pytest.raises(CliError, match="https://"):
        Client(server)


def test_a_list_is_read_page_by_page_up_to_the_limit(connect: Any) -> None:
    pages = {None: ([1, 2], "b"), "b": ([3, 4], "c"), "c": ([5], None)}

    def script(asked: Any) -> Answer:
        (cursor,) = parse_qs(urlsplit(asked.path).query).get("cursor", [None])
        items, following = pages[cursor]
        return Answer(body=json.dumps({"items": items, "next": following}).encode())

    client, server = connect(script)
    assert list(client.items("/cases")) == [1, 2, 3, 4, 5]
    assert list(client.items("/cases", 3)) == [1, 2, 3]
    assert len(server.asked) == 3 + 2


@given(st.integers(1, 1000), st.one_of(st.none(), st.integers(0, 10**6).map(str), st.text()))
def test_a_pause_is_bounded_and_never_shorter_than_asked_for(attempt: int, asked: str | None) -> None:
    pause = pause_before(attempt, asked)
    wanted = int(asked) if asked and asked.isascii() and asked.isdigit() else 0
    assert min(30, wanted) <= pause <= 30
    assert pause >= min(30, 0.25 * 2 ** min(attempt, 10)) / 2


def pages_of(total: int, held: Mapping[str, Event]) -> Callable[[Any], Answer]:
    """Pages of two numbers; the page at a cursor in `held` waits until it may come."""

    def script(asked: Any) -> Answer:
        first = int(parse_qs(urlsplit(asked.path).query).get("cursor", ["0"])[0])
        if str(first) in held:
            held[str(first)].wait(30)
        after = str(first + 2) if first + 2 < total else None
        return Answer(body=json.dumps({"items": [first, first + 1], "next": after}).encode())

    return script


def _asked_for(server: Any, number: int) -> None:
    deadline = time.monotonic() + 30
    while len(server.asked) < number and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.asked) == number


def test_one_page_ahead_is_fetched_and_never_two(connect: Any) -> None:
    held = {"4": Event()}
    client, server = connect(pages_of(8, held))
    found = iter(client.items("/cases"))
    assert next(found) == 0
    _asked_for(server, 2)  # while the first page is gone through
    assert [next(found), next(found)] == [1, 2]
    _asked_for(server, 3)
    assert next(found) == 3
    held["4"].set()
    assert next(found) == 4
    _asked_for(server, 4)
    assert list(found) == [5, 6, 7]
    assert len(server.asked) == 4


def test_no_page_beyond_the_limit_is_asked_for(connect: Any) -> None:
    client, server = connect(pages_of(8, {}))
    assert list(client.items("/cases", 4)) == [0, 1, 2, 3]
    assert len(server.asked) == 2


def test_what_goes_wrong_with_the_page_ahead_is_said_when_its_turn_comes(connect: Any) -> None:
    def script(asked: Any) -> Answer:
        if "cursor" in asked.path:
            return problem(403, "forbidden", "not yours")
        return Answer(body=json.dumps({"items": [1, 2], "next": "b"}).encode())

    client, _ = connect(script)
    found = iter(client.items("/cases"))
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ServiceProblem, match="not yours"):
        next(found)


def test_an_interrupt_ends_a_list_at_once_though_the_page_ahead_does_not_come(start: Any, here: Path) -> None:
    held = Event()

    def script(asked: Any) -> Answer:
        if "cursor" in asked.path:
            held.wait(60)
        items = [{"name": f"Tenant {number}"} for number in range(200)]
        return Answer(body=json.dumps({"items": items, "next": "b"}).encode())

    server = start(script)
    words = ["tenants", "list", "--limit", "0", "--json", "--server", server.url, "--ca", str(server.ca)]
    with subprocess.Popen(
        [sys.executable, "-m", "intake_api.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        shown = b""
        while b"Tenant 199" not in shown:  # the first page is out
            shown += (piece := running.stdout.read1())
            assert piece
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == INTERRUPTED
        assert not held.is_set()
        held.set()
        assert b"stopped" in running.stderr.read()
        assert not (shown + running.stdout.read()).rstrip().endswith(b"]")
