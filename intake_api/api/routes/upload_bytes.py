"""A bundle's bytes, from a request's body into custody: whatever happens to the line, what came is kept.

The exception is a body whose checksum does not match."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request

from intake_api.api.authentication import caller, custody, the_door
from intake_api.http.call_refused import CallRefused
from intake_api.http.pump import pump
from intake_api.tus.checksums import read_checksum
from retention.custody.uploads import upload_session
from retention.domain.bundle import Collection
from retention.domain.faults import TakenOver, TooLarge


@dataclass(frozen=True, slots=True)
class Reached:
    """The offset where an upload continues, and until when it is kept (None: it is a bundle by now)."""

    offset: int
    kept_until: datetime | None


def take(bundle_id: str, offset: int, length: int | None, location: str, told: int | None = None) -> Reached:
    """Write the body of `length` bytes (None: chunked) to the upload at `offset`.

    With a declared checksum, nothing of the body counts until it matches; without one, all that came counts.
    """
    door = the_door()
    checksum = read_checksum(request.headers)
    held = checksum is not None
    with upload_session.begin(
        custody(), door.services.uploads, caller(), bundle_id, offset, told=told, length=length, held=held
    ) as session:
        sink = checksum.over(session) if checksum else session
        room = session.to_come if length is None else length
        try:
            result = pump(
                request.environ["wsgi.input"], room, sink, door.stall_seconds, chunked=length is None
            )
        except TakenOver:
            door.services.observer.cut("stopped")
            if not held:
                session.park()  # the next writer, or the next start of the service, continues from here
            raise
        if result.over:
            raise TooLarge(f"the upload has room for only {room} more bytes, but more came", room=room)
        whole = not (result.cut or result.stalled)
        right = checksum is None or (whole and checksum.matches())
        reached = session.park() if right else session.forget()
    if not whole:
        door.services.observer.cut("stalled" if result.stalled else "line")
    facts: dict[str, Any] = {"bundle": bundle_id, "offset": reached, "headers": {"Location": location}}
    if result.stalled:
        raise CallRefused("request-timeout", f"no bytes came for {door.stall_seconds:g} s", **facts)
    if result.cut:
        raise CallRefused("incomplete-body", f"only {result.taken} of {length} bytes came", **facts)
    if not right:
        raise CallRefused("checksum-mismatch", "the bytes that came do not match Upload-Checksum", **facts)
    return Reached(reached, session.kept_until)


def collection_of(declared: dict[str, Any], file_name: str, size: int) -> Collection:
    """Make the collection that a sender declares."""
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
