"""Keys found at the issuer: rotation, floods of forged ids, an issuer that is down, many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_api.identity import (
    DiscoveredKeys,
    InvalidToken,
    IssuerSettings,
    KeysUnavailable,
    Refusal,
    TokenVerifier,
)
from intake_api.identity.discovery import RefreshPolicy, TokenBucket
from intake_api.identity.documents import DocumentUnavailable

ISSUER = "https://login.example/customer"
POLICY = RefreshPolicy()


class Issuer:
    """A document source that stands for an issuer and counts how often its keys are fetched."""

    def __init__(self, *keys: dict[str, object]) -> None:
        self.keys = list(keys)
        self.discovery: dict[str, object] = {"issuer": ISSUER, "jwks_uri": "https://keys.example/jwks"}
        self.down = False
        self.fetches = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def get(self, url: str) -> Mapping[str, object]:
        if url == f"{ISSUER}/.well-known/openid-configuration":
            self.fetches += 1
            if self.down:
                raise DocumentUnavailable("down")
            return self.discovery
        assert url == "https://keys.example/jwks"
        published = list(self.keys)
        self.meanwhile()
        return {"keys": published}


@pytest.fixture
def issuer(signer: Any) -> Issuer:
    return Issuer(signer.jwk("rsa-1"))


@pytest.fixture
def keys(issuer: Issuer, clock: Any) -> DiscoveredKeys:
    return DiscoveredKeys(ISSUER, issuer, clock, background=lambda work: work())


def test_keys_are_fetched_once_and_then_known(keys: DiscoveredKeys, issuer: Issuer) -> None:
    assert issuer.fetches == 0
    for _ in range(10):
        assert keys.key("rsa-1") is not None
    assert issuer.fetches == 1


def test_a_rotated_key_is_accepted_in_the_request_that_brings_it(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any, clock: Any
) -> None:
    settings = IssuerSettings(issuer=ISSUER, audiences=("api://casevault",))
    verifier = TokenVerifier(settings, keys, clock)
    verifier.verify(signer.bearer())
    issuer.keys.append(signer.jwk("ec-1"))  # no time passes
    assert verifier.verify(signer.bearer(algorithm="ES256")).subject == "subject-1"
    assert issuer.fetches == 2


def test_several_rotations_in_one_instant_are_each_accepted(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any
) -> None:
    for number in range(POLICY.burst):
        issuer.keys = [signer.jwk("ec-1", kid=f"key-{number}")]
        assert keys.key(f"key-{number}") is not None


def test_a_flood_of_forged_ids_cannot_hammer_the_issuer(
    keys: DiscoveredKeys, issuer: Issuer, clock: Any
) -> None:
    for number in range(1000):
        assert keys.key(f"forged-{number}") is None
        clock.advance(0.01)
    assert issuer.fetches <= POLICY.burst + 10 / POLICY.refill.total_seconds()


def test_during_a_flood_known_keys_are_served_and_a_rotated_one_is_known_after_one_refill(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any, clock: Any
) -> None:
    for number in range(100):
        assert keys.key(f"forged-{number}") is None
    issuer.keys.append(signer.jwk("ec-1"))
    assert keys.key("ec-1") is None
    assert keys.key("rsa-1") is not None
    clock.advance(POLICY.refill.total_seconds())
    assert keys.key("forged-again") is None  # even the flood's own fetch brings it
    assert keys.key("ec-1") is not None


def test_a_withdrawn_key_is_gone_with_the_next_fetch(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any
) -> None:
    assert keys.key("rsa-1") is not None
    issuer.keys = [signer.jwk("ec-1")]
    assert keys.key("ec-1") is not None
    assert keys.key("rsa-1") is None


def test_a_set_past_its_freshness_is_renewed_behind_the_answer(
    issuer: Issuer, signer: Any, clock: Any
) -> None:
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
    keys: DiscoveredKeys, issuer: Issuer, clock: Any
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


def test_while_the_issuer_is_down_renewals_are_spaced(
    keys: DiscoveredKeys, issuer: Issuer, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.down = True
    clock.advance(POLICY.fresh.total_seconds())
    for _ in range(120):
        assert keys.key("rsa-1") is not None
        clock.advance(1)
    assert issuer.fetches == 1 + 120 // POLICY.retry.total_seconds()


def test_a_clock_that_was_ahead_for_a_while_does_not_keep_old_keys_alive(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any, clock: Any
) -> None:
    clock.advance(POLICY.stale.total_seconds())
    keys.key("rsa-1")
    issuer.keys = [signer.jwk("ec-1")]
    clock.advance(-POLICY.stale.total_seconds())
    clock.advance(POLICY.refill.total_seconds() * 2)
    assert keys.key("rsa-1") is not None  # renewed behind this answer
    assert keys.key("rsa-1") is None


def test_keys_from_a_far_future_are_not_served(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any, clock: Any
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
    keys: DiscoveredKeys, issuer: Issuer, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.down = True
    clock.advance(2 * POLICY.fresh.total_seconds())
    keys.key("rsa-1")
    clock.advance(-POLICY.fresh.total_seconds())
    keys.key("rsa-1")
    assert issuer.fetches == 3


def test_an_unknown_key_is_neither_accepted_nor_refused_while_the_issuer_is_down(
    keys: DiscoveredKeys, issuer: Issuer, signer: Any, clock: Any
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
    keys: DiscoveredKeys, issuer: Issuer, clock: Any
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
    keys: DiscoveredKeys, issuer: Issuer, change: dict[str, object]
) -> None:
    issuer.discovery.update(change)
    with pytest.raises(KeysUnavailable):
        keys.key("rsa-1")


def test_a_broken_key_set_leaves_the_former_one_in_place(
    keys: DiscoveredKeys, issuer: Issuer, clock: Any
) -> None:
    keys.key("rsa-1")
    issuer.keys = [{}] * 1000
    clock.advance(POLICY.fresh.total_seconds())
    assert keys.key("rsa-1") is not None
    assert keys.key("rsa-1") is not None


def test_an_issuer_with_a_trailing_slash_is_found_below_it(issuer: Issuer, clock: Any) -> None:
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
    assert caught.value.code is Refusal.UNKNOWN_KEY


def test_many_threads_at_once_share_fetches(issuer: Issuer, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    start, found = threading.Barrier(16), []

    def ask() -> None:
        start.wait()
        found.append(keys.key("rsa-1"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and None not in found
    assert 1 <= issuer.fetches <= POLICY.burst


def test_a_key_published_while_a_fetch_was_under_way_is_found_by_who_came_meanwhile(
    issuer: Issuer, signer: Any, clock: Any
) -> None:
    """The running fetch read the set before the rotation: its outcome is not good enough for the one who waits."""
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    found: list[object] = []
    late = threading.Thread(target=lambda: found.append(keys.key("ec-1")))

    def rotate_in_the_middle() -> None:
        issuer.meanwhile = lambda: None
        issuer.keys.append(signer.jwk("ec-1"))
        late.start()
        late.join(0.2)  # it is now waiting for this very fetch
        assert late.is_alive()

    issuer.meanwhile = rotate_in_the_middle
    assert keys.key("rsa-1") is not None
    late.join()
    assert found[0] is not None
    assert issuer.fetches == 2


def test_who_waits_for_the_same_fetch_shares_the_next(issuer: Issuer, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    keys.key("rsa-1")
    waiters = [threading.Thread(target=keys.key, args=(f"forged-{number}",)) for number in range(4)]

    def let_them_come() -> None:
        issuer.meanwhile = lambda: None
        for waiter in waiters:
            waiter.start()
        waiters[-1].join(0.3)  # all four are now waiting for this very fetch

    issuer.meanwhile = let_them_come
    keys.key("forged")
    for waiter in waiters:
        waiter.join()
    assert issuer.fetches == 3  # the first, the one they waited for, and one for all four


def test_nobody_waits_for_a_fetch_that_does_not_end(issuer: Issuer, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock, RefreshPolicy(patience=0.01))
    keys.key("rsa-1")
    stuck, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        stuck.set()
        go_on.wait()

    issuer.meanwhile = hang
    hanging = threading.Thread(target=lambda: keys.key("forged"))
    hanging.start()
    stuck.wait()
    assert keys.key("rsa-1") is not None  # a known key waits for nothing
    with pytest.raises(KeysUnavailable):
        keys.key("ec-1")
    go_on.set()
    hanging.join()


def test_a_renewal_runs_in_a_thread_of_its_own(issuer: Issuer, signer: Any, clock: Any) -> None:
    keys = DiscoveredKeys(ISSUER, issuer, clock)
    keys.key("rsa-1")
    renewed_by: list[str] = []
    done = threading.Event()

    def note() -> None:
        renewed_by.append(threading.current_thread().name)
        done.set()

    issuer.meanwhile = note
    clock.advance(POLICY.fresh.total_seconds())
    assert keys.key("rsa-1") is not None
    assert done.wait(10)
    assert renewed_by == ["issuer-keys"]


BEGIN = datetime(2026, 11, 20, tzinfo=UTC)


@given(
    steps=st.lists(st.integers(0, 20_000_000), min_size=1, max_size=80),
    burst=st.integers(1, 6),
    refill=st.integers(1, 10_000_000),
)
def test_a_bucket_never_gives_more_than_its_burst_and_the_refills(
    steps: list[int], burst: int, refill: int
) -> None:
    bucket, now, taken = TokenBucket(burst, timedelta(microseconds=refill)), BEGIN, []
    for step in steps:
        now += timedelta(microseconds=step)
        if bucket.take(now):
            taken.append(now)
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (end - start) // timedelta(microseconds=refill)


@given(steps=st.lists(st.integers(-20_000_000, 20_000_000), max_size=40), refill=st.integers(1, 10_000_000))
def test_whatever_the_clock_did_a_bucket_gives_again_after_one_refill(steps: list[int], refill: int) -> None:
    bucket, now, each = TokenBucket(3, timedelta(microseconds=refill)), BEGIN, timedelta(microseconds=refill)
    for step in steps:
        now += timedelta(microseconds=step)
        bucket.take(now)
    assert bucket.take(now) or bucket.take(now + each)


def test_a_drained_bucket_gives_after_one_refill_and_is_full_after_all() -> None:
    bucket, each = TokenBucket(2, timedelta(seconds=5)), timedelta(seconds=5)
    bucket.drain(BEGIN)
    assert not bucket.take(BEGIN + each - timedelta(microseconds=1))
    assert bucket.take(BEGIN + each)
    assert not bucket.take(BEGIN + each)
    assert [bucket.take(BEGIN + 4 * each) for _ in range(3)] == [True, True, False]
