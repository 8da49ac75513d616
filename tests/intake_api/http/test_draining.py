"""Which bodies are read away, and how much of them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from intake_api.http import draining
from intake_api.http.request_body import Body
from intake_api.http.seats import SEAT, Holder, Kind, Seat, SeatPlan, Seats
from tests.intake_api.blob.calling import sender
from tests.service import STAMP, Service

MIB = 1 << 20
ALICE = Holder("alice", "contoso")


class Counted(io.BytesIO):
    """A body that knows how much of it was read."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))
        self.size = size

    @property
    def left(self) -> int:
        return self.size - self.tell()


def asked(body: Counted, **environ: str) -> dict[str, Any]:
    return {"wsgi.input": Body(body), **environ}


@pytest.mark.parametrize("let_in", [ALICE, None])
def test_what_is_left_of_a_body_is_read_away(let_in: Holder | None) -> None:
    body = Counted(3 * MIB)
    request = asked(body, CONTENT_LENGTH=str(3 * MIB))
    request["wsgi.input"].read(MIB)
    draining.drain(request, 5, let_in)
    assert body.left == 0


def test_of_a_chunked_body_so_much_is_read_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "MOST_DRAINED", 2 * MIB)
    body = Counted(5 * MIB)
    draining.drain(asked(body, HTTP_TRANSFER_ENCODING="chunked"), 5, ALICE)
    assert body.left == 3 * MIB


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": str(draining.MOST_DRAINED + 1)},  # in vain
        {"CONTENT_LENGTH": "1000000", "HTTP_EXPECT": "100-continue"},  # nothing comes before it is asked for
        {"HTTP_TRANSFER_ENCODING": "chunked", "HTTP_EXPECT": "100-continue"},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": "x"},
        {},
    ],
)
def test_what_is_not_coming_or_too_much_is_not_waited_for(environ: dict[str, str]) -> None:
    body = Counted(MIB)
    draining.drain(asked(body, **environ), 5, ALICE)
    assert body.left == MIB


def test_a_body_that_was_asked_for_is_read_away_to_its_end() -> None:
    body = Counted(MIB)
    request = asked(body, CONTENT_LENGTH=str(MIB), HTTP_EXPECT="100-continue")
    request["wsgi.input"].read(10)
    draining.drain(request, 5, ALICE)
    assert body.left == 0


def test_a_body_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "DRAIN_SECONDS", -1.0)  # it is over with the first piece
    body = Counted(32 * MIB)
    draining.drain(asked(body, CONTENT_LENGTH=str(32 * MIB)), 5, ALICE)
    assert body.left > 16 * MIB


@pytest.mark.parametrize("let_in", [ALICE, None])
def test_so_many_at_once_are_waited_for_and_their_seats_come_back(let_in: Holder | None) -> None:
    seats = Seats(SeatPlan())
    count = SeatPlan().shares()[Kind.DRAIN].all
    for _ in range(count):
        seats.take(Kind.DRAIN, Holder())
    body, seat = Counted(MIB), {SEAT: Seat(seats)}
    draining.drain(asked(body, CONTENT_LENGTH=str(MIB)) | seat, 5, let_in)
    assert body.left == MIB
    seats.leave(Kind.DRAIN, Holder())
    draining.drain(asked(body, CONTENT_LENGTH=str(MIB)) | seat, 5, let_in)
    assert body.left == 0
    assert seats.taken(Kind.DRAIN) == count - 1


@pytest.mark.parametrize(
    ("held", "share", "another"),
    [
        (ALICE, "caller", Holder("bob", "contoso")),
        (Holder(None, "contoso"), "tenant", Holder("eve", "fabrikam")),
        (Holder("address 192.0.2.1"), "caller", ALICE),
    ],
)
def test_of_one_caller_and_of_one_customer_fewer_are_waited_for(
    held: Holder, share: str, another: Holder
) -> None:
    seats = Seats(SeatPlan())
    for _ in range(getattr(SeatPlan().shares()[Kind.DRAIN], share)):
        seats.take(Kind.DRAIN, held)
    stranger = held.caller is not None and held.caller.startswith("address")
    for let_in, left in ((None if stranger else ALICE, MIB), (another, 0)):
        body = Counted(MIB)
        request = asked(body, CONTENT_LENGTH=str(MIB), REMOTE_ADDR="192.0.2.1") | {SEAT: Seat(seats)}
        draining.drain(request, 5, let_in)
        assert body.left == left


def test_an_uploads_seat_will_do() -> None:
    seats = Seats(SeatPlan(threads=12, uploads=3, reads=3))  # none for this
    seat, body = Seat(seats), Counted(MIB)
    seat.take(Kind.UPLOAD)
    draining.drain(asked(body, CONTENT_LENGTH=str(MIB)) | {SEAT: seat}, 5, ALICE)
    assert body.left == 0


class Noted(Seats):
    """Notes whose seats are taken to read bodies away."""

    def __init__(self) -> None:
        super().__init__(SeatPlan())
        self.drained: list[Holder] = []

    def take(self, kind: Kind, holder: Holder) -> None:
        super().take(kind, holder)
        if kind == Kind.DRAIN:
            self.drained.append(holder)


def test_a_body_is_read_away_as_that_of_whom_the_token_or_the_link_names(service: Service) -> None:
    by, noted = sender(service), Noted()
    environ = {SEAT: Seat(noted), "REMOTE_ADDR": "192.0.2.7"}
    for token in (STAMP, None):
        refused = service.call(
            "GET", "/cases/none", token, data=b"nobody wants it", environ_overrides=environ
        )
        assert refused.status_code == (401 if token is None else 404)
    assert by.call("HEAD", "none", data=b"nobody wants it", **environ).status_code == 404
    assert by.call("GET", "none", data=b"nobody wants it", sas="sig=forged", **environ).status_code == 403
    of_stamp, unknown, of_link, forged = noted.drained
    assert of_stamp.caller is not None and of_stamp.caller.startswith("act_")
    assert of_link.caller == by.link
    assert of_stamp.tenant == of_link.tenant is not None
    assert unknown == forged == Holder("address 192.0.2.7")
