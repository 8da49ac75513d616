"""A local certificate authority, so that the service speaks TLS on loopback with no setup.

    ca.pem      the authority's certificate: the one file that a client has to trust
    ca-key.pem  its key, mode 0600
    server.pem  the service's key, then its certificate, in one file, mode 0600: both are replaced in one rename

Rules:
- The authority is useless for anything else: name constraints (RFC 5280 section 4.2.1.10, critical) limit it to
  loopback names and addresses, and its path length is 0.
- A file with less than a third of its life left, that does not match its pair or cannot be read, is replaced at the
  next start. The authority outlives many certificates, so clients keep the file they trust.
- These times are the machine's: a development clock moves deadlines, never TLS.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.durable import replace_file

LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1/128")
AUTHORITY_LIFE = timedelta(days=3650)
CERTIFICATE_LIFE = timedelta(days=180)
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files that the server loads; its clients trust `authority`, None with a certificate from elsewhere."""

    certificate: Path
    key: Path
    authority: Path | None


@dataclass(frozen=True, slots=True)
class _Identity:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def local_certificate(folder: Path, now: datetime) -> TlsFiles:
    """Return the files in `folder`, made or renewed where due."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_file, ca_key_file, server_file = folder / "ca.pem", folder / "ca-key.pem", folder / "server.pem"
    for holding in (ca_key_file, server_file):
        if holding.exists() and holding.stat().st_mode & 0o077:
            raise OSError(
                f"{holding} can be read by others: run `chmod 600` on it, or delete it for a new key"
            )
    authority = _read(ca_file, ca_key_file)
    if authority is None or not _is_fresh(authority.certificate, now):
        authority = _make_authority(now)
        replace_file(ca_key_file, _key_pem(authority.key), 0o600)
        # Last: until then the pair does not match, and is made again.
        replace_file(ca_file, _certificate_pem(authority.certificate), 0o644)
    server = _read(server_file, server_file)
    if server is None or not _is_fresh(server.certificate, now) or not _is_issued_by(server, authority):
        server = _make_server(authority, now)
        replace_file(server_file, _key_pem(server.key) + _certificate_pem(server.certificate), 0o600)
    return TlsFiles(server_file, server_file, ca_file)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The names and lifetime in a certificate."""

    names: tuple[str, ...]
    begins: datetime
    ends: datetime

    def is_for(self, host: str) -> bool:
        """Return whether it names `host` (RFC 6125): itself, or with a wildcard as its first label."""
        return bool({host.lower(), f"*.{host.lower().partition('.')[2]}"} & {n.lower() for n in self.names})


def read_pair(certificate_file: Path, key_file: Path) -> x509.Certificate:
    """Return the file's first certificate, checked against its key. OSError, saying what to do, if they do not fit."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except ValueError:
        raise OSError(f"{certificate_file} does not hold a certificate in PEM") from None
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise OSError(f"{key_file} does not hold a private key in PEM without a password") from None
    if key.public_key() != certificate.public_key():
        raise OSError(f"{key_file} is not the key of {certificate_file}: they must be a pair")
    return certificate


def certificate_facts(certificate_file: Path, key_file: Path) -> CertificateFacts:
    """Return the facts of a pair that callers will accept; OSError saying what to do."""
    certificate = read_pair(certificate_file, key_file)
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise OSError(f"{certificate_file} names no host (subjectAltName): callers will refuse it") from None
    names = [*told.get_values_for_type(x509.DNSName), *map(str, told.get_values_for_type(x509.IPAddress))]
    return CertificateFacts(tuple(names), certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _is_fresh(certificate: x509.Certificate, now: datetime) -> bool:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begins <= now and (ends - now) * 3 > ends - begins


def _is_issued_by(server: _Identity, authority: _Identity) -> bool:
    try:
        server.certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _make_authority(now: datetime) -> _Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    # A new name each time: a client that trusts two authorities of one name could not tell them apart.
    name = _name(f"casevault local CA {secrets.token_hex(4)}")
    constraints = x509.NameConstraints(
        [x509.DNSName("localhost"), *(x509.IPAddress(ip_network(net)) for net in LOOPBACK_NETWORKS)], None
    )
    public = key.public_key()
    builder = (
        _builder(name, name, public, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return _Identity(builder.sign(key, hashes.SHA256()), key)


def _make_server(authority: _Identity, now: datetime) -> _Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    addresses = (x509.IPAddress(ip_address(text)) for text in ("127.0.0.1", "::1"))
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(_name("localhost"), authority.certificate.subject, key.public_key(), now, CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return _Identity(builder.sign(authority.key, hashes.SHA256()), key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
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


def _read(certificate_file: Path, key_file: Path) -> _Identity | None:
    """Read the pair from the files; None when they are missing, malformed, or not a pair."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Identity(certificate, key)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
