"""What each Azure client does with the Blob endpoint; cells of docs/uploaders-clients.md are these tests."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from tests.blob.clients import tools
from tests.blob.clients.driving import (
    MIB,
    AsyncPythonSdk,
    AzCli,
    AzCopy,
    Driver,
    NodeSdk,
    PythonSdk,
    Refused,
    blob_url,
)
from tests.blob.endpoint import Endpoint
from tests.intake_api.serve.serving import until
from tests.service import OPERATOR
from tests.uploaders.cutting import CuttingProxy
from tests.uploaders.table import Table

ROOT = Path(__file__).parents[2]
PYTHON, ASYNC, NODE = "azure-storage-blob", "azure-storage-blob, asyncio", "@azure/storage-blob"
AZCOPY, AZ = "AzCopy", "az CLI"
DRIVERS: Mapping[str, type[Any]] = {
    PYTHON: PythonSdk, ASYNC: AsyncPythonSdk, NODE: NodeSdk, AZCOPY: AzCopy, AZ: AzCli,
}  # fmt: skip
ALL, SDKS, PYTHONS = tuple(DRIVERS), (PYTHON, ASYNC, NODE), (PYTHON, ASYNC)
NAME = "folder/logs.zip"


@dataclass
class Case:
    """One client with a link of its own."""

    endpoint: Endpoint
    folder: Path
    client: str
    link: dict[str, Any] = field(init=False)
    driver: Any = field(init=False)

    def __post_init__(self) -> None:
        self.link = self.endpoint.link()
        self.driver = self.drive()

    def drive(self) -> Driver:
        driver: Driver = DRIVERS[self.client](self.endpoint.authority, self.folder)
        return driver

    @property
    def url(self) -> str:
        return str(self.link["url"])

    def content(self, size: int = 3 * MIB + 12_345) -> bytes:
        drawn = random.Random(size)
        return b"".join(drawn.randbytes(min(MIB, size - at)) for at in range(0, size, MIB))

    def stored(self) -> dict[str, dict[str, Any]]:
        """What custody holds of this link, read back."""
        return {b["blob_name"]: b for b in self.endpoint.bundles() if b["link"] == self.link["id"]}

    def check(self, content: bytes, name: str = NAME) -> dict[str, Any]:
        bundle = self.stored()[name]
        assert bundle["state"] == "complete"
        assert bundle["sha256"] == hashlib.sha256(content).hexdigest()
        return bundle

    def is_refused(self, url: str, code: str) -> None:
        with pytest.raises(Refused, match=code):
            self.driver.send(url, NAME, b"logs")
        assert self.stored() == {}


def one_request(case: Case) -> None:
    content = case.content()
    case.driver.send(case.url, NAME, content)
    case.check(content)


def empty_file(case: Case) -> None:
    case.driver.send(case.url, NAME, b"")
    assert case.check(b"")["size"] == 0


def in_blocks(case: Case) -> None:
    content = case.content(257 * MIB if case.client == AZ else 6 * MIB + 17)  # az: from 256 MiB on
    case.driver.send(case.url, NAME, content, blocks=True)
    case.check(content)
    with ContainerClient.from_container_url(case.url, connection_verify=case.endpoint.authority) as seen:
        assert len(seen.get_blob_client(NAME).get_block_list("committed")[0]) > 1


def with_metadata(case: Case) -> None:
    case.driver.send(case.url, NAME, b"logs", metadata={"roles": "Compute"})
    assert case.check(b"logs")["roles"] == ["Compute"]


def whole_folder(case: Case) -> None:
    folder = case.folder / "logs"
    contents = {"logs/a.zip": b"a", "logs/empty.log": b"", "logs/node 1/ü.zip": case.content()}
    for name, content in contents.items():
        (case.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (case.folder / name).write_bytes(content)
    case.driver.send_folder(case.url, folder)
    assert {name: b["sha256"] for name, b in case.stored().items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }


def put_some(case: Case) -> None:
    sender = PythonSdk(case.endpoint.authority, case.folder)
    for name in ("b/2", "a", "b/1", "ü c"):
        sender.send(case.url, name, b"x")


def listed(case: Case) -> None:
    put_some(case)
    assert sorted(case.driver.names(case.url)) == ["a", "b/1", "b/2", "ü c"]


def listed_by_folder(case: Case) -> None:
    put_some(case)
    assert sorted(case.driver.folders(case.url)) == ["a", "b/", "ü c"]


def resumed_from_the_list(case: Case) -> None:
    content = case.content(5 * MIB + 1)
    case.driver.stage_some(case.url, NAME, content)
    assert case.drive().go_on(case.url, NAME, content) == (3, 6)
    case.check(content)


def renewed(case: Case) -> None:
    """The link ends in mid-upload: what was sent waits for it to be renewed."""
    content, service = case.content(5 * MIB + 1), case.endpoint.service
    with expiring(case) as renew:
        if case.client == AZCOPY:
            job = killed(case, content)
        else:
            case.driver.stage_some(case.url, NAME, content)
        service.advance(timedelta(hours=2))
        if case.client == AZCOPY:
            # Its exit code depends on how far it came; its last word does not.
            assert "Final Job Status: Completed" not in go_on_with(case, job, case.url).stdout
            assert case.stored()[NAME]["state"] == "staging"
            done = go_on_with(case, job, renew())
            assert "Final Job Status: Completed" in done.stdout, done.stdout
        else:
            with pytest.raises(Refused, match="AuthenticationFailed"):
                case.driver.go_on(case.url, NAME, content)
            assert case.drive().go_on(renew(), NAME, content) == (3, 6)
        case.check(content)


@contextmanager
def expiring(case: Case) -> Iterator[Callable[[], str]]:
    """A link that ends within two hours, and what has it renewed."""
    service = case.endpoint.service
    case.link = case.endpoint.link(expires_at=(service.clock.now() + timedelta(hours=1)).isoformat())

    def renew() -> str:
        until = service.clock.now() + timedelta(days=1)
        path = f"/upload-links/{case.link['id']}/renew"
        return str(service.done("POST", path, OPERATOR, json={"expires_at": until.isoformat()})["url"])

    try:
        yield renew
    finally:
        service.advance(-timedelta(hours=2))


def killed_and_resumed(case: Case) -> None:
    content = case.content(12 * MIB)
    done = go_on_with(case, killed(case, content), case.url)
    assert done.returncode == 0, done.stdout
    case.check(content)


def killed(case: Case, content: bytes) -> str:
    """AzCopy is killed when some blocks are there; its job."""
    (case.folder / "content").write_bytes(content)
    options = ["--from-to=LocalBlob", "--block-size-mb=1", "--put-blob-size-mb=1", "--cap-mbps=20"]
    send = ["copy", str(case.folder / "content"), blob_url(case.url, NAME), *options]
    command, environ = tools.azcopy_command(case.endpoint.authority, case.folder, *send)
    environ = {"PATH": os.environ["PATH"], **environ}
    with (
        (case.folder / "said").open("w") as said,
        subprocess.Popen(command, env=environ, stdout=said) as process,
        ContainerClient.from_container_url(case.url, connection_verify=case.endpoint.authority) as seen,
    ):
        assert until(lambda: [b.name for b in seen.list_blobs(include=["uncommittedblobs"])] == [NAME])
        blob = seen.get_blob_client(NAME)
        assert until(lambda: len(blob.get_block_list("uncommitted")[1]) > 1)
        process.kill()
    assert case.stored()[NAME]["state"] == "staging"
    job = re.search(r"Job ([0-9a-f-]{36})", (case.folder / "said").read_text())
    assert job is not None
    return job[1]


def go_on_with(case: Case, job: str, url: str) -> tools.Done:
    """The job goes on in another process."""
    sas = url.split("?")[1]
    return tools.azcopy(
        case.endpoint.authority, case.folder, "jobs", "resume", job, f"--destination-sas={sas}"
    )


def cut_lines(case: Case) -> None:
    content, cuts = case.content(9 * MIB), 1 if case.client == AZ else 4  # az waits 15 s before each new try
    with CuttingProxy(case.endpoint.port, seed=11, cuts=cuts, most=MIB) as proxy:
        url = case.url.replace(f":{case.endpoint.port}/", f":{proxy.port}/")
        case.driver.send(url, NAME, content, blocks=True, tries=30)
    assert proxy.done >= cuts  # lines that were open when the last of them was cut are cut as well
    case.check(content)


def not_overwritten(case: Case) -> None:
    case.driver.send(case.url, NAME, b"first")
    with pytest.raises(Refused, match=r"BlobAlreadyExists|Transfers Skipped: 1"):
        case.driver.send(case.url, NAME, b"second")
    with pytest.raises(Refused, match=r"BlobImmutableDueToPolicy|409 Conflict"):
        case.driver.send(case.url, NAME, b"second", overwrite=True)
    case.check(b"first")


def not_overwritten_in_blocks(case: Case) -> None:
    case.driver.send(case.url, NAME, b"first")
    with pytest.raises(Refused, match="BlobAlreadyExists"):
        case.driver.send(case.url, NAME, case.content(), blocks=True)
    case.check(b"first")


def never_read(case: Case) -> None:
    case.driver.send(case.url, NAME, b"first")
    with pytest.raises(Refused, match="AuthorizationPermissionMismatch"):
        case.driver.read(case.url, NAME)


def wrong_signature(case: Case) -> None:
    case.is_refused(case.url.replace("sp=rcwl", "sp=rcwdl"), "AuthenticationFailed")


def expired(case: Case) -> None:
    soon = case.endpoint.service.clock.now() + timedelta(hours=1)
    case.link = case.endpoint.link(expires_at=soon.isoformat())
    case.endpoint.service.advance(timedelta(hours=2))
    try:
        case.is_refused(case.url, "AuthenticationFailed")
    finally:
        case.endpoint.service.advance(-timedelta(hours=2))


def revoked(case: Case) -> None:
    case.endpoint.service.done("POST", f"/upload-links/{case.link['id']}/revoke", OPERATOR)
    case.is_refused(case.url, "AuthenticationFailed")


def not_permitted(case: Case) -> None:
    case.link = case.endpoint.link(permissions="rl")
    case.is_refused(case.url, "AuthorizationPermissionMismatch")


def from_elsewhere(case: Case) -> None:
    case.link = case.endpoint.link(ip="192.0.2.7")
    case.is_refused(case.url, "AuthorizationSourceIPMismatch")


def summed(check: Any) -> Callable[[Case], None]:
    def scenario(case: Case) -> None:
        content = case.content(6 * MIB + 17)
        case.driver.send(case.url, NAME, content, check=check, blocks=True)
        case.check(content)

    return scenario


def structured(case: Case) -> None:
    content = case.content(9 * MIB)  # three segments
    assert case.driver.structured(case.url, NAME, content) == "XSM/1.0; properties=crc64"
    case.check(content)


def encrypted(case: Case) -> None:
    content = case.content()
    case.driver.send(case.url, NAME, content, encrypt=True)
    bundle = case.stored()[NAME]
    assert bundle["client_encrypted"] is True
    assert "customers-key" in bundle["metadata"]["encryptiondata"]
    assert bundle["size"] > len(content)
    assert content[:64] not in case.endpoint.content(bundle["id"])


def given_up(case: Case) -> None:
    case.link = case.endpoint.link(permissions="rcwd")
    case.driver.give_up(case.url, NAME)
    (bundle,) = [b for b in case.endpoint.bundles() if b["link"] == case.link["id"]]
    assert bundle["state"] == "erased"


ROWS: Mapping[str, tuple[Callable[[Case], None], tuple[str, ...]]] = {
    "one request": (one_request, ALL),
    "an empty file": (empty_file, ALL),
    "in blocks, in parallel": (in_blocks, ALL),
    "a folder with folders and an empty file in it": (whole_folder, (AZCOPY, AZ)),
    "metadata": (with_metadata, ALL),
    "listed": (listed, ALL),
    "listed by folder (delimiter)": (listed_by_folder, (*SDKS, AZ)),
    "resumed from the block list by another client": (resumed_from_the_list, SDKS),
    "killed, its job resumed in a new process": (killed_and_resumed, (AZCOPY,)),
    "link ended in mid-upload; gone on with it renewed": (renewed, (*SDKS, AZCOPY)),
    "given up before its commit": (given_up, SDKS),
    "line cut at random bytes": (cut_lines, ALL),
    "MD5 of each request checked": (summed(True), (PYTHON, ASYNC, AZ)),
    "CRC64 of each request checked": (summed("crc64"), PYTHONS),
    "structured body (CRC64 of each segment)": (structured, SDKS),
    "encrypted by its client (version 2)": (encrypted, PYTHONS),
    "overwriting refused": (not_overwritten, ALL),
    "overwriting in blocks refused: BlobAlreadyExists": (not_overwritten_in_blocks, SDKS),
    "reading refused": (never_read, ALL),
    "tampered signature refused": (wrong_signature, ALL),
    "expired link refused": (expired, ALL),
    "revoked link refused": (revoked, ALL),
    "link without the permission refused": (not_permitted, ALL),
    "link for another address refused": (from_elsewhere, ALL),
}


def versions() -> dict[str, str]:
    npm = json.loads((tools.HERE / "package.json").read_text())["dependencies"]
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (sdk,) = [pin.split("==")[1] for pin in pins if pin.startswith("azure-storage-blob==")]
    cli = re.search(r"^azure-cli==(.+)$", (tools.AZ / "requirements.txt").read_text(), flags=re.M)
    assert cli is not None
    return {
        PYTHON: sdk,
        ASYNC: sdk,
        NODE: npm["@azure/storage-blob"],
        AZCOPY: npm["@azure-tools/azcopy-linux"],
        AZ: cli[1],
    }


TABLE = Table("By Azure Storage clients", versions(), ROWS)


@pytest.mark.parametrize(("behaviour", "client"), TABLE.cells())
def test_a_client_as_its_registry_hands_it_out(
    endpoint: Endpoint, tmp_path: Path, behaviour: str, client: str
) -> None:
    TABLE.ask(behaviour, Case(endpoint, tmp_path, client))
