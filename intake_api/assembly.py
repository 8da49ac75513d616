"""The only module of this package that names concrete adapters: settings in, an open door out."""

from __future__ import annotations

from intake_api.door import Door
from intake_api.identity import (
    DevelopmentIssuer,
    DiscoveredKeys,
    HttpsDocuments,
    IssuerSettings,
    KeySource,
    TokenVerifier,
)
from intake_api.settings import AUDIENCE, ServerSettings
from retention.assembly import begin, open_cosigning
from retention.clock import Clock
from retention.observing.observer import NOTHING, Observer


def open_door(settings: ServerSettings, observer: Observer = NOTHING) -> Door:
    """The door on an initialised state folder. `services.close()` shuts it."""
    services = begin(settings.custody, observer)
    clock = services.custody.clock
    development = _development_issuer(settings, clock)
    issuer, keys = _issuer(settings, clock, development)
    return Door(
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
