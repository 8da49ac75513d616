"""Unfinished uploads: their offset, and giving one up.

- Only an upload's sender can ask for its offset and give it up; nobody else learns that it exists.
- A sender that asks for the offset is about to continue: a request that still writes, or hangs, is made to save and let
  go first, so that the offset stays true.
- Giving up is an erasure like any other: from this transaction on nothing is written to the upload, and the sweep
  carries it through. A bundle received whole cannot be given up: the customer has it erased, with a receipt.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select

from audit.entry import Action
from retention.custody.context import Custody, about_bundle, entry
from retention.custody.erasure.erasure_steps import BUNDLE, start
from retention.custody.uploads.declaration import refuse_if_erased
from retention.custody.uploads.handover import may_write, still_open
from retention.custody.uploads.lease import Uploads, await_arrival, settle
from retention.domain.actor import Actor
from retention.domain.bundle import BundleState
from retention.domain.faults import Conflict
from retention.records.queries import final_of
from retention.records.tables import bundles
from retention.records.unit_of_work import Transaction


def find_upload(custody: Custody, actor: Actor, bundle_id: str) -> Row[Any]:
    """Return the upload as it stands. NotFound, Refused, Erased (also when it has expired)."""
    return still_open(custody, may_write(custody, actor, bundle_id)[0])


def settled_upload(
    custody: Custody, uploads: Uploads, actor: Actor, bundle_id: str
) -> tuple[Row[Any], list[str]]:
    """Return the upload, once its writer has saved and let go, and the partial uploads it is made of."""
    expected, busy = (
        uploads.expected(bundle_id),
        uploads.has(bundle_id),
    )  # looked at first: what comes later is later
    upload, partials = may_write(
        custody, actor, bundle_id
    )  # a stranger waits for nobody, and learns of nobody
    still_open(custody, upload)
    if partials or not (expected or busy or upload.writer):
        return upload, partials
    await_arrival(expected)
    settle(custody, uploads, bundle_id)
    return find_upload(custody, actor, bundle_id), []


def terminate_upload(custody: Custody, actor: Actor, bundle_id: str) -> None:
    """Give an unfinished upload up; its bytes are erased ahead of scheduled work."""
    may_write(custody, actor, bundle_id)
    now = custody.clock.now()

    def work(tx: Transaction) -> None:
        bundle = tx.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
        refuse_if_erased(bundle)
        if bundle.state not in (BundleState.STAGING, BundleState.RECEIVING) and not bundle.partial:
            raise Conflict(
                f"this upload is complete: have bundle {bundle_id} erased", reason=f"bundle-{bundle.state}"
            )
        if bundle.partial and final_of(tx, bundle_id):
            raise Conflict(
                f"a final upload is being made of partial upload {bundle_id}", reason="partial-used"
            )
        tx.audit(
            entry(
                actor,
                Action.UPLOAD_TERMINATED,
                now,
                **about_bundle(bundle),
                details={"kept": bundle.offset, "size": bundle.size},
            )
        )
        start(tx, actor, [bundle], bundle.tenant_id, bundle.case_id, BUNDLE, "upload-terminated", now)

    custody.records.write(work)
