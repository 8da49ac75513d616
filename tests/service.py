"""A whole service on a folder of its own: real records, stores and keys, a clock that can be moved, one person a role.

`call` goes through the HTTP door without a network; `tick` does what the clock process does between calls.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from werkzeug.test import EnvironBuilder, TestResponse

from audit.times import rfc3339
from intake_api.api.app import create_app
from intake_api.api.context import AppContext
from intake_api.identity import DevelopmentIssuer, TokenVerifier
from intake_api.logs import RequestLog, note_routes
from intake_api.portal import portal_pages
from retention.assembly import assemble, initialise
from retention.clock import DevelopmentClock
from retention.config import Settings
from retention.custody import receipts
from retention.custody.context import Limits
from retention.domain.actor import Role
from retention.jobs.sweep import SweepReport, sweep
from retention.telemetry.observer import NOTHING, Observer
from tests.servers.schema import copied_schema

DIRECTORY, OTHER_DIRECTORY = "directory-one", "directory-two"
CASE, OTHER_CASE = "260101000000001", "260101000000002"
OFFSET_BYTES = "application/offset+octet-stream"
LOGS_START = datetime(2026, 11, 19, 8, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody, or some machine, as the issuer knows them."""

    subject: str
    roles: tuple[Role, ...]
    directory: str | None = None
    partner: str | None = None

    def with_roles(self, *roles: Role) -> Persona:
        return replace(self, roles=roles)


ADMINISTRATOR = Persona("administrator", (Role.ADMINISTRATOR,))
OPERATOR = Persona("operator", (Role.OPERATOR,), DIRECTORY)
OTHER_OPERATOR = Persona("other-operator", (Role.OPERATOR,), OTHER_DIRECTORY)
STAMP = Persona("stamp", (Role.STAMP,), DIRECTORY)
OTHER_STAMP = Persona("other-stamp", (Role.STAMP,), OTHER_DIRECTORY)
CASE_SYSTEM = Persona("case-system", (Role.CASE_SYSTEM,))
ENGINEER = Persona("engineer", (Role.SUPPORT_ENGINEER,))
COLLEAGUE = Persona("colleague", (Role.SUPPORT_ENGINEER,))
PARTNER = Persona("partner-engineer", (Role.PARTNER_ENGINEER,), partner="contoso")
AUDITOR = Persona("auditor", (Role.AUDITOR,))


class Service:
    """An empty service; `settings` may name other parts than the embedded ones. `close` it."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        stall_seconds: float = 5,
        now: datetime | None = None,
        blob_origin: str | None = "https://blobs.example",
        origin: str | None = None,
        upload_origins: frozenset[str] = frozenset(),
        settings: Settings | None = None,
        observer: Observer = NOTHING,
    ) -> None:
        self.settings = settings or Settings(
            state=folder / "state", development=True, limits=limits or Limits()
        )
        with copied_schema():
            initialise(self.settings)
        self.services = assemble(self.settings, observer)
        self.custody = self.services.custody
        self.clock: DevelopmentClock = self.custody.clock  # type: ignore[assignment]  # development=True
        if now is not None:
            self.clock.set(now)
        self.issuer = DevelopmentIssuer(
            folder / "issuer.pem", "http://127.0.0.1:8443/development", "casevault", self.clock
        )
        self.door = AppContext(
            services=self.services,
            verifier=TokenVerifier(self.issuer.settings(), self.issuer.key_source(), self.clock),
            issuer=self.issuer.issuer,
            development=self.issuer,
            stall_seconds=stall_seconds,
            blob_origin=blob_origin,
            origin=origin,
            upload_origins=upload_origins,
        )
        self.app = create_app(self.door, portal_pages(self.door))
        note_routes(self.app)
        self.app.wsgi_app = RequestLog(self.app.wsgi_app, observer)  # type: ignore[method-assign]
        self._client = self.app.test_client()

    def close(self) -> None:
        self.services.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bearer(self, who: Persona) -> dict[str, str]:
        """The header that lets `who` in."""
        token = self.issuer.token(who.subject, who.roles, directory=who.directory, partner=who.partner)
        return {"Authorization": f"Bearer {token}"}

    def call(
        self,
        method: str,
        path: str,
        who: Persona | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> TestResponse:
        """One request, read to its end; `json=`, `data=`, `query_string=` as werkzeug's test client takes them."""
        sent = {**(self.bearer(who) if who else {}), **(headers or {})}
        return self._client.open(path, method=method, headers=sent, **{"buffered": True, **body})

    def unread(self, method: str, path: str, who: Persona) -> Any:
        """The body of an answer as a server gets it, before it asked for anything of it; to be closed."""
        environ = EnvironBuilder(path, method=method, headers=self.bearer(who)).get_environ()
        return self.app(environ, lambda *_: lambda _: None)

    def tick(self) -> SweepReport:
        """What the clock process does: sequence, sweep, and sequence what the sweep logged."""
        self.services.sequencer.run_once()
        report = sweep(self.custody)
        self.services.sequencer.run_once()
        receipts.sign_waiting(self.custody.records, self.services.receipt_signer)
        return report

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.clock.set(self.clock.now() + by)

    def set_up(self) -> None:
        """Two customers, each with a stamp and an open case; the engineer is assigned to the first case."""
        for directory, operator, stamp, number in (
            (DIRECTORY, OPERATOR, STAMP, CASE),
            (OTHER_DIRECTORY, OTHER_OPERATOR, OTHER_STAMP, OTHER_CASE),
        ):
            self.done("POST", "/tenants", ADMINISTRATOR, json={"name": directory, "directory": directory})
            body = {"name": stamp.subject, "subject": stamp.subject, "proactive": True}
            self.done("POST", "/stamps", operator, json=body)
            self.done("POST", "/cases", CASE_SYSTEM, json={"number": number, "directory": directory})
        self.assign(ENGINEER)

    def done(self, method: str, path: str, who: Persona | None = None, **call: Any) -> Any:
        """The JSON answer of a call that must succeed."""
        response = self.call(method, path, who, **call)
        assert response.status_code < 300, response.get_data(as_text=True)
        return response.get_json(silent=True)

    def assign(self, who: Persona, number: str = CASE) -> None:
        """Assign an engineer to a case."""
        self.done("POST", f"/cases/{number}/assignments", CASE_SYSTEM, json={"subject": who.subject})

    def send(self, data: bytes = b"log " * 64, who: Persona = STAMP, **declared: str) -> str:
        """Send a bundle by tus, in one request; its id. It is complete after the next `tick`."""
        headers = {**tus(len(data), collection(**declared)), "Content-Type": OFFSET_BYTES}
        response = self.call("POST", "/uploads", who, headers=headers, data=data)
        assert response.status_code == 201, response.get_data(as_text=True)
        return response.headers["Location"].rsplit("/", 1)[1]

    def complete(self, data: bytes = b"log " * 64, **declared: str) -> str:
        """A bundle that is complete; its id."""
        bundle = self.send(data, **declared)
        self.tick()
        return bundle

    def grant(self, who: Persona = ENGINEER, number: str = CASE, minutes: int = 60) -> str:
        """A live grant of `who`; its id."""
        body = {"reason": "looking into the failed update", "duration_minutes": minutes}
        return str(self.done("POST", f"/cases/{number}/grants", who, json=body)["id"])

    def entries(self, **conditions: str) -> list[dict[str, Any]]:
        """The newest entries that fit, as an auditor sees them."""
        query = {"limit": "200", **conditions}
        answer = self.done("GET", "/audit/entries", AUDITOR, query_string=query)
        return list(answer["items"])


def collection(**changes: str) -> dict[str, str]:
    """What a stamp declares of an on-demand collection for the case; a change to "" leaves a field out."""
    declared = {
        "filename": "AzureStackLogs.zip",
        "type": "on-demand",
        "logs_start": rfc3339(LOGS_START),
        "logs_end": rfc3339(LOGS_START + timedelta(hours=2)),
        "time_collected": rfc3339(LOGS_START + timedelta(hours=3)),
        "roles": "Compute,Storage",
        "case": CASE,
    }
    return {name: value for name, value in {**declared, **changes}.items() if value}


def proactive(**changes: str) -> dict[str, str]:
    """The changes that make it a proactive collection without a case."""
    return {"type": "proactive", "trigger": "Urp.UpdateFailure", "case": "", **changes}


def tus(length: int, declared: Mapping[str, str]) -> dict[str, str]:
    """The headers that announce an upload."""
    return {"Tus-Resumable": "1.0.0", "Upload-Length": str(length), "Upload-Metadata": pack(declared.items())}


def pack(pairs: Iterable[tuple[str, str]]) -> str:
    """Upload-Metadata, written by somebody else than the service's own code."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs)
