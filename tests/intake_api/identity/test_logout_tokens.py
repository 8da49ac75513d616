"""Logout tokens (OpenID Connect Back-Channel Logout section 2.6): whom the issuer has signed out, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest

from intake_api.identity import (
    DevelopmentIssuer,
    InvalidToken,
    SignInClient,
    SignInFailed,
    SignInSettings,
    TokenVerifier,
)
from intake_api.identity.sign_in import LOGOUT_EVENT, LoggedOut
from retention.clock import SystemClock

ADDRESS = "http://127.0.0.1:8443/development"


class Nowhere:
    """The issuer's documents are not needed."""

    def get(self, url: str) -> dict[str, object]:
        raise AssertionError(url)


@pytest.fixture
def issuer(tmp_path: Path) -> DevelopmentIssuer:
    return DevelopmentIssuer(tmp_path / "issuer.pem", ADDRESS, "casevault", SystemClock())


def read(issuer: DevelopmentIssuer, typ: str = "logout+jwt", **changes: Any) -> LoggedOut:
    """What the client makes of a token with these claims instead of the right ones; None leaves one out."""
    now = int(SystemClock().now().timestamp())
    right = {"iss": ADDRESS, "aud": "portal", "iat": now, "jti": "1", "sub": "ada", "sid": "s1"}
    claims = {**right, "events": {LOGOUT_EVENT: {}}, **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    token = jwt.encode(claims, issuer._key, "ES256", headers={"kid": issuer._kid, "typ": typ})
    clock = SystemClock()
    verifier = TokenVerifier(issuer.settings(), issuer.key_source(), clock)
    settings = SignInSettings(
        client_id="portal", redirect="https://x.example", signed_out="https://x.example"
    )
    return SignInClient(settings, ADDRESS, Nowhere(), verifier, clock).read_logout(token)


def test_a_logout_token_names_a_person_a_session_or_both(issuer: DevelopmentIssuer) -> None:
    assert read(issuer) == LoggedOut(subject="ada", issuer_session="s1")
    assert read(issuer, sid=None) == LoggedOut(subject="ada", issuer_session=None)
    assert read(issuer, sub=None) == LoggedOut(subject=None, issuer_session="s1")
    assert read(issuer, typ="JWT", aud=["other", "portal"]).subject == "ada"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://other.example"}, "another issuer"),
        ({"aud": "other"}, "another client"),
        ({"events": None}, "no logout token"),
        ({"events": {"other": {}}}, "no logout token"),
        ({"nonce": "n"}, "no nonce"),
        ({"iat": 1}, "last minutes"),
        ({"iat": None}, "last minutes"),
        ({"sub": None, "sid": None}, "names nobody"),
    ],
)
def test_any_other_token_signs_nobody_out(
    issuer: DevelopmentIssuer, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(SignInFailed, match=why):
        read(issuer, **changes)


def test_an_access_token_signs_nobody_out(issuer: DevelopmentIssuer) -> None:
    with pytest.raises(InvalidToken):
        read(issuer, typ="at+jwt")
