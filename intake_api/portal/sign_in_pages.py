"""Sign-in, sign-out, and a person's own sessions.

The development issuer vouches for anybody, so there a person chooses who to be; only where its own routes serve: on
this machine, called directly (`identity.development_routes`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Response, g, redirect, request
from sqlalchemy import select

from intake_api.api.authentication import caller, custody, the_door
from intake_api.http.call_refused import CallRefused
from intake_api.identity import SignInFailed
from intake_api.identity.development_routes import refuse_strangers
from intake_api.portal import browser_session, page
from retention.custody.access import portal_sessions
from retention.domain.actor import OURS_ALONE, Actor, Role
from retention.domain.faults import NotFound
from retention.records.tables import actors, tenants

_MOST_TENANTS = 5
_PERSONS: tuple[tuple[str, Role], ...] = (
    ("alice", Role.SUPPORT_ENGINEER),
    ("ada", Role.AUDITOR),
)


def sign_in() -> Response:
    """Show the way in."""
    return page.show("sign_in.html", back=_back(request.args.get("to")), persons=_persons())


def start() -> Response:
    """Send the browser to the issuer."""
    client = the_door().sign_in
    if client is None:
        raise CallRefused("not-found", "people sign in by choosing who they are here: it is a rehearsal")
    # One that is under way in another tab goes on with the same secret.
    secret = (
        browser_session.secret_in(browser_session.SIGN_IN_COOKIE, request) or browser_session.new_secret()
    )
    response = _to(client.start_address(secret, _back(request.args.get("to"))))
    browser_session.set_cookie(
        response, browser_session.SIGN_IN_COOKIE, secret, browser_session.SIGN_IN_SECONDS
    )
    return response


def callback() -> Response:
    """Take the browser back from the issuer: its sign-in is finished, and a session begins."""
    client, secret = the_door().sign_in, browser_session.secret_in(browser_session.SIGN_IN_COOKIE, request)
    if client is None or secret is None:
        raise SignInFailed("this sign-in was not begun in this browser, or its time is over")
    signed_in, back = client.finish(secret, request.args)
    response = _to(_back(back))
    browser_session.begin(response, signed_in.caller, signed_in)
    browser_session.drop_cookie(response, browser_session.SIGN_IN_COOKIE)
    return response


def choose_person() -> Response:
    """Sign in as a person of the rehearsal's."""
    door = the_door()
    if door.development is None:
        raise CallRefused("not-found", "this service is no rehearsal: sign in at the issuer")
    if (refused := refuse_strangers()) is not None:
        return refused  # type: ignore[return-value]
    form = request.form
    subject, role = form.get("subject", "").strip(), form.get("role", "")
    if not subject or role not in {one.value for one in Role if one not in OURS_ALONE}:
        raise CallRefused("malformed", "choose a name and a role")
    token = door.development.token(
        subject, [Role(role)], directory=form.get("directory") or None, partner=form.get("partner") or None
    )
    response = _to(_back(form.get("to")))
    browser_session.begin(response, door.verifier.verify(f"Bearer {token}"), None)
    return response


def sign_out() -> Response:
    """End this session, and the issuer's, where it can be ended there."""
    session, secret, client = g.session, g.session_secret, the_door().sign_in
    there = client.sign_out_address(browser_session.id_token_of(secret, session)) if client else None
    portal_sessions.end(custody(), caller(), session.id, "signed-out")
    response = page.show("signed_out.html", there=there) if there else _to("/portal/sign-in")
    browser_session.drop_cookie(response, browser_session.COOKIE)
    return response


def issuer_signed_out() -> Response:
    """End the sessions that the issuer says are over (OpenID Connect Back-Channel Logout)."""
    client = the_door().sign_in
    if client is None:
        raise CallRefused("not-found", "no issuer signs people in here")
    said = client.read_logout(request.form.get("logout_token", ""))
    with custody().records.read() as reads:
        own = select(actors.c.id).where(actors.c.issuer == the_door().issuer)
        if said.subject is not None:
            found = reads.execute(own.where(actors.c.subject == said.subject)).scalars().all()
        else:
            found = portal_sessions.actors_of(reads, str(said.issuer_session))
    for id_ in found:
        portal_sessions.end_by_issuer(custody(), Actor(id=id_, roles=frozenset()), said.issuer_session)
    return Response(status=200, headers={"Cache-Control": "no-store"})


def own_sessions() -> Response:
    """Show a person's own sessions."""
    return page.show(
        "sessions.html", sessions=portal_sessions.list_own(custody(), caller()), own=g.session.id
    )


def end_session(session: str) -> Response:
    """End one of a person's own sessions."""
    if session == g.session.id:
        return sign_out()
    if not portal_sessions.end(custody(), caller(), session, "ended-elsewhere"):
        raise NotFound(f"you have no session {session[:64]!r}", kind="session")
    return _to("/portal/sessions")


ROUTES: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/sign-in", "sign_in", sign_in),
    ("GET", "/sign-in/start", "start", start),
    ("GET", "/callback", "callback", callback),
    ("POST", "/sign-in/person", "choose_person", choose_person),
    ("POST", "/back-channel-logout", "issuer_signed_out", issuer_signed_out),
    ("POST", "/sign-out", "sign_out", sign_out),
    ("GET", "/sessions", "own_sessions", own_sessions),
    ("POST", "/sessions/<session>/end", "end_session", end_session),
)


def _persons() -> list[tuple[str, Role, str]]:
    """Return who can be chosen in a rehearsal: name, role, directory; nobody elsewhere."""
    if the_door().development is None:
        return []
    with custody().records.read() as reads:
        named = select(tenants.c.name, tenants.c.directory).order_by(tenants.c.name).limit(_MOST_TENANTS)
        customers = reads.execute(named).all()
    operators = [(f"olga@{one.directory}", Role.OPERATOR, str(one.directory)) for one in customers]
    return [*((name, role, "") for name, role in _PERSONS), *operators]


def _back(path: str | None) -> str:
    """Return the path to go back to: only ever a page of the portal itself."""
    parts = urlsplit(path or "")
    good = path is not None and path.startswith("/portal/") and not parts.netloc and "\\" not in path
    return str(path) if good else "/portal/"


def _to(address: str) -> Response:
    return redirect(address, 303)  # type: ignore[return-value]
