"""Notices: who is told that something happened with a customer's data, and what became of each message."""

from __future__ import annotations

from typing import Any

from intake_api.api.authentication import caller, custody
from intake_api.api.looks import looked_at
from intake_api.api.routes.blueprint import Blueprint
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.notices import AddedReceiver, NewReceiver, NoticePage, Receiver, ReceiverPage
from retention.custody.notices import manage_receivers
from retention.custody.notices.manage_receivers import Receiver as Found
from retention.domain.notice import Way, shown_secret

routes = Blueprint("notices", __name__, description="Notices by mail and webhook")


def shown(receiver: Found) -> dict[str, Any]:
    """Return what a caller sees of a receiver."""
    return {
        **receiver.row._mapping,
        "mine": receiver.row.actor_id is not None,
        "state": receiver.state,
        "waiting": receiver.waiting,
        "given_up": receiver.given_up,
    }


@routes.on("POST", "/notice-receivers")
@routes.takes(NewReceiver)
@routes.gives(201, AddedReceiver)
def add(body: dict[str, Any]) -> Any:
    """Add a receiver of your customer's notices, or (`mine`) of answers to your own requests."""
    way, address = Way(body["way"]), body["address"]
    added = manage_receivers.add_receiver(custody(), caller(), way, address, mine=body["mine"])
    return {**shown(added), "secret": None if added.secret is None else shown_secret(added.secret)}


@routes.on("GET", "/notice-receivers")
@routes.takes(PageQuery, "query")
@routes.gives(200, ReceiverPage)
def index(query: dict[str, Any]) -> Any:
    """List the receivers, newest first, and how sending to each goes."""
    page = manage_receivers.list_receivers(custody(), caller(), query["cursor"], query["limit"])
    return {"items": [shown(one) for one in page.items], "next": page.next}


@routes.on("DELETE", "/notice-receivers/<receiver>")
@routes.gives(200, Receiver)
def remove(receiver: str) -> Any:
    """Remove a receiver: nothing more is sent to it, and its address is forgotten."""
    return shown(manage_receivers.remove_receiver(custody(), caller(), receiver))


@routes.on("POST", "/notice-receivers/<receiver>/test")
@routes.gives(202, Receiver)
def test(receiver: str) -> Any:
    """Have a test sent to a receiver, once a minute at most."""
    return shown(manage_receivers.send_test(custody(), caller(), receiver))


@routes.on("GET", "/notice-receivers/<receiver>/notices")
@routes.takes(PageQuery, "query")
@routes.gives(200, NoticePage)
def sent(query: dict[str, Any], receiver: str) -> Any:
    """List the notices for one receiver, newest first, and what became of each."""
    page = manage_receivers.list_notices(custody(), caller(), receiver, query["cursor"], query["limit"])
    looked_at(subject=receiver)
    return page
