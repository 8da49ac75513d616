"""Which bodies are read away, and how much of them."""

from __future__ import annotations

import io
from typing import Any

import pytest

from intake_api import draining
from intake_api.seats import SEAT, Holder, Kind, Seat, SeatPlan, Seats
from intake_api.wsgi import Body

MIB = 1 << 20


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


@pytest.mark.parametrize("let_in", [True, False])
def test_what_is_left_of_a_body_is_read_away(let_in: bool) -> None:
    body = Counted(3 * MIB)
    request = asked(body, CONTENT_LENGTH=str(3 * MIB))
    request["wsgi.input"].read(MIB)
    draining.drain(request, 5, let_in=let_in)
    assert body.left == 0


def test_of_a_chunked_body_so_much_is_read_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "MOST_DRAINED", 2 * MIB)
    body = Counted(5 * MIB)
    draining.drain(asked(body, HTTP_TRANSFER_ENCODING="chunked"), 5, let_in=True)
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
    draining.drain(asked(body, **environ), 5, let_in=True)
    assert body.left == MIB


def test_a_body_that_was_asked_for_is_read_away_to_its_end() -> None:
    body = Counted(MIB)
    request = asked(body, CONTENT_LENGTH=str(MIB), HTTP_EXPECT="100-continue")
    request["wsgi.input"].read(10)
    draining.drain(request, 5, let_in=True)
    assert body.left == 0


def test_a_body_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "DRAIN_SECONDS", -1.0)  # it is over with the first piece
    body = Counted(32 * MIB)
    draining.drain(asked(body, CONTENT_LENGTH=str(32 * MIB)), 5, let_in=True)
    assert body.left > 16 * MIB


@pytest.mark.parametrize("let_in", [True, False])
def test_so_many_at_once_are_waited_for_and_their_seats_come_back(let_in: bool) -> None:
    seats = Seats(SeatPlan())
    count = SeatPlan().shares()[Kind.DRAIN].all
    for _ in range(count):
        seats.take(Kind.DRAIN, Holder())
    body, seat = Counted(MIB), {SEAT: Seat(seats)}
    draining.drain(asked(body, CONTENT_LENGTH=str(MIB)) | seat, 5, let_in=let_in)
    assert body.left == MIB
    seats.leave(Kind.DRAIN, Holder())
    draining.drain(asked(body, CONTENT_LENGTH=str(MIB)) | seat, 5, let_in=let_in)
    assert body.left == 0
    assert seats.taken(Kind.DRAIN) == count - 1


def test_an_uploads_seat_will_do() -> None:
    seats = Seats(SeatPlan(threads=12, uploads=3, reads=3))  # none for this
    seat, body = Seat(seats), Counted(MIB)
    seat.take(Kind.UPLOAD)
    draining.drain(asked(body, CONTENT_LENGTH=str(MIB)) | {SEAT: seat}, 5, let_in=True)
    assert body.left == 0
