"""Reading bundles: the only way to plaintext (P2, P3).

Order of writing:
  decide (`retention.domain.grants`) -> * entry `bundle.opened` durable -> read back as written (`opening_entry`)
  -> data key unwrapped -> first plaintext byte
  the end of the read (bytes, complete or cut) is a second entry, `bundle.read-ended`
- `_unseal` takes an Allowed, which only `retention.domain.grants` makes: no door can reach plaintext around the
  decision.
- Nothing is opened, and open reads are cut, while the records may be older than the log
  (`retention.custody.log_gate`).
- The rows behind the decision are bound by the service's own key (`bound_access`): a row written by somebody else opens
  nothing.
- The end of a grant cuts the reads under it: its expiry is checked at every piece, its end every few seconds.
- The read's second entry says why it ended early: WHY.
- Damage is looked for again at once (`completion.confirm_damage`): found twice, the bundle is damaged.
- Nothing here can write to a bundle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row, select
from sqlalchemy.exc import DBAPIError

from audit.entry import Action, Detail, Entry, Outcome
from audit.times import rfc3339
from retention.archive import ArchiveError, NoSuchFile
from retention.archive.contents import ContentsIndex
from retention.custody.access.bound_access import Altered, check_row, read_access
from retention.custody.contents_index import stored_contents
from retention.custody.context import (
    Custody,
    Refusal,
    about_bundle,
    alarmed,
    commit,
    entry,
    refuse,
    turned,
    unseen,
)
from retention.custody.reading.opening_entry import EntryNotKept, confirm, stands
from retention.custody.uploads.completion import DAMAGE, confirm_damage, opener, received_manifest
from retention.custody.uploads.declaration import refuse_if_erased
from retention.domain.actor import Actor
from retention.domain.bundle import BundleState
from retention.domain.faults import Conflict, Damaged, Erased, Invalid, Passing, Refused, Unavailable
from retention.domain.grants import Allowed, Denied, decide_open
from retention.domain.row_tag import BUNDLE
from retention.envelope.bundle_file import BundleOpener
from retention.envelope.format import EnvelopeError
from retention.objects.store_errors import KeyDestroyed, StoreError
from retention.records.queries import find_bundle, hold
from retention.records.tables import bundles
from retention.records.unit_of_work import Reads, Transaction

RECHECK_SECONDS = 2.0
WHY: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((Erased, KeyDestroyed), "erased"),
    ((Damaged,), "damaged"),
    ((NoSuchFile,), "no-such-file"),
    ((ArchiveError,), "not-readable"),
    ((Invalid,), "invalid"),
    ((Unavailable, StoreError, EnvelopeError, DBAPIError), "unavailable"),
)
"""Why a read ended, for its second entry; the first matching row counts. A grant's end gives the refusal's own reason,
any other error `error`, and a caller that left `cut`."""
T = TypeVar("T")
Span = tuple[int, int]
"""A run of a bundle's plaintext: offset and length, in bytes."""
Choose = Callable[[Row[Any]], Sequence[Span]]
"""Chooses the runs to read, once the bundle is known; may raise Invalid."""


class Standing:
    """The access that a read was opened under, and whether it still stands. It holds no key and no plaintext."""

    def __init__(self, custody: Custody, allowed: Allowed, bundle: str, opened: Entry) -> None:
        self._custody, self._allowed, self._bundle, self._opened = custody, allowed, bundle, opened
        self._checked = time.monotonic()

    def check_now_and_then(self) -> None:
        """Check the expiry, and the records if they were not looked at for RECHECK_SECONDS. Raises as `check` does."""
        self._check_expiry()
        if time.monotonic() - self._checked >= RECHECK_SECONDS:
            self.check()

    def check(self) -> None:
        """Check grant, bundle and entry in the records. Refused, Damaged, Unavailable, EntryNotKept."""
        self._check_expiry()
        self._checked = time.monotonic()
        least = self._custody.gate.ask(self._custody.clock.now())
        with self._custody.records.read() as reads:
            self._custody.gate.check(reads, least)
            bundle = reads.execute(select(bundles).where(bundles.c.id == self._bundle)).one()
            if bundle.state == BundleState.DAMAGED:  # another reader, or the scrubbing, found it
                raise Damaged(self._bundle)
            with alarmed():
                allowed = self._still_allowed(reads, bundle)
        if not allowed:
            raise Refused(
                "your grant has ended, or the bundle was moved or is being erased", reason="grant-ended"
            )

    @contextmanager
    def contents(self, index_id: str) -> Iterator[ContentsIndex | None]:
        """Open the bundle's contents index again, once `check` passes: no key is kept between the pages of a list."""
        self.check()
        with (
            _unseal(self._custody, self._allowed) as sealed,
            stored_contents(sealed.stored_index, index_id) as found,
        ):
            yield found

    def _check_expiry(self) -> None:
        if self._custody.clock.now() >= self._allowed.until:
            raise Refused(
                f"your access ended at {rfc3339(self._allowed.until)}; grant yourself access anew",
                reason="grant-expired",
            )

    def _still_allowed(self, reads: Reads, bundle: Row[Any]) -> bool:
        custody, allowed = self._custody, self._allowed
        if bundle.state != BundleState.COMPLETE or bundle.case_id != allowed.case:
            return False
        check_row(custody.binding, BUNDLE, bundle)
        access = read_access(reads, custody.binding, allowed.case)
        if not stands(reads, self._opened):
            raise EntryNotKept
        return access.has(allowed.grant, allowed.consent)


class OpenBundle:
    """A bundle opened under a grant for one read. Close it: closing writes the second entry."""

    def __init__(
        self,
        custody: Custody,
        actor: Actor,
        allowed: Allowed,
        bundle: Row[Any],
        spans: Sequence[Span],
        opened: Entry,
    ) -> None:
        self.bundle = bundle
        self.spans = spans
        self._custody, self._actor, self._opened = custody, actor, opened
        self.standing = Standing(custody, allowed, bundle.id, opened)
        self._delivered = 0
        self._complete = False
        self._closed = self._looked = False
        self._held = ExitStack()
        self._contents: ContentsIndex | None = None
        try:
            with alarmed():
                self._sealed = _unseal(custody, allowed)
        except Exception as error:
            shown = self._found(error)
            self._end(_why(shown))
            raise shown from None

    @property
    def sealed(self) -> BundleOpener:
        """The opener, for readers that seek (archives); they pass plaintext on through `deliver`."""
        return self._sealed

    @property
    def contents(self) -> ContentsIndex | None:
        """The bundle's contents index, if one can be read. What is made from it goes through `passing`."""
        if not self._looked:
            self._looked = True
            self._contents = self._held.enter_context(
                stored_contents(self._sealed.stored_index, self.bundle.index_id)
            )
        return self._contents

    def pieces(self, span: Span) -> Iterator[bytes]:
        """Yield the plaintext of a run, each piece verified before it leaves."""
        return self.deliver(self._sealed.read(*span))

    def deliver(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pass pieces on while the grant lives, counting each before it is handed over, so never too few."""
        for piece in self.passing(pieces):
            self._delivered += len(piece)
            yield piece

    def passing(self, found: Iterator[T]) -> Iterator[T]:
        """Pass on things made from the plaintext (pieces, names) while the grant lives."""
        try:
            for one in found:
                self.standing.check_now_and_then()
                yield one
        except Exception as error:
            raise self.failed(error) from None

    def hold_back(self) -> int:
        """Note that nothing `deliver` passed on so far is handed over yet; return how many bytes, for `hand_over`."""
        held, self._delivered = self._delivered, 0
        return held

    def hand_over(self, length: int) -> None:
        """Note that `length` bytes of those held back are handed over."""
        self._delivered += length

    def done(self) -> None:
        """Note that everything asked for was handed over."""
        self._complete = True

    def failed(self, error: Exception) -> Exception:
        """Close the bundle because of `error`; return the error to show to the caller."""
        if self._closed:
            return error
        shown = self._found(error)
        self.close(_why(shown))
        return shown

    def _found(self, error: Exception) -> Exception:
        """Look again at what caused `error`; return the real one: a passing fault, an erasure in between, or damage."""
        if isinstance(error, KeyDestroyed):
            return Erased(self.bundle.id, state="erasing", cause=None, erased_at=None)
        if not isinstance(error, DAMAGE):
            return error
        try:
            state = confirm_damage(self._custody, self.bundle, error)
        except Exception as other:  # the store is unreachable: nothing is known of the bundle
            return other
        if state in (BundleState.ERASING, BundleState.ERASED):
            return Erased(self.bundle.id, state=str(state), cause=None, erased_at=None)
        return Damaged(self.bundle.id) if state is BundleState.DAMAGED else Passing()

    def close(self, reason: str = "cut") -> None:
        """Close the bundle and enter how the read ended (`reason`: if it was not done). Repeating it does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._held.close()
            self._sealed.close()
        finally:
            self._end(reason)

    def _end(self, reason: str) -> None:
        now = self._custody.clock.now()
        why = None if self._complete else reason
        ended = _ended(self._actor, self._opened, now, why, self._delivered)
        self._custody.records.write(lambda tx: tx.audit(ended))


def open_bundle(
    custody: Custody,
    actor: Actor,
    bundle_id: str,
    choose: Choose,
    *,
    action: Action = Action.BUNDLE_OPENED,
    particulars: Mapping[str, str] | None = None,
) -> OpenBundle:
    """Open a complete bundle under the actor's grant, to read the runs that `choose` names.

    NotFound, Refused (with an entry), Conflict (with an entry; the bundle is not complete yet),
    Erased (with the tombstone's facts), Invalid (from `choose`).
    Unavailable: the records may be older than the log; or records or log were altered (with an entry).
    """
    now = custody.clock.now()
    custody.schema.require(custody.records)
    least = custody.gate.ask(now)

    def work(tx: Transaction) -> tuple[Allowed, int, Row[Any], Sequence[Span], Entry] | Refusal:
        custody.gate.check(tx, least)
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, action, now, "bundle", bundle_id)
        refuse_if_erased(bundle)
        try:
            decided, version = _decide(tx, custody, actor, bundle, now)
        except Altered as error:
            ids = about_bundle(bundle)
            return turned(
                tx, error, entry(actor, action, now, outcome=Outcome.REFUSED, reason=error.reason, **ids)
            )
        if isinstance(decided, Denied):
            refusal = refuse(tx, actor, action, now, decided, **about_bundle(bundle))
            if decided.reason == f"bundle-{bundle.state}" and bundle.state != BundleState.DAMAGED:
                return Refusal(Conflict(decided.message, reason=decided.reason), refusal.entry)
            return refusal
        hold(tx, decided.grant.id, bundle_id)
        spans = choose(bundle)
        opened = entry(
            actor,
            action,
            now,
            **about_bundle(bundle),
            subject=decided.grant.id,
            details={**_span_details(spans), **({"consent": decided.consent.id} if decided.consent else {})},
            particulars=particulars,
        )
        tx.audit(opened)
        return decided, version, bundle, spans, opened

    allowed, version, bundle, spans, opened = commit(custody, work)  # * the entry is durable
    custody.openings.follow(opened)
    try:
        with alarmed():
            confirm(custody.records, custody.binding, opened, allowed.case, version)  # plaintext may follow
    except (Altered, EntryNotKept) as error:
        ended = _ended(actor, opened, custody.clock.now(), error.reason, 0)
        custody.records.write(lambda tx: tx.audit(ended))
        raise
    return OpenBundle(custody, actor, allowed, bundle, spans, opened)


def _decide(
    tx: Transaction, custody: Custody, actor: Actor, bundle: Row[Any], now: datetime
) -> tuple[Allowed | Denied, int]:
    """Return the decision of the rules, and the version of the access that it is based on."""
    state = BundleState(bundle.state)
    check_row(custody.binding, BUNDLE, bundle)
    if bundle.case_id is None:
        return decide_open(actor, None, bundle.id, state, (), now), 0
    access = read_access(tx, custody.binding, bundle.case_id)
    decided = decide_open(actor, access.facts(actor), bundle.id, state, access.grants(actor), now)
    return decided, access.version


def _ended(actor: Actor, opened: Entry, now: datetime, reason: str | None, delivered: int) -> Entry:
    """Make the second entry of a read; without a `reason` all was handed over."""
    return entry(
        actor,
        Action.BUNDLE_READ_ENDED,
        now,
        outcome=Outcome.SUCCESS if reason is None else Outcome.FAILED,
        reason=reason,
        tenant=opened.tenant,
        case=opened.case,
        bundle=opened.bundle,
        subject=opened.subject,
        details={"bytes": delivered, "opened": opened.id},
    )


def _why(error: Exception) -> str:
    if isinstance(error, (Refused, Altered, EntryNotKept)) and error.reason:
        return error.reason
    return next((why for kinds, why in WHY if isinstance(error, kinds)), "error")


def _unseal(custody: Custody, allowed: Allowed) -> BundleOpener:
    if not isinstance(allowed, Allowed):
        raise TypeError(f"opening a bundle takes an Allowed, not {type(allowed).__name__}")
    return opener(custody, received_manifest(custody, allowed.bundle))


def _span_details(spans: Sequence[Span]) -> dict[str, Detail]:
    """Return the details of the runs for the leaf; a long list is summed up."""
    shown = [f"{offset}+{length}" for offset, length in spans[:32]]
    return {
        "ranges": shown,
        "range_count": len(spans),
        "asked_bytes": sum(length for _offset, length in spans),
    }
