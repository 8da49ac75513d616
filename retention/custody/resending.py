"""Resending: a bundle erased on demand is refused for a while when it is sent again.

Why: a client that continues an upload and finds it gone (410) begins a new one from byte 0 by itself (tus-js-client,
and Uppy with it). A customer who has just had a bundle erased would get it back, without anybody's decision.

Rules:
- An erasure on demand marks each of its bundles for as long as an unfinished upload is kept, which is how long a client
  may believe that its upload is there. Until then the same stamp's file of the same name and size is refused, however
  it is sent; if the erased bundle's size was not declared yet, any file of that name. A bundle that the clock was
  erasing already is marked too.
- An upload that turns out to be one of these when its length is declared can become nothing else, and is erased.
- Another SHA-256, where both are known, means another file. Sending it under another name is somebody's decision.
- An upload that its sender gave up (tus: DELETE), or that the clock erased, can be sent again at once.
- The mark is a keyed hash: the tombstone has forgotten the name, and nobody can guess it. It is removed when its time
  is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from audit.times import rfc3339
from retention.custody.context import Custody
from retention.domain.bundle import BundleState
from retention.domain.faults import Refused
from retention.domain.row_tag import Binding
from retention.records.tables import RESENDABLE, bundles
from retention.records.unit_of_work import Transaction

REASON = "erased-lately"


def mark(tx: Transaction, binding: Binding, held: Sequence[Row[Any]], until: datetime) -> None:
    """Mark these bundles, so that they are refused until `until` when sent again."""
    marked = [
        {"of": bundle.id, "hash": _mark_of(binding, bundle.stamp_id, bundle.file_name, _size(bundle))}
        for bundle in held
        if bundle.state != BundleState.ERASED and not bundle.partial
    ]
    if marked:
        change = update(bundles).where(bundles.c.id == bindparam("of"))
        tx.change(change.values(resend_mark=bindparam("hash"), resend_until=until), marked)


def sent_again(
    tx: Transaction,
    custody: Custody,
    stamp_id: str,
    file_name: str,
    size: int | None,
    sha256: str | None,
    now: datetime,
) -> Refused | None:
    """Return the refusal of a bundle that was erased lately, if it was; `size` None: it comes later."""
    wanted = {_mark_of(custody.binding, stamp_id, file_name, each) for each in (size, None)}
    marked = RESENDABLE, bundles.c.resend_mark.in_(wanted), bundles.c.resend_until > now
    until = None
    for bundle in tx.execute(select(bundles.c.sha256, bundles.c.resend_until).where(*marked)):
        if sha256 is None or bundle.sha256 in (None, sha256):
            until = max(until or now, bundle.resend_until)
    if until is None:
        return None
    return Refused(
        f"this file was erased on demand: until {rfc3339(until)} this stamp's file of the same name and size is "
        "refused, so that no client resumes erased data; to send it all the same, give it another name",
        reason=REASON,
        until=until,
    )


def forget(custody: Custody) -> int:
    """Remove the marks whose time is over; return how many."""
    over = RESENDABLE, bundles.c.resend_until <= custody.clock.now()
    with custody.records.read() as reads:
        if reads.execute(select(bundles.c.id).where(*over).limit(1)).first() is None:
            return 0
    gone = update(bundles).where(*over).values(resend_mark=None, resend_until=None)
    return custody.records.write(lambda tx: tx.change(gone))


def _size(bundle: Row[Any]) -> int | None:
    return None if bundle.deferred or bundle.state == BundleState.STAGING else bundle.size


def _mark_of(binding: Binding, stamp_id: str, file_name: str, size: int | None) -> str:
    return binding.tag("erased-upload", stamp_id, file_name, size)
