"""Who is calling: bearer token -> Caller.

caller.py              Why a token is refused: stable codes, one for each reason.
claims.py              Claims of a token whose signature holds -> Caller. Pure; `now` is an argument.
config.py              What the deployment says about its issuer. Values only: where they come from is the caller's
                       business.
development.py         The development issuer: tokens for anybody who asks, on this machine only. NOT FOR
                       PRODUCTION.
development_routes.py  The door to the development issuer. NOT FOR PRODUCTION, and every answer says so.
discovery.py           Keys of an issuer found by OpenID Connect Discovery, kept, and renewed when the need shows.
jwks.py                Published keys: a JSON Web Key Set (RFC 7517) -> keys that may verify a signature.
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
from intake_api.identity.config import ALGORITHMS, IssuerSettings
from intake_api.identity.development import DevelopmentIssuer, IssuerKeyRefused
from intake_api.identity.development_routes import development_blueprint
from intake_api.identity.discovery import DiscoveredKeys, RefreshPolicy
from intake_api.identity.jwks import HttpsDocuments, KeySource, StaticKeys, VerificationKey
from intake_api.identity.tokens import TokenVerifier

__all__ = [
    "ALGORITHMS",
    "ROLE_OF_CLAIM_VALUE",
    "Caller",
    "DevelopmentIssuer",
    "DiscoveredKeys",
    "HttpsDocuments",
    "InvalidToken",
    "IssuerKeyRefused",
    "IssuerSettings",
    "KeySource",
    "KeysUnavailable",
    "NoRole",
    "RefreshPolicy",
    "StaticKeys",
    "TokenRefusal",
    "TokenVerifier",
    "VerificationKey",
    "development_blueprint",
    "ensure_loopback",
]
