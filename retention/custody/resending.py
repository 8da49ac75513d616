"""What was erased on demand and is sent again: refused for a while.

Why: a client that goes on with an upload and finds it gone (410) begins a new one from byte 0 by itself (tus-js-client,
and Uppy with it). Whoever had just had a bundle erased would get it again, and nobody would have decided that.

Rules:
- An erasure on demand marks each of its bundles for as long as an unfinished upload is kept: so long a client may
  believe that its upload is there. Until then the same stamp's file of the same name and size is refused, by any way;
  of one whose size nobody had told yet, whatever has its name. So is one that the clock was erasing already.
- An upload that turns out to be one of these when its length is told can become nothing else, and is erased.
- Another SHA-256, where both are known, is another file. A file of another name is somebody's decision to send it.
- What its sender gave up (tus: DELETE), and what the clock erased, may come again at once.
- The mark is a keyed hash: the tombstone has forgotten the name, and tells it to nobody who guesses. It goes when its
  time is over.
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
    """Refuse until then what would be one of these bundles again."""
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
    """The refusal of a bundle that was erased lately; `size` None: it is told later."""
    wanted = {_mark_of(custody.binding, stamp_id, file_name, each) for each in (size, None)}
    marked = RESENDABLE, bundles.c.resend_mark.in_(wanted), bundles.c.resend_until > now
    until = None
    for bundle in tx.execute(select(bundles.c.sha256, bundles.c.resend_until).where(*marked)):
        if sha256 is None or bundle.sha256 in (None, sha256):
            until = max(until or now, bundle.resend_until)
    if until is None:
        return None
    return Refused(
        f"this file was erased on demand: until {rfc3339(until)} this stamp's file of its name and size is not taken "
        "again, so that no client resumes what is erased; to send it all the same, give it another name",
        reason=REASON,
        until=until,
    )


def forget(custody: Custody) -> int:
    """Take the marks away whose time is over; how many."""
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
