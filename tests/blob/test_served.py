"""The endpoint as part of the whole service: started, used, stopped with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from azure.storage.blob import ContainerClient

from tests.blob.endpoint import ROOT, Endpoint, free_port
from tests.intake_api.serve.serving import START, Service, until


def test_refusals_of_large_bodies_are_read_by_a_client_that_sends_first(endpoint: Endpoint) -> None:
    """16 MiB: more than the kernels on both sides hold for a server that does not read."""
    url, body = str(endpoint.link()["url"]).replace("?", "/a.zip?"), bytes(16 << 20)
    kind = {"x-ms-blob-type": "BlockBlob"}

    def said(to: str, content: bytes | Iterator[bytes]) -> tuple[int, str]:
        answer = requests.put(to, data=content, headers=kind, verify=endpoint.authority, timeout=60)
        return answer.status_code, answer.headers["x-ms-error-code"]

    assert said(url, iter([body])) == (411, "MissingContentLengthHeader")
    assert said(url.split("?")[0], body) == (401, "NoAuthenticationInformation")
    assert said(url.replace("sp=rcwl", "sp=rcwdl"), body) == (403, "AuthenticationFailed")
    assert requests.put(url, data=b"logs", headers=kind, verify=endpoint.authority, timeout=60).ok
    assert said(url, body) == (409, "BlobImmutableDueToPolicy")


@pytest.mark.parametrize("origin", [None, "https://localhost:{port}"])
def test_the_service_serves_its_links_at_an_address_of_their_own(tmp_path: Path, origin: str | None) -> None:
    port, blobs, log = free_port(), free_port(), tmp_path / "log"
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "CASEVAULT_DEVELOPMENT": "1",
        "CASEVAULT_STATE": str(tmp_path / "state"),
        "CASEVAULT_LISTEN": f"127.0.0.1:{port}",
        "CASEVAULT_BLOB_LISTEN": f"127.0.0.1:{blobs}",
        **({"CASEVAULT_BLOB_ORIGIN": origin.format(port=blobs)} if origin else {}),
    }
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", START], env=environ, stdout=out, stderr=out)
    service = Service(tmp_path / "state", port, log, process)
    try:
        assert until(lambda: (tmp_path / "state/tls/ca.pem").exists() and service.is_ready()), log.read_text()
        service.post("/tenants", {"name": "Contoso", "directory": "dir"})
        stamp = service.post("/stamps", {"name": "stamp", "subject": "stamp", "proactive": True})
        expires = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        asked: dict[str, object] = {"expires_at": expires, "trigger": "Urp.UpdateFailure"}
        link = service.post(f"/stamps/{stamp['id']}/upload-links", asked)
        url = str(link["url"])
        host = f"localhost:{blobs}/lnk-" if origin else f"127.0.0.1:{blobs}/casevault/lnk-"
        assert url.startswith(f"https://{host}")
        authority = str(tmp_path / "state/tls/ca.pem")
        with ContainerClient.from_container_url(url, connection_verify=authority) as container:
            container.upload_blob("logs.zip", b"x" * 100_000)
        assert until(
            lambda: b'"state":"complete"' in service.call("GET", "/bundles", service.bearer("boss")).body
        )
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    assert code == 0, log.read_text()
    assert url.rsplit("sig=", 1)[1] not in log.read_text()
