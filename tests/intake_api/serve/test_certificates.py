"""The local authority and its certificate, as a client and an attacker see them."""

from __future__ import annotations

import os
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from intake_api.serve.certificates import AUTHORITY_LIFE, CERTIFICATE_LIFE, local_certificate

NOW = datetime.now(UTC)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Two ends in memory; raises what the client raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    done = set()
    while len(done) < 2:
        for end in (near, far):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue


def _server(certificate: os.PathLike[str], key: os.PathLike[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_authority_accepts_the_service_by_its_loopback_names(tmp_path, name):
    files = local_certificate(tmp_path / "tls", NOW)
    client = ssl.create_default_context(cafile=files.authority)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    _handshake(_server(files.certificate, files.key), client, name)


def test_the_authority_vouches_for_no_other_name(tmp_path):
    files = local_certificate(tmp_path, NOW)
    key = serialization.load_pem_private_key((tmp_path / "ca-key.pem").read_bytes(), None)
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    own = ec.generate_private_key(ec.SECP256R1())
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank.example")]))
        .issuer_name(authority.subject)
        .public_key(own.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("bank.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = forged.public_bytes(serialization.Encoding.PEM) + own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "forged.pem").write_bytes(pem)
    client = ssl.create_default_context(cafile=files.authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        _handshake(_server(tmp_path / "forged.pem", tmp_path / "forged.pem"), client, "bank.example")


def test_keys_are_readable_by_their_owner_alone(tmp_path):
    files = local_certificate(tmp_path, NOW)
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca-key.pem").stat().st_mode & 0o777 == 0o600


def test_what_is_still_good_is_kept(tmp_path):
    files = local_certificate(tmp_path, NOW)
    before = files.certificate.read_bytes(), files.authority.read_bytes()
    local_certificate(tmp_path, NOW + CERTIFICATE_LIFE / 2)
    assert (files.certificate.read_bytes(), files.authority.read_bytes()) == before


def test_a_certificate_near_its_end_is_renewed_under_the_same_authority(tmp_path):
    files = local_certificate(tmp_path, NOW)
    before, authority = files.certificate.read_bytes(), files.authority.read_bytes()
    local_certificate(tmp_path, NOW + CERTIFICATE_LIFE * 0.7)
    assert files.certificate.read_bytes() != before
    assert files.authority.read_bytes() == authority


def test_an_authority_near_its_end_is_replaced_with_what_it_signed(tmp_path):
    files = local_certificate(tmp_path, NOW)
    authority = files.authority.read_bytes()
    later = NOW + AUTHORITY_LIFE * 0.7
    local_certificate(tmp_path, later)
    assert files.authority.read_bytes() != authority
    server = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(files.authority.read_bytes()))
    assert server.not_valid_after_utc > later


@pytest.mark.parametrize("broken", ["ca.pem", "ca-key.pem", "server.pem"])
@pytest.mark.parametrize("how", ["empty", "gone", "another's"])
def test_files_that_do_not_fit_together_are_made_anew(tmp_path, broken, how):
    local_certificate(tmp_path / "other", NOW)
    files = local_certificate(tmp_path, NOW)
    if how == "gone":
        (tmp_path / broken).unlink()
    else:
        other = (tmp_path / "other" / broken).read_bytes()
        (tmp_path / broken).write_bytes(other if how == "another's" else b"")
    local_certificate(tmp_path, NOW)
    client = ssl.create_default_context(cafile=files.authority)
    _handshake(_server(files.certificate, files.key), client, "localhost")


def test_two_that_start_at_once_leave_files_that_can_be_used_at_the_next_start(tmp_path):
    threads = [threading.Thread(target=local_certificate, args=(tmp_path, NOW)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = local_certificate(tmp_path, NOW)
    client = ssl.create_default_context(cafile=files.authority)
    _handshake(_server(files.certificate, files.key), client, "localhost")


@pytest.mark.parametrize("name", ["ca-key.pem", "server.pem"])
def test_a_key_that_others_can_read_is_refused_as_other_keys_are(tmp_path, name):
    local_certificate(tmp_path, NOW)
    before = (tmp_path / name).read_bytes()
    (tmp_path / name).chmod(0o640)
    with pytest.raises(OSError, match=f"{name} can be read by others: run `chmod 600`"):
        local_certificate(tmp_path, NOW)
    assert (tmp_path / name).read_bytes() == before
    (tmp_path / name).chmod(0o600)
    local_certificate(tmp_path, NOW)
