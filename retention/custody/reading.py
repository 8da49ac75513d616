"""Reading: the one way to plaintext (P2, P3).

Order of writing:
  decide (`retention.grants`) -> * entry `bundle.opened` durable -> data key unwrapped -> first plaintext byte
  the end of the read (bytes, complete or cut) is a second entry, `bundle.read-ended`
- `_unseal` takes an Allowed, which only `retention.grants` makes: no door can reach plaintext around the decision.
- Nothing is opened, and what is open is cut, while the records may be older than the log (`retention.log_gate`).
- A grant that ends cuts the reads under it: its expiry is checked at every piece, its end every few seconds.
- The entry of the end says why a read ended early: WHY.
- Damage that is met is looked for again at once (`completing.confirm_damage`): found twice, the bundle is damaged.
- Nothing here can write to a bundle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, select
from sqlalchemy.exc import DBAPIError

from audit.entry import Action, Detail, Outcome
from retention.actor import Actor
from retention.archive import ArchiveError, NoSuchFile
from retention.bundle import BundleState
from retention.custody.collecting import refuse_if_erased
from retention.custody.completing import DAMAGE, confirm_damage, opener, read_manifest
from retention.custody.context import Custody, Turned, about_bundle, commit, entry, refuse, unseen
from retention.custody.granting import case_facts
from retention.envelope.bundle_file import BundleOpener
from retention.envelope.errors import EnvelopeError
from retention.errors import Damaged, Erased, Passing, Refused, Unavailable
from retention.grants import Allowed, Denied, decide_open
from retention.objects.errors import KeyDestroyed, StoreError
from retention.records.queries import case_by_id, find_bundle, hold, live_grants
from retention.records.tables import bundles, consents, grants
from retention.records.unit_of_work import Transaction

RECHECK_SECONDS = 2.0
WHY: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((Erased, KeyDestroyed), "erased"),
    ((Damaged,), "damaged"),
    ((NoSuchFile,), "no-such-file"),
    ((ArchiveError,), "not-readable"),
    ((Unavailable, StoreError, EnvelopeError, DBAPIError), "unavailable"),
)
"""Why a read ended, for the entry of its end; the first row that fits. A grant's end has the refusal's own reason, any
other error `error`, and a caller that left `cut`."""
T = TypeVar("T")
Span = tuple[int, int]
"""A run of a bundle's plaintext: offset and length, in bytes."""
Choose = Callable[[Row[Any]], Sequence[Span]]
"""Which runs are wanted, once the bundle is known; may raise Invalid."""


class OpenBundle:
    """A bundle opened under a grant for one read. Close it: closing writes the entry of the end."""

    def __init__(
        self,
        custody: Custody,
        actor: Actor,
        allowed: Allowed,
        bundle: Row[Any],
        spans: Sequence[Span],
        opened: str,
    ) -> None:
        self.bundle = bundle
        self.spans = spans
        self._custody, self._actor, self._allowed, self._opened = custody, actor, allowed, opened
        self._checked = time.monotonic()
        self._delivered = 0
        self._complete = False
        self._closed = False
        try:
            self._sealed = _unseal(custody, allowed)
        except Exception as error:
            told = self._found(error)
            self._end(_why(told))
            raise told from None

    @property
    def sealed(self) -> BundleOpener:
        """For readers that seek (archives); what they deliver goes through `deliver`."""
        return self._sealed

    def pieces(self, span: Span) -> Iterator[bytes]:
        """The plaintext of a run, each piece verified before it leaves."""
        return self.deliver(self._sealed.read(*span))

    def deliver(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pass pieces on while the grant lives, and count each before it is handed over: never less than left."""
        for piece in self.passing(pieces):
            self._delivered += len(piece)
            yield piece

    def passing(self, found: Iterator[T]) -> Iterator[T]:
        """Pass on what was made of the plaintext (pieces, names) while the grant lives."""
        try:
            for one in found:
                self._check_grant()
                yield one
        except Exception as error:
            raise self.failed(error) from None

    def hold_back(self) -> int:
        """What `deliver` passed on so far is not handed over yet; how many bytes, for `hand_over`."""
        held, self._delivered = self._delivered, 0
        return held

    def hand_over(self, length: int) -> None:
        """This much of what was held back is handed over."""
        self._delivered += length

    def done(self) -> None:
        """All that was asked for was handed over."""
        self._complete = True

    def failed(self, error: Exception) -> Exception:
        """Close it because of `error`; what to tell the caller of it."""
        if self._closed:
            return error
        told = self._found(error)
        self.close(_why(told))
        return told

    def _found(self, error: Exception) -> Exception:
        """What an error means once it was looked at again: a passing fault, an erasure that came between, or damage."""
        if isinstance(error, KeyDestroyed):
            return Erased(self.bundle.id, state="erasing", cause=None, erased_at=None)
        if not isinstance(error, DAMAGE):
            return error
        try:
            state = confirm_damage(self._custody, self.bundle, error)
        except Exception as other:  # the store is away: nothing can be said of the bundle
            return other
        if state in (BundleState.ERASING, BundleState.ERASED):
            return Erased(self.bundle.id, state=str(state), cause=None, erased_at=None)
        return Damaged(self.bundle.id) if state is BundleState.DAMAGED else Passing()

    def _check_grant(self) -> None:
        if self._custody.clock.now() >= self._allowed.until:
            raise Refused("your grant has expired", reason="grant-expired")
        if time.monotonic() - self._checked < RECHECK_SECONDS:
            return
        self._checked = time.monotonic()
        least = self._custody.gate.ask(self._custody.clock.now())
        with self._custody.records.read() as reads:
            self._custody.gate.check(reads, least)
            ended = reads.execute(
                select(grants.c.ended_at).where(grants.c.id == self._allowed.grant.id)
            ).scalar()
            consent = self._allowed.consent
            revoked = (
                consent
                and reads.execute(select(consents.c.revoked_at).where(consents.c.id == consent.id)).scalar()
            )
            held = select(bundles.c.state, bundles.c.case_id).where(bundles.c.id == self.bundle.id)
            state, case = reads.execute(held).one()
        if state == BundleState.DAMAGED:  # another reader, or the scrubbing, has found it
            raise Damaged(self.bundle.id)
        if (
            ended is not None
            or revoked is not None
            or state != BundleState.COMPLETE
            or case != self._allowed.case
        ):
            raise Refused(
                "your grant has ended, or the bundle was moved or is being erased", reason="grant-ended"
            )

    def close(self, reason: str = "cut") -> None:
        """Let go, and write down how the read ended (`reason`: if it was not done). Repeating it does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._sealed.close()
        finally:
            self._end(reason)

    def _end(self, reason: str) -> None:
        now = self._custody.clock.now()
        ended = entry(
            self._actor,
            Action.BUNDLE_READ_ENDED,
            now,
            outcome=Outcome.SUCCESS if self._complete else Outcome.FAILED,
            reason=None if self._complete else reason,
            **about_bundle(self.bundle),
            subject=self._allowed.grant.id,
            details={"bytes": self._delivered, "opened": self._opened},
        )
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

    NotFound, Refused (with an entry), Erased (the tombstone answers), Invalid (from `choose`).
    Unavailable: the records may be older than the log.
    """
    now = custody.clock.now()
    least = custody.gate.ask(now)

    def work(tx: Transaction) -> tuple[Allowed, Row[Any], Sequence[Span], str] | Turned:
        custody.gate.check(tx, least)
        bundle = find_bundle(tx, actor, bundle_id, now)
        if bundle is None:
            return unseen(tx, actor, action, now, "bundle", bundle_id)
        refuse_if_erased(bundle)
        decided = _decide(tx, actor, bundle, now)
        if isinstance(decided, Denied):
            return refuse(tx, actor, action, now, decided, **about_bundle(bundle))
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
        return decided, bundle, spans, opened.id

    allowed, bundle, spans, opened = commit(custody, work)  # * the entry is durable; plaintext may follow
    return OpenBundle(custody, actor, allowed, bundle, spans, opened)


def _decide(tx: Transaction, actor: Actor, bundle: Row[Any], now: Any) -> Allowed | Denied:
    state = BundleState(bundle.state)
    if bundle.case_id is None:
        return decide_open(actor, None, bundle.id, state, (), now)
    case = case_by_id(tx, bundle.case_id)
    held = live_grants(tx, case.id, actor.id, now)
    return decide_open(actor, case_facts(tx, case, actor), bundle.id, state, held, now)


def _why(error: Exception) -> str:
    if isinstance(error, Refused) and error.reason:
        return error.reason
    return next((why for kinds, why in WHY if isinstance(error, kinds)), "error")


def _unseal(custody: Custody, allowed: Allowed) -> BundleOpener:
    if not isinstance(allowed, Allowed):
        raise TypeError("opening a bundle takes an Allowed")
    return opener(custody, read_manifest(custody, allowed.bundle))


def _span_details(spans: Sequence[Span]) -> dict[str, Detail]:
    """What is read, for the leaf; a long list of ranges is summed up."""
    shown = [f"{offset}+{length}" for offset, length in spans[:32]]
    return {
        "ranges": shown,
        "range_count": len(spans),
        "asked_bytes": sum(length for _offset, length in spans),
    }
