"""The first steps: the service is inspected, customer, stamp and case registered, the bundle sent and received."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import BinaryIO

from audit.times import rfc3339
from intake_api.cli.cli_errors import CliError, Unreachable
from intake_api.cli.client import Client
from intake_api.cli.connection import parse_keys
from intake_api.cli.demo.narrator import (
    ADMINISTRATOR,
    CASE,
    CASE_SYSTEM,
    OPERATOR,
    STAMP,
    Life,
    refusal,
    search,
)
from intake_api.cli.print_tables import size_of
from intake_api.cli.progress import transfer
from intake_api.cli.transfer import tus
from intake_api.cli.transfer.rate import Pace
from intake_api.cli.transfer.receipts import hold_to, wait_for_intake
from retention.custody.uploads.upload_session import PART_SIZE


def meet(life: Life) -> None:
    """Show the service's identity, and the keys that outsiders pin."""
    n, stage = life.narrator, life.stage
    with n.step("The service: HTTPS, its own CA, a folder, SQLite, a key file"):
        n.say(f"{stage.settings.origin}, state in {stage.state}")
        life.keys = parse_keys(stage.client().get("/audit/keys"), "/audit/keys")
        n.say(f"the log's public key, to pin: {life.keys[0].key}")
        try:
            Client(stage.settings.origin, tokens=None, sleep=lambda _: None).get("/healthz")
            trusted = True
        except (CliError, Unreachable) as error:
            trusted = "could not prove who it is" not in str(error)
        n.check(not trusted, "a client that does not know the CA refuses to talk to it")


def register(life: Life) -> None:
    """Register tenant, stamp and case."""
    n = life.narrator
    with n.step("A customer, a stamp, a case"):
        life.client(ADMINISTRATOR).post("/tenants", {"name": "Contoso", "directory": "contoso"})
        metadata = _metadata(life)
        refusal(
            n,
            "a stamp that is not registered cannot upload",
            HTTPStatus.FORBIDDEN,
            "stamp-not-registered",
            lambda: tus.create(life.client(STAMP), life.size, metadata),
        )
        stamp = life.client(OPERATOR).post("/stamps", {"name": "Rack 1, Oslo", "subject": "rack-1"})
        life.stamp = stamp["id"]
        life.client(CASE_SYSTEM).post("/cases", {"number": CASE, "directory": "contoso"})
        n.say(f"Contoso's operator registered {life.stamp}; the case system opened case {CASE}")


def _metadata(life: Life) -> dict[str, str]:
    now = life.stage.clock.now()
    return {
        "filename": life.collected.path.name,
        "type": "on-demand",
        "case": CASE,
        "logs_start": rfc3339(now - timedelta(hours=4)),
        "logs_end": rfc3339(now),
        "time_collected": rfc3339(now),
        "roles": ",".join(life.collected.roles),
        "sha256": life.sha256,
    }


class _LineCut(OSError):
    """A cable pulled on purpose."""


class _CutBody(tus.Body):
    """A request body that closes the socket when `last` bytes of the file have been sent."""

    last: int

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for piece in super().__iter__():
            if sent >= self.last:
                # An error inside the body makes the client close the connection with its request half sent.
                raise _LineCut("cut on purpose")
            yield piece
            sent += len(piece)


def upload(life: Life) -> None:
    """Send the bundle, cut the connection half way, and resume."""
    n = life.narrator
    client = life.client(STAMP)
    with n.step(f"The stamp uploads {size_of(life.size)}; the connection is cut half way"):
        location = tus.create(client, life.size, _metadata(life))
        life.bundle = tus.bundle_of(location)
        with life.collected.path.open("rb") as source, transfer("sending", life.size) as bar:
            sent = _send_half(client, location, source, life.size, bar)
            n.say(f"{size_of(sent)} sent, then the socket was closed mid-request")
            kept = _kept(client, location)
            first: list[int] = []

            def progress(done: int) -> None:
                first.append(done)
                bar(done)

            tus.send(client, location, source, life.size, progress)
        again = sent - first[0]
        n.say(f"the service had kept {kept:,} of {sent:,} bytes; the resume began at byte {first[0]:,}")
        n.check(
            first[0] > 0 and 0 <= again < PART_SIZE,
            f"{again:,} bytes were sent twice: less than one part ({size_of(PART_SIZE)})",
        )


def _send_half(client: Client, location: str, source: BinaryIO, size: int, bar: tus.Progress) -> int:
    reached: list[int] = [0]

    def progress(done: int) -> None:
        reached.append(done)
        bar(done)

    body = _CutBody(source, 0, size, progress, Pace())
    body.last = size // 2
    headers = {**tus.VERSION, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    try:
        client.call("PATCH", location, headers=headers, data=body)
    except Unreachable:
        return reached[-1]
    raise CliError("the demo could not cut the connection: all bytes were sent before it tried")


def _kept(client: Client, location: str) -> int:
    """Ask how much the service kept; it notices the cut a moment later."""
    for attempt in range(50):
        if kept := tus.offset_of(client, location):
            return kept
        client.sleep(0.02 * (attempt + 1))
    return 0


def receive(life: Life) -> None:
    """Check the intake receipt, and what lies on the disk meanwhile."""
    n = life.narrator
    with n.step("The service reads back what it stored, and signs a receipt"):
        found, _ = wait_for_intake(life.client(STAMP), life.bundle, life.keys)
        hold_to(found.fields, life.bundle, life.size, life.sha256)
        n.check(
            True,
            f"verified offline: signed, leaf {found.leaf_index} of the log, and for our own SHA-256 "
            f"{life.sha256[:16]}…",
        )
        n.check(
            search(life.collected.path.parent, life.collected.marker),
            "a marker is found in the zip that was sent",
        )
        n.check(
            not search(life.stage.state, life.collected.marker),
            "and nowhere in the service's state folder: sealed",
        )
