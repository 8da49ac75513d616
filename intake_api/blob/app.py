"""The endpoint as a WSGI application, for the root of a host name or port of its own.

Order, for each request:
1. an id is given, and the address read: which container, which blob, which parameters;
2. the signature is made again with the link's key and compared, whether or not there is such a link;
3. what is signed is checked: time, protocol, address; then the record: none (lost by a restore), revoked, stamp or case
   gone, expired;
4. the operation, by method and parameters, and the permission it needs, signed and on record;
5. the use is an entry; then the operation runs.
A refusal is an entry, and every response uses the Blob service's own words.

The entries written here (P3): that a link was used, for what and from where, and that a caller was turned away; at once
the first time, by number afterwards (`retention.custody.counted_entries`). What the link's holder sends has entries of
its own (upload.created, bundle.received ...).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from werkzeug.wrappers import Response

from audit.entry import Action, Detail, Entry, Outcome
from intake_api.blob import blobs, containers, request, sas
from intake_api.blob.blob_errors import BlobError, told
from intake_api.blob.request import TAKEN, Call, Shared
from intake_api.http.draining import drain
from intake_api.http.seats import HEALTH, Busy, Holder, Kind, seat_of
from intake_api.logs import ROUTE
from intake_api.processes import places_of
from retention.custody.access.manage_links import UploadLink, find_link
from retention.custody.context import Custody, entry
from retention.custody.uploads.block_staging import Stoppable, Through
from retention.domain.actor import Actor, Role
from retention.domain.characters import is_visible
from retention.domain.faults import TakenOver
from retention.domain.upload_link import decide_use
from retention.keys.signing import LinkKeys


class LinkNotes:
    """The entries about the uses and refusals of one endpoint's links."""

    def __init__(self, custody: Custody) -> None:
        self._custody = custody

    def used(self, link: UploadLink, operation: str, address: str, request_id: str) -> None:
        """Enter, or count, that the link let somebody in."""
        details: dict[str, Detail] = {"count": 1, "operation": operation}
        used = self._entry(Action.UPLOAD_LINK_USED, link, address, request_id, None, details)
        self._custody.counts.link_uses.note(self._custody.records, used, link.row.id)

    def refused(self, link: UploadLink | None, reason: str, address: str, request_id: str) -> None:
        """Enter, or count, that somebody was turned away. `link=None`: it is not one of ours."""
        refused = self._entry(Action.UPLOAD_LINK_REFUSED, link, address, request_id, reason, {"count": 1})
        caller = link.row.id if link else address
        self._custody.counts.link_refusals.note(self._custody.records, refused, caller)

    def _entry(
        self,
        action: Action,
        link: UploadLink | None,
        address: str,
        request_id: str,
        reason: str | None,
        details: dict[str, Detail],
    ) -> Entry:
        row = link.row if link else None
        particulars = {"ip": address, "request_id": request_id}
        return entry(
            Actor(
                id=row.id if row else "act_unknown",
                roles=frozenset({Role.UPLOAD_LINK}),
                particulars=particulars,
            ),
            action,
            self._custody.clock.now(),
            outcome=Outcome.REFUSED if reason else Outcome.SUCCESS,
            reason=reason,
            tenant=row.tenant_id if row else None,
            case=row.case_id if row else None,
            subject=row.id if row else None,
            details=details,
        )


if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)
MAX_NAME, MAX_FILE_NAME = 1024, 255
LET_IN = "casevault.let-in"
"""The key in a request's WSGI environ of its valid link, as the holder of its seats."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that needs one of the permissions `any_of`. Without `run` it is never done, even if permitted."""

    name: str
    any_of: str
    run: Callable[[Shared, Call, Through], Response] | None


_PUT = "cw"
OPERATIONS: Mapping[tuple[str, bool, str], Operation] = {
    ("PUT", True, ""): Operation("put-blob", _PUT, blobs.put_blob),
    ("PUT", True, "block"): Operation("put-block", _PUT, blobs.put_block),
    ("PUT", True, "blocklist"): Operation("put-block-list", _PUT, blobs.put_block_list),
    ("PUT", True, "metadata"): Operation("set-blob-metadata", _PUT, blobs.change),
    ("PUT", True, "properties"): Operation("set-blob-properties", _PUT, blobs.change),
    ("GET", True, "blocklist"): Operation("get-block-list", "r", blobs.get_block_list),
    ("GET", True, "receipt"): Operation("get-receipt", "r", blobs.receipt),
    ("HEAD", True, ""): Operation("get-blob-properties", "r", blobs.properties),
    ("GET", True, ""): Operation("get-blob", "", None),  # no signature opens a bundle: that takes a grant
    ("DELETE", True, ""): Operation("delete-blob", "d", blobs.delete),
    ("GET", False, "list"): Operation("list-blobs", "l", containers.list_blobs),
    ("GET", False, ""): Operation("get-container-properties", "rl", containers.properties),
    ("HEAD", False, ""): Operation("get-container-properties", "rl", containers.properties),
    ("POST", False, "batch"): Operation("blob-batch", "", None),  # what it would delete is sealed
    ("PUT", False, ""): Operation("create-container", "", None),  # a container is a link: issued, and revoked
    ("DELETE", False, ""): Operation("delete-container", "", None),
}
"""By method, whether a blob is named, and `comp`."""
_WITH_BODY = frozenset({"put-blob", "put-block", "put-block-list"})
"""Operations that hold a thread for as long as their line takes, and need an upload's seat."""
_NOT_OFFERED = frozenset({"endbefore", "showonly", "versionid"})
"""Parameters that would change the response: refused, not ignored."""
_OF_USE = {"not-yet-valid": "AuthenticationFailed", "address": "AuthorizationSourceIPMismatch"}


class BlobEndpoint:
    """The endpoint. Serve it where clients look for it: `https://<its own host or port>/`."""

    def __init__(self, custody: Custody, keys: LinkKeys, stall_seconds: float) -> None:
        self.blocks = Stoppable()
        self._custody, self._keys = custody, keys
        self._shared = Shared(custody, self.blocks, stall_seconds)
        self._notes = LinkNotes(custody)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == HEALTH:  # never a container's name: those are our links' ids
            environ[ROUTE] = HEALTH
            return Response('{"status": "ok"}', content_type="application/json")(environ, start_response)
        request_id = request.new_request_id()
        environ[ROUTE] = "blob"
        try:
            response = self._serve(environ, request_id)
        except Exception as error:
            refusal = told(error)
            if how := _cut(error):
                self._custody.observer.cut(how)
            if refusal.status >= 500 and not isinstance(error, BlobError | TakenOver | Busy):
                _log(error, request_id)
            if TAKEN not in environ and not isinstance(error, Busy):
                self._drain(environ, refusal)
            response = request.refusal(refusal, environ, request_id, self._custody.clock.now())
        return request.finish(response, environ, request_id)(environ, start_response)

    def _serve(self, environ: WSGIEnvironment, request_id: str) -> Response:
        call = request.read(environ, request_id)
        link = self._authorize(call)
        holder = environ[LET_IN] = Holder(link.row.id, link.row.tenant_id)
        operation = _operation(call)
        environ[ROUTE] = f"blob:{operation.name}"
        run = operation.run if _permitted(operation, call, link) else None
        if run is None:
            self._refuse(call, link, sas.Denied("AuthorizationPermissionMismatch", "permission", ""))
        if operation.name in _WITH_BODY:
            seat_of(environ).move(Kind.UPLOAD, holder)
        self._notes.used(link, operation.name, call.address, request_id)
        if call.place.blob is not None:
            _check_name(call.place.blob)
        actor = link.actor(call.address, request_id)
        return run(self._shared, call, Through(self._custody, link, actor))

    def _authorize(self, call: Call) -> UploadLink:
        """Return the link of the request's signature, usable now and from the caller's address; else refuse."""
        if "sig" not in call.query:
            self._notes.refused(None, "no-signature", call.address, call.request_id)
            raise BlobError("NoAuthenticationInformation")
        link_id = call.place.link_id
        link = find_link(self._custody, link_id) if link_id else None
        key = self._keys.key_of(link_id or "")
        now = self._custody.clock.now()
        denied = sas.verify(
            call.query, call.place.container, key, now, secure=call.secure, address=call.address
        )
        if link is None or denied is not None:
            self._refuse(call, link, denied or sas.NOT_ON_RECORD)
        if gone := decide_use(link.facts, call.address, now):
            code = _OF_USE.get(gone.reason, "AuthenticationFailed")
            self._refuse(call, link, sas.Denied(code, gone.reason, gone.message))
        return link

    def _refuse(self, call: Call, link: UploadLink | None, denied: sas.Denied) -> NoReturn:
        self._notes.refused(link, denied.reason, call.address, call.request_id)
        detail = {"AuthenticationErrorDetail": denied.detail} if denied.detail else {}
        raise BlobError(denied.code, **detail)

    def _drain(self, environ: WSGIEnvironment, refusal: BlobError) -> None:
        let_in = None if refusal.status in (401, 403) else environ.get(LET_IN)
        drain(environ, self._shared.stall_seconds, let_in)


def turned_away(busy: Busy) -> WSGIApplication:
    """Make the response to a request that finds no seat: nothing of it was looked at."""

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request_id = request.new_request_id()
        response = request.refusal(told(busy), environ, request_id, datetime.now(UTC))
        return request.finish(response, environ, request_id)(environ, start_response)

    return respond


def _cut(error: Exception) -> str | None:
    """Return how a body was cut, if this error means that one was."""
    if isinstance(error, TakenOver):
        return "stopped"
    return "line" if isinstance(error, BlobError) and error.code == "OperationTimedOut" else None


def _permitted(operation: Operation, call: Call, link: UploadLink) -> bool:
    """Return whether both the signature and the record permit the operation."""
    return sas.allows(call.query, operation.any_of) and bool(
        set(operation.any_of) & set(link.row.permissions)
    )


def _operation(call: Call) -> Operation:
    comp = call.query.get("comp", "")
    is_blob = call.place.blob is not None
    found = OPERATIONS.get((call.method, is_blob, comp))
    if not is_blob and call.query.get("restype") != "container":
        raise BlobError("InvalidUri")
    for name in call.query:
        if name.lower() in _NOT_OFFERED:
            raise BlobError("UnsupportedQueryParameter", QueryParameterName=name)
    if found is None:
        known = any(key[2] == comp for key in OPERATIONS)
        raise BlobError("UnsupportedHttpVerb" if known else "UnsupportedQueryParameter")
    return found


def _check_name(name: str) -> None:
    """Refuse a name that cannot be kept and shown; its last part is the bundle's file name."""
    last = name.rsplit("/", 1)[-1]
    if not is_visible(name) or len(name) > MAX_NAME or not last.strip() or len(last.encode()) > MAX_FILE_NAME:
        raise BlobError("InvalidResourceName")


def _log(error: Exception, request_id: str) -> None:
    LOG.error("request %s: %s", request_id, places_of(error))
