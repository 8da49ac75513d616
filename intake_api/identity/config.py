"""The settings of the issuer, and of the sign-in there. Values only: their source is the caller's business."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from intake_api.identity.caller import ROLE_OF_CLAIM_VALUE
from retention.domain.actor import OURS_ALONE, Role

_MARK = re.compile(r"[^\s=,]+(=[^\s=,]+)?")
ALGORITHMS = ("RS256", "PS256", "ES256")
"""All that can ever be configured: asymmetric only (RFC 8725 section 3.2), so a public key is never a secret."""
ACCESS_TOKEN_CLAIMS = ("scp", "scope", "azpacr", "appidacr", "idtyp=app")
"""Claims that access tokens carry and ID tokens do not: a scope (Entra: scp; RFC 8693: scope); from Entra, how the
client was authenticated (v2.0: azpacr, v1.0: appidacr), and that it is an application alone (idtyp)."""


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """The issuer whose tokens are accepted, and what they must say. ValueError when it cannot be used like this."""

    issuer: str
    audiences: tuple[str, ...]  # a token for any one of them is for us
    algorithms: tuple[str, ...] = ALGORITHMS
    roles: Mapping[str, Role] = field(default_factory=lambda: ROLE_OF_CLAIM_VALUE)
    roles_claim: str = "roles"
    directory_claim: str = "tid"
    partner_claim: str = "partner"
    name_claim: str = "name"
    access_token_claims: tuple[str, ...] = (
        ACCESS_TOKEN_CLAIMS  # any of them; none: only the type at+jwt counts
    )
    leeway: timedelta = timedelta(seconds=60)

    def __post_init__(self) -> None:
        if not self.issuer or not self.audiences or "" in self.audiences:
            raise ValueError("an issuer and at least one audience must be configured")
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise ValueError(f"algorithms must be some of {', '.join(ALGORITHMS)}")
        if not all(_MARK.fullmatch(mark) for mark in self.access_token_claims):
            raise ValueError("each claim of access tokens must be a name, or name=value")
        if OURS_ALONE & set(self.roles.values()):
            raise ValueError(
                "a claim value is mapped to one of the service's own roles (the clock's, a link's): no token has those"
            )
        if not timedelta(0) <= self.leeway <= timedelta(minutes=5):
            raise ValueError("the leeway must be between 0 and 5 minutes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInSettings:
    """How this service is known at the issuer. `redirect` is the address that the issuer sends browsers back to."""

    client_id: str
    redirect: str
    signed_out: str
    scope: str = "openid"
    resource: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    authorities: Path | None = None
