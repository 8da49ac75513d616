"""Put Block by the Python SDK: to this service, and to Azurite, plain and with the SDK's own client-side encryption.

All over TLS on this machine, in turn, from memory, four blocks at a time. Here the bytes are sealed and durable when
Put Block answers; there they lie in a process's memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient
from contenders import Stable
from measure import GB, MIB, cpu_seconds, median
from table import Row
from uploads import Taken

from tests.azurite.conftest import ACCOUNT, ACCOUNT_KEY
from tests.blob.clients.driving import CustomersKey
from tests.blob.endpoint import Endpoint

SIZE, BLOCK = 256 * MIB, 8 * MIB
OPTIONS: dict[str, Any] = {"max_block_size": BLOCK, "max_single_put_size": MIB}
OURS, PLAIN, ENCRYPTED = "casevault", "azurite", "azurite, client-side encryption"


def put_blocks(stable: Stable, file: Path, rounds: int) -> list[Row]:
    """The rows; a blob that was sent to Azurite is deleted, so that its memory is not what is measured."""
    with file.open("rb") as source:
        content = source.read(SIZE)
    azurite, endpoint = stable.azurite(), Endpoint(stable.folder / "blob")
    try:
        account = f"https://127.0.0.1:{azurite.port}/{ACCOUNT}"
        there = BlobServiceClient(
            account, credential=ACCOUNT_KEY, connection_verify=str(azurite.authority), **OPTIONS
        )
        theirs = there.create_container("bench")
        ours = ContainerClient.from_container_url(
            endpoint.link()["url"], connection_verify=endpoint.authority, **OPTIONS
        )
        ways = {
            OURS: (ours, endpoint.pid, False),
            PLAIN: (theirs, azurite.process.pid, False),
            ENCRYPTED: (theirs, azurite.process.pid, True),
        }
        taken = {name: Taken() for name in ways}
        for turn in range(rounds + 1):
            for name, (container, pid, encrypt) in ways.items():
                blob = container.get_blob_client(f"{turn}")
                _timed(_sending(blob, content, encrypt=encrypt), pid, taken[name] if turn else Taken())
                if container is theirs:
                    blob.delete_blob()
    finally:
        endpoint.close()
    return _rows(taken, len(content))


def _sending(blob: BlobClient, content: bytes, *, encrypt: bool) -> Callable[[], object]:
    if encrypt:
        blob.require_encryption, blob.key_encryption_key = True, CustomersKey()
        blob.encryption_version = "2.0"
    return lambda: blob.upload_blob(content, max_concurrency=4)


def _timed(send: Callable[[], object], pid: int, into: Taken) -> None:
    before, begun = cpu_seconds(pid), time.perf_counter()
    send()
    into.wall.append(time.perf_counter() - begun)
    into.cpu.append(cpu_seconds(pid) - before)


def _rows(taken: dict[str, Taken], size: int) -> list[Row]:
    wall = {name: median(each.wall) for name, each in taken.items()}
    told = {name: f"server CPU {median(each.cpu) / (size / GB):.2f} s/GB" for name, each in taken.items()}
    rate = {name: each.rate(size) for name, each in taken.items()}
    return [
        Row(
            "Put Block by the Python SDK", rate[OURS], "MB/s", note=f"8 MiB blocks, 4 at a time; {told[OURS]}"
        ),
        Row("the same to Azurite, in memory", rate[PLAIN], "MB/s", note=told[PLAIN]),
        Row("the same, encrypted by the SDK (v2)", rate[ENCRYPTED], "MB/s", note=told[ENCRYPTED]),
        Row("Put Block against Azurite, wall", wall[PLAIN] / wall[OURS], "x", 1, 1),
        Row(
            "Put Block against Azurite with the SDK's encryption, wall",
            wall[ENCRYPTED] / wall[OURS],
            "x",
            1,
            1,
        ),
    ]
