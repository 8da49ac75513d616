"""Blocks over several connections: whatever breaks, what is committed is the file."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as Tree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.blob.crc64 import crc64_of
from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.client import Client
from intake_api.cli.transfer import through_link
from intake_api.cli.transfer.blob import LEAST, Blob, Link, fitting
from intake_api.cli.transfer.rate import Pace, run
from tests.intake_api.cli.serving import Answer, Asked

CONTENT = random.Random(3).randbytes(11 * LEAST + 77)
SIZE = len(CONTENT)


class Store:
    """A blob that keeps what comes, and breaks by a script."""

    def __init__(self, breaks: list[str]) -> None:
        self.blocks: dict[str, bytes] = {}
        self.breaks, self.whole = breaks, b""
        self.lock = threading.Lock()
        self.declared = 0

    def __call__(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        body = asked.read(int(asked.headers.get("Content-Length", 0)))
        with self.lock:
            how = self.breaks.pop(0) if self.breaks else "ok"
            self.declared += "x-ms-meta-case" in asked.headers
            if how == "cut":
                return Answer(cut=0)
            if "blockid" in query and how != "busy":
                assert asked.headers["x-ms-content-crc64"] == crc64_of(body)
                self.blocks[query["blockid"][0]] = body
            elif query["comp"] == ["blocklist"] and how != "busy":
                named = [one.text or "" for one in Tree.fromstring(body)]  # noqa: S314 - our own
                self.whole = b"".join(self.blocks[one] for one in named)
        codes = {"busy": (503, "ServerBusy"), "no": (403, "AuthenticationFailed")}
        status, code = codes.get(how, (201, ""))
        if how == "lost":
            return Answer(cut=0)
        return Answer(status, b"", {"x-ms-error-code": code} if code else {})


def begin(connect: Any, store: Store, count: int, path: Path) -> Callable[[], None]:
    client, server = connect(store)
    path.write_bytes(CONTENT)
    blob = Blob(Link.parse(f"{server.url}/lnk-x?sp=cw&sig=s"), "a.bin", client)

    def send() -> None:
        _, gaps = fitting({}, SIZE)
        missing = through_link.Missing(gaps, (), SIZE, lambda _: None)
        through_link.send(blob, path, missing, {"case": "1"}, Pace(), count)
        blob.commit(client, sorted(missing.offsets), {"case": "1"})

    return send


@given(st.lists(st.sampled_from(["ok", "cut", "busy", "lost"]), max_size=12), st.integers(1, 5))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_breaks_the_file_arrives_whole(
    connect: Any, tmp_path: Path, breaks: list[str], count: int
) -> None:
    store = Store(breaks)
    begin(connect, store, count, tmp_path / "a.bin")()
    assert store.whole == CONTENT
    assert store.declared >= 2  # with the first block, and with the list


@pytest.mark.parametrize("count", [1, 4])
def test_a_refusal_is_not_repeated(connect: Any, tmp_path: Path, count: int) -> None:
    send = begin(connect, store := Store(["no"] * 50), count, tmp_path / "a.bin")
    with pytest.raises(ServiceProblem, match="the upload link is refused"):
        send()
    assert not store.whole and len(store.breaks) >= 50 - count


def test_a_line_that_brings_nothing_is_given_up_at_last(connect: Any, tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        begin(connect, Store(["cut"] * 500), 2, tmp_path / "a.bin")()


def test_a_file_that_shrinks_meanwhile_is_said_to(connect: Any, tmp_path: Path) -> None:
    client, server = connect(Store([]))
    (tmp_path / "a.bin").write_bytes(CONTENT[:-1])
    blob = Blob(Link.parse(f"{server.url}/lnk-x?sp=cw&sig=s"), "a.bin", client)
    missing = through_link.Missing([(0, SIZE)], (), SIZE, lambda _: None)
    with pytest.raises(CliError, match="became shorter"):
        through_link.send(blob, tmp_path / "a.bin", missing, {}, Pace(), 3)


def test_metadata_that_no_header_can_hold_is_said() -> None:
    link = Link.parse("https://host.example/lnk-x?sp=cw&sig=s")
    blob = Blob(link, "a.bin", Client("https://host.example"))
    with pytest.raises(CliError, match="plain ASCII"):
        blob.put(blob.connect(), 0, b"x", "", {"roles": "Überwachung"})


def test_a_link_shows_no_secret() -> None:
    link = Link.parse("https://host.example/casevault/lnk-abc?sp=cw&sig=hidden")
    assert "hidden" not in repr(link) and link.container == "/casevault/lnk-abc"


def test_the_first_error_of_a_lane_ends_the_work() -> None:
    numbers = iter(range(4))

    def worker() -> None:
        if next(numbers) == 2:
            raise CliError("this one failed")
        threading.Event().wait(0.2)

    with pytest.raises(CliError, match="this one failed"):
        run(4, worker)
