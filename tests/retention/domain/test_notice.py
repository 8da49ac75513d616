"""What is told, to whom, and where a message may go."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Action, Outcome
from retention.domain.faults import Invalid
from retention.domain.notice import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    RULES,
    Kind,
    Message,
    Way,
    back_off,
    check_address,
    may_reach,
    read_networks,
)

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
NUMBER = "120260301000001"


def message(kind: Kind = Kind.GRANTED, case: str | None = NUMBER, origin: str | None = None) -> Message:
    return Message("ntc_1", kind, AT, "ent_1", case, origin)


def test_every_kind_is_made_of_some_act() -> None:
    assert {kind for kind, _ in RULES.values()} == set(Kind)
    assert all(Action(action) and Outcome(outcome) for action, outcome in RULES)


def test_what_the_clock_erases_is_told_by_no_act_but_the_proof() -> None:
    told = {action for action, _ in RULES}
    assert not told & {
        Action.ERASURE_REQUESTED,
        Action.BUNDLE_ERASING,
        Action.BUNDLE_ERASED,
        Action.UPLOAD_EXPIRED,
    }


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("case", [NUMBER, None])
def test_a_message_is_a_cloud_event_that_says_what_when_and_where(kind: Kind, case: str | None) -> None:
    event = json.loads(message(kind, case, "https://vault.example").cloud_event())
    assert event | {"data": None} == {
        "specversion": "1.0",
        "id": "ntc_1",
        "source": "https://vault.example",
        "type": f"casevault.{kind}",
        "time": "2026-03-01T09:30:00.000000Z",
        "datacontenttype": "application/json",
        "data": None,
    }
    page = f"cases/{case}" if case else ""
    assert event["data"].pop("link") == f"https://vault.example/portal/{page}"
    assert event["data"].pop("text")
    assert event["data"] == {"entry": "ent_1", **({"case": case} if case else {})}


def test_without_an_origin_there_is_no_link_and_a_case_number_is_escaped_in_one() -> None:
    assert message().link is None
    assert json.loads(message().cloud_event())["source"] == "urn:casevault"
    odd = message(case="A/B ü", origin="https://vault.example")
    assert odd.link == "https://vault.example/portal/cases/A%2FB%20%C3%BC"


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_to_the_longest_and_are_never_less_than_half(failures: int, draw: float) -> None:
    whole = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 30))
    assert whole / 2 <= back_off(failures, draw) <= whole
    assert back_off(failures, draw) <= back_off(failures + 1, draw)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com",
        "https://example.com/hooks?token=a%20b",
        "https://example.com:8443/x",
        "https://203.0.113.9/",
        "https://[2001:db8::1]:8443/x",
    ],
)
def test_an_https_address_is_taken(address: str) -> None:
    assert check_address(Way.WEBHOOK, address, loopback=False) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://example.com/",
        "http://localhost/",
        "ftp://example.com/",
        "https://user:password@example.com/",
        "https://user@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://exa mple.com/",
        "https://example.com/\r\nX-Header: 1",
        "https://example.com\\@10.0.0.1/",
        "https://ex\u00e4mple.com/",
        "https://",
        "//example.com/",
        "https://example.com/" + "x" * 512,
    ],
)
def test_what_is_no_https_address_is_refused_with_what_is_needed(address: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_address(Way.WEBHOOK, address, loopback=False)
    assert refused.value.errors["address"].startswith("must")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:9", "[::1]:9"])
def test_this_machine_is_taken_in_a_rehearsal_alone(host: str) -> None:
    assert check_address(Way.WEBHOOK, f"http://{host}/x", loopback=True)
    with pytest.raises(Invalid, match="https"):
        check_address(Way.WEBHOOK, f"http://{host}/x", loopback=False)


@pytest.mark.parametrize("address", ["a@example.com", "security+logs@mail.example.co.uk"])
def test_a_mail_address_is_taken(address: str) -> None:
    assert check_address(Way.MAIL, address, loopback=False) == address


@pytest.mark.parametrize(
    "address",
    ["", "a", "a@b", "@example.com", "a@example.com\r\nBcc: b@example.com", "a b@example.com", "<a@example.com>",
     "a@example.com,b@example.com", "\u00e4@example.com", "a@-example.com"],
)  # fmt: skip
def test_what_is_no_mail_address_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match="mail"):
        check_address(Way.MAIL, address, loopback=True)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::"),  # noqa: S104,
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1", "fd00::1", "fec0::1"),
        *("169.254.169.254", "169.254.0.1", "fe80::1", "168.63.129.16", "192.0.2.1", "2001:db8::1"),
        *("224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1"),
        *("::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:127.0.0.1"),
        *("::127.0.0.1", "::a9fe:a9fe", "::ffff:0:10.0.0.1", "64:ff9b:1::a00:1", "::ffff:168.63.129.16"),
        *("2002:0a00:0001::1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "fe80::1%eth0", "example.com", ""),
    ],
)
def test_an_address_that_is_not_public_is_not_reached(address: str) -> None:
    assert not may_reach(address, ())


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_a_public_address_is_reached(address: str) -> None:
    assert may_reach(address, ())


@given(st.ip_addresses())
def test_nothing_is_reached_that_is_not_global(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert not may_reach(str(ip), ()) or (ip.is_global and not ip.is_multicast)


def test_a_network_that_is_allowed_is_reached_and_no_other() -> None:
    allowed = read_networks("10.1.0.0/16, fd00:1::/32,")
    assert may_reach("10.1.2.3", allowed) and may_reach("fd00:1::9", allowed)
    assert not may_reach("10.2.0.1", allowed) and not may_reach("127.0.0.1", allowed)
    with pytest.raises(ValueError, match=r"10\.1\.0\.0/99"):
        read_networks("10.1.0.0/99")


def test_this_machine_is_reached_in_a_rehearsal_alone() -> None:
    assert may_reach("127.0.0.1", (), loopback=True) and may_reach("::1", (), loopback=True)
    assert not may_reach("10.0.0.1", (), loopback=True)


def test_what_is_given_up_was_tried_for_days() -> None:
    waited, tries = timedelta(0), 0
    while waited < timedelta(days=3):
        tries += 1
        waited += back_off(tries, 1.0)
    assert tries > 70
