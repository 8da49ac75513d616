"""Bundles, and the collection that a stamp declares when it sends one."""

from __future__ import annotations

import json
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from intake_api.schemas.fields import Moment, PageQuery, Word, page_of
from retention.archive import FileKind
from retention.domain.bundle import STATUSES, CollectionType
from retention.domain.grants import MAX_REASON_CHARACTERS

ENCRYPTION = "encryptiondata"
"""The metadata in which Azure's clients keep the data of their own encryption."""


class RoleList(fields.Field[list[str]]):
    """A list of names, separated by commas."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **named: Any) -> list[str]:
        text = Word(longest=2000).deserialize(value) if value else ""
        return [role.strip() for role in text.split(",") if role.strip()]


class DeclaredCollection(ma.Schema):
    """The collection, apart from its file name and size."""

    type = fields.Enum(CollectionType, by_value=True, required=True)
    logs_start = Moment(required=True)
    logs_end = Moment(required=True)
    time_collected = Moment(required=True)
    trigger = Word(load_default=None, metadata={"description": "FaultIdType; proactive collections only"})
    roles = RoleList(load_default=list, metadata={"type": "string", "description": "separated by commas"})
    case = Word(load_default=None, longest=64, metadata={"description": "the case's number"})
    stamp = Word(load_default=None, longest=64, metadata={"description": "a stamp's id; operators only"})
    send_logs_now = fields.Boolean(load_default=False)
    sha256 = fields.String(
        load_default=None,
        validate=[validate.Length(equal=64), validate.Regexp("^[0-9a-fA-F]+$", error="Must be hexadecimal.")],
    )


class DeclaredPartial(ma.Schema):
    """The metadata of a partial upload that are read; the final upload declares the collection."""

    class Meta:
        unknown = ma.EXCLUDE

    stamp = Word(load_default=None, longest=64, metadata={"description": "a stamp's id; operators only"})


class DeclaredUpload(DeclaredCollection):
    """The keys of Upload-Metadata that are read. Others are the client's own."""

    filename = fields.String(required=True)
    type = fields.Enum(
        CollectionType,
        by_value=True,
        required=True,
        error_messages={
            "unknown": "Must be one of: {choices}; a client that keeps the file's media type here (Uppy) sends "
            "collection_type instead."
        },
    )
    collection_type = fields.Enum(
        CollectionType,
        by_value=True,
        load_default=None,
        metadata={
            "description": "the collection's `type`, for clients that keep a file's media type under that key"
        },
    )

    @ma.pre_load
    def _keep_known_keys(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):  # a JSON body can be anything; the fields say what is wrong with it
            return data
        known = {key: value for key, value in data.items() if key in self.fields}
        if "collection_type" in known:
            known["type"] = known.pop("collection_type")
        return known


def _blob_metadata(row: Any) -> dict[str, str]:
    kept: dict[str, str] = json.loads(row.blob_facts)["metadata"] if row.blob_facts else {}
    return kept


class Bundle(ma.Schema):
    id = fields.String()
    case = fields.String(attribute="number", allow_none=True, metadata={"description": "the case's number"})
    stamp = fields.String(attribute="stamp_id")
    type = fields.String()
    status = fields.Function(
        lambda row: "in progress" if row.state in STATUSES["in-progress"] else "complete",
        metadata={"type": "string"},
    )
    state = fields.String()
    logs_start = Moment()
    logs_end = Moment()
    time_collected = Moment()
    trigger = fields.String(allow_none=True)
    roles = fields.Function(
        lambda row: json.loads(row.roles), metadata={"type": "array", "items": {"type": "string"}}
    )
    file_name = fields.String()
    link = fields.String(
        attribute="link_id", allow_none=True, metadata={"description": "the upload link that it came through"}
    )
    blob_name = fields.String(
        allow_none=True, metadata={"description": "the blob's name, given by its sender"}
    )
    metadata = fields.Function(
        lambda row: _blob_metadata(row),
        metadata={
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "metadata that its sender set on the blob",
        },
    )
    client_encrypted = fields.Function(
        lambda row: ENCRYPTION in _blob_metadata(row),
        metadata={
            "type": "boolean",
            "description": "its sender encrypted it: reading it takes their key too",
        },
    )
    size = fields.Function(
        lambda row: None if row.deferred else row.size,
        metadata={"type": ["integer", "null"], "description": "null until a deferred length is declared"},
    )
    offset = fields.Integer()
    created_at = Moment()
    expires_at = Moment()
    received_at = Moment(allow_none=True)
    verified_at = Moment(allow_none=True)
    sha256 = fields.String(allow_none=True)
    due_at = Moment(allow_none=True)
    erased_at = Moment(allow_none=True)
    erased_cause = fields.String(allow_none=True)


class BundleQuery(PageQuery):
    case = Word(load_default=None, longest=64)
    stamp = Word(load_default=None, longest=64)
    type = fields.Enum(CollectionType, by_value=True, load_default=None)
    status = fields.String(
        load_default=None,
        validate=validate.OneOf(list(STATUSES)),
        metadata={"description": "the status shown to people: `in-progress`, or the state itself"},
    )
    unclaimed = fields.Boolean(load_default=False)


class Claim(ma.Schema):
    case = Word(required=True, longest=64, metadata={"description": "the case's number"})


class Move(Claim):
    reason = Word(required=True, longest=MAX_REASON_CHARACTERS, lines=True)


class Preflight(DeclaredUpload):
    """The keys of Upload-Metadata that are read, and the size."""

    size = fields.Integer(required=True, strict=True, validate=validate.Range(0, (1 << 63) - 1))


class Admitted(ma.Schema):
    accepted = fields.Boolean()
    max_size = fields.Integer(metadata={"description": "most bytes of a bundle"})
    stamp_left = fields.Integer(
        allow_none=True, metadata={"description": "bytes left in the stamp's quota; null: no quota"}
    )
    case_left = fields.Integer(
        allow_none=True, metadata={"description": "bytes left in the case's quota; null: no case or no quota"}
    )


class FileQuery(PageQuery):
    inside = fields.String(
        load_default="", metadata={"description": "path of a nested archive: list its files"}
    )
    name = Word(load_default=None, metadata={"description": "files whose path or name fits, like *.log"})
    kind = fields.String(
        load_default=None,
        validate=validate.OneOf([kind.value for kind in FileKind]),
        metadata={"description": "files of this kind"},
    )


class File(ma.Schema):
    path = fields.String(metadata={"description": "for .../files/{path}, with slashes percent-encoded too"})
    size = fields.Integer(allow_none=True)
    compressed_size = fields.Integer(allow_none=True)
    modified = Moment(allow_none=True)
    kind = fields.String()
    readable = fields.Boolean()
    why_not = fields.String(allow_none=True)
    name_guessed = fields.String(
        allow_none=True,
        metadata={"description": "the code page by which the name was read, if that is a guess"},
    )


BundlePage = page_of(Bundle, "BundlePage")
FilePage = page_of(
    File,
    "FilePage",
    incomplete=fields.String(
        allow_none=True,
        metadata={"description": "on the last page: why the list ends before the archive does"},
    ),
)
