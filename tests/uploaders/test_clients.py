"""What each tus client does with the service; cells of docs/uploaders-clients.md are these tests."""

from __future__ import annotations

import hashlib
import json
import random
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
from tests.intake_api.server.serving import Service, until
from tests.uploaders.cutting import CuttingProxy
from tests.uploaders.table import Table

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TUS_JS, UPPY, TUSPY = "tus-js-client", "@uppy/tus", "tuspy"
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
            **more,
        }
        command = (
            [sys.executable, HERE / "client.py"] if self.client == TUSPY else ["node", HERE / "client.mjs"]
        )
        authority = str(self.service.state / "tls" / "ca.pem")
        return subprocess.Popen(
            [*command, json.dumps(task)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": authority,
                 "REQUESTS_CA_BUNDLE": authority},
        )  # fmt: skip

    def ended(self, process: subprocess.Popen[str]) -> str:
        out, errors = process.communicate(timeout=120)
        assert out, errors[-3000:]
        told = json.loads(out.splitlines()[-1])
        assert told["error"] is None, told
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
    "many small requests": (small_chunks, (TUS_JS, UPPY, TUSPY)),
    "one request": (one_request, (TUS_JS, UPPY, TUSPY)),
    "an empty file": (empty_file, (TUS_JS, UPPY)),
    "bytes with the creation": (with_creation, (TUS_JS, UPPY)),
    "PATCH as an overridden POST": (overridden, (TUS_JS, UPPY)),
    "parallel uploads, concatenated": (parallel, (TUS_JS, UPPY)),
    "parallel uploads, resumed in a new process": (parallel_resumed, (TUS_JS,)),
    "aborted, resumed from a stored URL in a new process": (resumed_elsewhere, (TUS_JS, UPPY, TUSPY)),
    "terminated": (terminated, (TUS_JS, UPPY)),
    "length told at the end": (deferred, (TUS_JS, UPPY)),
    "empty metadata header": (empty_metadata, (TUSPY,)),
    "checksum (SHA-1)": (checksummed, (TUSPY,)),
    "line cut at random bytes": (cut_lines, (TUS_JS, UPPY, TUSPY)),
    "token renewed in the middle": (token_renewed, (TUS_JS, UPPY, TUSPY)),
}


def versions() -> dict[str, str]:
    node = json.loads((HERE / "package.json").read_text())["dependencies"]
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["test"]
    (pinned,) = [pin.removeprefix("tuspy==") for pin in pins if pin.startswith("tuspy==")]
    return {TUS_JS: node[TUS_JS], UPPY: node[UPPY], TUSPY: pinned}


TABLE = Table("By tus", versions(), ROWS)


@pytest.mark.parametrize(("behaviour", "client"), TABLE.cells())
def test_a_client_as_its_registry_hands_it_out(
    service: Service, node_modules: None, tmp_path: Path, behaviour: str, client: str
) -> None:
    TABLE.ask(behaviour, Sending(service, tmp_path, client))
