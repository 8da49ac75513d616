"""Who is calling: bearer token -> Caller.

caller.py              The caller, their roles, and why a token is refused: stable codes, one for each reason.
claims.py              Claims of a token with a valid signature -> Caller. Pure; `now` is an argument.
config.py              The settings of the issuer, and of the sign-in there. Values only: their source is the caller's
                       business.
development.py         The development issuer: tokens for anybody, on this machine only. NOT FOR PRODUCTION.
development_routes.py  The routes of the development issuer. NOT FOR PRODUCTION, and every response says so.
issuer_keys.py         An issuer's keys, found by OpenID Connect Discovery, kept, and renewed when needed.
jwks.py                Published keys: a JSON Web Key Set (RFC 7517), fetched -> keys for verifying signatures.
sign_in.py             Sign-in of people at the issuer: OpenID Connect, authorization code flow with PKCE, state and
                       nonce.
tokens.py              Bearer token -> Caller. The only place where a token becomes a caller.
"""

from intake_api.http.hosts import ensure_loopback
from intake_api.identity.caller import (
    ROLE_OF_CLAIM_VALUE,
    Caller,
    InvalidToken,
    KeysUnavailable,
    NoRole,
    TokenRefusal,
)
from intake_api.identity.config import ALGORITHMS, IssuerSettings, SignInSettings
from intake_api.identity.development import DevelopmentIssuer, IssuerKeyRefused
from intake_api.identity.development_routes import development_blueprint
from intake_api.identity.issuer_keys import DiscoveredKeys, RefreshPolicy
from intake_api.identity.jwks import HttpsDocuments, KeySource, StaticKeys, VerificationKey
from intake_api.identity.sign_in import IssuerAway, SignIn, SignInClient, SignInFailed
from intake_api.identity.tokens import TokenVerifier

__all__ = [
    "ALGORITHMS",
    "ROLE_OF_CLAIM_VALUE",
    "Caller",
    "DevelopmentIssuer",
    "DiscoveredKeys",
    "HttpsDocuments",
    "InvalidToken",
    "IssuerAway",
    "IssuerKeyRefused",
    "IssuerSettings",
    "KeySource",
    "KeysUnavailable",
    "NoRole",
    "RefreshPolicy",
    "SignIn",
    "SignInClient",
    "SignInFailed",
    "SignInSettings",
    "StaticKeys",
    "TokenRefusal",
    "TokenVerifier",
    "VerificationKey",
    "development_blueprint",
    "ensure_loopback",
]
