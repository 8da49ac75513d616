"""Uploading: wherever the line breaks, what arrives is the file, and nothing is sent that the service has."""

from __future__ import annotations

import base64
import io
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intake_api.cli.cli_errors import CliError, ServiceProblem, Unreachable
from intake_api.cli.transfer import tus
from intake_api.cli.transfer.rate import LARGEST
from tests.intake_api.cli.serving import Answer, Asked, problem

SIZE = 3 * LARGEST + 1234
CONTENT = random.Random(1).randbytes(SIZE)


class Store:
    """A tus server that keeps some of what is sent, then does what the script says."""

    def __init__(self, breaks: list[tuple[int, str]]) -> None:
        self.kept = b""
        self.breaks = breaks
        self.sent = 0

    def __call__(self, asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(201, b"", {"Location": "https://elsewhere.example/uploads/bun_x"})
        if asked.method == "HEAD":
            return Answer(200, b"", {"Upload-Offset": str(len(self.kept))})
        if int(asked.headers["Upload-Offset"]) != len(self.kept):
            return problem(409, "offset-mismatch", "the upload continues elsewhere")
        length = int(asked.headers["Content-Length"])
        take, how = self.breaks.pop(0) if self.breaks else (length, "ok")
        take = min(take, length)
        self.kept += asked.read(take)
        self.sent += length
        return {
            "ok": Answer(204, b"", {"Upload-Offset": str(len(self.kept))}),
            "cut": Answer(cut=take),
            "busy": Answer(503, headers={"Connection": "close"}),
            "stalled": Answer(408, headers={"Connection": "close"}),
        }[how if take == length or how != "ok" else "cut"]


BREAKS = st.lists(
    st.tuples(st.integers(0, SIZE), st.sampled_from(["cut", "busy", "stalled", "ok"])), max_size=tus.FRUITLESS
)


@given(BREAKS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_breaks_the_file_arrives_whole(connect: Any, breaks: list[tuple[int, str]]) -> None:
    store = Store(breaks)
    client, _ = connect(store)
    reached: list[int] = []
    tus.send(client, "/uploads/bun_x", io.BytesIO(CONTENT), SIZE, reached.append)
    assert store.kept == CONTENT
    assert reached[-1] == SIZE


def test_what_the_service_has_is_not_sent_again(connect: Any) -> None:
    store = Store([])
    store.kept = CONTENT[: 2 * LARGEST]
    client, _ = connect(store)
    tus.send(client, "/uploads/bun_x", io.BytesIO(CONTENT), SIZE, lambda _: None)
    assert store.kept == CONTENT and store.sent == SIZE - 2 * LARGEST


def test_a_line_that_brings_nothing_is_given_up_at_last(connect: Any) -> None:
    store = Store([(0, "cut")] * 100)
    client, server = connect(store)
    with pytest.raises(Unreachable):
        tus.send(client, "/uploads/bun_x", io.BytesIO(CONTENT), SIZE, lambda _: None)
    assert len([asked for asked in server.asked if asked.method == "PATCH"]) == tus.FRUITLESS + 1


@pytest.mark.parametrize(
    ("status", "code"), [(403, "refused"), (409, "upload-taken-over"), (410, "erased"), (413, "too-large")]
)
def test_what_cannot_get_better_is_not_repeated(connect: Any, status: int, code: str) -> None:
    def script(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return Answer(200, b"", {"Upload-Offset": "0"})
        asked.read(int(asked.headers["Content-Length"]))
        return problem(status, code, "no")

    client, server = connect(script)
    with pytest.raises(ServiceProblem):
        tus.send(client, "/uploads/bun_x", io.BytesIO(CONTENT), SIZE, lambda _: None)
    assert [asked.method for asked in server.asked] == ["HEAD", "PATCH"]


def test_a_file_that_shrinks_meanwhile_is_said_to(connect: Any) -> None:
    client, _ = connect(Store([]))
    with pytest.raises(CliError, match="became shorter"):
        tus.send(client, "/uploads/bun_x", io.BytesIO(CONTENT[:-1]), SIZE, lambda _: None)


def test_an_upload_is_announced_with_its_metadata_and_goes_to_the_server_that_was_named(connect: Any) -> None:
    client, server = connect(Store([]))
    location = tus.create(client, SIZE, {"filename": "Übersicht.zip", "case": "1"})
    (asked,) = server.asked
    announced = dict(pair.split(" ") for pair in asked.headers["Upload-Metadata"].split(","))
    assert {name: base64.b64decode(value).decode() for name, value in announced.items()} == {
        "filename": "Übersicht.zip",
        "case": "1",
    }
    assert asked.headers["Upload-Length"] == str(SIZE)
    assert location == "/uploads/bun_x"  # a Location elsewhere does not take the token along
    assert tus.bundle_of(location) == "bun_x"
