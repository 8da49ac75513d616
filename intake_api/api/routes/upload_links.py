"""Upload links: for clients that know the Blob service and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intake_api.api.authentication import caller, custody, the_door
from intake_api.api.routes.blueprint import Blueprint
from intake_api.blob import link_address
from intake_api.schemas.fields import PageQuery
from intake_api.schemas.upload_links import (
    IssuedLink,
    LinkCheck,
    NewCaseLink,
    NewStampLink,
    PastedLink,
    Renewal,
    UploadLink,
    UploadLinkPage,
)
from retention.custody.access import manage_links
from retention.domain.bundle import CollectionType
from retention.domain.faults import Conflict
from retention.domain.upload_link import LinkTerms

routes = Blueprint("upload_links", __name__, description="Links for Azure Storage clients to send through")


@routes.on("POST", "/stamps/<stamp>/upload-links")
@routes.takes(NewStampLink)
@routes.gives(201, IssuedLink)
def issue_for_stamp(body: dict[str, Any], stamp: str) -> Any:
    """Issue a link for a stamp's own collections. Its address is shown only this once."""
    return issued_for_stamp(body, stamp)


@routes.on("POST", "/cases/<number>/upload-links")
@routes.takes(NewCaseLink)
@routes.gives(201, IssuedLink)
def issue_for_case(body: dict[str, Any], number: str) -> Any:
    """Issue a link for a case. Its address is shown only this once."""
    return issued_for_case(body, number)


@routes.on("GET", "/stamps/<stamp>/upload-links")
@routes.takes(PageQuery, "query")
@routes.gives(200, UploadLinkPage)
def of_stamp(query: dict[str, Any], stamp: str) -> Any:
    """List a stamp's links, newest first, revoked and expired ones too."""
    return manage_links.list_stamp_links(custody(), caller(), stamp, query["cursor"], query["limit"])


@routes.on("GET", "/cases/<number>/upload-links")
@routes.takes(PageQuery, "query")
@routes.gives(200, UploadLinkPage)
def of_case(query: dict[str, Any], number: str) -> Any:
    """List a case's links, newest first, revoked and expired ones too."""
    return manage_links.list_case_links(custody(), caller(), number, query["cursor"], query["limit"])


@routes.on("POST", "/upload-links/<link>/renew")
@routes.takes(Renewal)
@routes.gives(200, IssuedLink)
def renew(body: dict[str, Any], link: str) -> Any:
    """Extend a link: the same container, a new end and signature. Its address is shown only this once."""
    return renewed(body, link)


@routes.on("POST", "/upload-links/<link>/revoke")
@routes.gives(200, UploadLink)
def revoke(link: str) -> Any:
    """End a link at once."""
    return manage_links.revoke_link(custody(), caller(), link)


@routes.on("POST", "/upload-links/check")
@routes.takes(PastedLink)
@routes.gives(200, LinkCheck)
def check(body: dict[str, Any]) -> Any:
    """Check whether a stamp could send through this address now, and if not, why."""
    found = link_address.check(custody(), the_door().services.link_keys, _origin(), body["url"])
    if found.link is not None and not manage_links.may_see_link(custody(), caller(), found.link):
        return link_address.Checked(
            reason="another-customer", detail="you are not allowed to know of this link"
        )
    return found


def issued_for_stamp(body: Mapping[str, Any], stamp: str) -> dict[str, Any]:
    """Issue a stamp's link with these terms; return its record, with its address."""
    origin = _origin()
    terms = _terms(body, CollectionType.PROACTIVE)
    return _issued(origin, manage_links.create_stamp_link(custody(), caller(), stamp, terms))


def issued_for_case(body: Mapping[str, Any], number: str) -> dict[str, Any]:
    """Issue a case's link with these terms; return its record, with its address."""
    origin = _origin()
    terms = _terms(body, body["type"])
    return _issued(origin, manage_links.create_case_link(custody(), caller(), number, body["stamp"], terms))


def renewed(body: Mapping[str, Any], link: str) -> dict[str, Any]:
    """Extend a link; return its record, with its new address."""
    origin = _origin()
    return _issued(origin, manage_links.renew_link(custody(), caller(), link, body["expires_at"]))


def _origin() -> str:
    origin = the_door().blob_origin
    if origin is None:
        raise Conflict(
            "this deployment has no Blob endpoint: set CASEVAULT_BLOB_LISTEN", reason="no-blob-endpoint"
        )
    return origin


def _terms(body: Mapping[str, Any], type_: CollectionType) -> LinkTerms:
    return LinkTerms(
        expires_at=body["expires_at"],
        permissions=body["permissions"],
        starts_at=body["starts_at"],
        addresses=body["ip"],
        type=type_,
        trigger=body["trigger"],
        roles=body["roles"],
    )


def _issued(origin: str, link: Any) -> dict[str, Any]:
    return {**link._mapping, "url": link_address.issue(the_door().services.link_keys, origin, link)}
