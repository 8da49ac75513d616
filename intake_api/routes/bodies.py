"""Bytes of a bundle, from a request's body into custody: whatever happens to the line, what came is kept."""

from __future__ import annotations

from typing import Any

from flask import request

from intake_api.calling import caller, custody, the_door
from intake_api.calls import CallRefused
from intake_api.pump import pump
from retention.bundle import Collection
from retention.custody import receiving
from retention.errors import TakenOver


def take(bundle_id: str, offset: int, length: int, location: str) -> int:
    """Write the body of `length` bytes to the upload at `offset`; the offset to go on from."""
    door = the_door()
    with receiving.begin(custody(), door.services.uploads, caller(), bundle_id, offset) as session:
        try:
            result = pump(request.environ["wsgi.input"], length, session, door.stall_seconds)
        except TakenOver:
            session.park()  # the next writer, or the next start of the service, goes on from here
            raise
        reached = session.park()
    facts: dict[str, Any] = {"bundle": bundle_id, "offset": reached, "headers": {"Location": location}}
    if result.stalled:
        raise CallRefused("request-timeout", f"no bytes came for {door.stall_seconds:g} s", **facts)
    if result.cut:
        raise CallRefused("incomplete-body", f"{result.taken} of {length} bytes came", **facts)
    return reached


def collection_of(declared: dict[str, Any], file_name: str, size: int) -> Collection:
    """The collection that a sender declares."""
    sha256 = declared["sha256"]
    return Collection(
        type=declared["type"],
        logs_start=declared["logs_start"],
        logs_end=declared["logs_end"],
        time_collected=declared["time_collected"],
        file_name=file_name,
        size=size,
        trigger=declared["trigger"],
        roles=declared["roles"],
        send_logs_now=declared["send_logs_now"],
        sha256=sha256.lower() if sha256 else None,
    )
