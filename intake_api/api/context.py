"""What the HTTP API works with: custody behind it, the judge of tokens before it.

An answer that is found out once for all who ask at about the same time.

- Of many who ask at once one finds out, and the others wait for what comes of it, `patience` seconds at most.
- The answer counts for `seconds` from when it was found, whatever it says.
- An error is the asker's who met it, and is not kept.

The only module of this package that names concrete adapters: settings in, an open door out.
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
    TokenVerifier,
)
from retention.assembly import Services, begin, open_cosigning
from retention.clock import Clock
from retention.telemetry.observer import NOTHING, Observer

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """`now` tells seconds that only ever grow."""

    def __init__(
        self, seconds: float, patience: float = 10, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._patience = patience
        self._now = now
        self._finding = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self, find_out: Callable[[], T]) -> T | None:
        """The last answer, or what `find_out` gives; None when somebody has been finding out for too long."""
        if (known := self._fresh()) is not None:
            return known[1]
        if not self._finding.acquire(timeout=self._patience):
            return None
        try:
            known = self._fresh()  # somebody may have found it meanwhile
            if known is None:
                answer = find_out()
                self._found = known = self._now(), answer
            return known[1]
        finally:
            self._finding.release()

    def _fresh(self) -> tuple[float, T] | None:
        found = self._found
        return found if found is not None and self._now() - found[0] < self._seconds else None


READY_SECONDS = 3
"""An answer to whether every part is there counts for so long: asking costs requests to each of them."""
READY_PATIENCE = 1.9
"""Who asks while another finds out waits for that, a little longer than the parts are given (`readiness`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
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
    readiness: SingleFlight[dict[str, str]] = field(
        default_factory=lambda: SingleFlight(READY_SECONDS, READY_PATIENCE)
    )
    cosigning: CosigningServer | None = None


def open_door(settings: ServerSettings, observer: Observer = NOTHING) -> AppContext:
    """The door on an initialised state folder. `services.close()` shuts it."""
    services = begin(settings.custody, observer)
    clock = services.custody.clock
    development = _development_issuer(settings, clock)
    issuer, keys = _issuer(settings, clock, development)
    return AppContext(
        services=services,
        verifier=TokenVerifier(issuer, keys, clock),
        issuer=issuer.issuer,
        development=development,
        stall_seconds=settings.stall_seconds,
        origin=settings.address,
        upload_origins=settings.upload_origins,
        body_seconds=settings.body_seconds,
        blob_origin=settings.blob_origin,
        cosigning=open_cosigning(settings.custody, clock),
    )


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
        raise ValueError("settings without development mode name an issuer")
    documents = HttpsDocuments(settings.issuer_authorities)
    keys = DiscoveredKeys(settings.issuer.issuer, documents, clock)
    keys.begin()
    return settings.issuer, keys
