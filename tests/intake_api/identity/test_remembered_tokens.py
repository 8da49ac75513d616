"""Verified tokens are remembered: for how long, how many, and never one for another."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from intake_api.identity import InvalidToken, IssuerSettings, TokenRefusal, TokenVerifier
from intake_api.identity.tokens import MOST_REMEMBERED


def refusal(verifier: TokenVerifier, authorization: str | None) -> TokenRefusal:
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(authorization)
    return caught.value.code


def test_a_verified_token_is_remembered_for_five_minutes(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings
) -> None:
    verifier, header = TokenVerifier(settings, counted, clock), signer.bearer()
    first = verifier.verify(header)
    clock.advance(299.999)
    assert verifier.verify(header) is first
    assert counted.asked == 1
    clock.advance(0.001)
    assert verifier.verify(header) == first
    assert counted.asked == 2


def test_a_remembered_token_is_not_accepted_past_its_expiry(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings
) -> None:
    issued = int(clock.now().timestamp())
    verifier, header = TokenVerifier(settings, counted, clock), signer.bearer(signer.claims(exp=issued + 10))
    verifier.verify(header)
    clock.advance(10)
    verifier.verify(header)  # within the leeway, but verified anew
    assert counted.asked == 2
    clock.advance(60)
    assert refusal(verifier, header) is TokenRefusal.EXPIRED


def test_a_remembered_token_is_verified_anew_when_the_clock_is_set_back(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings
) -> None:
    verifier, header = TokenVerifier(settings, counted, clock), signer.bearer()
    verifier.verify(header)
    clock.advance(-120)
    assert refusal(verifier, header) is TokenRefusal.NOT_YET_VALID


def test_a_refused_token_is_not_remembered(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings
) -> None:
    verifier, header = TokenVerifier(settings, counted, clock), signer.bearer(signer.claims(roles=[]))
    assert [refusal(verifier, header) for _ in range(2)] == [TokenRefusal.NO_ROLE] * 2
    assert counted.asked == 2


def test_memory_is_bounded_and_the_longest_unused_goes_first(
    signer: Any, clock: Any, counted: Any, settings: IssuerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_REMEMBERED <= 10_000
    monkeypatch.setattr("intake_api.identity.tokens.MOST_REMEMBERED", 2)
    verifier = TokenVerifier(settings, counted, clock)
    first, second, third = (signer.bearer(signer.claims(sub=f"subject-{n}")) for n in range(3))
    for header in (first, second, first, third):  # `second` is now the longest unused
        verifier.verify(header)
    assert counted.asked == 3
    verifier.verify(first)
    assert counted.asked == 3
    verifier.verify(second)
    assert counted.asked == 4


def test_a_base64_alias_of_a_remembered_token_is_not_taken_for_it(verifier: Any, signer: Any) -> None:
    """The last character of an RS256 signature carries four unused bits: other spellings decode to the same bytes."""
    token = signer.token()
    verifier.verify(f"Bearer {token}")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    raw = base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
    aliases = [
        token[:-1] + last
        for last in alphabet
        if last != token[-1]
        and base64.urlsafe_b64decode((token[:-1] + last).rpartition(".")[2] + "==") == raw
    ]
    assert aliases
    for alias in aliases:
        assert refusal(verifier, f"Bearer {alias}") is TokenRefusal.MALFORMED
