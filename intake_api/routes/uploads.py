"""Uploads that can be continued: tus 1.0.0. The rules of the protocol are in `intake_api.uploads`."""

from __future__ import annotations

import json
from typing import Any

import marshmallow as ma
from flask import Response, request
from sqlalchemy import Row

from audit.times import rfc3339
from intake_api import uploads
from intake_api.calling import caller, custody
from intake_api.routes import bodies
from intake_api.routes.blueprint import Blueprint, invalid
from intake_api.schemas.bundles import DeclaredUpload
from retention.custody import collecting, unfinished
from retention.errors import TooLarge

routes = Blueprint("uploads", __name__, description="Resumable uploads (tus 1.0.0)")
_DECLARED = DeclaredUpload()


def _header(name: str, what: str, *, required: bool = True) -> dict[str, Any]:
    return {
        "in": "header",
        "name": name,
        "description": what,
        "required": required,
        "schema": {"type": "string"},
    }


_TUS = _header("Tus-Resumable", uploads.VERSION)
_BODY = {"content": {uploads.BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_METADATA = f"pairs of key and base64 value: {', '.join(_DECLARED.fields)}"


def _check_version() -> None:
    if request.method != "OPTIONS":
        uploads.check_version(request.headers.get("Tus-Resumable"))


def _say_version(response: Response) -> Response:
    response.headers["Tus-Resumable"] = uploads.VERSION
    return response


routes.before_request(_check_version)
routes.after_request(_say_version)


@routes.on("OPTIONS", "/uploads")
@routes.gives(204)
def options() -> Response:
    """What this server speaks."""
    return _empty(
        {
            "Tus-Version": uploads.VERSION,
            "Tus-Extension": uploads.EXTENSIONS,
            "Tus-Max-Size": str(custody().limits.max_bundle_size),
        }
    )


@routes.on(
    "POST",
    "/uploads",
    parameters=[_TUS, _header("Upload-Length", "bytes"), _header("Upload-Metadata", _METADATA)],
    requestBody=_BODY,
)
@routes.gives(201, description="Created; Location, Upload-Offset, Upload-Expires")
def create() -> Response:
    """Announce a bundle; its bytes may come along, or follow by PATCH to its Location."""
    headers = request.headers
    size = uploads.check_announced(headers, custody().limits.max_bundle_size)
    length = uploads.check_body(headers, size) if uploads.has_body(headers) else 0
    try:
        declared = _DECLARED.load(uploads.parse_metadata(headers.get("Upload-Metadata", "")))
    except ma.ValidationError as error:
        raise invalid(error.messages) from None
    collection = bodies.collection_of(declared, declared["filename"], size)
    bundle = collecting.create_upload(
        custody(), caller(), collection, case_number=declared["case"], stamp_id=declared["stamp"]
    )
    location = f"/uploads/{bundle.id}"
    offset = bodies.take(bundle.id, 0, length, location) if length else 0
    expires = uploads.http_date(bundle.expires_at)
    return _empty({"Location": location, "Upload-Offset": str(offset), "Upload-Expires": expires}, 201)


@routes.on("HEAD", "/uploads/<bundle>", parameters=[_TUS])
@routes.gives(200, description="Upload-Offset, Upload-Length, Upload-Expires, Upload-Metadata")
def offset(bundle: str) -> Response:
    """Where to go on."""
    upload = unfinished.find_upload(custody(), caller(), bundle)
    return _empty(
        {
            "Upload-Offset": str(upload.offset),
            "Upload-Length": str(upload.size),
            "Upload-Expires": uploads.http_date(upload.expires_at),
            "Upload-Metadata": uploads.pack_metadata(_metadata(upload)),
        },
        200,
    )


@routes.on(
    "PATCH",
    "/uploads/<bundle>",
    parameters=[
        _TUS,
        _header("Upload-Offset", "where these bytes belong"),
        _header("Content-Length", "demanded"),
    ],
    requestBody=_BODY,
)
@routes.gives(204, description="Upload-Offset")
def go_on(bundle: str) -> Response:
    """More bytes of an upload, at its offset."""
    at = uploads.read_number(request.headers, "Upload-Offset")
    length = uploads.check_body(request.headers, custody().limits.max_bundle_size)
    upload = unfinished.find_upload(custody(), caller(), bundle)
    if at == upload.offset and length > upload.size - at:
        raise TooLarge(f"the upload has room for {upload.size - at} more bytes", room=upload.size - at)
    reached = bodies.take(bundle, at, length, f"/uploads/{bundle}")
    return _empty({"Upload-Offset": str(reached), "Upload-Expires": uploads.http_date(upload.expires_at)})


@routes.on("DELETE", "/uploads/<bundle>", parameters=[_TUS])
@routes.gives(204)
def terminate(bundle: str) -> Response:
    """Give an upload up: what came of it is erased."""
    unfinished.terminate_upload(custody(), caller(), bundle)
    return _empty({})


def _metadata(upload: Row[Any]) -> dict[str, str]:
    """The metadata as kept, for a client that asks (tus: a HEAD gives back what the creation brought)."""
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
