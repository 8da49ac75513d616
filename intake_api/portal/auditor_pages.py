"""An auditor's pages: entries by question and filter, who read a case, unused grants, exports.

A customer's operator has the same pages over their own part of the log. Every address is a question that can be sent to
somebody else; whoever opens it is asked who they are, and asking is an entry.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from audit.entry import Action, Outcome
from audit.log.export import EXPORTS
from intake_api.api.authentication import caller, custody
from intake_api.api.routes.audit import exported
from intake_api.portal import forms, page
from intake_api.schemas.audit import EntryQuery, ExportQuery, ReadersQuery, ReportQuery
from retention.custody.reading import audit_reports, log_queries
from retention.custody.reading.log_queries import Asked

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


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/log", "log", log),
    ("GET", "/log/export", "export", export),
    ("GET", "/readers", "readers", readers),
    ("GET", "/unused-grants", "unused_grants", unused_grants),
)
