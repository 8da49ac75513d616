"""Microsoft Entra tokens as passwords: a PostgreSQL that demands one, and an identity whose token changes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from retention.config import SettingError, from_environment
from retention.records.postgres_engine import SCOPE, entra_password, postgres_engine
from tests.servers.postgres import PostgresServer, shared_server

ROLE = "casevault_identity"
USER = text("SELECT current_user")


class Identity:
    """Stands for azure-identity: `token` is what it gives now; None when there is none to be had."""

    def __init__(self, token: str) -> None:
        self.token: str | None = token
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if self.token is None:
            raise ClientAuthenticationError("who is asking? Bearer eyJhbGciOi")
        return AccessToken(self.token, int(time.time()) + 3600)


@pytest.fixture
def identity() -> Iterator[Identity]:
    """Mapped to a role whose password is its token."""
    identity = Identity(secrets.token_hex(16))
    shared_server().admin(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{identity.token}'")
    yield identity
    shared_server().admin(f"DROP ROLE {ROLE}")


@pytest.fixture
def database() -> Iterator[str]:
    name = shared_server().new_database()
    yield name
    shared_server().drop(name)


def renew(server: PostgresServer, identity: Identity) -> None:
    """The token has run out; there is a new one."""
    identity.token = secrets.token_hex(16)
    server.admin(f"ALTER ROLE {ROLE} PASSWORD '{identity.token}'")


@pytest.fixture
def engine(identity: Identity, database: str) -> Iterator[Engine]:
    url = f"postgresql://{ROLE}@127.0.0.1:{shared_server().port}/{database}"
    engine = postgres_engine(url, connections=2, password=entra_password(identity))
    yield engine
    engine.dispose()


def test_the_token_lets_in_and_is_asked_for_by_each_connection(engine: Engine, identity: Identity) -> None:
    with engine.connect() as one, engine.connect() as two:
        assert one.execute(USER).scalar() == two.execute(USER).scalar() == ROLE
    with engine.connect() as again:  # from the pool
        assert again.execute(USER).scalar() == ROLE
    assert identity.scopes == [SCOPE, SCOPE]


def test_a_token_that_ran_out_ends_no_connection_and_the_next_one_takes_the_new(
    engine: Engine, identity: Identity
) -> None:
    with engine.connect() as old:
        renew(shared_server(), identity)
        assert old.execute(USER).scalar() == ROLE
        with engine.connect() as new:
            assert new.execute(USER).scalar() == ROLE


def test_an_old_token_is_refused_and_is_in_no_error_and_no_log(
    engine: Engine, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    old = str(identity.token)
    renew(shared_server(), identity)
    identity.token = old
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(OperationalError, match="password authentication failed") as caught,
    ):
        engine.connect()
    assert old not in f"{caught.getrepr(showlocals=False)}"
    assert old not in caplog.text
    assert old not in repr(engine)


def test_an_identity_that_cannot_be_had_is_a_database_that_cannot_be_reached(
    identity: Identity, engine: Engine
) -> None:
    identity.token = None
    with pytest.raises(OperationalError, match=r"is unavailable \(ClientAuthenticationError\)") as caught:
        engine.connect()
    assert "eyJ" not in f"{caught.getrepr(showlocals=False)}"


@pytest.mark.parametrize(
    ("environ", "advice"),
    [
        ({"CASEVAULT_DATABASE_IDENTITY": "entra"}, "needs CASEVAULT_DATABASE_URL"),
        (
            {
                "CASEVAULT_DATABASE_IDENTITY": "password",
                "CASEVAULT_DATABASE_URL": "postgresql://r@localhost/d",
            },
            "must be entra",
        ),
        (
            {
                "CASEVAULT_DATABASE_IDENTITY": "entra",
                "CASEVAULT_DATABASE_URL": "postgresql://r:pw@localhost/d",
            },
            "must not hold a password",
        ),
        (
            {
                "CASEVAULT_DATABASE_IDENTITY": "entra",
                "CASEVAULT_DATABASE_URL": "postgresql://r@localhost/d?password=pw",
            },
            "must not hold a password",
        ),
        (
            {"CASEVAULT_DATABASE_IDENTITY": "entra", "CASEVAULT_DATABASE_URL": "postgresql://localhost/d"},
            "must name the role",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(environ: dict[str, str], advice: str) -> None:
    with pytest.raises(SettingError, match=advice):
        from_environment(environ)


def test_an_identity_in_place_of_a_password_is_taken() -> None:
    url = "postgresql://casevault-api@db.example/casevault?sslmode=verify-full&sslrootcert=ca.pem"
    settings = from_environment({"CASEVAULT_DATABASE_IDENTITY": "entra", "CASEVAULT_DATABASE_URL": url})
    assert settings.database_by_token
    assert not from_environment({"CASEVAULT_DATABASE_URL": url}).database_by_token
