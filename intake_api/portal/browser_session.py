"""The session of a browser: its cookie, its seal over the issuer's tokens, its renewal.

Rules:
- The cookie holds a random secret and nothing else; `__Host-` ties it to this host, over TLS alone. No script can read
  it. A sign-in makes a new one, so a cookie that somebody else has set is worth nothing (session fixation).
- What the issuer gave to renew or end the session is sealed with AES-256-GCM under a key from that secret, so that
  it is of no use to whoever reads the records.
- When the token's time is over the issuer is asked again, by one request of several. If it refuses, or gives another
  person, the session ends; while it cannot be asked, nothing is shown.
"""

from __future__ import annotations

import json
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Request, Response, g, request

from intake_api.api.authentication import actor_of, custody, the_door
from intake_api.identity import Caller, InvalidToken, IssuerAway, SignIn, SignInFailed
from retention.custody.access import portal_sessions
from retention.custody.access.portal_sessions import Session, SignedIn
from retention.domain.actor import Actor

COOKIE = "__Host-casevault"
SIGN_IN_COOKIE = "__Host-casevault-sign-in"
SIGN_IN_SECONDS = 600
_SECRET_BYTES = 32
_AAD = b"casevault portal: the issuer's tokens"


class SignInNeeded(Exception):
    """A request whose browser has no session that counts."""


def secret_in(cookie: str, asked: Request) -> bytes | None:
    """Return the secret in the cookie of this name; None when there is none of the right form."""
    try:
        secret = bytes.fromhex(asked.cookies.get(cookie, ""))
    except ValueError:
        return None
    return secret if len(secret) == _SECRET_BYTES else None


def new_secret() -> bytes:
    """Make a secret for a cookie."""
    return secrets.token_bytes(_SECRET_BYTES)


def set_cookie(response: Response, cookie: str, secret: bytes, seconds: int | None = None) -> None:
    """Put a secret into the browser's cookie, for so long; without `seconds` until the browser ends."""
    response.set_cookie(
        cookie, secret.hex(), max_age=seconds, path="/", secure=True, httponly=True, samesite="Lax"
    )


def drop_cookie(response: Response, cookie: str) -> None:
    """Remove a cookie from the browser."""
    response.set_cookie(cookie, "", max_age=0, path="/", secure=True, httponly=True, samesite="Lax")


def begin(response: Response, caller: Caller, signed_in: SignIn | None) -> None:
    """Begin a session for `caller`, and put its secret into the browser's cookie. Refused, if they have no role."""
    secret, actor = new_secret(), actor_of(caller)
    said = SignedIn(
        roles=caller.roles,
        directory=caller.directory,
        partner=caller.partner,
        renew_at=caller.expires,
        issuer_session=signed_in.issuer_session if signed_in else None,
        sealed=_seal(secret, signed_in),
    )
    if (before := secret_in(COOKIE, request)) is not None and (
        old := portal_sessions.find(custody(), before)
    ):
        own = Actor(id=old.actor_id, roles=old.signed_in.roles)  # it can be somebody else's
        portal_sessions.end(custody(), own, old.id, "signed-in-again")
    portal_sessions.begin(custody(), actor, secret, said)
    set_cookie(response, COOKIE, secret)


def find_caller() -> Actor:
    """Return the actor of this request's session. SignInNeeded; IssuerAway when it has to be renewed and cannot be."""
    secret = secret_in(COOKIE, request)
    session = None if secret is None else portal_sessions.find(custody(), secret)
    if secret is None or session is None:
        raise SignInNeeded
    if session.needs_renewal(custody().clock.now()):
        session = _renew(secret, session)
    g.session, g.session_secret = session, secret
    said = session.signed_in
    return actor_of(
        Caller(
            issuer=session.issuer,
            subject=session.subject,
            roles=said.roles,
            expires=said.renew_at,
            directory=said.directory,
            partner=said.partner,
            name=session.name,
        )
    )


def id_token_of(secret: bytes, session: Session) -> str | None:
    """Return the ID token with which the session began, for the issuer's own sign-out."""
    return _open(secret, session.signed_in.sealed).get("id")


def _renew(secret: bytes, session: Session) -> Session:
    client, sealed = the_door().sign_in, _open(secret, session.signed_in.sealed)
    refresh = sealed.get("refresh")
    if client is None or refresh is None:
        raise SignInNeeded  # the issuer's page knows who they are, and sends them back at once
    claimed = portal_sessions.claim_renewal(custody(), session)
    if claimed is None:
        return session  # another request of this session is asking now
    try:
        again = client.renew(refresh, session.subject)
    except (SignInFailed, InvalidToken):
        own = Actor(id=session.actor_id, roles=session.signed_in.roles)
        portal_sessions.end(custody(), own, session.id, "not-renewed")
        raise SignInNeeded from None
    except IssuerAway:
        portal_sessions.give_back_renewal(custody(), session, claimed)
        raise
    caller = again.caller
    said = SignedIn(
        roles=caller.roles,
        directory=caller.directory,
        partner=caller.partner,
        renew_at=caller.expires,
        issuer_session=again.issuer_session or session.signed_in.issuer_session,
        sealed=_seal(secret, again, id_token=again.id_token or sealed.get("id")),
    )
    now = portal_sessions.renewed(custody(), session, said)
    if now is None:  # somebody ended it while the issuer was asked
        raise SignInNeeded
    return now


def _key(secret: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=_AAD).derive(secret))


def _seal(secret: bytes, signed_in: SignIn | None, id_token: str | None = None) -> bytes | None:
    if signed_in is None:
        return None
    kept = {"refresh": signed_in.refresh_token, "id": id_token or signed_in.id_token}
    nonce = secrets.token_bytes(12)
    return nonce + _key(secret).encrypt(nonce, json.dumps(kept).encode(), _AAD)


def _open(secret: bytes, sealed: bytes | None) -> dict[str, str | None]:
    if sealed is None:
        return {}
    try:
        opened: dict[str, str | None] = json.loads(_key(secret).decrypt(sealed[:12], sealed[12:], _AAD))
    except InvalidTag:
        raise SignInNeeded from None
    return opened
