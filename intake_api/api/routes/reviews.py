"""Reviews: an auditor looks at each grant after its end, and signs it off or questions it."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.reviews import NewReview, ReviewInFull, ReviewPage, ReviewQuery
from retention.custody.access import manage_cases, manage_reviews
from retention.custody.access.manage_reviews import Done
from retention.custody.context import about, about_case
from retention.domain.review import Verdict
from retention.records.queries import Page

routes = Blueprint("reviews", __name__, description="Review of grants that are over")


def shown(grant: Row[Any]) -> dict[str, Any]:
    """Return what an auditor sees of a grant's review in a list."""
    return {
        **grant._mapping,
        "over_at": manage_reviews.ended_at(grant),
        "end_cause": grant.end_cause or "expired",
        "state": manage_reviews.state_of(custody().binding, grant),
    }


def in_full(found: tuple[Row[Any], Done]) -> dict[str, Any]:
    """Return a review with what was done under the grant."""
    grant, done = found
    by = done.approved
    approved = (
        {} if by is None else {"approved_by": by.subject, "approved_at": by.at, "approval_note": by.note}
    )
    return {**shown(grant), **dataclasses.asdict(done), **approved}


def listed(query: dict[str, Any]) -> Page[Row[Any]]:
    """Return the page that a ReviewQuery asks for."""
    case = None if query["case"] is None else manage_cases.get_case(custody(), caller(), query["case"])
    if case is not None:
        looked_at(**about_case(case))
    return manage_reviews.list_reviews(
        custody(), caller(), case, query["state"], query["cursor"], query["limit"]
    )


def look(grant: str) -> dict[str, Any]:
    """Return one review in full, and note the look."""
    found = manage_reviews.get_review(custody(), caller(), grant)
    looked_at(**about(found[0]), subject=grant)
    return in_full(found)


@routes.on("GET", "/reviews")
@routes.takes(ReviewQuery, "query")
@routes.gives(200, ReviewPage)
def index(query: dict[str, Any]) -> Any:
    """List the grants that are over by the state of their review, the oldest first."""
    page = listed(query)
    return {"items": [shown(one) for one in page.items], "next": page.next}


@routes.on("GET", "/grants/<grant>/review")
@routes.gives(200, ReviewInFull)
def show(grant: str) -> Any:
    """Show a grant from request to release: its approval, what was read under it, and what was said of it."""
    return look(grant)


@routes.on("POST", "/grants/<grant>/review")
@routes.takes(NewReview)
@routes.gives(200, ReviewInFull)
def review(body: dict[str, Any], grant: str) -> Any:
    """Sign a grant off, or question it."""
    verdict = Verdict(body["verdict"])
    return in_full(manage_reviews.review_grant(custody(), caller(), grant, verdict, body["note"]))
