"""Cases: opened, closed, reopened and staffed by the case system."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from intake_api.api.authentication import caller, custody, the_door
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.cases import Case, CaseClose, CaseInFull, CasePage, CaseReopen, Engineer, NewCase
from intake_api.schemas.fields import PageQuery
from retention.custody.access import manage_cases
from retention.custody.context import about_case
from retention.domain.deadline import case_deadline

routes = Blueprint("cases", __name__, description="Support cases")


@routes.on("POST", "/cases")
@routes.takes(NewCase)
@routes.gives(201, Case)
def open_case(body: dict[str, Any]) -> Any:
    """Open a case for a registered customer."""
    return manage_cases.open_case(custody(), caller(), body["number"], body["directory"], body["opened_at"])


@routes.on("GET", "/cases")
@routes.takes(PageQuery, "query")
@routes.gives(200, CasePage)
def index(query: dict[str, Any]) -> Any:
    """List the cases that you are allowed to see, newest first."""
    return manage_cases.list_cases(custody(), caller(), query["cursor"], query["limit"])


@routes.on("GET", "/cases/<number>")
@routes.gives(200, CaseInFull)
def show(number: str) -> Any:
    """Show one case, with its history, assignments and deadline."""
    case: Row[Any] = manage_cases.get_case(custody(), caller(), number)
    looked_at(**about_case(case))
    history, assignments = manage_cases.case_details(custody(), caller(), case)
    deadline = case_deadline(history)
    return {**case._mapping, "history": history, "assignments": assignments, "deadline": deadline}


@routes.on("POST", "/cases/<number>/close")
@routes.takes(CaseClose)
@routes.gives(200, Case)
def close(body: dict[str, Any], number: str) -> Any:
    """Close a case: its grants end, and its data's 90 days begin."""
    return manage_cases.close_case(custody(), caller(), number, body["closed_at"])


@routes.on("POST", "/cases/<number>/reopen")
@routes.takes(CaseReopen)
@routes.gives(200, Case)
def reopen(body: dict[str, Any], number: str) -> Any:
    """Reopen a case: its deadline is cancelled."""
    return manage_cases.reopen_case(custody(), caller(), number, body["reopened_at"])


@routes.on("POST", "/cases/<number>/assignments")
@routes.takes(Engineer)
@routes.gives(204)
def assign(body: dict[str, Any], number: str) -> None:
    """Assign an engineer."""
    manage_cases.assign(custody(), caller(), number, body["issuer"] or the_door().issuer, body["subject"])


@routes.on("DELETE", "/cases/<number>/assignments")
@routes.takes(Engineer, "query")
@routes.gives(204)
def unassign(query: dict[str, Any], number: str) -> None:
    """Remove an engineer from a case: their grants for it end."""
    manage_cases.unassign(custody(), caller(), number, query["issuer"] or the_door().issuer, query["subject"])
