"""The development issuer: its key file, its tokens, and how it turns strangers away."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from flask.testing import FlaskClient

from intake_api.identity import (
    DevelopmentIssuer,
    DiscoveredKeys,
    InvalidToken,
    IssuerKeyRefused,
    TokenRefusal,
    TokenVerifier,
    development_blueprint,
)
from intake_api.identity.development_routes import WARNING
from retention.domain.actor import OURS_ALONE, Role

ISSUER = "https://localhost:8443/development"
AUDIENCE = "casevault"


@pytest.fixture
def issuer(tmp_path: Path, clock: Any) -> DevelopmentIssuer:
    return DevelopmentIssuer(tmp_path / "issuer.pem", ISSUER, AUDIENCE, clock)


@pytest.fixture
def client(issuer: DevelopmentIssuer) -> FlaskClient:
    app = Flask("test")
    app.register_blueprint(development_blueprint(issuer, bind="127.0.0.1"))
    return app.test_client()


def verifier_of(issuer: DevelopmentIssuer, clock: Any) -> TokenVerifier:
    return TokenVerifier(issuer.settings(), issuer.key_source(), clock)


@pytest.mark.parametrize("role", sorted(set(Role) - OURS_ALONE))
def test_its_tokens_make_callers_of_every_role(issuer: DevelopmentIssuer, clock: Any, role: Role) -> None:
    token = issuer.token("subject-1", [role], directory="directory-1", partner="oem-1", name="Ada Example")
    caller = verifier_of(issuer, clock).verify(f"Bearer {token}")
    assert (caller.issuer, caller.subject, caller.roles) == (ISSUER, "subject-1", {role})
    assert (caller.directory, caller.partner, caller.name) == ("directory-1", "oem-1", "Ada Example")
    assert caller.expires == clock.now() + timedelta(hours=1)


def test_its_tokens_are_access_tokens_by_the_standard(issuer: DevelopmentIssuer, clock: Any) -> None:
    """RFC 9068 section 2: by type, with every claim that is required, and nothing of an ID token."""
    token = issuer.token("subject-1", [Role.STAMP])
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= claims.keys()
    strict = replace(issuer.settings(), access_token_claims=())
    assert TokenVerifier(strict, issuer.key_source(), clock).verify(f"Bearer {token}").subject == "subject-1"


def test_what_was_not_asked_for_is_not_claimed(issuer: DevelopmentIssuer, clock: Any) -> None:
    caller = verifier_of(issuer, clock).verify(f"Bearer {issuer.token('subject-1', [Role.AUDITOR])}")
    assert (caller.directory, caller.partner, caller.name) == (None, None, None)


def test_not_even_the_development_issuer_makes_a_clock(issuer: DevelopmentIssuer, clock: Any) -> None:
    with pytest.raises(InvalidToken) as caught:
        verifier_of(issuer, clock).verify(f"Bearer {issuer.token('subject-1', [Role.CLOCK])}")
    assert caught.value.code is TokenRefusal.NO_ROLE


def test_its_tokens_end_when_asked_to(issuer: DevelopmentIssuer, clock: Any) -> None:
    token = issuer.token("subject-1", [Role.STAMP], lifetime=timedelta(minutes=1))
    clock.advance(120)
    with pytest.raises(InvalidToken) as caught:
        verifier_of(issuer, clock).verify(f"Bearer {token}")
    assert caught.value.code is TokenRefusal.EXPIRED


def test_the_key_is_kept_and_only_its_owner_can_read_it(tmp_path: Path, clock: Any) -> None:
    path = tmp_path / "issuer.pem"
    token = DevelopmentIssuer(path, ISSUER, AUDIENCE, clock).token("subject-1", [Role.STAMP])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["issuer.pem"]
    again = DevelopmentIssuer(path, ISSUER, AUDIENCE, clock)
    assert verifier_of(again, clock).verify(f"Bearer {token}").subject == "subject-1"


def test_issuers_that_start_at_once_end_up_with_one_key(tmp_path: Path, clock: Any) -> None:
    def start(_: int) -> object:
        return DevelopmentIssuer(tmp_path / "issuer.pem", ISSUER, AUDIENCE, clock).key_set()

    with ThreadPoolExecutor(8) as threads:
        sets = list(threads.map(start, range(8)))
    assert all(found == sets[0] for found in sets)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, clock: Any, mode: int) -> None:
    path = tmp_path / "issuer.pem"
    DevelopmentIssuer(path, ISSUER, AUDIENCE, clock)
    path.chmod(mode)
    with pytest.raises(IssuerKeyRefused, match="chmod 600"):
        DevelopmentIssuer(path, ISSUER, AUDIENCE, clock)


def other_curve() -> bytes:
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("content", [bytes, lambda: b"not a key", other_curve])
def test_a_file_that_holds_no_such_key_is_refused_and_kept(
    tmp_path: Path, clock: Any, content: Callable[[], bytes]
) -> None:
    path = tmp_path / "issuer.pem"
    path.touch(mode=0o600)
    path.write_bytes(held := content())
    with pytest.raises(IssuerKeyRefused, match="P-256"):
        DevelopmentIssuer(path, ISSUER, AUDIENCE, clock)
    assert path.read_bytes() == held


@pytest.mark.parametrize(
    "address", ["https://casevault.example", "https://10.0.0.1/development", "localhost"]
)
def test_it_cannot_be_built_for_an_address_beyond_this_machine(
    tmp_path: Path, clock: Any, address: str
) -> None:
    with pytest.raises(ValueError, match="works only on"):
        DevelopmentIssuer(tmp_path / "issuer.pem", address, AUDIENCE, clock)
    assert not list(tmp_path.iterdir())


def test_its_door_cannot_be_built_on_a_service_that_others_can_reach(issuer: DevelopmentIssuer) -> None:
    with pytest.raises(ValueError, match="works only on"):
        development_blueprint(issuer, bind="0.0.0.0")  # noqa: S104 - it is the point


def test_its_door_gives_tokens_that_verify_by_discovery(client: FlaskClient, issuer: Any, clock: Any) -> None:
    form = {
        "subject": "subject-1",
        "role": ["CaseVault.Operator", "CaseVault.Auditor"],
        "directory": "directory-1",
    }
    answer = client.post("/development/token", data={**form, "partner": "oem-1", "name": "Ada Example"})
    assert answer.status_code == 200
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 3600)

    class ThroughTheDoor:
        def get(self, url: str) -> Any:
            return client.get(url.removeprefix("https://localhost:8443")).json

    keys = DiscoveredKeys(ISSUER, ThroughTheDoor(), clock)
    caller = TokenVerifier(issuer.settings(), keys, clock).verify(f"Bearer {answer.json['access_token']}")
    assert caller.roles == {Role.OPERATOR, Role.AUDITOR}
    assert (caller.directory, caller.partner, caller.name) == ("directory-1", "oem-1", "Ada Example")


def test_the_key_it_publishes_has_no_private_half(client: FlaskClient) -> None:
    (key,) = client.get("/development/jwks").json["keys"]
    assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"subject": "subject-1"},
        {"role": "CaseVault.Stamp"},
        {"subject": "", "role": "CaseVault.Stamp"},
        {"subject": "subject-1", "role": "Stamp"},
        {"subject": "subject-1", "role": ["CaseVault.Stamp", "CaseVault.Clock"]},
    ],
)
def test_a_form_that_asks_for_nothing_sensible_is_told_so(client: FlaskClient, form: dict[str, Any]) -> None:
    answer = client.post("/development/token", data=form)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert "role" in answer.json["detail"]


REQUESTS = [
    ("GET", "/development/.well-known/openid-configuration"),
    ("GET", "/development/jwks"),
    ("POST", "/development/token"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize(
    "stranger",
    [
        {"environ_overrides": {"REMOTE_ADDR": "10.0.0.1"}},
        {"environ_overrides": {"REMOTE_ADDR": "::ffff:10.0.0.1"}},
        {"environ_overrides": {"REMOTE_ADDR": ""}},
        {"headers": {"X-Forwarded-For": "127.0.0.1"}},
        {"headers": {"X-Forwarded-For": ""}},
        {"headers": {"Forwarded": "for=127.0.0.1"}},
        {"headers": {"Via": "1.1 proxy"}},
        {"headers": {"Host": "rebound.example"}},
        {"headers": {"Host": "[::1"}},
    ],
)
def test_a_stranger_gets_nothing(
    client: FlaskClient, method: str, path: str, stranger: dict[str, Any]
) -> None:
    form = {"subject": "subject-1", "role": "CaseVault.Administrator"} if method == "POST" else None
    answer = client.open(path, method=method, data=form, **stranger)
    assert (answer.status_code, answer.content_type) == (403, "application/problem+json")
    assert answer.json.keys() == {"type", "title", "status", "detail", "warning"}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8443", "127.0.0.1:8443", "[::1]:8443"])
def test_a_caller_on_this_machine_is_served(client: FlaskClient, peer: str, host: str) -> None:
    answer = client.get("/development/jwks", environ_overrides={"REMOTE_ADDR": peer}, headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1"])
def test_every_answer_says_what_it_is(client: FlaskClient, method: str, path: str, peer: str) -> None:
    answer = client.open(path, method=method, environ_overrides={"REMOTE_ADDR": peer})
    assert answer.json["warning"] == answer.headers["X-Casevault-Warning"] == WARNING
    assert answer.headers["Cache-Control"] == "no-store"
