"""Tokens of a certified OpenID provider, keys found over https: nothing here is ours but the verifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import pytest

from intake_api.identity import (
    DiscoveredKeys,
    HttpsDocuments,
    InvalidToken,
    IssuerSettings,
    KeysUnavailable,
    TokenRefusal,
    TokenVerifier,
)
from intake_api.identity.claims import caller_of, check_access_token
from retention.clock import SystemClock
from retention.domain.actor import Role


@pytest.fixture
def verifier(provider: Any, audience: str) -> TokenVerifier:
    clock = SystemClock()
    keys = DiscoveredKeys(provider.issuer, HttpsDocuments(provider.authorities), clock)
    return TokenVerifier(IssuerSettings(issuer=provider.issuer, audiences=(audience,)), keys, clock)


def test_a_token_of_the_client_credentials_grant_makes_a_caller(
    provider: Any, verifier: TokenVerifier
) -> None:
    caller = verifier.verify(provider.bearer("engineer-1"))
    assert (caller.issuer, caller.subject) == (provider.issuer, "engineer-1")
    assert (caller.roles, caller.name, caller.directory) == ({Role.SUPPORT_ENGINEER}, "Ada Example", None)
    assert caller.token_id


@pytest.mark.parametrize("asked", [{"nonce": "n-0S6_WzA2Mj"}, {}])
def test_who_signed_in_at_a_client_is_let_in_by_the_access_token_and_not_by_the_id_token(
    provider: Any, verifier: TokenVerifier, audience: str, asked: dict[str, str]
) -> None:
    """Also where the client's own id counts as an audience, as it did where one application was all there was."""
    given = provider.signed_in("portal-1", **asked)
    keys = DiscoveredKeys(provider.issuer, HttpsDocuments(provider.authorities), SystemClock())
    trusting = IssuerSettings(issuer=provider.issuer, audiences=(audience, "portal-1"))
    for ours in (verifier, TokenVerifier(trusting, keys, SystemClock())):
        caller = ours.verify(f"Bearer {given['access_token']}")
        assert (caller.subject, caller.roles) == ("person-1", {Role.SUPPORT_ENGINEER})
        with pytest.raises(InvalidToken) as caught:
            ours.verify(f"Bearer {given['id_token']}")
        assert caught.value.code is TokenRefusal.TYPE_REFUSED  # theirs have no type; Entra's say JWT
    # Its claims would do but for the kind of token that they show: for that audience, in time, with a role.
    claims = jwt.decode(given["id_token"], options={"verify_signature": False})
    with pytest.raises(InvalidToken) as caught:
        check_access_token(claims, trusting, by_type=False)
    assert caught.value.code is (TokenRefusal.OTHER_KIND if asked else TokenRefusal.UNPROVEN_KIND)
    assert caller_of(claims, trusting, SystemClock().now()).roles == {Role.SUPPORT_ENGINEER}
    assert ("nonce" in claims) == ("nonce" in asked)


def test_the_customers_directory_comes_along(provider: Any, verifier: TokenVerifier) -> None:
    caller = verifier.verify(provider.bearer("operator-1"))
    assert (caller.roles, caller.directory) == ({Role.OPERATOR}, "directory-1")


def test_a_client_without_a_role_is_refused(provider: Any, verifier: TokenVerifier) -> None:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(provider.bearer("nobody-1"))
    assert caught.value.code is TokenRefusal.NO_ROLE


def test_a_rotated_key_is_accepted_at_once_and_the_former_still(
    provider: Any, verifier: TokenVerifier
) -> None:
    old = provider.bearer("engineer-1")
    verifier.verify(old)
    for _ in range(3):
        provider.tell("rotate")
        assert verifier.verify(provider.bearer("engineer-1")).subject == "engineer-1"
    provider.tell("requests")
    assert provider.fetches == 4
    assert verifier.verify(old).subject == "engineer-1"


def test_a_withdrawn_key_is_refused(provider: Any, verifier: TokenVerifier) -> None:
    old = provider.bearer("engineer-1")
    provider.tell("rotate")
    provider.tell("withdraw")
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(old)
    assert caught.value.code is TokenRefusal.UNKNOWN_KEY


def test_a_token_for_another_service_of_the_same_issuer_is_refused(provider: Any) -> None:
    clock = SystemClock()
    keys = DiscoveredKeys(provider.issuer, HttpsDocuments(provider.authorities), clock)
    other = TokenVerifier(
        IssuerSettings(issuer=provider.issuer, audiences=("https://other.example",)), keys, clock
    )
    with pytest.raises(InvalidToken) as caught:
        other.verify(provider.bearer("engineer-1"))
    assert caught.value.code is TokenRefusal.WRONG_AUDIENCE


def test_an_issuer_whose_certificate_nobody_we_trust_signed_is_not_believed(
    provider: Any, audience: str
) -> None:
    clock = SystemClock()
    keys = DiscoveredKeys(provider.issuer, HttpsDocuments(), clock)
    verifier = TokenVerifier(IssuerSettings(issuer=provider.issuer, audiences=(audience,)), keys, clock)
    with pytest.raises(KeysUnavailable):
        verifier.verify(provider.bearer("engineer-1"))


def test_the_same_issuer_under_another_name_is_not_believed(provider: Any, audience: str) -> None:
    alias = provider.issuer.replace("localhost", "127.0.0.1")  # the certificate is for both
    clock = SystemClock()
    keys = DiscoveredKeys(alias, HttpsDocuments(provider.authorities), clock)
    with pytest.raises(KeysUnavailable):
        TokenVerifier(IssuerSettings(issuer=alias, audiences=(audience,)), keys, clock).verify(
            provider.bearer("engineer-1")
        )


def test_the_lock_file_names_no_download_address() -> None:
    assert '"resolved"' not in (Path(__file__).parent / "package-lock.json").read_text()
