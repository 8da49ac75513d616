"""Starts the certified OpenID provider of server.mjs in a child process, over https with an authority made for the run.

Its modules are installed once, by `npm ci` from the lock file. On a build machine (CI set) a missing node is an error;
elsewhere these tests are skipped with the reason.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = Path(__file__).parent
AUDIENCE = "https://casevault.example/api"
CLIENTS: dict[str, dict[str, Any]] = {
    "engineer-1": {
        "secret": "secret-1",
        "claims": {"roles": ["CaseVault.SupportEngineer"], "name": "Ada Example"},
    },
    "operator-1": {"secret": "secret-2", "claims": {"roles": ["CaseVault.Operator"], "tid": "directory-1"}},
    "nobody-1": {"secret": "secret-3", "claims": {}},
}


@dataclass
class Provider:
    """The running provider, and what it has said about itself last."""

    process: subprocess.Popen[str]
    authorities: Path
    issuer: str = ""
    kids: tuple[str, ...] = ()
    fetches: int = 0

    def heard(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the OpenID provider ended"
        state = json.loads(line)
        self.issuer, self.kids, self.fetches = state["issuer"], tuple(state["kids"]), state["fetches"]

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        self.heard()

    def bearer(self, client: str) -> str:
        """An Authorization header, had by the client credentials grant."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"{self.issuer}/token",
                data={"grant_type": "client_credentials"},
                auth=(client, CLIENTS[client]["secret"]),
                verify=str(self.authorities),
                timeout=20,
            )
        answer.raise_for_status()
        return f"Bearer {answer.json()['access_token']}"


@pytest.fixture(scope="session")
def audience() -> str:
    return AUDIENCE


@pytest.fixture(scope="session")
def node_modules() -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        reason = "node and npm are needed to run a certified OpenID provider"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]["oidc-provider"]
    installed = HERE / "node_modules" / "oidc-provider" / "package.json"
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once install once
        if not installed.exists() or json.loads(installed.read_text())["version"] != wanted:
            subprocess.run([npm, "ci"], cwd=HERE, check=True, capture_output=True, timeout=240)


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path, Path]:
    return make_certificates(tmp_path)


@pytest.fixture
def provider(node_modules: None, tmp_path: Path, certificates: tuple[Path, Path, Path]) -> Iterator[Provider]:
    authorities, certificate, key = certificates
    settings = json.dumps({"audience": AUDIENCE, "clients": CLIENTS})
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            ["node", HERE / "server.mjs", certificate, key, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        running = Provider(process, authorities)
        running.heard()
        yield running
        assert process.stdin is not None
        process.stdin.close()  # it ends with its stdin


def make_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate of it for localhost: (authority, certificate, key) as PEM files."""
    authority_key, server_key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test authority")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        _builder(server_name, authority_name, server_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    contents = {
        "authority.pem": authority.public_bytes(pem),
        "server.pem": certificate.public_bytes(pem),
        "server.key": server_key.private_bytes(pem, private, serialization.NoEncryption()),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder / "authority.pem", folder / "server.pem", folder / "server.key"


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
