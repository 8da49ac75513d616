"""Consents: the customer lets one partner see one case (P6)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.access import Consent, ConsentPage, NewConsent
from intake_api.schemas.fields import PageQuery
from retention.custody.access import manage_cases, manage_consents
from retention.custody.context import about_case

routes = Blueprint("consents", __name__, description="Sharing with partners, by the customer's consent")


def _shown(consent: Row[Any]) -> dict[str, Any]:
    live = consent.revoked_at is None and custody().clock.now() < consent.expires_at
    scope = manage_consents.consented_bundles(custody(), consent)
    return {**consent._mapping, "bundles": scope, "live": live}


@routes.on("POST", "/cases/<number>/consents")
@routes.takes(NewConsent)
@routes.gives(201, Consent)
def give(body: dict[str, Any], number: str) -> Any:
    """Allow a partner to see a case, or some bundles of it, until a given day."""
    partner, expires_at, scope = body["partner"], body["expires_at"], body["bundles"]
    return _shown(manage_consents.give_consent(custody(), caller(), number, partner, expires_at, scope))


@routes.on("GET", "/cases/<number>/consents")
@routes.takes(PageQuery, "query")
@routes.gives(200, ConsentPage)
def index(query: dict[str, Any], number: str) -> Any:
    """List a case's consents, newest first, revoked ones too."""
    case = manage_cases.get_case(custody(), caller(), number)
    looked_at(**about_case(case))
    page = manage_consents.list_consents(custody(), caller(), case, query["cursor"], query["limit"])
    return {"items": [_shown(consent) for consent in page.items], "next": page.next}


@routes.on("POST", "/consents/<consent>/revoke")
@routes.gives(200, Consent)
def revoke(consent: str) -> Any:
    """Revoke a consent: the grants under it end at once."""
    return _shown(manage_consents.revoke_consent(custody(), caller(), consent))
