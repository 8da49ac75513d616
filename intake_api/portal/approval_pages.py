"""Approval of access: requests with their answers, and when the customer wants to be asked.

An engineer sees their own requests here, a customer's operator those to their customer, an auditor all. Who can answer
is custody's to say; a page only leaves out what would be refused.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from flask import Response, redirect, request
from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.routes import approvals
from intake_api.portal import forms, page
from intake_api.schemas.access import ApprovalQuery, NewPolicy, Note
from retention.custody.access import approval_policies, manage_approvals
from retention.custody.access.approval_policies import Chosen
from retention.domain.actor import Role
from retention.domain.approval import Rule, State
from retention.domain.faults import Invalid, Unavailable

_AT_FIRST = 50
"""Waiting requests that a page shows."""
_ANSWERS = {
    "approve": manage_approvals.give_approval,
    "decline": manage_approvals.decline_approval,
    "withdraw": manage_approvals.withdraw_approval,
}


def index() -> Response:
    """Show the requests: those that wait first, then all, newest first; and to an operator the customer's policy."""
    asked = forms.read(ApprovalQuery, request.args)
    found = approvals.listed(asked)
    operator = caller().has(Role.OPERATOR)
    return page.show(
        "approvals.html",
        waiting=_rows(
            manage_approvals.list_approvals(custody(), caller(), None, State.ASKED, None, _AT_FIRST)
        ),
        requests=_rows(found),
        next=found.next,
        chosen=approval_policies.get_policy(custody(), caller(), None) if operator else None,
    )


def answer(approval: str) -> Response:
    """Approve, decline or withdraw a request, with a note, and go back to where its form stood."""
    form = request.form
    step = _ANSWERS.get(form.get("answer", ""))
    if step is None:
        raise Invalid("this is no answer", {"answer": f"must be one of {', '.join(_ANSWERS)}"})
    note = forms.read(Note, {"note": form.get("note", "")})["note"]
    answered = step(custody(), caller(), approval, note)
    return _to(
        f"/portal/cases/{quote(answered.number, safe='')}"
        if form.get("back") == "case"
        else "/portal/approvals"
    )


def choose() -> Response:
    """Choose when the customer wants to be asked, in all cases without a choice of their own."""
    approvals.chosen_by(_chosen(), None)
    return _to("/portal/approvals")


def choose_for_case(number: str) -> Response:
    """Choose when the customer wants to be asked, in one case."""
    approvals.chosen_by(_chosen(), number)
    return _to(f"/portal/cases/{quote(number, safe='')}")


def of_case(case: Row[Any]) -> dict[str, Any]:
    """Return what a case's page shows of approval: the policy (None while it cannot be told), and waiting requests."""
    chosen: Chosen | None = None
    with suppress(Unavailable):  # altered records: the page is shown, and a grant says why it is refused
        chosen = approval_policies.get_policy(custody(), caller(), case)
    waiting = manage_approvals.list_approvals(custody(), caller(), case, State.ASKED, None, _AT_FIRST)
    return {"chosen": chosen, "waiting": _rows(waiting)}


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/approvals", "approvals", index),
    ("POST", "/approvals/<approval>/answer", "answer_approval", answer),
    ("POST", "/approval-policy", "choose_policy", choose),
    ("POST", "/cases/<number>/approval-policy", "choose_policy_of_case", choose_for_case),
)


def _rows(found: Any) -> list[dict[str, Any]]:
    return [{**approvals.shown(row), "lasts": timedelta(microseconds=row.duration_us)} for row in found.items]


def _chosen() -> dict[str, Any]:
    form = request.form
    rule = form.get("rule", "")
    minutes = form.get("long_minutes", "")
    long = {"long_minutes": forms.whole(minutes)} if minutes and rule == Rule.OWN_CASES else {}
    return forms.read(NewPolicy, {"rule": rule}, **long)


def _to(address: str) -> Response:
    return redirect(address, 303)  # type: ignore[return-value]
