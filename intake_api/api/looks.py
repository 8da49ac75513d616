"""What each route enters in the log: every look at something (P3), and no route without a row.

Rules:
- A route either acts through a verb of custody, which writes the act's entries, or shows something. Then the look is
  entered here, once the response is known and before a byte of it leaves. If it cannot be entered, nothing is shown.
- Somebody's first look at something is an entry; further ones within ten minutes are counted
  (`retention.custody.counted_entries`): lists are polled, and a mirror reads tiles by the thousand.
- A refusal is an entry of the verb. A response that shows nothing but the thing's state (404, 409, 410, 416) is entered
  here.
- The application does not start with a route without a row: `check`. docs/auditors.md has the same table, and a test
  compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, request

from audit.entry import Action, Outcome
from intake_api.api.authentication import caller, custody
from retention.custody.context import entry

SHOWN, LISTED = Action.RECORD_SHOWN, Action.RECORDS_LISTED
_REVEALING = frozenset({404, 409, 410, 416})
"""Statuses that tell the state of what was asked for."""
_INSIDE = frozenset({"path", "inside"})
"""Parameters that name a file in a bundle. The names are erased with it (`custody.erasure.proof`), so only entries of
reads hold them."""
_NOT_KEPT = _INSIDE | {"actor"}
"""Query parameters not kept. The person whom an auditor asks about can be redacted (`custody.redaction`), and other
entries would still name them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A route's row: `acts` are the verb's entries; `look` is entered here, for responses with one of `statuses`; or
    `why` says why there is neither."""

    acts: tuple[Action, ...] = ()
    look: Action | None = None
    of: str = ""
    statuses: frozenset[int] = frozenset({200})
    why: str = ""


def _shown(of: str, look: Action = SHOWN) -> Row:
    return Row(look=look, of=of)


def _act(*acts: Action) -> Row:
    return Row(acts)


def _nothing(why: str) -> Row:
    return Row(why=why)


_UPLOADED = (Action.UPLOAD_CREATED, Action.UPLOAD_CONTINUED, Action.BUNDLE_RECEIVED)
_READ = (Action.BUNDLE_OPENED, Action.BUNDLE_READ_ENDED)
_ERASED = (Action.ERASURE_REQUESTED, Action.BUNDLE_ERASING)
_OF_NOBODY = _nothing("public: tells of no case, bundle or person")
ROWS: Mapping[tuple[str, str], Row] = {
    ("tenants.register", "POST"): _act(Action.TENANT_REGISTERED),
    ("tenants.index", "GET"): _shown("tenants", LISTED),
    ("stamps.register", "POST"): _act(Action.STAMP_REGISTERED),
    ("stamps.index", "GET"): _shown("stamps", LISTED),
    ("stamps.show", "GET"): _shown("stamp"),
    ("stamps.deregister", "DELETE"): _act(Action.STAMP_DEREGISTERED),
    ("stamps.set_proactive_consent", "PUT"): _act(Action.PROACTIVE_CONSENT_SET),
    ("stamps.proactive_consent", "GET"): _shown("proactive-consents", LISTED),
    ("cases.open_case", "POST"): _act(Action.CASE_OPENED),
    ("cases.index", "GET"): _shown("cases", LISTED),
    ("cases.show", "GET"): _shown("case"),
    ("cases.close", "POST"): _act(Action.CASE_CLOSED, Action.GRANT_ENDED),
    ("cases.reopen", "POST"): _act(Action.CASE_REOPENED),
    ("cases.assign", "POST"): _act(Action.CASE_ASSIGNED),
    ("cases.unassign", "DELETE"): _act(Action.CASE_UNASSIGNED, Action.GRANT_ENDED),
    ("preflight.preflight", "POST"): _shown("preflight"),
    ("uploads.options", "OPTIONS"): _nothing("tells what this server speaks"),
    ("uploads.options_of_one", "OPTIONS"): _nothing("tells what this server speaks"),
    ("uploads.create", "POST"): _act(*_UPLOADED),
    ("uploads.offset", "HEAD"): _shown("upload"),
    ("uploads.go_on", "PATCH"): _act(*_UPLOADED[1:]),
    ("uploads.terminate", "DELETE"): _act(Action.UPLOAD_TERMINATED, *_ERASED),
    ("upload_links.issue_for_stamp", "POST"): _act(Action.UPLOAD_LINK_CREATED),
    ("upload_links.issue_for_case", "POST"): _act(Action.UPLOAD_LINK_CREATED),
    ("upload_links.of_stamp", "GET"): _shown("upload-links", LISTED),
    ("upload_links.of_case", "GET"): _shown("upload-links", LISTED),
    ("upload_links.renew", "POST"): _act(Action.UPLOAD_LINK_RENEWED),
    ("upload_links.revoke", "POST"): _act(Action.UPLOAD_LINK_REVOKED),
    ("upload_links.check", "POST"): _shown("upload-link"),
    ("bundles.put", "PUT"): _act(*_UPLOADED),
    ("bundles.index", "GET"): _shown("bundles", LISTED),
    ("bundles.show", "GET"): _shown("bundle"),
    ("bundles.claim", "POST"): _act(Action.BUNDLE_CLAIMED),
    ("bundles.move", "POST"): _act(Action.BUNDLE_MOVED),
    ("bundles.receipt", "GET"): _shown("intake", Action.RECEIPT_SHOWN),
    ("content.content", "HEAD"): _shown("content"),
    ("content.content", "GET"): Row(_READ, SHOWN, "content", frozenset({304})),
    ("files.index", "GET"): _act(Action.BUNDLE_LISTED, Action.BUNDLE_READ_ENDED),
    ("files.read", "GET"): Row(_READ, SHOWN, "file", frozenset({304})),
    ("text.lines", "GET"): _act(*_READ),
    ("text.search", "POST"): _act(*_READ),
    ("events.events", "POST"): _act(*_READ),
    ("grants.give", "POST"): _act(Action.GRANT_GIVEN, Action.APPROVAL_ASKED),
    ("grants.index", "GET"): _shown("grants", LISTED),
    ("grants.show", "GET"): _shown("grant"),
    ("grants.release", "POST"): _act(Action.GRANT_RELEASED),
    ("grants.revoke", "POST"): _act(Action.GRANT_REVOKED),
    ("approvals.index", "GET"): _shown("approvals", LISTED),
    ("approvals.show", "GET"): _shown("approval"),
    ("approvals.approve", "POST"): _act(Action.APPROVAL_GIVEN, Action.GRANT_GIVEN),
    ("approvals.decline", "POST"): _act(Action.APPROVAL_DECLINED),
    ("approvals.withdraw", "POST"): _act(Action.APPROVAL_WITHDRAWN, Action.GRANT_ENDED),
    ("approvals.policy", "GET"): _shown("approval-policy"),
    ("approvals.set_policy", "PUT"): _act(Action.APPROVAL_POLICY_SET),
    ("approvals.policy_of_case", "GET"): _shown("approval-policy"),
    ("approvals.set_policy_of_case", "PUT"): _act(Action.APPROVAL_POLICY_SET),
    ("reviews.index", "GET"): _shown("reviews", LISTED),
    ("reviews.show", "GET"): _shown("review"),
    ("reviews.review", "POST"): _act(Action.REVIEW_SIGNED_OFF, Action.REVIEW_QUESTIONED),
    ("consents.give", "POST"): _act(Action.CONSENT_GIVEN),
    ("consents.index", "GET"): _shown("consents", LISTED),
    ("consents.revoke", "POST"): _act(Action.CONSENT_REVOKED, Action.GRANT_ENDED),
    ("erasures.erase_bundle", "POST"): _act(*_ERASED),
    ("erasures.erase_case", "POST"): _act(*_ERASED, Action.GRANT_ENDED),
    ("erasures.report_bundle", "POST"): _act(*_ERASED),
    ("erasures.report_case", "POST"): _act(*_ERASED, Action.GRANT_ENDED),
    ("erasures.index", "GET"): _shown("erasures", LISTED),
    ("erasures.show", "GET"): _shown("erasure"),
    ("notices.add", "POST"): _act(Action.NOTICE_RECEIVER_ADDED),
    ("notices.index", "GET"): _shown("notice-receivers", LISTED),
    ("notices.remove", "DELETE"): _act(Action.NOTICE_RECEIVER_REMOVED),
    ("notices.test", "POST"): _act(Action.NOTICE_RECEIVER_TESTED),
    ("notices.sent", "GET"): _shown("notices", LISTED),
    ("erasures.receipt", "GET"): _shown("erasure", Action.RECEIPT_SHOWN),
    ("audit.entries", "GET"): _act(Action.AUDIT_QUERIED),
    ("audit.readers", "GET"): _act(Action.AUDIT_QUERIED),
    ("audit.unused_grants", "GET"): _act(Action.AUDIT_QUERIED),
    ("audit.export", "GET"): _act(Action.AUDIT_EXPORTED),
    ("audit.redact_entry", "POST"): _act(Action.ENTRY_REDACTED),
    ("audit.redact_actor", "POST"): _act(Action.ACTOR_REDACTED),
    ("audit.entries_tile", "GET"): _shown("tile", Action.LEAVES_SHOWN),
    ("audit.inclusion", "GET"): _shown("proof", Action.LEAVES_SHOWN),
    ("audit.consistency", "GET"): _nothing("hashes alone: tells nothing of anybody"),
    ("audit.checkpoint", "GET"): _OF_NOBODY,
    ("audit.cosigned_checkpoint", "GET"): _OF_NOBODY,
    ("audit.keys", "GET"): _OF_NOBODY,
    ("audit.hash_tile", "GET"): _OF_NOBODY,
    ("portal.root", "GET"): _nothing("leads to the first page"),
    ("portal.asset", "GET"): _nothing("the portal's own files"),
    ("portal.missing", "GET"): _nothing("there is no such page"),
    ("portal.home", "GET"): _nothing("leads to the first page"),
    ("portal.sign_in", "GET"): _nothing("shows the way in"),
    ("portal.start", "GET"): _nothing("leads to the issuer"),
    ("portal.callback", "GET"): _act(Action.SESSION_STARTED),
    ("portal.choose_person", "POST"): _act(Action.SESSION_STARTED),
    ("portal.issuer_signed_out", "POST"): _act(Action.SESSION_ENDED),
    ("portal.sign_out", "POST"): _act(Action.SESSION_ENDED),
    ("portal.own_sessions", "GET"): _shown("sessions", LISTED),
    ("portal.end_session", "POST"): _act(Action.SESSION_ENDED),
    ("portal.cases", "GET"): _shown("cases", LISTED),
    ("portal.case", "GET"): _shown("case"),
    ("portal.grant_access", "POST"): _act(Action.GRANT_GIVEN, Action.APPROVAL_ASKED),
    ("portal.approvals", "GET"): _shown("approvals", LISTED),
    ("portal.answer_approval", "POST"): _act(
        Action.APPROVAL_GIVEN,
        Action.GRANT_GIVEN,
        Action.APPROVAL_DECLINED,
        Action.APPROVAL_WITHDRAWN,
        Action.GRANT_ENDED,
    ),
    ("portal.choose_policy", "POST"): _act(Action.APPROVAL_POLICY_SET),
    ("portal.choose_policy_of_case", "POST"): _act(Action.APPROVAL_POLICY_SET),
    ("portal.end_grant", "POST"): _act(Action.GRANT_RELEASED, Action.GRANT_REVOKED),
    ("portal.bundle", "GET"): _shown("bundle"),
    ("portal.content", "HEAD"): _shown("content"),
    ("portal.content", "GET"): Row(_READ, SHOWN, "content", frozenset({304})),
    ("portal.files", "GET"): _act(Action.BUNDLE_LISTED, Action.BUNDLE_READ_ENDED),
    ("portal.file", "GET"): Row(_READ, SHOWN, "file", frozenset({304})),
    ("portal.lines", "GET"): _act(*_READ),
    ("portal.search", "POST"): _act(*_READ),
    ("portal.events", "GET"): _act(*_READ),
    ("portal.find_events", "POST"): _act(*_READ),
    ("portal.bundle_receipt", "GET"): _shown("intake", Action.RECEIPT_SHOWN),
    ("portal.collections", "GET"): _shown("bundles", LISTED),
    ("portal.upload", "GET"): _shown("bundles", LISTED),
    ("portal.upload_create", "POST"): _act(*_UPLOADED),
    ("portal.upload_offset", "HEAD"): _shown("upload"),
    ("portal.upload_go_on", "PATCH"): _act(*_UPLOADED[1:]),
    ("portal.upload_terminate", "DELETE"): _act(Action.UPLOAD_TERMINATED, *_ERASED),
    ("portal.links", "GET"): _shown("upload-links", LISTED),
    ("portal.issue_link", "POST"): _act(Action.UPLOAD_LINK_CREATED),
    ("portal.renew_link", "POST"): _act(Action.UPLOAD_LINK_RENEWED),
    ("portal.revoke_link", "POST"): _act(Action.UPLOAD_LINK_REVOKED),
    ("portal.stamps", "GET"): _shown("stamps", LISTED),
    ("portal.set_proactive", "POST"): _act(Action.PROACTIVE_CONSENT_SET),
    ("portal.give_consent", "POST"): _act(Action.CONSENT_GIVEN),
    ("portal.revoke_consent", "POST"): _act(Action.CONSENT_REVOKED, Action.GRANT_ENDED),
    ("portal.ask_erase_case", "GET"): _shown("case"),
    ("portal.erase_case", "POST"): _act(*_ERASED, Action.GRANT_ENDED),
    ("portal.ask_erase_bundle", "GET"): _shown("bundle"),
    ("portal.erase_bundle", "POST"): _act(*_ERASED),
    ("portal.erasures", "GET"): _shown("erasures", LISTED),
    ("portal.erasure", "GET"): _shown("erasure"),
    ("portal.erasure_receipt", "GET"): _shown("erasure", Action.RECEIPT_SHOWN),
    ("portal.notices", "GET"): _shown("notice-receivers", LISTED),
    ("portal.add_receiver", "POST"): _act(Action.NOTICE_RECEIVER_ADDED),
    ("portal.notices_sent", "GET"): _shown("notices", LISTED),
    ("portal.test_receiver", "POST"): _act(Action.NOTICE_RECEIVER_TESTED),
    ("portal.remove_receiver", "POST"): _act(Action.NOTICE_RECEIVER_REMOVED),
    ("portal.reviews", "GET"): _shown("reviews", LISTED),
    ("portal.review", "GET"): _shown("review"),
    ("portal.review_grant", "POST"): _act(Action.REVIEW_SIGNED_OFF, Action.REVIEW_QUESTIONED),
    ("portal.log", "GET"): _act(Action.AUDIT_QUERIED),
    ("portal.export", "GET"): _act(Action.AUDIT_EXPORTED),
    ("portal.readers", "GET"): _act(Action.AUDIT_QUERIED),
    ("portal.unused_grants", "GET"): _act(Action.AUDIT_QUERIED),
    ("portal.check", "GET"): _nothing("the page alone: what is checked is fetched by its script"),
    ("portal.proof_of_inclusion", "GET"): _shown("proof", Action.LEAVES_SHOWN),
    ("portal.proof_of_growth", "GET"): _nothing("hashes alone: tells nothing of anybody"),
    ("service.health", "GET"): _OF_NOBODY,
    ("service.readiness", "GET"): _OF_NOBODY,
    ("service.problem_page", "GET"): _OF_NOBODY,
    ("api-docs.openapi_json", "GET"): _OF_NOBODY,
    ("witness.add_checkpoint", "POST"): _nothing("public: about another service's log"),
    ("witness.last_checkpoint", "GET"): _nothing("public: about another service's log"),
    ("development.configuration", "GET"): _nothing("rehearsals only"),
    ("development.key_set", "GET"): _nothing("rehearsals only"),
    ("development.token", "POST"): _nothing("rehearsals only"),
}
"""By endpoint and method; HEAD uses GET's row where it has none of its own."""


def row_of(endpoint: str, method: str) -> Row:
    """Return the row of a route; KeyError when it has none."""
    if method == "HEAD" and (endpoint, method) not in ROWS:
        method = "GET"
    return ROWS[endpoint, method]


def check(app: Flask) -> None:
    """Raise RuntimeError when a route has no row, and so could show something without an entry."""
    for rule in app.url_map.iter_rules():
        for method in rule.methods or ():
            try:
                row_of(rule.endpoint, method)
            except KeyError:
                raise RuntimeError(f"{method} {rule.rule} has no row in intake_api/api/looks.py") from None


def looked_at(**about: str | None) -> None:
    """Note what this request shows: `tenant`, `case`, `bundle`, `subject`, as `entry` takes them."""
    g.looked_at = about


def enter(response: Response) -> Response:
    """Enter or count the look that this response is, and return the response. Raises when it cannot be entered."""
    if "actor" in g and request.endpoint is not None:
        row = row_of(request.endpoint, request.method)
        if row.look is not None and response.status_code in row.statuses:
            details = {"of": row.of, **({"by": request.method} if request.method == "HEAD" else {})}
            _note(row.look, Outcome.SUCCESS, None, details, g.get("looked_at", {}))
    return response


def enter_untold(status: int, code: str, reason: str | None) -> None:
    """Enter a problem that no verb has entered and that reveals the state of what was asked for."""
    if "actor" in g and status in _REVEALING and request.url_rule is not None:
        details = {"route": request.url_rule.rule, "method": request.method, "status": status}
        _note(Action.REQUEST_FAILED, Outcome.FAILED, reason or code, details, {})


def _note(
    action: Action, outcome: Outcome, reason: str | None, details: Mapping[str, Any], about: dict[str, Any]
) -> None:
    actor, parts = caller(), custody()
    named = {name: value for name, value in (request.view_args or {}).items() if name not in _INSIDE}
    more = (f"{name}={value}" for name, value in request.args.items() if name not in _NOT_KEPT)
    asked = "&".join([*map(str, named.values()), *more])
    noted = entry(
        actor,
        action,
        parts.clock.now(),
        outcome=outcome,
        reason=reason,
        details=details,
        particulars={"asked": asked[:256]} if asked else {},
        **{"tenant": actor.tenant, **about},
    )
    parts.counts.looks.note(parts.records, noted, actor.id)
