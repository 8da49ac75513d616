"""Notices: where a customer's go, or the answers to an engineer's own requests, and what became of each.

A webhook's secret is on the one page that answers its form, and on no other.
"""

from __future__ import annotations

from typing import Any

from flask import Response, redirect, request

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes import notices
from intake_api.portal import forms, page
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.notices import NewReceiver
from retention.custody.notices import manage_receivers
from retention.custody.notices.manage_receivers import Receiver
from retention.domain.actor import Role
from retention.domain.notice import Way, shown_secret

_OWN = (Role.SUPPORT_ENGINEER, Role.PARTNER_ENGINEER)


def receivers() -> Response:
    """Show the receivers, and how sending to each goes."""
    return _show(None)


def add_receiver() -> Response:
    """Add a receiver; a webhook's secret is shown this once."""
    form = request.form
    given = {"way": form.get("way", ""), "address": form.get("address", "")}
    asked = forms.read(NewReceiver, given, mine=form.get("mine") == "yes")
    way, address = Way(asked["way"]), asked["address"]
    added = manage_receivers.add_receiver(custody(), caller(), way, address, mine=asked["mine"])
    return _to("/portal/notices") if added.secret is None else _show(added)


def test_receiver(receiver: str) -> Response:
    """Have a test sent, and show what becomes of it."""
    manage_receivers.send_test(custody(), caller(), receiver)
    return _to(f"/portal/notices/{receiver}")


def remove_receiver(receiver: str) -> Response:
    """Remove a receiver: nothing more is sent to it."""
    manage_receivers.remove_receiver(custody(), caller(), receiver)
    return _to("/portal/notices")


def sent(receiver: str) -> Response:
    """Show the notices for one receiver, and what became of each."""
    asked = forms.read(PageQuery, request.args)
    found = manage_receivers.list_notices(custody(), caller(), receiver, asked["cursor"], asked["limit"])
    looked_at(subject=receiver)
    return page.show("notices.html", receiver=receiver, notices=found.items, next=found.next)


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/notices", "notices", receivers),
    ("POST", "/notices", "add_receiver", add_receiver),
    ("GET", "/notices/<receiver>", "notices_sent", sent),
    ("POST", "/notices/<receiver>/test", "test_receiver", test_receiver),
    ("POST", "/notices/<receiver>/remove", "remove_receiver", remove_receiver),
)


def _show(added: Receiver | None) -> Response:
    asked = forms.read(PageQuery, request.args)
    found = manage_receivers.list_receivers(custody(), caller(), asked["cursor"], asked["limit"])
    return page.show(
        "receivers.html",
        receivers=[notices.shown(one) for one in found.items],
        next=found.next,
        secret=None if added is None or added.secret is None else shown_secret(added.secret),
        own=caller().has(*_OWN),
        operator=caller().has(Role.OPERATOR),
        ways=[way.value for way in Way],
    )


def _to(address: str) -> Response:
    return redirect(address, 303)  # type: ignore[return-value]
