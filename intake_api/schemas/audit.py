"""The audit log: its queries, entries, reports and proofs."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields, validate

from audit.entry import Action, Outcome
from audit.log.export import EXPORTS
from intake_api.schemas.fields import Moment, PageQuery, Word, page_of
from retention.domain.grants import MAX_REASON_CHARACTERS


class EntryFilter(ma.Schema):
    case = Word(load_default=None, longest=64, metadata={"description": "the case's number"})
    actor = Word(
        load_default=None,
        longest=512,
        metadata={"description": "an actor's opaque id, or their subject at the issuer"},
    )
    action = fields.Enum(Action, by_value=True, load_default=None)
    bundle = Word(load_default=None, longest=64)
    outcome = fields.Enum(Outcome, by_value=True, load_default=None)
    since = Moment(bounded=False, load_default=None, metadata={"description": "inclusive"})
    until = Moment(bounded=False, load_default=None, metadata={"description": "exclusive"})


class EntryQuery(PageQuery, EntryFilter):
    pass


class ExportQuery(EntryFilter):
    format = fields.String(load_default="jsonl", validate=validate.OneOf(list(EXPORTS)))


class ReportQuery(PageQuery):
    """The filter of both reports; `since` and `until` bound the reads, or when the grants were given."""

    case = Word(load_default=None, longest=64, metadata={"description": "the case's number"})
    actor = Word(load_default=None, longest=512, metadata={"description": "an actor's id, or their subject"})
    since = Moment(bounded=False, load_default=None, metadata={"description": "inclusive"})
    until = Moment(bounded=False, load_default=None, metadata={"description": "exclusive"})


class ReadersQuery(ReportQuery):
    case = Word(required=True, longest=64, metadata={"description": "the case's number"})


class Reader(ma.Schema):
    actor = fields.String(allow_none=True, metadata={"description": "subject; null if forgotten"})
    actor_id = fields.String()
    grant = fields.String()
    reason = fields.String(metadata={"description": "why the grant was taken"})
    reads = fields.Integer(metadata={"description": "number of openings and file lists"})
    bundles = fields.Integer(metadata={"description": "number of bundles read"})
    first_at = Moment()
    last_at = Moment()


class UnusedGrant(ma.Schema):
    grant = fields.String()
    case = fields.String(metadata={"description": "the case's number"})
    actor = fields.String(allow_none=True, metadata={"description": "subject; null if forgotten"})
    actor_id = fields.String()
    reason = fields.String()
    granted_at = Moment()
    expires_at = Moment()
    ended_at = Moment()
    end_cause = fields.String()


ReaderPage = page_of(Reader, "ReaderPage")
UnusedGrantPage = page_of(UnusedGrant, "UnusedGrantPage")


class Names(ma.Schema):
    """The names of an entry's ids; null where there is no such id, or it has no name any more."""

    actor = fields.String(required=True, allow_none=True)
    case = fields.String(required=True, allow_none=True, metadata={"description": "the case's number"})
    file_name = fields.String(required=True, allow_none=True)
    grant_reason = fields.String(required=True, allow_none=True)


class AuditEntry(ma.Schema):
    """The leaf's members (docs/formats.md), its place in the tree, and its particulars."""

    v = fields.Integer(required=True)
    id = fields.String(required=True)
    at = Moment(required=True)
    action = fields.String(required=True, metadata={"description": "more values can be added"})
    outcome = fields.Enum(Outcome, by_value=fields.String, required=True)
    actor = fields.String(required=True, metadata={"description": "an opaque id"})
    actor_kind = fields.String(required=True)
    reason = fields.String(metadata={"description": "a machine code, where the outcome is not success"})
    tenant = fields.String()
    case = fields.String(metadata={"description": "its id"})
    bundle = fields.String()
    subject = fields.String(metadata={"description": "id of what the action is about"})
    details = fields.Dict(fields.String(), metadata={"description": "depends on the action"})
    named = fields.Nested(Names, required=True)
    leaf_index = fields.Integer(
        required=True, allow_none=True, metadata={"description": "null until it is in the tree"}
    )
    particulars = fields.Dict(
        fields.String(),
        fields.String(),
        required=True,
        allow_none=True,
        metadata={"description": "null if redacted"},
    )
    redacted_at = Moment(required=True, allow_none=True)


EntryPage = page_of(AuditEntry, "EntryPage")


class Redaction(ma.Schema):
    reason = Word(required=True, longest=MAX_REASON_CHARACTERS, lines=True)


class Redacted(ma.Schema):
    redacted = fields.String(metadata={"description": "id of the entry, or of the actor"})
    at = Moment(metadata={"description": "when the redaction was decided"})
    entries = fields.Integer(metadata={"description": "number of entries that lost particulars now"})


class InclusionQuery(ma.Schema):
    entry = Word(required=True, longest=64)


class InclusionAnswer(ma.Schema):
    leaf = fields.String(metadata={"description": "base64"})
    proof = fields.String(metadata={"description": "C2SP tlog-proof"})


class ConsistencyQuery(ma.Schema):
    old = fields.Integer(data_key="from", required=True, validate=validate.Range(0, 2**53))
    new = fields.Integer(data_key="to", required=True, validate=validate.Range(0, 2**53))


class ConsistencyAnswer(ma.Schema):
    old = fields.Integer(data_key="from")
    new = fields.Integer(data_key="to")
    hashes = fields.List(fields.String(), metadata={"description": "base64, RFC 9162 section 2.1.4.1"})


class VerifierKeys(ma.Schema):
    log = fields.String(metadata={"description": "C2SP verifier key of the checkpoints"})
    receipts = fields.String(metadata={"description": "C2SP verifier key of the receipts"})
    witness = fields.String(
        metadata={
            "description": "C2SP verifier key of cosignatures on others' logs, if this service gives any"
        }
    )
