"""An auditor's pages: entries by question and filter, who read a case, unused grants, exports, reviews.

A customer's operator has the same pages over their own part of the log. Every address is a question that can be sent to
somebody else; whoever opens it is asked who they are, and asking is an entry.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from flask import Response, redirect, request

from audit.entry import Action, Outcome
from audit.log.export import EXPORTS
from intake_api.api.authentication import caller, custody
from intake_api.api.routes import reviews as review_routes
from intake_api.api.routes.audit import exported
from intake_api.portal import forms, page
from intake_api.schemas.audit import EntryQuery, ExportQuery, ReadersQuery, ReportQuery
from intake_api.schemas.reviews import STATES, NewReview, ReviewQuery
from retention.custody.access import manage_reviews
from retention.custody.reading import audit_reports, log_queries
from retention.custody.reading.log_queries import Asked
from retention.domain.review import Verdict

QUESTIONS: tuple[tuple[str, dict[str, str]], ...] = (
    ("read", {"action": "bundle.opened", "outcome": "success"}),
    ("refused", {"outcome": "refused"}),
    ("granted", {"action": "grant.given", "outcome": "success"}),
    ("strangers", {"action": "caller.refused"}),
    ("erased", {"action": "erasure.proven"}),
    ("looked", {"action": "audit.queried"}),
    ("failed", {"outcome": "failed"}),
)
"""Questions that are one click away: name of the text, and the filter."""


def log() -> Response:
    """Show the entries that match, newest first."""
    asked = forms.read(EntryQuery, request.args)
    cursor, limit = asked.pop("cursor"), asked.pop("limit")
    found = log_queries.find_entries(custody(), caller(), Asked(**asked), cursor, limit)
    filters = {
        name: value for name, value in request.args.items() if value and name not in ("cursor", "limit")
    }
    return page.show(
        "log.html",
        entries=found.entries,
        next=found.next,
        asked=request.args,
        filters=urlencode(filters),
        questions=[(name, urlencode(filter_)) for name, filter_ in QUESTIONS],
        actions=sorted(action.value for action in Action),
        outcomes=[outcome.value for outcome in Outcome],
        forms=list(EXPORTS),
    )


def export() -> Response:
    """Hand over all matching entries as a file, oldest first."""
    asked = forms.read(ExportQuery, request.args)
    name = f"casevault-log.{asked['format']}"
    response = exported(asked)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def readers() -> Response:
    """Show who read a case, by person and grant."""
    if not request.args.get("case"):
        return page.show("readers.html", readers=[], next=None, asked=request.args)
    asked = forms.read(ReadersQuery, request.args)
    cursor, limit = asked.pop("cursor"), asked.pop("limit")
    found = audit_reports.list_readers(custody(), caller(), Asked(**asked), cursor, limit)
    return page.show("readers.html", readers=found.items, next=found.next, asked=request.args)


def unused_grants() -> Response:
    """Show grants that are over and under which nothing was read."""
    asked = forms.read(ReportQuery, request.args)
    cursor, limit = asked.pop("cursor"), asked.pop("limit")
    found = audit_reports.list_unused_grants(custody(), caller(), Asked(**asked), cursor, limit)
    return page.show("unused_grants.html", grants=found.items, next=found.next)


def reviews() -> Response:
    """Show grants that are over by the state of their review, the oldest first."""
    asked = forms.read(ReviewQuery, request.args)
    found = review_routes.listed(asked)
    filters = {name: value for name, value in request.args.items() if value and name in ("case", "state")}
    return page.show(
        "reviews.html",
        grants=[review_routes.shown(one) for one in found.items],
        next=found.next,
        filters=urlencode(filters),
        asked=request.args,
        state=asked["state"],
        states=STATES,
    )


def review(grant: str) -> Response:
    """Show a grant from request to release, what was done under it, and what was said of it."""
    found = review_routes.look(grant)
    approved = found["approved"] or {}
    took_part = caller().id in (found["actor_id"], approved.get("actor"))
    return page.show("review.html", one=found, took_part=took_part)


def review_grant(grant: str) -> Response:
    """Sign a grant off, or question it, and show it again."""
    form = request.form
    said = forms.read(NewReview, {"verdict": form.get("verdict", ""), "note": form.get("note", "")})
    manage_reviews.review_grant(custody(), caller(), grant, Verdict(said["verdict"]), said["note"])
    shown: Response = redirect(f"/portal/grants/{quote(grant, safe='')}/review", 303)  # type: ignore[assignment]
    return shown


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/log", "log", log),
    ("GET", "/log/export", "export", export),
    ("GET", "/readers", "readers", readers),
    ("GET", "/unused-grants", "unused_grants", unused_grants),
    ("GET", "/reviews", "reviews", reviews),
    ("GET", "/grants/<grant>/review", "review", review),
    ("POST", "/grants/<grant>/review", "review_grant", review_grant),
)
