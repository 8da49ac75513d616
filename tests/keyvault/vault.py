"""A key vault in this process: an HTTPS server that speaks Key Vault's REST contract, with real keys, and for secrets.

Known of it: the challenge (401 naming authority and resource), get key by version or current, wrapkey, unwrapkey,
rotate, 400 for what does not unwrap, 403 with `innererror` for a disabled key, 404, and faults told to it beforehand.
Of secrets: set (a new version), get the current one, 404, 403 for a disabled one, 409 for the name of a deleted one.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import ssl
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from cryptography.x509.oid import NameOID

DOMAIN = "vault.test"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Version:
    """One version of a key."""

    number: str
    secret: rsa.RSAPrivateKey | bytes
    attributes: dict[str, Any] = field(default_factory=lambda: {"enabled": True})

    def jwk(self, kid: str) -> dict[str, Any]:
        if isinstance(self.secret, bytes):
            return {"kid": kid, "kty": "oct-HSM", "key_ops": ["wrapKey", "unwrapKey"]}
        numbers = self.secret.public_key().public_numbers()
        n, e = (_b64(x.to_bytes(-(-x.bit_length() // 8), "big")) for x in (numbers.n, numbers.e))
        return {"kid": kid, "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"], "n": n, "e": e}

    def crypt(self, operation: str, algorithm: str, value: bytes) -> bytes:
        """ValueError when it cannot be done with this key."""
        if isinstance(self.secret, bytes):
            if algorithm != "A256KW":
                raise ValueError("algorithm")
            try:
                return (aes_key_wrap if operation == "wrapkey" else aes_key_unwrap)(self.secret, value)
            except InvalidUnwrap:
                raise ValueError("unwrap") from None
        if algorithm != "RSA-OAEP-256":
            raise ValueError("algorithm")
        if operation == "wrapkey":
            return self.secret.public_key().encrypt(value, _OAEP)
        return self.secret.decrypt(value, _OAEP)


@dataclass
class Secret:
    """A secret's versions, oldest first."""

    values: list[str]
    enabled: bool = True
    deleted: bool = False


@dataclass
class Fault:
    """An answer given in place of the real one; status 0: the line is cut."""

    status: int = 0
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Vault:
    """Keys by name, oldest version first. `requests` is what was asked of it: method and path.
    `resource` is named in the challenge, in place of the domain's own."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.keys: dict[str, list[Version]] = {}
        self.secrets: dict[str, Secret] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[str] = []
        self.token = os.urandom(8).hex()
        self.port = 0
        self.resource = ""
        self.name = f"{kind.lower()}-{os.urandom(3).hex()}"

    @property
    def url(self) -> str:
        return f"https://{self.name}.{DOMAIN}:{self.port}"

    def key_url(self, name: str) -> str:
        return f"{self.url}/keys/{name}"

    def rotate(self, name: str) -> Version:
        secret = os.urandom(32) if self.kind == "AES" else rsa.generate_private_key(65537, 2048)
        version = Version(os.urandom(16).hex(), secret)
        self.keys.setdefault(name, []).append(version)
        return version

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        parts = path.strip("/").split("/")
        name, rest = parts[1], parts[2:]
        if parts[0] == "secrets":
            return self._secret(method, name, body)
        versions = {version.number: version for version in self.keys.get(name, [])}
        if method == "POST" and rest == ["rotate"]:
            return 200, self._bundle(name, self.rotate(name))
        version = versions.get(rest[0]) if rest and rest[0] else next(reversed(versions.values()), None)
        if version is None:
            return _error(404, "KeyNotFound")
        if method == "GET":
            return 200, self._bundle(name, version)
        return self._crypt(name, version, rest[1], body)

    def _crypt(
        self, name: str, version: Version, operation: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if not version.attributes["enabled"]:
            return _error(403, "Forbidden", "KeyDisabled")
        try:
            value = version.crypt(operation, body["alg"], _unb64(body["value"]))
        except ValueError:
            return _error(400, "BadParameter")
        return 200, {"kid": f"{self.key_url(name)}/{version.number}", "value": _b64(value)}

    def _secret(self, method: str, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        secret = self.secrets.get(name)
        if method == "PUT":
            if secret is not None and secret.deleted:
                return _error(409, "Conflict", "ObjectIsDeletedButRecoverable")
            secret = self.secrets.setdefault(name, Secret([]))
            secret.values.append(body["value"])
        if secret is None or secret.deleted:
            return _error(404, "SecretNotFound")
        if not secret.enabled:
            return _error(403, "Forbidden", "SecretDisabled")
        number = f"{len(secret.values):032x}"
        attributes = {"enabled": True, "recoveryLevel": "Recoverable"}
        return 200, {
            "value": secret.values[-1],
            "id": f"{self.url}/secrets/{name}/{number}",
            "attributes": attributes,
        }

    def _bundle(self, name: str, version: Version) -> dict[str, Any]:
        kid = f"{self.key_url(name)}/{version.number}"
        return {"key": version.jwk(kid), "attributes": version.attributes}


def _error(status: int, code: str, inner: str = "") -> tuple[int, dict[str, Any]]:
    return status, {"error": {"code": code, "message": "said by the vault", "innererror": {"code": inner}}}


class _Handler(BaseHTTPRequestHandler):
    vault: Vault
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if self.headers.get("Authorization") != f"Bearer {self.vault.token}":
            resource = self.vault.resource or f"https://{DOMAIN}:{self.vault.port}"
            challenge = f'Bearer authorization="https://login.test/tenant", resource="{resource}"'
            self._send(401, {"error": {"code": "Unauthorized"}}, {"WWW-Authenticate": challenge})
            return
        self.vault.requests.append(f"{self.command} {path}")
        if self.vault.faults:
            self._fail(self.vault.faults.popleft())
            return
        self._send(*self.vault.answer(self.command, path, json.loads(body or b"{}")))

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            self._send(*_error(fault.status, "Fault", fault.code), fault.headers)
        else:
            self.close_connection = True

    do_GET = do_POST = do_PUT = _serve  # noqa: N815

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(vault: Vault, certificate: Path) -> ThreadingHTTPServer:
    """Start serving; the caller shuts it down."""
    handler = type("Handler", (_Handler,), {"vault": vault})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    vault.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class Credential:
    """Stands for Entra ID: gives the vault's token for the vault's scope, and notes what it was asked for."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        return AccessToken(self._vault.token, int((datetime.now(UTC) + timedelta(hours=1)).timestamp()))


def make_certificate(path: Path) -> None:
    """A certificate that is its own authority, with its key, for every vault of the domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test vault")])
    now = datetime.now(UTC)
    names = [x509.DNSName(f"*.{DOMAIN}"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
