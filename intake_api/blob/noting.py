"""Entries of the use and the refusal of upload links (P3).

What a link's holder sends has entries of its own (upload.created, bundle.received ...). That a link was used at all,
for what and from where, and that one was turned away, is told here: at once the first time, by number afterwards
(`retention.custody.counted`).
"""

from __future__ import annotations

from audit.entry import Action, Detail, Entry, Outcome
from retention.actor import Actor, Role
from retention.custody.context import Custody, entry
from retention.custody.linking import UploadLink


class LinkNotes:
    """Of one endpoint."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody

    def used(self, link: UploadLink, operation: str, address: str, request_id: str) -> None:
        """The link let somebody in."""
        details: dict[str, Detail] = {"count": 1, "operation": operation}
        used = self._entry(Action.UPLOAD_LINK_USED, link, address, request_id, None, details)
        self._custody.counts.link_uses.note(self._custody.records, used, link.row.id)

    def refused(self, link: UploadLink | None, reason: str, address: str, request_id: str) -> None:
        """Somebody was turned away; no link: it was none of ours."""
        refused = self._entry(Action.UPLOAD_LINK_REFUSED, link, address, request_id, reason, {"count": 1})
        caller = link.row.id if link else address
        self._custody.counts.link_refusals.note(self._custody.records, refused, caller)

    def _entry(
        self,
        action: Action,
        link: UploadLink | None,
        address: str,
        request_id: str,
        reason: str | None,
        details: dict[str, Detail],
    ) -> Entry:
        row = link.row if link else None
        particulars = {"ip": address, "request_id": request_id}
        return entry(
            Actor(
                id=row.id if row else "act_unknown",
                roles=frozenset({Role.UPLOAD_LINK}),
                particulars=particulars,
            ),
            action,
            self._custody.clock.now(),
            outcome=Outcome.REFUSED if reason else Outcome.SUCCESS,
            reason=reason,
            tenant=row.tenant_id if row else None,
            case=row.case_id if row else None,
            subject=row.id if row else None,
            details=details,
        )
