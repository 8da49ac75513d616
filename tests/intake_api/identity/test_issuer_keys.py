"""Keys found at the issuer: rotation, floods of forged ids, an issuer that is down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from intake_api.identity import (
    DiscoveredKeys,
    InvalidToken,
    IssuerSettings,
    KeysUnavailable,
    TokenRefusal,
    TokenVerifier,
)
from intake_api.identity.issuer_keys import RefreshPolicy
from intake_api.identity.jwks import DocumentUnavailable

ISSUER = "https://login.example/customer"
POLICY = RefreshPolicy()


@pytest.fixture
def keys(issuer: Any, clock: Any) -> DiscoveredKeys:
    return DiscoveredKeys(ISSUER, issuer, clock, background=lambda work: work())


def test_keys_are_fetched_once_and_then_known(keys: DiscoveredKeys, issuer: Any) -> None:
    assert issuer.fetches == 0
    for _ in range(10):
        assert keys.key("rsa-1") is not None
    assert issuer.fetches == 1


def test_a_rotated_key_is_accepted_in_the_request_that_brings_it(
    keys: DiscoveredKeys, issuer: Any, signer: Any, clock: Any
) -> None:
    settings = IssuerSettings(issuer=ISSUER, audiences=("api://casevault",))
    verifier = TokenVerifier(settings, keys, clock)
    verifier.verify(signer.bearer())
    issuer.keys.append(signer.jwk("ec-1"))  # no time passes
    assert verifier.verify(signer.bearer(algorithm="ES256")).subject == "subject-1"
    assert issuer.fetches == 2


def test_several_rotations_in_one_instant_are_each_accepted(
    keys: DiscoveredKeys, issuer: Any, signer: Any
) -> None:
    for number in range(POLICY.burst):
        issuer.keys = [signer.jwk("ec-1", kid=f"key-{number}")]
        assert keys.key(f"key-{number}") is not None


def test_a_flood_of_forged_ids_cannot_hammer_the_issuer(
    keys: DiscoveredKeys, issuer: Any, clock: Any
) -> None:
    for number in range(1000):
        assert keys.key(f"forged-{number}") is None
        clock.advance(0.01)
    assert issuer.fetches <= POLICY.burst + 10 / POLICY.refill.total_seconds()


def test_during_a_flood_known_keys_are_served_and_a_rotated_one_is_known_after_one_refill(
    keys: DiscoveredKeys, issuer: Any, signer: Any, clock: Any
) -> None:
    for number in range(100):
        assert keys.key(f"forged-{number}") is None
    issuer.keys.append(signer.jwk("ec-1"))
    assert keys.key("ec-1") is None
    assert keys.key("rsa-1") is not None
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("forged-again") is None  # even the flood's own fetch brings it
    assert keys.key("ec-1") is not None


def test_a_withdrawn_key_is_gone_with_the_next_fetch(keys: DiscoveredKeys, issuer: Any, signer: Any) -> None:
    assert keys.key("rsa-1") is not None
    issuer.keys = [signer.jwk("ec-1")]
    assert keys.key("ec-1") is not None
    assert keys.key("rsa-1") is None


def test_a_set_past_its_freshness_is_renewed_behind_the_answer(issuer: Any, signer: Any, clock: Any) -> None:
    waiting: list[Callable[[], None]] = []
    keys = DiscoveredKeys(ISSUER, issuer, clock, background=waiting.append)
    keys.key("rsa-1")
    clock.advance(POLICY.fresh.total_seconds() - 1)
    assert keys.key("rsa-1") is not None and not waiting
    clock.advance(1)
    issuer.keys = [signer.jwk("ec-1")]
    assert keys.key("rsa-1") is not None  # served before the renewal ran ...
    assert keys.key("rsa-1") is not None
    assert len(waiting) == 1  # ... which is asked for once
    waiting.pop()()
    assert issuer.fetches == 2
    assert keys.key("ec-1") is not None
    assert keys.key("rsa-1") is None


def test_old_keys_are_served_while_the_issuer_is_down_but_not_for_ever(
    keys: DiscoveredKeys, issuer: Any, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.down = True
    clock.advance(POLICY.stale.total_seconds() - 1)
    assert keys.key("rsa-1") is not None
    clock.advance(1)
    with pytest.raises(KeysUnavailable):
        keys.key("rsa-1")
    issuer.down = False
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("rsa-1") is not None


def test_while_the_issuer_is_down_renewals_are_spaced(keys: DiscoveredKeys, issuer: Any, clock: Any) -> None:
    keys.key("rsa-1")
    issuer.down = True
    clock.advance(POLICY.fresh.total_seconds())
    for _ in range(120):
        assert keys.key("rsa-1") is not None
        clock.advance(1)
    assert issuer.fetches == 1 + 120 // POLICY.retry.total_seconds()


def test_a_clock_that_was_ahead_for_a_while_does_not_keep_old_keys_alive(
    keys: DiscoveredKeys, issuer: Any, signer: Any, clock: Any
) -> None:
    clock.advance(POLICY.stale.total_seconds())
    keys.key("rsa-1")
    issuer.keys = [signer.jwk("ec-1")]
    clock.advance(-POLICY.stale.total_seconds())
    clock.advance(POLICY.refill.total_seconds() * 2)
    assert keys.key("rsa-1") is not None  # renewed behind this answer
    assert keys.key("rsa-1") is None


def test_keys_from_a_far_future_are_not_served(
    keys: DiscoveredKeys, issuer: Any, signer: Any, clock: Any
) -> None:
    clock.advance(2 * POLICY.stale.total_seconds())
    keys.key("rsa-1")
    issuer.keys = [signer.jwk("ec-1")]
    clock.advance(-2 * POLICY.stale.total_seconds())
    with pytest.raises(KeysUnavailable):  # the bucket cannot tell either: it gives again after one refill
        keys.key("rsa-1")
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("rsa-1") is None


def test_a_renewal_that_failed_in_the_future_does_not_put_off_the_next(
    keys: DiscoveredKeys, issuer: Any, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.down = True
    clock.advance(2 * POLICY.fresh.total_seconds())
    keys.key("rsa-1")
    clock.advance(-POLICY.fresh.total_seconds())
    keys.key("rsa-1")
    assert issuer.fetches == 3


def test_an_unknown_key_is_neither_accepted_nor_refused_while_the_issuer_is_down(
    keys: DiscoveredKeys, issuer: Any, signer: Any, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.down = True
    issuer.keys.append(signer.jwk("ec-1"))
    for _ in range(100):
        with pytest.raises(KeysUnavailable):
            keys.key("ec-1")
    assert issuer.fetches == 2  # a failed fetch empties the bucket
    issuer.down = False
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("ec-1") is not None


def test_an_issuer_that_is_down_from_the_start_is_asked_again_later(
    keys: DiscoveredKeys, issuer: Any, clock: Any
) -> None:
    issuer.down = True
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            keys.key("rsa-1")
    issuer.down = False
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("rsa-1") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": f"{ISSUER}/"},
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": 7},
    ],
)
def test_a_discovery_document_of_somebody_else_is_not_used(
    keys: DiscoveredKeys, issuer: Any, change: dict[str, object]
) -> None:
    issuer.discovery.update(change)
    with pytest.raises(KeysUnavailable):
        keys.key("rsa-1")


def test_a_broken_key_set_leaves_the_former_one_in_place(
    keys: DiscoveredKeys, issuer: Any, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.keys = [{}] * 1000
    clock.advance(POLICY.fresh.total_seconds())
    assert keys.key("rsa-1") is not None
    assert keys.key("rsa-1") is not None


def test_an_issuer_with_a_trailing_slash_is_found_below_it(issuer: Any, clock: Any) -> None:
    asked: list[str] = []

    class Recorder:
        def get(self, url: str) -> Mapping[str, object]:
            asked.append(url)
            raise DocumentUnavailable("only looking")

    with pytest.raises(KeysUnavailable):
        DiscoveredKeys("https://login.example/", Recorder(), clock).key("rsa-1")
    assert asked == ["https://login.example/.well-known/openid-configuration"]


def test_a_forged_id_is_refused_with_its_own_code(keys: DiscoveredKeys, signer: Any, clock: Any) -> None:
    verifier = TokenVerifier(IssuerSettings(issuer=ISSUER, audiences=("api://casevault",)), keys, clock)
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(signer.bearer(header={"kid": "forged"}))
    assert caught.value.code is TokenRefusal.UNKNOWN_KEY
