"""Bundles: sent in one piece, listed, shown, claimed, moved."""

from __future__ import annotations

from typing import Any

from flask import request
from sqlalchemy import Row

from intake_api.api.authentication import caller, custody, located
from intake_api.api.looks import looked_at
from intake_api.api.routes import upload_bytes
from intake_api.api.routes.blueprint import Blueprint
from intake_api.http.call_refused import CallRefused
from intake_api.schemas.bundles import Bundle, BundlePage, BundleQuery, Claim, DeclaredCollection, Move
from intake_api.schemas.receipts import IntakeReceipt
from intake_api.tus import protocol
from retention.custody import bundle_moves, receipts
from retention.custody.context import about_bundle
from retention.custody.uploads import declaration
from retention.domain.bundle import STATUSES
from retention.domain.faults import TooLarge
from retention.records.queries import Page

routes = Blueprint("bundles", __name__, description="Bundles and their records")
_RAW = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@routes.on("PUT", "/bundles/<bundle>", requestBody=_RAW)
@routes.takes(DeclaredCollection, "query")
@routes.gives(201, Bundle)
def put(declared: dict[str, Any], bundle: str) -> Any:
    """Send a bundle in one piece, under its file name. If the line is cut, Location names the upload to continue."""
    if "Content-Range" in request.headers:  # RFC 9110 section 14.5
        raise CallRefused(
            "malformed", "PUT takes no Content-Range: send the whole bundle, or a resumable upload"
        )
    size, most = protocol.body_length(request.headers), custody().limits.max_bundle_size
    if size > most:
        raise TooLarge(f"the bundle has {size} bytes, the limit is {most}", limit=most)
    collection = upload_bytes.collection_of(declared, bundle, size)
    upload = declaration.create_upload(
        custody(), caller(), collection, case_number=declared["case"], stamp_id=declared["stamp"]
    )
    if size:
        upload_bytes.take(upload.id, 0, size, located(f"/uploads/{upload.id}"))
    stored = declaration.get_bundle(custody(), caller(), upload.id)
    return stored, 201, {"Location": located(f"/bundles/{upload.id}")}


@routes.on("GET", "/bundles")
@routes.takes(BundleQuery, "query")
@routes.gives(200, BundlePage)
def index(query: dict[str, Any]) -> Any:
    """List the collection history, newest first by the time collected."""
    return listed(query)


def listed(query: dict[str, Any]) -> Page[Row[Any]]:
    """Return the page that a query asks for, whichever door it came through."""
    return declaration.list_bundles(
        custody(),
        caller(),
        query["cursor"],
        query["limit"],
        case_number=query["case"],
        stamp_id=query["stamp"],
        type_=query["type"],
        states=STATUSES.get(query["status"]),
        unclaimed=query["unclaimed"],
    )


@routes.on("GET", "/bundles/<bundle>")
@routes.gives(200, Bundle)
def show(bundle: str) -> Any:
    """Show one bundle's record; for an erased one, its tombstone."""
    found = declaration.get_bundle(custody(), caller(), bundle)
    looked_at(**about_bundle(found))
    return found


@routes.on("POST", "/bundles/<bundle>/claim")
@routes.takes(Claim)
@routes.gives(200, Bundle)
def claim(body: dict[str, Any], bundle: str) -> Any:
    """Claim an unclaimed bundle for a case that you are assigned to."""
    declaration.claim_bundle(custody(), caller(), bundle, body["case"])
    return declaration.get_bundle(custody(), caller(), bundle)


@routes.on("POST", "/bundles/<bundle>/move")
@routes.takes(Move)
@routes.gives(200, Bundle)
def move(body: dict[str, Any], bundle: str) -> Any:
    """Move a bundle to another case of the same customer; you are assigned to both. The earlier deadline counts."""
    bundle_moves.move_bundle(custody(), caller(), bundle, body["case"], body["reason"])
    return declaration.get_bundle(custody(), caller(), bundle)


@routes.on("GET", "/bundles/<bundle>/receipt")
@routes.gives(200, described=IntakeReceipt)
def receipt(bundle: str) -> Any:
    """Return the signed intake receipt, with the proof that it was logged."""
    looked_at(**about_bundle(declaration.get_bundle(custody(), caller(), bundle)))
    return receipts.hand_out(custody(), bundle)
