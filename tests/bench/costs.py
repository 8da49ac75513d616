"""What one act costs: counted while it is done once, through the HTTP door without a network.

    python -m tests.bench.costs

On a private PostgreSQL, Azurite and a key vault of our own (RSA-2048), all on this machine:
- commits: transactions that wrote, by the server's own counter of transaction ids; each waits for its flush;
- statements' transactions in all, reads too, as the server's statistics count them;
- leaves: audit entries;
- Key Vault operations, as the vault saw them, without the look whether the key can be used, which is two in ten seconds
  of a process, whatever it does; storage requests, as the client's own log counts them.
Counts do not depend on the machine. Times do, and Azurite's are not Azure's: only processor time of this process is
told, of the read-back.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import azure.identity
import psycopg
from sqlalchemy import func, select

from audit.log.tables import audit_entries
from retention.config import Settings
from retention.config_azure import AzureSettings
from retention.jobs.sweep import SweepReport, erase_pending, verify_received
from tests.azurite.conftest import azurite, connection_string
from tests.keyvault.vault import DOMAIN, Credential, Vault, make_certificate, serve
from tests.servers.postgres import PostgresServer
from tests.service import CASE, ENGINEER, OFFSET_BYTES, OPERATOR, STAMP, Service, collection, tus

NODE_MODULES = Path(__file__).resolve().parents[1] / "azurite" / "node_modules"
MIB = 1 << 20
PART = 64 * MIB
HTTP_LOG = "azure.core.pipeline.policies.http_logging_policy"


@dataclass(frozen=True, slots=True)
class Cost:
    """What was counted during one act."""

    commits: int
    transactions: int
    leaves: int
    vault: int
    storage: int


class Requests(logging.Handler):
    """Counts the requests that the storage client sends."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "Request URL" in record.getMessage()


class Meter:
    """Counts before and after."""

    def __init__(self, service: Service, server: PostgresServer, vault: Vault) -> None:
        self._service, self._vault = service, vault
        self._looking = psycopg.connect(server.dsn("postgres"), autocommit=True)
        self._requests = Requests()
        self._http = logging.getLogger(HTTP_LOG)
        self._http.addHandler(self._requests)
        self._http.propagate = False

    def cost(self, act: Callable[[], object]) -> Cost:
        before = self._counts()
        self._http.setLevel(logging.INFO)
        act()
        self._http.setLevel(logging.WARNING)  # writing its lines costs more than reading a bundle
        return Cost(*(after - then for after, then in zip(self._counts(), before, strict=True)))

    def _counts(self) -> tuple[int, ...]:
        with self._service.custody.records.read() as reads:
            leaves = reads.execute(select(func.count()).select_from(audit_entries)).scalar_one()
        vault, storage = len(self._vault.requests), self._requests.count
        # Connections that are closed have told the statistics what they did; what the looking itself does is the same
        # before and after, apart from its own transactions, which are taken off below.
        self._service.custody.records.engine.dispose()
        time.sleep(0.2)
        (written,) = self._one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        (done,) = self._one("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")
        return written, done, leaves, vault, storage

    def _one(self, statement: str) -> tuple[int, ...]:
        row = self._looking.execute(statement.encode()).fetchone()
        assert row is not None
        return row


def measure(service: Service, meter: Meter) -> dict[str, Any]:
    """The table, by act."""
    sent: list[str] = []

    def send(parts: int) -> Callable[[], object]:
        return lambda: sent.append(_send(service, os.urandom(parts * PART)))

    def read_back() -> None:
        verify_received(service.custody, SweepReport(), limit=1)

    def read(offset: int) -> None:
        headers = {"Range": f"bytes={offset}-{offset + MIB - 1}"}
        answer = service.call("GET", f"/bundles/{sent[1]}/content", ENGINEER, headers=headers)
        assert answer.status_code == 206, answer.get_data(as_text=True)

    def erase() -> None:
        service.done("POST", f"/bundles/{sent[0]}/erasures", OPERATOR, json={})
        assert erase_pending(service.custody, SweepReport(), 1) == 1

    service.custody.key_check._now = lambda: 0.0  # it was usable once, and that counts for the whole run
    send(1)(), read_back()  # the first of everything: people become known, connections are made
    sent.clear()
    nothing = meter.cost(lambda: None)
    costs = {"upload, 1 part": meter.cost(send(1))}
    read_back()  # so that never more than one waits: which is read back is left to chance
    costs["upload, 3 parts"] = meter.cost(send(3))
    costs["read-back, 3 parts"] = meter.cost(read_back)
    send(3)()
    cpu = time.process_time()
    read_back()
    cpu = time.process_time() - cpu
    service.services.sequencer.run_once()
    costs["grant"] = meter.cost(service.grant)
    read(0)
    costs["read of 1 MiB"] = meter.cost(lambda: read(5 * MIB))
    costs["erasure, 1 part"] = meter.cost(erase)
    costs["sequencing run"] = meter.cost(service.services.sequencer.run_once)
    return {
        "read-back, processor seconds a GB": round(cpu / (3 * PART / 1e9), 2),
        **{name: _less(cost, nothing) for name, cost in costs.items()},
    }


def _less(cost: Cost, nothing: Cost) -> dict[str, int]:
    """Without what looking costs."""
    return {name: value - asdict(nothing)[name] for name, value in asdict(cost).items()}


def _send(service: Service, data: bytes) -> str:
    headers = {**tus(len(data), collection()), "Content-Type": OFFSET_BYTES}
    made = service.call("POST", "/uploads", STAMP, headers=tus(len(data), collection()))
    location = made.headers["Location"]
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": OFFSET_BYTES}
    answer = service.call("PATCH", location, STAMP, headers=headers, data=data)
    assert answer.status_code == 204, answer.get_data(as_text=True)
    return location.rsplit("/", 1)[1]


@contextmanager
def installed(folder: Path) -> Iterator[tuple[Service, Meter]]:
    """The whole service in this process, on a database, an account and a vault of its own."""
    certificate, vault = folder / "vault.pem", Vault("RSA")
    make_certificate(certificate)
    os.environ["REQUESTS_CA_BUNDLE"] = str(certificate)
    look_up = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *more, **named: look_up(  # type: ignore[assignment]
        "127.0.0.1" if str(host).endswith(f".{DOMAIN}") else host, *more, **named
    )
    os.environ["NO_PROXY"] = f".{DOMAIN},127.0.0.1"
    server = PostgresServer(durable=True)
    vault_server = serve(vault, certificate)
    vault.rotate("casevault")
    azure.identity.DefaultAzureCredential = lambda: Credential(vault)  # type: ignore[assignment,misc]
    with azurite(NODE_MODULES, folder) as port:
        parts = AzureSettings(connection_string=connection_string(port), key_url=vault.key_url("casevault"))
        settings = Settings(
            state=folder / "state", development=True, database_url=server.url("postgres"), azure=parts
        )
        service = Service(folder, settings=settings)
        try:
            service.set_up()
            yield service, Meter(service, server, vault)
        finally:
            service.close()
            vault_server.shutdown()
            server.remove()


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="casevault-costs-") as name,
        installed(Path(name)) as (service, meter),
    ):
        assert service.done("GET", f"/cases/{CASE}", ENGINEER)
        print(json.dumps(measure(service, meter), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
