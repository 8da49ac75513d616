"""Entries of the use and the refusal of upload links (P3).

What a link's holder sends has entries of its own (upload.created, bundle.received ...). That a link was used at all,
for what and from where, and that one was turned away, is told here: at once the first time, by number afterwards.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from audit.entry import Action, Entry, Outcome
from intake_api.windows import Windows
from retention.actor import Actor, Role
from retention.custody.context import Custody, entry
from retention.custody.linking import UploadLink

USE_WINDOW, REFUSAL_WINDOW = timedelta(hours=1), timedelta(minutes=1)
MOST = 256
_MANY = "(many)"


class _Kind(NamedTuple):
    """What is told once a window: `what` is the operation, or why it was refused; no link: it was none of ours."""

    what: str
    address: str
    link: str | None = None
    tenant: str | None = None
    case: str | None = None


def _kind(link: UploadLink | None, what: str, address: str) -> _Kind:
    if link is None:
        return _Kind(what, address)
    return _Kind(what, address, link.row.id, link.row.tenant_id, link.row.case_id)


class LinkNotes:
    """One for the process."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody
        self._uses: Windows[_Kind] = Windows(USE_WINDOW, MOST, lambda kind: kind._replace(address=_MANY))
        self._refusals: Windows[_Kind] = Windows(REFUSAL_WINDOW, MOST, lambda kind: _Kind(kind.what, _MANY))

    def used(self, link: UploadLink, operation: str, address: str, request_id: str) -> None:
        """The link let somebody in."""
        self._note(self._uses, Action.UPLOAD_LINK_USED, _kind(link, operation, address), request_id)

    def refused(self, link: UploadLink | None, reason: str, address: str, request_id: str) -> None:
        """Somebody was turned away."""
        self._note(self._refusals, Action.UPLOAD_LINK_REFUSED, _kind(link, reason, address), request_id)

    def _note(self, windows: Windows[_Kind], action: Action, kind: _Kind, request_id: str) -> None:
        first, closed = windows.count(kind, self._custody.clock.now())
        entries = [self._entry(action, counted, number, None) for counted, number in closed]
        entries += [] if first is None else [self._entry(action, first, 1, request_id)]
        if entries:
            self._custody.records.write(lambda tx: tx.audit(*entries))

    def _entry(self, action: Action, kind: _Kind, count: int, request_id: str | None) -> Entry:
        particulars = {"ip": kind.address, **({"request_id": request_id} if request_id else {})}
        role = frozenset({Role.UPLOAD_LINK})
        used = action is Action.UPLOAD_LINK_USED
        return entry(
            Actor(id=kind.link or "act_unknown", roles=role, particulars=particulars),
            action,
            self._custody.clock.now(),
            outcome=Outcome.SUCCESS if used else Outcome.REFUSED,
            reason=None if used else kind.what,
            tenant=kind.tenant,
            case=kind.case,
            subject=kind.link,
            details={"count": count, **({"operation": kind.what} if used else {})},
        )
