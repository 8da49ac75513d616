"""Notices: short messages to people and programs that something happened with their data. Pure.

Rules:
- A notice is made of an act's entry, in the act's own transaction (`retention.custody.notices.outbox`): RULES says of
  which, of what kind, and for whom. Of what the clock does by deadline nobody is told (P8).
- It says what happened, when, in which case, and where to see more. No name, no reason, no file, no word of a log: who
  may know those signs in. So a notice holds nothing that would have to be redacted.
- A customer's receivers are told of the customer's cases; an engineer's own, of the answers to the engineer's requests.
- `access.used` is told once a grant, `access.denied` once a case and DENIED_EVERY: the log has each.
- It is sent at least once, under the same id however often, to each receiver in the order in which acts were recorded:
  what cannot be sent holds back what comes after it, for this receiver alone.
- A failed try is repeated after ever longer pauses. Where a receiver still fails GIVE_UP after the act, its notice is
  given up: that is a state, which its owner and the metrics show. What has ended is forgotten after KEPT.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from audit.entry import Action, Outcome
from audit.times import rfc3339
from retention.domain.faults import Invalid

DENIED_EVERY = timedelta(hours=1)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=1)
GIVE_UP = timedelta(days=3)
KEPT = timedelta(days=30)
MOST_RECEIVERS = 10
"""Live receivers that one customer, or one engineer, can have."""
TEST_EVERY = timedelta(minutes=1)
MAX_ADDRESS = 512


class Way(StrEnum):
    """How a receiver is reached."""

    WEBHOOK = "webhook"
    MAIL = "mail"


class Kind(StrEnum):
    """What a notice is about; `casevault.` before it is the type of its CloudEvent."""

    ASKED = "access.asked"
    GRANTED = "access.granted"
    USED = "access.used"
    DENIED = "access.denied"
    CONSENT = "consent.changed"
    ERASED = "erasure.done"
    RECEIVERS = "receivers.changed"
    GIVEN = "request.given"
    DECLINED = "request.declined"
    LAPSED = "request.lapsed"
    TEST = "test"


class State(StrEnum):
    """The state of a notice: it waits to be sent, or how it ended."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given-up"


class Audience(StrEnum):
    """Whose receivers are told."""

    CUSTOMER = "customer"
    ASKER = "asker"
    ITSELF = "itself"


RULES: Mapping[tuple[str, str], tuple[Kind, Audience]] = {
    (Action.APPROVAL_ASKED, Outcome.SUCCESS): (Kind.ASKED, Audience.CUSTOMER),
    (Action.GRANT_GIVEN, Outcome.SUCCESS): (Kind.GRANTED, Audience.CUSTOMER),
    (Action.BUNDLE_OPENED, Outcome.SUCCESS): (Kind.USED, Audience.CUSTOMER),
    (Action.BUNDLE_LISTED, Outcome.SUCCESS): (Kind.USED, Audience.CUSTOMER),
    (Action.GRANT_GIVEN, Outcome.REFUSED): (Kind.DENIED, Audience.CUSTOMER),
    (Action.BUNDLE_OPENED, Outcome.REFUSED): (Kind.DENIED, Audience.CUSTOMER),
    (Action.BUNDLE_LISTED, Outcome.REFUSED): (Kind.DENIED, Audience.CUSTOMER),
    (Action.CONSENT_GIVEN, Outcome.SUCCESS): (Kind.CONSENT, Audience.CUSTOMER),
    (Action.CONSENT_REVOKED, Outcome.SUCCESS): (Kind.CONSENT, Audience.CUSTOMER),
    (Action.PROACTIVE_CONSENT_SET, Outcome.SUCCESS): (Kind.CONSENT, Audience.CUSTOMER),
    (Action.ERASURE_PROVEN, Outcome.SUCCESS): (Kind.ERASED, Audience.CUSTOMER),
    (Action.NOTICE_RECEIVER_ADDED, Outcome.SUCCESS): (Kind.RECEIVERS, Audience.CUSTOMER),
    (Action.NOTICE_RECEIVER_REMOVED, Outcome.SUCCESS): (Kind.RECEIVERS, Audience.CUSTOMER),
    (Action.APPROVAL_GIVEN, Outcome.SUCCESS): (Kind.GIVEN, Audience.ASKER),
    (Action.APPROVAL_DECLINED, Outcome.SUCCESS): (Kind.DECLINED, Audience.ASKER),
    (Action.APPROVAL_LAPSED, Outcome.SUCCESS): (Kind.LAPSED, Audience.ASKER),
    (Action.NOTICE_RECEIVER_TESTED, Outcome.SUCCESS): (Kind.TEST, Audience.ITSELF),
}
"""By an entry's action and outcome: the kind of notice, and whose receivers get it."""
_TEXTS: Mapping[Kind, tuple[str, str]] = {
    Kind.ASKED: (
        "access is asked for",
        "An engineer asks for access to {case}. It waits for your answer.",
    ),
    Kind.GRANTED: (
        "access was given",
        "An engineer has access to {case}, read-only and for a limited time.",
    ),
    Kind.USED: ("access was used", "An engineer with access to {case} has begun to read its logs."),
    Kind.DENIED: ("access was denied", "Somebody was denied access to {case}."),
    Kind.CONSENT: ("a consent was changed", "A consent was given or withdrawn{of_case}."),
    Kind.ERASED: (
        "erased on request",
        "An erasure that was requested{of_case} is done; its receipt is there.",
    ),
    Kind.RECEIVERS: ("who gets notices was changed", "A receiver of these notices was added or removed."),
    Kind.GIVEN: (
        "your request was approved",
        "Your request for access to {case} was approved: it runs now.",
    ),
    Kind.DECLINED: ("your request was declined", "Your request for access to {case} was declined."),
    Kind.LAPSED: ("your request lapsed", "Your request for access to {case} was not answered in time."),
    Kind.TEST: ("a test", "This is a test: notices of casevault arrive here."),
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent of one notice. `id` stays the same at every try; `case` is the case's number."""

    id: str
    kind: Kind
    at: datetime
    entry: str
    case: str | None = None
    origin: str | None = None
    """The service's public address, for a link to the portal."""

    @property
    def title(self) -> str:
        """One line that says what happened, without the case."""
        return _TEXTS[self.kind][0]

    @property
    def text(self) -> str:
        """What happened, in a sentence or two."""
        case = f"case {self.case}" if self.case else "a case"
        return _TEXTS[self.kind][1].format(case=case, of_case=f" for {case}" if self.case else "")

    @property
    def link(self) -> str | None:
        """Where to see more, after signing in; None where the service's address is not set."""
        if self.origin is None:
            return None
        return f"{self.origin}/portal/cases/{_escaped(self.case)}" if self.case else f"{self.origin}/portal/"

    def cloud_event(self) -> bytes:
        """Write the message as a CloudEvent 1.0, structured, in JSON."""
        data = {"text": self.text, "entry": self.entry, "case": self.case, "link": self.link}
        event = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.origin or "urn:casevault",
            "type": f"casevault.{self.kind}",
            "time": rfc3339(self.at),
            "datacontenttype": "application/json",
            "data": {name: value for name, value in data.items() if value is not None},
        }
        return json.dumps(event, separators=(",", ":")).encode("ascii")


_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def _escaped(segment: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in segment.encode())


@dataclass(frozen=True, slots=True)
class Telling:
    """How a deployment tells people: its public `origin`, for links, and whether webhooks may be on this machine
    (`loopback`, in a rehearsal)."""

    origin: str | None = None
    loopback: bool = False


class Undelivered(Exception):
    """A try that failed; `reason` is a short code that quotes nothing of what the receiver said."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """Where one message goes; `secret` signs it, for a webhook."""

    address: str
    secret: bytes = field(repr=False, default=b"")


class Sender(Protocol):
    """A way of sending, bounded in time. Undelivered if the receiver did not confirm that it has the message."""

    def send(self, message: Message, target: Target, now: datetime) -> None:
        """Send one message."""
        ...


def back_off(failures: int, draw: float) -> timedelta:
    """Return the pause after this many failures in a row; `draw` is a random number from 0 to 1."""
    whole = min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(max(failures, 1) - 1, 20)))
    return whole * (1 + draw) / 2


def shown_secret(secret: bytes) -> str:
    """Write a webhook's secret as its receiver takes it (Standard Webhooks)."""
    return "whsec_" + base64.b64encode(secret).decode("ascii")


_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>/[!-~]*)?",
    re.ASCII,
)
_MAIL = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+",
    re.ASCII,
)
_HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})


def check_address(way: Way, address: str, *, loopback: bool) -> str:
    """Return the address if notices can be sent there; Invalid says what is needed. `loopback`: this machine's own
    addresses are allowed for webhooks, over http too, for a rehearsal."""
    if len(address) > MAX_ADDRESS:
        raise Invalid(
            f"the address has {len(address)} characters", {"address": f"must have at most {MAX_ADDRESS}"}
        )
    if way is Way.MAIL:
        if not _MAIL.fullmatch(address):
            raise Invalid(
                "this is no mail address", {"address": "must look like security@example.com, in ASCII"}
            )
        return address
    url = _URL.fullmatch(address)
    if url is None or "#" in address or not 0 < int(url["port"] or 443) < 65536:
        needed = "must look like https://example.com/path: no user name, no fragment, ASCII alone"
        raise Invalid("this is no address for a webhook", {"address": needed})
    if url["host"].lower() in _HERE and loopback:
        return address
    if url["scheme"] != "https":
        raise Invalid("notices are sent by https alone", {"address": "must begin with https://"})
    return address


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_INSIDE = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Public by its number, and of the platform itself: Azure's host agent."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
"""What is outside of it can carry an IPv4 address in a further way: ::a.b.c.d, ::ffff:0:a.b.c.d, 64:ff9b:1::/48."""


def may_reach(address: str, allowed: Collection[Network], *, loopback: bool = False) -> bool:
    """Tell whether a webhook may connect to this address: a public one, or one of a network that the deployment allows.
    An IPv6 address that carries an IPv4 one is judged by that one; of the others only global
    unicast (RFC 4291 2.4) is public."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(ip in network for network in allowed if network.version == ip.version):
        return True
    if ip.is_loopback:
        return loopback
    inner = _carried(ip) if isinstance(ip, ipaddress.IPv6Address) else None
    if inner is not None:
        return may_reach(str(inner), allowed)
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and ip not in _INSIDE


def _carried(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def read_networks(text: str) -> tuple[Network, ...]:
    """Read networks like 10.1.0.0/16, comma separated; ValueError names the one that is none."""
    return tuple(ipaddress.ip_network(one.strip()) for one in text.split(",") if one.strip())
