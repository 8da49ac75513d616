"""What each tus client does with the service; cells of docs/uploaders-clients.md are these tests."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retention.clock import DevelopmentClock
from tests.intake_api.serve.serving import Service, free_port, until
from tests.servers.installing import missing
from tests.uploaders.cutting import CuttingProxy
from tests.uploaders.starting import started
from tests.uploaders.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TUS_JS, UPPY, TUSPY = "tus-js-client", "@uppy/tus", "tuspy"
PAGE, AIOTUS = "@uppy/tus in Chromium, from a page of another origin", "aiotus"
MIB = 1 << 20
V = {"Tus-Resumable": "1.0.0"}


@dataclass
class Sending:
    """One client at work on one file against the service."""

    service: Service
    folder: Path
    client: str
    size: int = 3 * MIB + 12_345
    port: int = 0
    task: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.page_port = self.service.page_port
        self.content = random.Random(self.size).randbytes(self.size)
        (self.folder / "logs.zip").write_bytes(self.content)
        self.renew()

    def renew(self) -> None:
        self.service._tokens.clear()
        token = str(self.service.bearer("stamp")["Authorization"]).removeprefix("Bearer ")
        (self.folder / "token.new").write_text(token)
        (self.folder / "token.new").rename(self.folder / "token")

    def start(self, **more: Any) -> subprocess.Popen[str]:
        task = {
            "client": self.client,
            "endpoint": f"https://127.0.0.1:{self.port or self.service.port}/uploads",
            "file": str(self.folder / "logs.zip"),
            "token": str(self.folder / "token"),
            "storage": str(self.folder / "urls.json"),
            "progress": str(self.folder / "progress"),
            "metadata": declared(),
            "chunk": 256 * 1024,
            **self.of_client(),
            **more,
        }
        authority = str(self.service.state / "tls" / "ca.pem")
        return subprocess.Popen(
            [*COMMANDS[self.client], json.dumps(task)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": authority,
                 "REQUESTS_CA_BUNDLE": authority},
        )  # fmt: skip

    def of_client(self) -> dict[str, Any]:
        """What only some clients are told."""
        if self.client == AIOTUS:
            return {"authority": str(self.service.state / "tls" / "ca.pem")}
        if self.client != PAGE:
            return {}
        # The page's own metadata for every file. Uppy fills `type` with the file's media type.
        metadata = declared()
        metadata["collection_type"] = metadata.pop("type")
        return {
            "metadata": metadata,
            "pagePort": self.page_port,
            "chromium": chromium(),
            "profile": str(self.folder / "profile"),
        }

    def refused(self, **more: Any) -> str:
        """What the client says of an upload that is not taken."""
        out, errors = self.start(retries=1, **more).communicate(timeout=120)
        assert out, errors[-3000:]
        told = json.loads(out.splitlines()[-1])
        assert told["error"] is not None and told["url"] is None, told
        return str(told["error"])

    def metadata(self, upload: str) -> dict[str, str]:
        """Upload-Metadata, as the service gives it back."""
        head = self.service.call("HEAD", f"/uploads/{upload}", {**self.service.bearer("stamp"), **V})
        pairs = (pair.partition(" ") for pair in head.headers["upload-metadata"].split(","))
        return {key: base64.b64decode(value).decode() for key, _, value in pairs}

    def ended(self, process: subprocess.Popen[str]) -> str:
        out, errors = process.communicate(timeout=120)
        assert out, errors[-3000:]
        told = json.loads(out.splitlines()[-1])
        assert told["error"] is None, (told, errors[-3000:])
        return str(told["url"] or "").rsplit("/", 1)[1]

    def run(self, **more: Any) -> str:
        """The id of the upload, once the client says that it is done."""
        return self.ended(self.start(**more))

    def offset(self, upload: str) -> int:
        return self.service.offset(f"/uploads/{upload}")

    def bundle(self, upload: str) -> Mapping[str, Any]:
        return self.service.call("GET", f"/bundles/{upload}", self.service.bearer("stamp")).json()

    def check(self, upload: str) -> None:
        """What is sealed, read back by the service itself, is the file."""
        assert until(lambda: self.bundle(upload)["state"] == "complete"), self.bundle(upload)
        assert self.bundle(upload)["sha256"] == hashlib.sha256(self.content).hexdigest()


COLUMNS = (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)
COMMANDS = {
    TUS_JS: ["node", HERE / "client.mjs"],
    UPPY: ["node", HERE / "client.mjs"],
    PAGE: ["node", HERE / "browser.mjs"],
    TUSPY: [sys.executable, HERE / "client.py"],
    AIOTUS: [sys.executable, HERE / "client_aiotus.py"],
}


def chromium() -> str:
    return shutil.which("chromium") or missing("Debian's chromium is needed for uploads from a page")


def declared() -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "filename": "logs.zip",
        "type": "proactive",
        "logs_start": (now - timedelta(hours=3)).isoformat(),
        "logs_end": (now - timedelta(hours=1)).isoformat(),
        "time_collected": now.isoformat(),
        "trigger": "Urp.UpdateFailure",
    }


def small_chunks(sending: Sending) -> None:
    sending.check(sending.run(chunk=64 * 1024))


def one_request(sending: Sending) -> None:
    sending.check(sending.run(chunk=64 * MIB))


def empty_file(sending: Sending) -> None:
    sending.content = b""
    (sending.folder / "logs.zip").write_bytes(b"")
    sending.check(sending.run())


def parallel(sending: Sending) -> None:
    sending.check(sending.run(parallel=3))


def parallel_resumed(sending: Sending) -> None:
    process = sending.start(parallel=3, chunk=64 * 1024, stop=MIB, then="abort")
    process.communicate(timeout=60)
    sending.check(sending.run(parallel=3, resume=True))


def resumed_elsewhere(sending: Sending) -> None:
    first = sending.run(stop=MIB, then="abort")
    kept = sending.offset(first)
    assert 0 < kept < sending.size
    second = sending.run(resume=True)
    assert second == first
    sending.check(second)


def terminated(sending: Sending) -> None:
    upload = sending.run(stop=MIB, then="terminate", chunk=64 * 1024)
    head = {**sending.service.bearer("stamp"), **V}
    assert until(lambda: sending.service.call("HEAD", f"/uploads/{upload}", head).status == 410)


def deferred(sending: Sending) -> None:
    sending.check(sending.run(deferred=True))


def with_creation(sending: Sending) -> None:
    sending.check(sending.run(early=True))


def overridden(sending: Sending) -> None:
    sending.check(sending.run(override=True))


def checksummed(sending: Sending) -> None:
    sending.check(sending.run(checksum=True))


def empty_metadata(sending: Sending) -> None:
    upload = sending.run(metadata={}, headers={"Upload-Concat": "partial"})
    assert sending.offset(upload) == sending.size


def own_metadata(sending: Sending) -> None:
    own = {"myOwnKey": "kept and given back", "path": "node 7/logs"}
    given = {**declared(), **sending.of_client().get("metadata", {}), **own}
    given = {key: value for key, value in given.items() if "collection_type" not in given or key != "type"}
    upload = sending.run(metadata=given)
    sending.check(upload)
    assert given.items() <= sending.metadata(upload).items()
    if sending.client == PAGE:
        assert {"type", "filetype", "name", "relativePath"} <= sending.metadata(upload).keys()


def absolute_location(sending: Sending) -> None:
    task_url = sending.start().communicate(timeout=120)[0]
    assert json.loads(task_url.splitlines()[-1])["url"].startswith(
        f"https://127.0.0.1:{sending.service.port}/uploads/"
    )


def refusal_read(sending: Sending) -> None:
    metadata = {**declared(), **sending.of_client().get("metadata", {}), "logs_start": "yesterday"}
    told = sending.refused(metadata=metadata)
    assert "logs_start" in told, told


def page_not_listed(sending: Sending) -> None:
    before = sending.service.call("GET", "/bundles", sending.service.bearer("stamp")).json()["items"]
    sending.page_port = free_port()
    assert "logs_start" not in sending.refused()
    after = sending.service.call("GET", "/bundles", sending.service.bearer("stamp")).json()["items"]
    assert before == after


def erased_meanwhile(sending: Sending) -> None:
    """Its customer has it erased; the client finds it gone, and would begin a new one by itself."""
    name = f"erased-{COLUMNS.index(sending.client)}.zip"
    metadata = {**declared(), **sending.of_client().get("metadata", {}), "filename": name}
    first = sending.run(metadata=metadata, stop=MIB, then="abort")
    asked = {**sending.service.bearer("boss"), "Content-Type": "application/json"}
    erasure = sending.service.call("POST", f"/bundles/{first}/erasures", asked, b"{}")
    assert erasure.status == 202 and erasure.json()["resend_until"], erasure
    told = sending.refused(metadata=metadata, resume=True)
    assert "erased" in told or "410" in told, told
    listed = sending.service.call("GET", "/bundles?limit=200", sending.service.bearer("stamp")).json()[
        "items"
    ]
    assert [one["id"] for one in listed if one["file_name"] == name] in ([], [first])


def waited_for(sending: Sending) -> None:
    """The one seat that this caller has for uploads is taken: 503, and the client goes on by itself when it is free."""
    (sending.folder / "few").mkdir()
    # Of two seats half; and no stall in the time of this test: the other keeps its own until it is closed.
    with started(
        sending.folder / "few", sending.page_port, uploads=2, caller_share=50, stall_seconds=120
    ) as few:
        sending.service = few
        sending.renew()
        with few.begun("PATCH", few.upload(MIB), few.patch_head(0, MIB)):
            process = sending.start(retries=300)
            busy = until(lambda: any(one.get("status") == 503 for one in few.lines()), 60)
            assert busy and process.poll() is None, few.lines()[-5:]
        sending.check(sending.ended(process))


def cut_lines(sending: Sending) -> None:
    with CuttingProxy(sending.service.port, seed=7, cuts=6, most=MIB) as proxy:
        sending.port = proxy.port
        upload = sending.run(chunk=64 * MIB)
    assert proxy.done == 6
    sending.check(upload)


def token_renewed(sending: Sending) -> None:
    clock = DevelopmentClock(sending.service.state / "development-clock")
    process = sending.start(chunk=16 * 1024)
    progress = sending.folder / "progress"
    assert until(lambda: progress.exists() and int(progress.read_text() or 0) > MIB // 4)
    if (
        sending.client != TUSPY
    ):  # it asks for the token before each request: the old one is refused, then renewed
        clock.set(clock.now() + timedelta(hours=2))
        time.sleep(0.3)
        sending.renew()
    else:
        sending.renew()
        clock.set(clock.now() + timedelta(minutes=30))
    sending.check(sending.ended(process))


ROWS: Mapping[str, tuple[Callable[[Sending], None], tuple[str, ...]]] = {
    "many small requests": (small_chunks, (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)),
    "one request": (one_request, (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)),
    "an empty file": (empty_file, (TUS_JS, UPPY, PAGE, AIOTUS)),
    "bytes with the creation": (with_creation, (TUS_JS, UPPY, PAGE)),
    "PATCH as an overridden POST": (overridden, (TUS_JS, UPPY, PAGE)),
    "parallel uploads, concatenated": (parallel, (TUS_JS, UPPY, AIOTUS)),
    "parallel uploads, resumed in a new process": (parallel_resumed, (TUS_JS,)),
    "aborted, resumed from a stored URL in a new process": (resumed_elsewhere, (TUS_JS, UPPY, PAGE, TUSPY)),
    "terminated": (terminated, (TUS_JS, UPPY, PAGE)),
    "length told at the end": (deferred, (TUS_JS, UPPY)),
    "own metadata, given back": (own_metadata, (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)),
    "erased in the middle, not sent again": (erased_meanwhile, (TUS_JS, UPPY, PAGE, TUSPY)),
    "no seat for a while (503): waited for": (waited_for, (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)),
    "absolute Location": (absolute_location, (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)),
    "empty metadata header": (empty_metadata, (TUSPY,)),
    "checksum (SHA-1)": (checksummed, (TUSPY,)),
    "line cut at random bytes": (cut_lines, (TUS_JS, UPPY, PAGE, TUSPY, AIOTUS)),
    "token renewed in the middle": (token_renewed, (TUS_JS, UPPY, PAGE, TUSPY)),
    "the reason of a refusal read": (refusal_read, (TUS_JS, UPPY, PAGE, TUSPY)),
    "a page of an origin that is not listed refused": (page_not_listed, (PAGE,)),
}


def versions() -> dict[str, str]:
    node = json.loads((HERE / "package.json").read_text())["dependencies"]
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    pinned = dict(pin.split("==") for pin in pins)
    own = {name: pinned[name] for name in (TUSPY, AIOTUS)}
    return {TUS_JS: node[TUS_JS], UPPY: node[UPPY], PAGE: node[UPPY], **own}


TABLE = Table("By tus", versions(), ROWS)


@pytest.mark.parametrize(("behaviour", "client"), TABLE.cells())
def test_a_client_as_its_registry_hands_it_out(
    service: Service, node_modules: None, tmp_path: Path, behaviour: str, client: str
) -> None:
    TABLE.ask(behaviour, Sending(service, tmp_path, client))
