"""What the HTTP API works with: custody behind it, the judge of tokens before it."""

from __future__ import annotations

from dataclasses import dataclass

from audit.cosigning import WitnessCore
from intake_api.identity import DevelopmentIssuer, TokenVerifier
from retention.assembly import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """`issuer` vouches for people and machines; `stall_seconds` is how long a silent upload is waited for.

    `blob_origin` is where senders find the Blob endpoint, `cosigning` the witness of others' logs; None where there is
    none.
    """

    services: Services
    verifier: TokenVerifier
    issuer: str
    development: DevelopmentIssuer | None = None
    stall_seconds: float = 60
    blob_origin: str | None = None
    cosigning: WitnessCore | None = None
