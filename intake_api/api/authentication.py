"""Who calls: each request's id, its token turned into an actor, and the bounds on its body.

Order, before any route is reached:
1. the request gets an id of its own (never the caller's: ids are in the log), and its address is checked: no store is
   asked for a name with control characters, and nobody reads an over-long query;
2. a body must declare its length, except for uploads, and only uploads accept a large one;
3. unless the address is public, the token is verified and resolved to an actor; a refusal is an entry (P3);
4. a long request (upload, download) takes a seat of its kind, and a small body is read whole, in time (`seats`).

Refused callers' entries (P3) are counted by address and reason (`retention.custody.counted_entries`).
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable, Mapping

from flask import Flask, current_app, g, request

from audit.entry import Action, Outcome
from intake_api.api.context import AppContext
from intake_api.http.call_refused import CallRefused
from intake_api.http.hosts import is_loopback_host, is_one_host
from intake_api.http.request_body import Body, WholeBody
from intake_api.http.seats import Holder, Kind, holder_of, seat_of
from intake_api.identity import Caller, InvalidToken, NoRole
from intake_api.tus import protocol
from retention.custody.context import Custody, entry
from retention.domain.actor import Actor


def note_refused(custody: Custody, address: str, reason: str, request_id: str) -> None:
    """Enter, or count, that a caller from `address` was refused for `reason`."""
    particulars = {"ip": address, "request_id": request_id}
    refused = entry(
        Actor(id="act_unknown", roles=frozenset(), particulars=particulars),
        Action.CALLER_REFUSED,
        custody.clock.now(),
        outcome=Outcome.REFUSED,
        reason=reason,
        details={"count": 1},
    )
    custody.counts.strangers.note(custody.records, refused, address)


PUBLIC = frozenset(
    {
        "service.health",
        "service.readiness",
        "service.problem_page",
        "audit.checkpoint",
        "audit.cosigned_checkpoint",
        "audit.keys",
        "audit.hash_tile",
        "api-docs.openapi_json",
        "uploads.options",
        "uploads.options_of_one",
        "witness.add_checkpoint",
        "witness.last_checkpoint",
    }
)
"""Endpoints that need no token. The development issuer's blueprint has a stricter rule of its own."""
CREATES = frozenset({"uploads.create", "portal.upload_create"})
GOES_ON = frozenset({"uploads.go_on", "portal.upload_go_on"})
CHUNKED_BODIES = CREATES | GOES_ON
LARGE_BODIES = CHUNKED_BODIES | {"bundles.put"}
"""Endpoints whose body's end is proven by the upload's length instead."""
MOST_QUERY = 8192
"""Most bytes of a query. At 64 KiB of address the server's own parser ends the request, with a bare 414."""
LONG_READS = frozenset(
    {
        "content.content",
        "files.index",
        "files.read",
        "text.lines",
        "text.search",
        "audit.export",
        "portal.content",
        "portal.export",
    }
)
MOST_BODY = 1 << 20
"""Most bytes of any other body."""
_EXTENSION = "casevault"
_OTHER = "casevault-callers"


def install(app: Flask, door: AppContext, other: Mapping[str, Callable[[], Actor | None]]) -> None:
    """Put the rules before every route of `app`. `other`: blueprints whose callers bring no token, and who finds out
    who calls there; None where that needs nobody."""
    app.extensions[_EXTENSION] = door
    app.extensions[_OTHER] = {**other, "development": lambda: None}
    app.before_request(_expect_bytes)
    app.before_request(_admit)
    app.teardown_request(lambda _: door.services.uploads.arrived())


def the_door() -> AppContext:
    """Return the context that this application was made with."""
    door: AppContext = current_app.extensions[_EXTENSION]
    return door


def custody() -> Custody:
    """Return custody, the services behind the routes."""
    return the_door().services.custody


def caller() -> Actor:
    """Return the actor of this request. Public addresses have none: calling this there is an error."""
    actor: Actor = g.actor
    return actor


def located(path: str) -> str:
    """Return `path` for a Location: absolute where this service's origin is known, which some clients need (aiotus).

    In a rehearsal a caller on this machine has named the origin; elsewhere a proxy may have changed the Host header, so
    only the setting counts.
    """
    door = the_door()
    if door.origin is not None:
        return f"{door.origin}{path}"
    host, _, port = request.host.rpartition(":")
    rehearsed = door.development is not None and port.isdigit() and is_loopback_host(host.strip("[]"))
    return f"https://{request.host}{path}" if rehearsed else path


def _expect_bytes() -> None:
    if request.endpoint in GOES_ON:
        the_door().services.uploads.expect((request.view_args or {})["bundle"])


def _admit() -> None:
    g.request_id = secrets.token_hex(12)
    if not is_one_host(request.environ):
        raise CallRefused(
            "malformed", "send exactly one Host header, with the name that you call", reason="host"
        )
    if request.environ["PATH_INFO"].startswith("//"):  # which the router would take for /
        raise CallRefused("not-found", "the path begins with two slashes: begin it with one")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in request.path):
        raise CallRefused("malformed", "the address contains control characters: correct the name in it")
    if len(request.query_string) > MOST_QUERY:
        raise CallRefused(
            "uri-too-long",
            f"the query has {len(request.query_string)} bytes, the limit is {MOST_QUERY}: shorten its values",
            limit=MOST_QUERY,
        )
    _bound_body()
    if request.endpoint is None:
        return
    if request.endpoint not in PUBLIC:
        find = current_app.extensions[_OTHER].get(request.blueprint, _authenticate)
        if (actor := find()) is not None:
            g.actor = actor
    _take_seat()


def _take_seat() -> None:
    """Take a long request's seat before its bytes move; read a small body whole."""
    seat, actor = seat_of(request.environ), g.get("actor")
    holder = Holder(f"address {request.remote_addr}") if actor is None else holder_of(actor)
    if (kind := _long_seat_kind()) is not None:
        seat.move(kind, holder)
        return
    body, length = request.environ["wsgi.input"], request.content_length
    if not length or request.method in ("GET", "HEAD", "OPTIONS") or not isinstance(body, Body):
        return
    seat.take(Kind.BODY, holder)
    seconds = the_door().body_seconds
    content = body.read_within(length, seconds)
    seat.leave(Kind.BODY)
    if len(content) < length:
        raise CallRefused(
            "request-timeout", f"only {len(content)} of {length} bytes came within {seconds:g} s"
        )
    request.environ["wsgi.input"] = WholeBody(content)


def _long_seat_kind() -> Kind | None:
    """Return the kind of seat for a request that can hold its thread for as long as its line takes, else None."""
    if request.endpoint in LONG_READS:
        return Kind.READ if request.method == "GET" else None
    if request.endpoint in CREATES:
        brings = protocol.has_body(request.headers) or protocol.is_chunked(request.headers)
        joins = "final" in request.headers.get("Upload-Concat", "")
        return Kind.UPLOAD if brings or joins else None
    return Kind.UPLOAD if request.endpoint in LARGE_BODIES else None


def _bound_body() -> None:
    protocol.check_framing(request.headers)
    if protocol.is_chunked(request.headers) and request.endpoint not in CHUNKED_BODIES:
        raise protocol.length_required()
    length = request.headers.get("Content-Length")
    if length and int(length) > MOST_BODY and request.endpoint not in LARGE_BODIES:
        raise CallRefused(
            "too-large", f"the body has {length} bytes, the limit is {MOST_BODY}", limit=MOST_BODY
        )


def _authenticate() -> Actor:
    door, address = the_door(), request.remote_addr or ""
    try:
        verified = door.verifier.verify(request.headers.get("Authorization"))
    except NoRole as error:
        verified = error.caller  # `resolve` refuses them by name
    except InvalidToken as error:
        note_refused(door.services.custody, address, error.code.value, g.request_id)
        raise
    return actor_of(verified)


def actor_of(verified: Caller) -> Actor:
    """Return the actor of a person or machine as the issuer's token named them. Refused, if no role is left."""
    return the_door().services.directory.resolve(
        issuer=verified.issuer,
        subject=verified.subject,
        roles=verified.roles,
        directory=verified.directory,
        partner=verified.partner,
        name=verified.name,
        particulars={"ip": request.remote_addr or "", "request_id": g.request_id},
    )
