"""The URL of the database: what is refused, what is passed on, and TLS with a server's name that must be right."""

from __future__ import annotations

import datetime as dt
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from retention.config import SettingError, from_environment
from retention.records.postgres_engine import postgres_engine
from retention.records.postgres_url import UnsafeUrlError, check_url
from tests.servers.postgres import PostgresServer, shared_server

PASSWORD = "open-sesame"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db.example/casevault?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql+psycopg://u@db.example/casevault?sslmode=verify-full",
        "postgresql://u@localhost/casevault",
        "postgresql://u@127.0.0.1:5433/casevault",
        "postgresql://u@[::1]/casevault",
        "postgresql:///casevault?host=/run/postgresql",
        "postgresql:///casevault",
        "postgresql:///casevault?host=a.example:5432&host=b.example:5432&sslmode=verify-full",
    ],
)
def test_these_urls_will_do(url: str) -> None:
    assert check_url(url).drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgresql://u:{PASSWORD}@db.example/casevault", "verify-full"),
        (f"postgresql://u:{PASSWORD}@db.example/casevault?sslmode=require", "verify-full"),
        (f"postgresql://u:{PASSWORD}@db.example/casevault?sslmode=verify-ca", "verify-full"),
        (f"postgresql://u:{PASSWORD}@192.0.2.7/casevault?sslmode=disable", "verify-full"),
        (f"postgresql://u:{PASSWORD}@localhost/casevault?host=db.example", "verify-full"),
        (f"postgresql://u:{PASSWORD}@localhost/casevault?hostaddr=192.0.2.7", "verify-full"),
        (f"postgresql://u:{PASSWORD}@/casevault?host=/run/pg&host=db.example:5432", "verify-full"),
        (f"postgresql://u:{PASSWORD}@localhost/casevault?service=elsewhere", "service"),
        (f"postgresql://u:{PASSWORD}@localhost", "names no database"),
        (f"mysql://u:{PASSWORD}@localhost/casevault", "postgresql://"),
        (f"postgresql+psycopg2://u:{PASSWORD}@localhost/casevault", "postgresql://"),
        (PASSWORD, "not a URL"),
    ],
)
def test_these_are_refused_without_showing_the_password(url: str, why: str) -> None:
    with pytest.raises(UnsafeUrlError, match=why) as refused:
        check_url(url)
    assert PASSWORD not in str(refused.value)
    with pytest.raises(SettingError, match="CASEVAULT_DATABASE_URL") as refused_setting:
        from_environment({"CASEVAULT_DATABASE_URL": url})
    assert PASSWORD not in str(refused_setting.value)


def test_settings_keep_the_url_and_never_show_it() -> None:
    url = f"postgresql://u:{PASSWORD}@localhost/casevault"
    settings = from_environment({"CASEVAULT_DATABASE_URL": url, "CASEVAULT_DATABASE_CONNECTIONS": "7"})
    assert PASSWORD in (settings.database_url or "")
    assert PASSWORD not in repr(settings)
    assert settings.database_connections == 7
    assert from_environment({}).database_url is None


def test_what_the_url_says_comes_before_our_own_choice() -> None:
    url = shared_server().url("postgres") + "&application_name=door-3&options=-c%20statement_timeout%3D7s"
    engine = postgres_engine(url)
    with engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("application_name", "statement_timeout", "lock_timeout")
        ]
    engine.dispose()
    assert shown == ["door-3", "7s", "10s"]


def test_a_wrong_password_is_refused_and_not_shown() -> None:
    wrong = shared_server().tcp_url("postgres").replace(shared_server().password, PASSWORD)
    engine = postgres_engine(wrong)
    with pytest.raises(OperationalError, match="authentication failed") as refused:
        engine.connect()
    assert PASSWORD not in str(refused.value)


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for `name`, which is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, Path, Path]]:
    """A server that speaks TLS as `localhost`, its certificate, and one of another CA."""
    folder = tmp_path_factory.mktemp("tls")
    right, key = _certificate(folder, "localhost")
    wrong, _ = _certificate(folder, "other.example")
    server = PostgresServer()
    server.stop()
    for source, name in ((right, "server.pem"), (key, "server.key")):
        placed = server.folder / name
        placed.write_bytes(source.read_bytes())
        placed.chmod(0o600)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(placed, owner.pw_uid, owner.pw_gid)
    server.options |= {
        "ssl": "on",
        "ssl_cert_file": str(server.folder / "server.pem"),
        "ssl_key_file": str(server.folder / "server.key"),
    }
    server.start()
    yield server, right, wrong
    server.remove()


def test_tls_is_spoken_with_the_server_whose_name_is_right(
    tls_server: tuple[PostgresServer, Path, Path],
) -> None:
    server, right, wrong = tls_server

    def url(host: str, ca: Path) -> str:
        made = server.tcp_url("postgres", sslmode="verify-full", sslrootcert=str(ca))
        return made.replace("127.0.0.1", host)

    engine = postgres_engine(url("localhost", right))
    with engine.connect() as connection:
        version = connection.execute(
            text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        ).scalar_one()
    engine.dispose()
    assert version == "TLSv1.3"
    for bad, why in (
        (url("127.0.0.1", right), 'does not match host name "127.0.0.1"'),
        (url("localhost", wrong), "certificate verify failed"),
    ):
        with pytest.raises(OperationalError, match=why):
            postgres_engine(bad).connect()
