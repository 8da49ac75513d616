"""Notices by webhook: a CloudEvent, signed as Standard Webhooks says, sent to a public https address.

- The signature is HMAC-SHA256 over `webhook-id.webhook-timestamp.body`; the id is the notice's, the same at every try.
- The address is a caller's choice, and this process stands in a network of its own: only public addresses are connected
  to (`may_reach`), each judged after the name was looked up, and no redirect is followed. What a deployment needs
  beyond that it allows by network.
- Any response but 2xx is a failure. Nothing of a response is kept or shown but its status.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from audit.http_client import ForbiddenAddressError, HttpClient, OutsideError
from retention.domain.notice import Message, Network, Target, Undelivered, may_reach

SECONDS = 10.0
MOST_BYTES = 1 << 16
"""Of a response: it is thrown away."""


class WebhookSender:
    """A Sender. `allowed`: networks that may be reached though they are not public; `loopback`: this machine too."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        loopback: bool = False,
        authorities: Path | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._client = HttpClient(
            seconds=seconds,
            most_bytes=MOST_BYTES,
            authorities=authorities,
            may_connect=lambda address: may_reach(address, allowed, loopback=loopback),
        )
        self._loopback = loopback

    def send(self, message: Message, target: Target, now: datetime) -> None:
        if not (target.address.startswith("https://") or self._loopback):
            raise Undelivered("address-not-https")
        body, stamp = message.cloud_event(), str(int(now.timestamp()))
        signed = f"{message.id}.{stamp}.".encode() + body
        signature = base64.b64encode(hmac.new(target.secret, signed, hashlib.sha256).digest()).decode()
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            reply = self._client.post(target.address, body, headers)
        except ForbiddenAddressError:
            raise Undelivered("address-not-public") from None
        except OutsideError as error:
            raise Undelivered(_why(error)) from None
        if not 200 <= reply.status < 300:
            raise Undelivered(f"http-{reply.status}")


def _why(error: OutsideError) -> str:
    if isinstance(error.__cause__, ssl.SSLError):
        return "tls"
    if isinstance(error.__cause__, socket.gaierror):
        return "no-such-host"
    return "too-slow" if "took longer" in str(error) else "unreachable"
