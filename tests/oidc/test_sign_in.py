"""The portal's sign-in at a certified OpenID provider, which asks for PKCE: nothing here is ours but the client."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
import requests

from intake_api.identity import (
    DiscoveredKeys,
    HttpsDocuments,
    InvalidToken,
    IssuerAway,
    IssuerSettings,
    SignInClient,
    SignInFailed,
    SignInSettings,
    TokenVerifier,
)
from retention.clock import SystemClock
from retention.domain.actor import Role

BACK = "/portal/cases/1?cursor=a b"
REDIRECT = "https://portal.example/back"


def client_of(provider: Any, audience: str, **changes: Any) -> SignInClient:
    clock, documents = SystemClock(), HttpsDocuments(provider.authorities)
    keys = DiscoveredKeys(provider.issuer, documents, clock)
    verifier = TokenVerifier(IssuerSettings(issuer=provider.issuer, audiences=(audience,)), keys, clock)
    usual: dict[str, Any] = {
        "client_id": "portal-1",
        "client_secret": "secret-4",
        "redirect": REDIRECT,
        "signed_out": REDIRECT,
        "resource": audience,
        "authorities": provider.authorities,
    }
    settings = SignInSettings(**{**usual, **changes})
    return SignInClient(settings, provider.issuer, documents, verifier, clock)


@pytest.fixture
def client(provider: Any, audience: str) -> SignInClient:
    return client_of(provider, audience)


def browsed(provider: Any, address: str) -> dict[str, str]:
    """What a browser brings back when it has followed the issuer's redirects."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(provider.authorities)
        while not address.startswith(REDIRECT):
            answer = session.get(address, allow_redirects=False, timeout=20)
            assert "Location" in answer.headers, answer.text
            address = urljoin(address, answer.headers["Location"])
    return dict(parse_qsl(urlsplit(address).query))


def test_a_person_signs_in_and_goes_back_to_where_they_were(provider: Any, client: SignInClient) -> None:
    secret = secrets.token_bytes(32)
    signed_in, back = client.finish(secret, browsed(provider, client.start_address(secret, BACK)))
    assert back == BACK
    caller = signed_in.caller
    assert (caller.issuer, caller.subject, caller.name) == (provider.issuer, "person-1", "Ada Example")
    assert caller.roles == {Role.SUPPORT_ENGINEER}
    assert signed_in.refresh_token and signed_in.id_token
    assert signed_in.refresh_token not in repr(signed_in) and signed_in.id_token not in repr(signed_in)


def test_a_code_is_of_no_use_to_another_browser(provider: Any, client: SignInClient) -> None:
    """Its state belongs to the browser that began; with a state of one's own, its nonce and its verifier do."""
    mine, theirs = secrets.token_bytes(32), secrets.token_bytes(32)
    answer = browsed(provider, client.start_address(mine, BACK))
    with pytest.raises(SignInFailed, match="not begun in this browser"):
        client.finish(theirs, answer)
    own = dict(parse_qsl(urlsplit(client.start_address(theirs, BACK)).query))["state"]
    with pytest.raises(SignInFailed, match="the issuer refused"):
        client.finish(theirs, {**answer, "state": own})


def test_a_code_is_good_once(provider: Any, client: SignInClient) -> None:
    secret = secrets.token_bytes(32)
    answer = browsed(provider, client.start_address(secret, BACK))
    client.finish(secret, answer)
    with pytest.raises(SignInFailed):
        client.finish(secret, answer)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://other.example"}, "another issuer"),
        ({"error": "access_denied"}, "access_denied"),
        ({"code": ""}, "no code"),
        ({"state": "x.L3BvcnRhbC8"}, "not begun"),
        ({"state": "x.\xff"}, "not begun"),
    ],
)
def test_what_the_issuer_did_not_say_signs_nobody_in(
    provider: Any, client: SignInClient, change: dict[str, str], why: str
) -> None:
    secret = secrets.token_bytes(32)
    answer = browsed(provider, client.start_address(secret, BACK))
    with pytest.raises(SignInFailed, match=why):
        client.finish(secret, {**answer, **change})


def test_the_issuer_renews_the_same_person_and_nobody_else(provider: Any, client: SignInClient) -> None:
    secret = secrets.token_bytes(32)
    signed_in, _ = client.finish(secret, browsed(provider, client.start_address(secret, BACK)))
    again = client.renew(str(signed_in.refresh_token), "person-1")
    assert again.caller.roles == signed_in.caller.roles and again.refresh_token
    with pytest.raises(SignInFailed, match="somebody else"):
        client.renew(str(again.refresh_token), "person-2")
    with pytest.raises(SignInFailed, match="the issuer refused: invalid_grant"):
        client.renew("made-up", "person-1")


def test_a_wrong_client_secret_is_said_and_not_shown(provider: Any, audience: str) -> None:
    client, secret = client_of(provider, audience, client_secret="wrong-one"), secrets.token_bytes(32)
    answer = browsed(provider, client.start_address(secret, BACK))
    with pytest.raises(SignInFailed, match="invalid_client") as failed:
        client.finish(secret, answer)
    assert "wrong-one" not in str(failed.value)


def test_signing_out_ends_at_the_issuer_too(provider: Any, client: SignInClient) -> None:
    address = client.sign_out_address(None)
    assert address is not None and address.startswith(f"{provider.issuer}/session/end?client_id=portal-1")


def test_an_issuer_that_is_away_is_another_matter_than_one_that_refuses(provider: Any, audience: str) -> None:
    client = client_of(provider, audience)
    provider.process.kill()
    provider.process.wait()
    with pytest.raises(IssuerAway):
        client.start_address(b"s" * 32, BACK)
    assert client.sign_out_address(None) is None


def test_an_id_token_is_no_logout_token(provider: Any, client: SignInClient) -> None:
    secret = secrets.token_bytes(32)
    signed_in, _ = client.finish(secret, browsed(provider, client.start_address(secret, BACK)))
    with pytest.raises((SignInFailed, InvalidToken), match="no logout token"):
        client.read_logout(str(signed_in.id_token))
