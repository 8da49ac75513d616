"""How the threads of a process are shared out, by counts; and each kind of seat, over TLS."""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import ContainerClient
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from werkzeug.test import EnvironBuilder, run_wsgi_app

from intake_api.api.problems import turned_away
from intake_api.http.seats import SPARE, Busy, Holder, Kind, Seat, Seated, SeatPlan, Seats, seat_of
from tests.intake_api.serve.serving import Answer, Line, Service, free_port, until

MIB = 1 << 20
LONG = (Kind.UPLOAD, Kind.READ)


@given(threads=st.integers(12, 4096), share=st.integers(1, 100))
def test_all_kinds_together_are_fewer_than_the_threads(threads: int, share: int) -> None:
    plan = SeatPlan.by_default(threads)
    for each in (plan, plan.for_blobs()):
        shares = each.shares()
        assert sum(shares[kind].all for kind in (Kind.SMALL, *LONG)) + SPARE == threads
        assert shares[Kind.READINESS].all < SPARE
        assert max(shares[Kind.BODY].all, shares[Kind.DRAIN].all) <= shares[Kind.SMALL].all
    bounded = SeatPlan(threads=threads, uploads=2, reads=2, caller_share=min(share, 75)).shares()
    for kind in (Kind.BODY, *LONG):
        assert 1 <= bounded[kind].caller <= bounded[kind].tenant <= bounded[kind].all


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threads": 12, "uploads": 8}, "leave"),
        ({"caller_share": 80, "tenant_share": 50}, "a caller's share"),
    ],
)
def test_a_plan_that_leaves_nothing_for_small_requests_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SeatPlan(**wrong)


class Counting(RuleBasedStateMachine):
    """Whatever comes and goes, no bound is passed, and what is given back can be had again."""

    plan = SeatPlan(threads=20, uploads=6, reads=5)

    def __init__(self) -> None:
        super().__init__()
        self.seats = Seats(self.plan)
        self.held: list[tuple[Seat, Kind, str, str]] = []

    @rule(kind=st.sampled_from(list(Kind)), caller=st.integers(0, 4), tenant=st.integers(0, 1))
    def come(self, kind: Kind, caller: int, tenant: int) -> None:
        seat, share = Seat(self.seats), self.plan.shares()[kind]
        of_kind = [held for held in self.held if held[1] == kind]
        full = (
            len(of_kind) >= share.all
            or sum(held[3] == str(tenant) for held in of_kind) >= share.tenant
            or sum(held[2] == f"{tenant}/{caller}" for held in of_kind) >= share.caller
        )
        try:
            seat.take(kind, Holder(f"{tenant}/{caller}", str(tenant)))
        except Busy:
            assert full
        else:
            assert not full
            self.held.append((seat, kind, f"{tenant}/{caller}", str(tenant)))

    @rule(number=st.integers(0, 50))
    def go(self, number: int) -> None:
        if self.held:
            self.held.pop(number % len(self.held))[0].leave()

    @invariant()
    def counted(self) -> None:
        for kind in Kind:
            assert self.seats.taken(kind) == sum(held[1] == kind for held in self.held)


TestCounting = Counting.TestCase


def call(app: object, path: str) -> tuple[int, dict[str, str], bytes]:
    body, status, headers = run_wsgi_app(app, EnvironBuilder(path).get_environ())  # type: ignore[arg-type]
    content = b"".join(body)
    body.close()  # type: ignore[attr-defined]
    return int(status[:3]), dict(headers), content


def test_a_seat_is_given_back_when_the_response_ends_and_when_the_application_fails() -> None:
    seats = Seats(SeatPlan(threads=12, uploads=3, reads=3))

    def app(environ, start_response):
        assert seats.taken(Kind.SMALL) == 1
        if environ["PATH_INFO"] == "/fails":
            raise LookupError
        if environ["PATH_INFO"] == "/long":
            seat_of(environ).move(Kind.READ, Holder("alice"))
            assert (seats.taken(Kind.SMALL), seats.taken(Kind.READ)) == (0, 1)
        start_response("200 OK", [])
        return iter([b"a", b"b"])

    served = Seated(app, seats, turned_away)
    for path in ("/", "/long"):
        assert call(served, path)[::2] == (200, b"ab")
    with pytest.raises(LookupError):
        call(served, "/fails")
    body, _, _ = run_wsgi_app(served, EnvironBuilder("/long").get_environ())
    assert seats.taken(Kind.READ) == 1  # it is not over before its last byte was taken
    body.close()  # the caller left
    assert [seats.taken(kind) for kind in Kind] == [0] * len(Kind)


def test_without_a_small_seat_a_request_is_told_so_at_once_and_health_is_served() -> None:
    seats = Seats(SeatPlan(threads=12, uploads=3, reads=3))
    reached = []

    def app(environ, start_response):
        reached.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b""]

    for _ in range(2):
        seats.take(Kind.SMALL, Holder())
    served = Seated(app, seats, turned_away)
    status, headers, body = call(served, "/cases")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert json.loads(body)["reason"] == "too-many-requests"
    assert call(served, "/healthz")[0] == call(served, "/readyz")[0] == 200
    assert reached == ["/healthz", "/readyz"]
    seats.leave(Kind.SMALL, Holder())
    while seats.taken(Kind.READINESS) < SPARE // 2:
        seats.take(Kind.READINESS, Holder())
    assert call(served, "/readyz")[0] == 200  # a small request's will do


# Over TLS, against the real server.


@pytest.fixture(scope="module")
def narrow(serving) -> Service:
    """4 uploads, 2 of one caller; 2 downloads, 1 of one caller; 6 small requests, 2 small bodies of one caller."""
    blobs = f"127.0.0.1:{free_port()}"
    service = serving(threads=16, uploads=4, reads=2, stall_seconds=60, body_seconds=4, blob_listen=blobs)
    service.register()
    return service


def test_uploads_beyond_a_callers_share_are_refused_at_once_and_all_else_goes_on(narrow: Service) -> None:
    lines = [begin_upload(narrow) for _ in range(2)]
    another = narrow.upload(MIB)

    def nothing_more() -> Answer:
        return narrow.call("PATCH", another, narrow.patch_head(0, 0))

    assert_refused(nothing_more(), "too-many-uploads-of-caller")
    assert narrow.call("GET", "/healthz").status == narrow.call("GET", "/readyz").status == 200
    assert narrow.upload(MIB)  # a small request of the same caller
    lines[0].finish()
    assert until(lambda: nothing_more().status == 204)
    lines[1].finish()


def begin_upload(service: Service) -> Line:
    """One that has begun and sends nothing more."""
    return service.begun("PATCH", service.upload(MIB), service.patch_head(0, MIB))


def test_downloads_beyond_a_callers_share_are_refused_at_once(narrow: Service) -> None:
    address, headers = narrow.readable(48 * MIB)
    with narrow.line(receive_buffer=4096) as slow:
        slow.begin("GET", address, headers)
        slow.receive(1000)

        def first_bytes() -> Answer:
            return narrow.call("GET", address, {**headers, "Range": "bytes=0-9"})

        assert_refused(first_bytes(), "too-many-downloads-of-caller")
        assert narrow.call("HEAD", address, headers).status == 200
        assert narrow.call("GET", "/healthz").status == 200
    assert until(lambda: first_bytes().status == 206)


def test_slow_small_bodies_are_few_of_one_caller_and_end_in_seconds(narrow: Service) -> None:
    head = {**narrow.bearer("boss"), "Content-Type": "application/json", "Content-Length": 500}
    silent, trickling = (narrow.begun("POST", "/tenants", head) for _ in range(2))
    asked = json.dumps({"name": "", "directory": ""}).encode()

    def whole() -> Answer:
        return narrow.call("POST", "/tenants", {**head, "Content-Length": len(asked)}, asked)

    assert_refused(whole(), "too-many-bodies-of-caller")
    assert narrow.call("GET", "/healthz").status == 200
    assert (
        narrow.call("GET", "/tenants/none", narrow.bearer("boss")).status == 404
    )  # a small request without one
    assert until(lambda: dribble(trickling) or whole().status == 422, 30)
    for line in (silent, trickling):
        answer = line.answer()
        assert (answer.status, answer.json()["type"]) == (408, "/problems/request-timeout")
        line.finish()


def dribble(line: Line) -> bool:
    with suppress(OSError):
        line.send(b" ")
    return False


@pytest.fixture(scope="module")
def link(narrow: Service) -> str:
    stamp = narrow.post("/stamps", {"name": "other", "subject": "other", "proactive": True})
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    asked: dict[str, object] = {"expires_at": expires, "trigger": "Urp.UpdateFailure"}
    return str(narrow.post(f"/stamps/{stamp['id']}/upload-links", asked)["url"])


def blobs_of(service: Service, link: str) -> Service:
    """Its Blob endpoint."""
    return replace(service, port=urlsplit(link).port or 443)


def hold_all(blobs: Service, link: str) -> list[Line]:
    """Uploads that hang, as many as one link may have: half of 4 + 2."""
    url, head = urlsplit(link), {"x-ms-blob-type": "BlockBlob", "Content-Length": MIB}
    paths = [f"{url.path}/{secrets.token_hex(4)}.zip?{url.query}" for _ in range(3)]
    return [blobs.begun("PUT", path, head) for path in paths]


def test_blocks_beyond_a_links_share_are_refused_in_the_services_words(narrow: Service, link: str) -> None:
    url, blobs = urlsplit(link), blobs_of(narrow, link)
    lines = hold_all(blobs, link)

    def one_more() -> Answer:
        head = {"x-ms-blob-type": "BlockBlob", "Content-Length": 3}
        return blobs.call("PUT", f"{url.path}/last.zip?{url.query}", head, b"log")

    busy = one_more()
    assert (busy.status, busy.headers["x-ms-error-code"]) == (503, "ServerBusy")
    assert int(busy.headers["retry-after"]) > 0
    assert blobs.call("GET", "/healthz").status == 200
    for line in lines:
        line.finish()
    assert until(lambda: one_more().status == 201)


def test_azures_own_client_comes_again_when_there_is_no_seat(narrow: Service, link: str) -> None:
    lines, refused = hold_all(blobs_of(narrow, link), link), threading.Event()
    ca = str(narrow.state / "tls" / "ca.pem")

    def heard(response: Any) -> None:
        if response.http_response.status_code == 503:
            refused.set()

    with ContainerClient.from_container_url(link, connection_verify=ca) as container:
        uploading = threading.Thread(
            target=container.upload_blob,
            args=("sdk.zip", bytes(1000)),  # it sends all of a body before it looks for the answer
            kwargs={"raw_response_hook": heard},
        )
        uploading.start()
        assert refused.wait(30)
        for line in lines:
            line.finish()
        uploading.join(60)
        assert [blob.name for blob in container.list_blobs(name_starts_with="sdk")] == ["sdk.zip"]


def assert_refused(answer: Answer, reason: str) -> None:
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["reason"] == reason
