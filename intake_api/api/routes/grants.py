"""Grants: access that engineers give themselves, for one case, with a reason and an end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from intake_api.api.authentication import caller, custody, located
from intake_api.api.looks import looked_at
from intake_api.api.routes import approvals
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.access import Approval, Grant, GrantPage, NewGrant
from intake_api.schemas.fields import PageQuery
from retention.custody.access import manage_approvals, manage_cases, manage_grants
from retention.custody.context import about, about_case

routes = Blueprint("grants", __name__, description="Read-only, time-boxed access to a case")


def _shown(grant: Row[Any]) -> dict[str, Any]:
    live = grant.ended_at is None and custody().clock.now() < grant.expires_at
    return {**grant._mapping, "live": live}


@routes.on("POST", "/cases/<number>/grants")
@routes.takes(NewGrant)
@routes.gives(201, Grant)
@routes.gives_also(202, Approval, "The customer wants to be asked first: a request for approval, in Location")
def give(body: dict[str, Any], number: str) -> Any:
    """Grant yourself read-only access to a case that you are assigned to.

    Where the customer wants to be asked, nothing is granted yet: the response is 202, with the request for approval.
    The grant begins when the customer gives it.
    """
    duration = timedelta(minutes=body["duration_minutes"])
    given = manage_grants.give_grant(custody(), caller(), number, body["reason"], duration)
    if not isinstance(given, manage_grants.Asked):
        return _shown(given)
    asked = manage_approvals.get_approval(custody(), caller(), given.approval)
    headers = {"Location": located(f"/approvals/{given.approval}")}
    return routes.also(202, Approval, approvals.shown(asked), headers)


@routes.on("GET", "/cases/<number>/grants")
@routes.takes(PageQuery, "query")
@routes.gives(200, GrantPage)
def index(query: dict[str, Any], number: str) -> Any:
    """List a case's grants, newest first, ended ones too."""
    case = manage_cases.get_case(custody(), caller(), number)
    looked_at(**about_case(case))
    page = manage_grants.list_grants(custody(), caller(), case, query["cursor"], query["limit"])
    return {"items": [_shown(grant) for grant in page.items], "next": page.next}


@routes.on("GET", "/grants/<grant>")
@routes.gives(200, Grant)
def show(grant: str) -> Any:
    """Show one grant."""
    found = manage_grants.get_grant(custody(), caller(), grant)
    looked_at(**about(found), subject=found.id)
    return _shown(found)


@routes.on("POST", "/grants/<grant>/release")
@routes.gives(200, Grant)
def release(grant: str) -> Any:
    """End your own grant early."""
    return _shown(manage_grants.release_grant(custody(), caller(), grant))


@routes.on("POST", "/grants/<grant>/revoke")
@routes.gives(200, Grant)
def revoke(grant: str) -> Any:
    """Revoke a grant to one of your cases."""
    return _shown(manage_grants.revoke_grant(custody(), caller(), grant))
