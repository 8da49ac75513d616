"""A read that ends because its grant did, on the wire and in the service's log; and a request line that is too long."""

from __future__ import annotations

import pytest

from tests.intake_api.serve.serving import Service, until

MIB = 1 << 20
SIZE = 64 * MIB


def errors(service: Service) -> list[dict[str, object]]:
    return [line for line in service.lines() if line["level"] in ("error", "critical")]


def test_a_read_whose_grant_ends_is_cut_and_is_no_error_in_the_services_log(serving):
    service = serving(stall_seconds=30)
    service.register()
    address, reader = service.readable(SIZE)
    case = "260101000000001"
    with service.line(receive_buffer=64 * 1024) as line:
        line.begin("GET", address, reader)
        line.receive(MIB)
        grants = service.call("GET", f"/cases/{case}/grants", reader).json()["items"]
        assert service.call("POST", f"/grants/{grants[0]['id']}/release", reader).status == 200
        taken = MIB + line.receive_slowly(seconds=4)
    assert taken < SIZE, "the connection was closed before the length that was promised"
    assert until(lambda: any("was cut" in str(one["message"]) for one in service.lines()))
    (cut,) = [one for one in service.lines() if "was cut" in str(one["message"])]
    assert cut["level"] == "info" and "grant-ended" in str(cut["message"])
    assert errors(service) == []
    assert service.stop() == 0
    assert "Traceback" not in service.log.read_text()


@pytest.mark.parametrize(("length", "bodied"), [(10_000, True), (60_000, True), (70_000, False)])
def test_an_over_long_query_is_answered_with_what_is_wrong(service: Service, length: int, bodied: bool):
    """From 64 KiB on the server's own parser ends the request: its 414 has no body (docs/operations.md)."""
    answer = service.call("GET", f"/audit/entries?actor={'a' * length}", service.bearer("boss"))
    assert answer.status == 414
    if bodied:
        told = answer.json()
        assert told["type"] == "/problems/uri-too-long" and "8192" in str(told["detail"])
    else:
        assert answer.body == b""
    assert service.is_ready()
