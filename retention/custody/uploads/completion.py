"""From the last byte to the receipt: a bundle is complete once the stored bytes are read back.

Order of writing:
  sealed manifest -> objects.complete (idempotent) -> * state `received` + entry
      `finish_upload`, in the upload's last request (the same commit begins the erasure of the partial uploads it was
      made of)
  read back, open, hash; rewrite the manifest if it is missing -> * state `complete` + receipt + entry
      `verify_bundle`, outside the upload path
- The receipt states the SHA-256 of the bytes really stored, not of those sent.
- If the read-back finds other bytes than were sealed, or another digest than the sender declared, the bundle is
  `damaged` and can never be opened. A possibly passing fault of a store is read a second time first.
- A complete bundle found damaged, by a read or by the scrubbing (`retention.jobs.scrub`), is `damaged` too; only the
  scrubbing makes it complete again, when the stored bytes have the SHA-256 that its receipt states.
- An upload that loses a part before it is whole is damaged too, and erased: nobody can complete it.
- A partial upload stays `received`: its bytes are opened only to be sealed again in the bundle that it is for.
- An empty bundle has no parts: nothing is sealed or stored for it; all else is as for any other.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, update

from audit.entry import Action, Detail, Outcome
from audit.times import rfc3339
from retention.custody import receipts
from retention.custody.access.bound_access import Altered, check_row
from retention.custody.context import Custody, about_bundle, entry
from retention.custody.erasure.erasure_steps import BUNDLE, start
from retention.custody.failed_work import UNTRIED, failed_before
from retention.custody.uploads.manifests import complete_objects, is_kept
from retention.domain import row_tag
from retention.domain.actor import CLOCK, Actor
from retention.domain.bundle import BundleState
from retention.domain.deadline import due
from retention.domain.receipt import INTAKE, body_hash
from retention.envelope.bundle_file import BundleOpener
from retention.envelope.data_keys import DataKey
from retention.envelope.format import NAME, SealBroken, WrappedKeyBroken
from retention.envelope.manifest import Manifest
from retention.objects.store_errors import KeyDestroyed, PartMissing
from retention.records.queries import bundle_history, bundle_parts, live_partials, partials_of
from retention.records.tables import bundles, cases
from retention.records.unit_of_work import Reads, Transaction

PERHAPS_PASSING = ("part-missing", "seal-broken", "key-broken")
DAMAGE = (PartMissing, SealBroken, WrappedKeyBroken)
"""The errors of a read that finds other bytes than were sealed. A missing key is not among them: it is lost, or its
store was restored from a back-up, and nothing in the bundle is known to be wrong."""


def finish_upload(custody: Custody, actor: Actor, bundle_id: str) -> None:
    """Complete an upload whose bytes are all recorded: fix the parts, then * record it with its entry. Idempotent."""
    manifest = read_manifest(custody, bundle_id)
    try:
        complete_objects(custody, manifest)
    except (PartMissing, KeyDestroyed):
        if _state(custody, bundle_id) == BundleState.RECEIVING:
            raise
        return  # an erasure came between
    now = custody.clock.now()

    def work(tx: Transaction) -> None:
        of = bundles.c.id == bundle_id
        whole = (
            of,
            bundles.c.state == BundleState.RECEIVING,
            bundles.c.size == manifest.length,
            ~bundles.c.deferred,
        )
        held = tx.execute(select(bundles).where(*whole)).first()
        if held is None:
            return  # completed, or erased, meanwhile
        values = _received(now, manifest)
        if custody.binding.holds_row(row_tag.BUNDLE, held):  # completion does not bind an altered row
            values["tag"] = custody.binding.tag_row(row_tag.BUNDLE, {**held._mapping, **values})
        tx.change(update(bundles).where(of).values(values))
        bundle = tx.execute(select(bundles).where(of)).one()
        at, _reason = due(bundle_history(tx, bundle))
        tx.change(update(bundles).where(of).values(due_at=at))
        details: dict[str, Detail] = {
            "received_at": rfc3339(now),
            "size": manifest.length,
            "parts": len(manifest.parts),
            "manifest": manifest.hash().hex(),
        }
        if made_of := partials_of(tx, bundle_id):
            details["partials"] = made_of
        tx.audit(entry(actor, Action.BUNDLE_RECEIVED, now, **about_bundle(bundle), details=details))
        if used := live_partials(tx, [bundle_id]):
            start(tx, actor, used, bundle.tenant_id, None, BUNDLE, "concatenated", now, on_demand=False)

    custody.records.write(work)  # * the bundle is received from here


def give_up_upload(custody: Custody, bundle_id: str) -> None:
    """* Record that an upload lost a part before it was whole: it is damaged, and the rest of it is erased, so that its
    sender is told (410) and sends it again."""
    now = custody.clock.now()

    def work(tx: Transaction) -> None:
        whole = bundles.c.id == bundle_id, bundles.c.state == BundleState.RECEIVING
        bundle = tx.execute(select(bundles).where(*whole)).first()
        if bundle is None:
            return
        ids, details = about_bundle(bundle), failed_before(bundle)
        damaged, reason = Action.BUNDLE_DAMAGED, "part-missing"
        tx.audit(entry(CLOCK, damaged, now, outcome=Outcome.FAILED, reason=reason, **ids, details=details))
        cause = "upload-damaged"
        start(tx, CLOCK, [bundle], bundle.tenant_id, bundle.case_id, BUNDLE, cause, now, on_demand=False)

    custody.records.write(work)


def _received(now: datetime, manifest: Manifest) -> dict[str, Any]:
    return {
        "state": BundleState.RECEIVED,
        "received_at": now,
        "manifest": manifest.hash().hex(),
        "writer": None,
        **UNTRIED,
    }


def read_manifest(custody: Custody, bundle_id: str) -> Manifest:
    """Return the ordered parts as recorded."""
    with custody.records.read() as reads:
        return Manifest(bundle_id, bundle_parts(reads, bundle_id))


def received_manifest(custody: Custody, bundle_id: str) -> Manifest:
    """Return the ordered parts of a received bundle, checked against its bound row. Altered if the records name others;
    KeyDestroyed if an erasure came between."""
    with custody.records.read() as reads:
        bundle = reads.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
        manifest = Manifest(bundle_id, bundle_parts(reads, bundle_id))
    if bundle.state in (BundleState.ERASING, BundleState.ERASED):
        raise KeyDestroyed(f"bundle {bundle_id} is being erased")
    check_row(custody.binding, row_tag.BUNDLE, bundle)
    if manifest.hash().hex() != bundle.manifest:
        raise Altered(f"the parts of bundle {bundle_id} are not those that were received")
    return manifest


def opener(custody: Custody, manifest: Manifest) -> BundleOpener:
    """Open the stored bundle. Called only by the read-back, concatenation, the contents index (`contents_index`) and
    `bundle_reads` (with an Allowed)."""
    bundle_id = manifest.bundle_id
    if not manifest.parts:  # nothing was sealed, so there may be no key: any key will do
        return BundleOpener(
            DataKey.generate(), manifest, lambda part_id: custody.objects.open_part(bundle_id, part_id)
        )
    key = custody.wrapper.unwrap(custody.keys.get(bundle_id), bundle_id)
    return BundleOpener(key, manifest, lambda part_id: custody.objects.open_part(bundle_id, part_id))


def verify_bundle(custody: Custody, bundle_id: str, rest: Callable[[], None] = lambda: None) -> BundleState:
    """Read a received bundle back, record the result and return the bundle's state. `rest` is called between two
    pieces, and may raise to stop."""
    with custody.records.read() as reads:
        bundle = reads.execute(select(bundles).where(bundles.c.id == bundle_id)).one()
    if bundle.state != BundleState.RECEIVED:
        return BundleState(bundle.state)
    mended: list[str] = []
    sha256, broken = _read_back(custody, bundle, mended, rest)
    if broken in PERHAPS_PASSING:
        sha256, broken = _read_back(custody, bundle, mended, rest)
    if broken is not None:
        return record_damage(custody, bundle, broken)
    return _record_complete(custody, bundle, sha256, mended)


def recheck_bundle(custody: Custody, bundle: Row[Any], rest: Callable[[], None]) -> BundleState:
    """Read a once complete bundle back, record any change and return its state. `rest` is called between two pieces,
    and may raise to stop."""
    sha256, broken = _read_back(custody, bundle, None, rest)
    if broken in PERHAPS_PASSING:
        sha256, broken = _read_back(custody, bundle, None, rest)
    if broken is None and sha256 != bundle.sha256:
        broken = "digest-mismatch"
    if broken is not None:
        return record_damage(custody, bundle, broken)
    if bundle.state != BundleState.DAMAGED:
        return BundleState(bundle.state)
    return _record_whole_again(custody, bundle)


def _record_whole_again(custody: Custody, bundle: Row[Any]) -> BundleState:
    now = custody.clock.now()

    def work(tx: Transaction) -> BundleState:
        held = (bundles.c.id == bundle.id, bundles.c.state == BundleState.DAMAGED)
        if tx.change(update(bundles).where(*held).values(state=BundleState.COMPLETE)):
            details: dict[str, Detail] = {
                "sha256": bundle.sha256,
                "manifest": bundle.manifest,
                "again": "true",
            }
            tx.audit(entry(CLOCK, Action.BUNDLE_VERIFIED, now, **about_bundle(bundle), details=details))
        return BundleState(tx.execute(select(bundles.c.state).where(bundles.c.id == bundle.id)).scalar_one())

    return custody.records.write(work)


def _read_back(
    custody: Custody, bundle: Row[Any], mended: list[str] | None, rest: Callable[[], None] = lambda: None
) -> tuple[str, str | None]:
    """Return the SHA-256 of the stored bytes, and the code of what is wrong with them or None. `mended` collects what
    was rewritten; None for a bundle that may have readers: then nothing is written."""
    manifest = read_manifest(custody, bundle.id)
    if manifest.hash().hex() != bundle.manifest or manifest.length != bundle.size:
        return "", "manifest-mismatch"
    digest = hashlib.sha256()
    try:
        with opener(custody, manifest) as sealed:
            for piece in sealed.read_through():
                digest.update(piece)
                rest()
            kept = mended is None or is_kept(custody, manifest, sealed.stored_manifest)
        if mended is not None and not kept:
            complete_objects(custody, manifest)
            mended.append("manifest")
    except KeyDestroyed:
        if bundle.state != BundleState.RECEIVED:
            raise  # it was erased, whatever restored records say
        return "", "part-missing"
    except DAMAGE as error:
        return "", _code(error)
    declared = bundle.announced_sha256
    wrong = declared is not None and declared != digest.hexdigest()
    return digest.hexdigest(), "digest-mismatch" if wrong else None


def _record_complete(custody: Custody, bundle: Row[Any], sha256: str, mended: list[str]) -> BundleState:
    now = custody.clock.now()
    more: dict[str, Detail] = {"mended": mended} if mended else {}

    def work(tx: Transaction) -> BundleState:
        held = (bundles.c.id == bundle.id, bundles.c.state == BundleState.RECEIVED)
        done = {
            "state": BundleState.COMPLETE,
            "sha256": sha256,
            "verified_at": now,
            "checked_at": now,
            "index_next_at": now if bundle.size else None,  # an empty one has no key to seal it
            **UNTRIED,
        }
        if not tx.change(update(bundles).where(*held).values(done)):
            return BundleState(
                tx.execute(select(bundles.c.state).where(bundles.c.id == bundle.id)).scalar_one()
            )
        fresh = tx.execute(select(bundles).where(bundles.c.id == bundle.id)).one()  # claimed meanwhile?
        body = receipts.body(_receipt(tx, fresh, sha256, now))
        verified = entry(
            CLOCK,
            Action.BUNDLE_VERIFIED,
            now,
            **about_bundle(fresh),
            details={
                "sha256": sha256,
                "manifest": fresh.manifest,
                "receipt": body_hash(body),
                **more,
                **failed_before(bundle),
            },
        )
        tx.audit(verified)
        receipts.keep(tx, bundle.id, INTAKE, body, verified.id, now)
        return BundleState.COMPLETE

    return custody.records.write(work)  # * the bundle can be opened from here


def _receipt(reads: Reads, bundle: Row[Any], sha256: str, now: datetime) -> dict[str, Any]:
    number = reads.execute(select(cases.c.number).where(cases.c.id == bundle.case_id)).scalar()
    return {
        "format": INTAKE,
        "nonce": secrets.token_hex(16),  # the case number could be guessed: leaves hold everything else
        "bundle": bundle.id,
        "stamp": bundle.stamp_id,
        "case": number or "",
        "size": bundle.size,
        "sha256": sha256,
        "manifest": bundle.manifest,
        "seal": NAME,
        "received_at": rfc3339(bundle.received_at),
        "verified_at": rfc3339(now),
    }


def _code(error: Exception) -> str:
    return {SealBroken: "seal-broken", WrappedKeyBroken: "key-broken"}.get(type(error), "part-missing")


def confirm_damage(custody: Custody, bundle: Row[Any], error: Exception) -> BundleState:
    """Repeat a read of a complete bundle that failed with `error` (one of DAMAGE), record damage if it fails again, and
    return the bundle's state."""
    if (state := _state(custody, bundle.id)) != bundle.state:
        return state  # an erasure came between, or another found it before
    manifest = read_manifest(custody, bundle.id)
    met = {error.part_id} if isinstance(error, SealBroken) else {part.part_id for part in manifest.parts}
    try:
        with opener(custody, manifest) as sealed:
            for part in manifest.parts:
                if part.part_id in met and isinstance(error, SealBroken):
                    for _ in sealed.read(part.offset, part.length):
                        pass
                elif part.part_id in met:
                    with closing(custody.objects.open_part(bundle.id, part.part_id)) as stored:
                        stored.read_at(0, 1)
    except KeyDestroyed:
        return BundleState.ERASING  # whatever restored records say
    except DAMAGE as again:
        return record_damage(custody, bundle, _code(again))
    return _state(custody, bundle.id)


_SOUND = (BundleState.RECEIVED, BundleState.COMPLETE)


def record_damage(custody: Custody, bundle: Row[Any], reason: str) -> BundleState:
    """* Record the damage, unless the bundle's state has changed since it was read; return its state."""
    now = custody.clock.now()

    def work(tx: Transaction) -> BundleState:
        held = bundles.c.id == bundle.id, bundles.c.state == bundle.state, bundles.c.state.in_(_SOUND)
        if tx.change(update(bundles).where(*held).values(state=BundleState.DAMAGED, **UNTRIED)):
            tx.audit(
                entry(
                    CLOCK,
                    Action.BUNDLE_DAMAGED,
                    now,
                    outcome=Outcome.FAILED,
                    reason=reason,
                    **about_bundle(bundle),
                )
            )
        return BundleState(tx.execute(select(bundles.c.state).where(bundles.c.id == bundle.id)).scalar_one())

    return custody.records.write(work)


def _state(custody: Custody, bundle_id: str) -> BundleState:
    with custody.records.read() as reads:
        return BundleState(
            reads.execute(select(bundles.c.state).where(bundles.c.id == bundle_id)).scalar_one()
        )
