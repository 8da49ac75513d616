"""Requests for the customer's approval of a grant, and the policy that says which grants wait for one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.access import Approval, ApprovalPage, ApprovalQuery, NewPolicy, Note, Policy
from retention.custody.access import approval_policies, manage_approvals, manage_cases
from retention.custody.access.approval_policies import Chosen
from retention.custody.context import about, about_case
from retention.domain.actor import Role
from retention.domain.approval import Rule, State

routes = Blueprint("approvals", __name__, description="Approval of access by the customer")
_MINUTE = timedelta(minutes=1)


def shown(approval: Row[Any]) -> dict[str, Any]:
    """Return what a caller sees of a request. Who answered it is for the customer and auditors to know."""
    now = custody().clock.now()
    knows = caller().has(Role.AUDITOR) or (
        caller().has(Role.OPERATOR) and caller().tenant == approval.tenant_id
    )
    return {
        **approval._mapping,
        "state": manage_approvals.state_of(approval, now),
        "duration_minutes": approval.duration_us // 60_000_000,
        "answered_by": approval.answerer if knows else None,
        "live": manage_approvals.is_live(approval, now),
    }


def _policy(chosen: Chosen) -> dict[str, Any]:
    policy = chosen.policy
    return {
        "rule": policy.rule,
        "long_minutes": policy.long // _MINUTE,
        "of": chosen.of,
        "set_at": chosen.set_at,
        "asks": chosen.asks,
    }


def chosen_by(body: dict[str, Any], number: str | None) -> Chosen:
    """Make the choice that a NewPolicy describes, for one case or for all."""
    minutes = body["long_minutes"]
    long = None if minutes is None else minutes * _MINUTE
    return approval_policies.set_policy(custody(), caller(), number, Rule(body["rule"]), long)


def listed(query: dict[str, Any]) -> Any:
    """Return the page of requests that an ApprovalQuery asks for."""
    case = None if query["case"] is None else manage_cases.get_case(custody(), caller(), query["case"])
    if case is not None:
        looked_at(**about_case(case))
    state = None if query["state"] is None else State(query["state"])
    return manage_approvals.list_approvals(custody(), caller(), case, state, query["cursor"], query["limit"])


@routes.on("GET", "/approvals")
@routes.takes(ApprovalQuery, "query")
@routes.gives(200, ApprovalPage)
def index(query: dict[str, Any]) -> Any:
    """List requests for approval, newest first: your own, or those to your customer."""
    page = listed(query)
    return {"items": [shown(one) for one in page.items], "next": page.next}


@routes.on("GET", "/approvals/<approval>")
@routes.gives(200, Approval)
def show(approval: str) -> Any:
    """Show one request."""
    found = manage_approvals.get_approval(custody(), caller(), approval)
    looked_at(**about(found), subject=found.id)
    return shown(found)


@routes.on("POST", "/approvals/<approval>/approve")
@routes.takes(Note)
@routes.gives(200, Approval)
def approve(body: dict[str, Any], approval: str) -> Any:
    """Approve a grant to one of your cases: it begins now."""
    return shown(manage_approvals.give_approval(custody(), caller(), approval, body["note"]))


@routes.on("POST", "/approvals/<approval>/decline")
@routes.takes(Note)
@routes.gives(200, Approval)
def decline(body: dict[str, Any], approval: str) -> Any:
    """Decline a request: nothing is granted."""
    return shown(manage_approvals.decline_approval(custody(), caller(), approval, body["note"]))


@routes.on("POST", "/approvals/<approval>/withdraw")
@routes.takes(Note)
@routes.gives(200, Approval)
def withdraw(body: dict[str, Any], approval: str) -> Any:
    """Withdraw your own request, or an approval of your customer: its grant ends at once."""
    return shown(manage_approvals.withdraw_approval(custody(), caller(), approval, body["note"]))


@routes.on("GET", "/approval-policy")
@routes.gives(200, Policy)
def policy() -> Any:
    """Show when your customer wants to be asked for access."""
    looked_at(subject=caller().tenant)
    return _policy(approval_policies.get_policy(custody(), caller(), None))


@routes.on("PUT", "/approval-policy")
@routes.takes(NewPolicy)
@routes.gives(200, Policy)
def set_policy(body: dict[str, Any]) -> Any:
    """Choose when your customer wants to be asked for access, in all cases without a choice of their own."""
    return _policy(chosen_by(body, None))


@routes.on("GET", "/cases/<number>/approval-policy")
@routes.gives(200, Policy)
def policy_of_case(number: str) -> Any:
    """Show when the customer wants to be asked for access to a case, and what that means for you."""
    case = manage_cases.get_case(custody(), caller(), number)
    looked_at(**about_case(case))
    return _policy(approval_policies.get_policy(custody(), caller(), case))


@routes.on("PUT", "/cases/<number>/approval-policy")
@routes.takes(NewPolicy)
@routes.gives(200, Policy)
def set_policy_of_case(body: dict[str, Any], number: str) -> Any:
    """Choose when to be asked for access to one of your cases; `inherited`: as in all others."""
    return _policy(chosen_by(body, number))
