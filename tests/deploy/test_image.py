"""The Containerfile's steps are done and its result is run, as its own user on a read-only root, without an engine."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.deploy.containerfile import Image

pytestmark = pytest.mark.timeout(900)  # the first test builds: every package is fetched anew


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certificate_as_the_vault_gives_it() -> bytes:
    """Key, then certificate, in one PEM."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + made.public_bytes(pem)


class Volumes:
    """What a platform mounts: an empty folder that anybody may write to, and the certificate, read-only."""

    def __init__(self, folder: Path) -> None:
        self.state, tls = folder / "state", folder / "tls"
        self.state.mkdir()
        self.state.chmod(0o777)
        tls.mkdir()
        (tls / "tls.pem").write_bytes(certificate_as_the_vault_gives_it())
        self.mounts = {"/var/lib/casevault": self.state, "/run/casevault": tls}


@contextmanager
def served(image: Image, volumes: Volumes) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    port = free_port()
    environment = {
        "CASEVAULT_LISTEN": f"0.0.0.0:{port}",
        "CASEVAULT_BLOB_LISTEN": f"0.0.0.0:{free_port()}",
        "CASEVAULT_TLS_CERTIFICATE": "/run/casevault/tls.pem",
        "CASEVAULT_TLS_KEY": "/run/casevault/tls.pem",
        "CASEVAULT_ISSUER": "https://login.example.com/v2.0",
    }
    process = image.start(environment=environment, volumes=volumes.mounts)
    try:
        yield process, environment
    finally:
        process.kill()
        process.communicate()


def health_check(image: Image, environment: dict[str, str]) -> int:
    said = image.final.last("HEALTHCHECK")
    command = json.loads(said[said.index("[") :])
    process = image.start(command[1:], entry=command[:1], environment=environment)
    process.communicate(timeout=30)
    return process.returncode


def ask(environment: dict[str, str], path: str) -> int:
    port = int(environment["CASEVAULT_LISTEN"].rpartition(":")[2])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # the certificate names no loopback address
    line = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    try:
        line.request("GET", path)
        return line.getresponse().status
    finally:
        line.close()


@pytest.fixture
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Volumes:
    folder = tmp_path_factory.mktemp("volumes")
    for above in (folder, folder.parent, folder.parent.parent):
        above.chmod(0o755)  # the image's user has to get there
    return Volumes(folder)


def test_the_entry_point_is_the_command_line(image: Image) -> None:
    process = image.start(["--help"])
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Sealed custody" in said


def test_it_serves_as_its_own_user_on_a_root_that_nobody_can_write_to(image: Image, volumes: Volumes) -> None:
    with served(image, volumes) as (process, environment):
        until = time.monotonic() + 60
        while (unwell := health_check(image, environment)) and time.monotonic() < until:
            assert process.poll() is None, process.communicate()[0]
        assert unwell == 0
        assert ask(environment, "/readyz") == 200
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "Uid:\t10001\t10001\t10001\t10001" in status
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        mounted = os.statvfs(f"/proc/{process.pid}/root")
        assert mounted.f_flag & os.ST_RDONLY

        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=90)
        assert process.returncode == 0, said
    assert (volumes.state / "records.db").exists()


def test_the_health_check_fails_where_nobody_serves(image: Image) -> None:
    assert health_check(image, {"CASEVAULT_LISTEN": f"0.0.0.0:{free_port()}"}) == 1


def test_a_setting_that_is_missing_is_one_line_and_a_failure(image: Image, volumes: Volumes) -> None:
    process = image.start(environment={"CASEVAULT_LISTEN": "0.0.0.0:8443"}, volumes=volumes.mounts)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(said.strip().splitlines()) == 1
    assert "CASEVAULT_TLS_CERTIFICATE" in said


def test_nothing_in_the_image_can_be_changed_by_its_user_or_installs_more(image: Image) -> None:
    installed = image.root / "opt/casevault"
    for path in (installed, *installed.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_uid == 0, path
            assert not path.stat().st_mode & 0o022, path
    names = {path.name for path in installed.rglob("*")}
    assert not {"pip", "setuptools"} & names
    assert not list(installed.rglob("*/tests/deploy"))


def test_what_ships_is_what_was_sealed_by_the_locks(image: Image) -> None:
    """The same versions as the lock's, and our own package."""
    process = image.start(
        [
            "-c",
            "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))",
        ],
        entry=["python"],
    )
    said, _ = process.communicate(timeout=60)
    from tests.deploy.test_containerfile import pins

    installed = {re.sub(r"[-_.]+(?=.*==)", "-", name.lower()) for name in said.split()}  # PEP 503
    assert {name for name in installed if not name.startswith("casevault==")} == pins("requirements.lock")
    assert any(name.startswith("casevault==") for name in installed)
