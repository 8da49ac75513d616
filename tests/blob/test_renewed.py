"""A client of Azure Storage in the middle of an upload while the service's workers are renewed: it notices nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from tests.blob.endpoint import ROOT, free_port
from tests.intake_api.serve.serving import START, Service, until

MIB = 1 << 20


@pytest.fixture
def blobs() -> int:
    return free_port()


@pytest.fixture
def service(tmp_path: Path, blobs: int) -> Iterator[Service]:
    port, log = free_port(), tmp_path / "log"
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_STATE": str(tmp_path / "state"),
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "CASEVAULT_BLOB_LISTEN": f"127.0.0.1:{blobs}",
        "CASEVAULT_STOP_SECONDS": "10",
    }
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stdout=out, stderr=out)
    one = Service(tmp_path / "state", port, log, process)
    try:
        assert until(lambda: (tmp_path / "state/tls/ca.pem").exists() and one.is_ready()), log.read_text()
        one.register()
        yield one
    finally:
        assert one.stop() == 0, log.read_text()


def container(service: Service) -> ContainerClient:
    stamp = service.post("/stamps", {"name": "other", "subject": "other", "proactive": True})
    expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    asked: dict[str, object] = {"expires_at": expires, "trigger": "Urp.UpdateFailure"}
    url = str(service.post(f"/stamps/{stamp['id']}/upload-links", asked)["url"])
    return ContainerClient.from_container_url(
        url,
        connection_verify=str(service.state / "tls/ca.pem"),
        max_single_put_size=MIB,
        max_block_size=MIB,
        retry_total=3,
    )


def renewed(service: Service) -> int:
    return sum(line["message"] == "renewed" for line in service.lines() if "message" in line)


def test_blocks_go_to_the_old_worker_and_the_new_and_make_one_blob(service: Service) -> None:
    content = os.urandom(12 * MIB)
    with container(service) as client:
        uploading = threading.Thread(
            target=client.upload_blob, args=("logs.zip", Slow(content)), kwargs={"length": len(content)}
        )
        uploading.start()
        time.sleep(0.5)
        service.process.send_signal(signal.SIGHUP)
        assert until(lambda: renewed(service) == 2), service.log.read_text()
        uploading.join(60)
        assert not uploading.is_alive()
        (blob,) = client.list_blobs()
        assert blob.size == len(content)
    assert until(
        lambda: b'"state":"complete"' in service.call("GET", "/bundles", service.bearer("boss")).body
    )


class Slow:
    """A file that is read at three blocks a second."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def read(self, size: int = -1) -> bytes:
        time.sleep(0.33)
        piece = self._content[self._at :][: size if size >= 0 else None]
        self._at += len(piece)
        return piece
