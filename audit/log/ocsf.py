"""Entries as OCSF 1.8.0 events. Pure.

Each action has one class and activity in the table below; fields that OCSF has no attribute for go into `unmapped`, so
nothing of the entry is lost. Refused and failed acts are Failure (status_id 2), with the reason as status_code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from audit.entry import Action, Outcome
from audit.log.append import LoggedEntry
from audit.times import microseconds_of, rfc3339

OCSF_VERSION = "1.8.0"
_PRODUCT = {"name": "casevault", "vendor_name": "casevault"}
_OTHER = 99


class _Class(NamedTuple):
    category: int
    uid: int


_AUTHENTICATION = _Class(3, 3002)
_ENTITY_MANAGEMENT = _Class(3, 3004)
_USER_ACCESS = _Class(3, 3005)
_API_ACTIVITY = _Class(6, 6003)
_DATASTORE = _Class(6, 6005)

# The activity numbers are each class's own.
_EVENTS: dict[Action, tuple[_Class, int]] = {
    Action.TENANT_REGISTERED: (_ENTITY_MANAGEMENT, 1),  # Create
    Action.STAMP_REGISTERED: (_ENTITY_MANAGEMENT, 6),  # Enroll
    Action.STAMP_DEREGISTERED: (_ENTITY_MANAGEMENT, 7),  # Unenroll
    Action.PROACTIVE_CONSENT_SET: (_ENTITY_MANAGEMENT, 3),  # Update
    Action.CASE_OPENED: (_ENTITY_MANAGEMENT, 1),
    Action.CASE_ASSIGNED: (_USER_ACCESS, 1),  # Assign Privileges
    Action.CASE_UNASSIGNED: (_USER_ACCESS, 2),  # Revoke Privileges
    Action.CASE_CLOSED: (_ENTITY_MANAGEMENT, 11),  # Deactivate
    Action.CASE_REOPENED: (_ENTITY_MANAGEMENT, 10),  # Activate
    Action.UPLOAD_CREATED: (_DATASTORE, 6),  # Create
    Action.UPLOAD_CONTINUED: (_DATASTORE, 5),  # Write
    Action.UPLOAD_TERMINATED: (_DATASTORE, 7),  # Delete
    Action.UPLOAD_EXPIRED: (_DATASTORE, 7),
    Action.BUNDLE_RECEIVED: (_DATASTORE, 5),
    Action.BUNDLE_VERIFIED: (_DATASTORE, 1),  # Read
    Action.BUNDLE_DAMAGED: (_DATASTORE, 1),
    Action.BUNDLE_CLAIMED: (_DATASTORE, 2),  # Update
    Action.BUNDLE_MOVED: (_DATASTORE, 2),
    Action.BUNDLE_OPENED: (_DATASTORE, 1),
    Action.BUNDLE_READ_ENDED: (_DATASTORE, 1),
    Action.BUNDLE_LISTED: (_DATASTORE, 8),  # List
    Action.GRANT_GIVEN: (_USER_ACCESS, 1),
    Action.GRANT_RELEASED: (_USER_ACCESS, 2),
    Action.GRANT_REVOKED: (_USER_ACCESS, 2),
    Action.GRANT_ENDED: (_USER_ACCESS, 2),
    Action.APPROVAL_POLICY_SET: (_ENTITY_MANAGEMENT, 3),
    Action.APPROVAL_ASKED: (_ENTITY_MANAGEMENT, 1),
    Action.APPROVAL_GIVEN: (_ENTITY_MANAGEMENT, 3),
    Action.APPROVAL_DECLINED: (_ENTITY_MANAGEMENT, 3),
    Action.APPROVAL_LAPSED: (_ENTITY_MANAGEMENT, 3),
    Action.APPROVAL_WITHDRAWN: (_ENTITY_MANAGEMENT, 3),
    Action.REVIEW_SIGNED_OFF: (_ENTITY_MANAGEMENT, 3),
    Action.REVIEW_QUESTIONED: (_ENTITY_MANAGEMENT, 3),
    Action.CONSENT_GIVEN: (_USER_ACCESS, 1),
    Action.CONSENT_REVOKED: (_USER_ACCESS, 2),
    Action.ERASURE_REQUESTED: (_API_ACTIVITY, 4),  # Delete
    Action.BUNDLE_ERASING: (_DATASTORE, 7),
    Action.BUNDLE_ERASED: (_DATASTORE, 7),
    Action.ERASURE_PROVEN: (_API_ACTIVITY, 4),
    Action.RECEIPT_ISSUED: (_API_ACTIVITY, 1),  # Create
    Action.KEY_ROTATED: (_ENTITY_MANAGEMENT, 3),
    Action.SESSION_STARTED: (_AUTHENTICATION, 1),  # Logon
    Action.SESSION_ENDED: (_AUTHENTICATION, 2),  # Logoff
    Action.UPLOAD_LINK_CREATED: (_ENTITY_MANAGEMENT, 1),
    Action.UPLOAD_LINK_RENEWED: (_ENTITY_MANAGEMENT, 3),
    Action.UPLOAD_LINK_REVOKED: (_ENTITY_MANAGEMENT, 11),
    Action.UPLOAD_LINK_USED: (_AUTHENTICATION, 1),
    Action.UPLOAD_LINK_REFUSED: (_AUTHENTICATION, 1),
    Action.AUDIT_QUERIED: (_API_ACTIVITY, 2),  # Read
    Action.AUDIT_EXPORTED: (_API_ACTIVITY, 2),
    Action.CALLER_REFUSED: (_AUTHENTICATION, 1),  # Logon
    Action.LOG_ADOPTED: (_ENTITY_MANAGEMENT, 3),
    Action.RECORDS_RECONCILED: (_ENTITY_MANAGEMENT, 3),
    Action.TIME_DOUBTED: (_ENTITY_MANAGEMENT, 3),
    Action.TIME_TRUSTED: (_ENTITY_MANAGEMENT, 3),
    Action.TIME_CONFIRMED: (_ENTITY_MANAGEMENT, 3),
    Action.RULES_SET: (_ENTITY_MANAGEMENT, 3),
    Action.ENTRY_REDACTED: (_API_ACTIVITY, 4),  # Delete
    Action.ACTOR_REDACTED: (_API_ACTIVITY, 4),
    Action.WITNESS_WAIVED: (_ENTITY_MANAGEMENT, 3),
    Action.WITNESS_RESUMED: (_ENTITY_MANAGEMENT, 3),
    Action.TILES_REBUILT: (_ENTITY_MANAGEMENT, 3),
    Action.RECORD_SHOWN: (_API_ACTIVITY, 2),
    Action.RECORDS_LISTED: (_API_ACTIVITY, 2),
    Action.RECEIPT_SHOWN: (_API_ACTIVITY, 2),
    Action.LEAVES_SHOWN: (_API_ACTIVITY, 2),
    Action.REQUEST_FAILED: (_API_ACTIVITY, 2),
    Action.STORE_SCRUBBED: (_DATASTORE, 1),
    Action.ACCESS_BOUND: (_ENTITY_MANAGEMENT, 3),
    Action.DATABASE_ALTERED: (_ENTITY_MANAGEMENT, 3),
    Action.ENTRY_LOST: (_ENTITY_MANAGEMENT, 3),
    Action.NOTICE_RECEIVER_ADDED: (_ENTITY_MANAGEMENT, 1),
    Action.NOTICE_RECEIVER_REMOVED: (_ENTITY_MANAGEMENT, 4),  # Delete
    Action.NOTICE_RECEIVER_TESTED: (_ENTITY_MANAGEMENT, 2),  # Read
}

# severity_id and status_id by outcome: Informational, Low, Medium; Success, Failure.
_RESULTS: dict[str, tuple[int, int]] = {
    Outcome.SUCCESS: (1, 1),
    Outcome.REFUSED: (2, 2),
    Outcome.FAILED: (3, 2),
}


def event(logged: LoggedEntry) -> dict[str, Any]:
    """Convert an entry to one OCSF event."""
    fields = logged.fields
    particulars = logged.particulars or {}
    class_, activity = _EVENTS[Action(fields["action"])]
    severity, status = _RESULTS[fields["outcome"]]
    return _present(
        {
            "category_uid": class_.category,
            "class_uid": class_.uid,
            "activity_id": activity,
            "type_uid": class_.uid * 100 + activity,
            "time": microseconds_of(fields["at"]) // 1000,
            "severity_id": severity,
            "status_id": status,
            "status_code": fields.get("reason"),
            "message": fields["action"],
            "metadata": _metadata(logged),
            "actor": {"user": _user(logged)},
            "src_endpoint": _source(particulars),
            "unmapped": _unmapped(logged),
            **_CLASS_ATTRIBUTES[class_](logged),
        }
    )


def _metadata(logged: LoggedEntry) -> dict[str, Any]:
    return _present(
        {
            "version": OCSF_VERSION,
            "product": _PRODUCT,
            "uid": logged.fields["id"],
            "sequence": logged.leaf_index,
            "original_time": logged.fields["at"],
            "tenant_uid": logged.fields.get("tenant"),
            "log_name": "audit",
        }
    )


def _user(logged: LoggedEntry) -> dict[str, Any]:
    kind = logged.fields["actor_kind"]
    return {"uid": logged.fields["actor"], "type_id": _OTHER, "type": kind}


def _source(particulars: Mapping[str, str]) -> dict[str, str]:
    """Name where the act came from: some classes require it, also for entries in which it is redacted or unknown."""
    address = particulars.get("ip")
    return {"ip": address} if address else {"name": "not recorded"}


def _unmapped(logged: LoggedEntry) -> dict[str, Any]:
    fields = logged.fields
    ids = {name: fields.get(name) for name in ("case", "bundle", "subject", "reason")}
    beside = {
        "details": fields.get("details"),
        "particulars": dict(logged.particulars or {}) or None,
        "redacted_at": None if logged.redacted_at is None else rfc3339(logged.redacted_at),
    }
    return _present({**ids, **beside})


def _authentication(logged: LoggedEntry) -> dict[str, Any]:
    return {"user": _user(logged), "service": {"name": _PRODUCT["name"]}}


def _entity_management(logged: LoggedEntry) -> dict[str, Any]:
    noun = logged.fields["action"].partition(".")[0]
    # The action's noun is the name of the field that holds its id; other nouns have theirs in `subject`.
    uid = next(logged.fields[name] for name in (noun, "subject", "tenant", "id") if name in logged.fields)
    return {"entity": {"uid": uid, "type_id": _OTHER, "type": noun}}


def _user_access(logged: LoggedEntry) -> dict[str, Any]:
    """Name the user whose access changes: the subject of an assignment, the engineer of a grant that somebody else gave
    or ended, else the actor."""
    fields = logged.fields
    assignment = fields["action"].startswith("case.") and "subject" in fields
    engineer = fields["subject"] if assignment else fields.get("details", {}).get("engineer", fields["actor"])
    user = _user(logged) if engineer == fields["actor"] else {"uid": engineer}
    resource = logged.fields.get("case") or logged.fields.get("bundle")
    resources = [{"uid": resource, "type": "case" if "case" in logged.fields else "bundle"}]
    return {"user": user, "privileges": ["read"], "resources": resources if resource else None}


def _api_activity(logged: LoggedEntry) -> dict[str, Any]:
    return {"api": {"operation": logged.fields["action"], "service": {"name": _PRODUCT["name"]}}}


def _datastore(logged: LoggedEntry) -> dict[str, Any]:
    uid = logged.fields.get("bundle") or logged.fields["id"]
    return {"type_id": 2, "databucket": {"uid": uid, "type_id": _OTHER, "type": "bundle"}}


_CLASS_ATTRIBUTES: dict[_Class, Callable[[LoggedEntry], dict[str, Any]]] = {
    _AUTHENTICATION: _authentication,
    _ENTITY_MANAGEMENT: _entity_management,
    _USER_ACCESS: _user_access,
    _API_ACTIVITY: _api_activity,
    _DATASTORE: _datastore,
}


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
