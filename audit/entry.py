"""An audit entry and its exact bytes in the tree. Pure.

- A leaf is canonical JSON: RFC 8785 restricted to strings, integers below 2**53, lists and objects.
  Whatever is absent is omitted; there is no null. One entry has exactly one leaf.
- A leaf holds opaque ids, digests, sizes, times and machine codes only. Whatever names a person or was
  written by one (names, e-mail, addresses, reasons, file names, case numbers) goes into `particulars`: the
  personal details of an entry, stored beside the leaf so that they can be erased, and bound to it by
  SHA-256(salt || canonical(particulars)). Destroying salt and particulars redacts the entry and the tree still
  verifies; without the salt nobody can guess a particular from its hash.
- Particulars and salt are in no repr and no error text.
- A leaf is at most 65,535 bytes: an entries tile prefixes it by a 16-bit length.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from audit.times import rfc3339

LEAF_VERSION = 1
MAX_LEAF_BYTES = 0xFFFF
SALT_BYTES = 16
_MAX_INTEGER = 2**53 - 1
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False)

Detail = str | int | list[str]


class CanonicalError(ValueError):
    """A value without a canonical form, or bytes not in it."""


class Action(StrEnum):
    """The act of an entry. Grammar: `<noun>.<participle>`; both lower case, words within one joined by a hyphen.

    The noun is the thing acted on, the participle what the actor did to it. A name once written to a log
    is never renamed or given another meaning.
    """

    TENANT_REGISTERED = "tenant.registered"
    STAMP_REGISTERED = "stamp.registered"
    STAMP_DEREGISTERED = "stamp.deregistered"
    PROACTIVE_CONSENT_SET = "proactive-consent.set"
    CASE_OPENED = "case.opened"
    CASE_ASSIGNED = "case.assigned"
    CASE_UNASSIGNED = "case.unassigned"
    CASE_CLOSED = "case.closed"
    CASE_REOPENED = "case.reopened"
    UPLOAD_CREATED = "upload.created"
    UPLOAD_CONTINUED = "upload.continued"
    UPLOAD_TERMINATED = "upload.terminated"
    UPLOAD_EXPIRED = "upload.expired"
    BUNDLE_RECEIVED = "bundle.received"
    BUNDLE_VERIFIED = "bundle.verified"
    BUNDLE_DAMAGED = "bundle.damaged"
    BUNDLE_CLAIMED = "bundle.claimed"
    BUNDLE_OPENED = "bundle.opened"
    BUNDLE_READ_ENDED = "bundle.read-ended"
    BUNDLE_LISTED = "bundle.listed"
    GRANT_GIVEN = "grant.given"
    GRANT_RELEASED = "grant.released"
    GRANT_REVOKED = "grant.revoked"
    GRANT_ENDED = "grant.ended"
    APPROVAL_POLICY_SET = "approval-policy.set"
    APPROVAL_ASKED = "approval.asked"
    APPROVAL_GIVEN = "approval.given"
    APPROVAL_DECLINED = "approval.declined"
    APPROVAL_LAPSED = "approval.lapsed"
    APPROVAL_WITHDRAWN = "approval.withdrawn"
    REVIEW_SIGNED_OFF = "review.signed-off"
    REVIEW_QUESTIONED = "review.questioned"
    CONSENT_GIVEN = "consent.given"
    CONSENT_REVOKED = "consent.revoked"
    ERASURE_REQUESTED = "erasure.requested"
    BUNDLE_ERASING = "bundle.erasing"
    BUNDLE_ERASED = "bundle.erased"
    ERASURE_PROVEN = "erasure.proven"
    RECEIPT_ISSUED = "receipt.issued"
    KEY_ROTATED = "key.rotated"
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    UPLOAD_LINK_CREATED = "upload-link.created"
    UPLOAD_LINK_RENEWED = "upload-link.renewed"
    UPLOAD_LINK_REVOKED = "upload-link.revoked"
    UPLOAD_LINK_USED = "upload-link.used"
    UPLOAD_LINK_REFUSED = "upload-link.refused"
    AUDIT_QUERIED = "audit.queried"
    AUDIT_EXPORTED = "audit.exported"
    CALLER_REFUSED = "caller.refused"
    LOG_ADOPTED = "log.adopted"
    RECORDS_RECONCILED = "records.reconciled"
    BUNDLE_MOVED = "bundle.moved"
    TIME_DOUBTED = "time.doubted"
    TIME_TRUSTED = "time.trusted"
    TIME_CONFIRMED = "time.confirmed"
    RULES_SET = "rules.set"
    ENTRY_REDACTED = "entry.redacted"
    ACTOR_REDACTED = "actor.redacted"
    WITNESS_WAIVED = "witness.waived"
    WITNESS_RESUMED = "witness.resumed"
    TILES_REBUILT = "tiles.rebuilt"
    RECORD_SHOWN = "record.shown"
    RECORDS_LISTED = "records.listed"
    RECEIPT_SHOWN = "receipt.shown"
    LEAVES_SHOWN = "leaves.shown"
    REQUEST_FAILED = "request.failed"
    STORE_SCRUBBED = "store.scrubbed"
    ACCESS_BOUND = "access.bound"
    DATABASE_ALTERED = "database.altered"
    ENTRY_LOST = "entry.lost"
    NOTICE_RECEIVER_ADDED = "notice-receiver.added"
    NOTICE_RECEIVER_REMOVED = "notice-receiver.removed"
    NOTICE_RECEIVER_TESTED = "notice-receiver.tested"


class Outcome(StrEnum):
    """The outcome of an act: done; denied by a rule (`reason` says which); attempted and failed."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One act or refusal. `details` enter the leaf and stay for ever; `particulars` can be redacted."""

    id: str
    at: datetime
    action: Action
    outcome: Outcome = Outcome.SUCCESS
    actor: str
    actor_kind: str
    reason: str | None = None
    tenant: str | None = None
    case: str | None = None
    bundle: str | None = None
    subject: str | None = None
    details: Mapping[str, Detail] = field(default_factory=dict)
    particulars: Mapping[str, str] = field(default_factory=dict, repr=False)
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(SALT_BYTES), repr=False)

    def leaf(self) -> bytes:
        """Encode the entry as its canonical bytes."""
        return self.written()[0]

    def written(self) -> tuple[bytes, bytes | None]:
        """Encode the leaf, and the canonical particulars to store beside it, if any."""
        particulars = canonical(self.particulars) if self.particulars else None
        fields: dict[str, Any] = {
            "v": LEAF_VERSION,
            "id": self.id,
            "at": rfc3339(self.at),
            "action": self.action.value,
            "outcome": self.outcome.value,
            "actor": self.actor,
            "actor_kind": self.actor_kind,
        }
        for name in OPTIONAL_IDS:
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        if self.details:
            fields["details"] = self.details
        if particulars is not None:
            fields["particulars"] = _salted_hash(self.salt, particulars)
        leaf = canonical(fields)
        if len(leaf) > MAX_LEAF_BYTES:
            raise CanonicalError(f"the leaf of {self.id} has {len(leaf)} bytes; at most {MAX_LEAF_BYTES} fit")
        return leaf, particulars


REQUIRED_FIELDS = ("v", "id", "at", "action", "outcome", "actor", "actor_kind")
OPTIONAL_IDS = ("reason", "tenant", "case", "bundle", "subject")
_FIELDS = frozenset((*REQUIRED_FIELDS, *OPTIONAL_IDS, "details", "particulars"))


def canonical(value: object) -> bytes:
    """Encode strings, integers, lists and objects by RFC 8785; anything else is refused, never coerced."""
    try:
        return _ENCODER.encode(_ordered(value)).encode()
    except UnicodeEncodeError:  # its text would quote the string: leave it out
        raise CanonicalError("a string holds a lone surrogate") from None
    except RecursionError:
        raise CanonicalError("nested too deeply") from None


def _ordered(value: object) -> object:
    """Sort every object's members in the order of RFC 8785 section 3.2.3: UTF-16 code units."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > _MAX_INTEGER:
            raise CanonicalError("an integer is outside the exact range of RFC 8785")
        return value
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise CanonicalError("an object's names must be strings")
        # ASCII sorts the same by code points and by UTF-16 code units, and much faster.
        names = sorted(value) if "".join(value).isascii() else sorted(value, key=_utf16)
        return {name: item if type(item := value[name]) is str else _ordered(item) for name in names}
    raise CanonicalError(f"no canonical form for {type(value).__name__}")


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


def particulars_hash(salt: bytes, particulars: Mapping[str, str]) -> str:
    """Compute the hash, in hex, by which a leaf binds its particulars."""
    return _salted_hash(salt, canonical(particulars))


def _salted_hash(salt: bytes, canonical_particulars: bytes) -> str:
    return hashlib.sha256(salt + canonical_particulars).hexdigest()


def parse_leaf(leaf: bytes) -> dict[str, Any]:
    """Parse a leaf into its fields; refuses bytes that are not exactly what `Entry.leaf` writes for them."""
    try:
        fields = json.loads(leaf)
    except (ValueError, RecursionError):
        raise CanonicalError("not JSON") from None
    if not isinstance(fields, dict):
        raise CanonicalError("not an object")
    if canonical(fields) != leaf:  # also catches repeated names, spaces, other number forms
        raise CanonicalError("not in canonical form")
    if fields.get("v") != LEAF_VERSION:
        raise CanonicalError("unknown leaf version")
    missing = [name for name in REQUIRED_FIELDS if name not in fields]
    unknown = sorted(fields.keys() - _FIELDS)
    if missing or unknown:
        raise CanonicalError(f"missing fields {missing}, unknown fields {unknown}")
    for name in fields.keys() - {"v", "details"}:
        if not isinstance(fields[name], str):
            raise CanonicalError(f"{name} is not a string")
    if not isinstance(fields.get("details", {}), dict):
        raise CanonicalError("details is not an object")
    return fields
