"""Starts Azurite, the emulator of Azure Storage, once for the run, and gives each test containers of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from audit.tlog.tile_store_azure import AzureTileStore
from retention.objects.azure.blob_service import Patience, connect_by_string
from retention.objects.azure.key_store import AzureBlobKeyStore
from retention.objects.azure.part_store import AzureBlobObjectStore
from tests.azurite.proxy import CuttingProxy
from tests.azurite.scripted import Scripted
from tests.servers.installing import npm_packages

HERE = Path(__file__).parent
ACCOUNT = "devstoreaccount1"
# The emulator's own key, the same in every copy of it and printed in its documentation: no secret.
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def connection_string(port: int) -> str:
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={endpoint};"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    return npm_packages(HERE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def azurite(node_modules: Path, folder: Path, *options: str | Path, kind: str = "blob") -> Iterator[int]:
    """A running Azurite, its blob or its queue service; its port."""
    port = _free_port()
    command = ["node", node_modules / f"azurite/dist/src/{kind}/main.js", f"--{kind}Host", "127.0.0.1"]
    always = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with (
        (folder / f"{kind}-output").open("w") as output,
        subprocess.Popen(
            [*command, f"--{kind}Port", str(port), *always, *options],
            cwd=folder,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            _await_port(process, port)
            yield port
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def azurite_port(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with azurite(node_modules, tmp_path_factory.mktemp("azurite")) as port:
        yield port


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        assert process.poll() is None, "Azurite ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("Azurite does not answer")


@pytest.fixture
def service(azurite_port: int) -> Iterator[BlobServiceClient]:
    with connect_by_string(connection_string(azurite_port)) as service:
        yield service


@pytest.fixture
def container(service: BlobServiceClient) -> Iterator[str]:
    name = f"test-{os.urandom(8).hex()}"
    service.create_container(name)
    yield name
    service.delete_container(name)


@pytest.fixture
def store(service: BlobServiceClient, container: str) -> AzureBlobObjectStore:
    return AzureBlobObjectStore(service, container)


@pytest.fixture
def keys(service: BlobServiceClient, container: str) -> AzureBlobKeyStore:
    return AzureBlobKeyStore(service, container)


@pytest.fixture
def tiles(service: BlobServiceClient, container: str) -> AzureTileStore:
    return AzureTileStore(service.get_container_client(container))


@pytest.fixture
def waits() -> list[float]:
    """The pauses that were made before trying again, in seconds."""
    return []


@pytest.fixture
def proxy(azurite_port: int) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(azurite_port)
    yield proxy
    proxy.close()


@pytest.fixture
def scripted(azurite_port: int) -> Iterator[Scripted]:
    scripted = Scripted(azurite_port)
    yield scripted
    scripted.close()


@pytest.fixture
def by_proxy(proxy: CuttingProxy, waits: list[float]) -> Iterator[BlobServiceClient]:
    with connect_by_string(connection_string(proxy.port), Patience(waits.append)) as service:
        yield service


@pytest.fixture
def by_script(scripted: Scripted, waits: list[float]) -> Iterator[BlobServiceClient]:
    with connect_by_string(connection_string(scripted.port), Patience(waits.append)) as service:
        yield service
