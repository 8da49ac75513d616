"""Resumable uploads: tus 1.0.0. The rules of the protocol are in `intake_api.tus.protocol`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import marshmallow as ma
from flask import Response, request
from sqlalchemy import Row

from audit.times import rfc3339
from intake_api.api.authentication import caller, custody, located, the_door
from intake_api.api.looks import looked_at
from intake_api.api.routes import upload_bytes
from intake_api.api.routes.blueprint import Blueprint, invalid
from intake_api.schemas.bundles import DeclaredPartial, DeclaredUpload
from intake_api.tus import protocol
from intake_api.tus.checksums import ALGORITHMS
from retention.custody.context import about_bundle
from retention.custody.uploads import concatenation, declaration, unfinished
from retention.domain.bundle import BundleState

routes = Blueprint("uploads", __name__, description="Resumable uploads (tus 1.0.0)")
_DECLARED, _PARTIAL = DeclaredUpload(), DeclaredPartial()


def _header(name: str, what: str, *, required: bool = True) -> dict[str, Any]:
    return {
        "in": "header",
        "name": name,
        "description": what,
        "required": required,
        "schema": {"type": "string"},
    }


_TUS = _header("Tus-Resumable", protocol.VERSION)
_CHECKSUM = _header(
    "Upload-Checksum", f"The body's: {' or '.join(ALGORITHMS)}, a space, base64.", required=False
)
_BODY = {"content": {protocol.BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_METADATA = f"Pairs of key and base64 value: {', '.join(_DECLARED.fields)}, and the client's own"


def _check_version() -> None:
    if request.method != "OPTIONS":
        protocol.check_version(request.headers.get("Tus-Resumable"))


def _say_version(response: Response) -> Response:
    response.headers["Tus-Resumable"] = protocol.VERSION
    return response


routes.before_request(_check_version)
routes.after_request(_say_version)


@routes.on("OPTIONS", "/uploads")
@routes.gives(204, description="Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm")
def options() -> Response:
    """List what this server supports; a browser asks for it before a page of another origin sends."""
    return _capabilities()


@routes.on("OPTIONS", "/uploads/<bundle>")
@routes.gives(204, description="As for /uploads, whether or not there is such an upload")
def options_of_one(bundle: str) -> Response:
    """List what this server supports."""
    return _capabilities()


def _capabilities() -> Response:
    return _empty(
        {
            "Tus-Version": protocol.VERSION,
            "Tus-Extension": protocol.EXTENSIONS,
            "Tus-Max-Size": str(custody().limits.max_bundle_size),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        }
    )


@routes.on(
    "POST",
    "/uploads",
    parameters=[
        _TUS,
        _header(
            "Upload-Length",
            "Total size in bytes. Omit with Upload-Defer-Length and for a final upload.",
            required=False,
        ),
        _header("Upload-Defer-Length", "1: the length follows later, with the bytes.", required=False),
        _header(
            "Upload-Concat", "`partial`, or `final;` and the partial uploads' addresses.", required=False
        ),
        _header("Upload-Metadata", f"{_METADATA}. A partial upload needs none.", required=False),
        _CHECKSUM,
    ],
    requestBody=_BODY,
)
@routes.gives(201, description="Created; Location, Upload-Offset, Upload-Expires")
def create() -> Response:
    """Declare a bundle; its bytes can come along, follow by PATCH to its Location, or be in partial uploads."""
    concat = protocol.read_concat(request.headers, the_door().origin)
    if concat is not None and concat.partials is not None:
        return _create_final(concat.partials)
    most = custody().limits.max_bundle_size
    size = protocol.check_announced(request.headers, most)
    has_body = protocol.has_body(request.headers)
    length = protocol.check_body(request.headers, most if size is None else size) if has_body else 0
    upload = _create_partial(size) if concat else _create_bundle(size)
    location = located(f"/uploads/{upload.id}")
    if length == 0:
        return _empty({"Location": location, "Upload-Offset": "0", **_upload_expires(upload)}, 201)
    return _empty(
        {"Location": location, **_progress_headers(upload_bytes.take(upload.id, 0, length, location))}, 201
    )


def _create_bundle(size: int | None) -> Row[Any]:
    declared = _read_metadata(_DECLARED)
    collection = upload_bytes.collection_of(declared, declared["filename"], size or 0)
    return declaration.create_upload(
        custody(),
        caller(),
        collection,
        case_number=declared["case"],
        stamp_id=declared["stamp"],
        deferred=size is None,
        metadata=_metadata_header(),
    )


def _create_partial(size: int | None) -> Row[Any]:
    stamp = _read_metadata(_PARTIAL)["stamp"]
    return concatenation.create_partial(custody(), caller(), size, stamp, _metadata_header())


def _create_final(partials: Sequence[str]) -> Response:
    declared = _read_metadata(_DECLARED)
    final = concatenation.concatenate(
        custody(),
        the_door().services.uploads,
        caller(),
        upload_bytes.collection_of(declared, declared["filename"], 0),
        partials,
        case_number=declared["case"],
        stamp_id=declared["stamp"],
        metadata=_metadata_header(),
    )
    return _empty({"Location": located(f"/uploads/{final.id}"), "Upload-Offset": str(final.offset)}, 201)


@routes.on("HEAD", "/uploads/<bundle>", parameters=[_TUS])
@routes.gives(
    200,
    description="Upload-Offset, Upload-Length or Upload-Defer-Length, Upload-Expires, Upload-Metadata, Upload-Concat",
)
def offset(bundle: str) -> Response:
    """Report the offset to continue at. A request that still writes to the upload, or hangs, saves and ends first."""
    upload, partials = unfinished.settled_upload(custody(), the_door().services.uploads, caller(), bundle)
    looked_at(**about_bundle(upload))
    joining = partials and upload.state == BundleState.RECEIVING
    return _empty(
        {
            # tus: no offset before it is concatenated
            **({} if joining else {"Upload-Offset": str(upload.offset)}),
            **({"Upload-Defer-Length": "1"} if upload.deferred else {"Upload-Length": str(upload.size)}),
            **_upload_expires(upload),
            **_concat(upload, partials),
            **_metadata(upload),
        },
        200,
    )


@routes.on(
    "PATCH",
    "/uploads/<bundle>",
    parameters=[
        _TUS,
        _header("Upload-Offset", "Where these bytes belong."),
        _header("Content-Length", "Required unless the body is chunked.", required=False),
        _header("Upload-Length", "Once, for an upload whose length was deferred.", required=False),
        _CHECKSUM,
    ],
    requestBody=_BODY,
)
@routes.gives(204, description="Upload-Offset, Upload-Expires")
def go_on(bundle: str) -> Response:
    """Send more bytes of an upload, at its offset."""
    at = protocol.read_number(request.headers, "Upload-Offset")
    most = custody().limits.max_bundle_size
    told = protocol.read_told(request.headers, most)
    length = protocol.check_body(request.headers, most)
    return _empty(
        _progress_headers(upload_bytes.take(bundle, at, length, located(f"/uploads/{bundle}"), told))
    )


@routes.on("DELETE", "/uploads/<bundle>", parameters=[_TUS])
@routes.gives(204)
def terminate(bundle: str) -> Response:
    """Give up an upload: what came of it is erased."""
    unfinished.terminate_upload(custody(), caller(), bundle)
    return _empty({})


def _read_metadata(schema: ma.Schema) -> dict[str, Any]:
    """Read the fields of `schema` from Upload-Metadata."""
    try:
        found: dict[str, Any] = schema.load(protocol.parse_metadata(_metadata_header() or "", schema.fields))
    except ma.ValidationError as error:
        raise invalid(error.messages) from None
    return found


def _metadata_header() -> str | None:
    """Return Upload-Metadata as its client wrote it."""
    return request.headers.get("Upload-Metadata")


def _progress_headers(reached: upload_bytes.Reached) -> dict[str, str]:
    return {"Upload-Offset": str(reached.offset), **_expires(reached.kept_until)}


def _upload_expires(upload: Row[Any]) -> dict[str, str]:
    """Return Upload-Expires for an upload that expires; a received bundle has its deadline instead."""
    kept = upload.state == BundleState.RECEIVING or upload.partial
    return _expires(upload.expires_at if kept else None)


def _expires(at: datetime | None) -> dict[str, str]:
    return {"Upload-Expires": protocol.http_date(at)} if at else {}


def _concat(upload: Row[Any], partials: Sequence[str]) -> dict[str, str]:
    if upload.partial:
        return {"Upload-Concat": "partial"}
    return {"Upload-Concat": "final;" + " ".join(f"/uploads/{one}" for one in partials)} if partials else {}


def _metadata(upload: Row[Any]) -> dict[str, str]:
    """Return Upload-Metadata as given at creation (tus: a MUST), or what was declared if it came another way."""
    if upload.upload_metadata is not None:
        return {"Upload-Metadata": upload.upload_metadata}
    return {} if upload.partial else {"Upload-Metadata": protocol.pack_metadata(_declared(upload))}


def _declared(upload: Row[Any]) -> dict[str, str]:
    return {
        "filename": upload.file_name,
        "type": upload.type,
        "logs_start": rfc3339(upload.logs_start),
        "logs_end": rfc3339(upload.logs_end),
        "time_collected": rfc3339(upload.time_collected),
        **({"trigger": upload.trigger} if upload.trigger else {}),
        "roles": ",".join(json.loads(upload.roles)),
        **({"sha256": upload.announced_sha256} if upload.announced_sha256 else {}),
    }


def _empty(headers: dict[str, str], status: int = 204) -> Response:
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response
