"""One face for all Azure clients, so that a behaviour is asked of each in the same words.

Every method does what a customer's own script or command line would do. What the service refuses is `Refused`, with its
code, or what the client shows of its answer.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, LinearRetry
from azure.storage.blob.aio import ContainerClient as AsyncContainerClient
from azure.storage.blob.aio import LinearRetry as AsyncLinearRetry
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from tests.blob.clients import tools

MIB = 1 << 20
SMALL = {"max_single_put_size": 2 * MIB, "max_block_size": MIB, "min_large_block_upload_threshold": MIB + 1}


class Refused(Exception):
    """The service said no; the text is the code, or what the client shows."""


class CustomersKey:
    """A key that never leaves its customer."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def wrap_key(self, key: bytes, algorithm: str = "A256KW") -> bytes:
        return aes_key_wrap(self._key, key.ljust(-(-len(key) // 8) * 8, b"\0"))

    def unwrap_key(self, key: bytes, _algorithm: str) -> bytes:
        return aes_key_unwrap(self._key, key)

    def get_key_wrap_algorithm(self) -> str:
        return "A256KW"

    def get_kid(self) -> str:
        return "customers-key"


class Driver(Protocol):
    """What is asked of a client; one that lacks a thing is not asked for it (see the table)."""

    def __init__(self, authority: str, folder: Path) -> None: ...

    def send(self, url: str, name: str, content: bytes, **how: Any) -> None: ...

    def names(self, url: str) -> list[str]: ...

    def read(self, url: str, name: str) -> None: ...


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        answer: Any = error.response
        raise Refused(answer.headers["x-ms-error-code"]) from error


def pieces_of(content: bytes) -> dict[str, bytes]:
    return {f"{number:05}": content[at : at + MIB] for number, at in enumerate(range(0, len(content), MIB))}


def _options(
    authority: str, how: dict[str, Any], retry: type[LinearRetry | AsyncLinearRetry]
) -> dict[str, Any]:
    tries = retry(backoff=0.05, retry_total=how.get("tries", 0))
    return {"connection_verify": authority, "retry_policy": tries, **(SMALL if how.get("blocks") else {})}


def _upload(how: dict[str, Any]) -> dict[str, Any]:
    return {
        "overwrite": how.get("overwrite", False),
        "metadata": how.get("metadata"),
        "validate_content": how.get("check", False),
        "max_concurrency": 4,
    }


class PythonSdk:
    def __init__(self, authority: str, folder: Path) -> None:
        self._authority = authority

    def _blob(self, url: str, name: str, **how: Any) -> BlobClient:
        options = _options(self._authority, how, LinearRetry)
        blob = ContainerClient.from_container_url(url, **options).get_blob_client(name)
        if how.get("encrypt"):
            blob.require_encryption, blob.key_encryption_key = True, CustomersKey()
            blob.encryption_version = "2.0"
        return blob

    def send(self, url: str, name: str, content: bytes, **how: Any) -> None:
        with _telling(), self._blob(url, name, **how) as blob:
            blob.upload_blob(content, **_upload(how))

    def structured(self, url: str, name: str, content: bytes) -> str:
        sent = []
        with self._blob(url, name) as blob:
            blob.stage_block(
                "0",
                io.BytesIO(content),
                length=len(content),
                validate_content="crc64",
                raw_request_hook=lambda request: sent.append(request.http_request.headers),
            )
            blob.commit_block_list([BlobBlock("0")])
        return str(sent[0].get("x-ms-structured-body"))

    def stage_some(self, url: str, name: str, content: bytes) -> None:
        pieces = pieces_of(content)
        with self._blob(url, name) as blob:
            for number in list(pieces)[::2]:
                blob.stage_block(number, pieces[number])

    def go_on(self, url: str, name: str, content: bytes) -> tuple[int, int]:
        """What was held, and how many blocks it has at the end."""
        pieces = pieces_of(content)
        with _telling(), self._blob(url, name) as blob:
            held = {block.id for block in blob.get_block_list("uncommitted")[1]}
            for number in pieces.keys() - held:
                blob.stage_block(number, pieces[number])
            blob.commit_block_list([BlobBlock(number) for number in pieces])
            return len(held), len(blob.get_block_list("all")[0])

    def names(self, url: str) -> list[str]:
        with ContainerClient.from_container_url(url, connection_verify=self._authority) as container:
            pages = container.list_blobs(results_per_page=2).by_page()
            return [blob.name for page in pages for blob in page]

    def folders(self, url: str) -> list[str]:
        with ContainerClient.from_container_url(url, connection_verify=self._authority) as container:
            return [found.name for found in container.walk_blobs(delimiter="/")]

    def read(self, url: str, name: str) -> None:
        with _telling(), self._blob(url, name) as blob:
            blob.download_blob()

    def give_up(self, url: str, name: str) -> None:
        with self._blob(url, name) as blob:
            blob.stage_block("0", b"given up")
            blob.delete_blob()


class AsyncPythonSdk:
    def __init__(self, authority: str, folder: Path) -> None:
        self._authority = authority

    def _container(self, url: str, **how: Any) -> AsyncContainerClient:
        return AsyncContainerClient.from_container_url(
            url, **_options(self._authority, how, AsyncLinearRetry)
        )

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        with _telling():
            return asyncio.run(work)

    def send(self, url: str, name: str, content: bytes, **how: Any) -> None:
        async def work() -> None:
            async with self._container(url, **how) as container:
                blob = container.get_blob_client(name)
                if how.get("encrypt"):
                    blob.require_encryption, blob.key_encryption_key = True, CustomersKey()
                    blob.encryption_version = "2.0"
                await blob.upload_blob(content, **_upload(how))

        self._run(work())

    def structured(self, url: str, name: str, content: bytes) -> str:
        sent: list[Any] = []

        async def work() -> None:
            async with self._container(url) as container:
                blob = container.get_blob_client(name)
                await blob.stage_block(
                    "0",
                    io.BytesIO(content),
                    length=len(content),
                    validate_content="crc64",
                    raw_request_hook=lambda request: sent.append(request.http_request.headers),
                )
                await blob.commit_block_list([BlobBlock("0")])

        self._run(work())
        return str(sent[0].get("x-ms-structured-body"))

    def stage_some(self, url: str, name: str, content: bytes) -> None:
        pieces = pieces_of(content)

        async def work() -> None:
            async with self._container(url) as container:
                blob = container.get_blob_client(name)
                await asyncio.gather(*(blob.stage_block(n, pieces[n]) for n in list(pieces)[::2]))

        self._run(work())

    def go_on(self, url: str, name: str, content: bytes) -> tuple[int, int]:
        pieces = pieces_of(content)

        async def work() -> tuple[int, int]:
            async with self._container(url) as container:
                blob = container.get_blob_client(name)
                held = {block.id for block in (await blob.get_block_list("uncommitted"))[1]}
                await asyncio.gather(*(blob.stage_block(n, pieces[n]) for n in pieces.keys() - held))
                await blob.commit_block_list([BlobBlock(n) for n in pieces])
                return len(held), len((await blob.get_block_list("all"))[0])

        told: tuple[int, int] = self._run(work())
        return told

    def names(self, url: str) -> list[str]:
        async def work() -> list[str]:
            async with self._container(url) as container:
                return [found.name async for found in container.list_blobs(results_per_page=2)]

        return list(self._run(work()))

    def folders(self, url: str) -> list[str]:
        async def work() -> list[str]:
            async with self._container(url) as container:
                return [found.name async for found in container.walk_blobs(delimiter="/")]

        return list(self._run(work()))

    def read(self, url: str, name: str) -> None:
        async def work() -> None:
            async with self._container(url) as container:
                await container.get_blob_client(name).download_blob()

        self._run(work())

    def give_up(self, url: str, name: str) -> None:
        async def work() -> None:
            async with self._container(url) as container:
                blob = container.get_blob_client(name)
                await blob.stage_block("0", b"given up")
                await blob.delete_blob()

        self._run(work())


class NodeSdk:
    def __init__(self, authority: str, folder: Path) -> None:
        self._authority, self._file = authority, folder / "content"

    def _do(self, action: str, url: str, name: str = "", **task: Any) -> dict[str, Any]:
        told = tools.node(self._authority, action=action, url=url, name=name, file=str(self._file), **task)
        if "refused" in told:
            raise Refused(told["refused"])
        return told

    def send(self, url: str, name: str, content: bytes, **how: Any) -> None:
        self._file.write_bytes(content)
        assert self._do("send", url, name, **how)["length"] == len(content)

    def structured(self, url: str, name: str, content: bytes) -> str:
        self._file.write_bytes(content)
        return str(self._do("structured", url, name)["sent"])

    def stage_some(self, url: str, name: str, content: bytes) -> None:
        self._file.write_bytes(content)
        self._do("stage_some", url, name)

    def go_on(self, url: str, name: str, content: bytes) -> tuple[int, int]:
        self._file.write_bytes(content)
        told = self._do("go_on", url, name)
        return told["held"], told["committed"]

    def names(self, url: str) -> list[str]:
        return list(self._do("names", url)["names"])

    def folders(self, url: str) -> list[str]:
        return list(self._do("folders", url)["names"])

    def read(self, url: str, name: str) -> None:
        self._do("read", url, name)

    def give_up(self, url: str, name: str) -> None:
        self._do("give_up", url, name)


def blob_url(url: str, name: str) -> str:
    base, sas = url.split("?")
    return f"{base}/{name}?{sas}"


class AzCopy:
    def __init__(self, authority: str, folder: Path) -> None:
        self._authority, self.folder = authority, folder

    def _do(self, *arguments: str) -> str:
        done = tools.azcopy(self._authority, self.folder, *arguments)
        if done.returncode != 0 or "Transfers Skipped: 1" in done.stdout:
            logs = "".join(path.read_text() for path in (self.folder / "log").rglob("*.log"))
            raise Refused(done.stdout + done.stderr + logs)
        return done.stdout

    def send(self, url: str, name: str, content: bytes, **how: Any) -> None:
        file = self.folder / "content"
        file.write_bytes(content)
        options = [f"--overwrite={str(how.get('overwrite', False)).lower()}", "--from-to=LocalBlob"]
        options += ["--block-size-mb=1", "--put-blob-size-mb=1"] if how.get("blocks") else []
        options += [f"--metadata={k}={v}" for k, v in (how.get("metadata") or {}).items()]
        self._do("copy", str(file), blob_url(url, name), *options)

    def send_folder(self, url: str, folder: Path) -> None:
        self._do("copy", str(folder), url, "--from-to=LocalBlob", "--recursive", "--put-md5")

    def names(self, url: str) -> list[str]:
        lines = self._do("list", url, "--location=Blob", "--machine-readable").splitlines()
        return [line.split(";")[0].removeprefix("INFO: ") for line in lines if "Content Length" in line]

    def read(self, url: str, name: str) -> None:
        self._do("copy", blob_url(url, name), str(self.folder / "got"), "--from-to=BlobLocal")


_AZ_SAYS = {
    "Authentication failure": "AuthenticationFailed",
    "do not have the required permissions": "AuthorizationPermissionMismatch",
}
"""Where it says something of its own instead of the service's code: what it says, and of which code."""


class AzCli:
    def __init__(self, authority: str, folder: Path) -> None:
        self._authority, self._folder = authority, folder

    def _do(self, command: str, *arguments: str) -> str:
        done = tools.az(self._authority, "storage", "blob", command, *arguments)
        if done.returncode != 0:
            meant = [code for words, code in _AZ_SAYS.items() if words in done.stderr]
            raise Refused(" ".join([*meant, done.stdout, done.stderr]))
        return done.stdout

    def _container(self, url: str) -> list[str]:
        base, sas = url.split("?")
        account, container = base.rsplit("/", 1)
        return [
            "--blob-endpoint",
            account,
            "--account-name",
            "casevault",
            "-c",
            container,
            "--sas-token",
            sas,
        ]

    def send(self, url: str, name: str, content: bytes, **how: Any) -> None:
        file = self._folder / "content"
        file.write_bytes(content)
        options = ["--overwrite"] if how.get("overwrite") else []
        options += ["--validate-content"] if how.get("check") else []
        for key, value in (how.get("metadata") or {}).items():
            options += ["--metadata", f"{key}={value}"]
        self._do("upload", "-f", str(file), "--blob-url", blob_url(url, name), "--no-progress", *options)

    def send_folder(self, url: str, folder: Path) -> None:
        *others, _c, container, _s, sas = self._container(url)
        destination = ["-d", container, "--destination-path", folder.name, "--sas-token", sas]
        self._do("upload-batch", "-s", str(folder), *others, *destination, "--no-progress")

    def names(self, url: str) -> list[str]:
        return self._list(url)

    def folders(self, url: str) -> list[str]:
        return self._list(url, "--delimiter", "/")

    def _list(self, url: str, *more: str) -> list[str]:
        return [found["name"] for found in json.loads(self._do("list", *self._container(url), *more))]

    def read(self, url: str, name: str) -> None:
        self._do("download", "--blob-url", blob_url(url, name), "-f", str(self._folder / "got"))
