"""The HTTP API's context: custody's services, the token verifier, and the limits.

`open_door` makes it from the settings. Its readiness comes from a `SingleFlight`, a short cache:
- Of several callers at once one finds the value out, and the others wait for it, at most `patience` seconds.
- The value counts for `seconds` from when it was found, whatever it says.
- An error goes to the caller that met it, and is not kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from audit.cosigning.server import CosigningServer
from intake_api.api.readiness import Readiness
from intake_api.config import AUDIENCE, ServerSettings
from intake_api.identity import (
    DevelopmentIssuer,
    DiscoveredKeys,
    HttpsDocuments,
    IssuerSettings,
    KeySource,
    SignInClient,
    TokenVerifier,
)
from retention.assembly import Services, begin, open_cosigning
from retention.clock import Clock
from retention.telemetry.observer import NOTHING, Observer

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """A cache of one value, found out once for all callers of about the same time. `now` is a monotonic clock in
    seconds."""

    def __init__(
        self, seconds: float, patience: float = 10, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._patience = patience
        self._now = now
        self._finding = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self, find_out: Callable[[], T]) -> T | None:
        """Return the kept value, or what `find_out` returns; None when another caller takes too long to find it."""
        if (known := self._fresh()) is not None:
            return known[1]
        if not self._finding.acquire(timeout=self._patience):
            return None
        try:
            known = self._fresh()  # another caller may have found it meanwhile
            if known is None:
                value = find_out()
                self._found = known = self._now(), value
            return known[1]
        finally:
            self._finding.release()

    def _fresh(self) -> tuple[float, T] | None:
        found = self._found
        return found if found is not None and self._now() - found[0] < self._seconds else None


READY_SECONDS = 3
"""How long a readiness result counts: asking costs requests to each part."""
READY_PATIENCE = 1.9
"""How long a caller waits for another's result: a little longer than the parts are given (`readiness`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """The context of one serving process.

    `issuer` vouches for people and machines. A silent upload is waited for `stall_seconds`, and a small body may take
    `body_seconds`. `origin` is this service's public address where that is known; `upload_origins` are the origins of
    pages that are allowed to send. `blob_origin` is the Blob endpoint's address, `cosigning` the witness for others'
    logs, `sign_in` the portal's way to the issuer; each is None where there is none. While `draining()`, a stop was
    requested: no new callers should come.
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
    readiness: SingleFlight[dict[str, str]] = field(
        default_factory=lambda: SingleFlight(READY_SECONDS, READY_PATIENCE)
    )
    cosigning: CosigningServer | None = None
    sign_in: SignInClient | None = None


def open_door(settings: ServerSettings, observer: Observer = NOTHING) -> AppContext:
    """Open the context over an initialised state folder. `services.close()` closes it."""
    services = begin(settings.custody, observer)
    clock = services.custody.clock
    development = _development_issuer(settings, clock)
    issuer, keys = _issuer(settings, clock, development)
    verifier = TokenVerifier(issuer, keys, clock)
    return AppContext(
        services=services,
        verifier=verifier,
        issuer=issuer.issuer,
        development=development,
        stall_seconds=settings.stall_seconds,
        origin=settings.address,
        upload_origins=settings.upload_origins,
        body_seconds=settings.body_seconds,
        blob_origin=settings.blob_origin,
        cosigning=open_cosigning(settings.custody, clock),
        sign_in=_sign_in(settings, verifier, clock),
    )


def _sign_in(settings: ServerSettings, verifier: TokenVerifier, clock: Clock) -> SignInClient | None:
    if settings.portal is None or settings.issuer is None:
        return None
    documents = HttpsDocuments(settings.issuer_authorities)
    return SignInClient(settings.portal, settings.issuer.issuer, documents, verifier, clock)


def _development_issuer(settings: ServerSettings, clock: Clock) -> DevelopmentIssuer | None:
    if not settings.custody.development:
        return None
    origin = settings.development_origin or settings.origin
    return DevelopmentIssuer(settings.issuer_key_file, f"{origin}/development", AUDIENCE, clock)


def _issuer(
    settings: ServerSettings, clock: Clock, development: DevelopmentIssuer | None
) -> tuple[IssuerSettings, KeySource]:
    if development is not None:
        return development.settings(), development.key_source()
    if settings.issuer is None:
        raise ValueError("no issuer in the settings, and no development mode: one of them is needed")
    documents = HttpsDocuments(settings.issuer_authorities)
    keys = DiscoveredKeys(settings.issuer.issuer, documents, clock)
    keys.begin()
    return settings.issuer, keys
