"""Put Block by the Python SDK: to this service, and to Azurite directly, plain and with its own client-side encryption.

    python -m tests.bench.blob --azurite tests/azurite/node_modules/azurite [--mib 256] [--rounds 5] [--block 8]

Both over TLS with the same certificate, on this machine, rounds interleaved; the bundle is read from memory. Here the
bytes are sealed and durable when Put Block answers; there they lie in a process's memory.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobServiceClient, ContainerClient

from tests.blob.clients.driving import CustomersKey
from tests.blob.endpoint import Endpoint, free_port

MIB = 1 << 20
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's well-known development key."""
NAMES = ("casevault", "azurite", "azurite, client-side encryption")


@contextmanager
def azurite(module: Path, endpoint: Endpoint) -> Iterator[str]:
    """Azurite's blob service, in memory, over TLS; its account's address."""
    port = free_port()
    server = endpoint.folder / "tls" / "server.pem"
    command = [
        "node",
        str(module / "dist/src/blob/main.js"),
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        str(port),
    ]
    quiet = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with subprocess.Popen([*command, *quiet, "--cert", str(server), "--key", str(server)]) as process:
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"https://127.0.0.1:{port}/devstoreaccount1"
        finally:
            process.terminate()


def sender(container: ContainerClient, content: bytes, *, encrypt: bool = False) -> Callable[[str], float]:
    """Sends `content` under a name; the seconds that it took."""

    def send(name: str) -> float:
        blob = container.get_blob_client(name)
        if encrypt:
            blob.require_encryption, blob.key_encryption_key = True, CustomersKey()
            blob.encryption_version = "2.0"
        begun = time.perf_counter()
        blob.upload_blob(content, max_concurrency=4)
        return time.perf_counter() - begun

    return send


def main() -> None:
    parser = argparse.ArgumentParser(description="Put Block: this service against Azurite")
    parser.add_argument("--azurite", type=Path, required=True, help="folder of the npm module")
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=8, help="MiB a block")
    asked = parser.parse_args()
    content = os.urandom(asked.mib * MIB)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        endpoint = Endpoint(Path(folder))
        options: dict[str, Any] = {
            "connection_verify": endpoint.authority,
            "max_block_size": asked.block * MIB,
            "max_single_put_size": MIB,
        }
        with azurite(asked.azurite, endpoint) as account:
            theirs = BlobServiceClient(account, credential=AZURITE_KEY, **options).create_container("bench")
            ours = ContainerClient.from_container_url(endpoint.link()["url"], **options)
            ways = (sender(ours, content), sender(theirs, content), sender(theirs, content, encrypt=True))
            taken: dict[str, list[float]] = {name: [] for name in NAMES}
            for number in range(asked.rounds + 1):
                for name, send in zip(NAMES, ways, strict=True):
                    seconds = send(f"{name[:4]}{len(name)}-{number}")
                    taken[name] += [seconds] if number else []  # the first round warms up
        endpoint.close()
    for name, seconds in taken.items():
        print(f"{name:34} {len(content) / 1e6 / statistics.median(seconds):8.0f} MB/s")


if __name__ == "__main__":
    main()
