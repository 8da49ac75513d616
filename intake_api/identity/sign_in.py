"""Sign-in of people at the issuer: OpenID Connect, authorization code flow with PKCE, state and nonce.

    browser -> start_address -> issuer -> callback (code, state) -> finish -> SignIn

Rules:
- One secret in a cookie of the browser is behind a sign-in; state, nonce and code verifier come from it, each by its
  own name (HMAC-SHA256). So nothing is kept here, and a code is of use only to the browser that asked for it (RFC 9700
  section 2.1).
- What somebody is allowed to do is read from the access token, by the rules of every caller (tokens.py). The ID token
  only shows that it is this sign-in's: issuer, audience, nonce, times, at_hash (OpenID Connect Core section 3.1.3.7).
- The issuer's addresses come from its discovery document, over https, and are asked within `SECONDS`, without
  following a redirect.
- Authlib makes the requests and reads the ID token's claims.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import requests
from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]

from intake_api.identity.caller import Caller
from intake_api.identity.config import SignInSettings
from intake_api.identity.jwks import DocumentSource
from intake_api.identity.tokens import ID_TOKEN_TYPES, LOGOUT_TOKEN_TYPES, TokenVerifier
from retention.clock import Clock

SECONDS = 6.0
DISCOVERY_SECONDS = 600.0
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_MINUTES = 10


class SignInFailed(Exception):
    """A sign-in that cannot be finished; the message says why, and `again` whether trying again may help."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class IssuerAway(Exception):
    """The issuer cannot be asked now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A person who has signed in, or whose sign-in the issuer has renewed."""

    caller: Caller
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(repr=False)
    issuer_session: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOut:
    """Whom the issuer says to have signed out; of one session, or of all where it names none."""

    subject: str | None
    issuer_session: str | None


def derived(secret: bytes, name: str) -> str:
    """Return the value that belongs to the secret under this name."""
    return _base64(hmac.new(secret, name.encode(), hashlib.sha256).digest())


class SignInClient:
    """This service as the issuer's client. Thread-safe."""

    def __init__(
        self,
        settings: SignInSettings,
        issuer: str,
        documents: DocumentSource,
        verifier: TokenVerifier,
        clock: Clock,
    ) -> None:
        self._settings, self._issuer = settings, issuer
        self._documents, self._verifier, self._clock = documents, verifier, clock
        self._known: tuple[float, Mapping[str, object]] | None = None

    def start_address(self, secret: bytes, back: str) -> str:
        """Return the issuer's address that signs the browser in, and then returns it to the path `back`."""
        more = {"resource": self._settings.resource} if self._settings.resource else {}
        address, _ = self._session().create_authorization_url(
            self._endpoint("authorization_endpoint"),
            state=_state(secret, back),
            nonce=derived(secret, "nonce"),
            code_verifier=derived(secret, "code verifier"),
            **more,
        )
        return str(address)

    def finish(self, secret: bytes, answer: Mapping[str, str]) -> tuple[SignIn, str]:
        """Return who has signed in, and the path to go back to. SignInFailed, IssuerAway, InvalidToken."""
        back = _checked_back(secret, answer.get("state", ""))
        if issuer := answer.get("iss"):  # RFC 9207
            _require(issuer == self._issuer, "the response came from another issuer than the one asked")
        if error := answer.get("error"):
            raise SignInFailed(f"the issuer did not sign you in: it said {error[:64]!r}")
        code = answer.get("code", "")
        _require(bool(code), "the issuer's response has no code")
        token = self._fetch(code=code, code_verifier=derived(secret, "code verifier"))
        return self._sign_in(token, nonce=derived(secret, "nonce")), back

    def renew(self, refresh_token: str, subject: str) -> SignIn:
        """Ask the issuer again for `subject`. SignInFailed when it no longer vouches for them; IssuerAway."""
        token = self._fetch(grant_type="refresh_token", refresh_token=refresh_token)
        token.setdefault(
            "refresh_token", refresh_token
        )  # RFC 6749 section 6: without a new one the old one goes on
        signed_in = self._sign_in(token, nonce=None)
        _require(signed_in.caller.subject == subject, "the issuer renewed the sign-in of somebody else")
        return signed_in

    def sign_out_address(self, id_token: str | None) -> str | None:
        """Return the issuer's address that ends its own session (OpenID Connect RP-Initiated Logout); None if it has
        none, or cannot be asked."""
        try:
            endpoint = self._endpoint("end_session_endpoint")
        except (IssuerAway, SignInFailed):
            return None
        asked = {"client_id": self._settings.client_id, "post_logout_redirect_uri": self._settings.signed_out}
        if id_token is not None:
            asked["id_token_hint"] = id_token
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def read_logout(self, token: str) -> LoggedOut:
        """Read a logout token (OpenID Connect Back-Channel Logout section 2.6). SignInFailed, InvalidToken."""
        claims, _ = self._verifier.signed_claims(token, LOGOUT_TOKEN_TYPES)
        audience, events, at = claims.get("aud"), claims.get("events"), claims.get("iat")
        audiences = audience if isinstance(audience, list) else [audience]
        now = self._clock.now().timestamp()
        _require(claims.get("iss") == self._issuer, "the logout token is from another issuer")
        _require(self._settings.client_id in audiences, "the logout token is for another client")
        _require(isinstance(events, dict) and LOGOUT_EVENT in events, "the token is no logout token")
        _require("nonce" not in claims, "a logout token has no nonce")
        recent = isinstance(at, int) and abs(now - at) < LOGOUT_MINUTES * 60
        _require(recent, "the logout token is not of the last minutes")
        subject, session = claims.get("sub"), claims.get("sid")
        _require(isinstance(subject, str) or isinstance(session, str), "the logout token names nobody")
        return LoggedOut(
            subject=subject if isinstance(subject, str) else None,
            issuer_session=session if isinstance(session, str) else None,
        )

    def _sign_in(self, token: Mapping[str, Any], nonce: str | None) -> SignIn:
        access, identity = str(token.get("access_token", "")), token.get("id_token")
        caller = self._verifier.verify(f"Bearer {access}")
        claims: Mapping[str, object] = {}
        if identity is not None:
            claims = self._checked_identity(str(identity), access, nonce)
            _require(claims.get("sub") == caller.subject, "the issuer's two tokens name two people")
        else:
            _require(nonce is None, "the issuer sent no ID token: the scope must hold openid")
        session = claims.get("sid")
        return SignIn(
            caller=caller,
            refresh_token=token.get("refresh_token"),
            id_token=identity,
            issuer_session=session if isinstance(session, str) else None,
        )

    def _checked_identity(self, identity: str, access: str, nonce: str | None) -> Mapping[str, object]:
        claims, algorithm = self._verifier.signed_claims(identity, ID_TOKEN_TYPES)
        own = self._settings.client_id
        options = {
            "iss": {"essential": True, "value": self._issuer},
            "aud": {"essential": True, "value": own},
        }
        params = {"client_id": own, "nonce": nonce, "access_token": access}
        token = CodeIDToken(claims, {"alg": algorithm}, options, params)
        try:
            token.validate(now=int(self._clock.now().timestamp()), leeway=60)
        except AuthlibBaseError as error:
            raise SignInFailed(f"the issuer's ID token is not this sign-in's: {error.error}") from None
        return claims

    def _fetch(self, **asked: str) -> dict[str, Any]:
        endpoint, settings = self._endpoint("token_endpoint"), self._settings
        if settings.resource:
            asked["resource"] = settings.resource
        bounds: dict[str, Any] = {"timeout": SECONDS, "allow_redirects": False}
        if settings.authorities is not None:
            bounds["verify"] = str(settings.authorities)
        try:
            return dict(self._session().fetch_token(endpoint, **asked, **bounds))
        except AuthlibBaseError as error:
            raise SignInFailed(f"the issuer refused: {str(error.error)[:64]}") from None
        except (requests.RequestException, ValueError) as error:
            raise IssuerAway(f"the issuer's token endpoint did not respond: {type(error).__name__}") from None

    def _session(self) -> Any:
        settings = self._settings
        return OAuth2Session(
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            token_endpoint_auth_method="client_secret_basic" if settings.client_secret else "none",
            scope=settings.scope,
            redirect_uri=settings.redirect,
            code_challenge_method="S256",
        )

    def _endpoint(self, name: str) -> str:
        now = time.monotonic()
        known = self._known
        if known is None or now - known[0] >= DISCOVERY_SECONDS:
            try:
                found = self._documents.get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            except Exception as error:
                raise IssuerAway(f"the issuer cannot be asked now: {error}") from None
            if found.get("issuer") != self._issuer:
                raise IssuerAway("the discovery document names another issuer")
            self._known = known = (now, found)
        address = known[1].get(name)
        if not isinstance(address, str) or not address.startswith("https://"):
            raise SignInFailed(f"the issuer's discovery document names no {name} over https", again=False)
        return address


def _state(secret: bytes, back: str) -> str:
    return f"{derived(secret, f'state {back}')}.{_base64(back.encode())}"


def _checked_back(secret: bytes, state: str) -> str:
    """Return the path that a state carries. SignInFailed unless this browser's sign-in made it."""
    _, _, packed = state.partition(".")
    try:
        back = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
    except ValueError:
        back = ""
    good = hmac.compare_digest(state.encode(), _state(secret, back).encode())
    _require(good, "this sign-in was not begun in this browser, or its time is over")
    return back


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SignInFailed(otherwise)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
