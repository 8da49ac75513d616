"""One installation past one machine: API processes and function workers on one PostgreSQL and one Storage account.

Every process has a state folder of its own, as on a machine of its own. What the settings do not place elsewhere yet
(key files, the certificate, the rehearsal's clock) its folder holds by links into one shared folder, as a mounted
share would. All are ended with SIGKILL only: nobody says good-bye here.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

from azure.storage.blob import ContainerClient

from intake_api.identity import DevelopmentIssuer
from intake_api.serve.certificates import local_certificate
from retention.assembly import Services, assemble, initialise
from retention.clock import DevelopmentClock, SystemClock
from retention.config import Settings, from_environment
from retention.objects.azure.blob_service import connect_by_string
from tests.azurite.conftest import ACCOUNT, ACCOUNT_KEY, azurite, connection_string
from tests.functions.deployment import deploy
from tests.functions.worker.client import Worker
from tests.intake_api.serve.serving import family
from tests.servers.postgres import PostgresServer

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 6
OWN = {"serving.lock"}
"""What no two processes share."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Storage:
    """The account: where its services listen."""

    blob_port: int
    queue_port: int

    @property
    def queue_connection(self) -> str:
        endpoint = f"http://127.0.0.1:{self.queue_port}/{ACCOUNT}"
        return f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};QueueEndpoint={endpoint};"


class ApiProcess:
    """`casevault serve`, with its Blob endpoint, on addresses that it keeps over its lives."""

    def __init__(self, folder: Path, environ: dict[str, str], ca: Path) -> None:
        self.folder, self.ca = folder, ca
        self.port, self.blob_port = free_port(), free_port()
        self._environ = {
            **environ,
            "CASEVAULT_STATE": str(folder),
            "CASEVAULT_LISTEN": f"127.0.0.1:{self.port}",
            "CASEVAULT_BLOB_LISTEN": f"127.0.0.1:{self.blob_port}",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.lives = 0

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def blob_origin(self) -> str:
        return f"https://127.0.0.1:{self.blob_port}"

    def start(self) -> None:
        self.lives += 1
        with self.folder.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "intake_api.cli", "serve", "--development"],
                cwd=ROOT,
                env={**os.environ, **self._environ},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        context = ssl.create_default_context(cafile=self.ca)
        line = HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)
        try:
            line.request("GET", "/readyz")
            return line.getresponse().status == 200
        except OSError:
            return False
        finally:
            line.close()

    def ended(self) -> int | None:
        """Its exit code, once it ended."""
        return None if self._process is None else self._process.poll()

    def kill(self, *, only_child: bool = False, chance: random.Random | None = None) -> None:
        """The power goes off: all its processes at once. Or one of its children alone, which must end the rest."""
        if self._process is None:
            return
        doomed = family(self._process.pid)
        if only_child and len(doomed) > 1:
            doomed = [(chance or random.Random()).choice(doomed[1:])]
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(60)

    def log(self) -> str:
        return self.folder.with_suffix(".log").read_text(errors="replace")


class Installation:
    """All of it. `clocks`: which API processes run an embedded clock; the others leave it to the function app."""

    def __init__(
        self, folder: Path, server: PostgresServer, storage: Storage, *, apis: int, workers: int, clocks: int
    ) -> None:
        self.folder, self.storage, self.dsn = folder, storage, server.dsn("postgres")
        self.shared = folder / "shared"
        self._environ = {
            "CASEVAULT_DATABASE_URL": server.url("postgres"),
            "CASEVAULT_DATABASE_CONNECTIONS": str(CONNECTIONS),
            "CASEVAULT_BLOB_CONNECTION_STRING": connection_string(storage.blob_port),
            "CASEVAULT_DEVELOPMENT": "1",
            "CASEVAULT_STALL_SECONDS": "10",
            "CASEVAULT_STOP_SECONDS": "5",
            "CASEVAULT_THREADS": "48",
            "CASEVAULT_CALLER_SHARE": "100",  # few callers make all the load
            "CASEVAULT_TENANT_SHARE": "100",
        }
        self.settings: Settings = from_environment({**self._environ, "CASEVAULT_STATE": str(self.shared)})
        initialise(self.settings)
        self.clock = DevelopmentClock(self.settings.clock_file)
        self.clock.set(SystemClock().now())
        self.ca = self._certificate()
        DevelopmentIssuer(
            self.shared / "development-issuer-key", "https://127.0.0.1", "casevault", self.clock
        )
        self.settings.witness_folder.mkdir(exist_ok=True)
        people = f"https://127.0.0.1:{free_port()}"
        self.issuer = f"{people}/development"
        self.apis = [
            ApiProcess(
                self._state(f"api-{number}"),
                {
                    **self._environ,
                    "CASEVAULT_DEVELOPMENT_ISSUER": people,
                    "CASEVAULT_CLOCK": "embedded" if number < clocks else "functions",
                    "CASEVAULT_DATABASE_URL": _named(self._environ, f"api-{number}"),
                },
                self.ca,
            )
            for number in range(apis)
        ]
        self._app_root = deploy(folder / "wwwroot")
        self._worker_states = [self._state(f"worker-{number}") for number in range(workers)]
        self._starting = threading.Lock()

    def _certificate(self) -> Path:
        authority = local_certificate(self.shared / "tls", SystemClock().now()).authority
        assert authority is not None
        return authority

    def _state(self, name: str) -> Path:
        """A folder of its own, with links to what is shared."""
        state = self.folder / name
        state.mkdir(mode=0o700)
        for each in self.shared.iterdir():
            if each.name not in OWN:
                (state / each.name).symlink_to(each)
        return state

    @property
    def workers(self) -> int:
        return len(self._worker_states)

    def start(self) -> None:
        for api in self.apis:
            api.start()
        for api in self.apis:
            self.await_ready(api)

    def await_ready(self, api: ApiProcess, seconds: float = 120) -> None:
        give_up = time.monotonic() + seconds
        while not api.is_ready():
            if api.ended() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{api.folder.name} did not start: {api.log()[-3000:]}")
            time.sleep(0.1)

    def restart(self, api: ApiProcess) -> None:
        """Wait until its last child is gone, then start it anew."""
        give_up = time.monotonic() + 30
        while _taken(api.port) or _taken(api.blob_port):
            if time.monotonic() > give_up:
                raise RuntimeError(f"{api.folder.name} left a child behind")
            time.sleep(0.05)
        api.start()

    def new_worker(self, number: int) -> Worker:
        """A function worker, indexed. One a slot lives at a time."""
        environ = {**self._environ, "CASEVAULT_STATE": str(self._worker_states[number])}
        environ["CASEVAULT_DATABASE_URL"] = _named(self._environ, f"worker-{number}")
        worker = Worker(self._app_root, environ)
        wrong = worker.index()
        if wrong:
            raise RuntimeError(wrong)
        return worker

    def advance(self, by: timedelta) -> datetime:
        """Move the clock of all processes."""
        self.clock.set(self.clock.now() + by)
        return self.clock.now()

    @contextmanager
    def inside(self) -> Iterator[Services]:
        """Custody itself, for the judge and for sabotage."""
        services = assemble(self.settings)
        try:
            yield services
        finally:
            services.close()

    def stored(self) -> dict[str, list[str]]:
        """What the account holds, by bundle: blobs and staged blocks, and keys that are not notes of destruction."""
        found: dict[str, list[str]] = {}
        azure = self.settings.azure
        with connect_by_string(str(azure.connection_string)) as service:
            held = service.get_container_client(azure.bundle_container)
            for blob in _every(held):
                found.setdefault(blob.name.split("/")[0], []).append(f"bundle {blob.name}")
            for blob in _every(service.get_container_client(azure.data_key_container)):
                if blob.size or "destroyed" not in (blob.metadata or {}):
                    found.setdefault(blob.name.removesuffix(".key"), []).append(f"key {blob.name}")
        return found

    def stop(self) -> None:
        for api in self.apis:
            api.kill()


def _every(container: ContainerClient) -> Iterator[object]:
    return iter(container.list_blobs(include=["metadata", "uncommittedblobs", "snapshots"]))


def _named(environ: dict[str, str], process: str) -> str:
    """The database's URL by which the server knows which process a connection is of."""
    return f"{environ['CASEVAULT_DATABASE_URL']}&application_name={process}"


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def installation(
    folder: Path,
    node_modules: Path,
    *,
    apis: int = 4,
    workers: int = 4,
    clocks: int = 2,
    durable: bool = False,
) -> Iterator[Installation]:
    """A running one, on a database and an account of its own."""
    with ExitStack() as stack:
        server = PostgresServer(durable=durable, options={"max_connections": "300"})
        stack.callback(server.remove)
        ports = [stack.enter_context(azurite(node_modules, folder, kind=kind)) for kind in ("blob", "queue")]
        made = Installation(folder, server, Storage(*ports), apis=apis, workers=workers, clocks=clocks)
        stack.callback(made.stop)
        made.start()
        yield made
