"""Pages of a case and its bundles, for all who see them, and the engineer's own access."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

from flask import Response, redirect, request

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes import content
from intake_api.portal import approval_pages, forms, page
from intake_api.schemas.access import NewGrant
from intake_api.schemas.fields import PageQuery
from retention.custody import receipts
from retention.custody.access import manage_cases, manage_consents, manage_grants
from retention.custody.context import about_bundle, about_case
from retention.custody.uploads import declaration
from retention.domain.actor import Role
from retention.domain.bundle import BundleState
from retention.domain.deadline import case_deadline
from retention.domain.grants import DEFAULT_DURATION, MAX_REASON_CHARACTERS

_HOURS = (1, 2, 4, 8, 24)
_IN_A_CASE = 50
"""Grants, consents and bundles that a case's page shows at first; the lists have the rest."""


def home() -> Response:
    """Lead to the first page of the person's role."""
    for endpoint, _, roles in page.NAVIGATION:
        if caller().has(*roles):
            return _to(f"/portal/{endpoint.replace('_', '-')}")
    return page.show("no_pages.html", 403)


def cases() -> Response:
    """Show the cases that the person is allowed to see, newest first."""
    asked = forms.read(PageQuery, request.args)
    found = manage_cases.list_cases(custody(), caller(), asked["cursor"], asked["limit"])
    deadlines = manage_cases.deadlines_of(custody(), found.items)
    return page.show("cases.html", cases=found.items, deadlines=deadlines, next=found.next)


def case(number: str) -> Response:
    """Show one case: access to it, its bundles, and what the person can do."""
    found = manage_cases.get_case(custody(), caller(), number)
    looked_at(**about_case(found))
    history, assigned = manage_cases.case_details(custody(), caller(), found)
    grants = manage_grants.list_grants(custody(), caller(), found, None, _IN_A_CASE)
    now = custody().clock.now()
    live = [grant for grant in grants.items if grant.ended_at is None and now < grant.expires_at]
    approval = approval_pages.of_case(found)
    own = [one for one in approval["waiting"] if one["actor_id"] == caller().id]
    return page.show(
        "case.html",
        **approval,
        asked=own[0] if own else None,
        case=found,
        history=history,
        assignments=assigned,
        deadline=case_deadline(history),
        grants=grants.items,
        live=live,
        mine=next((grant for grant in live if grant.actor_id == caller().id), None),
        consents=manage_consents.list_consents(custody(), caller(), found, None, _IN_A_CASE).items,
        bundles=declaration.list_bundles(custody(), caller(), None, _IN_A_CASE, case_number=number),
        hours=_HOURS,
        usual=int(DEFAULT_DURATION / timedelta(hours=1)),
        longest=MAX_REASON_CHARACTERS,
        reads=caller().has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER),
    )


def grant_access(number: str) -> Response:
    """Grant the engineer access to a case, or ask the customer for it."""
    minutes = forms.whole(request.form.get("duration_minutes", ""))
    asked = forms.read(NewGrant, {"reason": request.form.get("reason", "")}, duration_minutes=minutes)
    duration = timedelta(minutes=asked["duration_minutes"])
    manage_grants.give_grant(custody(), caller(), number, asked["reason"], duration)
    return _to(f"/portal/cases/{quote(number, safe='')}")


def end_grant(grant: str) -> Response:
    """Release the engineer's own grant, or revoke one as its case's customer."""
    found = manage_grants.get_grant(custody(), caller(), grant)
    end = manage_grants.release_grant if found.actor_id == caller().id else manage_grants.revoke_grant
    ended = end(custody(), caller(), grant)
    return _to(f"/portal/cases/{quote(ended.number, safe='')}")


def bundle(bundle: str) -> Response:
    """Show one bundle's record; for an erased one, its tombstone."""
    found = declaration.get_bundle(custody(), caller(), bundle)
    looked_at(**about_bundle(found))
    complete = found.state == BundleState.COMPLETE
    reads = complete and caller().has(Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER)
    return page.show("bundle.html", bundle=found, complete=complete, reads=reads)


def bundle_content(bundle: str) -> Response:
    """Hand over a bundle's bytes, under a live grant."""
    return content.respond(bundle)


def bundle_receipt(bundle: str) -> Any:
    """Hand over a bundle's signed intake receipt."""
    looked_at(**about_bundle(declaration.get_bundle(custody(), caller(), bundle)))
    return receipt_file(receipts.hand_out(custody(), bundle), f"intake-{bundle}.json")


def receipt_file(receipt: dict[str, Any], name: str) -> Any:
    """Hand over a receipt as a file to keep."""
    return receipt, 200, {"Content-Disposition": f'attachment; filename="{name}"'}


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/", "home", home),
    ("GET", "/cases", "cases", cases),
    ("GET", "/cases/<number>", "case", case),
    ("POST", "/cases/<number>/grants", "grant_access", grant_access),
    ("POST", "/grants/<grant>/end", "end_grant", end_grant),
    ("GET", "/bundles/<bundle>", "bundle", bundle),
    ("GET", "/bundles/<bundle>/content", "content", bundle_content),
    ("GET", "/bundles/<bundle>/receipt", "bundle_receipt", bundle_receipt),
)


def _to(address: str) -> Response:
    return redirect(address, 303)  # type: ignore[return-value]
