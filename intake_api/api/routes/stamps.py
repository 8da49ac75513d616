"""Stamps, and the consent to proactive collection from them."""

from __future__ import annotations

from typing import Any

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.stamps import NewStamp, ProactiveConsent, ProactiveConsentHistory, Stamp, StampPage
from retention.custody.access import manage_stamps

routes = Blueprint("stamps", __name__, description="Registered Azure Stack Hub deployments")


@routes.on("POST", "/stamps")
@routes.takes(NewStamp)
@routes.gives(201, Stamp)
def register(body: dict[str, Any]) -> Any:
    """Register a stamp of your tenant."""
    name, subject = body["name"], body["subject"]
    return manage_stamps.register_stamp(custody(), caller(), name, subject, proactive=body["proactive"])


@routes.on("GET", "/stamps")
@routes.takes(PageQuery, "query")
@routes.gives(200, StampPage)
def index(query: dict[str, Any]) -> Any:
    """List the stamps that you are allowed to see, newest first."""
    return manage_stamps.list_stamps(custody(), caller(), query["cursor"], query["limit"])


@routes.on("GET", "/stamps/<stamp>")
@routes.gives(200, Stamp)
def show(stamp: str) -> Any:
    """Show one stamp."""
    found = manage_stamps.get_stamp(custody(), caller(), stamp)
    looked_at(tenant=found.tenant_id, subject=found.id)
    return found


@routes.on("DELETE", "/stamps/<stamp>")
@routes.gives(200, Stamp)
def deregister(stamp: str) -> Any:
    """End a stamp's registration: it can upload nothing more."""
    return manage_stamps.deregister_stamp(custody(), caller(), stamp)


@routes.on("PUT", "/stamps/<stamp>/proactive-consent")
@routes.takes(ProactiveConsent)
@routes.gives(200, Stamp)
def set_proactive_consent(body: dict[str, Any], stamp: str) -> Any:
    """Give or revoke the consent to proactive collection."""
    return manage_stamps.set_proactive(custody(), caller(), stamp, body["enabled"])


@routes.on("GET", "/stamps/<stamp>/proactive-consent")
@routes.gives(200, ProactiveConsentHistory)
def proactive_consent(stamp: str) -> Any:
    """List every change of the consent, newest first."""
    history = manage_stamps.proactive_history(custody(), caller(), stamp)
    looked_at(subject=stamp)
    return {"items": history}
