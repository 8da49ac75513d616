"""What the HTTP API works with: custody behind it, the judge of tokens before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from audit.cosigning import WitnessCore
from intake_api.identity import DevelopmentIssuer, TokenVerifier
from intake_api.last_answer import LastAnswer
from intake_api.readiness import Readiness
from retention.assembly import Services

READY_SECONDS = 3
"""An answer to whether every part is there counts for so long: asking costs requests to each of them."""
READY_PATIENCE = 1.9
"""Who asks while another finds out waits for that, a little longer than the parts are given (`readiness`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """`issuer` vouches for people and machines; `stall_seconds` is how long a silent upload is waited for, and
    `body_seconds` how long a small body may take.

    `origin` is where callers find this one, where that is known; `upload_origins` are those of pages that may send.
    `blob_origin` is where senders find the Blob endpoint, `cosigning` the witness of others' logs; None where there is
    none. While `draining` no new caller should be sent here: a stop was asked for.
    """

    services: Services
    verifier: TokenVerifier
    issuer: str
    development: DevelopmentIssuer | None = None
    stall_seconds: float = 60
    origin: str | None = None
    upload_origins: frozenset[str] = frozenset()
    body_seconds: float = 15
    blob_origin: str | None = None
    draining: Callable[[], bool] = lambda: False
    parts: Readiness = field(default_factory=Readiness)
    readiness: LastAnswer[dict[str, str]] = field(
        default_factory=lambda: LastAnswer(READY_SECONDS, READY_PATIENCE)
    )
    cosigning: WitnessCore | None = None
