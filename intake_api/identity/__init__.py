"""Who is calling: bearer token -> Caller.

roles.py ° settings.py ° refusals.py     the words
claims.py °  jwks.py °                   the rules
tokens.py                                the verifier, the only maker of callers
discovery.py  documents.py               the issuer's keys, over HTTPS
development.py  development_routes.py    the development issuer, on loopback only
"""

from intake_api.identity.development import DevelopmentIssuer, IssuerKeyRefused
from intake_api.identity.development_routes import development_blueprint
from intake_api.identity.discovery import DiscoveredKeys, RefreshPolicy
from intake_api.identity.documents import HttpsDocuments
from intake_api.identity.jwks import KeySource, StaticKeys, VerificationKey
from intake_api.identity.refusals import InvalidToken, KeysUnavailable, NoRole, Refusal
from intake_api.identity.roles import ROLE_OF_CLAIM_VALUE, Caller
from intake_api.identity.settings import ALGORITHMS, IssuerSettings
from intake_api.identity.tokens import TokenVerifier
from intake_api.loopback import ensure_loopback

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
    "Refusal",
    "StaticKeys",
    "TokenVerifier",
    "VerificationKey",
    "development_blueprint",
    "ensure_loopback",
]
